"""Looking at the outbox: jobs and their lanes, as somebody who wants to know sees them, and steering them by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, literal_column, or_, select

from pacslite.archive.index.job_rows import job_of
from pacslite.archive.index.promises import job_holds, jobs
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job, JobKind, JobStanding, JobState, Lane

_RETRY: Final = """
UPDATE jobs SET state = 'waiting', hold = NULL, due_at = ?, attempts = 0, failing_since = NULL, last_error = ''
WHERE id = ? AND state <> 'running'
"""
_CANCEL: Final = "DELETE FROM jobs WHERE id = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which jobs are meant: those for which all holds that is given."""

    destination: str | None = None
    kind: JobKind | None = None
    rule: str | None = None
    standings: Collection[JobStanding] = ()

    def conditions(self) -> Iterable[ColumnElement[bool]]:
        if self.destination is not None:
            yield jobs.c.destination == self.destination
        if self.kind is not None:
            yield jobs.c.kind == self.kind.value
        if self.rule is not None:
            yield jobs.c.rule == self.rule
        if self.standings:
            yield or_(*(_standing == standing.value for standing in self.standings))


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSummary:
    """A lane in numbers. Times are seconds since 1970-01-01 UTC, None where there is nothing."""

    lane: Lane
    waiting: int
    held: int
    running: int
    dead: int
    oldest_at: float
    next_due_at: float | None
    last_error: str


_standing: Final[ColumnElement[str]] = case((jobs.c.hold.is_not(None), JobStanding.HELD.value), else_=jobs.c.state)
_LANE: Final = (jobs.c.destination, jobs.c.kind, jobs.c.rule)
_COLUMNS: Final = (
    *(jobs.c.id, *_LANE, jobs.c.subject, jobs.c.study_uid, jobs.c.priority, jobs.c.time_window),
    *(jobs.c.wants_commitment, jobs.c.state, jobs.c.created_at, jobs.c.due_at, jobs.c.attempts, jobs.c.last_error),
    *(jobs.c.lease, jobs.c.failing_since, job_holds.c.until),
)


async def list_jobs(reader: IndexReader, choice: Choice) -> AsyncGenerator[Job, None]:
    """In the order in which they were first owed."""
    query = select(*_COLUMNS).outerjoin_from(jobs, job_holds).where(*choice.conditions()).order_by(jobs.c.id)
    async with aclosing(reader.stream(query)) as rows:
        async for row in rows:
            yield _job(row)


async def find_jobs(reader: IndexReader, ids: Sequence[int]) -> dict[int, Job]:
    """Those that there are."""
    named = select(func.json_each(json.dumps(ids)).table_valued("value").c.value)
    query = select(*_COLUMNS).outerjoin_from(jobs, job_holds).where(jobs.c.id.in_(named)).order_by(jobs.c.id)
    return {job.id: job for job in map(_job, await reader.all(query))}


async def summarise_lanes(reader: IndexReader, choice: Choice) -> list[LaneSummary]:
    """By destination, kind and rule."""
    counts = select(
        *_LANE,
        *(func.sum(case((_standing == standing.value, 1), else_=0)) for standing in JobStanding),
        func.min(jobs.c.created_at),
        func.min(case((_standing == JobStanding.WAITING.value, jobs.c.due_at))),
    )
    # Of the row with the latest time: SQLite takes a bare column from where the one maximum is found.
    errors = select(*_LANE, literal_column("jobs.last_error"), func.max(jobs.c.due_at)).where(jobs.c.last_error != "")
    conditions = tuple(choice.conditions())
    last: dict[tuple[Any, ...], str] = {
        tuple(row[:3]): str(row[3]) for row in await reader.all(errors.where(*conditions).group_by(*_LANE))
    }
    rows: Sequence[Sequence[Any]] = await reader.all(counts.where(*conditions).group_by(*_LANE).order_by(*_LANE))
    return [
        LaneSummary(
            lane=Lane(row[0], JobKind(row[1]), row[2]),
            waiting=row[3],
            held=row[4],
            running=row[5],
            dead=row[6],
            oldest_at=row[7],
            next_due_at=row[8],
            last_error=last.get(tuple(row[:3]), ""),
        )
        for row in rows
    ]


def retry(writer: IndexWriter, ids: Iterable[int], now: float) -> list[int]:
    """Have jobs due now, as if they had never been tried; answers those that could be: that are not running."""
    execute = writer.connection.execute
    retried = [one for one in ids if execute(_RETRY, (now, one)).rowcount]
    if retried:
        (count,) = execute("PRAGMA user_version").fetchone()
        execute(f"PRAGMA user_version = {(count + 1) % (1 << 31)}")  # see lane_scan.py
    return retried


def cancel(writer: IndexWriter, ids: Iterable[int]) -> list[int]:
    """Have jobs forgotten; answers those that were there."""
    return [one for one in ids if writer.connection.execute(_CANCEL, (one,)).rowcount]


def _job(row: Sequence[Any]) -> Job:
    return job_of(row[:-1], held_until=row[-1] if row[9] == JobState.WAITING.value else None)
