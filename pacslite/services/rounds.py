"""A turn of a lane of the outbox: what whoever performs it takes, and what becomes of that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from pacslite.archive.job import Job, Lane
from pacslite.archive.jobs import Change, Outbox, Settled

Key = tuple[int, str]
"""A job under a lease: made new and taken again it is another one."""


class Performer(Protocol):
    """Does the jobs of one kind."""

    async def perform(self, round: Round, /) -> None:
        """Take jobs and settle them until none are left, or the round is over.

        :class:`~pacslite.errors.AssociationError` says that the destination could not be reached, or was lost: what was
        taken and not settled fails with it, and nothing is begun there until its back-off ends. What is neither
        settled nor failed when this ends is given back.
        """


@dataclass(slots=True)
class Tally:
    """What became of the jobs of a round."""

    taken: int = 0
    done: int = 0
    failed: int = 0


class Round:
    """One turn of ``lane`` at its destination. It is for one task and those that it starts."""

    def __init__(
        self,
        lane: Lane,
        associations: int,
        *,
        outbox: Outbox,
        lease_s: float,
        began_at: float,
        settle: Callable[[Settled | Job], None],
        fail: Callable[[Job, str], None],
        changed: Callable[[], None],
    ) -> None:
        self.lane = lane
        self.began_at = began_at
        self.tally = Tally()
        self._associations = associations
        self._outbox = outbox
        self._lease_s = lease_s
        self._settle = settle
        self._fail = fail
        self._changed = changed
        self._held: dict[Key, Job] = {}
        self._taking: set[asyncio.Task[None]] = set()
        self._is_over = False
        self._news = asyncio.Event()

    # --- For the performer ---

    @property
    def associations(self) -> int:
        """How many associations it may open at once."""
        return self._associations

    def use(self, associations: int) -> None:
        """It makes do with fewer of them: other lanes of the destination may use the rest."""
        if associations < self._associations:
            self._associations = max(associations, 1)
            self._changed()

    @property
    def is_over(self) -> bool:
        """Begin nothing more: it is somebody else's turn, or the server stops."""
        return self._is_over

    async def take(self, most: int) -> Sequence[Job]:
        """The next jobs of the lane; none if none are due, or the round is over."""
        if self._is_over:
            return ()
        self._news.clear()
        taken: list[Job] = []
        # The taking is committed whether or not somebody still waits for it, so that must not be forgotten.
        taking = asyncio.create_task(self._take(most, taken))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)
        await asyncio.shield(taking)
        return taken

    async def wait(self, within_s: float) -> bool:
        """Wait for there to be more to take: False if there is nothing within that time, or the round is over."""
        if self._is_over:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._news.wait()
                self._news.clear()  # else whoever waits again without taking would never let others have the loop
                return not self._is_over
        return False

    def has(self, job: Job) -> bool:
        """Whether it is still ours to do: it may have been cancelled or made new, and then it settles nothing."""
        return (job.id, job.lease) in self._held

    def done(self, job: Job, change: Change | None = None) -> None:
        """It leaves the outbox, together with ``change``, in one of the next transactions."""
        if self._held.pop((job.id, job.lease), None) is not None:
            self.tally.done += 1
            self._settle(Settled(job=job, change=change))

    def failed(self, job: Job, reason: str) -> None:
        """It is tried again later, by a back-off of its own. The reason is for people."""
        if self._held.pop((job.id, job.lease), None) is not None:
            self.tally.failed += 1
            self._fail(job, reason)

    def give_back(self, job: Job) -> None:
        """As if it had never been taken."""
        if self._held.pop((job.id, job.lease), None) is not None:
            self._settle(job)

    # --- For the worker ---

    @property
    def held(self) -> Collection[Job]:
        """What was taken and has not been settled."""
        return tuple(self._held.values())

    def end(self) -> None:
        """Have it come to its end."""
        self._is_over = True
        self._news.set()

    def tell(self) -> None:
        """There may be more to take."""
        self._news.set()

    def lose(self, job: Job) -> None:
        """Somebody else has it, or it is gone."""
        self._held.pop((job.id, job.lease), None)

    async def close(self) -> None:
        """Nothing is taken any more afterwards."""
        self.end()
        while self._taking:
            with contextlib.suppress(asyncio.CancelledError):  # what was taken must be known; the index is soon done
                await asyncio.wait(self._taking)

    async def _take(self, most: int, taken: list[Job]) -> None:
        taken += await self._outbox.take(self.lane, most=most, lease_s=self._lease_s)
        self.tally.taken += len(taken)
        self._held.update(((job.id, job.lease), job) for job in taken)
