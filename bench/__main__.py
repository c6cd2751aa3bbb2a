"""`python -m bench`: runs the workloads against the servers, interleaved in rounds. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console

from bench import durability, report
from bench.durability import Durability
from bench.measure import median
from bench.peers import PEERS, Does, Peer, StartError
from bench.requesters import Tools
from bench.run import DISK, RUNS, Bench, Run
from bench.senders import RawSender, SendError
from bench.storing import StoreWorkload
from bench.workloads import WORKLOADS, Workload, run

ROOT: Final = Path(__file__).resolve().parent.parent
DURABILITY: Final = "durability"
APART: Final = {"index-growth": "index_growth", "forward": "forwarding", "commitment": "committing"}
"""Measured only when asked for, by modules with tables of their own: other servers have no part in them."""
QUIET_SHARE: Final = 0.2
_APART_S: Final = 1800


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(width=None if sys.stdout.isatty() else 180)
    if apart := [APART[name] for name in arguments.workload if name in APART]:
        return max(_run_apart(module, arguments) for module in apart)
    peers = _chosen_peers(arguments.peer)
    workloads = _chosen_workloads(arguments.workload, quick=arguments.quick, rounds=arguments.rounds)
    if not peers or not (workloads or DURABILITY in arguments.workload):
        names = ", ".join([*(peer.name for peer in PEERS), *(workload.name for workload in WORKLOADS)])
        print(
            f"bench: no such server or workload; there are {names}, {DURABILITY}, {', '.join(APART)}", file=sys.stderr
        )
        return 2
    folder = arguments.work_dir.resolve()
    try:
        settings = [f"--set={setting}" for setting in arguments.set]
        bench = Bench(folder, RawSender.build(folder), Tools.build(folder), settings)
    except SendError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    try:
        session = _run(bench, peers, workloads, arguments)
    finally:
        shutil.rmtree(folder / RUNS, ignore_errors=True)
    report.show(session, console)
    print(f"\nEverything measured: {report.save(session, arguments.results)}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run, to see that everything works")
    parser.add_argument("--workload", action="append", default=[], help="name, beginning of names, or pattern; repeat")
    parser.add_argument("--peer", action="append", default=[], help="name of a server; repeat")
    parser.add_argument("--rounds", type=int, help="instead of each workload's own number of rounds")
    parser.add_argument(
        "--work-dir", type=Path, default=ROOT / "build" / "bench", help="on the disk to be measured (%(default)s)"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="(%(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for pacslite; repeat"
    )
    return parser.parse_args()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that every `finally` stops what it started


def _chosen_peers(names: Sequence[str]) -> list[Peer]:
    return [peer for peer in PEERS if (peer.name in names if names else peer.by_default)]


def _chosen_workloads(patterns: Sequence[str], *, quick: bool, rounds: int | None) -> list[Workload]:
    names = [workload.name for workload in WORKLOADS]

    def chosen(workload: Workload) -> bool:
        if not patterns:
            return workload.quick or not quick
        # A whole name means this workload only: raw-512k-1 is not also raw-512k-16.
        return any(fnmatch.fnmatch(workload.name, p if p in names else f"{p}*") for p in patterns)

    workloads: list[Workload] = [
        workload.hurried() if quick else workload for workload in WORKLOADS if chosen(workload)
    ]
    return [dataclasses.replace(workload, rounds=rounds) for workload in workloads] if rounds else workloads


def _run(
    bench: Bench, peers: Sequence[Peer], workloads: Sequence[Workload], arguments: argparse.Namespace
) -> report.Session:
    started, machine = datetime.now(UTC), report.machine(bench.folder)
    observed: dict[str, Durability | str] = {}
    runs = []
    try:
        if not arguments.workload or DURABILITY in arguments.workload:
            objects = 8 if arguments.quick else 20
            observed.update((peer.name, _durability(bench, peer, objects=objects)) for peer in peers)
        for one in _runs(bench, peers, workloads):
            runs.append(one)
            _progress(one)
    except KeyboardInterrupt:
        print("bench: interrupted; what was measured so far follows", file=sys.stderr)
    machine["load after"] = "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg())
    if shares := [one.others_cpu_share for one in runs if one.peer != DISK and not one.problem]:
        machine["other load"] = f"{median(shares):.0%} of all processors in the median run, {max(shares):.0%} at worst"
        machine["other load"] += " (too busy for figures worth quoting)" if median(shares) > QUIET_SHARE else ""
    return report.Session(
        started=started,
        quick=arguments.quick,
        machine=machine,
        peers=peers,
        workloads=workloads,
        runs=runs,
        durability=observed,
    )


def _runs(bench: Bench, peers: Sequence[Peer], workloads: Sequence[Workload]) -> Iterator[Run]:
    for workload in workloads:
        able = [peer for peer in peers if workload.needs in peer.does]
        for number in range(workload.rounds if able else 0):
            if isinstance(workload, StoreWorkload) and workload.compares_disk:
                yield workload.disk(bench, number)
            # Each round begins with another peer: what a run leaves behind for the next falls on all alike.
            first = number % len(able)
            for peer in [*able[first:], *able[:first]]:
                yield run(bench, workload, peer, number)


def _durability(bench: Bench, peer: Peer, *, objects: int) -> Durability | str:
    if not peer.installed:
        return "not installed"
    if Does.STORE not in peer.does:
        return "not observed: what it stores is not measured"
    if not durability.available():
        return "not observed: strace is not installed"
    try:
        return durability.observe(
            peer,
            bench.fresh_folder(peer.name),
            bench.sender,
            objects=objects,
            run=bench.next_run(),
            extra=bench.extra(peer),
        )
    except (StartError, SendError) as error:
        return f"not observed: {error}"


def _progress(one: Run) -> None:
    what = one.problem or f"{one.objects} objects, {one.objects_per_s:.1f}/s, {one.megabytes_per_s:.0f} MB/s"
    if one.requests and not one.problem:
        what += f", {one.requests} requests, p50 {one.p50_ms:.2f} ms"
    name = one.peer if one.peer != DISK else "the disk itself"
    print(f"{one.workload} round {one.round + 1} {name}: {what}", file=sys.stderr, flush=True)


def _run_apart(module: str, arguments: argparse.Namespace) -> int:
    command = [sys.executable, "-m", f"bench.{module}", *(["--quick"] if arguments.quick else [])]
    if module != APART["index-growth"]:
        command += [f"--work-dir={arguments.work_dir}", *(f"--set={setting}" for setting in arguments.set)]
        command += [f"--rounds={arguments.rounds}"] if arguments.rounds else []
    return subprocess.run(command, cwd=ROOT, timeout=_APART_S, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
