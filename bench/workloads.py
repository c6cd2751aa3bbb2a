"""The workloads, as a table, and how one run of one of them against one peer is measured."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from bench import corpus, measure
from bench.corpus import Shape
from bench.peers import PACSLITE, Peer, Server, StartError, running
from bench.senders import RawSender, SendError, Sent, dcmtk_send

DISK: Final = "disk"  # stands beside the peers in the raw workloads: create, write, fsync and nothing else
_PILOT_FILES: Final = 12
_FEWEST_FILES: Final = 24
_PATIENCE: Final = 4  # times a workload's seconds: a sender that needs no longer than this sends everything
_WARM_UP_OBJECTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    name: str
    title: str
    shapes: tuple[Shape, ...]
    objects: int  # at most
    seconds: float  # for one run, about
    tool: Literal["rawsend", "storescu", "dcmsend"] = "rawsend"
    nodelay: bool = True  # TCP_NODELAY=1 for DCMTK's senders and for the peers built on DCMTK
    associations: int = 1
    rounds: int = 3
    quick: bool = False  # is part of --quick

    @property
    def compares_disk(self) -> bool:
        return self.tool == "rawsend" and self.objects > 1

    def hurried(self) -> Workload:
        """The same for --quick."""
        shapes, title = self.shapes, self.title
        if shapes == (corpus.GIGABYTE,):
            shapes, title = (corpus.EIGHTH,), title.replace("1.0 GB", "125 MB")
        return replace(
            self, title=title, shapes=shapes, objects=min(self.objects, 250), seconds=min(self.seconds, 1.5), rounds=1
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measurement; `problem` says why there is none."""

    workload: str
    peer: str
    round: int
    problem: str = ""
    objects: int = 0
    object_bytes: int = 0
    elapsed_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    server_cpu_s: float = 0.0
    server_peak_bytes: int = 0
    sender_cpu_s: float = 0.0
    others_cpu_share: float = 0.0  # of all processors, used by neither server nor sender: the noise of this run

    @property
    def objects_per_s(self) -> float:
        return self.objects / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def megabytes_per_s(self) -> float:
        return self.object_bytes / self.elapsed_s / 1e6 if self.elapsed_s else 0.0

    @property
    def cpu_ms_per_object(self) -> float:
        return self.server_cpu_s / self.objects * 1e3 if self.objects else 0.0


_CT: Final = (corpus.CT,)
_SMALLEST: Final = (corpus.SMALLEST,)

WORKLOADS: Final = (
    Workload(
        name="storescu-small",
        title="unmodified storescu, objects of 16-40 KB",
        tool="storescu",
        nodelay=False,
        shapes=corpus.SMALL,
        objects=1000,
        seconds=4,
        rounds=2,
        quick=True,
    ),
    Workload(
        name="storescu-512k",
        title="unmodified storescu, objects of 512 KB",
        tool="storescu",
        nodelay=False,
        shapes=_CT,
        objects=500,
        seconds=4,
        rounds=2,
    ),
    Workload(
        name="dcmsend-small",
        title="unmodified dcmsend, objects of 16-40 KB",
        tool="dcmsend",
        nodelay=False,
        shapes=corpus.SMALL,
        objects=1000,
        seconds=4,
        rounds=2,
    ),
    Workload(
        name="dcmsend-512k",
        title="unmodified dcmsend, objects of 512 KB",
        tool="dcmsend",
        nodelay=False,
        shapes=_CT,
        objects=500,
        seconds=4,
        rounds=2,
    ),
    Workload(
        name="nodelay-storescu-small",
        title="storescu with TCP_NODELAY=1, objects of 16-40 KB",
        tool="storescu",
        shapes=corpus.SMALL,
        objects=1000,
        seconds=4,
        rounds=1,
    ),
    Workload(
        name="nodelay-storescu-512k",
        title="storescu with TCP_NODELAY=1, objects of 512 KB",
        tool="storescu",
        shapes=_CT,
        objects=500,
        seconds=4,
        rounds=1,
    ),
    *(
        Workload(
            name=f"raw-{size}-{associations}",
            title=f"raw sender, objects of {words}, {associations} association{'s' if associations > 1 else ''}",
            shapes=shapes,
            associations=associations,
            objects=objects,
            seconds=2.5,
            rounds=2 if associations == 16 else 3,
            quick=associations in quick,
        )
        for (size, words, shapes, objects, quick), associations in itertools.product(
            (("512k", "512 KB", _CT, 1000, (1, 4)), ("16k", "16 KB", _SMALLEST, 6000, (4,))), (1, 4, 16)
        )
    ),
    Workload(
        name="raw-1g",
        title="raw sender, one multi-frame object of 1.0 GB",
        shapes=(corpus.GIGABYTE,),
        objects=1,
        seconds=60,
        rounds=2,
        quick=True,
    ),
)

RUNS: Final = "runs"
"""The folder of what the servers stored; it goes when everything has been measured."""


@dataclass(slots=True)
class Bench:
    """Runs workloads; everything it leaves on the disk is below `folder`."""

    folder: Path
    sender: RawSender
    pacslite_options: Sequence[str] = ()
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time()) % 10_000_000))
    _affordable: dict[tuple[str, str], int] = field(default_factory=dict)

    def fresh_folder(self, name: str) -> Path:
        return self.folder / RUNS / f"{name}-{next(self._numbers)}"

    def extra(self, peer: Peer) -> Sequence[str]:
        return self.pacslite_options if peer is PACSLITE else ()

    def next_run(self) -> int:
        """A number that makes the UIDs of one use of the raw sender differ from all others."""
        return next(self._numbers)

    def run(self, workload: Workload, peer: Peer, round_number: int) -> Run:
        """Starts the peer fresh, warms it up, measures."""
        nothing = Run(workload=workload.name, peer=peer.name, round=round_number)
        if not peer.installed:
            return replace(nothing, problem="not installed")
        folder = self.fresh_folder(peer.name)
        try:
            with running(
                peer, folder, answers=self.sender.echo, nodelay=workload.nodelay, extra=self.extra(peer)
            ) as server:
                return self._measure(workload, peer, server, nothing)
        except (StartError, SendError) as error:
            return replace(nothing, problem=str(error))

    def disk(self, workload: Workload, round_number: int) -> Run:
        shape = workload.shapes[0]
        folder = self.fresh_folder(DISK)
        folder.mkdir(parents=True)
        with measure.emptied_afterwards(folder):
            rate = measure.disk_rate(
                folder,
                file_bytes=corpus.template(shape).size,
                threads=workload.associations,
                files=workload.objects,
                seconds=min(workload.seconds, 2.0),
            )
        return Run(
            workload=workload.name,
            peer=DISK,
            round=round_number,
            objects=rate.files,
            object_bytes=rate.files * rate.file_bytes,
            elapsed_s=rate.elapsed_s,
            p50_ms=measure.percentile(rate.latencies_s, 50) * 1e3,
            p99_ms=measure.percentile(rate.latencies_s, 99) * 1e3,
        )

    def _measure(self, workload: Workload, peer: Peer, server: Server, nothing: Run) -> Run:
        self._send_raw(server, corpus.CT, objects=_WARM_UP_OBJECTS, seconds=5)
        files = self._files(workload, peer, server)
        before = measure.folder_bytes(server.folder)
        with measure.watch(server.pid) as usage:
            if workload.tool == "rawsend":
                sent = self._send_raw(
                    server,
                    workload.shapes[0],
                    associations=workload.associations,
                    objects=workload.objects,
                    seconds=workload.seconds,
                )
            else:
                sent = dcmtk_send(workload.tool, server, files, folder=self.folder, nodelay=workload.nodelay)
        stored = measure.folder_bytes(server.folder) - before
        if stored < sent.object_bytes:
            raise SendError(f"answered {sent.object_bytes} bytes with Success, has {stored}")
        return replace(
            nothing,
            objects=sent.objects,
            object_bytes=sent.object_bytes,
            elapsed_s=sent.elapsed_s,
            p50_ms=measure.percentile(sent.latencies_s, 50) * 1e3,
            p99_ms=measure.percentile(sent.latencies_s, 99) * 1e3,
            server_cpu_s=usage.cpu_s,
            server_peak_bytes=usage.peak_bytes,
            sender_cpu_s=sent.sender_cpu_s,
            others_cpu_share=max(0.0, usage.machine_cpu_s - usage.cpu_s - sent.sender_cpu_s)
            / (sent.elapsed_s * (os.cpu_count() or 1)),
        )

    def _send_raw(self, server: Server, shape: Shape, *, objects: int, seconds: float, associations: int = 1) -> Sent:
        return self.sender.send(
            server, shape, associations=associations, objects=objects, seconds=seconds, run=self.next_run()
        )

    def _files(self, workload: Workload, peer: Peer, server: Server) -> list[Path]:
        """As many files as this peer takes in the time there is: a pilot tells, in the first round."""
        if workload.tool == "rawsend":
            return []
        name = "small" if workload.shapes == corpus.SMALL else "512k"
        files = corpus.write_files(
            self.folder / "corpus" / f"{name}-{workload.objects}", workload.shapes, workload.objects + _PILOT_FILES
        )
        for path in files:  # so that no peer pays for the first reading
            path.read_bytes()
        pilot, rest = files[-_PILOT_FILES:], files[:-_PILOT_FILES]
        key = (workload.name, peer.name)
        if key not in self._affordable:
            sent = dcmtk_send(workload.tool, server, pilot, folder=self.folder, nodelay=workload.nodelay)
            response_s = max(measure.median(sent.latencies_s), 1e-6)
            if response_s * len(rest) <= workload.seconds * _PATIENCE:
                self._affordable[key] = len(rest)
            else:
                self._affordable[key] = max(_FEWEST_FILES, int(workload.seconds / response_s))
        return rest[: self._affordable[key]]
