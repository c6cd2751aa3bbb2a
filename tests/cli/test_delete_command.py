"""``pacslite delete``: it shows what would go, asks, refuses what is protected, and leaves a record."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import typer

from kit.commandline import RunCommand
from kit.encode import EXPLICIT_LITTLE
from kit.odd import make
from kit.peers import storescu
from kit.server import RunningServer
from kit.store import Store
from pacslite.cli.exits import Exit
from pacslite.dicom.part10 import file_meta

NO_RESERVE = ("--set", "storage.min_free_bytes=0", "--set", "storage.min_free_percent=0")
ONE, OTHER = "2.25.100", "2.25.200"


def write(folder: Path, name: str, study: str) -> Path:
    folder.mkdir(exist_ok=True)
    patient = EXPLICIT_LITTLE.element(0x00100010, "PN", "Secret^Name") + EXPLICIT_LITTLE.element(0x00100020, "LO", "P1")
    made = make(name, study=study, series=f"{study}.1", instance=f"{study}.1.{name}", patient=patient)
    path = folder / f"{study}-{name}.dcm"
    path.write_bytes(
        file_meta(
            sop_class_uid=made.sop_class, sop_instance_uid=made.sop_instance, transfer_syntax_uid=made.transfer_syntax
        )
        + made.data_set
    )
    return path


@pytest.fixture
def data(pacslite: RunCommand, tmp_path: Path) -> Path:
    """A study of two objects, and one of one."""
    for name, study in (("1", ONE), ("2", ONE), ("1", OTHER)):
        write(tmp_path / "objects", name, study)
    data = tmp_path / "data"
    assert pacslite("import", tmp_path / "objects", "--data", data, *NO_RESERVE).code == Exit.OK
    return data


def stored(data: Path) -> int:
    return len(Store(data).files())


def execute(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "index.sqlite", isolation_level=None)) as connection:
        connection.execute(statement)


def test_a_study_goes_with_its_files_and_its_record_stays(pacslite: RunCommand, data: Path) -> None:
    ended = pacslite("delete", "study", ONE, "--yes", "--data", data)
    assert ended.code == Exit.OK, ended
    assert ended.lines[0].startswith(f"study {ONE}: 2 objects, ")
    assert ended.lines[1].startswith(f"deleted study {ONE}: 2 objects, ")
    assert stored(data) == 1
    assert pacslite("fsck", "--digest", "--data", data).lines[-1] == "no problems"
    (record,) = (json.loads(line) for line in pacslite("delete", "ls", "--json", "--data", data).lines)
    assert record["deleted_by"] == pwd.getpwuid(os.getuid()).pw_name
    assert (record["level"], record["uid"], record["instances"], record["forced"]) == ("study", ONE, 2, False)
    table = pacslite("delete", "ls", "--data", data).lines
    assert [line.split("\t")[-1] for line in table] == ["UID", ONE]


def test_a_series_and_an_instance(pacslite: RunCommand, data: Path) -> None:
    assert pacslite("delete", "instance", f"{ONE}.1.1", "-y", "--data", data).code == Exit.OK
    assert stored(data) == 2
    narrowed = pacslite("delete", "series", f"{ONE}.1", "--study", OTHER, "-y", "--data", data)
    assert (narrowed.code, narrowed.out) == (Exit.FAILED, f"series {ONE}.1: not here\n")
    assert pacslite("delete", "series", f"{ONE}.1", f"{OTHER}.1", "-y", "--data", data).code == Exit.OK
    assert stored(data) == 0


def test_a_dry_run_changes_nothing_and_names_no_patient(pacslite: RunCommand, data: Path) -> None:
    ended = pacslite("delete", "study", ONE, OTHER, "--dry-run", "--data", data)
    assert ended.code == Exit.OK
    assert len(ended.lines) == 2
    assert "Secret" not in ended.out
    assert stored(data) == 3


def test_it_asks_and_no_is_the_default(pacslite: RunCommand, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def confirm(question: str, *, abort: bool) -> bool:
        asked.append(question)
        if len(asked) == 1 and abort:
            raise typer.Abort
        return True

    monkeypatch.setattr(typer, "confirm", confirm)
    assert pacslite("delete", "study", ONE, "--data", data).code == Exit.FAILED
    assert stored(data) == 3
    assert pacslite("delete", "study", ONE, OTHER, "--data", data).code == Exit.OK
    assert stored(data) == 0
    assert asked == ["Delete this for good?", "Delete these for good?"]


def test_without_anybody_to_ask_nothing_is_deleted(
    pacslite: RunCommand, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.devnull) as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert pacslite("delete", "study", ONE, "--data", data).code == Exit.FAILED
    assert stored(data) == 3


@pytest.mark.parametrize("what", ["committed", "owed"])
def test_what_is_protected_is_refused_and_forced(pacslite: RunCommand, data: Path, what: str) -> None:
    """SC-02: we keep what we have committed to."""
    if what == "committed":
        execute(
            data,
            "INSERT INTO commitment_items (request, number, sop_instance_uid, failure_reason)"
            f" VALUES (1, 0, '{ONE}.1.1', 0)",
        )
    else:
        execute(
            data,
            "INSERT INTO jobs (kind, destination, subject, state, created_at, due_at)"
            f" VALUES ('forward', 'THERE', '{ONE}.1.1', 'dead', 0, 0)",
        )
    words = "1 that we have committed to" if what == "committed" else "1 still to be forwarded"
    ended = pacslite("delete", "study", ONE, OTHER, "--yes", "--data", data)
    assert ended.code == Exit.FAILED
    assert ended.lines[0].endswith(f"; not deleted: of 2 objects, {words}")
    assert stored(data) == 2, "the other one is not protected"
    forced = pacslite("delete", "study", ONE, "--yes", "--force", "--data", data)
    assert forced.code == Exit.OK
    assert ("; 1 forward cancelled" in forced.lines[-1]) == (what == "owed")
    assert stored(data) == 0
    assert "forced" in pacslite("delete", "ls", "--data", data).lines[1]


def test_what_is_not_here(pacslite: RunCommand, data: Path, tmp_path: Path) -> None:
    ended = pacslite("delete", "study", "2.25.999", ONE, "-y", "--data", data)
    assert ended.code == Exit.FAILED
    assert ended.lines[0] == "study 2.25.999: not here"
    assert stored(data) == 1
    assert pacslite("delete", "study", ONE, "-y", "--data", tmp_path / "nowhere").code == Exit.USAGE
    assert not (tmp_path / "nowhere").exists()


def test_beside_a_running_server(pacslite: RunCommand, tmp_path: Path) -> None:
    """What is deleted is gone from it at once, and what comes again is stored anew."""
    paths = [write(tmp_path / "objects", str(number), ONE) for number in range(5)]
    with RunningServer(tmp_path / "data") as server:
        assert storescu(server.port, paths).code == 0
        assert pacslite("delete", "study", ONE, "-y", "--data", server.data).code == Exit.OK
        assert stored(server.data) == 0
        assert not list((server.data / "blobs").glob("*/*"))
        assert storescu(server.port, paths[:2]).code == 0
        assert stored(server.data) == 2
    assert pacslite("fsck", "--digest", "--data", tmp_path / "data").lines[-1] == "no problems"
