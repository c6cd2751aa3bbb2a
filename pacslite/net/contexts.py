"""What a request for an association and its acceptance come to, seen from one of the two sides. Pure."""

from __future__ import annotations

from pacslite.dimse.service import Context
from pacslite.ul.connection import Role
from pacslite.ul.items import AsyncOperationsWindow
from pacslite.ul.negotiation import smaller
from pacslite.ul.pdu import AssociateAC, AssociateRQ


def agreed_contexts(rq: AssociateRQ, ac: AssociateAC, own: Role) -> dict[int, Context]:
    """The accepted presentation contexts by their ID; their roles are those of the ``own`` side."""
    offered, answered = rq.user_information, ac.user_information
    proposed = {context.context_id: context.abstract_syntax for context in rq.contexts}
    related = {one.sop_class: one.related_general for one in offered.common_extended}
    offers = {one.sop_class for one in offered.extended}
    extended = {one.sop_class: one.information for one in answered.extended if one.sop_class in offers}
    roles = _requestor_roles(rq, ac)
    contexts: dict[int, Context] = {}
    for answer in ac.contexts:
        if answer.accepted and answer.context_id in proposed:
            sop_class = proposed[answer.context_id]
            scu, scp = roles.get(sop_class, (True, False))
            contexts[answer.context_id] = Context(
                answer.context_id,
                sop_class,
                answer.transfer_syntax,
                related.get(sop_class, ()),
                scu=scu if own is Role.REQUESTOR else scp,
                scp=scp if own is Role.REQUESTOR else scu,
                extended=extended.get(sop_class, b""),
            )
    return contexts


def _requestor_roles(rq: AssociateRQ, ac: AssociateAC) -> dict[str, tuple[bool, bool]]:
    """The requestor's roles, SCU and SCP, where they were proposed and answered; elsewhere the default ones stand
    (DM-03)."""
    answers = {role.sop_class: role for role in ac.user_information.roles}
    return {
        role.sop_class: (role.scu and answers[role.sop_class].scu, role.scp and answers[role.sop_class].scp)
        for role in rq.user_information.roles
        if role.sop_class in answers and (role.scu or role.scp)
    }


def agreed_windows(rq: AssociateRQ, ac: AssociateAC) -> AsyncOperationsWindow:
    """How many operations the requestor may have outstanding, and performs at once (0: no limit); 1 and 1 unless both
    sides said something else (DM-02)."""
    offered, answered = rq.user_information.async_window, ac.user_information.async_window
    if offered is None or answered is None:
        return AsyncOperationsWindow(invoked=1, performed=1)
    return AsyncOperationsWindow(
        invoked=smaller(offered.invoked, answered.invoked), performed=smaller(offered.performed, answered.performed)
    )
