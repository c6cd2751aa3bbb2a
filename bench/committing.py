"""How long storage commitment takes: `python -m bench --workload commitment`.

pacslite is given 10,000 objects of 16 KB, and 2,000 of 512 KB. Then it is asked to commit to all of one kind in one
request, again and again, once with the presence of the objects checked and once with their digests. A round is the time
from the first byte of the N-ACTION to its response, and to the last byte of the N-EVENT-REPORT on the same association.

The requester is a plain socket: the request is made before the clock runs, and the report is read as bytes, of which
only the command is looked at meanwhile. Its own processor time is measured and told. Where digests are checked, the
files are dropped from the page cache first, and the same is done before they are read by a few threads that do nothing
else: that is the disk's speed.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import socket
import sqlite3
import statistics
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import corpus, measure
from bench.corpus import Shape
from bench.peers import PACSLITE, Server, running
from bench.requesters import Tools
from bench.run import RUNS, Bench
from bench.senders import RawSender, SendError
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import (
    IMPLEMENTATION_CLASS_UID,
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
)
from pacslite.dimse.command import (
    DATA_SET_FOLLOWS,
    NO_DATA_SET,
    CommandField,
    CommandSet,
    Tag,
    decode_command,
    encode_command,
)
from pacslite.services.commitment_data_set import CommitmentRequest, Reference, read_result, write_request
from pacslite.ul.codec import encode_pdu
from pacslite.ul.items import PresentationContext, UserInformation
from pacslite.ul.pdu import AssociateRQ, ae_title_field

ROOT: Final = Path(__file__).resolve().parent.parent
READERS: Final = 4
_PDU_BYTES: Final = 1 << 17
_SYNTAX: Final = transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN)
_TIMEOUT_S: Final = 300.0
_STORING_S: Final = 600.0
_ASSOCIATE_AC, _P_DATA, _RELEASE_RP = 2, 4, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    words: str
    shape: Shape
    objects: int
    digest: bool = False


CASES: Final = (
    Case(words="10,000 of 16 KB, presence", shape=corpus.SMALLEST, objects=10_000),
    Case(words="10,000 of 16 KB, digest", shape=corpus.SMALLEST, objects=10_000, digest=True),
    Case(words="2,000 of 512 KB, digest", shape=corpus.CT, objects=2_000, digest=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Seconds since the request began."""

    answered_s: float
    reported_s: float
    requester_cpu_s: float
    server_cpu_s: float = 0.0
    megabytes: float = 0.0
    reading_s: float = 0.0
    """What it takes to read the same files and do nothing else; 0: they were not read."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.committing", description="How long commitment takes.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the objects, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work-dir", type=Path, default=ROOT / "build" / "bench", help="on the disk to be measured")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for pacslite; repeat"
    )
    options = parser.parse_args()
    folder = options.work_dir.resolve()
    settings = [f"--set={setting}" for setting in options.set]
    bench = Bench(folder, RawSender.build(folder), Tools.build(folder), settings)
    part, rounds = (10, 1) if options.quick else (1, options.rounds)
    try:
        lines = [*measured(bench, part=part, rounds=rounds)]
    finally:
        shutil.rmtree(folder / RUNS, ignore_errors=True)
    print("\n".join([*_HEADER, *lines]))
    return 0


def measured(bench: Bench, *, part: int, rounds: int) -> Iterator[str]:
    """A line for each case."""
    stored: dict[tuple[Shape, int], Path] = {}
    for case in CASES:
        objects = case.objects // part
        data = stored.get((case.shape, objects))
        if data is None:
            data = stored[case.shape, objects] = store(bench, case.shape, objects)
        found = [*asking(bench, case, data, rounds)]
        print(f"{case.words}: {found}", file=sys.stderr, flush=True)
        yield line(case, found)


def store(bench: Bench, shape: Shape, objects: int) -> Path:
    """A data folder with so many objects."""
    folder = bench.fresh_folder("committed")
    data = folder / "peer"
    with running(PACSLITE, folder / "storing", answers=bench.sender.echo, data=data) as server:
        sent = bench.sender.send(
            server, shape, associations=8, objects=objects, seconds=_STORING_S, run=bench.next_run()
        )
    if sent.objects != objects:
        raise SendError(f"{sent.objects} of {objects} stored")
    return data


def asking(bench: Bench, case: Case, data: Path, rounds: int) -> Iterator[Asked]:
    """One request after the other, of one server."""
    verify = f"--set=commitment.verify={'digest' if case.digest else 'presence'}"
    folder = bench.fresh_folder(PACSLITE.name)
    extra = [verify, *bench.pacslite_options]
    with running(PACSLITE, folder, answers=bench.sender.echo, extra=extra, data=data) as server:
        references, files = _held(data / "data")
        for number in range(rounds):
            reading_s = read_all(files) if case.digest else 0.0
            if case.digest:
                drop(files)
            before = measure.cpu_seconds(server.pid)
            asked = ask(server, references, transaction=f"2.25.{bench.next_run()}{number}")
            yield Asked(
                answered_s=asked.answered_s,
                reported_s=asked.reported_s,
                requester_cpu_s=asked.requester_cpu_s,
                server_cpu_s=measure.cpu_seconds(server.pid) - before,
                megabytes=sum(path.stat().st_size for path in files) / 1e6,
                reading_s=reading_s,
            )


_HEADER: Final = (
    "| asked for | answered ms | reported ms | lowest | highest | CPU ms | requester CPU ms | MB/s | disk MB/s |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)


def line(case: Case, found: Sequence[Asked]) -> str:
    """Medians over the rounds."""
    reported = [one.reported_s * 1e3 for one in found]
    cells = [
        case.words,
        f"{statistics.median(one.answered_s for one in found) * 1e3:.0f}",
        *(f"{value:.0f}" for value in (statistics.median(reported), min(reported), max(reported))),
        f"{statistics.median(one.server_cpu_s for one in found) * 1e3:.0f}",
        f"{statistics.median(one.requester_cpu_s for one in found) * 1e3:.0f}",
    ]
    if case.digest:
        cells.append(f"{statistics.median(one.megabytes / one.reported_s for one in found):.0f}")
        cells.append(f"{statistics.median(one.megabytes / one.reading_s for one in found):.0f}")
    else:
        cells += ["-", "-"]
    return f"| {' | '.join(cells)} |"


# --- The files -------------------------------------------------------------------------------------------------------


def _held(folder: Path) -> tuple[list[Reference], list[Path]]:
    with closing(sqlite3.connect(f"file:{folder / 'index.sqlite'}?mode=ro", uri=True, timeout=30)) as connection:
        rows = connection.execute("SELECT sop_class_uid, sop_instance_uid FROM instances").fetchall()
    files = sorted((folder / "blobs").rglob("*.dcm"))
    if len(files) != len(rows):
        raise SendError(f"{len(rows)} objects, {len(files)} files")
    return [Reference(*row) for row in rows], files


def drop(files: Sequence[Path]) -> None:
    """From the page cache, whatever is in it of them."""
    os.sync()
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read_all(files: Sequence[Path]) -> float:
    """Seconds that it takes to read them, from the disk."""
    drop(files)
    started = time.perf_counter()
    with ThreadPoolExecutor(READERS) as threads:
        for _ in threads.map(Path.read_bytes, files, chunksize=50):
            pass
    return time.perf_counter() - started


# --- The requester ---------------------------------------------------------------------------------------------------


def ask(server: Server, references: Sequence[Reference], *, transaction: str) -> Asked:
    """One request on an association of its own, which is open when the clock begins to run."""
    wanted = write_request(CommitmentRequest(transaction, references), _SYNTAX)
    request = b"".join(_messages(encode_command(_ACTION), wanted))
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=_TIMEOUT_S))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = stack.enter_context(connection.makefile("rb"))
        connection.sendall(encode_pdu(_proposal(server.title)))
        if _pdu(reader)[0] != _ASSOCIATE_AC:
            raise SendError("no association")
        started, cpu = time.perf_counter(), time.thread_time()
        connection.sendall(request)
        answer, _ = _message(reader)
        answered_s = time.perf_counter() - started
        if answer.status != 0x0000:
            raise SendError(f"N-ACTION answered with {answer.status:04X}")
        report, data_set = _message(reader)
        reported_s, cpu = time.perf_counter() - started, time.thread_time() - cpu
        taken = {**_TAKEN, Tag.MESSAGE_ID_BEING_RESPONDED_TO: report.message_id}
        connection.sendall(b"".join(_messages(encode_command(taken))))
        connection.sendall(struct.pack(">BxI4x", 5, 4))
        while _pdu(reader)[0] != _RELEASE_RP:
            pass
    result = read_result(data_set, _SYNTAX)
    if result.transaction_uid != transaction or len(result.committed) != len(references):
        raise SendError(f"{len(result.committed)} of {len(references)} committed")
    return Asked(answered_s=answered_s, reported_s=reported_s, requester_cpu_s=cpu)


_ACTION: Final[Mapping[int, int | str]] = {
    Tag.REQUESTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
    Tag.COMMAND_FIELD: CommandField.N_ACTION_RQ,
    Tag.MESSAGE_ID: 1,
    Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
    Tag.REQUESTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    Tag.ACTION_TYPE_ID: 1,
}
_TAKEN: Final[Mapping[int, int | str]] = {
    Tag.AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
    Tag.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RSP,
    Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
    Tag.STATUS: 0x0000,
}


def _proposal(called: str) -> AssociateRQ:
    return AssociateRQ(
        called_ae_title=ae_title_field(called),
        calling_ae_title=ae_title_field("BENCH"),
        contexts=(PresentationContext(1, STORAGE_COMMITMENT_PUSH_MODEL, (EXPLICIT_VR_LITTLE_ENDIAN,)),),
        user_information=UserInformation(max_length=_PDU_BYTES, implementation_class_uid=IMPLEMENTATION_CLASS_UID),
    )


def _messages(command: bytes, data_set: bytes = b"") -> Iterator[bytes]:
    """The P-DATA-TFs of one message."""
    yield _p_data(command, control=3)
    most = _PDU_BYTES - 6
    for at in range(0, len(data_set), most):
        piece = data_set[at : at + most]
        yield _p_data(piece, control=2 if at + most >= len(data_set) else 0)


def _p_data(data: bytes, *, control: int) -> bytes:
    return struct.pack(">BxIIBB", _P_DATA, len(data) + 6, len(data) + 2, 1, control) + data


def _message(reader: io.BufferedReader) -> tuple[CommandSet, bytes]:
    """The next one, whole."""
    command, pieces = b"", []
    while True:
        kind, body = _pdu(reader)
        if kind != _P_DATA:
            raise SendError(f"PDU {kind:02X}H where a message was expected")
        at = 0
        while at < len(body):
            size, _, control = struct.unpack_from(">IBB", body, at)
            value = body[at + 6 : at + 4 + size]
            at += 4 + size
            if not control & 1:
                pieces.append(value)
                if control & 2:
                    return decode_command(command), b"".join(pieces)
                continue
            command += value
            if control & 2 and not (decoded := decode_command(command)).has_data_set:
                return decoded, b""


def _pdu(reader: io.BufferedReader) -> tuple[int, bytes]:
    header = reader.read(6)
    if len(header) < 6:
        raise SendError("the server has closed the connection")
    kind, size = struct.unpack(">BxI", header)
    return kind, reader.read(size)


if __name__ == "__main__":
    sys.exit(main())
