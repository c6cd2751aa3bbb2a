"""The data set of a file, whole or in pieces, read in threads so that nothing waits for the disk in the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import BinaryIO, Final

from pacslite.cli.sending_plan import SendableFile

PIECE_BYTES: Final = 1024 * 1024
"""Even, as fragments have to be (UL-20)."""

WHOLE_BYTES: Final = PIECE_BYTES
"""A data set up to this size is read in one go."""


async def read_whole(file: SendableFile) -> bytes:
    """The data set; raises :class:`OSError` if the file cannot be read or is not what it was."""

    def read() -> bytes:
        with file.path.open("rb") as opened:
            opened.seek(file.data_set_offset)
            return _read(opened, file.data_set_bytes)

    return await asyncio.to_thread(read)


async def pieces_of(
    file: SendableFile, count: Callable[[int], None] = lambda size: None
) -> AsyncGenerator[bytes, None]:
    """The data set in pieces of :data:`PIECE_BYTES`, one read ahead; ``count`` hears of each that was taken."""

    def open_at_data_set() -> BinaryIO:
        opened = file.path.open("rb")
        opened.seek(file.data_set_offset)
        return opened

    opened = await asyncio.to_thread(open_at_data_set)
    left = file.data_set_bytes
    reading = _start_reading(opened, left)
    try:
        while left:
            await asyncio.wait([reading])  # unlike awaiting the task, this does not cancel it when we are cancelled
            piece = reading.result()
            left -= len(piece)
            if left:
                reading = _start_reading(opened, left)
            yield piece
            count(len(piece))
    finally:
        await asyncio.wait([reading])  # a thread cannot be stopped, and must not read from a closed file
        opened.close()


def _start_reading(opened: BinaryIO, left: int) -> asyncio.Task[bytes]:
    return asyncio.create_task(asyncio.to_thread(_read, opened, min(left, PIECE_BYTES)))


def _read(opened: BinaryIO, size: int) -> bytes:
    data = opened.read(size)
    if len(data) < size:
        raise OSError("the file has become shorter since it was looked at")
    return data
