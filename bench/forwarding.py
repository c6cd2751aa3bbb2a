"""What forwarding costs those who send, and how fast it is: `python -m bench --workload forward`.

One round, on a fresh pacslite and a fresh DCMTK storescp:

- a series of 500 slices is stored that a rule forwards to storescp once its study has been quiet for some seconds;
- at once another series is sent, without a pause, and goes on: while nothing is forwarded yet, while the first one is,
  and for some seconds afterwards. The receive rates of these times follow from the times at which the index says that
  the objects were stored, and the forward rate from those at which they were delivered;
- when all is quiet, the forwarded series is sent to the same storescp once more by C-MOVE, and a third one is stored,
  which is forwarded while nothing else happens.

Rates of one round are compared with each other, so a machine that is slower for a while matters little.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench import corpus, measure
from bench.peers import PACSLITE, PEERS, SINK, Server, running
from bench.requesters import Tools
from bench.run import RUNS, Bench
from bench.senders import RawSender, SendError, Sent

ROOT: Final = Path(__file__).resolve().parent.parent
STORESCP: Final = next(peer for peer in PEERS if peer.name == "storescp")
FORWARDED: Final = "FORWARDED"
"""Called by this title, pacslite forwards what it is sent."""
MARGIN_S: Final = 0.3
"""Left out at either end of a time without forwarding."""
_STORING_S: Final = 120.0
_LATE_S: Final = 120.0
_LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    slices: int = 500
    quiet_s: float = 4.0
    after_s: float = 3.0
    slowest_per_s: float = 100.0
    """Forwarding has to be faster than that to be measured."""
    associations: int = 1
    """Of the sender that is not to notice."""
    discards: bool = False
    """Whether storescp throws away what it gets: it has no part in the disk then, as one on another machine has not."""

    @property
    def sending_s(self) -> float:
        return self.quiet_s + self.slices / self.slowest_per_s + self.after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Objects a second; and the server's processor time for one received or forwarded, while both happens."""

    received_alone: float
    received_beside: float
    forwarded_beside: float
    forwarded_alone: float
    moved: float
    cpu_ms_beside: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.forwarding", description="What forwarding costs senders.")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--associations", type=int, default=1, help="of the sender that is not to notice")
    parser.add_argument("--discard", action="store_true", help="have storescp write no files: it shares no disk then")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "build" / "bench", help="on the disk to be measured")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for pacslite; repeat"
    )
    options = parser.parse_args()
    plan, count = Plan(associations=options.associations, discards=options.discard), options.rounds
    if options.quick:
        plan, count = replace(plan, slices=100, quiet_s=2.0, after_s=1.0), 1
    folder = options.work_dir.resolve()
    settings = [f"--set={setting}" for setting in options.set]
    bench = Bench(folder, RawSender.build(folder), Tools.build(folder), settings)
    rounds: list[Round] = []
    try:
        for number in range(count):
            rounds.append(measured(bench, plan))
            print(f"round {number + 1}: {rounds[-1]}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder / RUNS, ignore_errors=True)
    print("\n".join(table(rounds)))
    return 0


_FIGURES: Final[tuple[tuple[str, Callable[[Round], float]], ...]] = (
    ("received a second while nothing is forwarded", lambda one: one.received_alone),
    ("received a second while a series is forwarded", lambda one: one.received_beside),
    ("... of the former", lambda one: one.received_beside / one.received_alone),
    ("forwarded a second meanwhile", lambda one: one.forwarded_beside),
    ("forwarded a second while nothing is received", lambda one: one.forwarded_alone),
    ("sent a second by C-MOVE while nothing is received", lambda one: one.moved),
    ("forwarding beside receiving, of C-MOVE", lambda one: one.forwarded_beside / one.moved),
    ("forwarding alone, of C-MOVE", lambda one: one.forwarded_alone / one.moved),
    ("server CPU ms for one received or forwarded", lambda one: one.cpu_ms_beside),
)


def table(rounds: Sequence[Round]) -> Iterator[str]:
    """As Markdown, medians with the lowest and highest of all rounds."""
    yield "| objects of 512 KB | median | lowest | highest |"
    yield "| --- | --- | --- | --- |"
    for words, figure in _FIGURES:
        values = [figure(one) for one in rounds]
        yield f"| {words} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |"


def measured(bench: Bench, plan: Plan) -> Round:
    """One round, from nothing to nothing."""
    with receiver(bench, plan) as destination, forwarder(bench, destination, plan) as server:
        first = store_series(bench, server, plan)
        with ThreadPoolExecutor(1) as other:
            streamed = other.submit(stream, bench, server, plan)
            beside = forwarded(server, first, plan)
            streamed.result()
        received = _times(server, "SELECT stored_at FROM instances WHERE called_ae = ? ORDER BY 1", server.title)
        if received[-1] < beside.ended_at + plan.after_s / 2:
            raise SendError(f"forwarding took {beside.ended_at - beside.began_at:.1f} s, longer than was sent")
        quiet = [at for at in received if not beside.began_at - MARGIN_S < at < beside.ended_at + MARGIN_S]
        quiet_s = received[-1] - received[0] - (beside.ended_at - beside.began_at) - 2 * MARGIN_S
        busy = [at for at in received if beside.began_at <= at <= beside.ended_at]
        moved = move(bench, server, first, plan)
        alone = forwarded(server, store_series(bench, server, plan), plan)
        return Round(
            received_alone=len(quiet) / quiet_s,
            received_beside=len(busy) / (beside.ended_at - beside.began_at),
            forwarded_beside=beside.per_s,
            forwarded_alone=alone.per_s,
            moved=moved,
            cpu_ms_beside=beside.cpu_s / (len(busy) + beside.objects) * 1e3,
        )


# --- What takes part -------------------------------------------------------------------------------------------------


@contextmanager
def receiver(bench: Bench, plan: Plan) -> Iterator[Server]:
    extra = ["--ignore"] if plan.discards else []
    folder = bench.fresh_folder(STORESCP.name)
    with running(STORESCP, folder, answers=bench.sender.echo, extra=extra) as server:
        yield server


@contextmanager
def forwarder(bench: Bench, destination: Server, plan: Plan) -> Iterator[Server]:
    rule = {
        "name": '"bench"',
        "to": f'["{SINK}"]',
        "on": '"study"',
        "quiet_s": str(plan.quiet_s),
        "called_ae": f'["{FORWARDED}"]',
    }
    extra = [*(f"--set=forward.0.{key}={value}" for key, value in rule.items()), *bench.pacslite_options]
    folder = bench.fresh_folder(PACSLITE.name)
    with running(PACSLITE, folder, answers=bench.sender.echo, extra=extra, destination=destination.port) as server:
        yield server


def store_series(bench: Bench, server: Server, plan: Plan) -> int:
    """Stores a series that is to be forwarded; the number of its run, which is in its UIDs."""
    run = bench.next_run()
    bench.sender.send(
        replace(server, title=FORWARDED),
        corpus.CT,
        associations=1,
        objects=plan.slices,
        seconds=_STORING_S,
        run=run,
        per_series=plan.slices,
    )
    return run


def stream(bench: Bench, server: Server, plan: Plan) -> Sent:
    """Sends as fast as it can, from before the forwarding until after it."""
    return bench.sender.send(
        server,
        corpus.CT,
        associations=plan.associations,
        objects=1_000_000,
        seconds=plan.sending_s,
        run=bench.next_run(),
    )


def move(bench: Bench, server: Server, run: int, plan: Plan) -> float:
    """C-MOVE of a series to the same destination: objects a second, association included."""
    study, of_study = (f"2.25.1{run:08d}{kind}{0:04d}{0:04d}{0:09d}" for kind in (1, 2))
    values = bench.folder / "values" / f"slices-{plan.slices}"
    values.parent.mkdir(parents=True, exist_ok=True)
    values.write_text(f"{plan.slices}\n")
    keys = ("--level", "SERIES", "--key", f"0020000D={study}", "--key", f"0020000E={of_study}")
    retrieved = bench.tools.get(
        server, [*keys, "--values", str(values)], retrievals=2, seconds=_LATE_S, move=True, timeout_s=60
    )
    return retrieved.objects / retrieved.elapsed_s


# --- What the index says ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """Seconds since 1970 at which the first and the last one was delivered; processor time of the server between."""

    objects: int
    began_at: float
    ended_at: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return (self.objects - 1) / (self.ended_at - self.began_at)


def forwarded(server: Server, run: int, plan: Plan) -> Forwarded:
    """Waits until all of the series is delivered."""
    give_up_at, cpu_before = time.monotonic() + _LATE_S, 0.0
    while True:
        times = _times(
            server,
            "SELECT delivered_at FROM deliveries WHERE sop_instance_uid GLOB ? ORDER BY 1",
            f"2.25.1{run:08d}3*",
        )
        if not times:
            cpu_before = measure.cpu_seconds(server.pid)
        elif len(times) == plan.slices:
            cpu_s = measure.cpu_seconds(server.pid) - cpu_before
            return Forwarded(objects=len(times), began_at=times[0], ended_at=times[-1], cpu_s=cpu_s)
        if time.monotonic() > give_up_at:
            raise SendError(f"{len(times)} of {plan.slices} were forwarded")
        time.sleep(_LOOK_S)


def _times(server: Server, question: str, *values: object) -> list[float]:
    index = server.folder / "data" / "index.sqlite"
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True, timeout=30)) as connection:
        return [at for (at,) in connection.execute(question, values)]


if __name__ == "__main__":
    sys.exit(main())
