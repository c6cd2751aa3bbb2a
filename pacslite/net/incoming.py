"""A data set that is still arriving, and the account of the bytes that nobody has taken yet.

Theory of operation. The association feeds pieces as they come off the wire; the service takes them with ``pieces()``.
Between the two lies at most ``high_water_bytes`` per association: above it the :class:`ReceiveBudget` pauses the
transport, TCP slows the sender, and taking pieces down to ``low_water_bytes`` resumes it. A service that ends early
discards: what still comes is dropped as it arrives, so the next message is found (PS3.7 9.3.1: a failure may be
answered before the data set has arrived).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from pacslite.errors import AssociationError, OutOfResources

SMALL_PIECE_BYTES = 4096
"""Pieces below this are joined: a sender of tiny fragments must not cost an object per fragment."""


class ReceiveBudget:
    """Pauses and resumes one association's reading by how many received bytes wait in memory."""

    def __init__(
        self, *, high_water_bytes: int, low_water_bytes: int, pause: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        self._high_water_bytes = high_water_bytes
        self._low_water_bytes = low_water_bytes
        self._pause = pause
        self._resume = resume
        self.waiting_bytes = 0
        self.paused = False

    def add(self, count: int) -> None:
        self.waiting_bytes += count
        if not self.paused and self.waiting_bytes > self._high_water_bytes:
            self.paused = True
            self._pause()

    def take(self, count: int) -> None:
        self.waiting_bytes -= count
        if self.paused and self.waiting_bytes <= self._low_water_bytes:
            self.paused = False
            self._resume()


class IncomingDataSet:
    """One data set on its way in: :class:`pacslite.dimse.service.DataSet` over an association."""

    def __init__(self, budget: ReceiveBudget) -> None:
        self._budget = budget
        self._pieces: deque[bytes | bytearray | memoryview] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: AssociationError | None = None
        self._discarding = False
        self.complete = False
        self.received_bytes = 0

    # --- The association's side ---------------------------------------------------------------------------------------

    def feed(self, data: bytes | memoryview, *, last: bool) -> None:
        """Take the next piece off the wire."""
        size = len(data)
        self.received_bytes += size
        if not self._discarding and size:
            self._budget.add(size)
            self._append(data, size)
        self.complete = last
        self._wake()

    def fail(self, error: AssociationError) -> None:
        """The association ended before the data set did: what arrived stays readable, then ``error`` is raised."""
        if not self.complete:
            self._error = error
            self._wake()

    def discard(self) -> None:
        """Nobody wants the rest: forget what waits, drop what still comes."""
        self._discarding = True
        while self._pieces:
            self._budget.take(len(self._pieces.popleft()))

    @property
    def waiting_pieces(self) -> int:
        """How many objects the waiting bytes are held in."""
        return len(self._pieces)

    def _append(self, data: bytes | memoryview, size: int) -> None:
        pieces = self._pieces
        if size >= SMALL_PIECE_BYTES:
            pieces.append(data)
        elif pieces and isinstance(pieces[-1], bytearray) and len(pieces[-1]) < SMALL_PIECE_BYTES:
            pieces[-1] += data
        else:
            pieces.append(bytearray(data))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- The service's side -------------------------------------------------------------------------------------------

    async def pieces(self) -> AsyncIterator[bytes | memoryview]:
        """The bytes as they arrive; raises the association's error if it ends first."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._budget.take(len(piece))
                yield memoryview(piece) if isinstance(piece, bytearray) else piece
            if self.complete:
                return
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def read(self, limit: int) -> bytes:
        """All of it, at most ``limit`` bytes; raises :class:`OutOfResources` beyond."""
        collected = bytearray()
        async for piece in self.pieces():
            collected += piece
            if len(collected) > limit:
                raise OutOfResources(f"data set longer than {limit} bytes")
        return bytes(collected)
