"""What a lane has to forward: jobs of a round, as the sub-operations that do them.

Theory of operation. The queue takes jobs from its round, some at a time and the next ones before the last are begun,
looks up their objects, and gives out those of the kinds that the association at hand can ``carry``; others wait for the
next one. When nothing more is owed it waits for a moment (``linger_s``) before it says that it is at its end: what a
modality is just sending then goes over the same association. What an association was lost with comes after all
others. What was taken and not given out goes back into the outbox when the queue is closed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from pacslite.archive.archive import Archive
from pacslite.archive.job import Job, Lane
from pacslite.archive.jobs import Change
from pacslite.archive.model import StoredObject
from pacslite.archive.selection import Kind
from pacslite.errors import AssociationError
from pacslite.services.source import SubOperation

_TAKEN_AT_ONCE: Final = 128
_PLENTY: Final = 64
"""So many at hand are worth another association, and no further taking."""

_ASK_AGAIN_S: Final = 0.05
"""Objects that come one by one are taken together, some at a time: each taking is a transaction."""


class ForwardRound(Protocol):
    """One turn of a lane, as forwarding sees it; see :class:`~pacslite.services.outbox.Round`."""

    @property
    def lane(self) -> Lane: ...

    @property
    def associations(self) -> int:
        """How many may be open at once."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be begun."""

    def use(self, associations: int) -> None:
        """It makes do with fewer of them."""

    async def wait(self, within_s: float) -> bool:
        """Wait for there to be more to take; False if there is nothing, or the round is over."""

    def has(self, job: Job) -> bool:
        """Whether it is still to be done; it may have been cancelled."""

    async def take(self, most: int) -> Sequence[Job]:
        """The next jobs; they are settled by what follows, or fail with the round."""

    def done(self, job: Job, change: Change | None = None) -> None: ...

    def failed(self, job: Job, reason: str) -> None: ...

    def give_back(self, job: Job) -> None: ...


class ForwardQueue:
    """A :class:`~pacslite.services.source.Feed` of what ``round`` owes. ``gone`` is told of jobs whose object is not in
    the archive any more. To be left with :class:`AssociationError`, if that is why nothing more can be sent: what was
    taken then stays with the round."""

    def __init__(self, round_: ForwardRound, archive: Archive, *, gone: Callable[[Job], None], linger_s: float) -> None:
        self._round = round_
        self._archive = archive
        self._gone = gone
        self._linger_s = linger_s
        self._jobs: dict[SubOperation, Job] = {}
        self._subjects: set[str] = set()
        self._twice: list[Job] = []
        self._ready: deque[SubOperation] = deque()
        self._suspects: deque[SubOperation] = deque()
        self._others: deque[SubOperation] = deque()
        self._kinds: Collection[Kind] = ()
        self._when_full: Callable[[], None] | None = None
        self._turning: asyncio.Task[None] | None = None
        self._now = asyncio.get_running_loop().time
        self._asked_at = self._found_at = self._now()
        self._is_dry = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._turning is not None:
            await asyncio.wait({self._turning})
        if not isinstance(error, AssociationError):
            for job in (*self._jobs.values(), *self._twice):
                self._round.give_back(job)

    async def kinds(self) -> Collection[Kind]:
        """Of what is to be sent next; empty if nothing is owed now, or the round is over."""
        while not self._jobs and not self._round.is_over:
            await self._turn()
            if self._is_dry:
                break
        return {_kind(operation) for operation in (*self._ready, *self._suspects, *self._others)}

    def carry(self, kinds: Collection[Kind], *, when_full: Callable[[], None] | None) -> None:
        """Give out objects of these kinds from now on. ``when_full`` is called when there are plenty of them."""
        self._kinds = kinds
        self._when_full = when_full
        for queue in (self._ready, self._suspects, self._others):
            operations = [*queue]
            queue.clear()
            for operation in operations:
                self._put(operation)

    @property
    def at_hand_count(self) -> int:
        """How many of the kinds that are carried are here."""
        return len(self._ready) + len(self._suspects)

    def job(self, operation: SubOperation) -> Job:
        return self._jobs[operation]

    def settled(self, operation: SubOperation) -> Job:
        """It came to its end: the job that is to be settled for it."""
        job = self._jobs.pop(operation)
        self._subjects.discard(job.subject)
        return job

    # --- The feed ---------------------------------------------------------------------------------------------------

    @property
    def at_hand(self) -> bool:
        return bool(self._ready)

    async def next(self) -> SubOperation | None:
        while not self._round.is_over:
            if self._ready:
                if len(self._ready) > _PLENTY and self._when_full is not None:
                    self._when_full()
                self._take_ahead()
                if (operation := self._still_owed(self._ready.popleft())) is not None:
                    return operation
            elif self._is_dry and self._suspects:
                if (operation := self._still_owed(self._suspects.popleft())) is not None:
                    return operation
            elif not self._asked_lately or await self._is_more():
                await self._turn()
            else:
                break
        return None

    def give_back(self, operation: SubOperation) -> None:
        (self._suspects if operation.attempts else self._ready).appendleft(operation)

    def _still_owed(self, operation: SubOperation) -> SubOperation | None:
        if self._round.has(self._jobs[operation]):
            return operation
        self.settled(operation)
        return None

    # --- Taking -----------------------------------------------------------------------------------------------------

    @property
    def _asked_lately(self) -> bool:
        return self._is_dry and self._now() - self._asked_at < _ASK_AGAIN_S

    async def _is_more(self) -> bool:
        """Wait a little for what still comes."""
        left_s = self._found_at + self._linger_s - self._now()
        if left_s <= 0 or not await self._round.wait(left_s):
            return False
        await asyncio.sleep(max(self._asked_at + _ASK_AGAIN_S - self._now(), 0.0))
        return True

    def _take_ahead(self) -> None:
        """Have the next ones looked for while those that are here are sent."""
        if len(self._ready) <= _PLENTY and not self._asked_lately:
            self._begin_turn()

    async def _turn(self) -> None:
        await asyncio.shield(self._begin_turn())  # whoever waits may be cancelled, and the others still want them

    def _begin_turn(self) -> asyncio.Task[None]:
        if self._turning is None or self._turning.done():
            self._turning = asyncio.create_task(self._take())
        return self._turning

    async def _take(self) -> None:
        jobs = await self._round.take(_TAKEN_AT_ONCE)
        self._asked_at = self._now()
        self._is_dry = len(jobs) < _TAKEN_AT_ONCE
        if not jobs:
            return
        self._found_at = self._asked_at
        try:
            found = await self._archive.look_up([job.subject for job in jobs])
        except sqlite3.Error as error:
            for job in jobs:
                self._round.failed(job, f"the index cannot be read: {error}")
            return
        for job, stored in zip(jobs, found, strict=True):
            if not isinstance(stored, StoredObject):
                self._gone(job)
            elif job.subject in self._subjects:
                # It was replaced while its predecessor is on its way: two at once might overtake each other.
                self._twice.append(job)
            else:
                operation = SubOperation(stored)
                self._jobs[operation] = job
                self._subjects.add(job.subject)
                self._put(operation)

    def _put(self, operation: SubOperation) -> None:
        if _kind(operation) not in self._kinds:
            self._others.append(operation)
        elif operation.attempts:
            self._suspects.append(operation)
        else:
            self._ready.append(operation)


def _kind(operation: SubOperation) -> Kind:
    return operation.stored.sop_class_uid, operation.stored.transfer_syntax_uid
