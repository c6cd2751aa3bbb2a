"""Working off the outbox: what is owed is done, tried again, given up; what fails somewhere harms nothing elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from kit.outboxes import LANE, LEASE_S, NOON, OutboxFile, forwards, new, outbox_file
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job, JobKind, Lane, Priority
from pacslite.archive.jobs import Choice, Outbox, Settled
from pacslite.errors import AssociationError
from pacslite.facts import (
    DestinationFailed,
    DestinationRecovered,
    Fact,
    JobFailed,
    JobGivenUp,
    JobsGivenUp,
    RoundEnded,
    TaskFailed,
)
from pacslite.services.outbox import OutboxManner, OutboxWorker, Performer, Round

F = TypeVar("F", bound=Fact)
Deed = Callable[[Round], Awaitable[None]]

# One attempt after the other is 10, 20, 40 s later: the middle of what may be.
MANNER = OutboxManner(
    retry_first_s=10.0, retry_most_s=100.0, retry_for_s=1000.0, lease_s=LEASE_S, poll_s=0.02, round_s=10.0
)


async def deliver(round: Round) -> None:
    """Whatever there is, one after the other."""
    while jobs := await round.take(2):
        for job in jobs:
            round.done(job)


async def until_over(round: Round) -> None:
    """Take a job, and keep at it for as long as that may be."""
    (job,) = await round.take(1)
    while not round.is_over:
        await round.wait(1.0)
    round.give_back(job)


async def unreachable(round: Round) -> None:
    await round.take(2)
    raise AssociationError("nobody there")


@dataclass
class Deeds:
    """A performer that does in each lane what the test says, and knows what was begun."""

    usual: Deed = deliver
    by_lane: dict[Lane, Deed] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)

    async def perform(self, round: Round, /) -> None:
        self.rounds.append(round)
        await self.by_lane.get(round.lane, self.usual)(round)

    @property
    def lanes(self) -> list[Lane]:
        return [round.lane for round in self.rounds]


class Bench:
    """An outbox, who works it off, and what was told."""

    def __init__(self, file: OutboxFile, outbox: Outbox) -> None:
        self.file = file
        self.outbox = outbox
        self.deeds = Deeds()
        self.facts: list[Fact] = []
        self.places = 1
        self.is_urgent: Callable[[Lane], bool] = lambda lane: False

    @contextlib.asynccontextmanager
    async def working(
        self, *, manner: OutboxManner = MANNER, kinds: tuple[JobKind, ...] = tuple(JobKind)
    ) -> AsyncIterator[OutboxWorker]:
        performers: dict[JobKind, Performer] = dict.fromkeys(kinds, self.deeds)
        worker = OutboxWorker(
            self.outbox,
            performers,
            manner=manner,
            places=lambda _: self.places,
            observe=self.facts.append,
            urgent=lambda lane: self.is_urgent(lane),
            clock=self.file.clock,
            random=lambda: 0.5,
        )
        async with worker:
            yield worker

    def told(self, kind: type[F]) -> list[F]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    async def pass_time(self, seconds: float) -> None:
        self.file.clock.now += seconds
        await self.turn()

    async def turn(self) -> None:
        """Wait until the worker has looked at everything as it is now."""
        before = self.looks
        self.outbox.added()
        await until(lambda: self.looks >= before + 2, "two turns")

    @property
    def looks(self) -> int:
        return self._looks

    _looks = 0

    async def look(self) -> object:
        self._looks += 1
        return await Outbox.open_lanes(self.outbox)

    async def stands(self) -> dict[str, str]:
        return {job.subject: job.state.value async for job in self.outbox.list(Choice())}

    async def job(self, subject: str) -> Job:
        (job,) = [job async for job in self.outbox.list(Choice()) if job.subject == subject]
        return job

    async def until_owed(self, count: int) -> None:
        for _ in range(2000):
            if len(await self.stands()) == count:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"not {count} jobs but {await self.stands()}")

    def has_tried(self, tries: int) -> bool:
        return len(self.told(JobFailed)) + len(self.told(JobGivenUp)) >= tries

    async def until_ended(self, rounds: int) -> None:
        await until(lambda: len(self.told(RoundEnded)) >= rounds, f"{rounds} rounds")

    async def until_begun(self, rounds: int) -> None:
        await until(lambda: len(self.deeds.rounds) >= rounds, f"{rounds} rounds begun")


async def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"not within 10 s: {what}")


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    file = outbox_file(tmp_path)
    async with file.opened() as outbox:
        bench = Bench(file, outbox)
        monkeypatch.setattr(outbox, "open_lanes", bench.look)
        yield bench


# --- What is owed is done --------------------------------------------------------------------------------------------


async def test_what_is_owed_is_done(bench: Bench) -> None:
    await bench.outbox.owe([new("before")])
    async with bench.working():
        await bench.until_owed(0)
        await bench.outbox.owe([new(str(number)) for number in range(5)])
        await bench.until_owed(0)
    assert sum(ended.done for ended in bench.told(RoundEnded)) == 6
    assert bench.told(TaskFailed) == []


async def test_what_another_process_owes_is_found(bench: Bench) -> None:
    async with bench.working(), bench.file.opened() as tool:
        await tool.owe([new("a")])
        await bench.until_owed(0)


async def test_each_kind_has_its_own_performer_and_the_others_wait(bench: Bench) -> None:
    report, verify = Lane("CT1", JobKind.REPORT), Lane("", JobKind.VERIFY)
    await bench.outbox.owe([new("1", lane=report), new("2", lane=verify), new("3")])
    async with bench.working(kinds=(JobKind.FORWARD, JobKind.VERIFY)):
        await bench.until_owed(1)
        await bench.turn()
    assert sorted(bench.deeds.lanes) == sorted([verify, LANE])
    assert await bench.stands() == {"1": "waiting"}


async def test_a_round_waits_for_more(bench: Bench) -> None:
    waited: list[bool] = []

    async def linger(round: Round) -> None:
        await deliver(round)
        waited.append(await round.wait(10.0))
        await deliver(round)
        waited.append(await round.wait(0.0))

    bench.deeds.usual = linger
    async with bench.working():
        await bench.outbox.owe([new("a")])
        await until(lambda: bench.deeds.rounds, "a round")
        await bench.until_owed(0)
        await bench.outbox.owe([new("b")])
        await until(lambda: bench.told(RoundEnded), "its end")
    assert waited[0] is True
    assert [ended.done for ended in bench.told(RoundEnded)] == [2]


async def test_what_follows_from_a_job_is_done_too(bench: Bench) -> None:
    rows: list[str] = []

    async def forward(round: Round) -> None:
        for job in await round.take(10):
            round.done(job, lambda writer: rows.append(type(writer).__name__))

    bench.deeds.usual = forward
    await bench.outbox.owe([new("a")])
    async with bench.working():
        await bench.until_owed(0)
    assert rows == [IndexWriter.__name__]


# --- Destinations ----------------------------------------------------------------------------------------------------


async def test_a_destination_that_is_dead_or_slow_keeps_nobody_waiting(bench: Bench) -> None:
    dead, slow, alive = forwards("DEAD"), forwards("SLOW"), [forwards(f"ALIVE{number}") for number in range(20)]
    bench.deeds.by_lane = {dead: unreachable, slow: until_over}
    await bench.outbox.owe([new(lane.destination, lane=lane) for lane in (dead, slow, *alive)])
    async with bench.working():
        await bench.until_owed(2)
        assert sorted(bench.deeds.lanes) == sorted([dead, slow, *alive])


async def test_a_destination_is_left_alone_longer_and_longer_and_then_works_again(bench: Bench) -> None:
    bench.deeds.usual = unreachable
    await bench.outbox.owe([new("a"), new("b"), new("c")])
    async with bench.working():
        await until(lambda: bench.told(RoundEnded), "the first attempt")
        for attempts, wait_s in enumerate((10.0, 20.0, 40.0, 80.0), start=1):
            await bench.pass_time(wait_s - 0.1)
            assert len(bench.deeds.rounds) == attempts
            await bench.pass_time(0.1)
            await bench.until_ended(attempts + 1)
        assert [fact.retry_in_s for fact in bench.told(DestinationFailed)] == [10.0, 20.0, 40.0, 80.0, 100.0]
        assert (await bench.job("a")).last_error == "nobody there"
        bench.deeds.usual = deliver
        await bench.pass_time(100.0)
        await bench.until_owed(0)
        (recovered,) = bench.told(DestinationRecovered)
        assert (recovered.destination, recovered.failures, recovered.seconds) == ("DEST", 5, 250.0)
        bench.deeds.usual = unreachable
        await bench.outbox.owe([new("d")])
        await until(lambda: len(bench.told(DestinationFailed)) == 6, "another failure")
    assert bench.told(DestinationFailed)[-1].retry_in_s == 10.0
    assert bench.told(JobGivenUp) == []


async def test_all_lanes_of_a_destination_wait_for_it_and_count_one_failure(bench: Bench) -> None:
    bench.deeds.usual = unreachable
    bench.places = 3
    lanes = [forwards("A", "one"), forwards("A", "two"), Lane("A", JobKind.REPORT)]
    await bench.outbox.owe([new(str(number), lane=lane) for number, lane in enumerate(lanes)])
    async with bench.working():
        await until(lambda: len(bench.told(RoundEnded)) == 3, "three rounds")
        await bench.outbox.owe([new("new", lane=forwards("A", "three"))])
        await bench.turn()
        assert sorted(bench.deeds.lanes) == sorted(lanes)
        assert {fact.failures for fact in bench.told(DestinationFailed)} == {1}


async def test_a_lane_that_is_urgent_does_not_wait(bench: Bench) -> None:
    report = Lane("DEST", JobKind.REPORT)
    bench.deeds.usual = unreachable
    bench.is_urgent = lambda lane: lane.kind is JobKind.REPORT
    await bench.outbox.owe([new("a")])
    async with bench.working():
        await until(lambda: bench.told(DestinationFailed), "a failure")
        bench.deeds.by_lane[report] = deliver
        await bench.outbox.owe([new("r", lane=report)])
        await bench.until_owed(1)


@pytest.mark.parametrize("how", ["heard of", "new addresses", "retried by hand"])
async def test_a_destination_is_tried_at_once_when_there_is_reason_to(bench: Bench, how: str) -> None:
    bench.deeds.usual = unreachable
    await bench.outbox.owe([new("a"), new("b"), new("c")])
    async with bench.working() as worker, bench.file.opened() as tool:
        for wait_s in (0.0, 10.0, 20.0):
            before = len(bench.told(RoundEnded))
            await bench.pass_time(wait_s)
            await bench.until_ended(before + 1)
        bench.deeds.usual = deliver
        await bench.turn()
        assert len(bench.deeds.rounds) == 3
        match how:
            case "heard of":
                bench.outbox.added("DEST")
            case "new addresses":
                worker.retry_now()
            case _:
                await until(lambda: len(bench.told(JobFailed)) == 5, "what failed is written")
                assert len(await tool.retry([1, 2, 3])) == 3
        await until(lambda: len(bench.deeds.rounds) == 4, "another attempt")


async def test_a_destination_that_refuses_everything_is_left_alone(bench: Bench) -> None:
    async def refuse(round: Round) -> None:
        for job in await round.take(30):
            round.failed(job, "no room")

    bench.deeds.usual = refuse
    await bench.outbox.owe([new(str(number)) for number in range(40)])
    async with bench.working():
        await until(lambda: bench.told(RoundEnded), "a round")
        await bench.turn()
        assert len(bench.deeds.rounds) == 1
        await bench.pass_time(10.0)
        await until(lambda: len(bench.deeds.rounds) == 2, "the next")


# --- Jobs ------------------------------------------------------------------------------------------------------------


async def test_a_job_that_fails_comes_back_by_itself_and_is_given_up_in_the_end(bench: Bench) -> None:
    async def refuse_one(round: Round) -> None:
        while jobs := await round.take(5):
            for job in jobs:
                if job.subject == "bad":
                    round.failed(job, "refused")
                else:
                    round.done(job)

    bench.deeds.usual = refuse_one
    await bench.outbox.owe([new("bad"), new("good")])
    async with bench.working():
        await bench.until_owed(1)
        attempts = [NOON]
        await until(partial(bench.has_tried, 1), "the first try")
        while not bench.told(JobGivenUp):
            due_at = bench.told(JobFailed)[-1].due_at
            await bench.outbox.owe([new("good")])
            tries = len(bench.told(JobFailed)) + 1
            await bench.pass_time(due_at - bench.file.clock.now)
            await until(partial(bench.has_tried, tries), "a try")
            attempts.append(bench.file.clock.now)
        await bench.until_owed(1)
    assert [round(later - at) for at, later in pairwise(attempts)][:5] == [10, 20, 40, 80, 100]
    assert attempts[-1] == NOON + MANNER.retry_for_s, "the last attempt is when its time is up"
    (given_up,) = bench.told(JobGivenUp)
    assert (given_up.subject, given_up.reason, given_up.attempts) == ("bad", "refused", len(attempts))
    assert await bench.stands() == {"bad": "dead"}
    assert bench.told(DestinationFailed) == []


async def test_a_job_is_never_given_up_if_that_is_wanted(bench: Bench) -> None:
    bench.deeds.usual = unreachable
    await bench.outbox.owe([new("a")])
    async with bench.working(manner=replace(MANNER, retry_for_s=0.0)):
        for _ in range(3):
            await until(lambda: bench.told(RoundEnded), "an attempt")
            bench.facts.clear()
            await bench.pass_time(1e6)
        await until(lambda: bench.told(RoundEnded), "an attempt")
    assert await bench.stands() == {"a": "waiting"}


async def test_what_was_never_tried_is_given_up_with_its_destination(bench: Bench) -> None:
    bench.deeds.usual = unreachable
    await bench.outbox.owe([new(str(number)) for number in range(10)])
    bench.file.clock.now += MANNER.retry_for_s
    async with bench.working():
        await until(lambda: bench.told(RoundEnded), "the first attempt")
        await bench.outbox.owe([new("young")])
        assert "dead" not in (await bench.stands()).values(), "it may be away for a moment only"
        await bench.pass_time(MANNER.retry_most_s)
        await until(lambda: len(bench.told(RoundEnded)) == 2, "the second")
        given_up = bench.told(JobsGivenUp)
    assert sum(fact.jobs for fact in given_up) == 6, "four have been tried"
    stands = await bench.stands()
    assert (stands["young"], list(stands.values()).count("dead")) == ("waiting", 6)


async def test_what_is_cancelled_while_it_runs_is_known_before_long(bench: Bench) -> None:
    has: list[bool] = []
    cancelled = asyncio.Event()

    async def look(round: Round) -> None:
        (job,) = await round.take(1)
        has.append(round.has(job))
        await cancelled.wait()
        has.append(round.has(job))
        round.done(job, lambda writer: has.append(True))

    bench.deeds.usual = look
    await bench.outbox.owe([new("a")])
    async with bench.working(), bench.file.opened() as tool:
        await until(lambda: has, "it runs")
        assert await tool.cancel([1]) == [1]
        await bench.pass_time(LEASE_S / 2)
        cancelled.set()
        await until(lambda: bench.told(RoundEnded), "its end")
    assert has == [True, False]
    assert await bench.stands() == {}


# --- Defects ---------------------------------------------------------------------------------------------------------


async def test_a_defect_is_told_and_harms_nobody_else(bench: Bench) -> None:
    async def defect(round: Round) -> None:
        await round.take(1)
        raise KeyError("what")

    bench.deeds.by_lane = {LANE: defect}
    await bench.outbox.owe([new("a"), new("b"), new("c", lane=forwards("B"))])
    async with bench.working():
        await bench.until_owed(2)
        await until(lambda: bench.told(JobFailed), "the failure")
        (failed,) = bench.told(TaskFailed)
        assert failed.where == "forward DEST"
        assert "KeyError" in failed.trace
        assert (await bench.job("a")).last_error == "defect: KeyError('what')"
        await bench.turn()
        assert bench.deeds.lanes.count(LANE) == 1, "it is not tried again at once"
        await bench.pass_time(10.0)
        await until(lambda: bench.deeds.lanes.count(LANE) == 2, "but later")


async def test_a_performer_that_does_nothing_does_not_keep_the_worker_busy(bench: Bench) -> None:
    async def nothing(round: Round) -> None:
        await round.take(1)

    bench.deeds.usual = nothing
    await bench.outbox.owe([new("a")])
    async with bench.working():
        await until(lambda: bench.told(RoundEnded), "a round")
        await bench.turn()
        await bench.turn()
        assert len(bench.deeds.rounds) == 1
        assert bench.told(RoundEnded)[0].given_back == 1
        assert (await bench.job("a")).attempts == 0


async def test_a_consequence_that_fails_fails_its_job(bench: Bench) -> None:
    async def forward(round: Round) -> None:
        for job in await round.take(10):
            round.done(job, _no_statement if job.subject == "bad" else None)

    bench.deeds.usual = forward
    await bench.outbox.owe([new("bad"), new("good")])
    async with bench.working():
        await bench.until_owed(1)
        await until(lambda: bench.told(JobFailed), "the failure")
    assert (await bench.job("bad")).last_error.startswith("defect: OperationalError")
    assert [failed.where for failed in bench.told(TaskFailed)] == ["settling a job"]


def _no_statement(writer: IndexWriter) -> None:
    writer.connection.execute("no statement")


async def test_what_cannot_be_written_is_written_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0
    give_back = bench.outbox.give_back

    async def full(jobs: object) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise sqlite3.OperationalError("database or disk is full")
        monkeypatch.setattr(bench.outbox, "give_back", give_back)

    monkeypatch.setattr(bench.outbox, "give_back", full)
    monkeypatch.setattr("pacslite.services.settling._AGAIN_S", 0.01)
    await bench.outbox.owe([new("a"), new("b")])
    async with bench.working():
        await until(lambda: tries == 3, "the third try")
        await bench.until_owed(0)
    assert len(bench.told(TaskFailed)) == 1, "the same trouble is told once"


async def test_an_index_that_cannot_be_read_is_looked_at_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    async def broken() -> object:
        nonlocal looks
        looks += 1
        if looks == 2:
            monkeypatch.setattr(bench.outbox, "open_lanes", bench.look)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(bench.outbox, "open_lanes", broken)
    await bench.outbox.owe([new("a")])
    async with bench.working():
        await bench.until_owed(0)
    assert [failed.where for failed in bench.told(TaskFailed)] == ["the outbox", "the outbox"]


# --- Taking turns ----------------------------------------------------------------------------------------------------


async def test_forwards_share_the_associations_of_their_destination(bench: Bench) -> None:
    bench.places = 5
    bench.deeds.usual = until_over
    lanes = [forwards("A", name) for name in ("one", "two")]
    await bench.outbox.owe([new(str(number), lane=lane) for number, lane in enumerate(lanes)])
    async with bench.working():
        await until(lambda: len(bench.deeds.rounds) == 2, "two rounds")
        assert sorted(round.associations for round in bench.deeds.rounds) == [2, 3]
        other, report = forwards("B"), Lane("A", JobKind.REPORT)
        await bench.outbox.owe([new("3", lane=forwards("A", "three")), new("4", lane=other), new("5", lane=report)])
        await until(lambda: len(bench.deeds.rounds) == 4, "two more")
        assert sorted(bench.deeds.lanes[2:]) == sorted([other, report]), "what is no forward has places of its own"
        await bench.turn()
        assert len(bench.deeds.rounds) == 4
        bench.deeds.rounds[0].use(1)
        await until(lambda: len(bench.deeds.rounds) == 5, "places that are not used are others'")
        assert bench.deeds.lanes[-1] == forwards("A", "three")


async def test_lanes_of_equal_priority_take_turns(bench: Bench) -> None:
    bench.deeds.usual = until_over
    lanes = [forwards("A", name) for name in ("one", "two", "three")]
    await bench.outbox.owe([new(str(number), lane=lane) for number, lane in enumerate(lanes)])
    async with bench.working():
        for turns in range(1, 7):
            await bench.until_begun(turns)
            await bench.pass_time(MANNER.round_s - 1)
            assert not bench.deeds.rounds[-1].is_over
            await bench.pass_time(1)
    assert {bench.deeds.lanes[:3].count(lane) for lane in lanes} == {1}
    assert bench.deeds.lanes[:3] == bench.deeds.lanes[3:6]


async def test_a_round_that_nobody_waits_for_goes_on(bench: Bench) -> None:
    bench.deeds.usual = until_over
    await bench.outbox.owe([new("a"), new("b", lane=forwards("B"))])
    async with bench.working():
        await until(lambda: len(bench.deeds.rounds) == 2, "two rounds")
        await bench.pass_time(MANNER.round_s * 10)
        assert not any(round.is_over for round in bench.deeds.rounds)


async def test_what_is_urgent_does_not_wait_for_a_queue(bench: Bench) -> None:
    low, high = forwards("A", "low"), forwards("A", "high")
    bench.deeds.by_lane = {low: until_over}
    await bench.outbox.owe([new(f"low{number}", lane=low, priority=Priority.LOW) for number in range(50)])
    async with bench.working():
        await until(lambda: bench.deeds.rounds, "the queue is being worked off")
        await bench.outbox.owe([new("high", lane=high, priority=Priority.HIGH)])
        await bench.until_owed(50)
        await until(lambda: len(bench.deeds.rounds) >= 3, "and goes on")
    assert bench.deeds.lanes[:3] == [low, high, low]


# --- Leases and clocks -----------------------------------------------------------------------------------------------


async def test_what_takes_long_stays_ours(bench: Bench) -> None:
    finish = asyncio.Event()

    async def slow(round: Round) -> None:
        (job,) = await round.take(1)
        await finish.wait()
        round.done(job)

    bench.deeds.usual = slow
    await bench.outbox.owe([new("a")])
    async with bench.working(), bench.file.opened() as other:
        await until(lambda: bench.deeds.rounds, "it runs")
        for seconds in (LEASE_S / 2, LEASE_S / 2, LEASE_S / 2, 86400.0, -86400.0):
            await bench.pass_time(seconds)
            assert await other.open_lanes() == []
        finish.set()
        await bench.until_owed(0)
    assert len(bench.deeds.rounds) == 1


async def test_a_clock_that_is_put_back_delays_nothing(bench: Bench) -> None:
    bench.deeds.usual = unreachable
    manner = replace(MANNER, longest_s=200.0)
    await bench.outbox.owe([new("a")])
    async with bench.working(manner=manner):
        await until(lambda: bench.told(RoundEnded), "an attempt")
        await bench.turn()
        bench.deeds.usual = deliver
        await bench.pass_time(-86400.0)
        await bench.until_owed(0)


async def test_a_start_after_the_clock_was_put_back_delays_nothing(bench: Bench) -> None:
    await bench.outbox.owe([new("a"), new("held", quiet_s=60.0)])
    bench.file.clock.now -= 86400.0 * 30
    async with bench.working():
        await bench.until_owed(0)


# --- The end ---------------------------------------------------------------------------------------------------------


async def test_stopping_lets_rounds_come_to_their_end_and_writes_what_was_done(bench: Bench) -> None:
    async def careful(round: Round) -> None:
        jobs = await round.take(3)
        while not round.is_over:
            await round.wait(10.0)
        assert await round.take(3) == ()
        round.done(jobs[0])
        round.failed(jobs[1], "no")

    bench.deeds.usual = careful
    await bench.outbox.owe([new("a"), new("b"), new("c")])
    async with bench.working() as worker:
        await until(lambda: bench.deeds.rounds and bench.deeds.rounds[0].held, "it runs")
        await worker.stop(10.0)
        stands = await bench.stands()
    assert stands == {"b": "waiting", "c": "waiting"}
    assert (await bench.job("b")).attempts == 1
    assert (await bench.job("c")).attempts == 0
    await bench.outbox.owe([new("d")])
    assert len(bench.deeds.rounds) == 1


async def test_stopping_breaks_off_what_does_not_end(bench: Bench) -> None:
    async def deaf(round: Round) -> None:
        await round.take(1)
        await asyncio.Event().wait()

    bench.deeds.usual = deaf
    await bench.outbox.owe([new("a")])
    async with bench.working() as worker:
        await until(lambda: bench.deeds.rounds and bench.deeds.rounds[0].held, "it runs")
        await worker.stop(0.0)
    job = await bench.job("a")
    assert (job.state.value, job.attempts, job.lease) == ("waiting", 0, "")


async def test_what_is_being_taken_when_it_ends_is_given_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    taking, may_go_on = asyncio.Event(), asyncio.Event()
    take = bench.outbox.take

    async def slow_take(lane: Lane, *, most: int, lease_s: float) -> object:
        taken = await take(lane, most=most, lease_s=lease_s)
        taking.set()
        await may_go_on.wait()
        return taken

    monkeypatch.setattr(bench.outbox, "take", slow_take)
    await bench.outbox.owe([new("a")])
    async with bench.working() as worker:
        await taking.wait()
        stopping = asyncio.create_task(worker.stop(0.0))
        await asyncio.sleep(0)
        may_go_on.set()
        await stopping
    assert await bench.stands() == {"a": "waiting"}


async def test_a_job_settled_twice_or_by_a_stranger_is_nothing(bench: Bench) -> None:
    async def twice(round: Round) -> None:
        (job,) = await round.take(1)
        round.done(replace(job, lease="another"))
        round.done(job)
        round.failed(job, "no")
        round.give_back(job)

    bench.deeds.usual = twice
    await bench.outbox.owe([new("a")])
    async with bench.working():
        await bench.until_owed(0)
    assert [(ended.done, ended.failed) for ended in bench.told(RoundEnded)] == [(1, 0)]


async def test_a_server_that_was_killed_left_a_lease_that_its_successor_ends(bench: Bench) -> None:
    async with bench.file.opened() as killed:
        await killed.owe([new("a")])
        (lost,) = await killed.take(LANE, most=1, lease_s=LEASE_S)
    assert await bench.outbox.release_all() == 1
    async with bench.working():
        await bench.until_owed(0)
    assert await bench.outbox.settle([Settled(job=lost)]) == [lost]
