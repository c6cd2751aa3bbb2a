"""Sending that leaves the machine to objects that come in at the same time.

Theory of operation. Whoever sends us an object waits for the answer, and nobody waits for a forward. So while objects
come in, each sending is given somewhat more time than it needs when nothing else goes on, and the next one begins after
that. What it needs is learnt from the quicker ones among the last of about its size: those that were not held up. When
they are held up anyway, by a slow peer or a busy machine, there is nothing to wait for.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

from pacslite.archive.traffic import Traffic
from pacslite.dimse.command import CommandSet, Value
from pacslite.dimse.service import Context, Invoker, OutgoingDataSet

_SHARE: Final = 0.6
"""Of the speed that would be possible."""

_SLOW_S: Final = 0.01
_SLOW_BYTES_PER_S: Final = 20e6
"""What takes longer than this and that together waits for the network or the peer: it is no burden here."""

_REMEMBERED: Final = 32
_QUICKER: Final = 4
"""A quarter of them are quicker than what is taken for the time that is needed."""


class Courtesy:
    """What has one destination in common. ``sending`` tells to how many it is sent at the same time."""

    def __init__(
        self,
        traffic: Traffic,
        *,
        sending: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.clock = clock
        self._traffic = traffic
        self._sending = sending
        self._sleep = sleep
        self._in_flight = 0
        self._free_at = 0.0
        self._took: dict[int, deque[float]] = {}

    async def wait(self, size: int) -> None:
        """Until the next ``size`` bytes may be sent."""
        if not self._traffic.is_heavy:
            return
        now = self.clock()
        begins = max(self._free_at, now)
        self._free_at = begins + self._needs(size) * self._sending() / _SHARE
        if begins > now:
            await self._sleep(begins - now)

    def begin(self) -> float:
        """Something is being sent."""
        self._in_flight += 1
        return self.clock()

    def end(self, size: int, began: float) -> None:
        """So many bytes have been sent since then, or answered for; with others, which had their part of the time."""
        took = (self.clock() - began) / self._in_flight
        self._in_flight -= 1
        self._took.setdefault(size.bit_length(), deque(maxlen=_REMEMBERED)).append(took)

    def _needs(self, size: int) -> float:
        took = self._took.get(size.bit_length())
        if not took:
            return 0.0
        needs = sorted(took)[len(took) // _QUICKER]
        return needs if needs <= _SLOW_S + size / _SLOW_BYTES_PER_S else 0.0


class CourteousInvoker:
    """An association on which what comes in has precedence over what is sent."""

    def __init__(self, invoker: Invoker, courtesy: Courtesy) -> None:
        self._invoker = invoker
        self._courtesy = courtesy

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
        if isinstance(data_set, AsyncIterator):
            async with aclosing(self._piecewise(data_set)) as pieces:
                return await self._invoker.call(context_id, elements, pieces, answer_s=answer_s)
        courtesy, size = self._courtesy, len(data_set or b"")
        await courtesy.wait(size)
        began = courtesy.begin()
        try:
            return await self._invoker.call(context_id, elements, data_set, answer_s=answer_s)
        finally:
            courtesy.end(size, began)

    async def _piecewise(self, pieces: AsyncIterator[bytes | memoryview]) -> AsyncGenerator[bytes | memoryview, None]:
        """A piece has been sent when the next one is asked for."""
        courtesy = self._courtesy
        async for piece in pieces:
            await courtesy.wait(len(piece))
            began = courtesy.begin()
            try:
                yield piece
            finally:
                courtesy.end(len(piece), began)
