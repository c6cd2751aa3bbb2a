"""The fine print of PS3.8 and PS3.7 on the wire, from a peer that writes its bytes by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kit.encode import EXPLICIT_LITTLE
from kit.message import (
    COMMAND,
    LAST,
    Packing,
    c_cancel_rq,
    c_echo_rq,
    c_store_rq,
    command_set,
    pack_message,
    pdu,
    pdv,
    us,
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
from kit.shipped import DicomObject
from kit.store import Store
from kit.wait import eventually
from pacslite.dicom.uids import VERIFICATION
from pacslite.dimse.command import CommandField, Tag, decode_command
from pacslite.ul.codec import encode_pdu
from pacslite.ul.items import PresentationContext, RoleSelection, UnknownItem
from pacslite.ul.pdu import Abort, AssociateAC, AssociateRJ, PDataTF, ReleaseRP

ARTIM_S = 0.4
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


def test_dm03_a_role_that_was_not_proposed_is_not_granted(server: RunningServer) -> None:
    proposed = RoleSelection(sop_class=SECONDARY_CAPTURE, scu=True, scp=True)
    with RawPeer(server.port) as peer:
        answer = peer.associate(BOTH_CONTEXTS, information=user_information(roles=[proposed]))
    assert answer.user_information.roles == (RoleSelection(sop_class=SECONDARY_CAPTURE, scu=True, scp=False),)
    with RawPeer(server.port) as peer:
        assert peer.associate(BOTH_CONTEXTS).user_information.roles == ()


# --- Messages ---------------------------------------------------------------------------------------------------------

PACKINGS = {
    "ul19-command-and-data-set-in-one-pdu": Packing(pdvs_per_pdu=100),
    "ul19-many-small-pdvs-per-pdu": Packing(data_fragments=(100,), pdvs_per_pdu=9),
    "ul20-empty-pdvs": Packing(data_fragments=(64,), empty_pdvs=True),
    "ul20-odd-fragments": Packing(command_fragments=(3,), data_fragments=(7, 13, 1)),
    "ul21-noise-in-the-control-header": Packing(control_noise=0xFC),
    "ul23-one-byte-fragments": Packing(command_fragments=(1,), data_fragments=(1,), pdvs_per_pdu=50),
    "everything-at-once": Packing(
        command_fragments=(5, 1), data_fragments=(1, 17, 2), pdvs_per_pdu=6, empty_pdvs=True, control_noise=0xA4
    ),
}


@pytest.mark.parametrize("name", PACKINGS)
def test_every_packing_is_stored_alike(server: RunningServer, store: Store, name: str) -> None:
    sent = make(f"packing-{name}")
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(3, sent.sop_class, sent.sop_instance, sent.data_set, packing=PACKINGS[name])
    assert response.status == 0
    store.copy_of(sent)


@pytest.mark.parametrize("sizes", [[1] * 3000, [5, 1, 7, 1000, 2] * 200], ids=["bytewise", "odd-pieces"])
def test_ul23_tcp_segments_may_cut_anywhere(server: RunningServer, store: Store, sizes: list[int]) -> None:
    sent = make(f"segments-{len(sizes)}")
    message = b"".join(pack_message(3, c_store_rq(sent.sop_class, sent.sop_instance), sent.data_set))
    with RawPeer(server.port) as peer:
        peer.associate(BOTH_CONTEXTS)
        peer.send_in_pieces(message, sizes)
        assert peer.read_response().status == 0
        peer.release()
    store.copy_of(sent)


def test_ul22_a_context_change_inside_a_message_is_aborted(server: RunningServer, store: Store) -> None:
    sent = make("context-change")
    first, second = sent.data_set[:40], sent.data_set[40:]
    with RawPeer(server.port) as peer:
        peer.associate(contexts_for((SECONDARY_CAPTURE, EXPLICIT), (SECONDARY_CAPTURE, IMPLICIT)))
        peer.send(*pack_message(1, c_store_rq(sent.sop_class, sent.sop_instance), None))
        peer.send(pdu(4, pdv(1, first, 0)), pdu(4, pdv(3, second, LAST)))
        answer = peer.read_pdu()
        assert isinstance(answer, Abort)
        assert answer.source == 2
    assert store.copies(sent.sop_instance) == []


def test_ul17_a_longer_pdu_than_announced_is_aborted(server: RunningServer) -> None:
    with RawPeer(server.port) as peer:
        announced = peer.associate(BOTH_CONTEXTS).user_information.max_length
        assert announced == 256 * 1024
        sent = make("exactly-the-limit", rest=_pixels(announced))
        exact = announced - 6
        peer.send_message(
            3, c_store_rq(sent.sop_class, sent.sop_instance), sent.data_set, Packing(data_fragments=(exact,))
        )
        assert peer.read_response().status == 0
        peer.send(*pack_message(3, c_store_rq(sent.sop_class, sent.sop_instance, 2), None))
        peer.send(pdu(4, pdv(3, sent.data_set[: exact + 2], 0)))
        assert peer.read_pdu() == Abort(source=2, reason=6)


def _pixels(size: int) -> bytes:
    return EXPLICIT_LITTLE.element(0x7FE00010, "OW", bytes(size))


@pytest.mark.parametrize("most", [64, 100, 1000])
def test_ul17_our_pdus_respect_the_length_that_the_peer_announced(server: RunningServer, most: int) -> None:
    sent = make(f"short-pdus-{most}")
    with RawPeer(server.port) as peer:
        peer.associate(BOTH_CONTEXTS, information=user_information(max_length=most))
        peer.send_message(3, c_store_rq(sent.sop_class, sent.sop_instance), sent.data_set)
        command, pdus, last = b"", 0, False
        while not last:
            answer = peer.read_pdu()
            assert isinstance(answer, PDataTF)
            assert sum(6 + len(value.data) for value in answer.pdvs) <= most
            assert all(len(value.data) % 2 == 0 for value in answer.pdvs)  # UL-20
            command += b"".join(value.data for value in answer.pdvs)
            pdus, last = pdus + 1, answer.pdvs[-1].last
        assert pdus > 1 or most == 1000
        assert decode_command(command).status == 0
        peer.release()


def test_ul17_a_peer_without_a_limit_is_answered(server: RunningServer) -> None:
    with association(server.port, information=user_information(max_length=0)) as peer:
        assert peer.echo() == 0


@pytest.mark.parametrize("how", ["close", "reset", "abort", "release"])
@pytest.mark.parametrize("where", ["after-the-command", "inside-the-data-set", "before-the-last-fragment"])
def test_ul26_a_half_received_object_leaves_nothing(server: RunningServer, store: Store, how: str, where: str) -> None:
    sent = make(f"half-{how}-{where}")
    pdus = pack_message(3, c_store_rq(sent.sop_class, sent.sop_instance), sent.data_set, Packing(data_fragments=(50,)))
    upto = {"after-the-command": 1, "inside-the-data-set": 3, "before-the-last-fragment": len(pdus) - 1}[where]
    with RawPeer(server.port) as peer:
        peer.associate(BOTH_CONTEXTS)
        peer.send(*pdus[:upto])
        match how:
            case "close":
                peer.close()
            case "reset":
                peer.reset()
            case "abort":
                peer.send(A_ABORT)
            case _:
                peer.send(RELEASE_RQ)
    eventually(lambda: not store.in_flight(), "no file in flight")
    assert store.copies(sent.sop_instance) == []


def test_dm01_any_data_set_type_but_0101h_means_that_one_follows(server: RunningServer, store: Store) -> None:
    with association(server.port, BOTH_CONTEXTS) as peer:
        for value in (0x0000, 0x0001, 0x0102, 0xFEFE):
            sent = make(f"data-set-type-{value:04x}")
            command = c_store_rq(sent.sop_class, sent.sop_instance, value or 9, more={0x0800: us(value)})
            peer.send_message(3, command, sent.data_set)
            assert peer.read_response().status == 0
            store.copy_of(sent)


def test_dm06_a_cancel_without_an_operation_is_ignored(server: RunningServer) -> None:
    with association(server.port) as peer:
        peer.send_message(1, c_cancel_rq(77))
        assert peer.echo(message_id=5) == 0


def test_dm07_dm08_failures_have_words_and_elements(server: RunningServer) -> None:
    good, other = make("words"), make("words-other")
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(3, good.sop_class, good.sop_instance, other.data_set)
        assert response.status == 0xA900  # ST-03
        assert response.elements[Tag.OFFENDING_ELEMENT] == (0x00080018,)
        assert 0 < len(response.text(Tag.ERROR_COMMENT)) <= 64
        response = peer.store(3, good.sop_class, good.sop_instance, b"\x00" * 64)
        assert response.status >> 12 == 0xC
        assert response.text(Tag.ERROR_COMMENT)


def test_dm09_the_data_set_of_a_refused_store_is_drained(server: RunningServer, store: Store) -> None:
    big = bytes(3_000_000)
    sent = make("after-a-refused-one")
    with association(server.port, BOTH_CONTEXTS) as peer:
        # An object whose SOP Class is not that of its context, and one without a SOP Instance UID.
        peer.send_message(3, c_store_rq(SECONDARY_CAPTURE, ""), big)
        assert peer.read_response().status == 0x0117
        assert peer.store(3, sent.sop_class, sent.sop_instance, sent.data_set).status == 0
    store.copy_of(sent)


def test_dm10_a_message_id_in_use_is_refused(server: RunningServer) -> None:
    first, second = make("message-id-first"), make("message-id-second")
    with RawPeer(server.port) as peer:
        peer.associate(BOTH_CONTEXTS, information=user_information(window=(4, 1)))
        # The second comes at once behind the first: it may or may not still be outstanding, but both are answered.
        peer.send(
            *pack_message(3, c_store_rq(first.sop_class, first.sop_instance, 7), first.data_set),
            *pack_message(3, c_store_rq(second.sop_class, second.sop_instance, 7), second.data_set),
        )
        statuses = {peer.read_response().status, peer.read_response().status}
        assert statuses in ({0}, {0, 0x0210})
        peer.release()


@pytest.mark.parametrize("field", [CommandField.C_FIND_RQ, CommandField.N_CREATE_RQ, 0x0777])
def test_dm11_an_operation_that_is_not_served_is_answered(server: RunningServer, field: int) -> None:
    command = command_set({0x0002: SECONDARY_CAPTURE.encode() + b"\0", 0x0100: us(field), 0x0110: us(3), 0x0800: us(1)})
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(3, command, b"\x00" * 40)
        response = peer.read_response()
        assert response.status == 0x0211
        assert response.responds_to == 3
        assert peer.echo() == 0


def test_store_on_a_verification_context_is_answered(server: RunningServer) -> None:
    sent = make("on-the-wrong-context", syntax=IMPLICIT)
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(1, sent.sop_class, sent.sop_instance, sent.data_set)
        assert response.status in (0x0211, 0x0122)
        assert peer.echo() == 0


def test_a_message_on_a_refused_context_is_aborted(server: RunningServer) -> None:
    with RawPeer(server.port) as peer:
        peer.associate()
        peer.send_message(99, c_echo_rq())
        answer = peer.read_pdu()
        assert isinstance(answer, Abort)
        assert answer.source == 2


def test_st06_the_response_names_the_object_and_has_no_data_set(server: RunningServer) -> None:
    sent = make("response-names-the-object")
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(3, sent.sop_class, sent.sop_instance, sent.data_set, message_id=0xFFFF)
    assert response.field == CommandField.C_STORE_RSP
    assert response.responds_to == 0xFFFF
    assert (response.sop_class, response.sop_instance) == (sent.sop_class, sent.sop_instance)
    assert not response.has_data_set


def test_st05_move_originator_elements_are_tolerated(server: RunningServer, store: Store) -> None:
    sent = make("move-originator")
    command = c_store_rq(sent.sop_class, sent.sop_instance, more={0x1030: b"OTHERPACS ", 0x1031: us(44)})
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(3, command, sent.data_set)
        assert peer.read_response().status == 0
    store.copy_of(sent)


def test_uids_padded_with_a_space_are_the_same_uids(server: RunningServer, store: Store) -> None:
    uid = "1.2.826.0.1.3680043.10.9999.4.778"
    assert len(uid) % 2
    plain = make("space-padded", instance=uid)
    sent = replace(plain, data_set=plain.data_set.replace(uid.encode() + b"\0", uid.encode() + b" "))
    assert sent.data_set != plain.data_set
    command = c_store_rq(sent.sop_class, "", more={0x1000: uid.encode() + b" "})
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(3, command, sent.data_set)
        assert peer.read_response().status == 0
    store.copy_of(sent)


def test_without_sop_uids_in_the_data_set_those_of_the_command_count_with_a_warning(
    server: RunningServer, store: Store
) -> None:
    whole = make("uids-in-the-command-only")
    start = whole.data_set.index(b"\x10\x00\x10\x00")
    sent = replace(whole, data_set=whole.data_set[start:])
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(3, sent.sop_class, sent.sop_instance, sent.data_set)
    assert response.status == 0xB007
    assert "missing in the data set" in response.text(Tag.ERROR_COMMENT)
    store.copy_of(sent)


def test_with_a_window_answers_come_for_every_operation(server: RunningServer, store: Store) -> None:
    """Eight C-STOREs are sent without waiting for an answer; each gets its own, in whatever order."""
    sent = [make(f"window-{at}", rest=_pixels(20_000)) for at in range(24)]
    with RawPeer(server.port) as peer:
        window = peer.associate(
            BOTH_CONTEXTS, information=user_information(window=(8, 1))
        ).user_information.async_window
        assert window is not None
        answered = _send_all(peer, sent, window.invoked)
        peer.release()
    assert answered == {at + 1: 0 for at in range(len(sent))}
    for one in sent:
        store.copy_of(one)


def _send_all(peer: RawPeer, sent: list[DicomObject], window: int) -> dict[int, int]:
    answered: dict[int, int] = {}
    for at, one in enumerate(sent):
        if at - len(answered) == window:
            response = peer.read_response()
            answered[response.responds_to] = response.status
        peer.send_message(3, c_store_rq(one.sop_class, one.sop_instance, at + 1), one.data_set)
    while len(answered) < len(sent):
        response = peer.read_response()
        answered[response.responds_to] = response.status
    return answered
