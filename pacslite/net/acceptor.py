"""Taking calls: listeners, who may associate and for what, and how it all ends.

Theory of operation. A connection becomes an :class:`~pacslite.net.association.Association` at once, but counts against
the limits only when it asks for an association: silent connections cost a socket, not a place. The request is first
held against the limits (a full server says so, transiently: PS3.8 Table 9-21), then against the access policy, then
negotiated. ``close`` stops listening, lets running operations finish and aborts what is left after the grace.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from pacslite.dimse.registry import ServiceRegistry
from pacslite.facts import (
    AssociationAccepted,
    AssociationEnded,
    AssociationRefused,
    ContextAnswer,
    ListenerOpened,
    Observe,
    ShutdownStarted,
)
from pacslite.net.access import AccessPolicy, Admission, Refusal
from pacslite.net.association import Association, Perform
from pacslite.net.contexts import agreed_windows
from pacslite.net.limits import ConnectionLimits
from pacslite.net.protocol import AssociationProtocol
from pacslite.net.securing import Securing
from pacslite.ul.connection import Role
from pacslite.ul.negotiation import AbstractSyntaxPolicy, Order, Policy, Rejection, negotiate
from pacslite.ul.pdu import AssociateAC, AssociateRJ, AssociateRQ


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptorLimits:
    """How many associations at once, in all and from one address, and how many connections that may not be any.

    ``async_window`` is how many operations one association may have outstanding, in each direction.
    """

    max_associations: int = 200
    max_associations_per_peer: int = 50
    max_connections: int = 2000
    async_window: int = 8


class Acceptor:
    """All listeners of one server. ``access`` may be replaced while it runs; open associations keep what they have."""

    def __init__(
        self,
        *,
        registry: ServiceRegistry,
        perform: Perform,
        access: AccessPolicy,
        limits: AcceptorLimits,
        connection_limits: ConnectionLimits,
        order: Order,
        observe: Observe,
    ) -> None:
        self.access = access
        self._registry = registry
        self._perform = perform
        self._limits = limits
        self._connection_limits = connection_limits
        self._order = order
        self._observe = observe
        self._servers: list[asyncio.Server] = []
        self._connections: dict[Association, None] = {}
        self._associated: Counter[str] = Counter()
        self._outliving: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)
        self._all_closed = asyncio.Event()
        self._closing = False

    @property
    def connections(self) -> Collection[Association]:
        """Every open connection, associated or not."""
        return self._connections.keys()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Open one listener and return its port; raises :class:`OSError` if that is taken or not ours to take."""
        server = await asyncio.get_running_loop().create_server(
            self._plain if tls is None else lambda: self._secured(tls), host or None, port, backlog=512
        )
        self._servers.append(server)
        opened: int = server.sockets[0].getsockname()[1]
        self._observe(ListenerOpened(host=host, port=opened, tls=tls is not None))
        return opened

    async def close(self, grace_s: float) -> None:
        """Take no more calls, let what runs finish for ``grace_s`` seconds, then abort it. Again, it does nothing."""
        if self._closing:
            return
        self._closing = True
        for server in self._servers:
            server.close()
        if self._servers:  # otherwise it never came to listening, and there is nothing to stop
            self._observe(ShutdownStarted(associations=len(self._connections), grace_s=grace_s))
        for association in tuple(self._connections):
            association.finish()
        await self._wait_all_closed(grace_s)
        for association in tuple(self._connections):
            association.protocol.hang_up("server stopped")
            association.protocol.cut("server stopped")
        await self._wait_all_closed(1.0)
        for task in tuple(self._outliving):  # nobody waits for their answers, but they still use what is closed next
            task.cancel()
        if self._outliving:
            await asyncio.wait(self._outliving)

    async def _wait_all_closed(self, timeout_s: float) -> None:
        if not self._connections:
            return
        self._all_closed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._all_closed.wait()
        except TimeoutError:
            return

    # --- One connection ---------------------------------------------------------------------------------------------

    def _secured(self, tls: ssl.SSLContext) -> Securing:
        return Securing(tls, self._plain, handshake_s=self._connection_limits.artim_s, observe=self._observe)

    def _plain(self) -> AssociationProtocol:
        association = Association(
            Role.ACCEPTOR,
            self._connection_limits,
            number=next(self._numbers),
            opened=self._remember,
            greet=self._greet,
            perform=self._perform,
            ended=self._forget,
        )
        return association.protocol

    def _remember(self, association: Association) -> None:
        """A flood of connections costs the oldest silent one its place, never an associated peer."""
        if len(self._connections) >= self._limits.max_connections:
            waiting = (one for one in self._connections if one.established_at is None and one.protocol.is_open)
            silent = next(waiting, None)
            (silent or association).protocol.cut(f"{self._limits.max_connections} connections are open")
        self._connections[association] = None
        if self._closing:  # a TLS handshake that ended too late
            association.protocol.cut("server stopped")

    def _greet(self, association: Association, rq: AssociateRQ) -> None:
        """Answer A-ASSOCIATE-RQ: limits, then access, then negotiation."""
        association.name_peer(calling_ae=rq.calling_ae, called_ae=rq.called_ae)
        refusal = self._limit_reached(association)
        if refusal is not None:
            self._refuse(association, refusal)
            return
        peer = association.peer
        admission = self.access.admit(
            calling_ae=peer.calling_ae,
            called_ae=peer.called_ae,
            address=peer.address,
            tls=peer.tls,
            identity=rq.user_information.user_identity,
        )
        if isinstance(admission, Refusal):
            self._refuse(association, admission)
            return
        answer = negotiate(rq, self._policy(admission))
        if isinstance(answer, AssociateRJ):
            self._refuse(association, Refusal(rj=answer, why=answer.description))
            return
        self._accept(association, rq, answer, admission)

    def _limit_reached(self, association: Association) -> Refusal | None:
        limits, address = self._limits, association.peer.address
        if self._closing:
            return _local_limit("the server is stopping", "try again when it is up")
        if self._associated.total() >= limits.max_associations:
            return _local_limit(
                f"{limits.max_associations} associations are open", "raise limits.max_associations, or let it try again"
            )
        if self._associated[address] >= limits.max_associations_per_peer:
            return _local_limit(
                f"{limits.max_associations_per_peer} associations are open from {address}",
                "raise limits.max_associations_per_peer, or let it try again",
            )
        return None

    def _policy(self, admission: Admission) -> Policy:
        def accepts(abstract_syntax: str, related_general: tuple[str, ...]) -> AbstractSyntaxPolicy | None:
            registration = self._registry.find(abstract_syntax, related_general)
            if registration is None:
                return None
            return AbstractSyntaxPolicy(
                transfer_syntaxes=registration.transfer_syntaxes,
                requestor_scu=registration.permission in admission.permissions,
                requestor_scp=registration.sends_to in admission.permissions,
                produces=registration.produces,
                extended=registration.extended,
            )

        return Policy(
            accepts=accepts,
            max_pdu_length=self._connection_limits.max_pdu_bytes,
            operations_performed=self._limits.async_window,
            operations_invoked=self._limits.async_window,
            order=self._order,
            user_identity_answer=b"" if admission.identified else None,
        )

    def _accept(self, association: Association, rq: AssociateRQ, ac: AssociateAC, admission: Admission) -> None:
        abstract_syntaxes = {context.context_id: context.abstract_syntax for context in rq.contexts}
        self._associated[association.peer.address] += 1
        association.accept(rq, ac)
        self._observe(
            AssociationAccepted(
                peer=association.peer,
                contexts=tuple(
                    ContextAnswer(
                        context_id=answer.context_id,
                        abstract_syntax=abstract_syntaxes[answer.context_id],
                        transfer_syntax=answer.transfer_syntax,
                        result=answer.result,
                        lacks=self._lacks(abstract_syntaxes[answer.context_id], admission) if answer.result else "",
                    )
                    for answer in ac.contexts
                ),
                implementation=rq.user_information.implementation_version_name
                or rq.user_information.implementation_class_uid,
                async_window=agreed_windows(rq, ac).invoked,
            )
        )

    def _lacks(self, abstract_syntax: str, admission: Admission) -> str:
        """The permission without which it is refused, if that is why."""
        registration = self._registry.find(abstract_syntax)
        if registration is None or registration.permission in admission.permissions:
            return ""
        return registration.permission.value

    def _refuse(self, association: Association, refusal: Refusal) -> None:
        rj = refusal.rj
        association.reject(rj)
        self._observe(
            AssociationRefused(
                peer=association.peer,
                result=rj.result,
                source=rj.source,
                reason=rj.reason,
                why=refusal.why,
                advice=refusal.advice,
            )
        )

    def _forget(self, association: Association) -> None:
        self._connections.pop(association, None)
        if association.established_at is not None:
            self._associated -= Counter((association.peer.address,))  # drops the address with its last association
        for task in association.running:
            self._outliving.add(task)
            task.add_done_callback(self._outliving.discard)
        if not self._connections:
            self._all_closed.set()
        protocol, totals = association.protocol, association.totals
        self._observe(
            AssociationEnded(
                peer=association.peer,
                how=association.how_it_ended,
                established=association.established_at is not None,
                seconds=asyncio.get_running_loop().time() - association.opened_at,
                operations=totals.operations,
                stored=totals.stored,
                failed=totals.failed,
                bytes_received=protocol.bytes_received,
                bytes_sent=protocol.bytes_sent,
            )
        )


def _local_limit(why: str, advice: str) -> Refusal:
    return Refusal(rj=Rejection.LOCAL_LIMIT_EXCEEDED.rj, why=why, advice=advice)
