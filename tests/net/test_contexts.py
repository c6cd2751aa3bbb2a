"""What was agreed, seen from either side. STANDARD DM-02, DM-03, DM-04."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pacslite.dimse.service import Context
from pacslite.net.contexts import agreed_contexts, agreed_windows
from pacslite.ul.connection import Role
from pacslite.ul.items import (
    AsyncOperationsWindow,
    PresentationContextAnswer,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserInformation,
)
from pacslite.ul.pdu import AssociateAC, AssociateRQ
from ul.samples import AC, CT, EXPLICIT, IMPLICIT, INFORMATION, MR, RQ

Roles = tuple[bool, bool]


def offering(**information: object) -> AssociateRQ:
    return replace(RQ, user_information=_with(information))


def answering(**information: object) -> AssociateAC:
    return replace(AC, user_information=_with(information))


def _with(information: dict[str, object]) -> UserInformation:
    return replace(INFORMATION, **information)  # type: ignore[arg-type]  # fields by name


def selection(roles: Roles | None, sop_class: str = CT) -> tuple[RoleSelection, ...]:
    return () if roles is None else (RoleSelection(sop_class=sop_class, scu=roles[0], scp=roles[1]),)


def test_only_what_was_proposed_and_accepted_is_a_context() -> None:
    ac = replace(AC, contexts=(*AC.contexts, PresentationContextAnswer(77, 0, IMPLICIT)))
    contexts = agreed_contexts(RQ, ac, Role.REQUESTOR)
    assert list(contexts) == [1, 3]
    assert contexts[3] == Context(3, CT, EXPLICIT, scu=True, scp=False)


@pytest.mark.parametrize(
    ("proposed", "answered", "requestor"),
    [
        (None, None, (True, False)),
        ((False, True), None, (True, False)),  # no answer: the default roles
        ((False, True), (False, True), (False, True)),
        ((True, True), (True, True), (True, True)),
        ((True, True), (False, True), (False, True)),
        ((False, True), (True, True), (False, True)),  # more than was proposed cannot be granted
        ((False, True), (False, False), (False, False)),
        (None, (False, True), (True, False)),
        ((False, False), (False, True), (True, False)),
    ],
)
def test_dm_03_both_sides_see_the_same_roles(proposed: Roles | None, answered: Roles | None, requestor: Roles) -> None:
    rq, ac = offering(roles=selection(proposed)), answering(roles=selection(answered))
    ours, theirs = agreed_contexts(rq, ac, Role.REQUESTOR)[3], agreed_contexts(rq, ac, Role.ACCEPTOR)[3]
    assert (ours.scu, ours.scp) == (theirs.scp, theirs.scu) == requestor


def test_dm_03_roles_are_those_of_one_sop_class() -> None:
    rq, ac = offering(roles=selection((False, True), MR)), answering(roles=selection((False, True), MR))
    assert agreed_contexts(rq, ac, Role.REQUESTOR)[3].scu


def test_dm_04_what_was_not_offered_or_not_answered_is_not_agreed() -> None:
    offer, answer = SOPClassExtendedNegotiation(CT, b"\1\1"), SOPClassExtendedNegotiation(CT, b"\1\0")
    for own in Role:
        agreed = agreed_contexts(offering(extended=(offer,)), answering(extended=(answer,)), own)
        assert (agreed[3].extended, agreed[1].extended) == (b"\1\0", b"")
        assert agreed_contexts(offering(extended=(offer,)), AC, own)[3].extended == b""
        assert agreed_contexts(RQ, answering(extended=(answer,)), own)[3].extended == b""


def test_related_general_sop_classes_are_kept() -> None:
    common = SOPClassCommonExtendedNegotiation(sop_class=CT, service_class="1.2", related_general=("1.2.3",))
    assert agreed_contexts(offering(common_extended=(common,)), AC, Role.ACCEPTOR)[3].related_general == ("1.2.3",)


@pytest.mark.parametrize(
    ("offered", "answered", "agreed"),
    [
        (None, None, (1, 1)),
        ((5, 5), None, (1, 1)),
        (None, (5, 5), (1, 1)),
        ((5, 3), (4, 4), (4, 3)),
        ((0, 0), (4, 0), (4, 0)),
        ((5, 3), (0, 9), (5, 3)),
    ],
)
def test_dm_02_windows(
    offered: tuple[int, int] | None, answered: tuple[int, int] | None, agreed: tuple[int, int]
) -> None:
    rq = offering(async_window=offered and AsyncOperationsWindow(*offered))
    ac = answering(async_window=answered and AsyncOperationsWindow(*answered))
    assert agreed_windows(rq, ac) == AsyncOperationsWindow(*agreed)
