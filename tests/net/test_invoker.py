"""Operations of ours: their Message IDs, their responses, their cancellation. STANDARD DM-06, DM-10, QR-13."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from pacslite.dimse.command import NO_DATA_SET, CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import OutgoingDataSet
from pacslite.errors import ConnectionLost, RemoteProtocolError
from pacslite.net.incoming import IncomingDataSet, ReceiveBudget
from pacslite.net.invoker import MOST_WAITING_RESPONSES, Invocation, Invoker

FIND: Mapping[int, Value] = {Tag.COMMAND_FIELD: CommandField.C_FIND_RQ, Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET}
PENDING, SUCCESS, CANCEL = 0xFF00, 0x0000, 0xFE00


class Line:
    """An invoker whose peer is the test: what was sent, and whether reading is held."""

    def __init__(self) -> None:
        self.sent: list[Mapping[int, Value]] = []
        self.held = 0
        self.cut = False
        self.quiet_since = asyncio.get_running_loop().time
        self.invoker = Invoker(self.send, quiet_since=lambda: self.quiet_since(), hold=self.hold, unhold=self.unhold)

    async def send(self, context_id: int, elements: Mapping[int, Value], data_set: OutgoingDataSet | None) -> None:
        if self.cut:
            raise ConnectionLost("cut")
        self.sent.append(elements)

    def hold(self) -> None:
        self.held += 1

    def unhold(self) -> None:
        self.held -= 1

    def find(self, answer_s: float = 10) -> Invocation:
        return Invocation(self.invoker, 1, FIND, b"ab", answer_s=answer_s)

    def answer(self, message_id: int, status: int, data_set: IncomingDataSet | None = None) -> None:
        elements: dict[int, Value] = {Tag.COMMAND_FIELD: CommandField.C_FIND_RSP, Tag.STATUS: status}
        self.invoker.received(CommandSet({**elements, Tag.MESSAGE_ID_BEING_RESPONDED_TO: message_id}), data_set)


def arriving() -> tuple[IncomingDataSet, ReceiveBudget]:
    budget = ReceiveBudget(high_water_bytes=99, low_water_bytes=9, pause=lambda: None, resume=lambda: None)
    data_set = IncomingDataSet(budget)
    data_set.feed(b"ab", last=True)
    return data_set, budget


async def test_responses_come_in_order_and_end_with_the_final_one() -> None:
    line = Line()
    async with line.find() as invocation:
        for status in (PENDING, PENDING, SUCCESS):
            line.answer(invocation.message_id, status)
        assert [response.command.status async for response in invocation] == [PENDING, PENDING, SUCCESS]
        assert [response async for response in invocation] == []
    assert not line.invoker.busy


async def test_each_response_finds_its_operation() -> None:
    line = Line()
    async with line.find() as first, line.find() as second:
        assert first.message_id != second.message_id
        line.answer(second.message_id, SUCCESS)
        line.answer(first.message_id, 0xA700)
        assert (await anext(first)).command.status == 0xA700
        assert (await anext(second)).command.status == SUCCESS


async def test_a_response_is_waited_for() -> None:
    line = Line()
    async with line.find() as invocation:
        asyncio.get_running_loop().call_soon(line.answer, invocation.message_id, SUCCESS)
        assert (await anext(invocation)).is_final


async def test_dm_06_cancel_names_the_operation_and_leaves_its_responses_to_come() -> None:
    line = Line()
    async with line.find() as invocation:
        await invocation.cancel()
        line.answer(invocation.message_id, PENDING)
        line.answer(invocation.message_id, CANCEL)
        assert [response.command.status async for response in invocation] == [PENDING, CANCEL]
        await invocation.cancel()  # too late: there is nothing to cancel
    assert [elements[Tag.COMMAND_FIELD] for elements in line.sent] == [0x0020, 0x0FFF]
    cancel = line.sent[1]
    assert cancel[Tag.MESSAGE_ID_BEING_RESPONDED_TO] == invocation.message_id
    assert cancel[Tag.COMMAND_DATA_SET_TYPE] == NO_DATA_SET
    assert Tag.MESSAGE_ID not in cancel


async def test_dm_10_message_ids_go_round_past_those_in_use() -> None:
    line = Line()
    async with line.find() as first:
        assert first.message_id == 1
        for expected in [*range(2, 0x10000), 2]:
            async with line.find() as invocation:
                line.answer(invocation.message_id, SUCCESS)
                assert invocation.message_id == expected


async def test_an_abandoned_operation_keeps_its_message_id_until_its_final_response() -> None:
    line = Line()
    waiting, waiting_budget = arriving()
    async with line.find() as invocation:
        line.answer(invocation.message_id, PENDING, waiting)
    assert waiting_budget.waiting_bytes == 0
    late, late_budget = arriving()
    line.answer(invocation.message_id, PENDING, late)
    assert late_budget.waiting_bytes == 0
    line.answer(invocation.message_id, SUCCESS)
    with pytest.raises(RemoteProtocolError, match="was not sent"):
        line.answer(invocation.message_id, SUCCESS)


async def test_nothing_may_follow_a_final_response() -> None:
    line = Line()
    async with line.find() as invocation:
        line.answer(invocation.message_id, SUCCESS)
        with pytest.raises(RemoteProtocolError, match="after its final one"):
            line.answer(invocation.message_id, PENDING)


async def test_the_end_of_the_association_comes_after_the_responses_that_arrived() -> None:
    line = Line()
    async with line.find() as invocation:
        line.answer(invocation.message_id, PENDING)
        line.invoker.fail(ConnectionLost("gone"))
        assert (await anext(invocation)).command.status == PENDING
        with pytest.raises(ConnectionLost, match="gone"):
            await anext(invocation)


async def test_an_operation_that_cannot_be_sent_is_not_outstanding() -> None:
    line = Line()
    line.cut = True
    with pytest.raises(ConnectionLost, match="cut"):
        async with line.find():
            raise AssertionError("it was sent")
    assert not line.invoker.busy


async def test_silence_counts_only_while_it_is_the_peer_s_turn() -> None:
    line = Line()
    looked = 0

    def busy_at_first() -> float:
        nonlocal looked
        looked += 1
        return asyncio.get_running_loop().time() if looked < 4 else 0.0

    line.quiet_since = busy_at_first
    async with line.find(answer_s=0.01) as invocation:
        with pytest.raises(ConnectionLost, match=r"no answer to message 1 within 0\.01 s"):
            await anext(invocation)
    assert looked >= 4


async def test_responses_that_nobody_takes_hold_the_peer_back() -> None:
    line = Line()
    async with line.find() as invocation:
        for _ in range(MOST_WAITING_RESPONSES):
            line.answer(invocation.message_id, PENDING)
        assert line.held == 0
        line.answer(invocation.message_id, PENDING)
        assert line.held == 1
        for _ in range(MOST_WAITING_RESPONSES):
            await anext(invocation)
        assert line.held == 0
        for _ in range(MOST_WAITING_RESPONSES):
            line.answer(invocation.message_id, PENDING)
        assert line.held == 1
    assert line.held == 0
