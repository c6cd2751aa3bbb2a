"""The outbox: work owed to others, durable with its cause, taken by lease, and done at least once.

Theory of operation. A job is a row that is written in the transaction of whatever causes it, by
:func:`~pacslite.archive.index.job_rows.owe`. Jobs of one destination, kind and rule are a lane. Whoever works takes the
next ones of a lane by lease: for that long they are its own, and afterwards anybody's again, so a crash loses nothing.
What is done leaves the outbox in the same transaction as its consequences. A job that was made new while somebody had
it (its object was replaced) has lost its lease, so what became of the old one settles nothing, and it is done again.

Which lanes have something to do is read without the writer, by as many steps through an index as there are lanes,
however many jobs are in them; and not at all while nobody has written since (``PRAGMA data_version``).
"""

from __future__ import annotations

import itertools
import math
import secrets
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from pacslite.archive.index import job_lists, job_rows
from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.job_lists import Choice, LaneSummary, find_jobs, list_jobs, summarise_lanes
from pacslite.archive.index.job_rows import Failure
from pacslite.archive.index.lane_scan import OpenLane, Scan, Scanner
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job, Lane, NewJob

__all__ = ["Change", "ChangesFailed", "Choice", "Failure", "LaneSummary", "OpenLane", "Outbox", "Settled"]

Change = Callable[[IndexWriter], None]
"""What else happens in the transaction that settles a job."""

_LEASE_S = 120.0
_TIDIED_AT_ONCE = 20
"""Transactions; a few hundred milliseconds. Other lanes do not wait for longer, nor do leases to be renewed."""
_UNFIT = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a job that was taken."""

    job: Job
    change: Change | None = None


class ChangesFailed(Exception):
    """Some changes raised: their jobs are still taken. All others are settled; ``lost`` are those that were lost."""

    def __init__(self, failed: Sequence[tuple[Job, Exception]], lost: Sequence[Job]) -> None:
        super().__init__(f"{len(failed)} changes failed, the first with {failed[0][1]!r}")
        self.failed = failed
        self.lost = lost


class Outbox:
    """The outbox of an archive; ``clock`` is seconds since 1970-01-01 UTC. Any number of processes may use it."""

    def __init__(self, index: GroupCommit, reader: IndexReader, *, clock: Callable[[], float] = time.time) -> None:
        self._index = index
        self._reader = reader
        self._clock = clock
        self._scanner = Scanner(reader)
        self._leases = (f"{secrets.token_hex(6)}-{number}" for number in itertools.count())
        self._longest_lease_s = _LEASE_S
        self.retries = 0
        """How often jobs have been retried by hand, as of the last :meth:`open_lanes`."""
        self._when_added: Callable[[str], None] | None = None

    # --- Owing ---

    async def owe(self, jobs: Sequence[NewJob]) -> None:
        """In a transaction of their own."""
        now = self._clock()
        await self._index.run(lambda writer: job_rows.owe(writer, jobs, now))
        self.added()

    def added(self, destination: str = "") -> None:
        """In the event loop: jobs were committed by this process. With a ``destination``, it has just been heard of,
        and is tried again at once however often it failed before."""
        if self._when_added is not None:
            self._when_added(destination)

    def when_added(self, call: Callable[[str], None] | None) -> None:
        """Have ``call`` called with what :meth:`added` is; there is one at most."""
        self._when_added = call

    # --- Working ---

    async def open_lanes(self) -> Sequence[OpenLane]:
        """Lanes with waiting jobs, and when the first of them are due. What was held too long is let go first; if that
        is very much, some of it, and whoever asked by :meth:`when_added` is called for the rest."""
        for _ in range(_TIDIED_AT_ONCE):
            scan = await self._scanner.scan()
            now = self._clock()
            if not self._is_over(scan, now):
                break
            await self._index.run(partial(_tidy, now=now, latest=now + 2 * self._longest_lease_s))
        else:
            scan = await self._scanner.scan()
            self.added()
        self.retries = scan.retries
        return scan.lanes

    async def take(self, lane: Lane, *, most: int, lease_s: float) -> Sequence[Job]:
        """The next of a lane: by priority, then as they became due. Those whose time window is closed are put off."""
        self._longest_lease_s = max(self._longest_lease_s, lease_s)
        lease, now = next(self._leases), self._clock()
        return await self._index.run(
            lambda writer: job_rows.take(writer, lane, most=most, lease=lease, now=now, until=now + lease_s)
        )

    async def renew(self, jobs: Sequence[Job], *, lease_s: float) -> Sequence[Job]:
        """Have them for ``lease_s`` from now on; answers those that were lost."""
        until = self._clock() + lease_s
        return await self._index.run(lambda writer: job_rows.renew(writer, jobs, until=until))

    async def settle(self, done: Sequence[Settled]) -> Sequence[Job]:
        """Remove them, each with its change, in one transaction; answers those that were lost, unchanged.

        A change that raises does not keep the others from being made: :class:`ChangesFailed` tells of it afterwards.
        If the index cannot be written, nothing has happened, and that is no change's fault: it may be done again.
        """
        try:
            return await self._index.run(lambda writer: _settle(writer, done))
        except Exception as error:
            if _cannot_write(error):
                raise
            if len(done) == 1:
                raise ChangesFailed([(done[0].job, error)], ()) from error
        lost: list[Job] = []
        failed: list[tuple[Job, Exception]] = []
        for one in done:
            try:
                lost += await self.settle([one])
            except ChangesFailed as error:
                failed += error.failed
        if failed:
            raise ChangesFailed(failed, lost)
        return lost

    async def fail(self, job: Job, *, reason: str, due_at: float, give_up: bool = False) -> None:
        await self.fail_all([Failure(job=job, reason=reason, due_at=due_at, give_up=give_up)])

    async def fail_all(self, failures: Sequence[Failure]) -> Sequence[Job]:
        """Have them waiting again, or given up; answers those that were lost."""
        now = self._clock()
        return await self._index.run(lambda writer: job_rows.fail(writer, failures, now))

    async def give_back(self, jobs: Iterable[Job]) -> None:
        """As if they had never been taken."""
        given = tuple(jobs)
        if given:
            await self._index.run(lambda writer: job_rows.give_back(writer, given))

    async def release_all(self) -> int:
        """Whatever is taken is anybody's again: for the start of the one who works, when there can be no other."""
        return await self._index.run(job_rows.release_all)

    async def give_up(self, lane: Lane, *, before: float, reason: str) -> int:
        """Give up what has been owed and untouched in ``lane`` since ``before``; how many there were."""
        count = 0
        while True:
            now = self._clock()
            given_up = await self._index.run(
                partial(job_rows.give_up, lane=lane, before=before, now=now, reason=reason)
            )
            count += given_up
            if given_up < job_rows.CHUNK:
                return count

    async def bring_forward(self, *, latest_s: float) -> int:
        """No job is put off for longer than ``latest_s`` seconds, unless the clock has been put back: have it due."""
        now = self._clock()
        return await self._index.run(partial(job_rows.bring_forward, now=now, latest=now + latest_s))

    # --- By hand ---

    def list(self, choice: Choice) -> AsyncGenerator[Job, None]:
        """In the order in which they were first owed."""
        return list_jobs(self._reader, choice)

    async def get(self, ids: Sequence[int]) -> dict[int, Job]:
        """Those of them that there are, by number."""
        return await find_jobs(self._reader, ids)

    async def lanes(self, choice: Choice) -> Sequence[LaneSummary]:
        """All that have jobs, whatever their state, in numbers."""
        return await summarise_lanes(self._reader, choice)

    async def retry(self, ids: Sequence[int]) -> Sequence[int]:
        """Have jobs due now, given up ones too, as if they had never been tried. Answers those that are not running."""
        now = self._clock()
        return await self._in_chunks(ids, partial(job_lists.retry, now=now))

    async def cancel(self, ids: Sequence[int]) -> Sequence[int]:
        """Have jobs forgotten; what is under way for one that is running may still arrive. Answers those there were."""
        return await self._in_chunks(ids, job_lists.cancel)

    async def _in_chunks(self, ids: Sequence[int], change: Callable[..., Sequence[int]]) -> Sequence[int]:
        """Others write in between."""
        changed: list[int] = []
        for at in range(0, len(ids), job_rows.CHUNK):
            some = ids[at : at + job_rows.CHUNK]
            changed += await self._index.run(partial(change, ids=some))
        return changed

    def _is_over(self, scan: Scan, now: float) -> bool:
        """Whether a hold is over, or a lease."""
        return (
            scan.first_hold <= now
            or scan.first_lease <= now
            or math.inf > scan.last_lease > now + 2 * self._longest_lease_s
        )


def _cannot_write(error: Exception) -> bool:
    """Whether it is the index, or its disk, that is not fit at the moment."""
    # Extended codes have the primary one in their lowest byte.
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNFIT


def _settle(writer: IndexWriter, done: Sequence[Settled]) -> Sequence[Job]:
    lost = []
    for one in done:
        if not job_rows.settle(writer, one.job):
            lost.append(one.job)
        elif one.change is not None:
            one.change(writer)
    return lost


def _tidy(writer: IndexWriter, *, now: float, latest: float) -> None:
    job_rows.release_expired(writer, now=now, latest=latest)
    job_rows.let_go(writer, now)
