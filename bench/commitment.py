"""How long storage commitment takes: from N-ACTION to the report, on the same association.

10,000 small objects are asked for with each kind of verification; then 2,000 CT slices by digest, their files out of
the page cache, beside reading the same files one after the other. The requester decodes the report only after the clock
has been stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench import corpus
from bench.corpus import Shape
from bench.peers import PACSLITE, Server, StartError, running
from bench.requesters import Tools
from bench.run import RUNS, Bench
from bench.senders import RawSender, SendError
from pacslite.dicom.transfer_syntax import IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, Tag
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.facts import ignore
from pacslite.net.dispatch import Dispatcher
from pacslite.net.requestor import Proposal, Remote, associate
from pacslite.services.commitment_data_set import (
    CommitmentRequest,
    CommitmentResult,
    Reference,
    read_result,
    write_request,
)
from pacslite.ul.items import PresentationContext

ROOT: Final = Path(__file__).resolve().parent.parent
OBJECTS: Final = 10_000
SLICES: Final = 2_000
_STORING_S: Final = 600.0
_SYNTAX: Final = transfer_syntax(IMPLICIT_VR_LITTLE_ENDIAN)
_MOST_BYTES: Final = 64 << 20
_READ_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Requester:
    """Takes one report, and keeps its bytes and when they had come."""

    came: asyncio.Future[tuple[float, bytes]]

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        assert request.data_set is not None
        data = await request.data_set.read(_MOST_BYTES)
        self.came.set_result((time.perf_counter(), data))
        yield Response()


@dataclass(frozen=True, slots=True)
class Asked:
    answered_s: float
    reported_s: float
    result: CommitmentResult


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.commitment", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work-dir", type=Path, default=ROOT / "build" / "bench", help="(%(default)s)")
    arguments = parser.parse_args()
    folder = arguments.work_dir.resolve()
    try:
        bench = Bench(folder, RawSender.build(folder), Tools.build(folder))
        _measure(bench, corpus.SMALLEST, OBJECTS, ("presence", "digest"), rounds=arguments.rounds)
        _measure(bench, corpus.CT, SLICES, ("digest",), rounds=arguments.rounds, is_cold=True)
    except (SendError, StartError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder / RUNS, ignore_errors=True)
    return 0


def _measure(
    bench: Bench, shape: Shape, objects: int, ways: Sequence[str], *, rounds: int, is_cold: bool = False
) -> None:
    folder = bench.fresh_folder("commitment")
    data, run = folder / "peer", bench.next_run()
    with running(PACSLITE, folder / "storing", answers=bench.sender.echo, data=data) as server:
        _store(bench, server, shape, objects, run=run)
    references = [
        Reference(corpus.template(shape).sop_class_uid, f"2.25.1{run:08d}3{0:04d}{0:04d}{number:09d}")
        for number in range(objects)
    ]
    for way in ways:
        with running(
            PACSLITE,
            folder / way,
            answers=bench.sender.echo,
            data=data,
            extra=[f"--set=commitment.verify={way}", "--set=limits.idle_s=600"],
        ) as server:
            for number in range(1, rounds + 1):
                reading_s = _read_files(data) if is_cold else 0.0
                if is_cold:
                    _forget_files(data)
                asked = uvloop.run(_ask(server, references))
                if len(asked.result.committed) != objects:
                    raise SendError(f"{len(asked.result.committed)} of {objects} were committed")
                told = f"{objects} objects by {way}, round {number}: answered after {asked.answered_s:.2f} s, "
                told += f"reported after {asked.reported_s:.2f} s"
                if is_cold:
                    megabytes = objects * corpus.template(shape).size / 1e6
                    told += f", {megabytes / asked.reported_s:.0f} MB/s; reading the files {megabytes / reading_s:.0f}"
                    told += f" MB/s: x {reading_s / asked.reported_s:.2f}"
                print(told, flush=True)


def _store(bench: Bench, server: Server, shape: Shape, objects: int, *, run: int) -> None:
    sent = bench.sender.send(
        server, shape, associations=1, objects=objects, seconds=_STORING_S, run=run, per_series=objects
    )
    if sent.objects != objects:
        raise SendError(f"{sent.objects} of {objects} were stored in {_STORING_S:g} s")


async def _ask(server: Server, references: Sequence[Reference]) -> Asked:
    data = write_request(CommitmentRequest(f"2.25.{time.time_ns()}", references), _SYNTAX)
    requester = Requester(asyncio.get_running_loop().create_future())
    registry = ServiceRegistry(
        [
            Registration(
                name="Storage Commitment",
                abstract_syntaxes=(STORAGE_COMMITMENT_PUSH_MODEL,),
                serves=lambda uid, _: uid == STORAGE_COMMITMENT_PUSH_MODEL,
                transfer_syntaxes=(IMPLICIT_VR_LITTLE_ENDIAN,),
                permission=Permission.COMMIT,
                operations={CommandField.N_EVENT_REPORT_RQ: requester},
            )
        ]
    )
    contexts = (PresentationContext(1, STORAGE_COMMITMENT_PUSH_MODEL, (IMPLICIT_VR_LITTLE_ENDIAN,)),)
    async with associate(
        Remote(host="127.0.0.1", port=server.port, ae_title=server.title),
        Proposal(calling_ae="BENCH", contexts=contexts),
        perform=Dispatcher(registry, ignore).perform,
    ) as requested:
        began = time.perf_counter()
        answer = await requested.association.call(
            1,
            {
                Tag.REQUESTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
                Tag.COMMAND_FIELD: CommandField.N_ACTION_RQ,
                Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
                Tag.REQUESTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
                Tag.ACTION_TYPE_ID: 1,
            },
            data,
        )
        answered = time.perf_counter()
        if answer.status:
            raise SendError(f"N-ACTION was answered with {answer.status:04X}")
        came_at, report = await asyncio.wait_for(requester.came, _STORING_S)
    return Asked(answered - began, came_at - began, read_result(report, _SYNTAX))


def _files(data: Path) -> list[Path]:
    return sorted(data.rglob("*.dcm"))


def _forget_files(data: Path) -> None:
    """Out of the page cache."""
    os.sync()
    for path in _files(data):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _read_files(data: Path) -> float:
    """Seconds that it takes to read all of them from the disk, one after the other."""
    _forget_files(data)
    began = time.perf_counter()
    for path in _files(data):
        with path.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
