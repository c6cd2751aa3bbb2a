"""What a peer really makes durable before it answers, seen from outside: its sync calls and answers under strace.

Objects are sent one by one with a pause before each. A sync call in the first half of a pause happened after the answer
to the object before; any other one happened before the answer that follows it.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.corpus import CT
from bench.peers import Peer, running
from bench.senders import RawSender

PAUSE_S: Final = 0.06
_SYNCS: Final = ("fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync")
_CALLS: Final = ",".join([*_SYNCS, "write", "writev", "sendto", "sendmsg"])
_LINE: Final = re.compile(r"\d+ +(?P<time>\d+\.\d+) (?P<call>\w+)\((?:\d+<(?P<path>[^>]*(?:->[^>]*)?)>)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """Sync calls per object, by what they were made on."""

    objects: int
    before: dict[str, float]
    after: dict[str, float]

    def describe(self) -> str:
        def words(counts: dict[str, float]) -> str:
            return ", ".join(f"{kind} {count:.1f}" for kind, count in sorted(counts.items())) or "none"

        return f"sync calls per object before the answer: {words(self.before)}; after it: {words(self.after)}"


def available() -> bool:
    return shutil.which("strace") is not None


def observe(
    peer: Peer, folder: Path, sender: RawSender, *, objects: int, run: int, extra: Sequence[str] = ()
) -> Durability:
    """Starts the peer under strace in `folder` and counts its sync calls while `objects` objects arrive."""
    folder = folder.resolve()  # as strace shows it
    trace = folder.with_suffix(".strace")
    prefix = ["strace", "-f", "--seccomp-bpf", "-ttt", "-yy", "-s", "0", "-e", f"trace={_CALLS}", "-o", str(trace)]
    try:
        with running(peer, folder, answers=sender.echo, prefix=prefix, extra=extra) as server:
            sender.send(server, CT, associations=1, objects=2, seconds=10, run=run)
            time.sleep(2 * PAUSE_S)
            start = trace.stat().st_size
            sender.send(server, CT, associations=1, objects=objects, seconds=30, run=run + 1, pause_s=PAUSE_S)
            time.sleep(2 * PAUSE_S)
            with trace.open("rb") as file:
                file.seek(start)
                lines = file.read().decode(errors="replace").splitlines()
            return _read(lines, objects=objects, kind_of=lambda path: _kind(path, folder))
    finally:
        trace.unlink(missing_ok=True)


def _read(lines: list[str], *, objects: int, kind_of: Callable[[str], str]) -> Durability:
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    answered = 0.0
    for moment, call, path in _calls(lines):
        if call not in _SYNCS:
            if path.startswith("TCP"):
                answered = moment
        elif answered:
            (after if moment - answered < PAUSE_S / 2 else before)[kind_of(path)] += 1
    return Durability(
        objects=objects,
        before={kind: count / objects for kind, count in before.items()},
        after={kind: count / objects for kind, count in after.items()},
    )


def _calls(lines: list[str]) -> Iterator[tuple[float, str, str]]:
    """The calls in order of their beginnings; the ends of interrupted ones ("resumed") add nothing."""
    for line in lines:
        if match := _LINE.match(line):
            yield float(match["time"]), match["call"], match["path"] or ""


def _kind(path: str, folder: Path) -> str:
    place = Path(path)
    if not place.is_relative_to(folder):
        return "elsewhere"
    if place.is_dir():
        return "directory"
    return "index" if re.search(r"(sqlite|\.db|index)[^/]*$", place.name) else "file"
