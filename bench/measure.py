"""What is measured about a server while it works, and what the disk can do by itself. Linux only: it reads /proc."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SAMPLE_S: Final = 0.1
SETTLE_S: Final = 0.25  # what a server does late, after its last answer, is still its cost
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessTimes:
    pid: int
    parent: int
    cpu_s: float  # its own and that of the children it has waited for


@dataclass(slots=True)
class Usage:
    """Filled while `watch` runs."""

    cpu_s: float = 0.0
    machine_cpu_s: float = 0.0  # of everything that ran meanwhile, the kernel's own threads included
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRate:
    files: int
    file_bytes: int
    elapsed_s: float
    latencies_s: tuple[float, ...]


@contextmanager
def watch(pid: int) -> Iterator[Usage]:
    """Measures the process `pid` and all it has started: CPU seconds, and peak resident memory since it started.

    The peak is the sum over the family of each one's VmHWM, so pages that forked processes share count more than once.
    """
    usage = Usage()
    peaks: dict[int, int] = {}
    stop = threading.Event()

    def sample() -> None:
        peaks.update({member: peak for member in family(pid) if (peak := _peak_bytes(member))})

    def keep_sampling() -> None:
        while not stop.wait(SAMPLE_S):
            sample()

    before, machine_before = cpu_seconds(pid), _machine_cpu_seconds()
    sampler = threading.Thread(target=keep_sampling, daemon=True)
    sampler.start()
    try:
        yield usage
        usage.machine_cpu_s = _machine_cpu_seconds() - machine_before
        time.sleep(SETTLE_S)
        usage.cpu_s = cpu_seconds(pid) - before
    finally:
        stop.set()
        sampler.join()
        sample()
        usage.peak_bytes = sum(peaks.values())


def family(pid: int) -> list[int]:
    """`pid` and its descendants, those that nobody has waited for included."""
    return [process.pid for process in _family_times(pid)]


def cpu_seconds(pid: int) -> float:
    return sum(process.cpu_s for process in _family_times(pid))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def disk_rate(folder: Path, *, file_bytes: int, threads: int, files: int, seconds: float) -> DiskRate:
    """Creates, writes, fsyncs and closes files, nothing else: the ceiling for one durable file per object."""
    content = os.urandom(file_bytes)
    latencies: list[list[float]] = [[] for _ in range(threads)]
    deadline = time.monotonic() + seconds

    def write_files(index: int) -> None:
        own = folder / f"{index:02d}"
        own.mkdir()
        for number in range(files // threads):
            before = time.perf_counter()
            if time.monotonic() > deadline:
                return
            handle = os.open(own / f"{number:06d}.dcm", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            try:
                os.write(handle, content)
                os.fsync(handle)
            finally:
                os.close(handle)
            latencies[index].append(time.perf_counter() - before)

    workers = [threading.Thread(target=write_files, args=(index,)) for index in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - started
    everything = tuple(latency for one in latencies for latency in one)
    return DiskRate(files=len(everything), file_bytes=file_bytes, elapsed_s=elapsed, latencies_s=everything)


@contextmanager
def emptied_afterwards(folder: Path) -> Iterator[None]:
    """Gives the space of the files in `folder` back and lets the disk come to rest; the files themselves stay.

    An ext4 without a journal gives no inode a second time for minutes, and looks past every one that was freed lately:
    to create a file then costs a millisecond of CPU. Removing what one server stored would burden the next with that.
    """
    try:
        yield
    finally:
        for parent, _, names in os.walk(folder):
            for name in names:
                with suppress(OSError):
                    os.truncate(os.path.join(parent, name), 0)
        os.sync()


def folder_bytes(folder: Path) -> int:
    """What the files in `folder` hold; files that vanish meanwhile count as nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _family_times(pid: int) -> list[ProcessTimes]:
    everyone = [times for entry in os.listdir("/proc") if entry.isdigit() and (times := _times(int(entry)))]
    members = [process for process in everyone if process.pid == pid]
    for member in members:  # grows while it is walked: children of children
        members += [process for process in everyone if process.parent == member.pid]
    return members


def _times(pid: int) -> ProcessTimes | None:
    try:
        # The command in parentheses may hold anything, spaces and parentheses included.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessTimes(pid=pid, parent=int(fields[1]), cpu_s=sum(map(int, fields[11:15])) * _TICK_S)


def _machine_cpu_seconds() -> float:
    values = list(map(int, Path("/proc/stat").read_text().split()[1:9]))
    idle, waiting = values[3:5]
    return (sum(values) - idle - waiting) * _TICK_S  # what the hypervisor took is in it: it was not ours either


def _peak_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
