"""Bytes that no sane peer sends: garbage, lengths of 4 GiB, data sets that cannot be read, limits crossed."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.commands import fsck
from kit.holdings import Holdings, in_flight
from kit.hostile import how_it_ended, write_boldly
from kit.message import LAST, Packing, c_echo_rq, c_store_rq, pack_message, pdu, pdv
from kit.process import open_sockets
from kit.rawpeer import (
    A_ABORT,
    EXPLICIT,
    RELEASE_RQ,
    PeerClosed,
    RawPeer,
    associate_rq,
    association,
    contexts_for,
    is_answering,
)
from kit.server import RunningServer
from kit.storm import CT_IMAGE_STORAGE, StormObject, element, objects
from kit.wait import eventually
from pacslite.ul.codec import encode_pdu
from pacslite.ul.pdu import Abort

CT_CONTEXT = contexts_for((CT_IMAGE_STORAGE, EXPLICIT))
FOUR_GIB = 0xFFFFFFFF
KIB = 1024
MIB = 1024 * KIB
DEFLATED = "1.2.840.10008.1.2.1.99"
ROOT = "2.25.8888"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {
        "limits.max_pdu_bytes": 64 * KIB,
        "limits.max_associate_bytes": 32 * KIB,
        "limits.max_command_bytes": 8 * KIB,
        "limits.max_header_bytes": 256 * KIB,
        "limits.artim_s": 3,
        "limits.idle_s": 3,
    }
    with RunningServer(tmp_path_factory.mktemp("hostile") / "data", settings=settings) as running:
        yield running
        assert "Traceback" not in running.log


@pytest.fixture
def undisturbed(server: RunningServer) -> Iterator[RunningServer]:
    """Whatever the test did: others are served, nothing is left open, nothing half is left behind."""
    connections = open_sockets(server.pid)
    yield server
    assert is_answering(server.port)
    eventually(lambda: open_sockets(server.pid) <= connections, "every connection given back")
    eventually(lambda: not in_flight(server.data), "nothing in flight")
    Holdings(server.data).assert_sound()


def ct(number: int, *, extra: bytes = b"", pixel_bytes: int = 2000) -> StormObject:
    return StormObject(
        sop_instance=f"{ROOT}.{number}",
        study=f"{ROOT}.1",
        series=f"{ROOT}.1.1",
        patient="HOSTILE",
        pixel_bytes=pixel_bytes,
        extra=extra,
    )


def store(server: RunningServer, sop_instance: str, data_set: bytes, packing: Packing | None = None) -> int:
    """Store on an association of its own, which must still be usable; returns the status."""
    with association(server.port, CT_CONTEXT) as peer:
        default = Packing(data_fragments=(32 * KIB,))
        response = peer.store(1, CT_IMAGE_STORAGE, sop_instance, data_set, packing=packing or default)
        (after,) = objects("55", [500])
        assert peer.store(1, CT_IMAGE_STORAGE, after.sop_instance, after.data_set()).status == 0x0000
    return response.status


# --- Garbage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_garbage_instead_of_an_association_ends_the_connection(undisturbed: RunningServer, seed: int) -> None:
    chance = random.Random(seed)
    with RawPeer(undisturbed.port) as peer:
        write_boldly(peer, bytes([chance.choice((0, 8, 71, 255))]) + chance.randbytes(chance.choice((6, 100, 100_000))))
        assert how_it_ended(peer) in (None, (0, 0))  # UL-05; a reset may swallow the A-ABORT


@pytest.mark.parametrize("seed", range(20))
def test_garbage_inside_an_association_ends_it(undisturbed: RunningServer, seed: int) -> None:
    chance = random.Random(1000 + seed)
    with RawPeer(undisturbed.port) as peer:
        peer.associate(CT_CONTEXT)
        write_boldly(peer, bytes([chance.choice((0, 8, 71, 255))]) + chance.randbytes(100_000))
        assert how_it_ended(peer) in (None, (2, 1))


@pytest.mark.parametrize("seed", range(60))
def test_damaged_session_is_stored_or_ended_but_harms_nobody(undisturbed: RunningServer, seed: int) -> None:
    chance = random.Random(2000 + seed)
    obj = ct(2000 + seed)
    packing = Packing(command_fragments=(80,), data_fragments=(900,))
    message = b"".join(pack_message(1, c_store_rq(CT_IMAGE_STORAGE, obj.sop_instance), obj.data_set(), packing))
    damaged = bytearray(message + RELEASE_RQ)
    for _ in range(chance.choice((1, 1, 3, 20))):
        damaged[chance.randrange(300)] = chance.randrange(256)
    with RawPeer(undisturbed.port) as peer:
        peer.associate(CT_CONTEXT)
        write_boldly(peer, bytes(damaged))
        if seed % 2:
            peer.reset()


# --- Lengths of 4 GiB ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pdu_type", range(1, 8))
@pytest.mark.parametrize("associated", [False, True])
def test_pdu_of_4_gib_ends_the_connection_and_costs_no_memory(
    undisturbed: RunningServer, pdu_type: int, associated: bool
) -> None:
    before = undisturbed.peak_memory_bytes
    with RawPeer(undisturbed.port) as peer:
        if associated:
            peer.associate(CT_CONTEXT)
        write_boldly(peer, struct.pack(">BxI", pdu_type, FOUR_GIB) + bytes(100_000))
        assert how_it_ended(peer) in (None, (2, 6) if associated and pdu_type not in (1, 2, 3, 6) else (2, 2), (0, 0))
    assert undisturbed.peak_memory_bytes < before + 16 * MIB


def test_pdv_of_4_gib_aborts(undisturbed: RunningServer) -> None:
    with RawPeer(undisturbed.port) as peer:
        peer.associate(CT_CONTEXT)
        peer.send(pdu(4, struct.pack(">IBB", FOUR_GIB, 1, 3) + bytes(100)))
        assert how_it_ended(peer) == (2, 6)


def test_command_element_of_4_gib_aborts(undisturbed: RunningServer) -> None:
    with RawPeer(undisturbed.port) as peer:
        peer.associate(CT_CONTEXT)
        peer.send(pdu(4, pdv(1, c_echo_rq()[:12] + struct.pack("<HHI", 0, 2, FOUR_GIB), 3)))
        assert how_it_ended(peer) == (2, 6)


@pytest.mark.parametrize(
    "extra",
    [
        struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, FOUR_GIB - 1) + bytes(50),
        struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, FOUR_GIB - 1) + bytes(50),
        struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, FOUR_GIB)
        + struct.pack("<HHI", 0xFFFE, 0xE000, FOUR_GIB - 1)
        + bytes(50),
        struct.pack("<HH2sHI", 0x0040, 0x0275, b"UN", 0, FOUR_GIB) + bytes(50),
    ],
    ids=["element", "sequence", "item", "unknown VR, undefined length"],
)
def test_object_with_an_element_of_4_gib_is_kept_since_its_uids_are_known(
    undisturbed: RunningServer, extra: bytes, request: pytest.FixtureRequest
) -> None:
    obj = ct(3000 + len(request.node.name), extra=extra)
    assert store(undisturbed, obj.sop_instance, obj.data_set()) == 0x0000
    Holdings(undisturbed.data).assert_holds([obj])


def test_object_with_4_gib_before_its_uids_is_refused_at_once(undisturbed: RunningServer) -> None:
    data_set = struct.pack("<HH2sHI", 0x0008, 0x0005, b"UN", 0, FOUR_GIB - 1) + bytes(5000)
    assert store(undisturbed, f"{ROOT}.3500", data_set) >> 12 == 0xC


# --- Data sets that cannot be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data_set",
    [b"\0", bytes(20_000), b"\xff" * 20_000, random.Random(7).randbytes(20_000), b"GIF89a" + bytes(99), b"\x08\0\x16"],
    ids=["one byte", "zeros", "ones", "noise", "another format", "torn tag"],
)
def test_undecodable_data_set_is_answered_at_once(undisturbed: RunningServer, data_set: bytes) -> None:
    """The bound is the peer's reading timeout; the association is used again afterwards (DM-09)."""
    status = store(undisturbed, f"{ROOT}.4000", data_set)
    assert status >> 12 == 0xC or status >> 8 == 0xA9
    assert f"{ROOT}.4000" not in Holdings(undisturbed.data).instances


def test_data_set_of_no_bytes_is_answered(undisturbed: RunningServer) -> None:
    with association(undisturbed.port, CT_CONTEXT) as peer:
        peer.send(pdu(4, pdv(1, c_store_rq(CT_IMAGE_STORAGE, f"{ROOT}.4001"), 3)), pdu(4, pdv(1, b"", LAST)))
        assert peer.read_response().status >> 12 == 0xC


@pytest.mark.parametrize("place", ["before the UIDs", "after them"])
def test_deflate_bomb_is_never_inflated_whole(undisturbed: RunningServer, place: str) -> None:
    """300 KB on the wire that inflate to 300 MB: kept as they are, or refused where the UIDs are out of reach."""
    obj = ct(4500 + len(place))
    packer = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    zeros = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, 300 * MIB), *[bytes(MIB)] * 300
    parts = [*zeros, obj.head] if place == "before the UIDs" else [obj.head[:-12], *zeros]
    bomb = b"".join(map(packer.compress, parts)) + packer.flush()
    bomb += bytes(len(bomb) % 2)
    before = undisturbed.peak_memory_bytes
    with association(undisturbed.port, contexts_for((CT_IMAGE_STORAGE, DEFLATED))) as peer:
        packing = Packing(data_fragments=(32 * KIB,))
        status = peer.store(1, CT_IMAGE_STORAGE, obj.sop_instance, bomb, packing=packing).status
    assert status >> 12 == (0xC if place == "before the UIDs" else 0)
    assert undisturbed.peak_memory_bytes < before + 16 * MIB


def nested(levels: int, *, tag: int, defined: bool) -> bytes:
    """``levels`` sequences of one item, each inside the other."""
    heads = [struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"SQ", 0), struct.pack("<HH", 0xFFFE, 0xE000)]
    if not defined:
        unknown = struct.pack("<I", FOUR_GIB)
        ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
        return (heads[0] + unknown + heads[1] + unknown) * levels + ends * levels
    parts = []
    for level in range(levels):
        parts.append(heads[1] + struct.pack("<I", 20 * level))
        parts.append(heads[0] + struct.pack("<I", 20 * level + 8))
    return b"".join(reversed(parts))


@pytest.mark.parametrize("tag", [0x00081110, 0x00400275], ids=["before the study's UID", "after it"])
@pytest.mark.parametrize("defined", [False, True], ids=["undefined length", "defined length"])
def test_5000_nested_sequences_are_kept_or_refused_and_never_harm(
    undisturbed: RunningServer, tag: int, defined: bool
) -> None:
    obj = ct(5000 + 2 * (tag & 1) + defined)
    sequences = nested(5000, tag=tag, defined=defined)
    head, at = obj.head, obj.head.index(struct.pack("<HH", 0x0020, 0x000D))
    data_set = (
        head[:at] + sequences + obj.data_set()[at:]
        if tag < 0x00200000
        else head[:-12] + sequences + obj.data_set()[len(head) - 12 :]
    )
    status = store(undisturbed, obj.sop_instance, data_set)
    assert status == 0x0000 or status >> 12 == 0xC
    held = Holdings(undisturbed.data)
    assert (obj.sop_instance in held.instances) == (status == 0x0000)
    if tag > 0x00200000:
        assert status == 0x0000, "the UIDs are known, so it is kept (DESIGN 6)"


def test_5000_nested_sequences_are_read_again_by_check_and_rebuild(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data") as server:
        kept = []
        for number, defined in enumerate((False, True)):
            obj = ct(number, extra=nested(5000, tag=0x00400275, defined=defined))
            assert store(server, obj.sop_instance, obj.data_set()) == 0x0000
            kept.append(obj)
        fsck(server.data, "--digest")
        fsck(server.data, "--rebuild")
        holdings = Holdings(server.data)
        holdings.assert_sound()
        holdings.assert_holds(kept)


def test_odd_length_fragments_are_tolerated(undisturbed: RunningServer) -> None:
    """UL-20 asks senders for even ones."""
    (obj,) = objects("60", [3000])
    packing = Packing(command_fragments=(7, 1, 33), data_fragments=(333, 1, 5, 77))
    assert store(undisturbed, obj.sop_instance, obj.data_set(), packing) == 0x0000
    Holdings(undisturbed.data).assert_holds([obj])


def test_data_set_of_odd_length_is_kept(undisturbed: RunningServer) -> None:
    obj = ct(6100)
    data_set = obj.data_set()[:-1]
    assert store(undisturbed, obj.sop_instance, data_set) == 0x0000
    assert Holdings(undisturbed.data).instances[obj.sop_instance].size == len(data_set)


# --- Limits crossed --------------------------------------------------------------------------------------------------


def test_p_data_tf_longer_than_announced_aborts(undisturbed: RunningServer) -> None:
    """UL-17, DESIGN 6: A-ABORT, invalid PDU parameter."""
    (obj,) = objects("61", [80 * KIB])
    with RawPeer(undisturbed.port) as peer:
        ac = peer.associate(CT_CONTEXT)
        assert ac.user_information.max_length == 64 * KIB
        longest = Packing(data_fragments=(64 * KIB - 6,))
        assert peer.store(1, CT_IMAGE_STORAGE, obj.sop_instance, obj.data_set(), packing=longest).status == 0x0000
        command = c_store_rq(CT_IMAGE_STORAGE, f"{ROOT}.6200", 2)
        write_boldly(peer, b"".join(pack_message(1, command, bytes(80_000), Packing(data_fragments=(64 * KIB - 4,)))))
        assert how_it_ended(peer) == (2, 6)


def test_associate_rq_longer_than_the_limit_aborts(undisturbed: RunningServer) -> None:
    rq = encode_pdu(associate_rq(CT_CONTEXT))[6:]
    fitting = rq + struct.pack(">BxH", 0x77, 32 * KIB - len(rq) - 4) + bytes(32 * KIB - len(rq) - 4)
    with RawPeer(undisturbed.port) as peer:
        peer.send(pdu(1, fitting))
        assert peer.read_pdu().__class__.__name__ == "AssociateAC"
        peer.send(RELEASE_RQ)
        peer.read_pdu()
    with RawPeer(undisturbed.port) as peer:
        write_boldly(peer, pdu(1, fitting + bytes(1)))
        assert how_it_ended(peer) == (0, 0)  # UL-05


def test_command_set_longer_than_the_limit_aborts(undisturbed: RunningServer) -> None:
    long = c_store_rq(CT_IMAGE_STORAGE, f"{ROOT}.6300", more={0x1030: b"A" * 8 * KIB})
    with RawPeer(undisturbed.port) as peer:
        peer.associate(CT_CONTEXT)
        write_boldly(peer, b"".join(pack_message(1, long, bytes(10), Packing(command_fragments=(1000,)))))
        assert how_it_ended(peer) == (2, 6)


def test_header_limit_after_the_uids_keeps_the_object(undisturbed: RunningServer) -> None:
    obj = ct(6400, extra=element(0x00291010, b"OB", bytes(400 * KIB)))
    assert store(undisturbed, obj.sop_instance, obj.data_set()) == 0x0000
    Holdings(undisturbed.data).assert_holds([obj])


def test_header_limit_before_the_uids_refuses_and_drains(undisturbed: RunningServer) -> None:
    """DESIGN 6: 0xC000, drained: the association goes on."""
    many = b"".join(element(0x00091000 + at % 0x100, b"LO", b"x" * 50) for at in range(8000))
    data_set = many + ct(6500).data_set()
    assert store(undisturbed, f"{ROOT}.6500", data_set) >> 12 == 0xC


def test_abort_from_peer_is_no_failure(undisturbed: RunningServer) -> None:
    with RawPeer(undisturbed.port) as peer:
        peer.associate(CT_CONTEXT)
        peer.send(A_ABORT)
        with pytest.raises((PeerClosed, ConnectionResetError)):
            assert not isinstance(peer.read_pdu(), Abort)
