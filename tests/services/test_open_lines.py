"""The association on which commitment was asked for, as a way back to the requester. STANDARD SC-04."""

from __future__ import annotations

import asyncio
import math

from kit.operation import Nobody
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL
from pacslite.dimse.command import CommandField, CommandSet, Tag
from pacslite.dimse.service import Context, Request
from pacslite.facts import Peer
from pacslite.net.cancellation import Cancellation
from pacslite.services.open_lines import MOST_LINES, OpenLines

CONTEXT = Context(3, STORAGE_COMMITMENT_PUSH_MODEL, EXPLICIT_VR_LITTLE_ENDIAN)


def request(calling_ae: str = "CT1") -> Request:
    return Request(
        peer=Peer(association=1, address="127.0.0.1", port=1, calling_ae=calling_ae, called_ae="PACSLITE"),
        context=CONTEXT,
        command=CommandSet({Tag.COMMAND_FIELD: CommandField.N_ACTION_RQ, Tag.MESSAGE_ID: 1}),
        data_set=None,
        cancellation=Cancellation(),
        invoker=Nobody(),
    )


def lines(wait_s: float = 60.0) -> OpenLines:
    return OpenLines(lambda calling_ae: wait_s)


async def test_sc_04_a_line_is_given_once_its_answer_has_left() -> None:
    open_lines, asked = lines(), request()
    opened = open_lines.open(7, asked)
    assert opened is not None
    taking = asyncio.create_task(open_lines.take(7))
    await asyncio.sleep(0)
    assert not taking.done()
    opened.answered()
    taken = await taking
    assert taken is opened
    assert taken.invoker is asked.invoker
    assert taken.context is CONTEXT


async def test_a_line_to_whom_nobody_can_call_lasts_as_long_as_its_association() -> None:
    open_lines = lines(math.inf)
    opened = open_lines.open(7, request())
    assert opened is not None
    opened.answered()
    assert await open_lines.take(7) is opened
    assert open_lines.open(8, request()) is not open_lines.open(8, request())
    assert 8 in open_lines


async def test_a_line_is_taken_once() -> None:
    open_lines = lines()
    opened = open_lines.open(7, request())
    assert opened is not None
    opened.answered()
    assert await open_lines.take(7) is opened
    assert await open_lines.take(7) is None


async def test_whether_there_is_a_line_to_a_peer() -> None:
    open_lines = lines()
    opened = open_lines.open(7, request("CT1"))
    assert opened is not None
    opened.answered()
    assert (7 in open_lines, 8 in open_lines) == (True, False)
    assert (open_lines.any_to("CT1"), open_lines.any_to("CT2")) == (True, False)
    await open_lines.take(7)
    assert 7 not in open_lines
    assert not open_lines.any_to("CT1")


async def test_a_request_that_came_on_no_association_of_this_process_has_no_line() -> None:
    assert await lines().take(7) is None


async def test_an_association_that_ends_before_the_answer_has_left_is_no_line() -> None:
    open_lines, asked = lines(), request()
    opened = open_lines.open(7, asked)
    assert opened is not None
    taking = asyncio.create_task(open_lines.take(7))
    await asyncio.sleep(0)
    assert isinstance(asked.cancellation, Cancellation)
    asked.cancellation.request()
    assert await taking is None
    opened.answered()
    assert await open_lines.take(7) is None


async def test_an_association_that_has_ended_already_is_no_line() -> None:
    open_lines, asked = lines(), request()
    assert isinstance(asked.cancellation, Cancellation)
    asked.cancellation.request()
    assert open_lines.open(7, asked) is None
    assert await open_lines.take(7) is None


async def test_a_line_is_over_when_its_time_is_up() -> None:
    open_lines = lines(wait_s=0.001)
    opened = open_lines.open(7, request())
    assert opened is not None
    assert await open_lines.take(7) is None
    opened.answered()
    assert not await opened.is_usable()


async def test_the_time_goes_by_the_caller_and_none_is_never() -> None:
    open_lines = OpenLines({"CT1": 0.0, "CT2": 60.0}.__getitem__)
    assert open_lines.open(1, request("CT1")) is None
    assert open_lines.open(2, request("CT2")) is not None


async def test_sc_05_a_repetition_has_the_line_on_which_it_came() -> None:
    open_lines = lines()
    first, second = open_lines.open(7, request()), open_lines.open(7, request())
    assert first is not None
    assert second is not None
    first.answered()
    second.answered()
    assert await open_lines.take(7) is second
    assert not await first.is_usable()


async def test_whoever_waits_for_a_line_that_was_replaced_leaves_the_new_one_alone() -> None:
    open_lines = lines()
    open_lines.open(7, request())
    waiting = asyncio.create_task(open_lines.take(7))
    await asyncio.sleep(0)
    second = open_lines.open(7, request())
    assert second is not None
    assert await waiting is None
    second.answered()
    assert await open_lines.take(7) is second


async def test_too_many_lines_cost_the_oldest_one() -> None:
    open_lines = lines()
    opened = [open_lines.open(number, request()) for number in range(MOST_LINES + 1)]
    for line in opened:
        assert line is not None
        line.answered()
    assert await open_lines.take(0) is None
    assert await open_lines.take(1) is opened[1]
    assert await open_lines.take(MOST_LINES) is opened[MOST_LINES]
