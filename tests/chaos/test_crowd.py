"""Many peers at once, most of them rude: nobody waits for another, limits hold, nothing leaks."""

from __future__ import annotations

import asyncio
import itertools
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from kit.holdings import Holdings
from kit.hostile import RawPeerOver, calling_from
from kit.message import C_ECHO_RQ, NO_DATA_SET, c_echo_rq, command_set, pack_message, ui, us
from kit.process import open_descriptors, open_sockets, threads
from kit.rawpeer import (
    EXPLICIT,
    IMPLICIT,
    VERIFICATION_CONTEXT,
    RawPeer,
    associate_rq,
    association,
    contexts_for,
    is_answering,
    user_information,
)
from kit.server import RunningServer
from kit.storm import CT_IMAGE_STORAGE, VERIFICATION, Book, Sender, SenderEnded, objects, storm
from kit.wait import eventually
from pacslite.ul.codec import encode_pdu
from pacslite.ul.pdu import AssociateAC, AssociateRJ

PER_PEER = 50
TOTAL = 60
BOTH = contexts_for((CT_IMAGE_STORAGE, EXPLICIT), (VERIFICATION, IMPLICIT))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"limits.write_stall_s": 1, "limits.max_associations": TOTAL}
    with RunningServer(tmp_path_factory.mktemp("crowd") / "data", settings=settings) as running:
        yield running
        assert "Traceback" not in running.log


# --- Silent and slow ones --------------------------------------------------------------------------------------------


def served_in(server: RunningServer, prefix: str, annoy: list[RawPeer], drip: Iterator[int]) -> float:
    """The median time of a C-ECHO and a C-STORE on a new association, while ``annoy`` drip one byte each."""
    taken = []
    for obj in objects(prefix, [20_000] * 15):
        greeting = encode_pdu(associate_rq(VERIFICATION_CONTEXT))
        at = next(drip)
        for peer in annoy[50:]:
            peer.send(greeting[at : at + 1])
        started = time.monotonic()
        with association(server.port, BOTH) as peer:
            assert peer.echo(3) == 0x0000
            assert peer.store(1, CT_IMAGE_STORAGE, obj.sop_instance, obj.data_set()).status == 0x0000
        taken.append(time.monotonic() - started)
    return statistics.median(taken)


def test_100_silent_and_dripping_connections_delay_nobody(server: RunningServer) -> None:
    """The bound is generous on purpose: archives that serve callers one by one stop answering for seconds."""
    alone = served_in(server, "1", [], itertools.count())
    with ExitStack() as stack:
        rude = [stack.enter_context(RawPeer(server.port)) for _ in range(100)]
        crowded = served_in(server, "2", rude, itertools.count())
        assert open_sockets(server.pid) > 100
    assert crowded < max(10 * alone, 0.5)


def test_connections_that_ask_for_nothing_take_no_association_away(server: RunningServer) -> None:
    with ExitStack() as stack:
        for _ in range(TOTAL + 20):
            stack.enter_context(RawPeer(server.port))
        assert is_answering(server.port)


def test_flood_of_connections_costs_the_oldest_silent_ones_never_an_association(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(RunningServer(tmp_path / "data", settings={"limits.max_connections": 20}))
        working = stack.enter_context(RawPeer(server.port))
        working.associate(VERIFICATION_CONTEXT)
        silent = [stack.enter_context(RawPeer(server.port)) for _ in range(40)]
        eventually(silent[0].is_closed, "the oldest silent one closed")
        assert working.echo() == 0x0000
        assert is_answering(server.port)
        assert not silent[-1].is_closed()


# --- All at once -----------------------------------------------------------------------------------------------------


def test_40_objects_sent_at_once_by_40_associations_all_arrive(server: RunningServer) -> None:
    book = Book()
    lanes = [objects(f"3.{lane}", [30_000]) for lane in range(40)]
    asyncio.run(storm(server.port, lanes, book))
    assert set(book.ended) == {"released"}
    assert len(book.acknowledged) == 40
    holdings = Holdings(server.data)
    holdings.assert_sound()
    holdings.assert_holds(book.acknowledged)


def test_associations_beyond_the_limit_of_a_peer_are_rejected_for_now(server: RunningServer) -> None:
    """UL-08, DESIGN 6: transient, local-limit-exceeded; with one gone the next is let in."""
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(server.port)) for _ in range(PER_PEER)]
        for peer in peers:
            peer.associate(VERIFICATION_CONTEXT)
        assert refusal(server) == (2, 3, 2)
        peers[0].release()
        eventually(lambda: is_answering(server.port), "the freed place")
        assert peers[1].echo() == 0x0000


def test_associations_beyond_the_total_are_rejected_for_now(server: RunningServer) -> None:
    """Loopback has more than one address, so more than one peer."""
    with ExitStack() as stack:
        for number in range(TOTAL):
            peer = stack.enter_context(calling_from(f"127.0.0.{2 + number % 2}", server.port))
            assert isinstance(peer.request(associate_rq(VERIFICATION_CONTEXT)), AssociateAC)
        assert refusal(server) == (2, 3, 2)


def refusal(server: RunningServer) -> tuple[int, int, int]:
    with RawPeer(server.port) as peer:
        answer = peer.request(associate_rq(VERIFICATION_CONTEXT))
        assert isinstance(answer, AssociateRJ), answer
        return answer.result, answer.source, answer.reason


# --- Peers that do not read ------------------------------------------------------------------------------------------


def test_peer_that_never_reads_is_closed_and_others_are_not_affected(server: RunningServer) -> None:
    """DESIGN 6: write stall, here 1 s."""
    wordy = command_set({0x0002: ui("1." * 2000), 0x0100: us(C_ECHO_RQ), 0x0110: us(1), 0x0800: us(NO_DATA_SET)})
    flood = b"".join(pack_message(1, wordy, None)) * 50  # the answers repeat what they answer, and soon fill the pipe
    before = server.peak_memory_bytes
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10.0)
    with RawPeerOver(connection) as peer:
        connection.connect(("127.0.0.1", server.port))
        peer.associate(VERIFICATION_CONTEXT)
        connection.settimeout(0.05)
        sent = 0

        def is_cut_off() -> bool:
            nonlocal sent
            try:
                sent += connection.send(flood[sent % len(flood) :])
            except TimeoutError:
                assert is_answering(server.port, timeout_s=10)
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        eventually(is_cut_off, "the connection closed", within_s=30, every_s=0.0)
    server.wait_for_log("took no data")
    assert server.peak_memory_bytes < before + 32 * (1 << 20)


def test_requests_beyond_the_waiting_limit_are_answered_all_the_same(server: RunningServer) -> None:
    """Reading pauses while too many wait, so a burst costs time and not memory."""
    burst = 1000
    with RawPeer(server.port, timeout_s=30) as peer:
        peer.associate(VERIFICATION_CONTEXT, information=user_information(window=(0, 1)))
        peer.send(*(pdu for at in range(burst) for pdu in pack_message(1, c_echo_rq(at + 1), None)))
        answers = [peer.read_response() for _ in range(burst)]
        assert [answer.status for answer in answers] == [0x0000] * burst
        assert {answer.responds_to for answer in answers} == set(range(1, burst + 1))
        peer.release()


# --- Leaks -----------------------------------------------------------------------------------------------------------


async def rude_storm(port: int, prefix: str) -> None:
    """Good senders, cut ones and refused ones together."""
    book = Book()
    await storm(port, [objects(f"{prefix}.{lane}", [10_000] * 10) for lane in range(8)], book, window=4)
    assert len(book.acknowledged) == 80
    for lane in range(20):
        sender = await Sender.connect(port)
        (obj,) = objects(f"{prefix}.9{lane}", [500_000])
        sending = asyncio.create_task(sender.store(obj))
        await sender.echo() if lane % 2 else await asyncio.sleep(0)
        await sender.close()
        with suppress(SenderEnded):
            await sending
    calls = await asyncio.gather(*(Sender.connect(port) for _ in range(PER_PEER + 5)), return_exceptions=True)
    for call in calls:
        if isinstance(call, Sender):
            await call.close()
    assert sum(isinstance(call, SenderEnded) for call in calls) >= 5


def test_storms_leave_no_descriptor_and_no_thread_open(server: RunningServer) -> None:
    asyncio.run(rude_storm(server.port, "5"))  # what is opened once and kept is open after this
    quiet = eventually(lambda: settled(server), "all connections closed")
    for number in range(3):
        asyncio.run(rude_storm(server.port, f"6.{number}"))
    after = eventually(lambda: settled(server), "all connections closed")
    assert quiet is not None
    assert after is not None
    assert len(after[0]) <= len(quiet[0]) + 3 * 40, "one open folder for each new one is the most that may stay"
    assert after[1] <= quiet[1]


def settled(server: RunningServer) -> tuple[list[str], int] | None:
    """Open descriptors and threads, once only the listener's socket is left."""
    if open_sockets(server.pid) > IDLE_SOCKETS:
        return None
    return open_descriptors(server.pid), threads(server.pid)


IDLE_SOCKETS = 4
