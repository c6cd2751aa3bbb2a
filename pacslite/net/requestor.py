"""Calling out: an association that we request, for the command line and for what the server owes to others."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pacslite.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from pacslite.dimse.service import Context
from pacslite.errors import ConnectionLost, Unreachable
from pacslite.net.association import Association, Perform
from pacslite.net.limits import ConnectionLimits
from pacslite.ul.connection import Role
from pacslite.ul.items import (
    AsyncOperationsWindow,
    PresentationContext,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserIdentity,
    UserInformation,
)
from pacslite.ul.pdu import ABORT_BY_USER, AssociateAC, AssociateRQ, ae_title_field

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Whom to call. With ``tls`` the connection is encrypted and the peer's certificate checked by that context."""

    host: str
    port: int
    ae_title: str
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What to ask for.

    ``async_window`` is how many operations we would like to have outstanding, ``performed_window`` how many of the
    peer's we perform at once (0: no limit). Without ``roles`` we are SCU (DM-03): whoever wants to be sent objects on
    this association (C-GET) proposes the SCP role for their SOP classes, and gives ``perform`` to :func:`associate`.
    What the peer answered stands in the association's contexts (``scu``, ``scp``, ``extended``) and ``window``.
    """

    calling_ae: str
    contexts: Sequence[PresentationContext]
    async_window: int = 1
    performed_window: int = 1
    roles: Sequence[RoleSelection] = ()
    extended: Sequence[SOPClassExtendedNegotiation] = ()
    user_identity: UserIdentity | None = None


@dataclass(frozen=True, slots=True)
class Requested:
    """An association that was accepted, and what was agreed; ``window`` operations of ours may be outstanding."""

    association: Association
    answer: AssociateAC
    window: int

    def contexts_for(self, abstract_syntax: str) -> list[Context]:
        """The accepted contexts of one abstract syntax."""
        return [c for c in self.association.contexts.values() if c.abstract_syntax == abstract_syntax]


@asynccontextmanager
async def associate(
    remote: Remote,
    proposal: Proposal,
    *,
    limits: ConnectionLimits | None = None,
    perform: Perform | None = None,
    connect_s: float = 10.0,
    answer_s: float = 30.0,
) -> AsyncIterator[Requested]:
    """Open an association; it is released when the block ends, and aborted when the block raises.

    Raises :class:`Unreachable` if there is no connection to ``remote`` within ``connect_s``, :class:`ConnectionLost`
    if it does not answer within ``answer_s`` seconds, :class:`AssociationRejected` or :class:`AssociationAborted` if it
    does not want.
    """
    limits = limits or ConnectionLimits()
    association = Association(Role.REQUESTOR, limits, number=next(_numbers), perform=perform)
    await _connect(association, remote, connect_s)
    try:
        async with _patience(remote, answer_s):
            requested = await _negotiate(association, remote, proposal, limits)
        yield requested
        async with _patience(remote, answer_s):
            await association.release()
    finally:
        if association.protocol.is_open:
            association.protocol.hang_up("association left", source=ABORT_BY_USER)


async def _connect(association: Association, remote: Remote, connect_s: float) -> None:
    loop = asyncio.get_running_loop()
    where = f"{remote.host}:{remote.port}"
    try:
        async with asyncio.timeout(connect_s):
            await loop.create_connection(
                lambda: association.protocol,
                remote.host,
                remote.port,
                ssl=remote.tls,
                server_hostname=remote.host if remote.tls is not None else None,
            )
    except TimeoutError:
        raise Unreachable(f"{where} did not answer within {connect_s:g} s") from None
    except OSError as error:
        raise Unreachable(f"cannot connect to {where}: {error.strerror or error}") from None


@asynccontextmanager
async def _patience(remote: Remote, answer_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(answer_s):
            yield
    except TimeoutError:
        raise ConnectionLost(f"{remote.ae_title} did not answer within {answer_s:g} s") from None


async def _negotiate(
    association: Association, remote: Remote, proposal: Proposal, limits: ConnectionLimits
) -> Requested:
    association.name_peer(calling_ae=proposal.calling_ae, called_ae=remote.ae_title)
    rq = AssociateRQ(
        called_ae_title=ae_title_field(remote.ae_title),
        calling_ae_title=ae_title_field(proposal.calling_ae),
        contexts=tuple(proposal.contexts),
        user_information=UserInformation(
            max_length=limits.max_pdu_bytes,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version_name=IMPLEMENTATION_VERSION_NAME,
            async_window=_offered_window(proposal),
            roles=tuple(proposal.roles),
            extended=tuple(proposal.extended),
            user_identity=proposal.user_identity,
        ),
    )
    ac = await association.request(rq)
    return Requested(association, ac, association.window)


def _offered_window(proposal: Proposal) -> AsyncOperationsWindow | None:
    if proposal.async_window == proposal.performed_window == 1:
        return None
    return AsyncOperationsWindow(invoked=proposal.async_window, performed=proposal.performed_window)
