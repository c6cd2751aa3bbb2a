"""The index is made at its newest revision, brought there from older ones with a copy first, and refused from newer."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from kit.indexed import keys_of
from kit.samples import CT, Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.blobs.layout import open_layout
from pacslite.archive.index.migrations import revisions, upgrade
from pacslite.archive.index.promises import PROMISED
from pacslite.archive.index.schema import REVISION, metadata
from pacslite.archive.index.sqlite import Migration, prepare
from pacslite.archive.query import Query, Wanted
from pacslite.archive.settings import StoreMode
from pacslite.dicom import tags
from pacslite.dicom.levels import Level
from pacslite.errors import StoreInUseError
from pacslite.facts import Fact, IndexMigrated, ignore


def schema(path: Path) -> list[tuple[object, ...]]:
    """Tables with their columns, and indexes, however they were made."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
        ]
        found: list[tuple[object, ...]] = []
        for table in tables:
            found += [(table, *column[1:]) for column in connection.execute(f"PRAGMA table_info({table})")]
        for name, table, text in connection.execute(
            "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') OR sql LIKE '%VIRTUAL%'"
        ):
            columns = [row[2] for row in connection.execute(f"PRAGMA index_info({name})")]
            found.append((name, table, *columns, "".join((text or "").split())))
        return sorted(found, key=str)


def first_schema(path: Path) -> None:
    """An empty index of revision 0001."""
    upgrade(path, "0001")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def test_migrating_from_nothing_gives_what_is_made_at_once(tmp_path: Path) -> None:
    upgrade(tmp_path / "migrated.sqlite")
    assert prepare(tmp_path / "made.sqlite", tmp_path, busy_timeout_s=1, may_migrate=True) is None
    assert schema(tmp_path / "migrated.sqlite") == schema(tmp_path / "made.sqlite")
    assert REVISION in revisions()


def test_the_newest_migration_is_the_schema(tmp_path: Path) -> None:
    upgrade(tmp_path / "index.sqlite")
    engine = create_engine(f"sqlite:///{tmp_path / 'index.sqlite'}")
    with engine.connect() as connection:
        options = {"include_name": lambda name, *_: not str(name).startswith("patient_names")}  # FTS5's own tables
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    engine.dispose()


def test_an_older_index_is_copied_and_migrated(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    first_schema(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO patients (patient_id) VALUES ('P1')")
    with pytest.raises(StoreInUseError, match="stop the server first"):
        prepare(path, tmp_path, busy_timeout_s=1, may_migrate=False)
    migration = prepare(path, tmp_path, busy_timeout_s=1, may_migrate=True)
    assert isinstance(migration, Migration)
    assert (migration.from_revision, migration.to_revision) == ("0001", REVISION)
    with closing(sqlite3.connect(migration.backup)) as connection:
        assert connection.execute("SELECT patient_id FROM patients").fetchall() == [("P1",)]


def test_a_migration_that_is_broken_off_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    """Its last steps fail, when others have long been made; a server that is killed in between stops there too."""
    path = tmp_path / "index.sqlite"
    first_schema(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE patient_names (in_the_way)")
    before = schema(path)
    with pytest.raises(StoreInUseError, match="patient_names already exists"):
        prepare(path, tmp_path, busy_timeout_s=1, may_migrate=True)
    assert schema(path) == before
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE patient_names")
    assert isinstance(prepare(path, tmp_path, busy_timeout_s=1, may_migrate=True), Migration)


async def test_a_migrated_index_answers_as_one_that_was_made_so(tmp_path: Path) -> None:
    """What was stored before the migration is found as what was stored after it."""
    made, migrated = tmp_path / "made", tmp_path / "migrated"
    sr = "1.2.840.10008.5.1.4.1.1.88.11"
    japanese = ((0x00080005, "CS", "ISO_IR 192"), (0x00100010, "PN", "=山田^太郎".encode()))
    later = Sample(instance="1.5", study="3.1", series="3.2", patient_id="P3", patient_name="Smithers")
    samples = [
        Sample(instance="1.1", patient_name="Goldsmith^A"),
        Sample(instance="1.2", patient_name="Goldsmith^A", sop_class=sr),
        Sample(instance="1.3", study="2.1", series="2.2", patient_id="P2", modality="MR", more=japanese),
    ]
    for folder in (made, migrated):
        async with Archive.open(settings_for(folder), observe=ignore) as archive:
            for sample in samples:
                await put(archive, sample)
    as_first_schema(migrated / "index.sqlite")
    wanted = (tags.STUDY_INSTANCE_UID, tags.PATIENT_NAME, tags.MODALITIES_IN_STUDY, tags.SOP_CLASSES_IN_STUDY)
    answers = []
    for folder in (made, migrated):
        async with Archive.open(settings_for(folder), observe=ignore) as archive:
            await put(archive, Sample(instance="1.4", patient_name="Goldsmith^A", sop_class=CT))
            await put(archive, later)
            for name in ("*SMITH*", "*田^太*", "gold*"):
                (key,) = keys_of(PATIENT_NAME=name)
                query = Query(
                    level=Level.STUDY, keys=(key,), wanted=tuple(Wanted(tag, tags.VR_OF[tag]) for tag in wanted)
                )
                answers.append([row async for rows in archive.find(query) for row in rows])
    assert answers[:3] == answers[3:]
    assert answers[0] == [
        ("1.2.3.1", "Goldsmith^A", "CT", f"{CT}\\{sr}"),
        ("3.1", "Smithers", "CT", CT),
    ]
    assert schema(made / "index.sqlite") == schema(migrated / "index.sqlite")


def as_first_schema(path: Path) -> None:
    """The rows of an index in one of revision 0001."""
    path.rename(path.with_name("newest"))
    first_schema(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ATTACH ? AS newest", (str(path.with_name("newest")),))
        for table in (table for table in metadata.sorted_tables if table not in PROMISED):  # it had none of those
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table.name})"))
            connection.execute(f"INSERT INTO main.{table.name} ({columns}) SELECT {columns} FROM newest.{table.name}")


async def test_a_migration_is_told(tmp_path: Path) -> None:
    facts: list[Fact] = []
    async with Archive.open(settings_for(tmp_path), observe=ignore) as archive:
        await put(archive, Sample())
    for part in ("", "-wal", "-shm"):
        (tmp_path / f"index.sqlite{part}").unlink(missing_ok=True)
    first_schema(tmp_path / "index.sqlite")
    with open_layout(tmp_path, StoreMode.SERVER), pytest.raises(StoreInUseError, match="stop the server"):
        async with Archive.open(settings_for(tmp_path), observe=ignore):
            pass
    async with Archive.open(settings_for(tmp_path), observe=facts.append):
        pass
    (fact,) = facts
    assert isinstance(fact, IndexMigrated)
    assert fact.backup.startswith(str(tmp_path / "backups"))


def test_a_newer_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    prepare(path, tmp_path, busy_timeout_s=1, may_migrate=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreInUseError, match="made by a newer version"):
        prepare(path, tmp_path, busy_timeout_s=1, may_migrate=True)


@pytest.mark.parametrize("statement", ["CREATE TABLE x (y)", "DELETE FROM alembic_version"])
def test_another_database_is_refused(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "index.sqlite"
    if statement.startswith("DELETE"):
        prepare(path, tmp_path, busy_timeout_s=1, may_migrate=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(StoreInUseError, match="rebuild"):
        prepare(path, tmp_path, busy_timeout_s=1, may_migrate=True)


def test_alembic_is_not_loaded_when_there_is_nothing_to_migrate(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from pacslite.archive.archive import Archive\n"
        "from pacslite.archive.index.sqlite import prepare\n"
        f"path = pathlib.Path({str(tmp_path / 'i')!r})\n"
        "for _ in range(2): prepare(path, path.parent, busy_timeout_s=1, may_migrate=True)\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
