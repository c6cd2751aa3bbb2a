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

from kit.samples import Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.blobs.layout import open_layout
from pacslite.archive.index.migrations import revisions, upgrade
from pacslite.archive.index.schema import REVISION, metadata
from pacslite.archive.index.sqlite import Migration, prepare
from pacslite.archive.settings import StoreMode
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
