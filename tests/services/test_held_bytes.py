"""Long data sets that are read whole have limited room together. STANDARD DM-09."""

from __future__ import annotations

import pytest

from kit.operation import Bytes
from pacslite.errors import ResourceLimitation
from pacslite.services.held_bytes import SHORT_BYTES, HeldBytes

LONG = bytes(SHORT_BYTES + 1)


async def test_what_is_held_is_what_came() -> None:
    async with HeldBytes(0).read(Bytes(b"abc" * 5000), 15_000, what="request") as data:
        assert data == b"abc" * 5000


async def test_each_has_a_limit() -> None:
    with pytest.raises(ResourceLimitation, match="request longer than 14999 bytes"):
        async with HeldBytes(1 << 30).read(Bytes(b"abc" * 5000), 14_999, what="request"):
            pass


async def test_no_more_is_held_than_there_is_room_for_and_what_is_short_needs_none() -> None:
    held = HeldBytes(len(LONG) + SHORT_BYTES)
    async with held.read(Bytes(LONG), len(LONG), what="request"):
        with pytest.raises(ResourceLimitation, match="later"):
            async with held.read(Bytes(LONG), len(LONG), what="request"):
                pass
        async with held.read(Bytes(LONG[1:]), len(LONG), what="request"):
            pass
    async with held.read(Bytes(LONG), len(LONG), what="request") as data:
        assert data == LONG
