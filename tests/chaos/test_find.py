"""Requesters that cancel, release, vanish or stall in the middle of a long list of answers. STANDARD QF-24."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.finding import CANCELLED, PENDING, STUDY_ROOT, FindPeer, finding
from kit.identifiers import EXPLICIT, identifier
from kit.population import fill, studies
from kit.process import open_descriptors, open_sockets, threads
from kit.rawpeer import RELEASE_RQ, RawPeer, contexts_for
from kit.server import RunningServer
from kit.wait import eventually
from pacslite.ul.pdu import ReleaseRP

MANY = 8_000
QUERIES = 4
"""Connections to the index for queries: fewer than there are requesters here."""
MIB = 1 << 20
LONG_LIST = identifier(
    "STUDY",
    StudyInstanceUID="",
    PatientName="",
    PatientID="",
    StudyDate="",
    AccessionNumber="",
    AdditionalPatientHistory="",
)
ONE = identifier("STUDY", StudyInstanceUID="1.2.9.77", PatientName="")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("find") / "data"
    fill(data, studies(MANY, history="x" * 3000))
    return data


@pytest.fixture(scope="module")
def server(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    data = tmp_path_factory.mktemp("crowd") / "data"
    shutil.copytree(filled, data)
    settings = {"query.max_queries": QUERIES, "logging.level": "debug"}
    with RunningServer(data, settings=settings) as running:
        warm_up(running)
        yield running
        assert "defect" not in running.log


def warm_up(server: RunningServer) -> None:
    """Have everything opened that is opened when it is first needed, once and for all."""

    def ask(_: int) -> None:
        with finding(server.port, timeout_s=60) as peer:
            assert len(peer.find(LONG_LIST).raw) == MANY

    with ThreadPoolExecutor(2 * QUERIES) as pool:
        list(pool.map(ask, range(2 * QUERIES)))


@dataclass(frozen=True, slots=True)
class Held:
    """What the server holds."""

    sockets: int
    index: int
    threads: int

    @classmethod
    def by(cls, server: RunningServer) -> Held:
        descriptors = open_descriptors(server.pid)
        return cls(
            sockets=open_sockets(server.pid),
            index=sum("index.sqlite" in name for name in descriptors),
            threads=threads(server.pid),
        )


@pytest.fixture(scope="module")
def idle(server: RunningServer) -> Held:
    """What it holds when everybody has asked and gone; a connection goes a moment after its release is told."""
    counts = [Held.by(server)]

    def is_settled() -> bool:
        counts.append(Held.by(server))
        return counts[-20:] == [counts[-1]] * 20

    eventually(is_settled, "a steady state")
    return counts[-1]


def assert_given_back(server: RunningServer, idle: Held) -> None:
    try:
        eventually(lambda: Held.by(server) == idle, "everything given back", within_s=20)
    except AssertionError:
        assert Held.by(server) == idle  # says what is not
        raise


def slow_peer(server: RunningServer, *, receive_bytes: int = 8192) -> FindPeer:
    """A requester whose socket holds so little that the server feels its slowness."""
    peer = RawPeer.__new__(RawPeer)
    peer.timeout_s = 30.0
    peer._buffer = bytearray()
    peer.socket = socket.socket()
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    peer.socket.connect(("127.0.0.1", server.port))
    peer.associate(contexts_for((STUDY_ROOT, EXPLICIT)))
    return FindPeer(peer, STUDY_ROOT, EXPLICIT)


def test_qf_24_a_cancel_is_answered_with_fe00_and_nothing_after_it(server: RunningServer, idle: Held) -> None:
    """What the server has sent before the C-CANCEL arrives is on its way; after that, nothing but FE00."""
    for read in (1, 10, 500):
        peer = slow_peer(server)
        peer.ask(LONG_LIST, message_id=5)
        for _ in range(read):
            assert peer.response()[0].status == PENDING
        peer.cancel(5)
        rest = peer.rest()
        assert rest.final.status == CANCELLED
        assert rest.final.responds_to == 5
        assert read + len(rest.raw) < MANY
        assert peer.find(ONE, message_id=6).values("PatientName") == ["MANY^77"]
        peer.peer.release()
    assert_given_back(server, idle)


def test_a_release_in_the_middle_is_answered_after_the_last_answer(server: RunningServer, idle: Held) -> None:
    with RawPeer(server.port, timeout_s=60) as peer:
        peer.associate(contexts_for((STUDY_ROOT, EXPLICIT)))
        asking = FindPeer(peer, STUDY_ROOT, EXPLICIT)
        asking.ask(LONG_LIST)
        assert asking.response()[0].status == PENDING
        peer.send(RELEASE_RQ)
        rest = asking.rest()
        assert (rest.final.status, len(rest.raw)) == (0, MANY - 1)
        assert isinstance(peer.read_pdu(), ReleaseRP)
    assert_given_back(server, idle)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
def test_requesters_that_vanish_leave_nothing_behind(server: RunningServer, idle: Held, reset: bool) -> None:
    logged = len(server.log)
    at_least = 1 if reset else 0  # a reset may overtake the request, and then there is no query
    for read in (at_least, 1, 3, 200) * 5:
        peer = slow_peer(server)
        peer.ask(LONG_LIST)
        for _ in range(read):
            peer.response()
        if reset:
            peer.peer.reset()
        else:
            peer.peer.close()
    assert_given_back(server, idle)
    eventually(lambda: server.log[logged:].count("query, Study Root") == 20, "each query is told to have ended")
    with finding(server.port) as well:
        assert well.find(ONE).values("PatientName") == ["MANY^77"]


def test_requesters_that_stall_delay_nobody_and_cost_little(server: RunningServer, idle: Held) -> None:
    """Three times as many as there are connections to the index, each with megabytes of answers it does not read."""
    memory = server.peak_memory_bytes
    with ExitStack() as stack:
        stalled = [slow_peer(server) for _ in range(3 * QUERIES)]
        for peer in stalled:
            stack.callback(peer.peer.close)
            peer.ask(LONG_LIST)
            assert peer.response()[0].status == PENDING
        with finding(server.port, timeout_s=10) as well:
            for message_id in range(1, 51):
                assert well.find(ONE, message_id=message_id).values("PatientName") == ["MANY^77"]
            assert len(well.find(LONG_LIST, message_id=99).raw) == MANY
        assert server.peak_memory_bytes - memory < 40 * MIB
        late = stalled[0].rest()
        assert (late.final.status, len(late.raw)) == (0, MANY - 1)
    assert_given_back(server, idle)


def test_a_long_list_is_never_in_memory_at_once(filled: Path) -> None:
    with RunningServer(filled) as server, finding(server.port, timeout_s=60) as peer:
        peer.find(ONE)
        before = server.peak_memory_bytes
        listed = peer.find(LONG_LIST, message_id=2)
        assert len(listed.raw) == MANY
        assert sum(map(len, listed.raw)) > 20 * MIB
        assert server.peak_memory_bytes - before < 16 * MIB  # pages of the index are most of it
