"""The bytes of stored objects, read in file threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from pacslite.archive.model import StoredObject
from pacslite.archive.threads import FileThreads
from pacslite.errors import ObjectUnreadable

T = TypeVar("T")


class Reading:
    """Reads data sets byte for byte as they were stored. Who wants a promise that they still are asks for a scrub."""

    def __init__(self, threads: FileThreads) -> None:
        self._threads = threads

    def load_into(
        self, slab: bytearray, objects: Sequence[StoredObject]
    ) -> asyncio.Future[list[memoryview | ObjectUnreadable]]:
        """Several at once, one behind the other in ``slab``, which must be large enough: views of it in their order, or
        why one cannot be read. A thread that reads several costs as much waiting as one that reads one, and memory
        that is used again does not have to be cleared by the kernel each time."""
        places = [(str(stored.path), stored.data_set_offset, stored.size) for stored in objects]
        return self._threads.submit(_load_into, memoryview(slab), places)

    async def pieces(self, stored: StoredObject, *, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        """All of it in pieces of ``piece_bytes``, the next one being read while the last one is used.

        Raises :class:`ObjectUnreadable` before the first piece for a file that is gone or too short.
        """
        position, end = stored.data_set_offset, stored.data_set_offset + stored.size
        descriptor = await self._open(str(stored.path), end)
        reading = self._threads.submit(_read, descriptor, position, min(piece_bytes, end - position))
        try:
            while position < end:
                piece = await asyncio.shield(reading)
                position += len(piece)
                if position < end:
                    reading = self._threads.submit(_read, descriptor, position, min(piece_bytes, end - position))
                yield piece
        finally:
            # A thread may still be reading, and the number must not become another file's meanwhile.
            reading.add_done_callback(lambda done: _finish(done, descriptor))

    async def _open(self, path: str, needed: int) -> int:
        opening = self._threads.submit(_open, path, needed)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda done: None if done.exception() else os.close(done.result()))
            raise


def _finish(reading: asyncio.Future[bytes], descriptor: int) -> None:
    os.close(descriptor)
    reading.exception()  # taken, so that nobody misses it: whoever wanted the bytes is gone or has been told


# --- In a file thread ------------------------------------------------------------------------------------------------


def _load_into(slab: memoryview, places: Sequence[tuple[str, int, int]]) -> list[memoryview | ObjectUnreadable]:
    loaded: list[memoryview | ObjectUnreadable] = []
    at = 0
    for path, offset, size in places:
        view = slab[at : at + size]
        at += size
        try:
            _fill(view, path, offset)
            loaded.append(view)
        except ObjectUnreadable as error:
            loaded.append(error)
    return loaded


def _fill(view: memoryview, path: str, offset: int) -> None:
    descriptor = _attempt(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        done = _attempt(os.preadv, descriptor, (view,), offset)
        while done < len(view):
            more = _attempt(os.preadv, descriptor, (view[done:],), offset + done)
            if not more:
                raise ObjectUnreadable(f"its file is {len(view) - done} bytes short")
            done += more
    finally:
        os.close(descriptor)


def _open(path: str, needed: int) -> int:
    descriptor = _attempt(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    with suppress(OSError):  # then reading says what is wrong
        there = os.fstat(descriptor).st_size
        if there < needed:
            os.close(descriptor)
            raise ObjectUnreadable(f"its file is {needed - there} bytes short")
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return descriptor


def _read(descriptor: int, offset: int, size: int) -> bytes:
    """Exactly ``size`` bytes; the kernel may give fewer at a time."""
    data = _attempt(os.pread, descriptor, size, offset)
    while len(data) < size:
        more = _attempt(os.pread, descriptor, size - len(data), offset + len(data))
        if not more:
            raise ObjectUnreadable(f"its file is {size - len(data)} bytes short")
        data += more
    return data


def _attempt(call: Callable[..., T], *arguments: object) -> T:
    try:
        return call(*arguments)
    except OSError as error:  # without the path: it holds a patient's UIDs, and this goes into a log
        raise ObjectUnreadable(f"its file cannot be read: {error.strerror or error}") from error
