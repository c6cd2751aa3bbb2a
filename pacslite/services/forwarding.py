"""Forwarding: the objects of a lane, sent to its destination by C-STORE.

Theory of operation. A round of a lane is a row of waves. Each wave is for the kinds of objects that are owed when it
begins: one association, or several, with contexts for them, over which a :class:`~pacslite.services.conveyor.Conveyor`
sends what a :class:`~pacslite.services.forward_queue.ForwardQueue` gives; that takes further jobs as long as they come
and the round lasts. Each answer settles its job at once. An association that is lost is opened again, as long as that
brings anything: twice in a row nothing, and the destination is left in peace until its back-off is over. So is one that
cannot be reached, or has no room for one object after the other.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pacslite.archive import deliveries
from pacslite.archive.archive import Archive
from pacslite.archive.job import Job, Priority
from pacslite.archive.model import StoredObject
from pacslite.archive.rules import ForwardRule
from pacslite.archive.selection import Kind as ObjectKind
from pacslite.dimse.command import CommandSet, Tag, Value
from pacslite.dimse.service import Invoker
from pacslite.dimse.status import Kind, kind_of
from pacslite.errors import AssociationError
from pacslite.facts import ForwardNotNeeded, ForwardUnreadable, ObjectsForwarded, Observe
from pacslite.services.conveyor import Conveyor, Manner
from pacslite.services.courtesy import CourteousInvoker, Courtesy
from pacslite.services.destinations import Call, Called, Callee
from pacslite.services.forward_queue import ForwardQueue, ForwardRound
from pacslite.services.pacing import Pace, PacedInvoker
from pacslite.services.progress import Progress
from pacslite.services.source import SubOperation

_PRIORITIES: Final[Mapping[Priority, Mapping[int, Value]]] = MappingProxyType(
    {
        Priority.MEDIUM: {Tag.PRIORITY: 0x0000},
        Priority.HIGH: {Tag.PRIORITY: 0x0001},
        Priority.LOW: {Tag.PRIORITY: 0x0002},
    }
)
"""Command elements (PS3.7 9.1.1.1.5)."""

_FRUITLESS_AT_MOST: Final = 2
"""Associations lost one after the other without an answer."""

_REFUSALS_AT_MOST: Final = 8
"""Objects refused one after the other for want of room (A7xx): it is the destination that fails, not they."""

_TOLD_EVERY_S: Final = 60.0
"""A round may last for a night."""


class DestinationUnknown(AssociationError):
    """There is no such destination in the configuration any more."""


class DestinationFull(AssociationError):
    """The destination takes nothing more for the time being."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardManner:
    """How objects are forwarded, by the settings. ``linger_s`` is for how long an association stays open for more."""

    sending: Manner
    ask_after_s: float
    linger_s: float = 0.5


class ForwardPerformer:
    """Performs the jobs of kind FORWARD. ``callees`` may be replaced while it runs, and so may what they say."""

    def __init__(
        self,
        archive: Archive,
        *,
        callees: Mapping[str, Callee],
        call: Call,
        rules: Mapping[str, ForwardRule],
        manner: ForwardManner,
        observe: Observe,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.archive = archive
        self.callees = callees
        self.call = call
        self.manner = manner
        self.observe = observe
        self.clock = clock
        self._rules = rules
        self._paces: dict[tuple[str, str], Pace] = {}
        self._courtesies: dict[str, Courtesy] = {}
        self._sending: Counter[str] = Counter()

    async def perform(self, round_: ForwardRound) -> None:
        """Send what the round owes; raises :class:`AssociationError` if the destination is not there, or not fit."""
        destination = round_.lane.destination
        self._sending[destination] += 1
        try:
            await _Turn(self, round_).run()
        finally:
            self._sending[destination] -= 1
            self._sending += Counter()  # drops what has come to nothing

    def destination(self, round_: ForwardRound) -> Called:
        """Where the lane goes, as the configuration has it now."""
        title = round_.lane.destination
        callee = self.callees.get(title)
        if callee is None:
            raise DestinationUnknown(f'no peer "{title}" with a port is configured: add it to [[peers]]')
        return Called(callee, self.call)

    def associations(self, round_: ForwardRound) -> int:
        """How many the rule wants at once, if there may be so many."""
        rule = self._rules.get(round_.lane.rule)
        if rule is not None and rule.associations:
            round_.use(rule.associations)
        return round_.associations

    def courtesy(self, round_: ForwardRound) -> Courtesy:
        """That towards objects that come in while this destination is sent to."""
        title = round_.lane.destination
        courtesy = self._courtesies.get(title)
        if courtesy is None:
            courtesy = Courtesy(self.archive.traffic, sending=lambda: max(len(self._sending), 1))
            self._courtesies[title] = courtesy
        return courtesy

    def pace(self, round_: ForwardRound) -> Pace | None:
        """That of the rule to this destination, the same one in each round."""
        rule = self._rules.get(round_.lane.rule)
        if rule is None or not rule.bytes_per_s:
            return None
        key = rule.name, round_.lane.destination
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(rule.bytes_per_s)
        return pace


class _Turn:
    """One round: an :class:`~pacslite.services.conveyor.Account`."""

    def __init__(self, performer: ForwardPerformer, round_: ForwardRound) -> None:
        self._performer = performer
        self._round = round_
        self._progress = Progress(0)
        self._began = time.perf_counter()
        self._queue = ForwardQueue(round_, performer.archive, gone=self._gone, linger_s=performer.manner.linger_s)
        self._conveyor = Conveyor(performer.archive, self, manner=performer.manner.sending, is_over=self._is_over)
        self._pace = performer.pace(round_)
        self._doubtful: list[tuple[Job, StoredObject, str]] = []
        self._refusals = 0
        self._full: DestinationFull | None = None
        self._answers = self._fruitless = 0
        self._in_order = False
        self._lost: AssociationError | None = None

    async def run(self) -> None:
        outcome = "broken off"
        try:
            async with self._queue:
                while not self._round.is_over and (kinds := await self._queue.kinds()):
                    await self._wave(kinds)
            outcome = "complete"
        except AssociationError as error:
            outcome = str(error)
            raise
        finally:
            self._tell(outcome)

    def _is_over(self) -> bool:
        return self._round.is_over or self._full is not None

    # --- Associations -----------------------------------------------------------------------------------------------

    async def _wave(self, kinds: Collection[ObjectKind]) -> None:
        """Objects of these kinds, or so many of them as one association can have contexts for."""
        destination = self._performer.destination(self._round)
        kinds = next(iter(destination.portions(kinds)))
        most = self._performer.associations(self._round)
        self._in_order, self._lost = False, None
        opened = 0

        async with asyncio.TaskGroup() as group:

            def open_up_to(count: int) -> None:
                nonlocal opened
                while opened < min(count, most):
                    opened += 1
                    group.create_task(self._converse(destination, kinds, share=most))

            self._queue.carry(kinds, when_full=lambda: open_up_to(most))
            open_up_to(max(1, self._queue.at_hand_count))
        self._queue.carry(kinds, when_full=None)
        await self._settle_doubtful()
        if self._full is not None:
            raise self._full
        if self._lost is not None and not self._in_order and self._queue.at_hand_count:
            raise self._lost

    async def _converse(self, destination: Called, kinds: Collection[ObjectKind], *, share: int) -> None:
        """Send over one association, and over another one if that is lost and it makes sense."""
        while not self._is_over():
            reached = False
            answers = self._answers
            try:
                async with destination.connect(kinds) as invoker:
                    reached = True
                    await self._conveyor.convey(self._queue, self._paced(invoker), share=share)
            except AssociationError as error:
                self._lost = error
                self._fruitless = 0 if self._answers > answers else self._fruitless + 1
                if not reached or self._fruitless >= _FRUITLESS_AT_MOST or not self._queue.at_hand_count:
                    return
            else:
                self._in_order = True
                return

    def _paced(self, invoker: Invoker) -> Invoker:
        invoker = CourteousInvoker(invoker, self._performer.courtesy(self._round))
        return invoker if self._pace is None else PacedInvoker(invoker, self._pace)

    # --- What became of each ----------------------------------------------------------------------------------------

    def elements(self, operation: SubOperation) -> Mapping[int, Value]:
        return _PRIORITIES[self._queue.job(operation).priority]

    def answered(self, operation: SubOperation, answer: CommandSet, *, converted: bool) -> bool:
        if time.perf_counter() - self._began >= _TOLD_EVERY_S:
            self._tell("going on")
        progress = self._progress
        self._answers += 1
        match kind_of(answer.status):
            case Kind.SUCCESS:
                progress.completed += 1
            case Kind.WARNING:
                progress.warning += 1
            case _:
                self._refused(operation, answer)
                return False
        progress.bytes += operation.stored.size
        progress.converted += converted
        self._refusals = 0
        job = self._queue.settled(operation)
        manner = self._performer.manner
        self._round.done(
            job,
            deliveries.record(job, operation.stored, now=self._performer.clock(), ask_after_s=manner.ask_after_s),
        )
        return True

    def _refused(self, operation: SubOperation, answer: CommandSet) -> None:
        comment = answer.text(Tag.ERROR_COMMENT)
        reason = f"refused with {answer.status:04X}" + (f": {comment}" if comment else "")
        self.failed(operation, reason)
        if answer.status >> 8 != 0xA7:
            self._refusals = 0
            return
        self._refusals += 1
        if self._refusals == _REFUSALS_AT_MOST:
            self._full = DestinationFull(reason)

    def may_try_again(self, operation: SubOperation) -> bool:
        return operation.attempts <= 1

    def failed(self, operation: SubOperation, reason: str, *, damaged: bool = False) -> None:
        job = self._queue.settled(operation)
        if damaged:
            self._doubtful.append((job, operation.stored, reason))
        else:
            self._fail(job, reason or "the association was lost")

    def _fail(self, job: Job, reason: str) -> None:
        self._progress.fail(job.subject, reason)
        self._round.failed(job, reason)

    def _gone(self, job: Job) -> None:
        self._round.done(job)
        self._performer.observe(
            ForwardNotNeeded(destination=job.lane.destination, rule=job.lane.rule, sop_instance=job.subject)
        )

    async def _settle_doubtful(self) -> None:
        """What could not be read is damaged, unless it has been deleted or replaced after it was looked up."""
        doubtful, self._doubtful = self._doubtful, []
        if not doubtful:
            return
        try:
            found = await self._performer.archive.look_up([job.subject for job, _, _ in doubtful])
        except sqlite3.Error:
            found = [stored for _, stored, _ in doubtful]
        for (job, stored, reason), now in zip(doubtful, found, strict=True):
            if not isinstance(now, StoredObject):
                self._gone(job)
            elif now.digest != stored.digest:
                self._round.give_back(job)
            else:
                self._fail(job, reason)
                lane = job.lane
                self._performer.observe(
                    ForwardUnreadable(
                        destination=lane.destination, rule=lane.rule, sop_instance=job.subject, reason=reason
                    )
                )

    def _tell(self, outcome: str) -> None:
        progress, began = self._progress, self._began
        self._progress, self._began = Progress(0), time.perf_counter()
        if not progress.done:
            return  # whoever gave the round tells why
        self._performer.observe(
            ObjectsForwarded(
                destination=self._round.lane.destination,
                rule=self._round.lane.rule,
                completed=progress.completed,
                warning=progress.warning,
                failed=progress.failed,
                converted=progress.converted,
                bytes=progress.bytes,
                outcome=outcome,
                reason=progress.why_failed if progress.failed else "",
                seconds=self._began - began,
            )
        )
