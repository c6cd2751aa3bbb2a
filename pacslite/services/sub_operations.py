"""The sub-operations of a retrieval (PS3.4 C.4.2.2, C.4.3.2): one loop, wherever the objects go.

Theory of operation. A :class:`Destination` says which kinds of objects may share an association and opens it, or gives
the one that is there. A :class:`~pacslite.services.conveyor.Conveyor` performs the sub-operations on it. One that fails
is counted and the loop goes on. When an association is lost, what was sent on it without an answer has its second turn
after all others; it is opened once more if the destination allows that. What nobody took in the end has failed.
``stop`` starts nothing new; what is in flight comes to its end and is counted (STANDARD QR-11).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from pacslite.archive.archive import Archive
from pacslite.archive.model import StoredObject
from pacslite.archive.selection import Gone, Selection
from pacslite.archive.selection import Kind as ObjectKind
from pacslite.dimse.command import CommandSet, Tag, Value
from pacslite.dimse.service import Invoker
from pacslite.dimse.status import Kind, kind_of
from pacslite.errors import AssociationError
from pacslite.services.conveyor import Conveyor, Manner
from pacslite.services.progress import Progress
from pacslite.services.source import Source, SubOperation


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
        self._tell_failure = failed
        self._elements: dict[int, Value] = {Tag.PRIORITY: priority, **destination.elements}
        self._stopping = False
        self._connecting: set[asyncio.Task[None]] = set()
        self._conveyor = Conveyor(archive, self, manner=manner, is_over=lambda: self._stopping)
        self._doubtful: list[tuple[StoredObject, str]] = []
        self._reached = self._unreachable = False
        self._lost = "the destination cannot be reached"

    @property
    def await_requester(self) -> bool:
        """Whether it is the requester that has yet to answer for an object."""
        return self._destination.is_requester and self._conveyor.in_flight > 0

    def stop(self) -> None:
        """Begin nothing more. Associations that are being opened are given up, those that are open end in order; what
        is still being converted is not waited for."""
        self._stopping = True
        for task in self._connecting:
            task.cancel()
        self._conveyor.abandon()

    async def run(self) -> None:
        """Perform them all."""
        try:
            for kinds in self._destination.portions(self._selection.kinds):
                if self._stopping:
                    return
                await self._send(kinds)
        finally:
            await self._tell_doubtful()

    async def _send(self, kinds: Collection[ObjectKind]) -> None:
        async with Source(self._selection.pages(kinds), gone=self._is_gone) as source:
            if not self._unreachable:
                count = sum(self._selection.kinds[kind] for kind in kinds)
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(self._destination.associations, count)):
                        group.create_task(self._converse(source, kinds))
                self._unreachable = not self._reached
            while not self._stopping and (operation := await source.next()) is not None:
                self.failed(operation, self._lost)

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
                    await self._conveyor.convey(source, invoker, share=self._destination.associations)
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

    # --- What became of each ----------------------------------------------------------------------------------------

    def elements(self, operation: SubOperation) -> Mapping[int, Value]:
        return self._elements

    def answered(self, operation: SubOperation, answer: CommandSet, *, converted: bool) -> bool:
        progress = self.progress
        match kind_of(answer.status):
            case Kind.SUCCESS:
                progress.completed += 1
            case Kind.WARNING:
                progress.warning += 1
            case _:
                self.failed(operation, f"refused with {answer.status:04X}")
                return False
        progress.bytes += operation.stored.size
        progress.converted += converted
        return True

    def may_try_again(self, operation: SubOperation) -> bool:
        return operation.attempts <= 1 and not self._stopping

    def failed(self, operation: SubOperation, reason: str, *, damaged: bool = False) -> None:
        uid, reason = operation.stored.sop_instance_uid, reason or self._lost
        self.progress.fail(uid, reason)
        if damaged:
            self._doubtful.append((operation.stored, reason))
        else:
            self._tell_failure(Failure(uid, reason))

    def _is_gone(self, gone: Gone) -> None:
        self.progress.fail(gone.sop_instance_uid, gone.reason)
        self._tell_failure(Failure(gone.sop_instance_uid, gone.reason))

    async def _tell_doubtful(self) -> None:
        """What could not be read is damaged, unless it has been deleted or replaced after it was looked up."""
        doubtful, self._doubtful = self._doubtful, []
        if not doubtful:
            return
        found: Sequence[StoredObject | Gone]
        try:
            found = await self._archive.look_up([stored.sop_instance_uid for stored, _ in doubtful])
        except sqlite3.Error:
            found = [stored for stored, _ in doubtful]
        for (stored, reason), now in zip(doubtful, found, strict=True):
            is_the_same = isinstance(now, StoredObject) and now.digest == stored.digest
            self._tell_failure(Failure(stored.sop_instance_uid, reason, is_the_same))
