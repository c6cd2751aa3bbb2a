"""Deleting a study, a series or an instance, so that no crash leaves a row without its file or a file without its row.

Theory of operation
-------------------
First, one transaction looks at the whole: what speaks against it, and which objects there are; it begins the record of
the deletion. Then they go, some hundred at a time:

    their files get names under ``incoming``, durably;
    one transaction removes the rows, what was kept aside for them, what is still to be forwarded, and counts that in
    the record; it looks at these objects once more, and refuses them if something speaks against that by now;
    the files are removed from their places, durably; then the names under ``incoming``.

A crash before the transaction leaves names of files whose rows are there, a crash after it names of files without rows:
the next start tells them apart (``recovery.py``). A new object with the same UID is another file, wherever it comes to
lie, so nothing here or there takes it for the old one. Readers that have the old file open read it to its end.

Objects that come into a study while it is being deleted stay. Whoever stops waiting stops the deletion, after the
objects under way; what has gone by then is in the record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import select

from pacslite.archive.index import removal
from pacslite.archive.index.promises import deletions
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.removal import Removed
from pacslite.archive.index.standing import (
    NO_CONDITIONS,
    Conditions,
    Level,
    Standing,
    Target,
    members,
    standing,
    study_of,
)
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.ingest import Workshop
from pacslite.errors import ObjectsProtected
from pacslite.facts import ObjectsDeleted

__all__ = ["Conditions", "Deleted", "Deletion", "Deletions", "Level", "Standing", "Target", "protection", "refusal"]

T = TypeVar("T")

BATCH: Final = 256
"""Objects of one transaction: the index is kept from other writers for some ten milliseconds."""
_ATTEMPTS: Final = 10
"""How often an object is followed to where it was moved meanwhile; once is rare."""

Objection = Callable[[Standing], str]
"""Why objects may not go; empty if nothing speaks against it."""


def protection(standing: Standing) -> str:
    """Why nobody deletes these objects without force."""
    reasons = []
    if standing.forwards:
        reasons.append(f"{standing.forwards:,} still to be forwarded")
    if standing.committed:
        reasons.append(f"{standing.committed:,} that we have committed to")
    return f"of {standing.instances:,} objects, {' and '.join(reasons)}" if reasons else ""


def refusal(target: Target, standing: Standing, *, force: bool, objection: Objection = protection) -> str:
    """Why ``target`` may not be deleted; empty if it may."""
    if standing.studies > 1 and target.level is not Level.INSTANCE:
        return f"it is in {standing.studies} studies; name one of them"
    return "" if force or not standing.instances else objection(standing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """What has gone: ``bytes`` are those of data sets, kept aside or not; ``forwards`` are jobs that were cancelled."""

    instances: int = 0
    conflicts: int = 0
    bytes: int = 0
    forwards: int = 0

    def __add__(self, removed: Removed | Deleted) -> Deleted:
        return Deleted(
            instances=self.instances + removed.instances,
            conflicts=self.conflicts + removed.conflicts,
            bytes=self.bytes + removed.bytes,
            forwards=self.forwards + removed.forwards,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A deletion of the past. Without ``ended_at`` it was broken off, or is still at it."""

    level: str
    uid: str
    study_uid: str
    deleted_by: str
    forced: bool
    began_at: float
    ended_at: float | None
    instances: int
    bytes: int


class Deletions:
    """What can be deleted, is, and was."""

    def __init__(self, workshop: Workshop, reader: IndexReader) -> None:
        self._workshop = workshop
        self._reader = reader

    async def standing(self, target: Target, conditions: Conditions = NO_CONDITIONS) -> Standing:
        """How the objects of ``target`` stand at this moment."""
        return await self._reader.run(lambda connection: standing(connection, target, conditions))

    async def delete(
        self,
        target: Target,
        *,
        deleted_by: str,
        force: bool = False,
        objection: Objection = protection,
        conditions: Conditions = NO_CONDITIONS,
        batch: int = BATCH,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Deleted:
        """Delete all objects of ``target``; :class:`ObjectsProtected` if there is an ``objection``, and no ``force``.

        ``batch`` is how many go in one transaction; ``progress`` is called with how many of how many have gone.
        """
        started = time.perf_counter()
        run = _Run(target, conditions, objection, deleted_by=deleted_by, force=force)
        begun = await self._workshop.index.run(lambda writer: run.begin(writer, time.time()))
        if isinstance(begun, str):
            raise ObjectsProtected(f"{target.level} {target.uid}: {begun}")
        deleted, why, completed = Deleted(), "", False
        try:
            for at in range(0, len(begun.uids), batch):
                end = min(at + batch, len(begun.uids))
                gone = await self._undisturbed(self._go(run, begun, begun.uids[at:end], is_last=end == len(begun.uids)))
                deleted, why = deleted + gone.deleted, gone.refusal
                if why:
                    break
                progress(end, len(begun.uids))
            completed = not why
        finally:
            if begun.uids:
                self._tell(run, begun, deleted, completed=completed, seconds=time.perf_counter() - started)
        if why:
            so_far = f"; {deleted.instances:,} had been deleted before" if deleted.instances else ""
            raise ObjectsProtected(f"{target.level} {target.uid}: {why}{so_far}")
        return deleted

    async def history(self, most: int) -> Sequence[Deletion]:
        """The last deletions, the newest first."""
        table = deletions.c
        columns = (table.level, table.uid, table.study_uid, table.deleted_by, table.forced, table.began_at)
        query = select(*columns, table.ended_at, table.instances, table.bytes).order_by(table.id.desc()).limit(most)
        found = []
        async with aclosing(self._reader.stream(query)) as rows:
            async for level, uid, study, who, forced, began_at, ended_at, instances, size in rows:
                found.append(
                    Deletion(
                        level=str(level),
                        uid=str(uid),
                        study_uid=str(study),
                        deleted_by=str(who),
                        forced=bool(forced),
                        began_at=float(str(began_at)),
                        ended_at=None if ended_at is None else float(str(ended_at)),
                        instances=int(str(instances)),
                        bytes=int(str(size)),
                    )
                )
        return found

    async def _go(self, run: _Run, begun: _Begun, uids: Sequence[str], *, is_last: bool) -> _Gone:
        """Some of the objects."""
        run_in_thread, index, blobs = self._workshop.threads.run, self._workshop.index, self._workshop.blobs
        gone = Deleted()
        for _ in range(_ATTEMPTS):
            places = await self._reader.run(partial(removal.places, uids=uids))
            names = await run_in_thread(blobs.keep_in_sight, places)
            try:
                removed = await index.run(
                    partial(
                        run.remove, begun=begun, uids=uids, places=places, ended_at=time.time() if is_last else None
                    )
                )
            except BaseException:
                await run_in_thread(blobs.sweep, names.values())
                raise
            if isinstance(removed, str):
                await run_in_thread(blobs.sweep, names.values())
                return _Gone(gone, removed)
            self._workshop.space.free(removed.bytes)
            going = {path: names.pop(path) for path in removed.paths if path in names}
            await run_in_thread(blobs.remove_kept, going)
            await run_in_thread(blobs.sweep, names.values())
            gone, uids = gone + removed, removed.left
            if not uids:
                return _Gone(gone)
        return _Gone(gone, f"{len(uids):,} objects are being replaced all the time")

    async def _undisturbed(self, work: Coroutine[object, object, T]) -> T:
        """Wait for ``work``, which goes on to its end even if the waiting is cancelled."""
        task = asyncio.create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._workshop.finish(task)
            raise

    def _tell(self, run: _Run, begun: _Begun, deleted: Deleted, *, completed: bool, seconds: float) -> None:
        target = run.target
        self._workshop.observe(
            ObjectsDeleted(
                level=target.level.value,
                study=target.uid if target.level is Level.STUDY else begun.study_uid,
                series=target.uid if target.level is Level.SERIES else "",
                sop_instance=target.uid if target.level is Level.INSTANCE else "",
                deleted_by=run.deleted_by,
                forced=begun.forced,
                completed=completed,
                instances=deleted.instances,
                conflicts=deleted.conflicts,
                bytes=deleted.bytes,
                forwards=deleted.forwards,
                seconds=seconds,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """The record of a deletion, and what it is about."""

    record: int
    study_uid: str
    forced: bool
    uids: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Gone:
    deleted: Deleted
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class _Run:
    """The transactions of one deletion."""

    target: Target
    conditions: Conditions
    objection: Objection
    _: KW_ONLY
    deleted_by: str
    force: bool

    def begin(self, writer: IndexWriter, now: float) -> _Begun | str:
        """Nothing is recorded where there is nothing to delete. A text is why it may not be."""
        connection, target = writer.connection, self.target
        writer.flush()
        whole = standing(connection, target, self.conditions)
        if words := refusal(target, whole, force=self.force, objection=self.objection):
            return words
        forced = self.force and bool(whole.instances and self.objection(whole))
        uids, study_uid = members(connection, target), study_of(connection, target)
        record = 0
        if uids:
            values = (target.level.value, target.uid, study_uid, self.deleted_by, forced, now)
            record = connection.execute(_BEGIN, values).lastrowid or 0
        return _Begun(record=record, study_uid=study_uid, forced=forced, uids=uids)

    def remove(
        self, writer: IndexWriter, *, begun: _Begun, uids: Sequence[str], places: Sequence[str], ended_at: float | None
    ) -> Removed | str:
        """Some of the objects; ``ended_at`` is for the last ones."""
        writer.flush()
        some = standing(writer.connection, uids, self.conditions)
        if not self.force and some.instances and (words := self.objection(some)):
            return words
        removed = removal.remove(writer, uids, places=places)
        ended = None if removed.left else ended_at
        writer.connection.execute(_GO_ON, (removed.instances, removed.bytes, ended, begun.record))
        return removed


_BEGIN: Final = "INSERT INTO deletions (level, uid, study_uid, deleted_by, forced, began_at) VALUES (?, ?, ?, ?, ?, ?)"
_GO_ON: Final = "UPDATE deletions SET instances = instances + ?, bytes = bytes + ?, ended_at = ? WHERE id = ?"
