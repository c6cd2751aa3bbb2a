"""What is sent next over one association, read and converted while the last objects are still on their way.

Theory of operation. Whoever sends asks for the next object; before it is given, as many further ones are begun as fit
into the memory that is meant for them. Small objects are read whole, several by one job of a file thread, into a slab
of memory that is used again and again. A large one, and one that has to be converted, is begun by a task that gets it
to its first bytes and leaves the rest for when it is sent: what goes wrong with an object mostly goes wrong before
that, and then costs that object alone. An object gives its memory back when it has been answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pacslite.archive.archive import Archive
from pacslite.archive.model import StoredObject
from pacslite.archive.selection import Kind
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import name_of
from pacslite.dimse.service import Context
from pacslite.errors import CannotConvert, ObjectUnreadable, PacsliteError
from pacslite.services.source import Feed, SubOperation

WHOLE_BYTES: Final = 1 << 20
"""An object up to this size is read whole, a larger one in pieces of it."""

SLAB_BYTES: Final = 2 * WHOLE_BYTES
"""Small objects are read together, so many that they fit into this."""

_MOST_TOGETHER: Final = 64
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


class Abandoned(PacsliteError):
    """Nobody wants the object any more: it was not made ready."""


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
    if not usable:
        why = "that SOP Class is not accepted"
    elif converter is None:
        why = "and conversion is off"
    else:
        why = "and what is accepted cannot be made of it without loss"
    what = f"{name_of(sop_class)} in {transfer_syntax(syntax).name}"
    raise NoSuitableContext(f"no suitable presentation context: {what}, {why}")


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
class Slab:
    """Memory in which several small objects lie. It is used again, unless something of it may still be unsent."""

    memory: bytearray
    loaded: asyncio.Future[list[memoryview | ObjectUnreadable]] | None = None
    users: int = 0
    may_be_unsent: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """The object at ``index`` of a slab."""

    slab: Slab
    index: int


@dataclass(slots=True, eq=False)
class Ready:
    """An object that is being made ready, or the reason why it cannot be sent."""

    operation: SubOperation
    context: Context | None
    converted: bool
    outcome: Loaded | asyncio.Task[bytes | Stream] | PacsliteError
    reserved: int = 0

    async def data_set(self) -> bytes | memoryview | Stream:
        """What is to be sent; raises :class:`PacsliteError` if it cannot be."""
        match self.outcome:
            case PacsliteError() as error:
                raise error.with_traceback(None)  # it may be that of many, and would remember each raise
            case Loaded(slab, index):
                assert slab.loaded is not None
                # One cancelled waiter must not take the bytes from the others.
                loaded = slab.loaded.result() if slab.loaded.done() else await asyncio.shield(slab.loaded)
                found = loaded[index]
                if isinstance(found, ObjectUnreadable):
                    raise found
                return found
            case task:
                await asyncio.wait({task})
                if task.cancelled():
                    raise Abandoned("nobody wants it any more")
                return task.result()

    def abandon(self) -> None:
        """Do not make it ready, if that takes a task of its own: ``data_set`` raises :class:`Abandoned` then."""
        if isinstance(self.outcome, asyncio.Task):
            self.outcome.cancel()


class ReadAhead:
    """For one association with ``contexts``: the sub-operations of ``source``, made ready in their order.

    At most ``limit_bytes`` are in memory, unless nothing is ready: then a little more is begun.
    """

    def __init__(
        self,
        source: Feed,
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
        self._beginning = asyncio.Lock()
        self._together = 1  # at first little is read at once, so that the first object does not wait for many
        self._ahead: deque[Ready] = deque()
        self._unanswered: list[SubOperation] = []
        self._slabs: list[Slab] = []
        self._routes: dict[Kind, Route | NoSuitableContext] = {}

    async def next(self) -> Ready | None:
        """The next one, to be given to :meth:`drop` after use; None when there is none."""
        # A little at a time: the first object must not wait until the reading of all the others has been begun.
        if self._ahead and self._reserved + SLAB_BYTES <= self._limit_bytes and self._source.at_hand:
            await self._begin_some()
        if not self._ahead:
            async with self._beginning:  # what one of several that wait has begun is for all of them
                if not self._ahead:
                    await self._begin_some()
        return self._ahead.popleft() if self._ahead else None

    async def drop(self, ready: Ready, *, was_taken: bool) -> None:
        """It is not needed any more. If the peer has not taken it, parts of it may still be on their way."""
        self._reserved -= ready.reserved
        match ready.outcome:
            case Loaded(slab, _):
                self._leave(slab, was_taken=was_taken)
            case asyncio.Task() as task:
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})
                if not task.cancelled() and task.exception() is None and isinstance(made := task.result(), Stream):
                    await made.aclose()

    def give_back(self, operation: SubOperation) -> None:
        """It was not answered: when this is closed, its turn comes again."""
        self._unanswered.append(operation)

    async def close(self) -> None:
        """Give back to the source what was given back here, and what was begun and not asked for."""
        while self._ahead:
            ready = self._ahead.pop()
            self._source.give_back(ready.operation)
            await self.drop(ready, was_taken=False)
        while self._unanswered:
            self._source.give_back(self._unanswered.pop())

    # --- Beginning --------------------------------------------------------------------------------------------------

    async def _begin_some(self) -> None:
        """Begin a slab of small objects, or one other, if there is anything more."""
        batch: list[Ready] = []
        slab: Slab | None = None
        objects: list[StoredObject] = []
        size = 0
        while len(batch) < self._together and (not batch or self._source.at_hand):
            try:
                operation = await self._source.next()
            except BaseException:
                for ready in reversed(batch):
                    self._source.give_back(ready.operation)
                raise
            if operation is None:
                break
            stored = operation.stored
            size += stored.size
            route = self._route((stored.sop_class_uid, stored.transfer_syntax_uid))
            if isinstance(route, NoSuitableContext):
                batch.append(Ready(operation, None, converted=False, outcome=route))
            elif stored.size % 2 and not (route.converted or self._can_be_made_even(stored)):
                reason = CannotConvert("its length is odd, and fragments are even (PS3.8 Annex E.2)")
                batch.append(Ready(operation, None, converted=False, outcome=reason))
            elif route.converted or stored.size > WHOLE_BYTES or stored.size % 2:
                batch.append(self._begin_alone(operation, route))
                break
            elif size > SLAB_BYTES:
                self._source.give_back(operation)
                break
            else:
                slab = slab or self._slab()
                batch.append(Ready(operation, route.context, converted=False, outcome=Loaded(slab, len(objects))))
                objects.append(stored)
        if slab is not None:
            slab.users = len(objects)
            slab.loaded = self._archive.load_into(slab.memory, objects)
            self._reserved += SLAB_BYTES
        self._together = min(2 * self._together, _MOST_TOGETHER)
        self._ahead.extend(batch)

    def _begin_alone(self, operation: SubOperation, route: Route) -> Ready:
        stored = operation.stored
        if route.converted or (stored.size % 2 and not _is_deflated(stored)):
            pieces, ready_bytes = self._convert(stored, route.context.transfer_syntax), _CONVERTED_BYTES
            reserved = ready_bytes
        else:
            pieces, ready_bytes = self._archive.pieces(stored, piece_bytes=WHOLE_BYTES), WHOLE_BYTES
            if stored.size % 2:
                pieces = _padded(pieces)
            reserved = 2 * WHOLE_BYTES  # the next piece is being read while this one is sent
        self._reserved += reserved
        beginning = asyncio.create_task(_begun(pieces, ready_bytes))
        return Ready(operation, route.context, converted=route.converted, outcome=beginning, reserved=reserved)

    def _can_be_made_even(self, stored: StoredObject) -> bool:
        """Some writers leave out the NUL with which PS3.5 A.5 ends a deflated data set of odd length. Any other one has
        an element of odd length somewhere, which is padded when it is written anew."""
        plain = self._converter is not None and not transfer_syntax(stored.transfer_syntax_uid).encapsulated
        return plain or _is_deflated(stored)

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

    # --- Slabs ------------------------------------------------------------------------------------------------------

    def _slab(self) -> Slab:
        return self._slabs.pop() if self._slabs else Slab(bytearray(SLAB_BYTES))

    def _leave(self, slab: Slab, *, was_taken: bool) -> None:
        slab.may_be_unsent |= not was_taken
        slab.users -= 1
        if slab.users:
            return
        self._reserved -= SLAB_BYTES
        if not slab.may_be_unsent:
            self._slabs.append(slab)


def _is_deflated(stored: StoredObject) -> bool:
    return transfer_syntax(stored.transfer_syntax_uid).deflated


async def _padded(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece + b"\0" * (len(piece) % 2)  # all but the last one are even


async def _begun(pieces: AsyncGenerator[bytes, None], ready_bytes: int) -> bytes | Stream:
    """All of it, if that is no more than ``ready_bytes``; else a stream that has so much ready."""
    stream = Stream(pieces)
    try:
        await stream.begin(ready_bytes)
    except BaseException:
        await stream.aclose()
        raise
    return stream if (whole := stream.whole()) is None else whole
