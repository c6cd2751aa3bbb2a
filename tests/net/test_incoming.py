"""A data set on its way in: flow control and bounded memory. DESIGN 6; STANDARD UL-18, UL-26, DM-09."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.errors import ConnectionLost, OutOfResources
from pacslite.net.incoming import IncomingDataSet, ReceiveBudget


class Tap:
    """Counts what the budget asks of the transport."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def budget(self, high: int = 10_000, low: int = 5_000) -> ReceiveBudget:
        return ReceiveBudget(
            high_water_bytes=high,
            low_water_bytes=low,
            pause=lambda: self.log.append("pause"),
            resume=lambda: self.log.append("resume"),
        )


async def collect(data_set: IncomingDataSet) -> bytes:
    return b"".join([bytes(piece) async for piece in data_set.pieces()])


@given(st.lists(st.binary(max_size=9000), max_size=12))
def test_pieces_joined_are_what_was_fed(pieces: list[bytes]) -> None:
    async def run() -> bytes:
        data_set = IncomingDataSet(Tap().budget())
        for piece in pieces:
            data_set.feed(memoryview(piece), last=False)
        data_set.feed(b"", last=True)
        return await collect(data_set)

    assert asyncio.run(run()) == b"".join(pieces)


async def test_a_reader_that_is_ahead_waits_for_the_peer() -> None:
    data_set = IncomingDataSet(Tap().budget())
    reading = asyncio.create_task(collect(data_set))
    for piece in (b"ab", b"cd", b""):
        await asyncio.sleep(0)  # lets the reader run into its wait
        data_set.feed(piece, last=not piece)
    assert await reading == b"abcd"


async def test_reading_pauses_above_the_high_mark_and_resumes_at_the_low_one() -> None:
    tap = Tap()
    budget = tap.budget()
    data_set = IncomingDataSet(budget)
    data_set.feed(bytes(5_000), last=False)
    data_set.feed(bytes(5_000), last=False)
    assert tap.log == []
    data_set.feed(bytes(5_000), last=True)
    assert tap.log == ["pause"]
    pieces = data_set.pieces()
    await anext(pieces)
    assert tap.log == ["pause"]
    await anext(pieces)
    assert tap.log == ["pause", "resume"]
    assert [len(piece) async for piece in pieces] == [5_000]
    assert budget.waiting_bytes == 0


async def test_dm_09_what_nobody_wants_is_dropped_and_costs_no_memory() -> None:
    tap = Tap()
    budget = tap.budget()
    data_set = IncomingDataSet(budget)
    data_set.feed(bytes(20_000), last=False)
    data_set.discard()
    assert (tap.log, budget.waiting_bytes) == (["pause", "resume"], 0)
    data_set.feed(bytes(20_000), last=True)
    assert (tap.log, budget.waiting_bytes) == (["pause", "resume"], 0)
    assert data_set.complete


def test_a_byte_at_a_time_does_not_cost_an_object_a_byte() -> None:
    data_set = IncomingDataSet(Tap().budget())
    for _ in range(5_000):
        data_set.feed(b"x", last=False)
    assert data_set.waiting_pieces <= 2


async def test_ul_26_a_lost_association_is_raised_after_what_had_arrived() -> None:
    data_set = IncomingDataSet(Tap().budget())
    data_set.feed(b"abc", last=False)
    data_set.fail(ConnectionLost("gone"))
    pieces = data_set.pieces()
    assert bytes(await anext(pieces)) == b"abc"
    with pytest.raises(ConnectionLost, match="gone"):
        await anext(pieces)


async def test_a_complete_data_set_does_not_mind_the_end_of_the_association() -> None:
    data_set = IncomingDataSet(Tap().budget())
    data_set.feed(b"abc", last=True)
    data_set.fail(ConnectionLost("gone"))
    assert await data_set.read(3) == b"abc"


async def test_reading_whole_has_a_limit() -> None:
    data_set = IncomingDataSet(Tap().budget())
    data_set.feed(b"abcd", last=True)
    with pytest.raises(OutOfResources, match="longer than 3 bytes"):
        await data_set.read(3)
