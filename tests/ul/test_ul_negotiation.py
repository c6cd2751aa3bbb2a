"""negotiate(): the answer to every proposal, by the standard and by the policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacslite.dicom.uids import VERIFICATION
from pacslite.ul.codec import encode_pdu
from pacslite.ul.items import (
    AsyncOperationsWindow,
    PresentationContext,
    PresentationContextAnswer,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentity,
    UserInformation,
)
from pacslite.ul.negotiation import AbstractSyntaxPolicy, Order, Policy, Rejection, negotiate
from pacslite.ul.pdu import AssociateAC, AssociateRJ, AssociateRQ
from ul.samples import BIG_ENDIAN, CT, EXPLICIT, IMPLICIT, JPEG, MR, RQ
from ul.strategies import requests

STORAGE = AbstractSyntaxPolicy(transfer_syntaxes=(EXPLICIT, JPEG, IMPLICIT))
PRIVATE = "1.2.3.4.5"


def serving(**known: AbstractSyntaxPolicy) -> Policy:
    """A policy for CT and Verification, or the ones named: ``ct=…``, ``mr=…``."""
    policies = {{"ct": CT, "mr": MR}[name]: policy for name, policy in known.items()} or {CT: STORAGE}
    policies[VERIFICATION] = AbstractSyntaxPolicy(transfer_syntaxes=(IMPLICIT,))
    return Policy(accepts=lambda uid, related: policies.get(uid), max_pdu_length=65536)


def accepted(rq: AssociateRQ, policy: Policy) -> AssociateAC:
    answer = negotiate(rq, policy)
    assert isinstance(answer, AssociateAC)
    encode_pdu(answer)
    return answer


def proposing(*contexts: PresentationContext, **information: object) -> AssociateRQ:
    changed = replace(RQ.user_information, **information)  # type: ignore[arg-type]  # fields by name
    return replace(
        RQ, contexts=contexts or (PresentationContext(1, CT, (IMPLICIT, EXPLICIT)),), user_information=changed
    )


def information(rq: AssociateRQ, policy: Policy) -> UserInformation:
    return accepted(rq, policy).user_information


# --- The association as a whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "refused"), [(1, False), (3, False), (0xFFFF, False), (0, True), (2, True)])
def test_ul_11_bit_0_of_the_protocol_version_counts(version: int, refused: bool) -> None:
    answer = negotiate(replace(RQ, protocol_version=version), serving())
    assert (answer == AssociateRJ(result=1, source=2, reason=2)) == refused


@pytest.mark.parametrize("name", ["", "1.2.840.10008.3.1.1.2"])
def test_another_application_context_is_rejected(name: str) -> None:
    assert negotiate(replace(RQ, application_context=name), serving()) == AssociateRJ(result=1, source=1, reason=2)


def test_ul_12_titles_of_spaces_are_rejected_and_others_echoed() -> None:
    assert negotiate(replace(RQ, called_ae_title=b" " * 16), serving()) == AssociateRJ(result=1, source=1, reason=7)
    assert negotiate(replace(RQ, calling_ae_title=bytes(16)), serving()) == AssociateRJ(result=1, source=1, reason=3)
    rq = replace(RQ, called_ae_title=b" ODD\xff title \0\0\0\0", reserved=bytes(range(32)))
    answer = accepted(rq, serving())
    assert answer.called_ae_title == rq.called_ae_title
    assert answer.calling_ae_title == rq.calling_ae_title
    assert answer.reserved == rq.reserved
    assert answer.protocol_version == 1


def test_ul_07_ul_08_rejections_have_the_codes_of_the_standard() -> None:
    assert {one.name: one.value for one in Rejection} == {
        "NO_REASON": (1, 1, 1),
        "APPLICATION_CONTEXT_NOT_SUPPORTED": (1, 1, 2),
        "CALLING_AE_NOT_RECOGNIZED": (1, 1, 3),
        "CALLED_AE_NOT_RECOGNIZED": (1, 1, 7),
        "USER_IDENTITY_REFUSED": (1, 2, 1),  # DM-05
        "PROTOCOL_VERSION_NOT_SUPPORTED": (1, 2, 2),
        "TEMPORARY_CONGESTION": (2, 3, 1),
        "LOCAL_LIMIT_EXCEEDED": (2, 3, 2),  # UL-08
    }
    for rejection in Rejection:
        assert encode_pdu(rejection.rj)[-3:] == bytes(rejection.value)


def test_ul_15_no_acceptable_context_is_no_reason_to_reject() -> None:
    rq = proposing(PresentationContext(1, PRIVATE, (IMPLICIT,)))
    assert [one.result for one in accepted(rq, serving()).contexts] == [3]
    assert accepted(replace(RQ, contexts=()), serving()).contexts == ()
    assert negotiate(rq, replace(serving(), requires_a_context=True)) == Rejection.NO_REASON.rj


# --- Presentation contexts -----------------------------------------------------------------------------------------


def test_ul_14_every_context_gets_its_answer() -> None:
    rq = proposing(
        PresentationContext(7, CT, (IMPLICIT,)),
        PresentationContext(1, PRIVATE, (IMPLICIT,)),
        PresentationContext(3, CT, (BIG_ENDIAN,)),
        PresentationContext(5, CT, ()),
        PresentationContext(9, "", (IMPLICIT,)),
    )
    assert accepted(rq, serving()).contexts == (
        PresentationContextAnswer(7, 0, IMPLICIT),
        PresentationContextAnswer(1, 3, IMPLICIT),
        PresentationContextAnswer(3, 4, IMPLICIT),
        PresentationContextAnswer(5, 4, IMPLICIT),
        PresentationContextAnswer(9, 3, IMPLICIT),
    )


@pytest.mark.parametrize(
    ("order", "proposed", "chosen"),
    [
        (Order.SENDER, (BIG_ENDIAN, IMPLICIT, JPEG, EXPLICIT), IMPLICIT),
        (Order.CONFIGURED, (BIG_ENDIAN, IMPLICIT, JPEG, EXPLICIT), EXPLICIT),
        (Order.SENDER, (JPEG, IMPLICIT), JPEG),
        (Order.CONFIGURED, (IMPLICIT, JPEG), JPEG),
    ],
)
def test_the_order_of_transfer_syntaxes(order: Order, proposed: tuple[str, ...], chosen: str) -> None:
    rq = proposing(PresentationContext(1, CT, proposed))
    (answer,) = accepted(rq, replace(serving(), order=order)).contexts
    assert answer.transfer_syntax == chosen


def test_128_contexts() -> None:
    contexts = [PresentationContext(2 * one + 1, (CT, MR)[one % 2], (EXPLICIT,)) for one in range(128)]
    answer = accepted(proposing(*contexts), serving(ct=STORAGE, mr=STORAGE))
    assert [one.context_id for one in answer.contexts] == list(range(1, 256, 2))
    assert all(one.accepted for one in answer.contexts)


def test_related_general_sop_classes_are_asked_for() -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def accepts(uid: str, related: tuple[str, ...]) -> AbstractSyntaxPolicy | None:
        asked.append((uid, related))
        return STORAGE if CT in related else None

    common = (SOPClassCommonExtendedNegotiation(sop_class=PRIVATE, service_class="4.2", related_general=(MR, CT)),)
    rq = proposing(
        PresentationContext(1, PRIVATE, (EXPLICIT,)),
        PresentationContext(3, MR, (EXPLICIT,)),
        PresentationContext(5, PRIVATE, (JPEG,)),
        common_extended=common,
    )
    answer = accepted(rq, Policy(accepts=accepts, max_pdu_length=0))
    assert [one.result for one in answer.contexts] == [0, 3, 0]
    assert asked == [(PRIVATE, (MR, CT)), (MR, ())]
    assert answer.user_information.common_extended == ()  # there is no answer to it (PS3.7 D.3.3.6)


def test_an_overlong_uid_is_not_even_asked_for() -> None:
    def accepts(uid: str, related: tuple[str, ...]) -> AbstractSyntaxPolicy | None:
        raise AssertionError

    uid = "1." + "2" * 60_000
    rq = proposing(PresentationContext(1, uid, (EXPLICIT,)), roles=(RoleSelection(sop_class=uid, scu=True, scp=True),))
    assert [one.result for one in accepted(rq, Policy(accepts=accepts, max_pdu_length=0)).contexts] == [3]


# --- User information ----------------------------------------------------------------------------------------------


def test_ul_17_our_maximum_length_is_our_own() -> None:
    assert information(proposing(max_length=1000), serving()).max_length == 65536
    assert information(proposing(max_length=0), serving()).implementation_class_uid.startswith("2.25.")


@pytest.mark.parametrize(
    ("offered", "performed", "invoked", "answer"),
    [
        (None, 8, 8, None),
        ((1, 1), 8, 8, (1, 1)),
        ((16, 4), 8, 2, (8, 2)),
        ((4, 4), 8, 8, (4, 4)),
        ((0, 0), 8, 1, (8, 1)),
        ((5, 0), 0, 0, (5, 0)),
    ],
)
def test_dm_02_the_window_is_at_most_what_was_offered(
    offered: tuple[int, int] | None, performed: int, invoked: int, answer: tuple[int, int] | None
) -> None:
    rq = proposing(async_window=offered and AsyncOperationsWindow(*offered))
    policy = replace(serving(), operations_performed=performed, operations_invoked=invoked)
    assert information(rq, policy).async_window == (answer and AsyncOperationsWindow(*answer))


@pytest.mark.parametrize(
    ("allowed", "proposed", "agreed"),
    [
        ((True, False), (True, False), (True, False)),
        ((True, False), (True, True), (True, False)),
        ((True, True), (False, True), (False, True)),
        ((True, True), (True, True), (True, True)),
        ((False, True), (True, True), (False, True)),
        ((True, True), (True, False), (True, False)),  # what is not proposed is not granted
    ],
)
def test_dm_03_roles(allowed: tuple[bool, bool], proposed: tuple[bool, bool], agreed: tuple[bool, bool]) -> None:
    policy = serving(ct=replace(STORAGE, requestor_scu=allowed[0], requestor_scp=allowed[1]))
    rq = proposing(roles=(RoleSelection(sop_class=CT, scu=proposed[0], scp=proposed[1]),))
    answer = accepted(rq, policy)
    assert answer.contexts[0].accepted
    assert answer.user_information.roles == (RoleSelection(sop_class=CT, scu=agreed[0], scp=agreed[1]),)


@pytest.mark.parametrize("proposed", [(), ((False, False),)])
def test_dm_03_no_proposal_means_the_default_roles(proposed: tuple[tuple[bool, bool], ...]) -> None:
    rq = proposing(roles=tuple(RoleSelection(sop_class=CT, scu=scu, scp=scp) for scu, scp in proposed))
    answer = accepted(rq, serving())
    assert answer.contexts[0].accepted
    assert answer.user_information.roles == ()
    only_scp = serving(ct=replace(STORAGE, requestor_scu=False, requestor_scp=True))
    assert accepted(rq, only_scp).contexts[0].result == 1


def test_dm_03_a_context_that_nobody_could_use_is_refused() -> None:
    rq = proposing(roles=(RoleSelection(sop_class=CT, scu=False, scp=True),))
    answer = accepted(rq, serving())
    assert answer.contexts[0].result == 1
    assert answer.user_information.roles == ()


@pytest.mark.parametrize(
    ("roles", "proposed", "chosen"),
    [
        ((False, True), (JPEG, IMPLICIT, EXPLICIT), IMPLICIT),  # the requestor's first that all can be sent in
        ((False, True), (BIG_ENDIAN, JPEG), BIG_ENDIAN),  # it is sent, never taken
        ((False, True), (JPEG,), JPEG),  # what is stored in it can be sent in it
        ((False, True), ("1.2.3",), None),
        ((True, True), (BIG_ENDIAN, JPEG, EXPLICIT), EXPLICIT),  # it must be one that we take as well
        ((True, True), (BIG_ENDIAN, JPEG), JPEG),
        ((True, True), (BIG_ENDIAN,), None),
        ((True, False), (JPEG, EXPLICIT), EXPLICIT),  # our order, where the policy says so
    ],
)
def test_qr_07_what_is_sent_has_a_transfer_syntax_that_everything_can_be_sent_in(
    roles: tuple[bool, bool], proposed: tuple[str, ...], chosen: str | None
) -> None:
    storage = replace(STORAGE, requestor_scp=True, produces=(EXPLICIT, IMPLICIT, BIG_ENDIAN))
    rq = proposing(
        PresentationContext(1, CT, proposed), roles=(RoleSelection(sop_class=CT, scu=roles[0], scp=roles[1]),)
    )
    (answer,) = accepted(rq, replace(serving(ct=storage), order=Order.CONFIGURED)).contexts
    assert answer == PresentationContextAnswer(1, 0 if chosen else 4, chosen or IMPLICIT)


def test_dm_04_extended_negotiation_is_answered_once_and_only_if_there_is_an_answer() -> None:
    policy = serving(
        ct=replace(STORAGE, extended=lambda offered: bytes(len(offered) - 1) + offered[-1:]),
        mr=replace(STORAGE, extended=lambda offered: None),
    )
    contexts = [
        PresentationContext(2 * n + 1, uid, (EXPLICIT,)) for n, uid in enumerate((CT, CT, MR, VERIFICATION, PRIVATE))
    ]
    offers = (
        SOPClassExtendedNegotiation(CT, b"\1\1\1"),
        SOPClassExtendedNegotiation(CT, b"\1\1\2"),
        SOPClassExtendedNegotiation(MR, b"\1"),
        SOPClassExtendedNegotiation(VERIFICATION, b"\1"),
        SOPClassExtendedNegotiation(PRIVATE, b"\1"),
    )
    answer = information(proposing(*contexts, extended=offers), policy)
    assert answer.extended == (SOPClassExtendedNegotiation(CT, b"\0\0\2"),)
    assert information(proposing(*contexts), policy).extended == ()  # not offered, not answered


@pytest.mark.parametrize(
    ("wants_answer", "verified", "answer"),
    [(True, b"", b""), (True, b"ticket", b"ticket"), (True, None, None), (False, b"ticket", None)],
)
def test_dm_05_a_server_response_only_if_wanted_and_verified(
    wants_answer: bool, verified: bytes | None, answer: bytes | None
) -> None:
    identity = UserIdentity(kind=2, primary=b"me", secondary=b"pw", positive_response_requested=wants_answer)
    policy = replace(serving(), user_identity_answer=verified)
    assert information(proposing(user_identity=identity), policy).user_identity_answer == answer
    assert information(proposing(), policy).user_identity_answer is None


@given(requests, st.sampled_from(Order))
@settings(max_examples=50, deadline=None)
def test_any_request_gets_an_answer_that_can_be_sent(rq: AssociateRQ, order: Order) -> None:
    syntaxes = tuple(dict.fromkeys(uid for context in rq.contexts for uid in context.transfer_syntaxes))
    policy = Policy(
        accepts=lambda uid, related: AbstractSyntaxPolicy(
            transfer_syntaxes=syntaxes[::2], requestor_scp=len(uid) % 2 == 0, extended=lambda offered: offered
        ),
        max_pdu_length=16384,
        order=order,
    )
    rq = replace(rq, application_context=RQ.application_context, protocol_version=1)
    answer = negotiate(rq, policy)
    encode_pdu(answer)
    if isinstance(answer, AssociateAC):
        assert [one.context_id for one in answer.contexts] == [one.context_id for one in rq.contexts]
        for proposal, one in zip(rq.contexts, answer.contexts, strict=True):
            assert not one.accepted or one.transfer_syntax in proposal.transfer_syntaxes
