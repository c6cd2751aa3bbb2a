"""The answer to a request for an association: a pure function of the request and a policy.

Who may call at all is decided before, by the access policy, which answers with a :class:`Rejection` if need be. Here it
is only about what is spoken: protocol version, application context, presentation contexts and the user information.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pacslite.dicom.transfer_syntax import IMPLICIT_VR_LITTLE_ENDIAN
from pacslite.dicom.uids import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MAX_UID_LENGTH,
)
from pacslite.ul.items import (
    AsyncOperationsWindow,
    ContextResult,
    PresentationContext,
    PresentationContextAnswer,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserInformation,
)
from pacslite.ul.pdu import PROTOCOL_VERSION, AssociateAC, AssociateRJ, AssociateRQ

_NOT_SIGNIFICANT = IMPLICIT_VR_LITTLE_ENDIAN
"""A rejected context carries a transfer syntax that means nothing (UL-14); the proposed one may not be encodable."""


class Rejection(Enum):
    """Every A-ASSOCIATE-RJ there is: result, source and reason of PS3.8 Table 9-21 (UL-07)."""

    NO_REASON = (1, 1, 1)
    APPLICATION_CONTEXT_NOT_SUPPORTED = (1, 1, 2)
    CALLING_AE_NOT_RECOGNIZED = (1, 1, 3)
    CALLED_AE_NOT_RECOGNIZED = (1, 1, 7)
    USER_IDENTITY_REFUSED = (1, 2, 1)
    """DM-05: the service provider refuses, and gives no reason."""
    PROTOCOL_VERSION_NOT_SUPPORTED = (1, 2, 2)
    TEMPORARY_CONGESTION = (2, 3, 1)
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
    """UL-08: the requestor may try again later."""

    @property
    def rj(self) -> AssociateRJ:
        result, source, reason = self.value
        return AssociateRJ(result=result, source=source, reason=reason)


class Order(Enum):
    """Whose order decides which of several acceptable transfer syntaxes a context gets."""

    SENDER = "sender"
    CONFIGURED = "configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractSyntaxPolicy:
    """How an abstract syntax is accepted.

    ``transfer_syntaxes`` are those that we take, in our order of preference. ``requestor_scu`` and ``requestor_scp``
    are the roles that the peer may play. ``produces`` are the transfer syntaxes that everything of this kind can be
    sent in to a peer in the SCP role. ``extended`` is given the service class application information that was offered
    and returns the answer, unsupported bytes 0, or None for no answer (DM-04).
    """

    transfer_syntaxes: tuple[str, ...]
    requestor_scu: bool = True
    requestor_scp: bool = False
    produces: tuple[str, ...] = ()
    extended: Callable[[bytes], bytes | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this side speaks.

    ``accepts`` is given an abstract syntax and the Related General SOP Classes the requestor names for it (PS3.7
    D.3.3.6), and returns None for one not served. ``operations_performed`` and ``operations_invoked`` are our limits of
    operations at once, the peer's and our own (0: no limit). ``user_identity_answer`` is the server response to a user
    who was authenticated (empty for a name or passcode), None if nobody was.
    """

    accepts: Callable[[str, tuple[str, ...]], AbstractSyntaxPolicy | None]
    max_pdu_length: int
    order: Order = Order.SENDER
    operations_performed: int = 1
    operations_invoked: int = 1
    user_identity_answer: bytes | None = None
    requires_a_context: bool = False
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version_name: str = IMPLEMENTATION_VERSION_NAME


def negotiate(rq: AssociateRQ, policy: Policy) -> AssociateAC | AssociateRJ:
    """The answer to ``rq``; that no context is acceptable rejects it only if the policy says so (UL-15)."""
    if not rq.protocol_version & PROTOCOL_VERSION:  # UL-11: the other bits are not looked at
        return Rejection.PROTOCOL_VERSION_NOT_SUPPORTED.rj
    if rq.application_context != APPLICATION_CONTEXT:
        return Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED.rj
    if not rq.called_ae:  # UL-12: a title of spaces only is illegal
        return Rejection.CALLED_AE_NOT_RECOGNIZED.rj
    if not rq.calling_ae:
        return Rejection.CALLING_AE_NOT_RECOGNIZED.rj
    policies = _policies(rq, policy)
    roles = {role.sop_class: role for role in rq.user_information.roles}
    answers = tuple(
        _answer(context, policies[context.abstract_syntax], roles.get(context.abstract_syntax), policy.order)
        for context in rq.contexts
    )
    if policy.requires_a_context and not any(answer.accepted for answer in answers):
        return Rejection.NO_REASON.rj
    accepted = {
        context.abstract_syntax: one
        for context, answer in zip(rq.contexts, answers, strict=True)
        if answer.accepted and (one := policies[context.abstract_syntax]) is not None
    }
    return AssociateAC(
        called_ae_title=rq.called_ae_title,
        calling_ae_title=rq.calling_ae_title,
        reserved=rq.reserved,
        contexts=answers,
        user_information=_answer_user_information(rq.user_information, policy, accepted),
    )


def _policies(rq: AssociateRQ, policy: Policy) -> dict[str, AbstractSyntaxPolicy | None]:
    related = {one.sop_class: one.related_general for one in rq.user_information.common_extended}
    proposed = dict.fromkeys(context.abstract_syntax for context in rq.contexts)
    # An overlong UID is no UID (PS3.5 9), and echoed in role selection it could overflow the answer's user information.
    return {
        uid: policy.accepts(uid, related.get(uid, ())) if 0 < len(uid) <= MAX_UID_LENGTH else None for uid in proposed
    }


def _answer(
    context: PresentationContext, policy: AbstractSyntaxPolicy | None, role: RoleSelection | None, order: Order
) -> PresentationContextAnswer:
    if policy is None:
        return _refused(context, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED)
    scu, scp = _agreed_roles(policy, role)
    if not scu and not scp:
        return _refused(context, ContextResult.USER_REJECTION)  # nobody could invoke anything on it
    usable = _usable(context.transfer_syntaxes, policy, order, takes=scu, sends=scp)
    if not usable:
        return _refused(context, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)
    return PresentationContextAnswer(context.context_id, ContextResult.ACCEPTANCE, usable[0])


def _usable(
    proposed: Sequence[str], policy: AbstractSyntaxPolicy, order: Order, *, takes: bool, sends: bool
) -> list[str]:
    """The transfer syntaxes that fit the roles on a context, the best first.

    What we send on one context (C-GET) is stored in all kinds of transfer syntaxes: one that everything can be produced
    in goes before one that only what is stored in it can be sent in. On a context that serves both roles it must also
    be one that we take. Who is sent objects knows best how it wants them, so then the order is always the requestor's.
    """
    if sends:
        best = [uid for uid in proposed if uid in policy.produces and (not takes or uid in policy.transfer_syntaxes)]
        return best + [uid for uid in proposed if uid in policy.transfer_syntaxes]
    if order is Order.CONFIGURED:
        return [uid for uid in policy.transfer_syntaxes if uid in proposed]
    return [uid for uid in proposed if uid in policy.transfer_syntaxes]


def _refused(context: PresentationContext, result: ContextResult) -> PresentationContextAnswer:
    return PresentationContextAnswer(context.context_id, result, _NOT_SIGNIFICANT)


def _agreed_roles(policy: AbstractSyntaxPolicy, role: RoleSelection | None) -> tuple[bool, bool]:
    """The roles of the requestor, SCU and SCP; a proposal of neither is none, which is the default roles (DM-03)."""
    if role is None or not (role.scu or role.scp):
        return policy.requestor_scu, False
    return role.scu and policy.requestor_scu, role.scp and policy.requestor_scp


def _answer_user_information(
    offered: UserInformation, policy: Policy, accepted: Mapping[str, AbstractSyntaxPolicy]
) -> UserInformation:
    identity = offered.user_identity
    identity_wanted = identity is not None and identity.positive_response_requested  # DM-05
    return UserInformation(
        max_length=policy.max_pdu_length,
        implementation_class_uid=policy.implementation_class_uid,
        implementation_version_name=policy.implementation_version_name,
        async_window=_answer_window(offered.async_window, policy),
        roles=_answer_roles(offered.roles, accepted),
        extended=_answer_extended(offered.extended, accepted),
        user_identity_answer=policy.user_identity_answer if identity_wanted else None,
    )


def _answer_window(offered: AsyncOperationsWindow | None, policy: Policy) -> AsyncOperationsWindow | None:
    """Each number at most what was offered, and none if none was (DM-02); what the requestor invokes, we perform."""
    if offered is None:
        return None
    return AsyncOperationsWindow(
        invoked=smaller(offered.invoked, policy.operations_performed),
        performed=smaller(offered.performed, policy.operations_invoked),
    )


def smaller(one: int, other: int) -> int:
    """The smaller of two limits of which 0 is none."""
    return min(one, other) if one and other else one or other


def _answer_roles(
    offered: tuple[RoleSelection, ...], accepted: Mapping[str, AbstractSyntaxPolicy]
) -> tuple[RoleSelection, ...]:
    """One answer for each SOP class with an accepted context; what was not proposed is not granted (DM-03)."""
    latest = {role.sop_class: role for role in offered if role.scu or role.scp}
    answers: list[RoleSelection] = []
    for sop_class, role in latest.items():
        if sop_class in accepted:
            scu, scp = _agreed_roles(accepted[sop_class], role)
            answers.append(RoleSelection(sop_class=sop_class, scu=scu, scp=scp))
    return tuple(answers)


def _answer_extended(
    offered: tuple[SOPClassExtendedNegotiation, ...], accepted: Mapping[str, AbstractSyntaxPolicy]
) -> tuple[SOPClassExtendedNegotiation, ...]:
    """At most one answer for each SOP class, and only where there is one to give (DM-04)."""
    latest = {one.sop_class: one.information for one in offered}
    answers: list[SOPClassExtendedNegotiation] = []
    for sop_class, information in latest.items():
        policy = accepted.get(sop_class)
        if policy is not None and policy.extended is not None:
            answer = policy.extended(information)
            if answer is not None:
                answers.append(SOPClassExtendedNegotiation(sop_class, answer))
    return tuple(answers)
