"""The outbox: work owed to others, durable with its cause, taken by lease, and done at least once.

Theory of operation. A job is a row that is written in the transaction of whatever causes it, by
:func:`~pacslite.archive.index.job_rows.owe`. Jobs of one destination, kind and rule are a lane. Whoever works takes the
next ones of a lane by lease: for that long they are its own, and afterwards anybody's again, so a crash loses nothing.
What is done leaves the outbox in the same transaction as its consequences. A job that was made new while somebody had
it (its object was replaced) has lost its lease, so what became of the old one settles nothing, and it is done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job

Change = Callable[[IndexWriter], None]
"""What else happens in the transaction that settles a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a job that was taken."""

    job: Job
    change: Change | None = None


class Outbox:
    """The outbox of an archive; ``clock`` is seconds since 1970-01-01 UTC. Any number of processes may use it."""

    def __init__(self, index: GroupCommit, reader: IndexReader, *, clock: Callable[[], float] = time.time) -> None:
        self._index = index
        self._reader = reader
        self._clock = clock
