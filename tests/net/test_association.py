"""Associations over real sockets, with services that do what each case needs. STANDARD numbers are cited per test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from kit.message import Packing, c_cancel_rq, c_echo_rq, c_store_rq, command_set, pack_message, us
from kit.rawpeer import A_ABORT, IMPLICIT, RELEASE_RQ, RawPeer, associate_rq, contexts_for, user_information
from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import EVERYTHING, Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response, Service
from pacslite.errors import AssociationError, OutOfResources
from pacslite.facts import AssociationEnded, AssociationRefused, Fact, OperationServed, TaskFailed
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy, UnknownCallers
from pacslite.net.association import Association
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.services.verification import VerificationService
from pacslite.ul.connection import Role
from pacslite.ul.negotiation import Order
from pacslite.ul.pdu import Abort, AssociateAC, AssociateRJ, ReleaseRP

STORAGE = "1.2.840.10008.5.1.4.1.1.2"
FINDING = "1.2.840.10008.5.1.4.1.2.2.1"
VERIFICATION = "1.2.840.10008.1.1"
CONTEXTS = contexts_for((VERIFICATION, IMPLICIT), (STORAGE, IMPLICIT), (FINDING, IMPLICIT))
ECHO, STORE, FIND = 1, 3, 5
FIND_RQ = command_set({0x0100: us(0x0020), 0x0110: us(9), 0x0800: us(0x0101)})

ECHOING = VerificationService()
Told = TypeVar("Told", bound=Fact)
Result = TypeVar("Result")


@dataclass
class Collecting:
    """Keeps every data set it is given. ``gate`` holds the answers back and opens when ``opens_at`` of them wait."""

    data_sets: list[bytes] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    opens_at: int = 0
    running: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    most_running: int = 0
    lost: int = 0
    refuse: bool = False

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        if self.refuse:
            raise OutOfResources("no room", offending=(0x7FE00010,))
        assert request.data_set is not None
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.begun.set()
        if self.running == self.opens_at:
            self.gate.set()
        try:
            data = await request.data_set.read(1 << 30)
            await self.gate.wait()
        except AssociationError:
            self.lost += 1
            raise
        finally:
            self.running -= 1
            self.over.set()
        self.data_sets.append(data)
        yield Response()


class UntilCancelled:
    """Answers pending until the requester cancels."""

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        while not request.cancellation.requested:
            yield Response(status=0xFF00)
            await asyncio.sleep(0)
        yield Response(status=0xFE00)


class Broken:
    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        raise RuntimeError("a defect")
        yield Response()


def registration(name: str, uid: str, permission: Permission, operations: dict[CommandField, Service]) -> Registration:
    return Registration(
        name=name,
        abstract_syntaxes=(uid,),
        serves=lambda abstract_syntax, _: abstract_syntax == uid,
        transfer_syntaxes=(IMPLICIT,),
        permission=permission,
        operations=operations,
    )


@dataclass
class Site:
    """A running acceptor, what it served with and what it told."""

    acceptor: Acceptor
    port: int
    storing: Collecting
    facts: list[Fact]
    news: asyncio.Event

    async def told(self, kind: type[Told], count: int = 1) -> list[Told]:
        """The first ``count`` facts of a kind, as soon as they are there."""
        async with asyncio.timeout(10):
            while True:
                self.news.clear()
                found = [fact for fact in self.facts if isinstance(fact, kind)]
                if len(found) >= count:
                    return found
                await self.news.wait()


@asynccontextmanager
async def site(
    connection: ConnectionLimits | None = None,
    limits: AcceptorLimits | None = None,
    permissions: frozenset[Permission] = EVERYTHING,
    echo: Service = ECHOING,
) -> AsyncIterator[Site]:
    storing, facts, news = Collecting(), list[Fact](), asyncio.Event()
    storing.gate.set()

    def observe(fact: Fact) -> None:
        facts.append(fact)
        news.set()

    finding: dict[CommandField, Service] = {CommandField.C_FIND_RQ: UntilCancelled(), CommandField.C_MOVE_RQ: Broken()}
    registry = ServiceRegistry(
        [
            registration(
                "Echo", VERIFICATION, Permission.ECHO, {CommandField.C_ECHO_RQ: echo or VerificationService()}
            ),
            registration("Storage", STORAGE, Permission.STORE, {CommandField.C_STORE_RQ: storing}),
            registration("Query", FINDING, Permission.QUERY, finding),
        ]
    )
    acceptor = Acceptor(
        registry=registry,
        perform=Dispatcher(registry, observe).perform,
        access=AccessPolicy((), ae_titles=["US"], unknown=UnknownCallers.LOOPBACK, unknown_permissions=permissions),
        limits=limits or AcceptorLimits(),
        connection_limits=connection or ConnectionLimits(),
        order=Order.SENDER,
        observe=observe,
    )
    port = await acceptor.listen("127.0.0.1", 0)
    try:
        yield Site(acceptor, port, storing, facts, news)
    finally:
        await acceptor.close(0)


async def play(script: Callable[[RawPeer], Result], port: int) -> Result:
    """Run the blocking ``script`` of a peer in a thread of its own."""

    def run() -> Result:
        with RawPeer(port) as peer:
            return script(peer)

    return await asyncio.to_thread(run)


async def test_echo_and_release() -> None:
    def script(peer: RawPeer) -> int:
        peer.associate(CONTEXTS)
        status = peer.echo(ECHO)
        peer.release()
        return status

    async with site() as running:
        assert await play(script, running.port) == 0
        (ended,) = await running.told(AssociationEnded)
        assert (ended.how, ended.operations, ended.established) == ("released", 1, True)


@pytest.mark.parametrize(
    "packing",
    [
        Packing(pdvs_per_pdu=50),
        Packing(command_fragments=(1,), data_fragments=(3, 1, 7)),
        Packing(empty_pdvs=True, pdvs_per_pdu=3),
        Packing(control_noise=0xFC),
    ],
    ids=["everything in one PDU", "odd fragments", "empty PDVs", "noise in the control header"],
)
async def test_ul_19_to_21_every_packing_gives_the_same_data_set(packing: Packing) -> None:
    data = bytes(range(256)) * 4

    def script(peer: RawPeer) -> int:
        peer.associate(CONTEXTS)
        return peer.store(STORE, STORAGE, "1.2.3", data, packing=packing).status

    async with site() as running:
        assert await play(script, running.port) == 0
        assert running.storing.data_sets == [data]


async def test_dm_09_a_refusal_comes_before_the_data_set_which_is_then_drained() -> None:
    def script(peer: RawPeer) -> tuple[int, str, int]:
        peer.associate(CONTEXTS)
        first, *rest = pack_message(STORE, c_store_rq(STORAGE, "1.2.3"), bytes(100_000))
        peer.send(first)
        refusal = peer.read_response()
        peer.send(*rest)
        return refusal.status, refusal.text(0x0902), peer.echo(ECHO, 2)

    async with site() as running:
        running.storing.refuse = True
        assert await play(script, running.port) == (0xA700, "no room", 0)
        refused, _ = await running.told(OperationServed, 2)
        assert (refused.status, refused.comment) == (0xA700, "no room")


async def test_dm_10_a_message_id_in_use_is_0210_and_the_first_operation_goes_on() -> None:
    def script(peer: RawPeer) -> list[int]:
        peer.associate(CONTEXTS, information=user_information(window=(2, 1)))
        peer.send_message(STORE, c_store_rq(STORAGE, "1.2.3", 7), b"ab")
        peer.send_message(ECHO, c_echo_rq(7))
        statuses = [peer.read_response().status]
        loop.call_soon_threadsafe(running.storing.gate.set)
        return [*statuses, peer.read_response().status]

    loop = asyncio.get_running_loop()
    async with site() as running:
        running.storing.gate.clear()
        assert await play(script, running.port) == [0x0210, 0]


async def test_dm_11_an_unknown_command_is_answered_0211() -> None:
    def script(peer: RawPeer) -> int:
        peer.associate(CONTEXTS)
        peer.send_message(ECHO, command_set({0x0100: us(0x0999), 0x0110: us(1), 0x0800: us(0x0101)}))
        return peer.read_response().status

    async with site() as running:
        assert await play(script, running.port) == 0x0211


async def test_dm_06_a_cancel_ends_the_operation_it_names_and_others_are_ignored() -> None:
    def script(peer: RawPeer) -> list[int]:
        peer.associate(CONTEXTS)
        peer.send_message(FIND, FIND_RQ)
        statuses = [peer.read_response().status]
        peer.send_message(FIND, c_cancel_rq(1234))
        statuses.append(peer.read_response().status)
        peer.send_message(FIND, c_cancel_rq(9))
        while statuses[-1] == 0xFF00:
            statuses.append(peer.read_response().status)
        peer.send_message(FIND, c_cancel_rq(9))
        return [*statuses, peer.echo(ECHO)]

    async with site() as running:
        statuses = await play(script, running.port)
        assert statuses[:2] == [0xFF00, 0xFF00]
        assert statuses[-2:] == [0xFE00, 0]


async def test_a_defect_of_a_service_is_answered_0110_and_told() -> None:
    def script(peer: RawPeer) -> tuple[int, int]:
        peer.associate(CONTEXTS)
        peer.send_message(FIND, command_set({0x0100: us(0x0021), 0x0110: us(1), 0x0800: us(0x0101)}))
        return peer.read_response().status, peer.echo(ECHO, 2)

    async with site() as running:
        assert await play(script, running.port) == (0x0110, 0)
        (defect,) = await running.told(TaskFailed)
        assert "a defect" in defect.error


async def test_ul_26_a_cut_in_the_middle_of_a_data_set_reaches_the_service() -> None:
    def script(peer: RawPeer) -> None:
        peer.associate(CONTEXTS)
        first, second, *_ = pack_message(STORE, c_store_rq(STORAGE, "1.2.3"), bytes(100_000))
        peer.send(first, second)

    async with site() as running:
        await play(script, running.port)
        (ended,) = await running.told(AssociationEnded)
        assert (ended.how, ended.stored) == ("connection lost", 0)
        await asyncio.wait_for(running.storing.over.wait(), 10)
        assert (running.storing.lost, running.storing.data_sets) == (1, [])


@pytest.mark.parametrize(("offered", "at_once"), [(None, 1), ((3, 1), 3), ((0, 1), 8), ((99, 1), 8)])
async def test_dm_02_as_many_operations_run_at_once_as_were_agreed(
    offered: tuple[int, int] | None, at_once: int
) -> None:
    def script(peer: RawPeer) -> int:
        peer.associate(CONTEXTS, information=user_information(window=offered))
        for number in range(1, 13):
            peer.send_message(STORE, c_store_rq(STORAGE, f"1.2.{number}", number), b"ab")
        return sum(peer.read_response().status for _ in range(12))

    async with site() as running:
        running.storing.gate.clear()
        running.storing.opens_at = at_once
        assert await play(script, running.port) == 0
        assert running.storing.most_running == at_once
        assert len(running.storing.data_sets) == 12


async def test_more_waiting_operations_than_allowed_pause_the_sender_and_lose_nothing() -> None:
    def script(peer: RawPeer) -> list[int]:
        peer.associate(CONTEXTS)
        for number in range(1, 201):
            peer.send_message(ECHO, c_echo_rq(number))
        return [peer.read_response().responds_to for _ in range(200)]

    async with site(ConnectionLimits(max_waiting_operations=4)) as running:
        assert await play(script, running.port) == list(range(1, 201))


async def test_a_flood_in_one_read_is_taken_in_portions_and_others_are_answered_in_between() -> None:
    """Thousands of requests fit into one read: they must not all start in one turn of the event loop."""
    most_at_once = 0

    class Counting(VerificationService):
        async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
            nonlocal most_at_once
            most_at_once = max(most_at_once, sum(len(one.running) for one in running.acceptor.connections))
            yield Response()

    def script(peer: RawPeer) -> tuple[list[int], object]:
        peer.associate(CONTEXTS)
        messages = [piece for number in range(1, 2001) for piece in pack_message(ECHO, c_echo_rq(number), None)]
        peer.send(*messages, RELEASE_RQ)
        return [peer.read_response().responds_to for _ in range(2000)], peer.read_pdu()

    async with site(ConnectionLimits(max_waiting_operations=8), echo=Counting()) as running:
        answered, last = await play(script, running.port)
        assert answered == list(range(1, 2001))
        assert last == ReleaseRP()
        assert most_at_once <= 8


async def test_what_was_put_off_is_not_begun_when_the_server_stops() -> None:
    def script(peer: RawPeer) -> bytes:
        peer.associate(CONTEXTS)
        commands = (c_store_rq(STORAGE, f"1.2.{number}", number) for number in range(1, 21))
        peer.send(*(piece for command in commands for piece in pack_message(STORE, command, b"ab")))
        return peer.read_to_end()

    async with site(ConnectionLimits(max_waiting_operations=4)) as running:
        running.storing.gate.clear()
        sending = asyncio.create_task(play(script, running.port))
        await running.storing.begun.wait()
        async with asyncio.timeout(10):
            await running.acceptor.close(0)
        running.storing.gate.set()
        await sending
        assert (running.storing.running, running.storing.data_sets) == (0, [])
        (ended,) = await running.told(AssociationEnded)
        assert ended.operations == 0


async def test_a_release_waits_for_what_is_still_running() -> None:
    def script(peer: RawPeer) -> tuple[int, object]:
        peer.associate(CONTEXTS)
        peer.send_message(STORE, c_store_rq(STORAGE, "1.2.3"), b"ab")
        peer.send(RELEASE_RQ)
        loop.call_soon_threadsafe(running.storing.gate.set)
        return peer.read_response().status, peer.read_pdu()

    loop = asyncio.get_running_loop()
    async with site() as running:
        running.storing.gate.clear()
        assert await play(script, running.port) == (0, ReleaseRP())


async def test_a_message_on_a_context_that_was_not_accepted_is_aborted() -> None:
    def script(peer: RawPeer) -> object:
        peer.associate(CONTEXTS)
        peer.send_message(99, c_echo_rq())
        return peer.read_pdu()

    async with site() as running:
        assert await play(script, running.port) == Abort(source=2, reason=6)
        (ended,) = await running.told(AssociationEnded)
        assert "not accepted" in ended.how


async def test_a_response_nobody_waits_for_is_aborted() -> None:
    def script(peer: RawPeer) -> object:
        peer.associate(CONTEXTS)
        peer.send_message(ECHO, command_set({0x0100: us(0x8030), 0x0120: us(5), 0x0800: us(0x0101), 0x0900: us(0)}))
        return peer.read_pdu()

    async with site() as running:
        assert await play(script, running.port) == Abort(source=2, reason=2)


async def test_ul_02_a_silent_connection_is_closed_at_artim_without_a_pdu() -> None:
    async with site(ConnectionLimits(artim_s=0.05)) as running:
        assert await play(lambda peer: peer.read_to_end(), running.port) == b""
        (ended,) = await running.told(AssociationEnded)
        assert (ended.established, ended.how) == (False, "aborted: ARTIM timer expired")


@pytest.mark.parametrize("begun", [False, True], ids=["between messages", "inside a data set"])
async def test_an_idle_association_is_aborted(begun: bool) -> None:
    def script(peer: RawPeer) -> object:
        peer.associate(CONTEXTS)
        if begun:
            peer.send(*pack_message(STORE, c_store_rq(STORAGE, "1.2.3"), bytes(100_000))[:2])
        return peer.read_pdu()

    async with site(ConnectionLimits(idle_s=0.05)) as running:
        assert await play(script, running.port) == Abort(source=2, reason=0)
        (ended,) = await running.told(AssociationEnded)
        assert ended.how == "aborted: idle for 0.05 s"


async def test_a_service_that_takes_long_is_not_idleness() -> None:
    def script(peer: RawPeer) -> int:
        peer.associate(CONTEXTS)
        return peer.store(STORE, STORAGE, "1.2.3", b"ab").status

    async with site(ConnectionLimits(idle_s=0.02)) as running:
        running.storing.gate.clear()
        asyncio.get_running_loop().call_later(0.2, running.storing.gate.set)
        assert await play(script, running.port) == 0


async def test_ul_08_a_full_server_says_so_transiently_and_has_room_again_later() -> None:
    def one_too_many(peer: RawPeer) -> object:
        return peer.request(associate_rq(CONTEXTS))

    async with site(limits=AcceptorLimits(max_associations_per_peer=1)) as running:
        with await asyncio.to_thread(RawPeer, running.port) as first:
            await asyncio.to_thread(first.associate, CONTEXTS)
            assert await play(one_too_many, running.port) == AssociateRJ(result=2, source=3, reason=2)
            (refused,) = await running.told(AssociationRefused)
            assert "max_associations_per_peer" in refused.advice
        await running.told(AssociationEnded, 2)
        assert isinstance(await play(one_too_many, running.port), AssociateAC)


async def test_what_a_caller_may_not_do_is_a_refused_context() -> None:
    def script(peer: RawPeer) -> list[int]:
        return [answer.result for answer in peer.associate(CONTEXTS).contexts]

    async with site(permissions=frozenset({Permission.ECHO})) as running:
        assert await play(script, running.port) == [0, 1, 1]


async def test_a_flood_of_connections_costs_the_oldest_silent_one_its_place() -> None:
    async with site(limits=AcceptorLimits(max_connections=2)) as running:
        with await asyncio.to_thread(RawPeer, running.port) as associated:
            await asyncio.to_thread(associated.associate, CONTEXTS)
            with await asyncio.to_thread(RawPeer, running.port) as silent:
                assert await play(lambda peer: len(peer.associate(CONTEXTS).contexts), running.port) == 3
                assert await asyncio.to_thread(silent.read_to_end) == b""
            assert await asyncio.to_thread(associated.echo) == 0


async def test_closing_lets_a_running_operation_finish_and_aborts_the_idle() -> None:
    def script(peer: RawPeer) -> tuple[int, object]:
        peer.associate(CONTEXTS)
        peer.send_message(STORE, c_store_rq(STORAGE, "1.2.3"), b"ab")
        return peer.read_response().status, peer.read_pdu()

    async with site() as running:
        running.storing.gate.clear()
        with await asyncio.to_thread(RawPeer, running.port) as idle:
            await asyncio.to_thread(idle.associate, CONTEXTS)
            busy = asyncio.create_task(play(script, running.port))
            await running.storing.begun.wait()
            closing = asyncio.create_task(running.acceptor.close(10))
            assert await asyncio.to_thread(idle.read_pdu) == Abort(source=2, reason=0)
            running.storing.gate.set()
            assert await busy == (0, Abort(source=2, reason=0))
            await closing


async def test_a_flood_within_one_moment_does_not_pass_the_limit_either() -> None:
    async with site(limits=AcceptorLimits(max_connections=4)) as running:
        sockets = [socket.socket() for _ in range(60)]
        try:
            for one in sockets:
                one.connect(("127.0.0.1", running.port))  # the kernel answers: we see all of them at once
            await running.told(AssociationEnded, 56)
        finally:
            for one in sockets:
                one.close()


async def test_a_release_inside_a_data_set_is_aborted() -> None:
    def script(peer: RawPeer) -> object:
        peer.associate(CONTEXTS)
        first, second, *_ = pack_message(STORE, c_store_rq(STORAGE, "1.2.3"), bytes(100_000))
        peer.send(first, second, RELEASE_RQ)
        return peer.read_pdu()

    async with site() as running:
        assert await play(script, running.port) == Abort(source=2, reason=2)
        await asyncio.wait_for(running.storing.over.wait(), 10)
        assert running.storing.lost == 1


async def test_closing_ends_the_operations_whose_connection_has_gone_already() -> None:
    def script(peer: RawPeer) -> None:
        peer.associate(CONTEXTS)
        peer.send_message(STORE, c_store_rq(STORAGE, "1.2.3"), b"ab")
        peer.send(A_ABORT)

    async with site() as running:
        running.storing.gate.clear()
        await play(script, running.port)
        await running.told(AssociationEnded)
        assert running.storing.running == 1
        await running.acceptor.close(0)
        assert running.storing.running == 0


class Unread(asyncio.Transport):
    """A transport whose peer takes nothing: it can be closed but does not get to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        self.unsent = 0
        self.aborted = asyncio.Event()

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.aborted.set()

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unsent += len(data)


@pytest.mark.parametrize("stalled", [False, True], ids=["little is unsent", "much is unsent"])
async def test_a_closed_connection_whose_peer_takes_nothing_is_cut(stalled: bool) -> None:
    limits = ConnectionLimits(artim_s=0.05, write_stall_s=0.05)
    association = Association(Role.ACCEPTOR, limits, number=1)
    transport = Unread()
    association.protocol.connection_made(transport)
    if stalled:
        association.protocol.pause_writing()
    association.protocol.hang_up("enough")
    async with asyncio.timeout(5):
        await transport.aborted.wait()
    association.protocol.connection_lost(None)
