"""Outboxes without objects, on a clock of the test's."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.sqlite import connect, create
from pacslite.archive.job import Job, JobKind, Lane, NewJob
from pacslite.archive.jobs import Outbox

LANE = Lane("DEST", JobKind.FORWARD, "rule")
LEASE_S = 100.0
NOON = 1_700_049_600.0
"""2023-11-15 12:00 UTC."""


class Clock:
    """Stands still until it is put somewhere."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class OutboxFile:
    """An outbox in a file, that any number of holders may open."""

    path: Path
    clock: Clock

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Outbox]:
        """As a process opens it, with connections of its own."""
        async with contextlib.AsyncExitStack() as stack:
            index = GroupCommit(self.path, busy_timeout_s=20, loop=asyncio.get_running_loop())
            stack.push_async_callback(asyncio.to_thread, index.close)
            reader = IndexReader(self.path, count=1, busy_timeout_s=20)
            stack.push_async_callback(reader.close)
            yield Outbox(index, reader, clock=self.clock)

    def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query, values).fetchall()


def outbox_file(folder: Path) -> OutboxFile:
    path = folder / "index.sqlite"
    with closing(connect(path, busy_timeout_s=1)) as connection:
        create(connection)
    return OutboxFile(path, Clock())


def new(subject: str, *, lane: Lane = LANE, **changes: object) -> NewJob:
    return replace(NewJob(lane=lane, subject=subject, study_uid="1.2"), **changes)  # type: ignore[arg-type] # at run time


def forwards(destination: str, rule: str = "rule") -> Lane:
    return Lane(destination, JobKind.FORWARD, rule)


async def take(outbox: Outbox, lane: Lane = LANE, most: int = 100) -> dict[str, Job]:
    """The next jobs, by subject, in order."""
    return {job.subject: job for job in await outbox.take(lane, most=most, lease_s=LEASE_S)}
