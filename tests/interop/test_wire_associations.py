"""Opening, negotiating and closing an association (PS3.8), from a peer that writes its bytes by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kit.message import (
    COMMAND,
    LAST,
    pdu,
    pdv,
)
from kit.odd import SECONDARY_CAPTURE, make
from kit.rawpeer import (
    A_ABORT,
    EXPLICIT,
    IMPLICIT,
    RELEASE_RQ,
    VERIFICATION_CONTEXT,
    RawPeer,
    associate_rq,
    association,
    contexts_for,
    user_information,
)
from kit.server import RunningServer
from kit.wait import eventually
from pacslite.dicom.uids import VERIFICATION
from pacslite.ul.codec import encode_pdu
from pacslite.ul.items import PresentationContext, RoleSelection, UnknownItem
from pacslite.ul.pdu import Abort, AssociateAC, AssociateRJ, ReleaseRP

ARTIM_S = 0.8
BOTH_CONTEXTS = contexts_for((VERIFICATION, IMPLICIT), (SECONDARY_CAPTURE, EXPLICIT))


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with a short ARTIM and places for three associations, two of them for one address."""
    settings = {
        "limits.artim_s": ARTIM_S,
        "limits.max_associations": 3,
        "limits.max_associations_per_peer": 2,
    }
    with RunningServer(tmp_path_factory.mktemp("hasty") / "data", settings=settings) as running:
        yield running


# --- Opening and closing ----------------------------------------------------------------------------------------------


def test_ul01_a_connection_carries_one_association(server: RunningServer) -> None:
    with RawPeer(server.port) as peer:
        peer.associate()
        peer.send(RELEASE_RQ)
        assert isinstance(peer.read_pdu(), ReleaseRP)
        answer = peer.request(associate_rq(VERIFICATION_CONTEXT))  # UL-04: in Sta13 that is answered with A-ABORT
        assert isinstance(answer, Abort)


def test_ul02_a_silent_connection_is_closed_at_artim_without_a_pdu(hasty: RunningServer) -> None:
    began = time.monotonic()
    with RawPeer(hasty.port) as peer:
        assert peer.read_to_end() == b""
    assert time.monotonic() - began >= ARTIM_S * 0.9


def test_ul02_half_an_associate_rq_does_not_stop_artim(hasty: RunningServer) -> None:
    with RawPeer(hasty.port) as peer:
        peer.send(encode_pdu(associate_rq(VERIFICATION_CONTEXT))[:-1])
        assert peer.read_to_end() == b""


def test_ul03_after_the_release_the_peer_closes_or_artim_does(hasty: RunningServer) -> None:
    with RawPeer(hasty.port) as peer:
        peer.associate()
        peer.send(RELEASE_RQ)
        began = time.monotonic()
        assert isinstance(peer.read_pdu(), ReleaseRP)
        assert peer.read_to_end() == b""
    assert time.monotonic() - began >= ARTIM_S * 0.9


def test_ul03_after_a_rejection_the_peer_closes_or_artim_does(hasty: RunningServer) -> None:
    with RawPeer(hasty.port) as peer:
        began = time.monotonic()
        answer = peer.request(associate_rq(VERIFICATION_CONTEXT, protocol_version=2))
        assert answer == AssociateRJ(result=1, source=2, reason=2)
        assert peer.read_to_end() == b""
    assert time.monotonic() - began >= ARTIM_S * 0.9


@pytest.mark.parametrize("late", [pdu(4, pdv(1, b"", 3)), RELEASE_RQ, pdu(2, bytes(68)), pdu(6, bytes(4))])
def test_ul04_after_a_rejection_further_pdus_are_ignored(hasty: RunningServer, late: bytes) -> None:
    with RawPeer(hasty.port) as peer:
        assert isinstance(peer.request(associate_rq(VERIFICATION_CONTEXT, protocol_version=2)), AssociateRJ)
        peer.send(late)
        assert peer.read_to_end() == b""


@pytest.mark.parametrize(
    "late", [pdu(0x42, b""), encode_pdu(associate_rq(VERIFICATION_CONTEXT))], ids=["unrecognized", "associate-rq"]
)
def test_ul04_after_a_rejection_two_pdus_are_answered_with_an_abort(hasty: RunningServer, late: bytes) -> None:
    with RawPeer(hasty.port) as peer:
        assert isinstance(peer.request(associate_rq(VERIFICATION_CONTEXT, protocol_version=2)), AssociateRJ)
        peer.send(late)
        assert isinstance(peer.read_pdu(), Abort)


@pytest.mark.parametrize(
    "first", [RELEASE_RQ, pdu(4, pdv(1, b"", COMMAND | LAST)), pdu(2, bytes(68)), pdu(0x42, b"what"), pdu(0xFF, b"")]
)
def test_ul05_anything_but_an_associate_rq_at_first_is_aborted_as_service_user(
    server: RunningServer, first: bytes
) -> None:
    with RawPeer(server.port) as peer:
        peer.send(first)
        answer = peer.read_pdu()
        assert isinstance(answer, Abort)
        assert (answer.source, answer.reason) == (0, 0)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(pdu(0x42, b"what"), 1), (encode_pdu(associate_rq(VERIFICATION_CONTEXT)), 2), (pdu(4, pdv(2, b"", 3)), 6)],
    ids=["unrecognized-pdu", "second-associate-rq", "even-context-id-ul13"],
)
def test_ul05_a_violation_later_is_aborted_as_service_provider(server: RunningServer, bad: bytes, reason: int) -> None:
    with RawPeer(server.port) as peer:
        peer.associate()
        peer.send(bad)
        assert peer.read_pdu() == Abort(source=2, reason=reason)


def test_a_peer_that_aborts_is_not_answered(server: RunningServer) -> None:
    with RawPeer(server.port) as peer:
        peer.associate()
        peer.send(A_ABORT)
        assert peer.read_to_end() == b""


def test_ul08_beyond_the_limit_the_rejection_is_transient_and_ends(hasty: RunningServer) -> None:
    local_limit = AssociateRJ(result=2, source=3, reason=2)
    with association(hasty.port), association(hasty.port):
        with RawPeer(hasty.port) as third_of_one_address:
            assert third_of_one_address.request(associate_rq(VERIFICATION_CONTEXT)) == local_limit
        with RawPeer(hasty.port, source="127.0.0.2") as elsewhere:
            elsewhere.associate()
            with RawPeer(hasty.port, source="127.0.0.3") as fourth:
                assert fourth.request(associate_rq(VERIFICATION_CONTEXT)) == local_limit
    log = hasty.wait_for_log("max_associations_per_peer")
    assert "limits.max_associations" in log

    def there_is_a_place_again() -> bool:
        with RawPeer(hasty.port) as peer:
            return isinstance(peer.request(associate_rq(VERIFICATION_CONTEXT)), AssociateAC)

    eventually(there_is_a_place_again, "a place after the others left")


# --- Negotiation ------------------------------------------------------------------------------------------------------


def test_ul11_other_version_bits_do_not_matter(server: RunningServer) -> None:
    with RawPeer(server.port) as peer:
        assert isinstance(peer.request(associate_rq(VERIFICATION_CONTEXT, protocol_version=0xFFFF)), AssociateAC)


def test_ul12_titles_and_reserved_bytes_are_echoed(server: RunningServer) -> None:
    rq = associate_rq(VERIFICATION_CONTEXT, calling="  SPACED", called="ANY NAME")
    with RawPeer(server.port) as peer:
        peer.send(_with_reserved(encode_pdu(rq)))
        answer = peer.read_pdu()
    assert isinstance(answer, AssociateAC)
    assert answer.calling_ae_title == rq.calling_ae_title
    assert answer.called_ae_title == rq.called_ae_title
    assert answer.reserved == bytes(range(32))


def _with_reserved(rq: bytes) -> bytes:
    return rq[:42] + bytes(range(32)) + rq[74:]


@pytest.mark.parametrize(("calling", "called", "reason"), [("", "PACSLITE", 3), ("RAWPEER", "", 7)])
def test_ul12_a_title_of_spaces_is_refused(server: RunningServer, calling: str, called: str, reason: int) -> None:
    rq = bytearray(encode_pdu(associate_rq(VERIFICATION_CONTEXT)))
    rq[10:26], rq[26:42] = called.ljust(16).encode(), calling.ljust(16).encode()
    with RawPeer(server.port) as peer:
        peer.send(bytes(rq))
        assert peer.read_pdu() == AssociateRJ(result=1, source=1, reason=reason)


def test_ul14_every_proposed_context_gets_its_answer(server: RunningServer) -> None:
    contexts = [
        PresentationContext(1, VERIFICATION, (IMPLICIT, EXPLICIT)),
        PresentationContext(3, "1.2.840.10008.5.1.4.1.2.9.9", (IMPLICIT,)),  # no storage class, now or ever
        PresentationContext(5, SECONDARY_CAPTURE, ("1.2.3.4.5",)),
        PresentationContext(255, SECONDARY_CAPTURE, ("1.2.3.4.5", EXPLICIT, IMPLICIT)),
    ]
    with RawPeer(server.port) as peer:
        answer = peer.associate(contexts)
    assert [(one.context_id, one.result) for one in answer.contexts] == [(1, 0), (3, 3), (5, 4), (255, 0)]
    assert answer.contexts[3].transfer_syntax == EXPLICIT


def test_ul15_no_acceptable_context_is_no_reason_to_reject(server: RunningServer) -> None:
    with RawPeer(server.port) as peer:
        answer = peer.associate([PresentationContext(1, "1.2.840.10008.5.1.4.1.2.9.9", (IMPLICIT,))])
        assert [one.accepted for one in answer.contexts] == [False]
        peer.release()


def test_ul16_unknown_items_are_skipped(server: RunningServer) -> None:
    strange = (UnknownItem(0x5A, b"?" * 40), UnknownItem(0xEE, b""))
    information = replace(user_information(), unknown=strange)
    rq = replace(associate_rq(VERIFICATION_CONTEXT, information=information), unknown=strange)
    with RawPeer(server.port) as peer:
        assert isinstance(peer.request(rq), AssociateAC)
        assert peer.echo() == 0


def test_128_contexts_are_all_accepted(server: RunningServer) -> None:
    sop_class = SECONDARY_CAPTURE
    contexts = contexts_for(*[(sop_class, EXPLICIT if at % 2 else IMPLICIT) for at in range(128)])
    with RawPeer(server.port) as peer:
        answer = peer.associate(contexts)
        assert [one.context_id for one in answer.contexts] == list(range(1, 256, 2))
        assert all(one.accepted for one in answer.contexts)
        sent = make("on-the-128th-context", syntax=EXPLICIT)
        assert peer.store(255, sent.sop_class, sent.sop_instance, sent.data_set).status == 0
        peer.release()


def test_dm02_the_window_is_answered_only_when_offered_and_never_above_the_offer(server: RunningServer) -> None:
    for offered, agreed in (((4, 2), 4), ((100, 100), 8), ((0, 0), 8), ((1, 1), 1)):
        with RawPeer(server.port) as peer:
            window = peer.associate(information=user_information(window=offered)).user_information.async_window
            assert window is not None
            assert window.invoked == agreed
            assert window.performed == 0 or offered[1] == 0 or window.performed <= offered[1]
    with RawPeer(server.port) as peer:
        assert peer.associate().user_information.async_window is None


def test_dm03_a_role_that_was_not_proposed_or_is_not_for_that_class_is_not_granted(server: RunningServer) -> None:
    proposed = [
        RoleSelection(sop_class=SECONDARY_CAPTURE, scu=True, scp=False),
        RoleSelection(sop_class=VERIFICATION, scu=True, scp=True),
    ]
    with RawPeer(server.port) as peer:
        answer = peer.associate(BOTH_CONTEXTS, information=user_information(roles=proposed))
    assert answer.user_information.roles == (
        RoleSelection(sop_class=SECONDARY_CAPTURE, scu=True, scp=False),
        RoleSelection(sop_class=VERIFICATION, scu=True, scp=False),
    )
    with RawPeer(server.port) as peer:
        assert peer.associate(BOTH_CONTEXTS).user_information.roles == ()


@pytest.mark.parametrize(("scu", "scp"), [(False, True), (True, True)])
def test_dm03_qr07_who_may_fetch_may_take_the_scp_role_of_storage(server: RunningServer, scu: bool, scp: bool) -> None:
    proposed = RoleSelection(sop_class=SECONDARY_CAPTURE, scu=scu, scp=scp)
    with RawPeer(server.port) as peer:
        answer = peer.associate(BOTH_CONTEXTS, information=user_information(roles=[proposed]))
        assert answer.user_information.roles == (proposed,)
        peer.release()


def test_a_request_without_contexts_is_no_reason_to_fall_over(server: RunningServer) -> None:
    with RawPeer(server.port) as peer:
        assert isinstance(peer.request(associate_rq([])), AssociateAC | AssociateRJ | Abort)
    with association(server.port) as other:
        assert other.echo() == 0
