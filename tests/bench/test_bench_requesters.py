"""The C requesters and the sink: they count right, check what they are told, and end when a peer does not behave."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import corpus
from bench.peers import SINK, Server
from bench.requesters import Tools
from bench.senders import RawSender, SendError
from kit.message import command_set, pdu, pdv, us

IMPLICIT = b"1.2.840.10008.1.2"
STUDY = ["--level", "STUDY", "--key", "0020000D=", "--key", "00100010="]
PENDING, PENDING_WITH_WARNING, SUCCESS = 0xFF00, 0xFF01, 0
IDENTIFIER = struct.pack("<HHI", 0x0010, 0x0010, 4) + b"A^B "


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools.build(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> RawSender:
    return RawSender.build(tmp_path_factory.mktemp("rawsend"))


@pytest.fixture
def values(tmp_path: Path) -> Path:
    path = tmp_path / "values"
    path.write_text("-1\n")
    return path


def find_rsp(status: int, message_id: int = 1, **more: bytes) -> bytes:
    """A C-FIND-RSP as PDUs, with an identifier if it is pending."""
    is_pending = status in (PENDING, PENDING_WITH_WARNING)
    elements = {0x0100: us(0x8020), 0x0120: us(message_id), 0x0800: us(1 if is_pending else 0x0101), 0x0900: us(status)}
    if "comment" in more:
        elements[0x0902] = more["comment"]
    told = pdu(4, pdv(1, command_set(elements), 3))
    return told + pdu(4, pdv(1, IDENTIFIER[:5], 0) + pdv(1, IDENTIFIER[5:], 2)) if is_pending else told


@contextmanager
def peer(*answers: bytes, piece: int = 1 << 20, context_result: int = 0) -> Iterator[Server]:
    """Accepts one association, answers each request with what is next in ``answers``, in pieces of ``piece`` bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(20)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                rq = _pdu(connection)
                _send(connection, _associate_ac(rq, context_result), piece)
                for answer in answers:
                    if not _request(connection):
                        return
                    _send(connection, answer, piece)
                if _pdu(connection)[:1] == b"\x05":
                    connection.sendall(pdu(6, bytes(4)))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Server(pid=0, port=listener.getsockname()[1], title="PEER", folder=Path("/"))
        finally:
            thread.join(20)
            assert not thread.is_alive()


def _associate_ac(rq: bytes, result: int) -> bytes:
    context = struct.pack(">BxHBxBx", 0x21, 8 + len(IMPLICIT), 1, result) + struct.pack(">BxH", 0x40, len(IMPLICIT))
    maximum = struct.pack(">BxHI", 0x51, 4, 16384)
    user = struct.pack(">BxH", 0x50, len(maximum)) + maximum
    return pdu(2, rq[6:74] + context + IMPLICIT + user)


def _pdu(connection: socket.socket) -> bytes:
    """Empty once the requester is gone."""
    data = b""
    while len(data) < 6 or len(data) < 6 + struct.unpack_from(">I", data, 2)[0]:
        wanted = 6 if len(data) < 6 else 6 + struct.unpack_from(">I", data, 2)[0]
        try:
            got = connection.recv(wanted - len(data))
        except ConnectionResetError:
            return b""
        if not got:
            return b""
        data += got
    return data


def _request(connection: socket.socket) -> bool:
    """Reads a command with its identifier."""
    while data := _pdu(connection):
        if data[0] != 4:
            return False
        if data[11] == 2:  # the last fragment of a data set
            return True
    return False


def _send(connection: socket.socket, data: bytes, piece: int) -> None:
    try:
        for start in range(0, len(data), piece):
            connection.sendall(data[start : start + piece])
    except (ConnectionResetError, BrokenPipeError):
        return  # the requester has seen enough


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_answers_are_counted_however_they_arrive(tools: Tools, values: Path, piece: int) -> None:
    first = find_rsp(PENDING) + find_rsp(PENDING_WITH_WARNING) + find_rsp(SUCCESS)
    with peer(first, find_rsp(SUCCESS, 2), piece=piece) as server:
        found = tools.find(server, STUDY, values=values, queries=2, seconds=20)
    assert (found.queries, found.answers, found.unsupported, found.wrong) == (2, 2, 1, 0)
    assert found.answer_bytes == 2 * len(IDENTIFIER)
    assert all(first <= final for first, final in zip(found.first_s, found.final_s, strict=True))


def test_a_number_of_answers_that_is_not_the_expected_one_is_told(tools: Tools, values: Path) -> None:
    values.write_text("1\tA*\n0\tB*\n")
    question = ["--level", "STUDY", "--vary", "00100010"]
    with peer(find_rsp(PENDING) + find_rsp(SUCCESS), find_rsp(PENDING, 2) + find_rsp(SUCCESS, 2)) as server:
        found = tools.find(server, question, values=values, queries=2, seconds=20)
    assert (found.queries, found.wrong) == (2, 1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (find_rsp(0xA900, comment=b'no "level" '), r"status 0xA900: no \?level\?"),
        (find_rsp(0xFE00), "status 0xFE00"),
        (find_rsp(PENDING, 2), "a response to another message"),
        (pdu(7, bytes([0, 0, 2, 6])), "A-ABORT, source 2 reason 6"),
        (pdu(4, pdv(1, IDENTIFIER, 2)), "an identifier without a pending response"),
        (find_rsp(PENDING)[: -len(IDENTIFIER) - 20], "no answer in time"),
        (pdu(4, b"\x00\x00\x00\x01\x01\x03"), "malformed PDV"),
        (pdu(4, pdv(1, command_set({0x0100: us(0x8001), 0x0120: us(1), 0x0900: us(0)}), 3)), "no response to C-FIND"),
        (pdu(9, bytes(1 << 20)), "PDU of type 9"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_not_success_is_an_error(tools: Tools, values: Path, answer: bytes, words: str) -> None:
    with peer(answer) as server, pytest.raises(SendError, match=words):
        tools.find(server, STUDY, values=values, queries=1, seconds=20, timeout_s=1)


def test_a_refused_context_is_an_error(tools: Tools, values: Path) -> None:
    with (
        peer(context_result=3) as server,
        pytest.raises(SendError, match=r"refused 1\.2\.840\.10008\.5\.1\.4\.1\.2\.2\.1"),
    ):
        tools.find(server, STUDY, values=values, queries=1, seconds=20)


def test_nobody_there_is_an_error(tools: Tools, values: Path, tmp_path: Path) -> None:
    nobody = Server(pid=0, port=1, title="NOBODY", folder=tmp_path)
    with pytest.raises(SendError, match="connect"):
        tools.find(nobody, STUDY, values=values, queries=1, seconds=1)
    with pytest.raises(SendError, match="connect"):
        tools.get(nobody, STUDY, retrievals=1, seconds=1)


@pytest.mark.parametrize("options", [["--level", "STUDY", "--key", "nonsense"], ["--vary", "00100010"], []])
def test_mistakes_in_the_arguments_are_told(tools: Tools, options: list[str]) -> None:
    done = subprocess.run(
        [tools.rawfind, "--port", "1", *options], capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode == 2
    assert "are needed" in done.stderr


def test_the_sink_counts_what_it_swallows(tools: Tools, sender: RawSender, tmp_path: Path) -> None:
    with tools.sink() as sink:
        server = Server(pid=sink.pid, port=sink.port, title=SINK, folder=tmp_path)
        assert sender.echo(server)
        sent = sender.send(server, corpus.SMALLEST, associations=3, objects=20, seconds=20, run=1)
    assert (sink.objects, sink.object_bytes, sink.problem) == (20, sent.object_bytes, "")


@pytest.mark.parametrize("options", [["--syntax", "1.2.840.10008.1.2.1"], ["--pdu", "0"], ["--pdu", "4096"]])
def test_the_sink_takes_the_transfer_syntax_and_the_length_it_is_told_to(
    tools: Tools, sender: RawSender, tmp_path: Path, options: list[str]
) -> None:
    with _raw_sink(tools, options) as (port, told):
        server = Server(pid=0, port=port, title=SINK, folder=tmp_path)
        sender.send(server, corpus.SMALLEST, associations=1, objects=2, seconds=20, run=1)
    assert told["objects"] == 2


def test_the_sink_refuses_another_transfer_syntax(tools: Tools, sender: RawSender, tmp_path: Path) -> None:
    with _raw_sink(tools, ["--syntax", "1.2.840.10008.1.2.5"]) as (port, told):
        server = Server(pid=0, port=port, title=SINK, folder=tmp_path)
        with pytest.raises(SendError, match="refused"):
            sender.send(server, corpus.SMALLEST, associations=1, objects=2, seconds=20, run=1)
    assert told["objects"] == 0


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", pdu(4, pdv(1, b"", 3)), pdu(1, bytes(10)), b"\x01"], ids=len
)
def test_the_sink_survives_what_is_no_dicom(tools: Tools, sender: RawSender, tmp_path: Path, garbage: bytes) -> None:
    with tools.sink() as sink:
        with socket.create_connection(("127.0.0.1", sink.port), timeout=10) as connection:
            connection.sendall(garbage)
            if len(garbage) > 1:
                assert connection.recv(1) == b""  # it hangs up
        server = Server(pid=sink.pid, port=sink.port, title=SINK, folder=tmp_path)
        assert sender.send(server, corpus.SMALLEST, associations=1, objects=2, seconds=20, run=1).objects == 2
    assert sink.objects == 2


def test_the_sink_agrees_to_the_narrower_window(tools: Tools) -> None:
    with tools.sink(window=3) as sink:
        for offered, agreed in ((8, 3), (2, 2), (0, 3)):
            with socket.create_connection(("127.0.0.1", sink.port), timeout=10) as connection:
                connection.sendall(_associate_rq(struct.pack(">BxHHH", 0x53, 4, offered, 1)))
                answer = _pdu(connection)
                assert answer[0] == 2
                assert answer[-8:] == struct.pack(">BxHHH", 0x53, 4, agreed, 1)
                connection.sendall(pdu(5, bytes(4)))
                assert _pdu(connection)[0] == 6


def _associate_rq(more: bytes) -> bytes:
    syntaxes = (
        struct.pack(">BxH", 0x30, 17) + b"1.2.840.10008.1.1" + struct.pack(">BxH", 0x40, len(IMPLICIT)) + IMPLICIT
    )
    context = struct.pack(">BxHBxxx", 0x20, 4 + len(syntaxes), 1) + syntaxes
    user = struct.pack(">BxHBxHI", 0x50, 8 + len(more), 0x51, 4, 16384) + more
    return pdu(1, struct.pack(">HH", 1, 0) + b"SINK".ljust(16) + b"TEST".ljust(16) + bytes(32) + context + user)


@contextmanager
def _raw_sink(tools: Tools, options: Sequence[str]) -> Iterator[tuple[int, dict[str, int]]]:
    """A sink with any options: its port, and what it says at its end."""
    told: dict[str, int] = {}
    with subprocess.Popen([tools.rawsink, "--idle", "20", *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["port"], told
        finally:
            process.send_signal(signal.SIGTERM)
            told.update(json.loads(process.communicate(timeout=10)[0]))


def test_a_sink_that_nobody_uses_ends_by_itself(tools: Tools) -> None:
    done = subprocess.run([tools.rawsink, "--idle", "1"], capture_output=True, text=True, timeout=20, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["objects"] == 0
