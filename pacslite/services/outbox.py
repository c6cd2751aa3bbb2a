"""Working off the outbox: rounds of lanes, as many at once as may be, and each destination left alone while it fails.

Theory of operation
-------------------
Each turn of the worker looks which lanes have something due (:meth:`Outbox.open_lanes`) and starts a round for each of
those that may begin. A round is a task: the performer of its kind takes jobs and settles them. Lanes know nothing of
each other, so a destination that is dead or slow blocks no other, nor what else is to go to it.

Only forwards share something: the associations that a destination takes (``places``). They go to the lanes of the best
priority first, and among equals to the one that has waited longest. A round that has had its time ends when another
lane of its destination waits for a place; one of a lower priority ends at once. So what is urgent waits for what is in
flight, not for a queue.

What fails comes back later (``retrying.py``): a job by its own back-off, or all of a destination by that of the
destination. What becomes of jobs is written together (``settling.py``).

Turns come when jobs are added (:meth:`Outbox.added`), when a round ends, when something becomes due, and every
``poll_s`` seconds, for what other processes add; then it costs one statement to see that nobody has written.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from pacslite.archive.job import Job, JobKind, Lane, Priority
from pacslite.archive.jobs import OpenLane, Outbox, Settled
from pacslite.errors import AssociationError
from pacslite.facts import JobsGivenUp, Observe, RoundEnded, TaskFailed
from pacslite.services.retrying import OutboxManner, Retrying
from pacslite.services.rounds import Performer, Round
from pacslite.services.settling import Settling

__all__ = ["OutboxManner", "OutboxWorker", "Performer", "Round"]

_GAP_S: Final = 0.05
"""From one turn to the next at least: jobs may be added hundreds of times a second."""
_FLUSH_S: Final = 5.0
"""How long the end waits for what was broken off, and for the index to be writable; leases that are left are released
at the next start."""


class OutboxWorker:
    """Works while its ``async with`` block runs. Kinds without a performer are left waiting.

    ``places`` tells how many associations forwards may have open at once to a destination. ``urgent`` lanes begin even
    if their destination could not be reached a moment ago: it has found us, and waits.
    """

    def __init__(
        self,
        outbox: Outbox,
        performers: Mapping[JobKind, Performer],
        *,
        manner: OutboxManner,
        places: Callable[[str], int],
        observe: Observe,
        urgent: Callable[[Lane], bool] = lambda lane: False,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._performers = performers
        self._manner = manner
        self._places = places
        self._urgent = urgent
        self._observe = observe
        self._clock = clock
        self._retrying = Retrying(manner, observe=observe, clock=clock, random=random)
        self._settling = Settling(outbox, decide=self._retrying.failure, observe=observe, wrote=self._wake)
        self._rounds: dict[Lane, tuple[Round, asyncio.Task[None]]] = {}
        self._served: dict[Lane, float] = {}
        self._renewed_at = clock()
        self._looked_at: float | None = None
        self._retries: int | None = None
        self._woken = asyncio.Event()
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._outbox.when_added(self._added)
        self._tasks = [asyncio.create_task(self._settling.run()), asyncio.create_task(self._run())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(0.0)

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; let what runs come to its end for ``grace_s`` seconds, then break it off."""
        self._is_stopping = True
        self._outbox.when_added(None)
        self._wake()
        for round, _ in self._rounds.values():
            round.end()
        running = [task for _, task in self._rounds.values()]
        if running:
            _, late = await asyncio.wait(running, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.wait(running, timeout=_FLUSH_S)
        await self._settling.flush(_FLUSH_S)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def retry_now(self) -> None:
        """Peers may have other addresses: try all destinations again, and end rounds that go by the old ones."""
        self._retrying.forget()
        for round, _ in self._rounds.values():
            round.end()
        self._wake()

    # --- Turns ---

    async def _run(self) -> None:
        while not self._is_stopping:
            self._woken.clear()
            try:
                wait_s = await self._turn()
            except Exception as error:  # the index cannot be read at the moment, or a defect: the next turn may do
                self._tell_defect("the outbox", error)
                wait_s = self._manner.poll_s
                await asyncio.sleep(wait_s)
            await asyncio.sleep(min(_GAP_S, wait_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait_s - _GAP_S, 0.0)):
                    await self._woken.wait()

    async def _turn(self) -> float:
        """Start what may begin; answers how long nothing more will be to do, as far as can be known."""
        await self._check_clock()
        lanes = await self._outbox.open_lanes()
        if self._is_stopping:
            return 0.0
        self._notice_retries()
        now = self._clock()
        next_at = now + self._manner.poll_s
        waiting: dict[str, list[tuple[Priority, float, Lane]]] = defaultdict(list)
        for lane in lanes:
            if lane.lane.kind not in self._performers:
                continue
            at, priority = self._ready_at(lane, now), lane.priority(now)
            if lane.lane in self._rounds:
                if priority is not None:
                    self._rounds[lane.lane][0].tell()
            elif at > now or priority is None:
                next_at = min(next_at, at)
            elif lane.lane.kind is JobKind.FORWARD:
                waiting[lane.lane.destination].append((priority, self._served.get(lane.lane, -math.inf), lane.lane))
            else:
                self._start(lane.lane, 1)
        due = {lane.lane: lane.priority(now) for lane in lanes}
        for destination, some in waiting.items():
            self._share(destination, sorted(some), due, now)
        return max(next_at - now, 0.0)

    def _ready_at(self, lane: OpenLane, now: float) -> float:
        """When the lane may begin, if its first job is due by then."""
        if self._urgent(lane.lane):
            return lane.due_at
        return max(lane.due_at, self._retrying.ready_at(lane.lane, now))

    def _share(
        self,
        destination: str,
        waiting: Sequence[tuple[Priority, float, Lane]],
        due: Mapping[Lane, Priority | None],
        now: float,
    ) -> None:
        """Start forwards as far as there are places; who is left over has others make room."""
        running = [
            round
            for lane, (round, _) in self._rounds.items()
            if lane.destination == destination and lane.kind is JobKind.FORWARD
        ]
        # A peer that is configured no more has no place; its performer says so.
        free = max(self._places(destination), 1) - sum(round.associations for round in running)
        left = list(waiting)
        while left and free > 0:
            equals = sum(priority == left[0][0] for priority, _, _ in left)
            _, _, lane = left.pop(0)
            places = max(free // equals, 1)
            self._start(lane, places)
            free -= places
        if not left:
            return
        for round in running:
            priorities = [job.priority for job in round.held]
            if (priority := due.get(round.lane)) is not None:
                priorities.append(priority)
            has_had_its_time = not round.began_at <= now < round.began_at + self._manner.round_s
            if has_had_its_time or (priorities and min(priorities) > left[0][0]):
                round.end()

    # --- Rounds ---

    def _start(self, lane: Lane, associations: int) -> None:
        now = self._clock()
        round = Round(
            lane,
            associations,
            outbox=self._outbox,
            lease_s=self._manner.lease_s,
            began_at=now,
            settle=self._settle,
            fail=lambda job, reason: self._settling.put(self._retrying.failure(job, reason)),
            changed=self._wake,
        )
        self._served[lane] = now
        self._rounds[lane] = round, asyncio.create_task(self._perform(round))

    async def _perform(self, round: Round) -> None:
        lane = round.lane
        try:
            error = await self._outcome(round)
            was_ended = round.is_over
            await round.close()
            left = round.held
            match error:
                case None:
                    for job in left:
                        round.give_back(job)
                    self._retrying.round_ended(round, given_back=len(left), was_ended=was_ended)
                case AssociationError():
                    await self._destination_failed(round, str(error))
                case _:
                    self._retrying.lane_failed(round)
                    for job in left:
                        round.failed(job, f"defect: {error!r}")
            self._tell_ended(round, given_back=0 if error else len(left))
        except Exception as error:
            self._tell_defect("the end of a round", error)
        finally:
            del self._rounds[lane]
            self._wake()

    async def _outcome(self, round: Round) -> Exception | None:
        """What the round raised; a defect is told."""
        try:
            await self._performers[round.lane.kind].perform(round)
        except AssociationError as error:
            return error
        except asyncio.CancelledError:  # by stop(); what is held is given back
            return None
        except Exception as error:
            self._tell_defect(f"{round.lane.kind} {round.lane.destination}".rstrip(), error)
            return error
        return None

    async def _destination_failed(self, round: Round, reason: str) -> None:
        streak = self._retrying.destination_failed(round, reason)
        round.tally.failed += len(round.held)
        # It is the destination that is waited for: when that ends sooner, by a call or a restart, so do they. But there
        # are urgent lanes, which do not wait for it.
        due_at = min(streak.until, self._clock() + self._manner.retry_first_s)
        for job in round.held:
            round.lose(job)
            self._settling.put(self._retrying.failure_with_others(job, reason, due_at=due_at))
        before, lane = self._retrying.give_up_before(streak), round.lane
        count = 0 if before is None else await self._outbox.give_up(lane, before=before, reason=reason)
        if count:
            self._observe(
                JobsGivenUp(
                    kind=lane.kind.value, destination=lane.destination, rule=lane.rule, jobs=count, reason=reason
                )
            )

    def _settle(self, entry: Settled | Job) -> None:
        self._settling.put(entry)
        if isinstance(entry, Settled) and self._retrying.reached(entry.job.lane.destination):
            self._wake()

    # --- What happens meanwhile ---

    def _wake(self) -> None:
        self._woken.set()

    def _added(self, destination: str) -> None:
        if destination:
            self._retrying.forget(destination)
        for round, _ in self._rounds.values():
            round.tell()
        self._wake()

    def _notice_retries(self) -> None:
        """Whoever has jobs retried by hand has repaired something: no destination waits any longer for that."""
        if self._retries is not None and self._retries != self._outbox.retries:
            self._retrying.forget()
        self._retries = self._outbox.retries

    async def _check_clock(self) -> None:
        """Renew leases in time, and when the clock was put forward before anybody takes them for expired ones. When it
        was put back, now or while nobody worked, bring forward what would be due too late."""
        now = self._clock()
        if not self._renewed_at <= now < self._renewed_at + self._manner.lease_s / 3:
            await self._renew(now)
        if self._looked_at is None or now < self._looked_at:
            await self._outbox.bring_forward(latest_s=self._manner.longest_s)
        self._looked_at = now

    async def _renew(self, now: float) -> None:
        jobs = [*self._settling.jobs, *(job for round, _ in self._rounds.values() for job in round.held)]
        lost = await self._outbox.renew(jobs, lease_s=self._manner.lease_s) if jobs else ()
        self._renewed_at = now
        for job in lost:
            if job.lane in self._rounds:
                self._rounds[job.lane][0].lose(job)

    def _tell_ended(self, round: Round, *, given_back: int) -> None:
        lane, tally = round.lane, round.tally
        self._observe(
            RoundEnded(
                kind=lane.kind.value,
                destination=lane.destination,
                rule=lane.rule,
                done=tally.done,
                failed=tally.failed,
                given_back=given_back,
                seconds=max(self._clock() - round.began_at, 0.0),
            )
        )

    def _tell_defect(self, where: str, error: BaseException) -> None:
        self._observe(TaskFailed(where=where, error=repr(error), trace="".join(traceback.format_exception(error))))
