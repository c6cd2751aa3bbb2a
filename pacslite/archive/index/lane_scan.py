"""Which lanes of the outbox have waiting jobs: read in as many steps as there are lanes, not jobs.

Somebody who has a job retried is told to the one who works by ``PRAGMA user_version``: it counts how often that was
done, is committed together with the jobs, and costs nobody a table.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from pacslite.archive.index.reader import IndexReader, ReaderConnection
from pacslite.archive.job import JobKind, Lane, Priority

WAITING: Final = "state = 'waiting' AND hold IS NULL"
"""The condition of an index, word for word."""

# With a priority that comes after all: SQLite goes to the first row that is not before the given ones and looks at each
# from there on, so without it all jobs of the lane would be looked at.
NEXT_LANE: Final = f"""
SELECT destination, kind, rule FROM jobs WHERE {WAITING} AND (destination, kind, rule, priority) > (?, ?, ?, 9)
ORDER BY destination, kind, rule LIMIT 1
"""
FIRST_DUE: Final = "SELECT " + ", ".join(
    f"(SELECT min(due_at) FROM jobs WHERE {WAITING} AND destination = ?1 AND kind = ?2 AND rule = ?3"
    f" AND priority = {priority.value})"
    for priority in Priority
)
LIMITS: Final = """
SELECT
    (SELECT min(until) FROM job_holds),
    (SELECT min(leased_until) FROM jobs WHERE state = 'running'),
    (SELECT max(leased_until) FROM jobs WHERE state = 'running')
"""


@dataclass(frozen=True, slots=True)
class OpenLane:
    """A lane with waiting jobs; ``dues`` are when the first of each priority is due, infinite if there is none."""

    lane: Lane
    dues: tuple[float, ...]

    @property
    def due_at(self) -> float:
        return min(self.dues)

    def priority(self, now: float) -> Priority | None:
        """The best of those that are due; None if nothing is."""
        return next((priority for priority in Priority if self.dues[priority] <= now), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The outbox at one moment; times are infinite where there is nothing."""

    lanes: Sequence[OpenLane]
    first_hold: float
    first_lease: float
    last_lease: float
    retries: int
    """How often somebody has had jobs retried."""


class Scanner:
    """Scans through connections of ``reader``; what has not changed since is not read again."""

    def __init__(self, reader: IndexReader) -> None:
        self._reader = reader
        # data_version tells of changes by others than the connection itself, and a reader makes none: whatever one
        # connection saw last still holds as long as its own number stays.
        self._seen: WeakKeyDictionary[ReaderConnection, tuple[int, Scan]] = WeakKeyDictionary()

    async def scan(self) -> Scan:
        connection = await self._reader.take()
        try:
            seen = self._seen.get(connection)
            version, scan = await connection.run(lambda lent: _look(lent, seen))
            self._seen[connection] = version, scan
            return scan
        finally:
            self._reader.give_back(connection)


def _look(connection: sqlite3.Connection, seen: tuple[int, Scan] | None) -> tuple[int, Scan]:
    # Before the scan: what is committed meanwhile changes the number for the next one.
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    if seen is not None and seen[0] == version:
        return seen
    lanes = []
    for lane in lanes_of(connection):
        dues = connection.execute(FIRST_DUE, (lane.destination, lane.kind.value, lane.rule)).fetchone()
        if any(due is not None for due in dues):  # else somebody has just taken the last one
            lanes.append(OpenLane(lane, tuple(math.inf if due is None else due for due in dues)))
    first_hold, first_lease, last_lease = connection.execute(LIMITS).fetchone()
    return version, Scan(
        lanes=lanes,
        first_hold=math.inf if first_hold is None else first_hold,
        first_lease=math.inf if first_lease is None else first_lease,
        last_lease=math.inf if last_lease is None else last_lease,
        retries=connection.execute("PRAGMA user_version").fetchone()[0],
    )


def lanes_of(connection: sqlite3.Connection) -> Iterator[Lane]:
    """In the order of an index: those with waiting jobs that are not held."""
    at: Sequence[str] = ("", "", "")
    while at := connection.execute(NEXT_LANE, at).fetchone() or ():
        yield Lane(at[0], JobKind(at[1]), at[2])
