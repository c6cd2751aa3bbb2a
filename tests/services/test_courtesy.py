"""Forwards leave the machine to what comes in, and hurry when nothing does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from kit.identifiers import EXPLICIT
from kit.retrieving import Taker, contexts
from pacslite.archive.traffic import Traffic
from pacslite.dimse.command import CommandSet, Tag, Value
from pacslite.dimse.service import OutgoingDataSet
from pacslite.services.courtesy import CourteousInvoker, Courtesy

STORE: dict[int, Value] = {Tag.AFFECTED_SOP_INSTANCE_UID: "1.2"}


class Heavy(Traffic):
    """Traffic by order."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        super().__init__()
        self.now = False

    @property
    def is_heavy(self) -> bool:
        return self.now


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Slow(Taker):
    """Takes so much time for each object, or for each piece of one."""

    time: Time
    takes_s: float = 0.01

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        if isinstance(data_set, AsyncIterator):
            data_set = self._slowly(data_set)
        else:
            self.time.now += self.takes_s
        return await super().call(context_id, elements, data_set, answer_s=answer_s)

    async def _slowly(self, pieces: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        async for piece in pieces:
            self.time.now += self.takes_s
            yield piece


class Place:
    def __init__(self, sending: int = 1) -> None:
        self.time, self.traffic = Time(), Heavy()
        self.sending = sending
        courtesy = Courtesy(self.traffic, sending=lambda: self.sending, clock=self.time.clock, sleep=self.time.sleep)
        self.taker = Slow(contexts(EXPLICIT))
        self.taker.time = self.time
        self.invoker = CourteousInvoker(self.taker, courtesy)

    async def seconds(self, count: int, data: bytes = bytes(1000)) -> float:
        """For so many objects."""
        began = self.time.now
        for _ in range(count):
            await self.invoker.call(1, STORE, data)
        return self.time.now - began


async def test_without_traffic_nothing_is_waited_for() -> None:
    assert await Place().seconds(100) == pytest.approx(1.0)


@pytest.mark.parametrize("sending", [1, 2])
async def test_while_objects_come_in_a_part_of_the_speed_is_left(sending: int) -> None:
    place = Place(sending)
    await place.seconds(40)
    place.traffic.now = True
    assert await place.seconds(100) == pytest.approx(sending / 0.6, rel=0.05)
    place.traffic.now = False
    assert await place.seconds(100) == pytest.approx(1.0, rel=0.05)


async def test_a_sending_that_is_held_up_anyway_is_not_held_up_more() -> None:
    place = Place()
    await place.seconds(40)
    place.traffic.now = True
    place.taker.takes_s = 0.02
    assert await place.seconds(20) == pytest.approx(0.4, rel=0.1)


async def test_a_slow_destination_is_no_burden() -> None:
    place = Place()
    place.traffic.now = True
    place.taker.takes_s = 0.05
    assert await place.seconds(50) == pytest.approx(2.5)


async def test_it_learns_also_while_objects_come_in() -> None:
    place = Place()
    place.traffic.now = True
    await place.seconds(10)
    assert await place.seconds(100) == pytest.approx(1 / 0.6, rel=0.05)


async def test_sizes_are_told_apart() -> None:
    place = Place()
    place.taker.takes_s = 1.0
    await place.seconds(10, bytes(1 << 20))
    place.taker.takes_s = 0.01
    place.traffic.now = True
    await place.seconds(10)
    assert await place.seconds(100) == pytest.approx(1 / 0.6, rel=0.05)


async def test_a_stream_leaves_room_between_its_pieces_and_stays_what_it_is() -> None:
    async def stream() -> AsyncIterator[bytes]:
        for number in range(50):
            yield bytes([number]) * 1000

    place = Place()
    place.traffic.now = True
    await place.invoker.call(1, STORE, stream())
    assert place.taker.sent[0].data_set == b"".join(bytes([number]) * 1000 for number in range(50))
    assert place.time.now - 1000 == pytest.approx(0.5 / 0.6, rel=0.1)


async def test_several_at_once_share_the_time() -> None:
    place = Place()
    place.taker.gate.clear()
    running = [asyncio.create_task(place.invoker.call(1, STORE, bytes(1000))) for _ in range(4)]
    await place.taker.arrived.wait()
    place.taker.gate.set()
    await asyncio.gather(*running)
    assert len(place.taker.sent) == 4
    assert (place.invoker.window, place.invoker.contexts) == (1, place.taker.contexts)


def test_traffic_is_heavy_while_something_comes() -> None:
    traffic = Traffic()
    assert not traffic.is_heavy
    traffic.came()
    assert traffic.is_heavy
