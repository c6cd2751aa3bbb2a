"""No more than so many bytes a second: a pace, and an association on which data sets are sent at it.

Theory of operation. Whoever is about to send bytes books them, and they take their time: that of those who book next
begins when theirs is over. So nobody has to be told to go on, and the bytes leave evenly, also inside of large objects.
A pace that was not used for a while has next to nothing saved up: what a timer that rings late has cost is made up for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

from pacslite.dimse.command import CommandSet, Value
from pacslite.dimse.service import Context, Invoker, OutgoingDataSet

_PIECE_S: Final = 0.1
"""A piece takes about so long: the peer must not think us dead, nor others wait for long behind it."""

_SAVED_S: Final = 0.1
_LEAST_PIECE: Final = 1 << 10
_MOST_PIECE: Final = 256 << 10


class Pace:
    """``bytes_per_s``, for all who share it. ``clock`` is in seconds from anywhere."""

    def __init__(
        self,
        bytes_per_s: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self.piece_bytes = min(max(int(bytes_per_s * _PIECE_S), _LEAST_PIECE), _MOST_PIECE) & ~1
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    async def wait(self, size: int) -> None:
        """Until it is the turn of the next ``size`` bytes."""
        now = self._clock()
        begins = max(self._free_at, now - _SAVED_S)
        self._free_at = begins + size / self.bytes_per_s
        if begins > now:
            await self._sleep(begins - now)


class PacedInvoker:
    """An association on which no data set is sent faster than at ``pace``.

    How long the peer takes to answer is counted from the end of the data set, as always: our own slowness is not its.
    """

    def __init__(self, invoker: Invoker, pace: Pace) -> None:
        self._invoker = invoker
        self._pace = pace

    @property
    def contexts(self) -> Mapping[int, Context]:
        return self._invoker.contexts

    @property
    def window(self) -> int:
        return self._invoker.window

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        if data_set is None:
            return await self._invoker.call(context_id, elements, answer_s=answer_s)
        async with aclosing(self._paced(data_set)) as pieces:
            return await self._invoker.call(context_id, elements, pieces, answer_s=answer_s)

    async def _paced(self, data_set: OutgoingDataSet) -> AsyncGenerator[bytes | memoryview, None]:
        if isinstance(data_set, bytes | memoryview):
            for piece in self._cut(data_set):
                await self._pace.wait(len(piece))
                yield piece
            return
        async for whole in data_set:
            for piece in self._cut(whole):
                await self._pace.wait(len(piece))
                yield piece

    def _cut(self, data: bytes | memoryview) -> list[memoryview]:
        view, size = memoryview(data), self._pace.piece_bytes
        return [view[at : at + size] for at in range(0, len(view), size)]
