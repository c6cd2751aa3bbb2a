"""Objects over an association, to whoever takes them: as many at once as its window allows.

Theory of operation. On each association as many sub-operations run as its window allows; all of them take what is next
from one :class:`~pacslite.services.source.Feed`, through a :class:`~pacslite.services.read_ahead.ReadAhead` of their
own, until it is empty. A sub-operation that fails costs itself alone. What became of each is told to an
:class:`Account`; when the association is lost, that says whether what was not answered is given back to the feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pacslite.archive.archive import Archive
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import Invoker
from pacslite.errors import AssociationError, ObjectUnreadable, PacsliteError
from pacslite.services.read_ahead import Abandoned, Converter, ReadAhead, Ready, Stream
from pacslite.services.source import Feed, SubOperation

_MOST_IN_FLIGHT: Final = 64
"""On one association, where the peer sets no limit (PS3.7 D.3.3.3)."""

_OF_EVERY_STORE: Final[Mapping[int, Value]] = {
    Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
    Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How sub-operations are performed, by the settings; without ``converter`` nothing is converted."""

    converter: Converter | None = None
    answer_s: float = 60.0
    read_ahead_bytes: int = 16 << 20


class Account(Protocol):
    """Who owes the sub-operations. Each that was taken from the feed is answered, failed or given back to it."""

    def elements(self, operation: SubOperation) -> Mapping[int, Value]:
        """Command elements of its C-STORE beyond those of every C-STORE: Priority at least."""

    def answered(self, operation: SubOperation, answer: CommandSet, *, converted: bool) -> bool:
        """Whether the answer means that the object was taken; ``converted``: in another transfer syntax."""

    def may_try_again(self, operation: SubOperation) -> bool:
        """Whether it is given back that the association was lost with it; else it has failed."""

    def failed(self, operation: SubOperation, reason: str, *, damaged: bool = False) -> None:
        """It came to no answer; ``damaged`` says that the archive is to blame."""


class Conveyor:
    """Performs sub-operations for ``account``, on any number of associations, and begins none when ``is_over``."""

    def __init__(self, archive: Archive, account: Account, *, manner: Manner, is_over: Callable[[], bool]) -> None:
        self.in_flight = 0
        self._archive = archive
        self._account = account
        self._manner = manner
        self._is_over = is_over
        self._awaited: set[Ready] = set()

    def abandon(self) -> None:
        """What is still being converted is not waited for."""
        for ready in self._awaited:
            ready.abandon()

    async def convey(self, feed: Feed, invoker: Invoker, *, share: int) -> None:
        """All that ``feed`` gives, with one of ``share`` equal parts of the memory.

        Raises :class:`AssociationError` if the association is lost.
        """
        ahead = ReadAhead(
            feed,
            self._archive,
            tuple(invoker.contexts.values()),
            converter=self._manner.converter,
            limit_bytes=self._manner.read_ahead_bytes // share,
        )
        window = invoker.window or _MOST_IN_FLIGHT
        lost: AssociationError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(window - 1):
                    group.create_task(self._one_by_one(invoker, ahead))
                await self._one_by_one(invoker, ahead)
        except* AssociationError as errors:
            lost = next(error for error in errors.exceptions if isinstance(error, AssociationError))
        finally:
            await ahead.close()
        if lost is not None:
            raise lost

    async def _one_by_one(self, invoker: Invoker, ahead: ReadAhead) -> None:
        while not self._is_over() and (ready := await ahead.next()) is not None:
            was_taken = False
            try:
                was_taken = await self._perform(invoker, ready, ahead)
            except (AssociationError, asyncio.CancelledError) as error:
                self._unanswered(ready.operation, ahead, error)
                raise
            finally:
                await ahead.drop(ready, was_taken=was_taken)

    async def _perform(self, invoker: Invoker, ready: Ready, ahead: ReadAhead) -> bool:
        """Send the object and account for the answer; whether the peer has taken it."""
        operation = ready.operation
        try:
            data_set = await self._made_ready(ready)
            if self._is_over():
                raise Abandoned("it is over")
            operation.attempts += 1
            answer = await self._store(invoker, ready, data_set)
        except AssociationError:
            raise
        except Abandoned:
            ahead.give_back(operation)
            return False
        except (PacsliteError, OSError, MemoryError) as error:  # of reading or converting: it costs this object alone
            reason = str(error) or type(error).__name__
            self._account.failed(operation, reason, damaged=isinstance(error, ObjectUnreadable))
            return False
        return self._account.answered(operation, answer, converted=ready.converted)

    async def _store(self, invoker: Invoker, ready: Ready, data_set: bytes | memoryview | Stream) -> CommandSet:
        assert ready.context is not None  # without one there is no data set
        stored = ready.operation.stored
        self.in_flight += 1
        try:
            return await invoker.call(
                ready.context.context_id,
                {
                    **_OF_EVERY_STORE,
                    **self._account.elements(ready.operation),
                    Tag.AFFECTED_SOP_CLASS_UID: stored.sop_class_uid,
                    Tag.AFFECTED_SOP_INSTANCE_UID: stored.sop_instance_uid,
                },
                aiter(data_set) if isinstance(data_set, Stream) else data_set,
                answer_s=self._manner.answer_s,
            )
        finally:
            self.in_flight -= 1

    async def _made_ready(self, ready: Ready) -> bytes | memoryview | Stream:
        self._awaited.add(ready)
        try:
            return await ready.data_set()
        finally:
            self._awaited.remove(ready)

    def _unanswered(self, operation: SubOperation, ahead: ReadAhead, error: BaseException) -> None:
        """The association was lost: what was not begun has another chance, and what was may have."""
        if not operation.attempts or self._account.may_try_again(operation):
            ahead.give_back(operation)
        else:
            self._account.failed(operation, str(error))
