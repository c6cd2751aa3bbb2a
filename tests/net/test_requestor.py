"""Associations that we request, against an acceptor of our own. STANDARD DM-02, UL-03."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kit.rawpeer import associate_rq
from kit.wait import eventually
from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response, Service
from pacslite.errors import AssociationAborted, AssociationError, AssociationRejected, ConnectionLost
from pacslite.facts import AssociationEnded, Fact
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy, UnknownCallers
from pacslite.net.association import Association
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Proposal, Remote, Requested, associate
from pacslite.services.storage import store
from pacslite.services.verification import VerificationService, echo
from pacslite.ul.connection import Role
from pacslite.ul.items import PresentationContext
from pacslite.ul.negotiation import Order

VERIFICATION = "1.2.840.10008.1.1"
STORAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
CONTEXTS = (PresentationContext(1, VERIFICATION, (IMPLICIT,)), PresentationContext(3, STORAGE, (IMPLICIT,)))


class Taking:
    """Takes every data set and answers 0 if it is the expected one."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        assert request.data_set is not None
        yield Response(status=0 if await request.data_set.read(1 << 30) == self._expected else 0xA900)


def registration(uid: str, permission: Permission, field: CommandField, service: Service) -> Registration:
    return Registration(
        name=uid,
        abstract_syntaxes=(uid,),
        serves=lambda abstract_syntax, _: abstract_syntax == uid,
        transfer_syntaxes=(IMPLICIT,),
        permission=permission,
        operations={field: service},
    )


@asynccontextmanager
async def peer(
    expected: bytes = b"", *, window: int = 8, unknown: UnknownCallers = UnknownCallers.LOOPBACK
) -> AsyncIterator[tuple[Remote, list[Fact]]]:
    facts: list[Fact] = []
    registry = ServiceRegistry(
        [
            registration(VERIFICATION, Permission.ECHO, CommandField.C_ECHO_RQ, VerificationService()),
            registration(STORAGE, Permission.STORE, CommandField.C_STORE_RQ, Taking(expected)),
        ]
    )
    acceptor = Acceptor(
        registry=registry,
        perform=Dispatcher(registry, facts.append).perform,
        access=AccessPolicy((), ae_titles=["PEER"], unknown=unknown),
        limits=AcceptorLimits(async_window=window),
        connection_limits=ConnectionLimits(),
        order=Order.SENDER,
        observe=facts.append,
    )
    port = await acceptor.listen("127.0.0.1", 0)
    try:
        yield Remote(host="127.0.0.1", port=port, ae_title="PEER"), facts
    finally:
        await acceptor.close(0)


def proposal(window: int = 1) -> Proposal:
    return Proposal(calling_ae="ME", contexts=CONTEXTS, async_window=window)


async def stored(requested: Requested, data: bytes | AsyncIterator[bytes]) -> int:
    (context,) = requested.contexts_for(STORAGE)
    answer = await store(
        requested.association, context, data, sop_class_uid=STORAGE, sop_instance_uid="1.2.3", answer_s=10
    )
    return answer.status


async def in_pieces(data: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def test_echo_and_release() -> None:
    async with peer() as (remote, facts), associate(remote, proposal()) as requested:
        assert await echo(requested.association, requested.contexts_for(VERIFICATION)[0]) == 0
    (ended,) = [fact for fact in facts if isinstance(fact, AssociationEnded)]
    assert ended.how == "released"


@pytest.mark.parametrize("size", [2, 1000, 16_378, 300_000, 2_000_000])
async def test_a_data_set_arrives_whole_however_it_is_handed_over(size: int) -> None:
    data = bytes(range(256)) * 2_000 + b"ab"
    async with peer(data) as (remote, _), associate(remote, proposal()) as requested:
        if size > 1000:
            assert await stored(requested, in_pieces(data, size)) == 0
        assert await stored(requested, data) == 0


@pytest.mark.parametrize(("wanted", "offered", "agreed"), [(1, 8, 1), (4, 8, 4), (9, 3, 3), (0, 5, 5), (5, 1, 1)])
async def test_dm_02_the_agreed_window_is_what_both_sides_want(wanted: int, offered: int, agreed: int) -> None:
    async with peer(window=offered) as (remote, _), associate(remote, proposal(wanted)) as requested:
        assert requested.window == agreed


async def test_several_operations_are_outstanding_at_once() -> None:
    async with peer(b"ab") as (remote, _), associate(remote, proposal(8)) as requested:
        assert await asyncio.gather(*(stored(requested, b"ab") for _ in range(30))) == [0] * 30


async def test_whoever_called_may_take_time_before_it_asks_for_something() -> None:
    """What is to be sent may have to be converted first."""
    limits, later = ConnectionLimits(idle_s=0.02), asyncio.Event()
    async with peer(b"ab") as (remote, _), associate(remote, proposal(), limits=limits) as requested:
        asyncio.get_running_loop().call_later(0.2, later.set)
        await later.wait()
        assert await stored(requested, b"ab") == 0


async def test_a_rejection_says_why() -> None:
    async with peer(unknown=UnknownCallers.NONE) as (remote, _):
        with pytest.raises(AssociationRejected, match="calling AE title") as caught:
            async with associate(remote, proposal()):
                raise AssertionError("it was accepted")
        assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)


async def test_nobody_there() -> None:
    async with peer() as (remote, _):
        pass
    with pytest.raises(ConnectionLost, match="cannot connect"):
        async with associate(remote, proposal()):
            raise AssertionError("it was accepted")


class Nowhere(asyncio.Transport):
    """A transport on which nothing leaves."""

    closing = False

    def write(self, data: object) -> None:
        assert not data

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing


@pytest.mark.parametrize(
    ("data", "why"), [(b"SSH-2.0-x\r\n", "data before A-ASSOCIATE-RQ"), (b"", "connection closed")]
)
async def test_a_peer_that_speaks_first_or_hangs_up_at_once(data: bytes, why: str) -> None:
    """What is no archive at all, or has no time: it may be faster than our request."""
    association = Association(Role.REQUESTOR, ConnectionLimits(), number=1)
    association.protocol.connection_made(Nowhere())
    if data:
        association.protocol.data_received(data)
    else:
        association.protocol.connection_lost(None)
    with pytest.raises(AssociationError, match=why):
        await association.request(associate_rq(CONTEXTS))
    if data:
        association.protocol.connection_lost(None)


async def test_a_peer_that_says_nothing() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        finished.set()

    finished = asyncio.Event()
    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionLost, match=r"did not answer within 0\.05 s"):
            async with associate(Remote(host="127.0.0.1", port=port, ae_title="X"), proposal(), answer_s=0.05):
                raise AssertionError("it was accepted")
        await finished.wait()


async def test_the_caller_s_own_timeout_stays_its_own() -> None:
    async with peer() as (remote, _):
        with pytest.raises(TimeoutError):
            async with associate(remote, proposal()):
                raise TimeoutError


async def test_leaving_by_an_exception_aborts() -> None:
    async with peer() as (remote, facts):
        with pytest.raises(RuntimeError):
            async with associate(remote, proposal()):
                raise RuntimeError
        await asyncio.to_thread(eventually, lambda: isinstance(facts[-1], AssociationEnded), "the end")
    (ended,) = [fact for fact in facts if isinstance(fact, AssociationEnded)]
    assert ended.how == "aborted by peer"


async def test_a_message_that_breaks_off_ends_the_association() -> None:
    async def breaking() -> AsyncGenerator[bytes, None]:
        yield bytes(100)
        yield bytes(100)
        raise OSError("the file is gone")

    async def store_twice(remote: Remote) -> None:
        async with associate(remote, proposal()) as requested:
            with pytest.raises(OSError, match="the file is gone"):
                await stored(requested, breaking())
            await stored(requested, b"ab")

    async with peer() as (remote, _):
        with pytest.raises(AssociationError):
            await store_twice(remote)


async def test_a_peer_that_aborts_while_we_wait() -> None:
    async with peer() as (remote, _):
        with pytest.raises(AssociationAborted):
            async with associate(remote, proposal()) as requested:
                await requested.association.call(1, {0x0100: 0x8030, 0x0120: 99, 0x0800: 0x0101}, answer_s=10)
