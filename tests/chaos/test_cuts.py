"""Peers that vanish: cut at every boundary of the protocol and inside, in both ways TCP knows, or stalled."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from kit.holdings import Holdings, in_flight
from kit.message import Packing, c_store_rq, pack_message
from kit.process import open_sockets
from kit.rawpeer import (
    EXPLICIT,
    RELEASE_RQ,
    VERIFICATION_CONTEXT,
    PeerClosed,
    RawPeer,
    associate_rq,
    association,
    contexts_for,
)
from kit.server import RunningServer
from kit.storm import CT_IMAGE_STORAGE, StormObject, objects
from kit.wait import eventually
from pacslite.ul.codec import encode_pdu

CT_CONTEXT = contexts_for((CT_IMAGE_STORAGE, EXPLICIT))
IDLE_S = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"limits.idle_s": IDLE_S, "limits.artim_s": IDLE_S}
    with RunningServer(tmp_path_factory.mktemp("cuts") / "data", settings=settings) as running:
        yield running


def session(obj: StormObject) -> list[bytes]:
    """What a whole session writes, one PDU each: A-ASSOCIATE-RQ, C-STORE-RQ in five P-DATA-TF, A-RELEASE-RQ."""
    packing = Packing(command_fragments=(100,), data_fragments=(700,))
    message = pack_message(1, c_store_rq(CT_IMAGE_STORAGE, obj.sop_instance), obj.data_set(), packing)
    return [encode_pdu(associate_rq(CT_CONTEXT)), *message, RELEASE_RQ]


def cuts(pdus: list[bytes]) -> Iterator[int]:
    """Positions at every PDU boundary, in every PDU header, PDV header and body."""
    for start, pdu in zip(itertools.accumulate(map(len, pdus), initial=0), pdus, strict=False):
        inside = {0, 1, 5, 6, 7, 9, 11, 12, 13, len(pdu) // 2, len(pdu) - 1}
        yield from sorted(start + at for at in inside if at < len(pdu))
    yield sum(map(len, pdus))


def send_until(peer: RawPeer, pdus: list[bytes], cut: int) -> None:
    """Write the session's first ``cut`` bytes, waiting for the server where the standard has a peer wait."""
    stream = b"".join(pdus)
    greeting, release = len(pdus[0]), len(stream) - len(pdus[-1])
    peer.send(stream[: min(cut, greeting)])
    if cut > greeting:
        peer.read_pdu()
        peer.send(stream[greeting : min(cut, release)])
    if cut > release:
        assert peer.read_response().status == 0x0000
        peer.send(stream[release:cut])


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_peer_cut_at_every_boundary_leaves_nothing_half_behind(server: RunningServer, reset: bool) -> None:
    """UL-26: a half-received C-STORE leaves no file and no row; a whole one may stay, and if answered must."""
    answered: list[StormObject] = []
    incomplete: list[str] = []
    supply = objects(f"{1 + reset}", itertools.repeat(2000))
    connections = open_sockets(server.pid)
    for at in range(len(list(cuts(session(next(supply)))))):
        obj = next(supply)
        pdus = session(obj)
        cut = list(cuts(pdus))[at]
        peer = RawPeer(server.port)
        send_until(peer, pdus, cut)
        if reset:
            peer.reset()
        else:
            peer.close()
        if cut > sum(map(len, pdus[:-1])):
            answered.append(obj)
        elif cut < sum(map(len, pdus[:-1])):
            incomplete.append(obj.sop_instance)
    eventually(lambda: open_sockets(server.pid) <= connections, "every connection given back")
    eventually(lambda: not in_flight(server.data), "nothing in flight")
    holdings = Holdings(server.data)
    holdings.assert_sound()
    holdings.assert_holds(answered)
    assert len(answered) > 5
    assert len(incomplete) > 60
    assert not holdings.instances.keys() & set(incomplete)


def test_peer_that_stalls_inside_a_data_set_is_aborted_and_leaves_nothing(server: RunningServer) -> None:
    """DESIGN 6: idle, here 1 s."""
    (obj,) = objects("3", [200_000])
    pdus = session(obj)
    with RawPeer(server.port) as peer:
        send_until(peer, pdus, sum(map(len, pdus)) // 2)
        aborted = peer.read_to_end()
    assert aborted[0] == 7, "no A-ABORT"
    eventually(lambda: not in_flight(server.data), "nothing in flight")
    assert obj.sop_instance not in Holdings(server.data).instances
    server.wait_for_log("idle")


def test_slow_peer_that_keeps_sending_is_not_taken_for_idle(server: RunningServer) -> None:
    """The idle limit is silence, not slowness: an object that takes longer than it arrives all the same."""
    (obj,) = objects("4", [4_000])
    stream = b"".join(session(obj)[1:-1])
    with association(server.port, CT_CONTEXT) as peer:
        pieces = [stream[at : at + len(stream) // 8 + 1] for at in range(0, len(stream), len(stream) // 8 + 1)]
        for piece in pieces:
            with pytest.raises(TimeoutError):
                peer.read_pdu(timeout_s=IDLE_S / 4)
            peer.send(piece)
        assert peer.read_response().status == 0x0000
    Holdings(server.data).assert_holds([obj])


def test_silent_connection_is_closed_without_a_word(server: RunningServer) -> None:
    """UL-02: ARTIM, here 1 s."""
    with RawPeer(server.port) as peer:
        assert peer.read_to_end() == b""


def test_peer_that_is_told_to_go_and_stays_is_closed(server: RunningServer) -> None:
    """UL-03: after A-RELEASE-RP the peer closes; one that does not is closed at ARTIM's expiry."""
    with RawPeer(server.port) as peer:
        peer.associate(VERIFICATION_CONTEXT)
        peer.send(RELEASE_RQ)
        peer.read_pdu()
        with pytest.raises((PeerClosed, ConnectionResetError)):
            peer.read_pdu()
