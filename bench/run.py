"""One measurement, and what the workloads share while they are run."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.measure import Usage
from bench.peers import PACSLITE, Peer
from bench.requesters import Tools
from bench.senders import RawSender

DISK: Final = "disk"  # stands beside the peers in the raw storage workloads: create, write, fsync and nothing else
RUNS: Final = "runs"
"""The folder of what the servers stored; it goes when everything has been measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measurement; `problem` says why there is none. Of a query, objects are answers."""

    workload: str
    peer: str
    round: int
    problem: str = ""
    requests: int = 0  # queries or retrievals; of storage, nothing: each object is one
    objects: int = 0
    object_bytes: int = 0
    elapsed_s: float = 0.0
    first_p50_ms: float = 0.0  # of queries and retrievals: until the first answer or object
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    server_cpu_s: float = 0.0
    server_peak_bytes: int = 0
    sender_cpu_s: float = 0.0  # of all that works for the measurement: sender, requester, sink
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


def others_share(usage: Usage, *, sender_cpu_s: float, elapsed_s: float) -> float:
    """The part of all processors that neither the server nor what measures it has used."""
    return max(0.0, usage.machine_cpu_s - usage.cpu_s - sender_cpu_s) / (max(elapsed_s, 1e-3) * (os.cpu_count() or 1))


@dataclass(slots=True)
class Bench:
    """What workloads are run with; everything that they leave on the disk is below `folder`."""

    folder: Path
    sender: RawSender
    tools: Tools
    pacslite_options: Sequence[str] = ()
    affordable: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many files a peer takes in the time there is, by workload and peer; found out in the first round."""
    stored: dict[str, Path] = field(default_factory=dict)
    """Data folders with objects to retrieve, by peer."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time()) % 10_000_000))

    def fresh_folder(self, name: str) -> Path:
        return self.folder / RUNS / f"{name}-{next(self._numbers)}"

    def extra(self, peer: Peer) -> Sequence[str]:
        return self.pacslite_options if peer is PACSLITE else ()

    def next_run(self) -> int:
        """A number that makes the UIDs of one use of the raw sender differ from all others."""
        return next(self._numbers)
