"""What every destination of a retrieval does, over real associations: the requester's own, and those that we open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kit.identifiers import EXPLICIT
from kit.samples import CT
from pacslite.archive.selection import Kind
from pacslite.dimse.command import DATA_SET_FOLLOWS, NO_DATA_SET, CommandField, Tag, Value
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.errors import AssociationError
from pacslite.facts import AssociationEnded, Fact, ignore
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Proposal, Remote, associate
from pacslite.services.destinations import Call, Called, Callee, Originator, Requester
from pacslite.services.sub_operations import Destination
from pacslite.ul.items import PresentationContext, RoleSelection
from pacslite.ul.negotiation import Order

GETTING = "1.2.840.10008.5.1.4.1.2.2.3"
KINDS: frozenset[Kind] = frozenset({(CT, EXPLICIT)})


@dataclass
class Taking:
    """The SCP at the other end. It may cut the connection instead of answering."""

    stored: list[tuple[dict[int, Value], bytes]] = field(default_factory=list)
    cuts: bool = False
    cut: Callable[[], None] = lambda: None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, AssociationEnded):
            self.ended.set()

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        assert request.data_set is not None
        data = await request.data_set.read(1 << 20)
        if self.cuts:
            self.cut()
            await asyncio.sleep(0)
        self.stored.append((dict(request.command.elements), data))
        yield Response()


@dataclass
class Getting:
    """Gives the requester's own association away until it is done with."""

    come: asyncio.Future[Request]
    done: asyncio.Event

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        self.come.set_result(request)
        await self.done.wait()
        yield Response()


def registry(taking: Taking, getting: Getting) -> ServiceRegistry:
    def registration(uid: str, operations: dict[CommandField, Taking | Getting]) -> Registration:
        return Registration(
            name=uid,
            abstract_syntaxes=(uid,),
            serves=lambda abstract_syntax, _: abstract_syntax == uid,
            transfer_syntaxes=(EXPLICIT,),
            permission=Permission.STORE,
            operations=operations,
            sends_to=Permission.RETRIEVE,
            produces=(EXPLICIT,),
        )

    return ServiceRegistry(
        [
            registration(CT, {CommandField.C_STORE_RQ: taking}),
            registration(GETTING, {CommandField.C_GET_RQ: getting}),
        ]
    )


@asynccontextmanager
async def running(taking: Taking, getting: Getting) -> AsyncIterator[tuple[Acceptor, Remote]]:
    served = registry(taking, getting)
    acceptor = Acceptor(
        registry=served,
        perform=Dispatcher(served, ignore).perform,
        access=AccessPolicy(ae_titles=("PEER",)),
        limits=AcceptorLimits(),
        connection_limits=ConnectionLimits(),
        order=Order.SENDER,
        observe=taking.observe,
    )
    port = await acceptor.listen("127.0.0.1", 0)
    try:
        yield acceptor, Remote(host="127.0.0.1", port=port, ae_title="PEER")
    finally:
        await acceptor.close(1.0)


@asynccontextmanager
async def called(taking: Taking) -> AsyncIterator[Destination]:
    getting = Getting(asyncio.get_running_loop().create_future(), asyncio.Event())
    async with running(taking, getting) as (acceptor, remote):

        def cut() -> None:
            for connection in list(acceptor.connections):
                connection.protocol.cut("by the test")

        taking.cut = cut
        call = Call(calling_ae="US", limits=ConnectionLimits(), connect_s=5.0, answer_s=5.0)
        yield Called(Callee(remote=remote, async_window=4), call, Originator(ae_title="WS1", message_id=7))
        async with asyncio.timeout(5):  # the other end sees a little later that it was closed
            while acceptor.connections:
                taking.ended.clear()
                await taking.ended.wait()


@asynccontextmanager
async def requester(taking: Taking) -> AsyncIterator[Destination]:
    getting = Getting(asyncio.get_running_loop().create_future(), asyncio.Event())
    async with running(taking, getting) as (_, remote):
        proposal = Proposal(
            calling_ae="WS1",
            contexts=(PresentationContext(1, GETTING, (EXPLICIT,)), PresentationContext(3, CT, (EXPLICIT,))),
            roles=(RoleSelection(sop_class=CT, scu=False, scp=True),),
        )
        perform = Dispatcher(registry(taking, getting), ignore).perform
        try:
            async with associate(remote, proposal, perform=perform) as requested:
                association = requested.association
                taking.cut = lambda: association.protocol.cut("by the test")
                get: dict[int, Value] = {Tag.AFFECTED_SOP_CLASS_UID: GETTING, Tag.COMMAND_FIELD: CommandField.C_GET_RQ}
                asking = asyncio.create_task(
                    association.call(1, {**get, Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET}, answer_s=5.0)
                )
                request = await getting.come
                yield Requester(request.invoker)
                getting.done.set()
                await asyncio.wait({asking})
                asking.exception()
        except AssociationError:
            assert taking.cuts


Open = Callable[[Taking], AbstractAsyncContextManager[Destination]]
STORE: dict[int, Value] = {
    Tag.AFFECTED_SOP_CLASS_UID: CT,
    Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
    Tag.PRIORITY: 0,
    Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
    Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.3",
}


@pytest.fixture(params=[called, requester])
def opened(request: pytest.FixtureRequest) -> Open:
    destination: Open = request.param
    return destination


async def test_its_portions_have_every_kind_once(opened: Open) -> None:
    kinds = {(f"1.2.{one}", EXPLICIT) for one in range(100)}
    async with opened(Taking()) as destination:
        portions = [set(portion) for portion in destination.portions(kinds)]
        assert set().union(*portions) == kinds
        assert sum(map(len, portions)) == len(kinds)


async def test_what_is_stored_over_it_arrives(opened: Open) -> None:
    taking = Taking()
    async with opened(taking) as destination:
        async with destination.connect(KINDS) as invoker:
            assert invoker.window >= 1
            (context, *_) = [one for one in invoker.contexts.values() if one.abstract_syntax == CT and one.scu]
            assert context.transfer_syntax == EXPLICIT
            for number in range(3):
                elements = {**STORE, **destination.elements}
                answer = await invoker.call(context.context_id, elements, b"%04d" % number, answer_s=5.0)
                assert answer.status == 0x0000
        assert [data for _, data in taking.stored] == [b"0000", b"0001", b"0002"]
        sent = taking.stored[0][0]
        assert all(sent[tag] == value for tag, value in destination.elements.items())


async def test_pieces_are_sent_as_they_come(opened: Open) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(5):
            await asyncio.sleep(0)
            yield b"%04d" % number

    taking = Taking()
    async with opened(taking) as destination, destination.connect(KINDS) as invoker:
        (context, *_) = [one for one in invoker.contexts.values() if one.scu and one.abstract_syntax == CT]
        answer = await invoker.call(context.context_id, STORE, pieces(), answer_s=5.0)
        assert answer.status == 0x0000
        assert taking.stored[0][1] == b"00000001000200030004"


async def test_its_loss_is_an_association_error(opened: Open) -> None:
    async def store(destination: Destination) -> None:
        async with destination.connect(KINDS) as invoker:
            (context, *_) = [one for one in invoker.contexts.values() if one.scu and one.abstract_syntax == CT]
            await invoker.call(context.context_id, STORE, b"0000", answer_s=5.0)

    async with opened(Taking(cuts=True)) as destination:
        with pytest.raises(AssociationError):
            await store(destination)
