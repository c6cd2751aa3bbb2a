"""Transcoder: stored objects in another transfer syntax, without losing anything.

Theory of operation. A first pass over the file (:mod:`pacslite.transcode.survey`) finds out what there is to do, and
most of what could go wrong, before anything is sent. Where only the encoding of elements differs, the file is
re-encoded piece by piece in a thread, at most a few pieces ahead of who reads them. Where pixels have to be decoded or
compressed, a worker process does that into a temporary file that has no name, and that is read from there.

The server itself imports neither numpy nor a codec.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pacslite.dicom.heads import MalformedDataSet
from pacslite.dicom.reencode import Reencoder
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.errors import CannotConvert
from pacslite.transcode.survey import Survey, survey
from pacslite.transcode.syntaxes import DECODABLE, PRODUCIBLE, target_for
from pacslite.transcode.workers import Workers

T = TypeVar("T")

PIECE_BYTES: Final = 1 << 18
_MEMORY_BYTES: Final = 1 << 30  # what a codec needs beyond its pixels


class Transcoder:
    """Use it in ``async with``: on leaving, its worker processes end.

    `processes` is how many conversions of pixels run at once and `max_waiting` how many others may wait. One of them
    may take `max_seconds`; pixels, decoded, and a result may have `max_bytes`. Results lie in `folder` meanwhile.
    """

    def __init__(
        self,
        *,
        processes: int,
        max_bytes: int,
        folder: Path | None = None,
        max_seconds: float = 300.0,
        max_waiting: int = 1000,
    ) -> None:
        self._workers = Workers(processes=processes, max_waiting=max_waiting, max_seconds=max_seconds)
        self._max_bytes = max_bytes
        self._folder = folder

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._workers.aclose()

    @staticmethod
    def target_for(source_syntax: str, offered: Collection[str]) -> str | None:
        """Which of the `offered` transfer syntaxes an object can be converted to, best first; None: to none."""
        return target_for(source_syntax, offered)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the worker processes there are now."""
        return self._workers.process_ids

    async def convert(
        self, *, path: Path, data_set_offset: int, size: int, source: str, target: str
    ) -> AsyncGenerator[bytes, None]:
        """The data set, `size` bytes of `path` from `data_set_offset` on, in another transfer syntax.

        In pieces of even length, none of them empty. :class:`CannotConvert` comes before the first piece, but for what
        shows only on the way: a file that cannot be read any more, or words that are cut in two.
        """
        if target not in PRODUCIBLE:
            raise CannotConvert(f"nothing is converted to {transfer_syntax(target).name}")
        descriptor = await _in_thread(_open, path, discard=os.close)
        try:
            found = await _in_thread(_survey, descriptor, data_set_offset, size, source)
            if not found.needs_codec(transfer_syntax(target)):
                pieces = _reencoded(descriptor, data_set_offset, size, source, target, found)
                while piece := await _in_thread(_gathered, pieces):
                    yield piece
                return
            if found.compressed and source not in DECODABLE:
                raise CannotConvert(f"there is no decoder for {transfer_syntax(source).name}")
            request = {"offset": data_set_offset, "size": size, "source": source, "target": target}
            async with aclosing(self._converted(request, descriptor)) as converted:
                async for piece in converted:
                    yield piece
        finally:
            os.close(descriptor)

    async def _converted(self, request: Mapping[str, Any], descriptor: int) -> AsyncGenerator[bytes, None]:
        """The same by a worker process."""
        limits = {"max_bytes": self._max_bytes, "memory_bytes": _MEMORY_BYTES + 4 * self._max_bytes}
        folder = str(self._folder) if self._folder else None
        result = await _in_thread(_temporary, folder, discard=os.close)
        try:
            await self._workers.run({**request, **limits, "folder": folder}, (descriptor, result))
            position = 0
            while piece := await _in_thread(os.pread, result, PIECE_BYTES, position):
                position += len(piece)
                yield piece
        finally:
            os.close(result)


async def _in_thread(call: Callable[..., T], *arguments: Any, discard: Callable[[T], None] | None = None) -> T:
    """What `call` answers. If nobody wants that any more, its end is awaited all the same: it uses open files."""
    future = asyncio.get_running_loop().run_in_executor(None, call, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((future,))
        if not future.cancelled() and future.exception() is None and discard is not None:
            discard(future.result())
        raise


# --- In a thread -----------------------------------------------------------------------------------------------------


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise CannotConvert(f"its file cannot be read: {error.strerror}") from error


def _temporary(folder: str | None) -> int:
    """A file without a name: it goes when the last who has it open closes it, or ends."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise CannotConvert(f"there is no temporary file for it: {error.strerror}") from error


def _survey(descriptor: int, offset: int, size: int, source: str) -> Survey:
    try:
        return survey(descriptor, offset, size, transfer_syntax(source))
    except MalformedDataSet as error:
        raise CannotConvert(f"it is damaged: {error}") from error


def _reencoded(descriptor: int, offset: int, size: int, source: str, target: str, found: Survey) -> Iterator[bytes]:
    reencoder = Reencoder(
        transfer_syntax(source), transfer_syntax(target), pixel_representation=found.pixel_representation
    )
    try:
        for position in range(offset, offset + size, PIECE_BYTES):
            wanted = min(PIECE_BYTES, offset + size - position)
            chunk = os.pread(descriptor, wanted, position)
            if len(chunk) < wanted:
                raise CannotConvert(f"its file is {wanted - len(chunk)} bytes short")
            yield from reencoder.feed(chunk)
        yield from reencoder.finish()
    except MalformedDataSet as error:
        raise CannotConvert(f"it cannot be encoded otherwise: {error}") from error


def _gathered(pieces: Iterator[bytes]) -> bytes:
    """The next pieces, about `PIECE_BYTES` of them; nothing at the end."""
    gathered = b""
    for piece in pieces:
        gathered = gathered + piece if gathered else piece
        if len(gathered) >= PIECE_BYTES:
            break
    return gathered
