"""N-EVENT-REPORT: an operation that the SCP invokes, on an association that either side opened.

STANDARD DM-03, SC-04."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL as PUSH_MODEL
from pacslite.dimse.command import NO_DATA_SET, CommandField, Tag, Value
from pacslite.dimse.permission import EVERYTHING, Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Invoker, Request, Response
from pacslite.errors import LocalProtocolError
from pacslite.facts import ignore
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy, UnknownCallers
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Proposal, Remote, associate
from pacslite.ul.items import PresentationContext, RoleSelection
from pacslite.ul.negotiation import Order

IMPLICIT = "1.2.840.10008.1.2"
CONTEXTS = (PresentationContext(1, PUSH_MODEL, (IMPLICIT,)),)
ACTION: dict[int, Value] = {
    Tag.REQUESTED_SOP_CLASS_UID: PUSH_MODEL,
    Tag.COMMAND_FIELD: CommandField.N_ACTION_RQ,
    Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
}
EVENT: dict[int, Value] = {
    Tag.AFFECTED_SOP_CLASS_UID: PUSH_MODEL,
    Tag.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
    Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
}


@dataclass
class Acting:
    """Keeps the way back to whoever asked, as of when the answer has left."""

    ways_back: list[Invoker] = field(default_factory=list)

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        yield Response(sent=lambda: self.ways_back.append(request.invoker))


@dataclass
class Hearing:
    """Counts the events that it is told."""

    events: int = 0

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        self.events += 1
        yield Response()


def commitment(acting: Acting, hearing: Hearing) -> ServiceRegistry:
    return ServiceRegistry(
        [
            Registration(
                name="Storage Commitment",
                abstract_syntaxes=(PUSH_MODEL,),
                serves=lambda uid, _: uid == PUSH_MODEL,
                transfer_syntaxes=(IMPLICIT,),
                permission=Permission.COMMIT,
                operations={CommandField.N_ACTION_RQ: acting, CommandField.N_EVENT_REPORT_RQ: hearing},
                sends_to=Permission.COMMIT,
            )
        ]
    )


@asynccontextmanager
async def site(registry: ServiceRegistry, permissions: frozenset[Permission] = EVERYTHING) -> AsyncIterator[Remote]:
    acceptor = Acceptor(
        registry=registry,
        perform=Dispatcher(registry, ignore).perform,
        access=AccessPolicy((), ae_titles=["US"], unknown=UnknownCallers.LOOPBACK, unknown_permissions=permissions),
        limits=AcceptorLimits(),
        connection_limits=ConnectionLimits(),
        order=Order.SENDER,
        observe=ignore,
    )
    port = await acceptor.listen("127.0.0.1", 0)
    try:
        yield Remote(host="127.0.0.1", port=port, ae_title="US")
    finally:
        await acceptor.close(0)


async def test_sc_04_an_event_goes_back_over_the_association_of_the_request_once_that_is_answered() -> None:
    acting, heard = Acting(), Hearing()
    ours = Dispatcher(commitment(Acting(), heard), ignore).perform
    async with (
        site(commitment(acting, Hearing())) as remote,
        associate(remote, Proposal(calling_ae="CT1", contexts=CONTEXTS), perform=ours) as requested,
    ):
        answer = await requested.association.call(1, ACTION)
        (way_back,) = acting.ways_back
        reply = await way_back.call(1, EVENT)
    assert (answer.status, reply.status, heard.events) == (0, 0, 1)
    assert reply.field == CommandField.N_EVENT_REPORT_RSP


@pytest.mark.parametrize("roles", [(), (RoleSelection(sop_class=PUSH_MODEL, scu=False, scp=True),)])
async def test_sc_04_an_event_comes_over_an_association_of_its_own_whatever_was_said_of_roles(
    roles: tuple[RoleSelection, ...],
) -> None:
    heard = Hearing()
    async with (
        site(commitment(Acting(), heard)) as remote,
        associate(remote, Proposal(calling_ae="ARCHIVE", contexts=CONTEXTS, roles=roles)) as requested,
    ):
        reply = await requested.association.call(1, EVENT)
    assert (reply.status, heard.events) == (0, 1)


async def test_dm_03_who_took_the_scp_role_alone_cannot_ask_for_anything() -> None:
    roles = (RoleSelection(sop_class=PUSH_MODEL, scu=False, scp=True),)
    async with (
        site(commitment(Acting(), Hearing())) as remote,
        associate(remote, Proposal(calling_ae="ARCHIVE", contexts=CONTEXTS, roles=roles)) as requested,
    ):
        with pytest.raises(LocalProtocolError, match="not for operations of ours"):
            requested.association.invoke(1, ACTION)


async def test_who_may_not_ask_for_commitment_gets_no_context() -> None:
    async with (
        site(commitment(Acting(), Hearing()), frozenset({Permission.ECHO})) as remote,
        associate(remote, Proposal(calling_ae="CT1", contexts=CONTEXTS)) as requested,
    ):
        assert not requested.association.contexts
