"""``pacslite jobs``: what is owed to others, looked at and steered, beside a server and without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
import typer

from kit.commandline import Ended, RunCommand
from kit.outboxes import LANE, forwards, new
from kit.samples import Sample, put, rows, settings_for
from kit.server import RunningServer
from kit.wait import eventually
from pacslite.archive.archive import Archive
from pacslite.archive.job import JobKind, Lane
from pacslite.archive.jobs import Outbox
from pacslite.cli.exits import Exit
from pacslite.facts import ignore

T = TypeVar("T")

REPORT = Lane("CT1", JobKind.REPORT)


def with_outbox(data: Path, work: Callable[[Outbox], Coroutine[object, object, T]]) -> T:
    async def run() -> T:
        async with Archive.open(settings_for(data), observe=ignore) as archive:
            return await work(archive.outbox)

    return asyncio.run(run())


async def owe_some(outbox: Outbox) -> None:
    """1 is dead, 2 running, 3 and 4 wait, 5 is held, 6 is a report."""
    await outbox.owe([new(f"1.2.{number}") for number in range(1, 4)])
    dead, _ = await outbox.take(LANE, most=2, lease_s=1e6)
    await outbox.fail(dead, reason="refused: A900H \x1b[2J", due_at=0.0, give_up=True)
    await outbox.owe([new("1.2.4", delay_s=1e6, wants_commitment=True), new("1.2.5", quiet_s=1e6)])
    await outbox.owe([new("6", lane=REPORT, study_uid="")])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with_outbox(folder, owe_some)
    return folder


@pytest.fixture
def jobs(pacslite: RunCommand, data: Path) -> Callable[..., Ended]:
    def run(*arguments: str | int) -> Ended:
        return pacslite("jobs", *arguments, "--data", data)

    return run


def states(data: Path) -> dict[object, object]:
    query = "SELECT id, iif(hold IS NULL, state, 'held') FROM jobs"
    return dict(rows(data, query))  # type: ignore[arg-type] # two columns


AS_FILLED = {1: "dead", 2: "running", 3: "waiting", 4: "waiting", 5: "held", 6: "waiting"}


def test_what_is_owed_to_whom(jobs: Callable[..., Ended]) -> None:
    ended = jobs("ls")
    assert ended.code == Exit.OK
    headings, report, lane = (line.split("\t") for line in ended.lines)
    assert headings[:7] == ["destination", "kind", "rule", "waiting", "held", "running", "dead"]
    assert lane[:7] == ["DEST", "forward", "rule", "2", "1", "1", "1"]
    assert lane[-1] == "refused: A900H \\x1b[2J"
    assert report[:7] == ["CT1", "report", "", "1", "0", "0", "0"]
    assert [json.loads(line)["destination"] for line in jobs("ls", "--json").lines] == ["CT1", "DEST"]
    assert len(jobs("ls", "--kind", "report").lines) == 2
    assert jobs("ls", "--destination", "NOBODY").lines == ["no such jobs"]


def test_each_job(jobs: Callable[..., Ended]) -> None:
    listed = [line.split("\t") for line in jobs("ls", "--all").lines[1:]]
    assert {int(row[0]): row[5] for row in listed} == AS_FILLED
    assert [row[4] for row in listed] == ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5", "6"]
    some = jobs("ls", "--all", "-n", 2)
    assert len(some.lines) == 3
    assert "only the first 2" in some.err
    (held,) = [json.loads(line) for line in jobs("ls", "--state", "held", "--json").lines]
    assert (held["job"], held["state"], held["study"]) == (5, "held", "1.2")
    assert held["held_until"] > held["owed_since"]


def test_everything_about_a_job(jobs: Callable[..., Ended]) -> None:
    shown = dict(line.split("  ", 1) for line in jobs("show", 1).lines if "  " in line)
    assert shown["state"].strip() == "dead"
    assert shown["attempts"].strip() == "1"
    assert "refused: A900H \\x1b[2J" in jobs("show", 1).out
    assert "to be asked for" in jobs("show", 4).out
    assert json.loads(jobs("show", 1, "--json").out)["last_error"].startswith("refused")
    missing = jobs("show", 99)
    assert missing.code == Exit.FAILED
    assert "no such job, done or cancelled: 99" in missing.err


def test_retrying_jobs_by_number(jobs: Callable[..., Ended], data: Path) -> None:
    assert jobs("retry", 1, 5).out == "2 jobs due now\n"
    assert states(data) == AS_FILLED | {1: "waiting", 5: "waiting"}
    shown = json.loads(jobs("show", 1, "--json").out)
    assert (shown["attempts"], shown["last_error"], shown["failing_since"]) == (0, "", None)
    ended = jobs("retry", 2, 4, 99)
    assert ended.code == Exit.FAILED
    assert ended.out == "1 job due now\n"
    assert "no such job, done or cancelled: 99" in ended.err
    assert "running already, or gone: 2" in ended.err


def test_retrying_all_that_failed_or_waits(jobs: Callable[..., Ended], data: Path) -> None:
    assert jobs("retry", "--all", "--state", "dead").out == "1 job due now\n"
    assert jobs("retry", "--all", "--destination", "CT1").out == "1 job due now\n"
    assert jobs("retry", "--all").out == "4 jobs due now\n"
    assert states(data) == AS_FILLED | {1: "waiting"}, "what is held stays so, what runs goes on"
    assert jobs("retry", "--all", "--rule", "none").out == "0 jobs due now\n"


def test_cancelling_is_asked_about(jobs: Callable[..., Ended], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def confirm(question: str, *, abort: bool) -> None:
        asked.append(question)
        raise typer.Abort

    monkeypatch.setattr(typer, "confirm", confirm)
    assert jobs("cancel", "--all", "--state", "waiting").code == Exit.FAILED
    assert asked == ["Cancel 3 jobs?"]
    assert states(data) == AS_FILLED


def test_cancelling_jobs(jobs: Callable[..., Ended], data: Path) -> None:
    ended = jobs("cancel", 1, 2, "--yes")
    assert ended.code == Exit.OK
    assert ended.lines == ["2 jobs cancelled", "1 of them running: what is under way may still arrive"]
    assert jobs("cancel", 1, "-y").code == Exit.FAILED
    assert jobs("cancel", "--all", "--kind", "report", "-y").lines == ["1 job cancelled"]
    assert states(data) == {3: "waiting", 4: "waiting", 5: "held"}
    assert jobs("cancel", "--all", "-y").lines == ["3 jobs cancelled"]
    assert jobs("cancel", "--all", "-y").lines == ["0 jobs cancelled"]
    assert jobs("ls").lines == ["nothing is owed"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("retry",),
        ("cancel",),
        ("retry", "--state", "dead"),
        ("retry", "1", "--all"),
        ("cancel", "1", "--destination", "DEST"),
        ("retry", "--all", "--state", "running"),
        ("ls", "--kind", "nothing"),
        ("show", "first"),
    ],
    ids=" ".join,
)
def test_what_is_not_clear_is_not_done(jobs: Callable[..., Ended], data: Path, arguments: tuple[str, ...]) -> None:
    assert jobs(*arguments).code == Exit.USAGE
    assert states(data) == AS_FILLED


def test_a_folder_without_an_archive_stays_one(pacslite: RunCommand, tmp_path: Path) -> None:
    ended = pacslite("jobs", "ls", "--data", tmp_path / "nothing")
    assert ended.code == Exit.USAGE
    assert "holds no archive" in ended.err


def test_a_running_server_notices(pacslite: RunCommand, tmp_path: Path) -> None:
    """A destination that nobody knows is tried once, and again when somebody wants that."""
    data = tmp_path / "data"
    owed = [new(f"1.2.3.{number}", lane=forwards(f"NOBODY{number}")) for number in (1, 2)]

    async def fill() -> None:
        async with Archive.open(settings_for(data), observe=ignore) as archive:
            for job in owed:
                await put(archive, Sample(instance=job.subject))
            await archive.outbox.owe(owed)

    # Nothing is tried again by itself while this runs.
    with RunningServer(data, settings={"outbox.retry_first_s": 3600}) as server:
        asyncio.run(fill())
        eventually(lambda: _attempts(data) == [1, 1], "both are tried")
        assert pacslite("jobs", "retry", "--all", "--destination", "NOBODY1", "--data", data).out == "1 job due now\n"
        eventually(lambda: "has failed 2 times" in server.log, "it is tried again")
        assert "NOBODY1" in pacslite("jobs", "ls", "--data", data).out
        assert pacslite("jobs", "cancel", "--all", "--yes", "--data", data).code == Exit.OK
        assert rows(data, "SELECT * FROM jobs") == []


def _attempts(data: Path) -> list[object]:
    return [attempts for (attempts,) in rows(data, "SELECT attempts FROM jobs ORDER BY id")]
