"""The outbox: what is owed is kept until it is done, and belongs to one holder at a time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from kit.outboxes import LANE, LEASE_S, OutboxFile, forwards, new, outbox_file, take
from pacslite.archive.index import job_rows, lane_scan
from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.job_rows import MOST_ERROR_CHARACTERS, owe
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job, JobKind, JobStanding, JobState, Lane, Priority
from pacslite.archive.jobs import ChangesFailed, Choice, Outbox, Settled


@pytest.fixture
def file(quick_path: Path) -> OutboxFile:
    return outbox_file(quick_path)


@pytest.fixture
async def outbox(file: OutboxFile) -> AsyncIterator[Outbox]:
    async with file.opened() as outbox:
        yield outbox


async def standings(outbox: Outbox) -> dict[str, str]:
    """Each job's subject, and how it stands."""
    return {job.subject: job.standing.value async for job in outbox.list(Choice())}


async def only(outbox: Outbox) -> Job:
    (job,) = [job async for job in outbox.list(Choice())]
    return job


async def due_lanes(outbox: Outbox, now: float) -> list[Lane]:
    return [lane.lane for lane in await outbox.open_lanes() if lane.due_at <= now]


# --- Taking and settling ---------------------------------------------------------------------------------------------


async def test_jobs_are_taken_by_priority_and_then_in_their_order(outbox: Outbox, file: OutboxFile) -> None:
    await outbox.owe([new("low", priority=Priority.LOW), new("a"), new("high", priority=Priority.HIGH)])
    file.clock.now += 1
    await outbox.owe([new("b"), new("higher", priority=Priority.HIGH)])
    assert list(await take(outbox, most=3)) == ["high", "higher", "a"]
    assert list(await take(outbox)) == ["b", "low"]
    assert await take(outbox) == {}


async def test_lanes_do_not_see_each_other(outbox: Outbox) -> None:
    lanes = [forwards("A"), forwards("A", "other"), forwards("B"), Lane("A", JobKind.REPORT), Lane("", JobKind.VERIFY)]
    await outbox.owe([new(str(number), lane=lane) for number, lane in enumerate(lanes)])
    assert sorted(lane.lane for lane in await outbox.open_lanes()) == sorted(lanes)
    for number, lane in enumerate(lanes):
        assert list(await take(outbox, lane)) == [str(number)]
    assert await outbox.open_lanes() == []


async def test_what_is_done_is_gone_together_with_what_follows_from_it(outbox: Outbox) -> None:
    await outbox.owe([new("a"), new("b")])
    taken = await take(outbox)

    def report(writer: IndexWriter) -> None:
        job_rows.owe(writer, [new("a", lane=Lane("CT1", JobKind.REPORT))], 0.0)

    assert await outbox.settle([Settled(job=taken["a"], change=report), Settled(job=taken["b"])]) == []
    assert [(lane.lane.kind, lane.due_at) for lane in await outbox.open_lanes()] == [(JobKind.REPORT, 0.0)]
    assert await standings(outbox) == {"a": "waiting"}


async def test_a_change_that_fails_leaves_its_job_and_all_others_stand(outbox: Outbox) -> None:
    await outbox.owe([new(subject) for subject in "abc"])
    taken = await take(outbox)
    with pytest.raises(ChangesFailed) as raised:
        await outbox.settle(
            [
                Settled(job=taken["a"]),
                Settled(job=taken["b"], change=lambda writer: writer.connection.execute("no statement").close()),
                Settled(job=taken["c"]),
            ]
        )
    ((job, error),) = raised.value.failed
    assert job == taken["b"]
    assert isinstance(error, sqlite3.OperationalError)
    assert await standings(outbox) == {"b": "running"}


async def test_a_job_made_new_while_it_runs_is_done_again_and_the_old_one_settles_nothing(outbox: Outbox) -> None:
    await outbox.owe([new("a")])
    (old,) = (await take(outbox)).values()
    await outbox.owe([new("a", priority=Priority.LOW)])

    def never(writer: IndexWriter) -> None:
        raise AssertionError("the change of a job that was lost")

    assert await outbox.settle([Settled(job=old, change=never)]) == [old]
    assert await outbox.renew([old], lease_s=LEASE_S) == [old]
    await outbox.fail(old, reason="late", due_at=0.0)
    await outbox.give_back([old])
    (again,) = (await take(outbox)).values()
    assert (again.id, again.attempts, again.last_error, again.priority) == (old.id, 0, "", Priority.LOW)
    assert await outbox.settle([Settled(job=again)]) == []
    assert await standings(outbox) == {}


async def test_what_waits_twice_keeps_what_lets_it_go_sooner(outbox: Outbox, file: OutboxFile) -> None:
    await outbox.owe([new("a", priority=Priority.HIGH, wants_commitment=True)])
    file.clock.now += 5
    await outbox.owe([new("a", lane=forwards("DEST", "later"), priority=Priority.LOW, quiet_s=60.0)])
    job = await only(outbox)
    assert (job.lane.rule, job.priority, job.held_until) == ("later", Priority.HIGH, None)
    assert (job.wants_commitment, job.created_at) == (True, file.clock.now)


@pytest.mark.usefixtures("_utc")
async def test_what_waits_for_no_window_does_not_wait_for_one_that_comes_later(
    outbox: Outbox, file: OutboxFile
) -> None:
    await outbox.owe([new("a")])
    await outbox.owe([new("a", lane=forwards("DEST", "at night"), time_window="22:00-06:00")])
    job = await only(outbox)
    assert (job.lane.rule, job.time_window, job.due_at) == ("at night", "", file.clock.now)


async def test_an_index_that_is_full_is_no_failure_of_what_was_done(quick_path: Path) -> None:
    """It has been done, and is not done again: it is written down once there is room."""
    file = outbox_file(quick_path)
    index = GroupCommit(file.path, busy_timeout_s=1, loop=asyncio.get_running_loop())
    reader = IndexReader(file.path, count=1, busy_timeout_s=1)
    try:
        outbox = Outbox(index, reader, clock=file.clock)
        await outbox.owe([new("a"), new("b")])
        done = [
            Settled(job=job, change=lambda writer: owe(writer, [new("x" * 100_000, lane=forwards("NEXT"))], 0.0))
            for job in (await take(outbox)).values()
        ]
        await index.run(lambda writer: writer.connection.execute("PRAGMA max_page_count = 1").fetchall())
        with pytest.raises(sqlite3.OperationalError, match="full"):
            await outbox.settle(done)
        await index.run(lambda writer: writer.connection.execute("PRAGMA max_page_count = 4294967294").fetchall())
        assert await outbox.settle(done) == []
        assert [job.lane.destination async for job in outbox.list(Choice())] == ["NEXT"]
    finally:
        await reader.close()
        await asyncio.to_thread(index.close)


async def test_a_failure_counts_and_waits_until_it_is_due(outbox: Outbox, file: OutboxFile) -> None:
    await outbox.owe([new("a")])
    first = file.clock.now
    for attempt in (1, 2):
        (job,) = (await take(outbox)).values()
        await outbox.fail(job, reason=f"refused {attempt}", due_at=file.clock.now + 30)
        assert await take(outbox) == {}
        assert [lane.due_at for lane in await outbox.open_lanes()] == [file.clock.now + 30]
        file.clock.now += 30
    job = await only(outbox)
    assert (job.attempts, job.last_error, job.failing_since) == (2, "refused 2", first)
    assert job.state is JobState.WAITING


async def test_an_error_is_kept_within_bounds(outbox: Outbox) -> None:
    await outbox.owe([new("a")])
    (job,) = (await take(outbox)).values()
    await outbox.fail(job, reason="x" * 10_000, due_at=0.0)
    assert len((await only(outbox)).last_error) == MOST_ERROR_CHARACTERS


async def test_what_was_given_up_is_kept_and_owed_anew_if_it_is_caused_again(outbox: Outbox) -> None:
    await outbox.owe([new("a")])
    (job,) = (await take(outbox)).values()
    await outbox.fail(job, reason="no", due_at=0.0, give_up=True)
    assert await outbox.open_lanes() == []
    assert await standings(outbox) == {"a": "dead"}
    await outbox.owe([new("a")])
    assert list(await take(outbox)) == ["a"]


async def test_what_is_given_back_was_never_taken(outbox: Outbox) -> None:
    await outbox.owe([new("a"), new("b")])
    before = [job async for job in outbox.list(Choice())]
    await outbox.give_back((await take(outbox)).values())
    assert [job async for job in outbox.list(Choice())] == before


async def test_untouched_jobs_are_given_up_with_their_destination(outbox: Outbox, file: OutboxFile) -> None:
    await outbox.owe([new(str(number)) for number in range(1200)])
    file.clock.now += 1000
    await outbox.owe([new("late"), new("other", lane=forwards("OTHER"))])
    assert await outbox.give_up(LANE, before=file.clock.now - 500, reason="gone") == 1200
    stand = await standings(outbox)
    assert (stand["late"], stand["other"], stand["7"]) == ("waiting", "waiting", "dead")


# --- Leases ----------------------------------------------------------------------------------------------------------


async def test_the_lease_of_a_holder_that_died_runs_out(file: OutboxFile) -> None:
    async with file.opened() as dead:
        await dead.owe([new("a")])
        (lost,) = (await take(dead)).values()
    async with file.opened() as alive:
        assert await alive.open_lanes() == []
        file.clock.now += LEASE_S - 1
        assert await alive.open_lanes() == []
        file.clock.now += 1
        assert [lane.lane for lane in await alive.open_lanes()] == [LANE]
        (job,) = (await take(alive)).values()
        assert await alive.settle([Settled(job=lost)]) == [lost]
        assert await alive.settle([Settled(job=job)]) == []


async def test_the_lease_of_a_process_that_was_killed_runs_out(file: OutboxFile, outbox: Outbox) -> None:
    await outbox.owe([new("a")])
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TAKE_AND_DIE, str(file.path), str(LEASE_S), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await killed.communicate()
    assert killed.returncode == -signal.SIGKILL, errors
    assert await standings(outbox) == {"a": "running"}
    file.clock.now = time.time() + LEASE_S - 1
    assert await outbox.open_lanes() == []
    file.clock.now += 2
    assert list(await take(outbox)) == []
    assert await due_lanes(outbox, file.clock.now) == [LANE]
    assert list(await take(outbox)) == ["a"]


_TAKE_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.jobs import Outbox

async def take():
    path = Path(sys.argv[1])
    index = GroupCommit(path, busy_timeout_s=20, loop=asyncio.get_running_loop())
    outbox = Outbox(index, IndexReader(path, count=1, busy_timeout_s=20))
    (lane,) = await outbox.open_lanes()
    (job,) = await outbox.take(lane.lane, most=1, lease_s=float(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(take())
"""


async def test_a_lease_that_is_renewed_does_not_run_out(outbox: Outbox, file: OutboxFile) -> None:
    await outbox.owe([new("a")])
    (job,) = (await take(outbox)).values()
    for _ in range(5):
        file.clock.now += LEASE_S - 1
        assert await outbox.renew([job], lease_s=LEASE_S) == []
        assert await outbox.open_lanes() == []
    assert await outbox.settle([Settled(job=job)]) == []


async def test_a_server_that_starts_has_what_its_forerunner_left(file: OutboxFile) -> None:
    async with file.opened() as killed:
        await killed.owe([new("a"), new("b")])
        await take(killed, most=1)
    async with file.opened() as outbox:
        assert await outbox.release_all() == 1
        assert list(await take(outbox)) == ["a", "b"]


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_rows, "_opening", _opening_in_utc)


def _opening_in_utc(window: str, now: float) -> float:
    """For windows that begin at 22:00 and end at 06:00, wherever this machine is."""
    assert window == "22:00-06:00"
    of_day = now % 86400
    return now if of_day >= 22 * 3600 or of_day < 6 * 3600 else now - of_day + 22 * 3600


# --- Clocks ----------------------------------------------------------------------------------------------------------


async def test_a_lease_from_before_the_clock_was_put_back_runs_out(outbox: Outbox, file: OutboxFile) -> None:
    await outbox.owe([new("a")])
    await take(outbox)
    file.clock.now -= 86400 * 365
    assert [lane.lane for lane in await outbox.open_lanes()] == [LANE]


@pytest.mark.usefixtures("_utc")
async def test_what_was_put_off_before_the_clock_was_put_back_is_brought_forward(
    outbox: Outbox, file: OutboxFile
) -> None:
    now = file.clock.now
    await outbox.owe([new(subject) for subject in ("near", "far")])
    await outbox.owe([new("held", quiet_s=60.0), new("window", time_window="22:00-06:00")])
    taken = await take(outbox, most=2)
    await outbox.fail(taken["near"], reason="no", due_at=now + 60)
    await outbox.fail(taken["far"], reason="no", due_at=now + 7200)
    file.clock.now -= 3600
    assert await outbox.bring_forward(latest_s=3700) == 1
    due = {job.subject: job.due_at async for job in outbox.list(Choice())}
    assert (due["near"], due["far"], due["window"]) == (now + 60, file.clock.now, now + 10 * 3600)
    file.clock.now -= 86400 * 3
    await outbox.bring_forward(latest_s=3700)
    assert set(await due_lanes(outbox, file.clock.now)) == {LANE}
    assert sorted(await take(outbox)) == ["far", "held", "near"], "and windows are looked at when a job is taken"


# --- Holds and windows -----------------------------------------------------------------------------------------------


async def test_what_is_held_is_let_go_when_its_study_has_been_quiet(outbox: Outbox, file: OutboxFile) -> None:
    begun = file.clock.now
    for number in range(5):
        await outbox.owe([new(str(number), quiet_s=60.0)])
        file.clock.now += 50
        assert await outbox.open_lanes() == []
    file.clock.now = begun + 4 * 50 + 59
    assert await outbox.open_lanes() == []
    file.clock.now += 1
    assert list(await due_lanes(outbox, file.clock.now)) == [LANE]
    assert sorted(await take(outbox)) == list("01234")
    assert file.rows("SELECT * FROM job_holds") == []


async def test_studies_and_rules_are_held_by_themselves(outbox: Outbox, file: OutboxFile) -> None:
    other = forwards("DEST", "other")
    await outbox.owe([new("a", quiet_s=10.0), new("b", quiet_s=20.0, study_uid="1.3")])
    await outbox.owe([new("c", lane=other, quiet_s=30.0)])
    for lane, subject in ((LANE, "a"), (LANE, "b"), (other, "c")):
        file.clock.now += 10
        assert await due_lanes(outbox, file.clock.now) == [lane]
        assert list(await take(outbox, lane)) == [subject]


async def test_a_large_study_is_let_go_whole(outbox: Outbox, file: OutboxFile) -> None:
    await outbox.owe([new(str(number), quiet_s=10.0) for number in range(1700)])
    file.clock.now += 10
    await outbox.open_lanes()
    assert len(await take(outbox, most=5000)) == 1700
    assert file.rows("SELECT * FROM job_holds") == []


async def test_other_lanes_do_not_wait_until_very_much_has_been_let_go(
    outbox: Outbox, file: OutboxFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_rows, "CHUNK", 10)
    count, called = 250, list[str]()
    await outbox.owe([new(str(number), quiet_s=60.0) for number in range(count)])
    file.clock.now += 60
    outbox.when_added(called.append)
    assert [lane.lane for lane in await outbox.open_lanes()] == [LANE]
    assert sorted(set((await standings(outbox)).values())) == ["held", "waiting"]
    assert called == [""], "there is more to be let go"
    await outbox.open_lanes()
    assert set((await standings(outbox)).values()) == {"waiting"}
    assert called == [""]


async def test_a_delayed_job_is_due_later_and_put_off_by_the_same_one(outbox: Outbox, file: OutboxFile) -> None:
    for _ in range(3):
        await outbox.owe([new("a", delay_s=10.0)])
        assert [lane.due_at for lane in await outbox.open_lanes()] == [file.clock.now + 10]
        file.clock.now += 9
    file.clock.now += 1
    assert list(await take(outbox)) == ["a"]


@pytest.mark.usefixtures("_utc")
async def test_a_job_is_done_only_within_its_time_window(outbox: Outbox, file: OutboxFile) -> None:
    noon = file.clock.now
    evening, morning = noon + 10 * 3600, noon + 18 * 3600
    night = "22:00-06:00"
    await outbox.owe([new("a", time_window=night), new("b", time_window=night), new("c")])
    (done,) = (await take(outbox)).values()
    assert done.subject == "c"
    await outbox.settle([Settled(job=done)])
    assert [lane.due_at for lane in await outbox.open_lanes()] == [evening]
    file.clock.now = evening
    (done,) = (await take(outbox, most=1)).values()
    assert done.subject == "a"
    await outbox.settle([Settled(job=done)])
    file.clock.now = morning
    assert await due_lanes(outbox, morning) == [LANE]
    assert await take(outbox) == {}, "what was due in the night and not done waits for the next"
    assert [lane.due_at for lane in await outbox.open_lanes()] == [evening + 86400]


@pytest.mark.usefixtures("_utc")
async def test_others_of_the_lane_do_not_wait_behind_a_closed_window(outbox: Outbox, file: OutboxFile) -> None:
    file.clock.now += 11 * 3600
    await outbox.owe([new(str(number), time_window="22:00-06:00") for number in range(100)])
    file.clock.now += 8 * 3600
    await outbox.owe([new("now")])
    assert list(await take(outbox, most=10)) == ["now"]


async def test_a_window_that_nobody_can_read_is_open(outbox: Outbox) -> None:
    await outbox.owe([new("a", time_window="at night")])
    assert list(await take(outbox)) == ["a"]


# --- By hand ---------------------------------------------------------------------------------------------------------


async def test_jobs_are_listed_and_counted_as_they_stand(outbox: Outbox, file: OutboxFile) -> None:
    now = file.clock.now
    await outbox.owe([new("dead"), new("runs"), new("waits"), new("b", lane=forwards("B"))])
    await outbox.owe([new("held", quiet_s=30.0)])
    taken = await take(outbox, most=2)
    await outbox.fail(taken["dead"], reason="refused", due_at=now, give_up=True)
    assert await standings(outbox) == {
        "dead": "dead",
        "runs": "running",
        "waits": "waiting",
        "b": "waiting",
        "held": "held",
    }
    other, lane = await outbox.lanes(Choice())
    assert (lane.waiting, lane.held, lane.running, lane.dead) == (1, 1, 1, 1)
    assert (lane.oldest_at, lane.next_due_at, lane.last_error) == (now, now, "refused")
    assert (other.lane, other.waiting, other.last_error) == (forwards("B"), 1, "")
    held = [job async for job in outbox.list(Choice(standings=[JobStanding.HELD]))]
    assert [(job.subject, job.held_until) for job in held] == [("held", now + 30)]
    some = Choice(
        destination="DEST", kind=JobKind.FORWARD, rule="rule", standings=[JobStanding.DEAD, JobStanding.RUNNING]
    )
    assert [job.subject async for job in outbox.list(some)] == ["dead", "runs"]
    assert [job async for job in outbox.list(Choice(rule="none"))] == []
    assert (await outbox.get([1, 99])).keys() == {1}


async def test_what_is_retried_is_due_at_once_and_whoever_works_is_told(file: OutboxFile) -> None:
    async with file.opened() as worker, file.opened() as tool:
        await worker.owe([new("dead"), new("late"), new("runs"), new("held", quiet_s=60.0)])
        taken = await take(worker, most=3)
        await worker.fail(taken["dead"], reason="no", due_at=0.0, give_up=True)
        await worker.fail(taken["late"], reason="no", due_at=file.clock.now + 1000)
        await worker.open_lanes()
        before = worker.retries
        ids = [job.id async for job in tool.list(Choice())]
        assert len(await tool.retry(ids)) == 3, "what runs is left alone"
        assert await due_lanes(worker, file.clock.now) == [LANE]
        assert worker.retries == before + 1
        again = await take(worker)
        assert sorted(again) == ["dead", "held", "late"]
        assert {(job.attempts, job.last_error, job.failing_since) for job in again.values()} == {(0, "", None)}
        assert await worker.settle([Settled(job=taken["runs"])]) == []


async def test_what_is_cancelled_is_forgotten_even_while_it_runs(outbox: Outbox) -> None:
    await outbox.owe([new("a"), new("b")])
    taken = await take(outbox, most=1)
    assert await outbox.cancel([1, 2, 3]) == [1, 2]
    assert await outbox.settle([Settled(job=taken["a"])]) == [taken["a"]]
    assert await standings(outbox) == {}


async def test_jobs_of_an_object_that_is_deleted(outbox: Outbox, file: OutboxFile) -> None:
    await outbox.owe([new("1.2.3"), new("1.2.3", lane=forwards("B")), new("1.2.4")])
    await outbox.owe([new("1.2.3", lane=Lane("B", JobKind.ASK))])
    with contextlib.closing(sqlite3.connect(file.path, isolation_level=None)) as connection:
        writer = IndexWriter(connection)
        owed = job_rows.outstanding(writer, "1.2.3")
        assert sorted(job.lane for job in owed) == [Lane("B", JobKind.ASK), forwards("B"), LANE]
        assert job_rows.cancel_of(writer, subjects=["1.2.3", "1.2.5"]) == 2
    assert await standings(outbox) == {"1.2.3": "waiting", "1.2.4": "waiting"}


# --- Told ------------------------------------------------------------------------------------------------------------


async def test_whoever_wants_to_know_is_told_of_new_jobs(outbox: Outbox) -> None:
    told: list[str] = []
    outbox.added()
    outbox.when_added(told.append)
    await outbox.owe([new("a")])
    outbox.added("CT1")
    outbox.when_added(None)
    await outbox.owe([new("b")])
    assert told == ["", "CT1"]


async def test_what_other_processes_write_is_seen_and_nothing_is_read_twice(file: OutboxFile) -> None:
    async with file.opened() as worker, file.opened() as tool:
        first = await worker.open_lanes()
        assert await worker.open_lanes() is first
        await tool.owe([new("a")])
        second = await worker.open_lanes()
        assert [lane.lane for lane in second] == [LANE]
        assert await worker.open_lanes() is second


# --- At any size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "values", "index"),
    [
        pytest.param(lane_scan.NEXT_LANE, ("", "", ""), "jobs_waiting", id="next lane"),
        pytest.param(lane_scan.FIRST_DUE, ("", "", ""), "jobs_waiting", id="first due"),
        pytest.param(lane_scan.LIMITS, (), "jobs_running", id="holds and leases"),
        pytest.param(job_rows.NEXT, ("", "", "", 1, 0.0, 1), "jobs_waiting", id="take"),
        pytest.param(job_rows.HOLDS_OVER, (0.0, 1), "job_holds_by_time", id="holds that are over"),
        pytest.param(job_rows.LET_GO, (0.0, 1, 1), "jobs_held", id="let go"),
        pytest.param(job_rows.FIND_HOLD, ("", ""), "job_holds_by_study", id="hold of a study"),
        pytest.param(job_rows.RELEASE_EXPIRED[0], (0.0,), "jobs_running", id="leases that ran out"),
        pytest.param(job_rows.RELEASE_EXPIRED[1], (0.0,), "jobs_running", id="leases of the future"),
        pytest.param(job_rows.RELEASE_ALL, (), "jobs_running", id="all leases"),
        pytest.param(job_rows.GIVE_UP, (0.0, "", "", "", "", 1, 0.0, 0.0, 1), "jobs_waiting", id="give up"),
        pytest.param(job_rows.NOT_SO_LATE, (0.0, "", "", "", 1, 0.0, 0.0), "jobs_waiting", id="bring forward"),
        pytest.param(job_rows.OF_SUBJECT, ("",), "jobs_by_subject", id="of an object"),
    ],
)
def test_no_statement_looks_at_more_jobs_than_it_needs(
    file: OutboxFile, statement: str, values: tuple[object, ...], index: str
) -> None:
    steps = [str(row[3]) for row in file.rows(f"EXPLAIN QUERY PLAN {statement}", *values)]
    assert any(index in step for step in steps), steps
    # A scan of the index of running jobs reads what runs, not what waits.
    scans = [step for step in steps if step.startswith("SCAN") and "jobs_running" not in step]
    assert [step for step in scans if "CONSTANT ROW" not in step] == []
    assert not any("TEMP B-TREE" in step for step in steps), steps


async def test_a_lane_is_not_slowed_down_by_what_waits_in_it(outbox: Outbox, file: OutboxFile) -> None:
    """So many steps of SQLite's machine, which does not depend on what else this computer does."""
    await outbox.owe([new(str(number)) for number in range(200)])
    few = _steps(file)
    await outbox.owe([new(f"1.{number}") for number in range(20_000)])
    assert _steps(file) < few * 1.5


def _steps(file: OutboxFile) -> int:
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with contextlib.closing(sqlite3.connect(file.path, isolation_level=None)) as connection:
        connection.set_progress_handler(count, 1)
        list(lane_scan.lanes_of(connection))
        connection.execute(lane_scan.FIRST_DUE, (LANE.destination, LANE.kind.value, LANE.rule)).fetchall()
        connection.execute("BEGIN")
        job_rows.take(IndexWriter(connection), LANE, most=10, lease="x", now=file.clock.now, until=0.0)
        connection.execute("ROLLBACK")
    return steps


async def test_values_survive_the_table(outbox: Outbox, file: OutboxFile) -> None:
    owed = new(
        "1.2.3",
        priority=Priority.HIGH,
        wants_commitment=True,
        study_uid="1.2",
        delay_s=3.0,
    )
    await outbox.owe([owed])
    now = file.clock.now
    job = await only(outbox)
    assert job == Job(
        id=job.id,
        lane=LANE,
        subject="1.2.3",
        study_uid="1.2",
        priority=Priority.HIGH,
        time_window="",
        wants_commitment=True,
        state=JobState.WAITING,
        created_at=now,
        due_at=now + 3,
        attempts=0,
        last_error="",
        lease="",
    )
    file.clock.now += 3
    (taken,) = (await take(outbox)).values()
    assert taken == replace(job, state=JobState.RUNNING, lease=taken.lease)
    assert taken == await only(outbox)
