"""Operations in both directions of one association, as a C-GET needs them.

STANDARD DM-02, DM-03, DM-04, DM-06, QR-07, QR-13."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kit.message import c_store_rq, command_set, us
from kit.rawpeer import RELEASE_RQ, RawPeer, contexts_for, user_information
from pacslite.dimse.command import DATA_SET_FOLLOWS, NO_DATA_SET, CommandField, Tag, Value, decode_command
from pacslite.dimse.permission import EVERYTHING, Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Context, Request, Response, Service
from pacslite.errors import AssociationError, ConnectionLost, LocalProtocolError
from pacslite.facts import ignore
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy, UnknownCallers
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Proposal, Remote, associate
from pacslite.ul.items import PresentationContext, RoleSelection, SOPClassExtendedNegotiation
from pacslite.ul.negotiation import Order
from pacslite.ul.pdu import PDU, Abort, PDataTF, ReleaseRP

CT = "1.2.840.10008.5.1.4.1.1.2"
GETTING = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
PENDING, SUCCESS, CANCEL = 0xFF00, 0x0000, 0xFE00
GET: dict[int, Value] = {
    Tag.AFFECTED_SOP_CLASS_UID: GETTING,
    Tag.COMMAND_FIELD: CommandField.C_GET_RQ,
    Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
}
STORE: dict[int, Value] = {
    Tag.AFFECTED_SOP_CLASS_UID: CT,
    Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
    Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
    Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.3",
}


@dataclass
class Taking:
    """Stores nothing; keeps what it was sent. ``gate`` holds the answers back and opens when ``opens_at`` wait."""

    data_sets: list[bytes] = field(default_factory=list)
    opens_at: int = 1
    waiting: int = 0
    most_waiting: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        assert request.data_set is not None
        self.data_sets.append(await request.data_set.read(1 << 20))
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        if self.waiting == self.opens_at:
            self.gate.set()
        await self.gate.wait()
        self.waiting -= 1
        yield Response()


@dataclass
class Getting:
    """Sends ``count`` objects to the requester, as many at once as it allows, until it cancels."""

    count: int = 3
    contexts: list[Context] = field(default_factory=list)

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        invoker = request.invoker
        self.contexts = list(invoker.contexts.values())
        (context,) = [one for one in self.contexts if one.scu]
        window = asyncio.Semaphore(invoker.window)

        async def send(number: int) -> None:
            async with window:
                answer = await invoker.call(context.context_id, STORE, b"%04d" % number)
                assert answer.status == SUCCESS

        for number in range(0, self.count, invoker.window):
            await asyncio.gather(*(send(one) for one in range(number, min(self.count, number + invoker.window))))
            yield Response(status=PENDING)
            if request.cancellation.requested:
                yield Response(status=CANCEL)
        yield Response()


def storage(service: Taking) -> Registration:
    return Registration(
        name="Storage",
        abstract_syntaxes=(CT,),
        serves=lambda uid, _: uid == CT,
        transfer_syntaxes=(JPEG, EXPLICIT, IMPLICIT),
        permission=Permission.STORE,
        operations={CommandField.C_STORE_RQ: service},
        sends_to=Permission.RETRIEVE,
        produces=(IMPLICIT, EXPLICIT),
    )


@asynccontextmanager
async def site(
    getting: Service | None = None,
    permissions: frozenset[Permission] = EVERYTHING,
    *,
    window: int = 8,
    limits: ConnectionLimits | None = None,
) -> AsyncIterator[Remote]:
    retrieval = Registration(
        name="Retrieve",
        abstract_syntaxes=(GETTING,),
        serves=lambda uid, _: uid == GETTING,
        transfer_syntaxes=(IMPLICIT,),
        permission=Permission.RETRIEVE,
        operations={CommandField.C_GET_RQ: getting or Getting()},
        extended=lambda offered: bytes([offered[0], 0]),
    )
    registry = ServiceRegistry([retrieval, storage(Taking())])
    acceptor = Acceptor(
        registry=registry,
        perform=Dispatcher(registry, ignore).perform,
        access=AccessPolicy((), ae_titles=["US"], unknown=UnknownCallers.LOOPBACK, unknown_permissions=permissions),
        limits=AcceptorLimits(async_window=window),
        connection_limits=limits or ConnectionLimits(),
        order=Order.SENDER,
        observe=ignore,
    )
    port = await acceptor.listen("127.0.0.1", 0)
    try:
        yield Remote(host="127.0.0.1", port=port, ae_title="US")
    finally:
        await acceptor.close(0)


def proposal(*, performed: int = 1, scu: bool = False, extended: bytes = b"\1\1") -> Proposal:
    return Proposal(
        calling_ae="ME",
        contexts=(PresentationContext(1, GETTING, (IMPLICIT,)), PresentationContext(3, CT, (JPEG, EXPLICIT))),
        performed_window=performed,
        roles=(RoleSelection(sop_class=CT, scu=scu, scp=True),),
        extended=(SOPClassExtendedNegotiation(GETTING, extended),),
    )


@pytest.mark.parametrize(("performed", "served", "at_once"), [(1, 8, 1), (3, 8, 3), (9, 2, 2), (0, 4, 4)])
async def test_qr_13_objects_come_over_the_association_of_the_c_get(performed: int, served: int, at_once: int) -> None:
    getting, taking = Getting(count=8), Taking(opens_at=at_once)
    ours = ServiceRegistry([storage(taking)])
    async with (
        site(getting, window=served) as remote,
        associate(remote, proposal(performed=performed), perform=Dispatcher(ours, ignore).perform) as requested,
        requested.association.invoke(1, GET) as invocation,
    ):
        statuses = [response.command.status async for response in invocation]
    assert statuses == [PENDING] * len(range(0, 8, at_once)) + [SUCCESS]
    assert sorted(taking.data_sets) == [b"%04d" % number for number in range(8)]
    assert taking.most_waiting == at_once


async def test_dm_03_dm_04_both_sides_know_what_was_agreed() -> None:
    getting, taking = Getting(), Taking()
    ours = ServiceRegistry([storage(taking)])
    async with (
        site(getting) as remote,
        associate(remote, proposal(), perform=Dispatcher(ours, ignore).perform) as requested,
        requested.association.invoke(1, GET) as invocation,
    ):
        assert [response.is_final async for response in invocation][-1]
        mine = list(requested.association.contexts.values())
    assert mine == [
        Context(1, GETTING, IMPLICIT, scu=True, scp=False, extended=b"\1\0"),
        Context(3, CT, EXPLICIT, scu=False, scp=True),  # everything can be sent in it, unlike in JPEG
    ]
    assert getting.contexts == [
        Context(1, GETTING, IMPLICIT, scu=False, scp=True, extended=b"\1\0"),
        Context(3, CT, EXPLICIT, scu=True, scp=False),
    ]


async def test_dm_06_a_c_get_of_ours_can_be_cancelled() -> None:
    ours = ServiceRegistry([storage(Taking())])
    async with (
        site(Getting(count=100_000)) as remote,
        associate(remote, proposal(), perform=Dispatcher(ours, ignore).perform) as requested,
        requested.association.invoke(1, GET) as invocation,
    ):
        assert (await anext(invocation)).command.status == PENDING
        await invocation.cancel()
        statuses = [response.command.status async for response in invocation]
    assert statuses[-1] == CANCEL
    assert len(statuses) < 1000


async def test_qr_13_a_requester_that_releases_in_the_middle_is_not_waited_for() -> None:
    """In Sta7 it may send no more P-DATA (PS3.8 Table 9-10): neither this object is answered nor a further one."""
    errors: list[str] = []

    class Fetching:
        async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
            for _ in range(2):
                try:
                    await request.invoker.call(3, STORE, b"ab", answer_s=3600)
                except AssociationError as error:
                    errors.append(str(error))
            yield Response(status=0xA702)

    def script(port: int) -> tuple[list[int], object]:
        roles = [RoleSelection(sop_class=CT, scu=False, scp=True)]
        with RawPeer(port) as peer:
            peer.associate(contexts_for((GETTING, IMPLICIT), (CT, IMPLICIT)), information=user_information(roles=roles))
            peer.send_message(1, command_set({0x0100: us(0x0010), 0x0110: us(9), 0x0800: us(0x0101)}))
            command, data = peer.read_pdu(), peer.read_pdu()
            assert isinstance(command, PDataTF)
            assert isinstance(data, PDataTF)
            peer.send(RELEASE_RQ)
            return [peer.read_response().status], peer.read_pdu()

    async with site(Fetching()) as remote:
        statuses, last = await asyncio.to_thread(script, remote.port)
    assert (statuses, last) == ([0xA702], ReleaseRP())
    assert errors == ["the peer released the association before it answered"] * 2


async def test_dm_02_two_who_send_over_one_association_keep_to_its_window_together() -> None:
    events: list[str] = []

    class Fetching:
        async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
            async def data_set(number: int) -> AsyncGenerator[bytes, None]:
                events.append(f"{number} sent")
                yield b"ab"

            async def send(number: int) -> None:
                await request.invoker.call(3, STORE, data_set(number))
                events.append(f"{number} answered")

            await asyncio.gather(send(1), send(2))
            yield Response()

    ours = ServiceRegistry([storage(Taking())])
    async with (
        site(Fetching()) as remote,
        associate(remote, proposal(), perform=Dispatcher(ours, ignore).perform) as requested,
        requested.association.invoke(1, GET) as invocation,
    ):
        assert [response.command.status async for response in invocation] == [SUCCESS]
    assert events == ["1 sent", "1 answered", "2 sent", "2 answered"]


async def test_a_requester_whose_requests_keep_its_own_answers_back_is_not_waited_for_for_ever() -> None:
    """While too many requests wait, nothing is read: neither what it answers, nor that it does not."""

    class Fetching:
        async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
            with pytest.raises(ConnectionLost, match="no answer"):
                await request.invoker.call(3, STORE, b"ab", answer_s=0.1)
            yield Response(status=0xA702)

    def script(port: int) -> list[int]:
        roles = [RoleSelection(sop_class=CT, scu=False, scp=True)]
        with RawPeer(port) as peer:
            peer.associate(contexts_for((GETTING, IMPLICIT), (CT, IMPLICIT)), information=user_information(roles=roles))
            for number in (1, 2, 3):
                peer.send_message(1, command_set({0x0100: us(0x0010), 0x0110: us(number), 0x0800: us(0x0101)}))
            statuses: list[int] = []
            while len(statuses) < 3:
                pdu = peer.read_pdu()
                assert isinstance(pdu, PDataTF)
                (value,) = pdu.pdvs
                if value.command and (command := decode_command(value.data)).is_response:
                    statuses.append(command.status)
            return statuses

    async with site(Fetching(), window=1, limits=ConnectionLimits(max_waiting_operations=2)) as remote:
        assert await asyncio.to_thread(script, remote.port) == [0xA702] * 3


async def test_what_is_outstanding_when_we_abort_is_not_waited_for() -> None:
    """The peer may take its time to close."""
    errors: list[str] = []
    failed = threading.Event()

    class Fetching:
        async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
            try:
                await request.invoker.call(3, STORE, b"ab", answer_s=3600)
            except AssociationError as error:
                errors.append(str(error))
                failed.set()
            yield Response(status=0xA702)

    def script(port: int) -> PDU:
        roles = [RoleSelection(sop_class=CT, scu=False, scp=True)]
        with RawPeer(port) as peer:
            peer.associate(contexts_for((GETTING, IMPLICIT), (CT, IMPLICIT)), information=user_information(roles=roles))
            peer.send_message(1, command_set({0x0100: us(0x0010), 0x0110: us(9), 0x0800: us(0x0101)}))
            peer.read_pdu()  # C-STORE-RQ
            peer.read_pdu()  # and what is to be stored
            answer = {0x0100: us(0x8001), 0x0120: us(77), 0x0800: us(0x0101), 0x0900: us(0)}
            peer.send_message(3, command_set(answer))
            pdu = peer.read_pdu()
            assert failed.wait(10)
            return pdu

    async with site(Fetching()) as remote:
        assert await asyncio.to_thread(script, remote.port) == Abort(source=2, reason=2)
    assert errors == ["association aborted: response to message 77, which was not sent"]


async def test_dm_03_nothing_is_invoked_against_the_roles() -> None:
    async with site() as remote, associate(remote, proposal()) as requested:
        for context_id in (3, 5):  # one for what we are sent, and one that is none
            with pytest.raises(LocalProtocolError, match="not for operations of ours"):
                requested.association.invoke(context_id, STORE, b"ab")


async def test_dm_03_who_may_only_fetch_gets_the_scp_role_alone_and_cannot_store() -> None:
    def script(port: int) -> tuple[list[int], tuple[RoleSelection, ...], int]:
        both = [RoleSelection(sop_class=CT, scu=True, scp=True)]
        with RawPeer(port) as peer:
            ac = peer.associate(contexts_for((CT, IMPLICIT)), information=user_information(roles=both))
            peer.send_message(1, c_store_rq(CT, "1.2.3"), b"ab")
            return [one.result for one in ac.contexts], ac.user_information.roles, peer.read_response().status

    async with site(permissions=frozenset({Permission.RETRIEVE})) as remote:
        answers, roles, status = await asyncio.to_thread(script, remote.port)
    assert answers == [0]
    assert roles == (RoleSelection(sop_class=CT, scu=False, scp=True),)
    assert status == 0x0124


@pytest.mark.parametrize(
    ("permissions", "roles", "result"),
    [
        (frozenset({Permission.RETRIEVE}), [], 1),  # the default roles: it would store
        (frozenset({Permission.STORE}), [RoleSelection(sop_class=CT, scu=False, scp=True)], 1),
        (frozenset({Permission.STORE}), [RoleSelection(sop_class=CT, scu=True, scp=True)], 0),
    ],
)
async def test_dm_03_a_role_needs_its_permission(
    permissions: frozenset[Permission], roles: list[RoleSelection], result: int
) -> None:
    def script(port: int) -> list[int]:
        with RawPeer(port) as peer:
            ac = peer.associate(contexts_for((CT, IMPLICIT)), information=user_information(roles=roles))
            return [one.result for one in ac.contexts]

    async with site(permissions=permissions) as remote:
        assert await asyncio.to_thread(script, remote.port) == [result]
