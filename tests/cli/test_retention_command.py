"""``pacslite retention``, and retention in the server."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from kit.commandline import RunCommand
from kit.odd import make
from kit.server import RunningServer
from kit.store import Store
from kit.wait import eventually
from pacslite.cli.exits import Exit
from pacslite.dicom.part10 import file_meta

NO_RESERVE = ("--set", "storage.min_free_bytes=0", "--set", "storage.min_free_percent=0")
OLD, NEW = "2.25.100", "2.25.200"
DAY_S = 86400


@pytest.fixture
def data(pacslite: RunCommand, tmp_path: Path) -> Path:
    """A study that came ten days ago, and one that came now."""
    folder = tmp_path / "objects"
    folder.mkdir()
    for study in (OLD, NEW):
        made = make("a", study=study, series=f"{study}.1", instance=f"{study}.1.1")
        meta = file_meta(
            sop_class_uid=made.sop_class, sop_instance_uid=made.sop_instance, transfer_syntax_uid=made.transfer_syntax
        )
        (folder / f"{study}.dcm").write_bytes(meta + made.data_set)
    data = tmp_path / "data"
    assert pacslite("import", folder, "--data", data, *NO_RESERVE).code == Exit.OK
    execute(data, f"UPDATE instances SET stored_at = {time.time() - 10 * DAY_S} WHERE sop_instance_uid = '{OLD}.1.1'")
    return data


def execute(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "index.sqlite", isolation_level=None)) as connection:
        connection.execute(statement)


def studies(data: Path) -> set[str]:
    return {stored.path.parts[-3] for stored in Store(data).files()}


def test_what_is_old_goes(pacslite: RunCommand, data: Path) -> None:
    age = ("--set", "retention.max_age_days=5", "--data", data)
    shown = pacslite("retention", "--dry-run", *age)
    assert shown.code == Exit.OK, shown
    assert [line.split("\t")[-2:] for line in shown.lines[1:]] == [["would be deleted", OLD]]
    assert shown.err.splitlines()[0].endswith("would be deleted")
    assert studies(data) == {OLD, NEW}
    assert pacslite("retention", "--set", "retention.dry_run=true", *age).out == shown.out
    done = pacslite("retention", *age)
    assert [line.split("\t")[-2:] for line in done.lines[1:]] == [["deleted", OLD]]
    assert studies(data) == {NEW}
    (record,) = (json.loads(line) for line in pacslite("delete", "ls", "--json", "--data", data).lines)
    assert (record["deleted_by"], record["uid"]) == ("retention", OLD)
    assert pacslite("fsck", "--digest", "--data", data).lines[-1] == "no problems"


def test_room_is_made_and_what_stays_is_told(pacslite: RunCommand, data: Path) -> None:
    execute(
        data,
        "INSERT INTO commitment_items (request, number, sop_instance_uid, failure_reason)"
        f" VALUES (1, 0, '{OLD}.1.1', 0)",
    )
    room = ("--set", "retention.high_water_bytes=2", "--set", "retention.low_water_bytes=1", "--data", data)
    ended = pacslite("retention", "--json", *room)
    assert ended.code == Exit.FAILED, "more is stored than is wanted"
    first, second = (json.loads(line) for line in ended.lines)
    assert (first["study_uid"], first["kept"], first["due"]) == (OLD, ["committed to by us"], "room")
    assert (second["study_uid"], second["kept"]) == (NEW, [])
    assert "1 kept: committed to by us" in ended.err
    assert "more than high_water_bytes remain" in ended.err
    assert studies(data) == {OLD}
    assert pacslite("retention", "--set", "retention.keep_committed=false", *room).code == Exit.OK
    assert studies(data) == set()


def test_without_a_limit_there_is_nothing_to_do(pacslite: RunCommand, data: Path) -> None:
    ended = pacslite("retention", "--data", data)
    assert (ended.code, "retention.max_age_days" in ended.err) == (Exit.USAGE, True)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"retention.max_age_days": 5}, {NEW}),
        ({"retention.max_age_days": 5, "retention.dry_run": True}, {OLD, NEW}),
        ({}, {OLD, NEW}),
    ],
    ids=["age", "dry run", "none"],
)
def test_the_server_does_it_when_it_starts(data: Path, settings: Mapping[str, object], left: set[str]) -> None:
    with RunningServer(data, settings=settings) as server:
        if settings:
            eventually(lambda: "retention " in server.log, "the server's retention has run")
        assert studies(data) == left
    assert ("would delete 1 study" in server.log) == ("retention.dry_run" in settings)
