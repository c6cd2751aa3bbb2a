"""Retention: studies that are deleted without anybody asking, because they are old or room is needed.

Theory of operation
-------------------
A run goes through the studies from the one whose last object came longest ago. Those that are older than ``max_age_s``
are due. If more than ``high_water_bytes`` are stored after that, the next oldest ones are due as well, until no more
than ``low_water_bytes`` are left. Of a study that is due all goes or nothing: one object that may not go keeps the
others, and the run says why.

Finding the oldest studies reads the index from end to end, on a connection of its own and for some thousand studies at
once; when nothing can be due, that is not done. How a study stands is looked at twice: before, and in the transaction
that begins its deletion, when nothing can change any more. Each is a deletion of its own (``deletion.py``), on record.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from pacslite.archive.archive import Archive
from pacslite.archive.deletion import Conditions, Level, Standing, Target
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.writer import IndexWriter
from pacslite.errors import ObjectsProtected
from pacslite.facts import Observe, RetentionEnded

DELETED_BY: Final = "retention"
PAGE: Final = 5000
"""Studies that one look through the index finds."""
_EVER: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """What may go, and when; 0 is no such limit. AE titles are those of destinations."""

    max_age_s: float = 0.0
    high_water_bytes: int = 0
    low_water_bytes: int = 0
    delivered_to: tuple[str, ...] = ()
    committed_by: tuple[str, ...] = ()
    keep_committed: bool = True

    @property
    def is_any(self) -> bool:
        """Whether anything can ever be due."""
        return bool(self.max_age_s or self.high_water_bytes)


class Due(StrEnum):
    """Why a study's time has come."""

    AGE = "age"
    ROOM = "room"


class Kept(StrEnum):
    """Why it stays all the same."""

    FORWARDS = "still to be forwarded"
    AWAITED = "not committed to by a destination that is asked for it"
    COMMITTED = "committed to by us"
    UNDELIVERED = "not delivered to all of delivered_to"
    UNCOMMITTED = "not committed to by all of committed_by"
    CHANGED = "changed meanwhile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """About a study that is due: it goes, unless there are reasons in ``kept``. ``bytes`` are those kept aside, too."""

    study_uid: str
    due: Due
    newest: float
    """When its last object came: seconds since 1970-01-01 UTC."""
    instances: int
    bytes: int
    kept: tuple[Kept, ...]


@dataclass(slots=True)
class _Sums:
    studies: int = 0
    instances: int = 0
    bytes: int = 0


class Retention:
    """Applies rules to an archive. ``clock`` is seconds since 1970-01-01 UTC."""

    def __init__(
        self,
        archive: Archive,
        rules: RetentionRules,
        *,
        observe: Observe,
        clock: Callable[[], float] = time.time,
        page: int = PAGE,
    ) -> None:
        self._archive = archive
        self._rules = rules
        self._conditions = Conditions(delivered_to=rules.delivered_to, committed_by=rules.committed_by)
        self._observe = observe
        self._clock = clock
        self._page = page

    async def run(self, *, dry_run: bool) -> AsyncGenerator[Decision, None]:
        """One decision for each study that is due, after it has been carried out, unless it is a ``dry_run``."""
        started, sums, kept, error = time.perf_counter(), _Sums(), Counter[Kept](), ""
        stored = 0
        try:
            async with self._own_reader() as reader:
                stored = await reader.run(_stored_bytes)
                async with aclosing(self._due(reader, lambda: stored - sums.bytes)) as studies:
                    async for study_uid, newest, due in studies:
                        decision = await self._decided(study_uid, newest, due, dry_run=dry_run)
                        if not decision.instances:  # somebody else has deleted it
                            continue
                        if decision.kept:
                            kept.update(decision.kept)
                        else:
                            sums.studies += 1
                            sums.instances += decision.instances
                            sums.bytes += decision.bytes
                        yield decision
        except (OSError, sqlite3.Error) as caught:
            error = str(caught)
            raise
        finally:
            self._observe(
                RetentionEnded(
                    dry_run=dry_run,
                    studies=sums.studies,
                    instances=sums.instances,
                    bytes=sums.bytes,
                    kept=tuple((why.value, count) for why, count in kept.most_common()),
                    above_bytes=self._above(stored - sums.bytes),
                    error=error,
                    seconds=time.perf_counter() - started,
                )
            )

    def _above(self, stored: int) -> int:
        high = self._rules.high_water_bytes
        return max(0, stored - high) if high else 0

    async def _due(
        self, reader: IndexReader, stored: Callable[[], int]
    ) -> AsyncGenerator[tuple[str, float, Due], None]:
        """The oldest first; ``stored`` is how many bytes there are by now."""
        rules, last = self._rules, (-_EVER, "")
        if rules.max_age_s:
            async for newest, study_uid in self._oldest(reader, last, self._clock() - rules.max_age_s):
                last = newest, study_uid
                yield study_uid, newest, Due.AGE
        if self._above(stored()):
            async for newest, study_uid in self._oldest(reader, last, _EVER):
                if stored() <= rules.low_water_bytes:
                    return
                yield study_uid, newest, Due.ROOM

    async def _oldest(
        self, reader: IndexReader, last: tuple[float, str], before: float
    ) -> AsyncIterator[tuple[float, str]]:
        """Studies whose last object came ``before`` then, in the order of that, after the ``last`` one."""
        while page := await reader.run(partial(_page, last=last, before=before, most=self._page)):
            for last in page:
                yield last
            if len(page) < self._page:
                return

    async def _decided(self, study_uid: str, newest: float, due: Due, *, dry_run: bool) -> Decision:
        target, deletions = Target(level=Level.STUDY, uid=study_uid), self._archive.deletions
        standing = await deletions.standing(target, self._conditions)
        kept = self._reasons(standing, newest)
        if not kept and not dry_run:
            try:
                await deletions.delete(
                    target,
                    deleted_by=DELETED_BY,
                    objection=lambda now: "; ".join(self._reasons(now, newest)),
                    conditions=self._conditions,
                )
            except ObjectsProtected:
                kept = (Kept.CHANGED,)
        return Decision(
            study_uid=study_uid,
            due=due,
            newest=newest,
            instances=standing.instances,
            bytes=standing.bytes + standing.conflict_bytes,
            kept=kept,
        )

    def _reasons(self, standing: Standing, newest: float) -> tuple[Kept, ...]:
        """``newest`` is what the study was found due by."""
        reasons = {
            Kept.FORWARDS: standing.forwards,
            Kept.AWAITED: standing.awaited,
            Kept.COMMITTED: self._rules.keep_committed and standing.committed,
            Kept.UNDELIVERED: standing.undelivered,
            Kept.UNCOMMITTED: standing.uncommitted,
            Kept.CHANGED: standing.newest > newest,
        }
        return tuple(why for why, holds in reasons.items() if holds)

    @asynccontextmanager
    async def _own_reader(self) -> AsyncIterator[IndexReader]:
        """What reads for seconds must not be in the way of those who need moments."""
        settings = self._archive.settings
        reader = IndexReader(self._archive.layout.index, count=1, busy_timeout_s=settings.busy_timeout_s)
        try:
            yield reader
        finally:
            await reader.close()


_OLDEST: Final = """
    SELECT max(i.stored_at) AS newest, st.study_uid
    FROM studies st CROSS JOIN series se ON se.study = st.id CROSS JOIN instances i ON i.series = se.id
    GROUP BY st.id
    HAVING newest < :before AND (newest, st.study_uid) > (:newest, :uid)
    ORDER BY newest, st.study_uid LIMIT :most
"""


def _page(
    connection: sqlite3.Connection, *, last: tuple[float, str], before: float, most: int
) -> list[tuple[float, str]]:
    return connection.execute(_OLDEST, {"before": before, "newest": last[0], "uid": last[1], "most": most}).fetchall()


def _stored_bytes(connection: sqlite3.Connection) -> int:
    return IndexWriter(connection).total_bytes()
