"""No more than so many bytes a second, whatever the data sets look like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from kit.identifiers import EXPLICIT
from kit.retrieving import Taker, contexts
from pacslite.dimse.command import CommandSet, Tag, Value
from pacslite.dimse.service import OutgoingDataSet
from pacslite.services.pacing import Pace, PacedInvoker

STORE: dict[int, Value] = {Tag.AFFECTED_SOP_INSTANCE_UID: "1.2"}


class Time:
    """A clock that moves when somebody sleeps, and then by ``late`` more."""

    def __init__(self, late: float = 0.0) -> None:
        self.now = 1000.0
        self.late = late
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self.late
        await asyncio.sleep(0)


class Counting(Taker):
    """Remembers how long the pieces were."""

    sizes: list[int]

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        assert isinstance(data_set, AsyncIterator)
        self.sizes = []
        return await super().call(context_id, elements, self._counted(data_set), answer_s=answer_s)

    async def _counted(self, pieces: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        async for piece in pieces:
            self.sizes.append(len(piece))
            yield piece


def paced(bytes_per_s: int, time: Time) -> tuple[PacedInvoker, Counting]:
    taker = Counting(contexts(EXPLICIT))
    return PacedInvoker(taker, Pace(bytes_per_s, clock=time.clock, sleep=time.sleep)), taker


@pytest.mark.parametrize("rate", [50, 10_000, 3_000_000])
async def test_a_large_object_takes_its_time_inside_and_stays_what_it_is(rate: int) -> None:
    time = Time()
    invoker, taker = paced(rate, time)
    data = bytes(range(250)) * 4 * 200
    await invoker.call(1, STORE, data)
    sizes = taker.sizes
    await invoker.call(1, STORE, b"\1\2")
    assert taker.sent[0].data_set == data
    assert time.now - 1000 == pytest.approx(len(data) / rate, rel=0.01, abs=0.11)
    assert max(sizes) <= max(rate // 10, 1024)


async def test_objects_that_follow_each_other_share_the_pace() -> None:
    time = Time()
    invoker, _ = paced(100_000, time)
    await asyncio.gather(*(invoker.call(1, STORE, bytes(1000)) for _ in range(200)))
    assert time.now - 1000 == pytest.approx(2.0, abs=0.12)


async def test_pieces_of_a_stream_are_cut_again_into_even_ones() -> None:
    async def stream() -> AsyncIterator[bytes]:
        for number in range(3):
            yield bytes([number]) * 5000

    invoker, taker = paced(20_010, Time())
    await invoker.call(1, STORE, stream())
    assert taker.sent[0].data_set == b"\0" * 5000 + b"\1" * 5000 + b"\2" * 5000
    assert all(size % 2 == 0 and size <= 2001 for size in taker.sizes)


async def test_a_timer_that_rings_late_costs_nothing() -> None:
    time = Time(late=0.02)
    invoker, _ = paced(100_000, time)
    await invoker.call(1, STORE, bytes(1_000_000))
    assert time.now - 1000 == pytest.approx(10.0, abs=0.15)


async def test_nothing_is_saved_up_while_nothing_is_sent() -> None:
    time = Time()
    invoker, _ = paced(100_000, time)
    time.now += 3600
    await invoker.call(1, STORE, bytes(1_000_000))
    assert time.now - 4600 == pytest.approx(10.0, abs=0.25)


async def test_what_has_no_data_set_is_not_held_up() -> None:
    time = Time()
    invoker = PacedInvoker(taker := Empty(contexts(EXPLICIT)), Pace(1, clock=time.clock, sleep=time.sleep))
    assert (await invoker.call(1, STORE)).status == 0
    assert (invoker.contexts, invoker.window) == (taker.contexts, 1)
    assert time.slept == []


class Empty(Taker):
    """Takes what has no data set."""

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        assert data_set is None
        return CommandSet({Tag.STATUS: 0})
