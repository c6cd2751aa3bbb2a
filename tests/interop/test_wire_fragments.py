"""Messages in every packing, and cut off anywhere (PS3.8 Annex E), from a peer that writes its bytes by hand."""

from __future__ import annotations

import pytest

from kit.encode import EXPLICIT_LITTLE
from kit.message import (
    LAST,
    Packing,
    c_store_rq,
    pack_message,
    pdu,
    pdv,
)
from kit.odd import SECONDARY_CAPTURE, make
from kit.rawpeer import (
    A_ABORT,
    EXPLICIT,
    IMPLICIT,
    RELEASE_RQ,
    RawPeer,
    association,
    contexts_for,
    user_information,
)
from kit.server import RunningServer
from kit.store import Store
from kit.wait import eventually
from pacslite.dicom.uids import VERIFICATION
from pacslite.dimse.command import decode_command
from pacslite.ul.pdu import Abort, PDataTF, ReleaseRP

BOTH_CONTEXTS = contexts_for((VERIFICATION, IMPLICIT), (SECONDARY_CAPTURE, EXPLICIT))

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


def test_an_abort_behind_the_last_fragment_leaves_all_or_nothing(server: RunningServer, store: Store) -> None:
    sent = [make(f"abort-behind-{at}") for at in range(20)]
    for one in sent:
        with RawPeer(server.port) as peer:
            peer.associate(BOTH_CONTEXTS)
            peer.send(*pack_message(3, c_store_rq(one.sop_class, one.sop_instance), one.data_set), A_ABORT)
    eventually(lambda: not store.in_flight(), "no file in flight")
    for one in sent:
        if store.copies(one.sop_instance):
            store.copy_of(one)


def test_a_release_behind_the_last_fragment_is_answered(server: RunningServer, store: Store) -> None:
    """The peer does not wait for its answer; it may get none, but what is stored is whole."""
    sent = make("release-behind")
    with RawPeer(server.port) as peer:
        peer.associate(BOTH_CONTEXTS)
        peer.send(*pack_message(3, c_store_rq(sent.sop_class, sent.sop_instance), sent.data_set), RELEASE_RQ)
        answer = peer.read_pdu()
        if isinstance(answer, PDataTF):
            answer = peer.read_pdu()
        assert isinstance(answer, ReleaseRP)
    eventually(lambda: not store.in_flight(), "no file in flight")
    if store.copies(sent.sop_instance):
        store.copy_of(sent)
