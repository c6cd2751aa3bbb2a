"""Does the index get slower as it grows? Inserts a million objects, rows only, and times them on the way.

Each object is a commit of its own, as from one association, or one of a group of eight. SOP Instance UIDs are random,
the worst that an index can be given: every insert lands on another page. Headers are made once; what is measured is
the writer's work and the disk's.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from bench.entries import Elements, entry, header, sibling
from pacslite.archive.index.entry import Entry
from pacslite.archive.index.sqlite import connect, create
from pacslite.archive.index.writer import IndexWriter

CT = "1.2.840.10008.5.1.4.1.1.2"
SIZES = (10_000, 100_000, 1_000_000)
SAMPLE = 2000
PER_SERIES = 200
FILL = 5000
CHECKPOINT = 20_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.index_growth", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the index is made (default: a temporary folder)"
    )
    parser.add_argument("--quick", action="store_true", help="stop at a tenth of the objects")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "index.sqlite"
        with closing(connect(path, busy_timeout_s=1)) as connection:
            create(connection)
            measure(IndexWriter(connection), path, most=SIZES[-2] if options.quick else SIZES[-1])
    return 0


def measure(writer: IndexWriter, path: Path, *, most: int) -> None:
    """Fill up to each size, then time what comes next."""
    print(f"{'objects':>10} {'alone, median':>14} {'p99':>8} {'in groups of 8':>15} {'CPU alone':>10} {'index':>9}")
    make, count = Objects(), 0
    for size in (size for size in SIZES if size <= most):
        while count < size:
            count += add(writer, [make() for _ in range(min(FILL, size - count))])
            if count % CHECKPOINT == 0:
                writer.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        alone, cpu = timed(writer, make, group=1)
        grouped, _ = timed(writer, make, group=8)
        count += 2 * SAMPLE
        columns = (
            f"{size:>10}",
            f"{statistics.median(alone) * 1e6:>11.0f} µs",
            f"{statistics.quantiles(alone, n=100)[98] * 1e6:>5.0f} µs",
            f"{statistics.mean(grouped) * 1e6:>12.0f} µs",
            f"{cpu * 1e6:>7.0f} µs",
            f"{path.stat().st_size / 2**20:>5.0f} MiB",
        )
        print(*columns, flush=True)


def timed(writer: IndexWriter, make: Callable[[], Entry], *, group: int) -> tuple[list[float], float]:
    """Seconds per object, and its processor time, with a durable commit for every group."""
    entries = [make() for _ in range(SAMPLE)]
    seconds, cpu = [], time.thread_time()
    for start in range(0, SAMPLE, group):
        begun = time.perf_counter()
        add(writer, entries[start : start + group])
        seconds.append((time.perf_counter() - begun) / group)
    cpu = (time.thread_time() - cpu) / SAMPLE
    writer.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    return seconds, cpu


def add(writer: IndexWriter, entries: list[Entry]) -> int:
    with writer.transaction():
        for entry in entries:
            writer.add(entry)
    return len(entries)


class Objects:
    """Makes one object after the other: 200 to a series, two series to a study, three studies to a patient."""

    def __init__(self) -> None:
        self._made = 0
        self._study, self._first = "", self._begin(0)

    def __call__(self) -> Entry:
        number, self._made = self._made, self._made + 1
        if number and number % PER_SERIES == 0:
            self._first = self._begin(number // PER_SERIES)
        return sibling(
            self._first, sop_instance_uid=f"2.25.{uuid.uuid4().int}", instance_number=number % PER_SERIES + 1
        )

    def _begin(self, series: int) -> Entry:
        if series % 2 == 0:
            self._study = f"2.25.{uuid.uuid4().int}"
        return entry(
            header(elements(series)),
            study_uid=self._study,
            series_uid=f"2.25.{uuid.uuid4().int}",
            sop_class_uid=CT,
            sop_instance_uid=f"2.25.{uuid.uuid4().int}",
        )


def elements(series: int) -> Elements:
    """What the header of an object of this series says."""
    patient = series // 6
    return (
        (0x00080008, b"CS", b"ORIGINAL\\PRIMARY\\AXIAL"),
        (0x00080020, b"DA", f"20{20 + series % 5}{1 + series % 12:02}{1 + series % 28:02}".encode()),
        (0x00080023, b"DA", b"20240102"),
        (0x00080030, b"TM", b"101112"),
        (0x00080033, b"TM", b"101113.123"),
        (0x00080050, b"SH", f"A{series // 2}".encode()),
        (0x00080060, b"CS", b"CT"),
        (0x00080070, b"LO", b"ACME"),
        (0x00080090, b"PN", b"Referring^Physician"),
        (0x00081030, b"LO", b"Thorax"),
        (0x0008103E, b"LO", b"1 mm soft tissue"),
        (0x00100010, b"PN", f"Name{patient}^Given".encode()),
        (0x00100020, b"LO", f"P{patient}".encode()),
        (0x00100030, b"DA", b"19700101"),
        (0x00100040, b"CS", b"F"),
        (0x00200011, b"IS", str(series % 10).encode()),
        (0x00200013, b"IS", b"1"),
        (0x00280010, b"US", struct.pack("<H", 512)),
        (0x00280011, b"US", struct.pack("<H", 512)),
    )


if __name__ == "__main__":
    sys.exit(main())
