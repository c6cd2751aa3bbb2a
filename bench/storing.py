"""The storage workloads, as a table, and how one of them is measured against one peer."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from bench import corpus, measure
from bench.corpus import Shape
from bench.peers import Does, Peer, Server, running
from bench.run import DISK, Bench, Run, others_share
from bench.senders import SendError, Sent, dcmtk_send

_PILOT_FILES: Final = 12
_FEWEST_FILES: Final = 24
_PATIENCE: Final = 4  # times a workload's seconds: a sender that needs no longer than this sends everything
_WARM_UP_OBJECTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreWorkload:
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
    def needs(self) -> Does:
        return Does.STORE

    @property
    def compares_disk(self) -> bool:
        return self.tool == "rawsend" and self.objects > 1

    def hurried(self) -> StoreWorkload:
        """The same for --quick."""
        shapes, title = self.shapes, self.title
        if shapes == (corpus.GIGABYTE,):
            shapes, title = (corpus.EIGHTH,), title.replace("1.0 GB", "125 MB")
        return replace(
            self, title=title, shapes=shapes, objects=min(self.objects, 250), seconds=min(self.seconds, 1.5), rounds=1
        )

    def disk(self, bench: Bench, round_number: int) -> Run:
        """The disk's own rate for files of the same size."""
        folder = bench.fresh_folder(DISK)
        folder.mkdir(parents=True)
        with measure.emptied_afterwards(folder):
            rate = measure.disk_rate(
                folder,
                file_bytes=corpus.template(self.shapes[0]).size,
                threads=self.associations,
                files=self.objects,
                seconds=min(self.seconds, 2.0),
            )
        return Run(
            workload=self.name,
            peer=DISK,
            round=round_number,
            objects=rate.files,
            object_bytes=rate.files * rate.file_bytes,
            elapsed_s=rate.elapsed_s,
            p50_ms=measure.percentile(rate.latencies_s, 50) * 1e3,
            p99_ms=measure.percentile(rate.latencies_s, 99) * 1e3,
        )

    def run(self, bench: Bench, peer: Peer, nothing: Run) -> Run:
        """Starts the peer fresh, warms it up, measures."""
        folder = bench.fresh_folder(peer.name)
        with running(peer, folder, answers=bench.sender.echo, nodelay=self.nodelay, extra=bench.extra(peer)) as server:
            return self._measure(bench, peer, server, nothing)

    def _measure(self, bench: Bench, peer: Peer, server: Server, nothing: Run) -> Run:
        _send_raw(bench, server, corpus.CT, objects=_WARM_UP_OBJECTS, seconds=5)
        files = self._files(bench, peer, server)
        before = measure.folder_bytes(server.folder)
        with measure.watch(server.pid) as usage:
            if self.tool == "rawsend":
                sent = _send_raw(
                    bench,
                    server,
                    self.shapes[0],
                    associations=self.associations,
                    objects=self.objects,
                    seconds=self.seconds,
                )
            else:
                sent = dcmtk_send(self.tool, server, files, folder=bench.folder, nodelay=self.nodelay)
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
            others_cpu_share=others_share(usage, sender_cpu_s=sent.sender_cpu_s, elapsed_s=sent.elapsed_s),
        )

    def _files(self, bench: Bench, peer: Peer, server: Server) -> list[Path]:
        """As many files as this peer takes in the time there is: a pilot tells, in the first round."""
        if self.tool == "rawsend":
            return []
        name = "small" if self.shapes == corpus.SMALL else "512k"
        files = corpus.write_files(
            bench.folder / "corpus" / f"{name}-{self.objects}", self.shapes, self.objects + _PILOT_FILES
        )
        for path in files:  # so that no peer pays for the first reading
            path.read_bytes()
        pilot, rest = files[-_PILOT_FILES:], files[:-_PILOT_FILES]
        key = (self.name, peer.name)
        if key not in bench.affordable:
            sent = dcmtk_send(self.tool, server, pilot, folder=bench.folder, nodelay=self.nodelay)
            response_s = max(measure.median(sent.latencies_s), 1e-6)
            if response_s * len(rest) <= self.seconds * _PATIENCE:
                bench.affordable[key] = len(rest)
            else:
                bench.affordable[key] = max(_FEWEST_FILES, int(self.seconds / response_s))
        return rest[: bench.affordable[key]]


def _send_raw(
    bench: Bench, server: Server, shape: Shape, *, objects: int, seconds: float, associations: int = 1
) -> Sent:
    return bench.sender.send(
        server, shape, associations=associations, objects=objects, seconds=seconds, run=bench.next_run()
    )


_CT: Final = (corpus.CT,)
_SMALLEST: Final = (corpus.SMALLEST,)

STORING: Final = (
    StoreWorkload(
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
    StoreWorkload(
        name="storescu-512k",
        title="unmodified storescu, objects of 512 KB",
        tool="storescu",
        nodelay=False,
        shapes=_CT,
        objects=500,
        seconds=4,
        rounds=2,
    ),
    StoreWorkload(
        name="dcmsend-small",
        title="unmodified dcmsend, objects of 16-40 KB",
        tool="dcmsend",
        nodelay=False,
        shapes=corpus.SMALL,
        objects=1000,
        seconds=4,
        rounds=2,
    ),
    StoreWorkload(
        name="dcmsend-512k",
        title="unmodified dcmsend, objects of 512 KB",
        tool="dcmsend",
        nodelay=False,
        shapes=_CT,
        objects=500,
        seconds=4,
        rounds=2,
    ),
    StoreWorkload(
        name="nodelay-storescu-small",
        title="storescu with TCP_NODELAY=1, objects of 16-40 KB",
        tool="storescu",
        shapes=corpus.SMALL,
        objects=1000,
        seconds=4,
        rounds=1,
    ),
    StoreWorkload(
        name="nodelay-storescu-512k",
        title="storescu with TCP_NODELAY=1, objects of 512 KB",
        tool="storescu",
        shapes=_CT,
        objects=500,
        seconds=4,
        rounds=1,
    ),
    *(
        StoreWorkload(
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
    StoreWorkload(
        name="raw-1g",
        title="raw sender, one multi-frame object of 1.0 GB",
        shapes=(corpus.GIGABYTE,),
        objects=1,
        seconds=60,
        rounds=2,
        quick=True,
    ),
)
