"""What is sent next over one association, read and converted while the last objects are still on their way.

Theory of operation. Whoever sends asks for the next object; before it is given, as many further ones are begun as fit
into the memory that is meant for them. A small object is read whole by a file thread. A large one, and one that has to
be converted, is begun by a task that gets it to its first bytes and leaves the rest for when it is sent: what goes
wrong with an object mostly goes wrong before that, and then costs that object alone. An object gives its memory back
when it has been answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pacslite.archive.archive import Archive
from pacslite.archive.model import StoredObject
from pacslite.archive.selection import Gone, Kind
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import name_of
from pacslite.dimse.service import Context
from pacslite.errors import PacsliteError

WHOLE_BYTES: Final = 1 << 20
"""An object up to this size is read whole, a larger one in pieces of it."""

_STREAM_BYTES: Final = 2 * WHOLE_BYTES  # the piece that is being sent, and the next one
_CONVERTED_BYTES: Final = 4 * WHOLE_BYTES  # what of a converted object is kept ready; it may be all of it


class Converter(Protocol):
    """Objects in another transfer syntax, without loss."""

    def target_for(self, source_syntax: str, offered: Collection[str]) -> str | None:
        """Which of the ``offered`` transfer syntaxes an object can be converted to, best first; None: to none."""

    def convert(
        self, *, path: Path, data_set_offset: int, size: int, source: str, target: str
    ) -> AsyncGenerator[bytes, None]:
        """The object's data set in ``target``, in pieces of even length that are not empty. Raises
        :class:`PacsliteError`, before the first piece if possible, for what cannot be converted."""


class NoSuitableContext(PacsliteError):
    """No presentation context was agreed on that takes the object (PS3.4 C.4.2.3)."""


@dataclass(slots=True)
class SubOperation:
    """One C-STORE that is owed; ``attempts`` is how often it was begun."""

    stored: StoredObject
    attempts: int = 0


class Source:
    """The sub-operations still to be performed, those that were given back first. Any number of associations share it.

    An object that is gone from the archive is not given but told to ``gone``.
    """

    def __init__(self, objects: AsyncGenerator[StoredObject | Gone, None], *, gone: Callable[[Gone], None]) -> None:
        self._objects = objects
        self._gone = gone
        self._returned: deque[SubOperation] = deque()
        self._turn = asyncio.Lock()
        self._exhausted = False

    async def next(self) -> SubOperation | None:
        if self._returned:
            return self._returned.popleft()
        async with self._turn:  # a generator cannot be resumed twice at once
            while not self._exhausted:
                found = await anext(self._objects, None)
                match found:
                    case StoredObject():
                        return SubOperation(found)
                    case Gone():
                        self._gone(found)
                    case None:
                        self._exhausted = True
        return None

    def give_back(self, operation: SubOperation) -> None:
        self._returned.append(operation)


@dataclass(frozen=True, slots=True)
class Route:
    """How objects of one kind travel: on which context, and converted to its transfer syntax or as they are."""

    context: Context
    converted: bool


def find_route(contexts: Collection[Context], kind: Kind, converter: Converter | None) -> Route:
    """The route for a kind among the contexts on which we are SCU; raises :class:`NoSuitableContext`."""
    sop_class, syntax = kind
    usable = {one.transfer_syntax: one for one in contexts if one.abstract_syntax == sop_class and one.scu}
    if syntax in usable:
        return Route(usable[syntax], converted=False)
    target = converter.target_for(syntax, usable) if converter is not None and usable else None
    if target is not None:
        return Route(usable[target], converted=True)
    what = f"{name_of(sop_class)} in {transfer_syntax(syntax).name}"
    raise NoSuitableContext(f"no suitable presentation context: {what}")


class Stream:
    """Pieces of which the first ones are there already; close it in any case."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self._ready: deque[bytes] = deque()
        self._ended = False

    async def begin(self, size: int) -> None:
        """Have ``size`` bytes ready, or all there are."""
        while size > 0 and not self._ended:
            piece = await anext(self._pieces, None)
            if piece is None:
                self._ended = True
            else:
                self._ready.append(piece)
                size -= len(piece)

    def whole(self) -> bytes | None:
        """All of it, if all of it is ready."""
        return b"".join(self._ready) if self._ended else None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._rest()

    async def _rest(self) -> AsyncGenerator[bytes, None]:
        while self._ready:
            yield self._ready.popleft()
        async for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        await self._pieces.aclose()


@dataclass(slots=True)
class Ready:
    """An object that is being made ready, or the reason why it cannot be sent. It holds ``reserved`` bytes."""

    operation: SubOperation
    context: Context | None
    converted: bool
    reserved: int
    outcome: asyncio.Future[bytes | Stream] | asyncio.Future[bytes] | PacsliteError

    async def data_set(self) -> bytes | Stream:
        """What is to be sent; raises :class:`PacsliteError` if it cannot be."""
        if isinstance(self.outcome, PacsliteError):
            raise self.outcome
        return await self.outcome


class ReadAhead:
    """For one association with ``contexts``: the sub-operations of ``source``, made ready in their order.

    At most ``limit_bytes`` are in memory, unless nothing is ready: then one more object is begun whatever its size.
    """

    def __init__(
        self,
        source: Source,
        archive: Archive,
        contexts: Collection[Context],
        *,
        converter: Converter | None,
        limit_bytes: int,
    ) -> None:
        self._source = source
        self._archive = archive
        self._contexts = contexts
        self._converter = converter
        self._limit_bytes = limit_bytes
        self._reserved = 0
        self._ahead: deque[Ready] = deque()
        self._routes: dict[Kind, Route | NoSuitableContext] = {}

    async def next(self) -> Ready | None:
        """The next one, to be given to :meth:`drop` after use; None when there is none."""
        while not self._ahead or self._reserved < self._limit_bytes:
            operation = await self._source.next()
            if operation is None:
                break
            ready = self._begin(operation)
            self._reserved += ready.reserved
            self._ahead.append(ready)
        return self._ahead.popleft() if self._ahead else None

    async def drop(self, ready: Ready) -> None:
        """It is not needed any more, whatever became of it."""
        self._reserved -= ready.reserved
        outcome = ready.outcome
        if isinstance(outcome, PacsliteError):
            return
        if not outcome.done():
            outcome.cancel()
            await asyncio.wait({outcome})
        if outcome.cancelled() or outcome.exception() is not None:
            return
        made = outcome.result()
        if isinstance(made, Stream):
            await made.aclose()

    async def close(self) -> None:
        """Give back what was begun and not asked for."""
        while self._ahead:
            ready = self._ahead.popleft()
            self._source.give_back(ready.operation)
            await self.drop(ready)

    def _begin(self, operation: SubOperation) -> Ready:
        stored = operation.stored
        route = self._route((stored.sop_class_uid, stored.transfer_syntax_uid))
        if isinstance(route, NoSuitableContext):
            return Ready(operation, None, converted=False, reserved=0, outcome=route)
        if route.converted:
            conversion = self._convert(stored, route.context.transfer_syntax)
            outcome = asyncio.create_task(_begun(conversion, _CONVERTED_BYTES))
            return Ready(operation, route.context, converted=True, reserved=_CONVERTED_BYTES, outcome=outcome)
        if stored.size <= WHOLE_BYTES:
            reading = self._archive.load(stored)
            return Ready(operation, route.context, converted=False, reserved=stored.size, outcome=reading)
        pieces = self._archive.pieces(stored, piece_bytes=WHOLE_BYTES)
        outcome = asyncio.create_task(_begun(pieces, WHOLE_BYTES))
        return Ready(operation, route.context, converted=False, reserved=_STREAM_BYTES, outcome=outcome)

    def _convert(self, stored: StoredObject, target: str) -> AsyncGenerator[bytes, None]:
        assert self._converter is not None  # there is no route that converts without one
        return self._converter.convert(
            path=stored.path,
            data_set_offset=stored.data_set_offset,
            size=stored.size,
            source=stored.transfer_syntax_uid,
            target=target,
        )

    def _route(self, kind: Kind) -> Route | NoSuitableContext:
        known = self._routes.get(kind)
        if known is None:
            try:
                known = find_route(self._contexts, kind, self._converter)
            except NoSuitableContext as error:
                known = error
            self._routes[kind] = known
        return known


async def _begun(pieces: AsyncGenerator[bytes, None], ready_bytes: int) -> bytes | Stream:
    """All of it, if that is no more than ``ready_bytes``; else a stream that has so much ready."""
    stream = Stream(pieces)
    try:
        await stream.begin(ready_bytes)
    except BaseException:
        await stream.aclose()
        raise
    return stream if (whole := stream.whole()) is None else whole
