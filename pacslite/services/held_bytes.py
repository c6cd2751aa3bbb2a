"""Data sets that have to be in memory whole: how much of them there may be at once, of all associations together.

Each may be long, and there may be hundreds of associations. Nobody waits for room: whoever has it may be slow on
purpose. What is short is always taken, so a few that are long keep nobody from asking for what everybody asks for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pacslite.dimse.service import DataSet
from pacslite.errors import ResourceLimitation

SHORT_BYTES: Final = 1 << 20
"""Taken without room."""


class HeldBytes:
    """At most ``most`` bytes of data sets that are not short."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @asynccontextmanager
    async def read(self, data_set: DataSet, limit: int, *, what: str) -> AsyncIterator[bytes]:
        """All of a data set, which is held until the block ends.

        Raises :class:`ResourceLimitation` when it is longer than ``limit`` bytes, or when there is no room for it.
        """
        collected, held = bytearray(), 0
        try:
            async for piece in data_set.pieces():
                collected += piece
                if len(collected) > limit:
                    raise ResourceLimitation(f"{what} longer than {limit} bytes")
                if len(collected) > SHORT_BYTES:
                    more = len(collected) - held
                    if self._held + more > self._most:
                        raise ResourceLimitation("too many long ones at once; send it again later")
                    self._held += more
                    held += more
            yield bytes(collected)
        finally:
            self._held -= held
