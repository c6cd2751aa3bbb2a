"""The sub-operations of a retrieval (PS3.4 C.4.2.2, C.4.3.2): one loop, wherever the objects go.

Theory of operation. A :class:`Destination` says which kinds of objects may share an association and opens it, or gives
the one that is there. On each association as many sub-operations run as its window allows; all of them take what is
next from one :class:`Source`, through a :class:`ReadAhead` of their own, until it is empty. A sub-operation that fails
is counted and the loop goes on. When an association is lost, what was sent on it without an answer is given back, to
have its second turn after all others; it is opened once more if the destination allows that. What nobody took in the
end has failed. ``stop`` starts nothing new; what is in flight comes to its end and is counted (STANDARD QR-11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from pacslite.archive.archive import Archive
from pacslite.archive.model import StoredObject
from pacslite.archive.selection import Gone, Selection
from pacslite.archive.selection import Kind as ObjectKind
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import Invoker
from pacslite.dimse.status import Kind, kind_of
from pacslite.errors import AssociationError, ObjectUnreadable, PacsliteError
from pacslite.services.progress import Progress
from pacslite.services.read_ahead import Abandoned, Converter, ReadAhead, Ready, Source, Stream, SubOperation

_MOST_IN_FLIGHT: Final = 64
"""On one association, where the peer sets no limit (PS3.7 D.3.3.3)."""


class Destination(Protocol):
    """Where the objects go: the requester itself (C-GET), or a peer that we call (C-MOVE)."""

    @property
    def associations(self) -> int:
        """How many may be open at once."""

    @property
    def may_reconnect(self) -> bool:
        """Whether an association that was lost may be opened once more."""

    @property
    def is_requester(self) -> bool:
        """Whether they go to whoever asked for them, over the association on which that is told how far it is."""

    @property
    def elements(self) -> Mapping[int, Value]:
        """Command elements that each C-STORE has beyond those of every C-STORE."""

    def portions(self, kinds: Iterable[ObjectKind]) -> Iterable[Collection[ObjectKind]]:
        """The kinds, divided so that one association can carry each portion."""

    def connect(self, kinds: Collection[ObjectKind]) -> AbstractAsyncContextManager[Invoker]:
        """An association for objects of these kinds. Raises :class:`AssociationError` if there cannot be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How sub-operations are performed, by the settings; without ``converter`` nothing is converted."""

    converter: Converter | None = None
    answer_s: float = 60.0
    read_ahead_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Failure:
    """A sub-operation failed; ``damaged`` says that the archive is to blame."""

    sop_instance_uid: str
    reason: str
    damaged: bool = False


class SubOperations:
    """Sends what is selected to ``destination``, once, and keeps ``progress``. ``failed`` is told of each failure."""

    def __init__(
        self,
        archive: Archive,
        selection: Selection,
        destination: Destination,
        *,
        manner: Manner,
        priority: int,
        failed: Callable[[Failure], None],
    ) -> None:
        self.progress = Progress(selection.total)
        self._archive = archive
        self._selection = selection
        self._destination = destination
        self._manner = manner
        self._failed = failed
        self._elements: dict[int, Value] = {
            Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Tag.PRIORITY: priority,
            Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
            **destination.elements,
        }
        self._stopping = False
        self._connecting: set[asyncio.Task[None]] = set()
        self._awaited: set[Ready] = set()
        self._in_flight = 0
        self._reached = self._unreachable = False
        self._lost = "the destination cannot be reached"

    @property
    def await_requester(self) -> bool:
        """Whether it is the requester that has yet to answer for an object."""
        return self._destination.is_requester and self._in_flight > 0

    def stop(self) -> None:
        """Begin nothing more. Associations that are being opened are given up, those that are open end in order; what
        is still being converted is not waited for."""
        self._stopping = True
        for task in self._connecting:
            task.cancel()
        for ready in self._awaited:
            ready.abandon()

    async def run(self) -> None:
        """Perform them all."""
        for kinds in self._destination.portions(self._selection.kinds):
            if self._stopping:
                return
            await self._send(kinds)

    async def _send(self, kinds: Collection[ObjectKind]) -> None:
        async with Source(self._selection.pages(kinds), gone=self._is_gone) as source:
            if not self._unreachable:
                count = sum(self._selection.kinds[kind] for kind in kinds)
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self._destination.associations, count)):
                        group.create_task(self._converse(source, kinds))
                self._unreachable = not self._reached
            while not self._stopping and (operation := await source.next()) is not None:
                self._fail(operation.stored.sop_instance_uid, self._lost)

    # --- One association --------------------------------------------------------------------------------------------

    async def _converse(self, source: Source, kinds: Collection[ObjectKind]) -> None:
        """Send until nothing is left, on one association, and on another one if that is lost."""
        for _ in range(2 if self._destination.may_reconnect else 1):
            if self._stopping:
                return
            reached = False
            try:
                async with self._connected(kinds) as invoker:
                    self._reached = reached = True
                    await self._send_over(invoker, source)
            except AssociationError as error:
                self._lost = str(error)
                if not reached:
                    return
            else:
                return

    @asynccontextmanager
    async def _connected(self, kinds: Collection[ObjectKind]) -> AsyncIterator[Invoker]:
        task = asyncio.current_task()
        assert task is not None
        self._connecting.add(task)
        try:
            async with self._destination.connect(kinds) as invoker:
                self._connecting.discard(task)
                yield invoker
        finally:
            self._connecting.discard(task)

    async def _send_over(self, invoker: Invoker, source: Source) -> None:
        """As many at once as the window allows; raises :class:`AssociationError` if the association is lost."""
        ahead = ReadAhead(
            source,
            self._archive,
            tuple(invoker.contexts.values()),
            converter=self._manner.converter,
            limit_bytes=self._manner.read_ahead_bytes // self._destination.associations,
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
        while not self._stopping and (ready := await ahead.next()) is not None:
            was_taken = False
            try:
                was_taken = await self._perform(invoker, ready)
            except (AssociationError, asyncio.CancelledError) as error:
                self._unanswered(ready.operation, ahead, error)
                raise
            finally:
                await ahead.drop(ready, was_taken=was_taken)

    async def _perform(self, invoker: Invoker, ready: Ready) -> bool:
        """Send the object and count the answer; whether the peer has taken it."""
        stored = ready.operation.stored
        try:
            data_set = await self._made_ready(ready)
            if self._stopping:
                return False
            ready.operation.attempts += 1
            answer = await self._store(invoker, ready, data_set)
        except AssociationError:
            raise
        except Abandoned:
            return False
        except (PacsliteError, OSError, MemoryError) as error:  # of reading or converting: it costs this object alone
            reason = str(error) or type(error).__name__
            self._fail(stored.sop_instance_uid, reason, damaged=isinstance(error, ObjectUnreadable))
            return False
        return self._answered(stored, answer.status, converted=ready.converted)

    async def _store(self, invoker: Invoker, ready: Ready, data_set: bytes | memoryview | Stream) -> CommandSet:
        assert ready.context is not None  # without one there is no data set
        stored = ready.operation.stored
        self._in_flight += 1
        try:
            return await invoker.call(
                ready.context.context_id,
                {
                    **self._elements,
                    Tag.AFFECTED_SOP_CLASS_UID: stored.sop_class_uid,
                    Tag.AFFECTED_SOP_INSTANCE_UID: stored.sop_instance_uid,
                },
                aiter(data_set) if isinstance(data_set, Stream) else data_set,
                answer_s=self._manner.answer_s,
            )
        finally:
            self._in_flight -= 1

    async def _made_ready(self, ready: Ready) -> bytes | memoryview | Stream:
        self._awaited.add(ready)
        try:
            return await ready.data_set()
        finally:
            self._awaited.remove(ready)

    # --- What became of each ----------------------------------------------------------------------------------------

    def _answered(self, stored: StoredObject, status: int, *, converted: bool) -> bool:
        """Whether the object was taken."""
        progress = self.progress
        match kind_of(status):
            case Kind.SUCCESS:
                progress.completed += 1
            case Kind.WARNING:
                progress.warning += 1
            case _:
                self._fail(stored.sop_instance_uid, f"refused with {status:04X}")
                return False
        progress.bytes += stored.size
        progress.converted += converted
        return True

    def _unanswered(self, operation: SubOperation, ahead: ReadAhead, error: BaseException) -> None:
        """The association was lost: what was not begun, or only once, may have another chance."""
        if operation.attempts > 1 or (operation.attempts and self._stopping):
            self._fail(operation.stored.sop_instance_uid, str(error) or self._lost)
        else:
            ahead.give_back(operation)

    def _is_gone(self, gone: Gone) -> None:
        self._fail(gone.sop_instance_uid, gone.reason)

    def _fail(self, sop_instance_uid: str, reason: str, *, damaged: bool = False) -> None:
        self.progress.fail(sop_instance_uid, reason)
        self._failed(Failure(sop_instance_uid, reason, damaged))
