"""When messages leave, and with which others. STANDARD QF-24, and PS3.8 Annex E.2 for what must not mix."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import pytest

from kit.message import c_cancel_rq, command_set, us
from kit.rawpeer import A_ABORT, IMPLICIT, RELEASE_RQ, contexts_for
from kit.wire import HIGH_WATER_BYTES, Wire
from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.errors import ConnectionLost
from pacslite.facts import Fact, TaskFailed
from pacslite.net.association import Association
from pacslite.net.dispatch import Dispatcher
from pacslite.net.sender import MOST_MESSAGES

FINDING = "1.2.840.10008.5.1.4.1.2.2.1"
CONTEXTS = contexts_for((FINDING, IMPLICIT))
FIND_RQ = command_set({0x0100: us(0x0020), 0x0110: us(9), 0x0800: us(0x0101)})
PENDING, SUCCESS, CANCEL = 0xFF00, 0x0000, 0xFE00

Serve = Callable[[Request], AsyncGenerator[Response, None]]


class Finding:
    def __init__(self, serve: Serve) -> None:
        self.serve = serve


def finding(serve: Serve, facts: list[Fact] | None = None) -> Wire:
    """A requester who has sent a C-FIND that ``serve`` answers."""
    registration = Registration(
        name="Query",
        abstract_syntaxes=(FINDING,),
        serves=lambda uid, _: uid == FINDING,
        transfer_syntaxes=(IMPLICIT,),
        permission=Permission.QUERY,
        operations={CommandField.C_FIND_RQ: Finding(serve)},
    )
    observe = (facts if facts is not None else []).append
    wire = Wire(CONTEXTS, Dispatcher(ServiceRegistry([registration]), observe).perform)
    wire.send_message(1, FIND_RQ)
    return wire


async def ended(wire: Wire) -> None:
    await asyncio.wait_for(asyncio.gather(*wire.association.running), 10)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come")


def statuses(wire: Wire) -> list[int]:
    return [command.status for command, _ in wire.messages]


async def test_every_answer_arrives_in_order_whatever_leaves_together() -> None:
    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        for number in range(1000):
            yield Response(status=PENDING + number % 2, data_set=b"%04d" % number)
        yield Response()

    wire = finding(serve)
    await ended(wire)
    *pending, (final, nothing) = wire.messages
    assert [data for _, data in pending] == [b"%04d" % number for number in range(1000)]
    assert [command.status for command, _ in pending] == [0xFF00, 0xFF01] * 500
    assert {command.responds_to for command, _ in wire.messages} == {9}
    assert (final.status, final.has_data_set, nothing) == (SUCCESS, False, b"")
    assert len(wire.writes) < 1000 / MOST_MESSAGES + 10
    assert len(wire.writes[0]) < 5 * len(wire.writes[-1])  # the first do not wait for many


async def test_the_only_answer_leaves_together_with_the_end() -> None:
    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        yield Response(status=PENDING, data_set=b"ab")
        yield Response()

    wire = finding(serve)
    await ended(wire)
    assert statuses(wire) == [PENDING, SUCCESS]
    assert len(wire.writes) == 1


async def test_what_is_specific_to_one_answer_stays_there() -> None:
    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        yield Response(status=PENDING, elements={0x1020: 7})
        yield Response(status=PENDING)
        yield Response(status=PENDING, data_set=b"ab")
        yield Response(status=0xA900, comment="why", offending=(0x00100020,))

    wire = finding(serve)
    await ended(wire)
    assert [command.elements.get(0x1020) for command, _ in wire.messages] == [7, None, None, None]
    assert [command.has_data_set for command, _ in wire.messages] == [False, False, True, False]
    assert wire.messages[-1][0].elements[0x0902] == "why"


async def test_no_answer_waits_for_what_the_service_waits_for() -> None:
    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        yield Response(status=PENDING, data_set=b"ab")
        await seen.wait()
        yield Response()

    seen = asyncio.Event()
    wire = finding(serve)
    await until(lambda: statuses(wire) == [PENDING])
    seen.set()
    await ended(wire)
    assert statuses(wire) == [PENDING, SUCCESS]


async def test_qf_24_a_cancel_is_seen_by_a_service_that_never_waits() -> None:
    answers = after = 0

    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        nonlocal answers, after
        while not request.cancellation.requested:
            answers += 1
            if answers == 1000:
                asyncio.get_running_loop().call_soon(wire.send_message, 1, c_cancel_rq(9))
            after += answers > 1000
            yield Response(status=PENDING, data_set=b"ab")
        yield Response(status=CANCEL)

    wire = finding(serve)
    await ended(wire)
    assert statuses(wire)[-1] == CANCEL
    assert after <= MOST_MESSAGES < 50


async def test_large_answers_leave_before_they_are_many() -> None:
    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        for _ in range(40):
            yield Response(status=PENDING, data_set=bytes(32 * 1024))
        yield Response()

    wire = finding(serve)
    await ended(wire)
    assert max(map(len, wire.writes)) < 200 * 1024


async def test_a_peer_that_reads_slowly_is_waited_for() -> None:
    answers = 0

    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        nonlocal answers
        while answers < 10_000:
            answers += 1
            yield Response(status=PENDING, data_set=bytes(300))
        yield Response()

    wire = finding(serve)
    wire.stuck = True
    await until(lambda: wire.paused)
    for _ in range(100):
        await asyncio.sleep(0)
    assert wire.unread < 2 * HIGH_WATER_BYTES
    assert answers < 1000
    wire.stuck = False
    wire.take(wire.unread)
    await ended(wire)
    assert len(wire.messages) == 10_001


@pytest.mark.parametrize("how", ["vanishes", "aborts", "stalls and vanishes"])
async def test_a_requester_that_goes_closes_the_service(how: str) -> None:
    closed = False

    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        nonlocal closed
        try:
            while True:
                yield Response(status=PENDING, data_set=bytes(300))
        finally:
            closed = True
            assert request.cancellation.requested

    facts: list[Fact] = []
    wire = finding(serve, facts)
    wire.stuck = how.startswith("stalls")
    await until(lambda: wire.paused if wire.stuck else len(wire.writes) > 2)
    tasks = wire.association.running
    if how == "aborts":
        wire.protocol.data_received(A_ABORT)
    wire.vanish()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert closed
    assert wire.association.running == []
    assert [fact for fact in facts if isinstance(fact, TaskFailed)] == []


async def test_an_error_of_another_association_is_answered() -> None:
    """A service that does not catch what befell its own calls must not leave the requester without an answer."""

    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        raise ConnectionLost("the destination hung up")
        yield Response()

    facts: list[Fact] = []
    wire = finding(serve, facts)
    await ended(wire)
    assert statuses(wire) == [0x0110]
    assert "the destination hung up" in str([fact for fact in facts if isinstance(fact, TaskFailed)])


async def test_a_release_is_answered_after_the_last_answer() -> None:
    async def serve(request: Request) -> AsyncGenerator[Response, None]:
        for _ in range(500):
            yield Response(status=PENDING, data_set=b"ab")
        yield Response()

    wire = finding(serve)
    wire.protocol.data_received(RELEASE_RQ)
    await ended(wire)
    await until(lambda: wire.writes[-1][:1] == b"\6")
    wire.writes[-1] = wire.writes[-1][:-10]
    assert statuses(wire) == [PENDING] * 500 + [SUCCESS]


# --- Messages in pieces -----------------------------------------------------------------------------------------------


def sending(make: Callable[[Association], Awaitable[None]]) -> Wire:
    async def perform(association: Association, request: Request) -> None:
        await make(association)

    wire = Wire(CONTEXTS, perform)
    wire.send_message(1, FIND_RQ)
    return wire


async def test_annex_e_2_messages_never_mix() -> None:
    async def pieces() -> AsyncIterator[bytes | memoryview]:
        for number in range(20):
            yield memoryview(bytes([number]) * 1000)
            await asyncio.sleep(0)

    async def several(association: Association) -> None:
        store = {0x0100: 0x0001, 0x0800: 1}
        await asyncio.gather(
            *(association.send(1, {**store, 0x0110: number}, pieces()) for number in range(3)),
            *(association.send(1, {**store, 0x0110: number}, b"whole") for number in range(3, 6)),
            *(association.sender.send_soon(1, FIND_RQ, None) for _ in range(3)),
        )

    wire = sending(several)
    await ended(wire)
    found = wire.messages
    assert sorted(len(data) for _, data in found) == [0, 0, 0, 5, 5, 5, 20_000, 20_000, 20_000]
    assert {data for _, data in found if len(data) > 5} == {b"".join(bytes([n]) * 1000 for n in range(20))}
