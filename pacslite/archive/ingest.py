"""One object on its way in: bytes as they arrive, then one commit that answers when the object is durable.

Theory of operation
-------------------
``write`` only collects. Up to ``spool_bytes`` an object stays in memory; a larger one goes to the file threads in
pieces, one in flight, and waiting for it is what slows the sender down. ``commit`` is one job in a file thread for a
small object: read the header, check who it is, write the file, link it to its place, sync the file and its directory;
the thread itself hands the row to the index writer, and the answer comes back with the writer's next group commit.

Which of two objects with one SOP Instance UID came first is decided by the index alone. If the row finds its UID taken:

    the same bytes and transfer syntax    this one is given up                                       IDENTICAL
    different, policy keep                this one moves to ``conflicts/``, which is recorded       KEPT_ASIDE
    different, policy replace             this one, beside the old file if need be, gets the row;
                                          the old file is removed once that is committed             REPLACED

A file that finds its place taken is not placed yet and asks first: sending a study again syncs nothing. If the index
does not know what is in its place (a crash left it there, or another process is just storing it), it takes a version
of the name. At every moment the name under ``incoming`` says where else the file may be, so a crash between any two
steps leaves a store that the next start puts right (``recovery.py``).

What the rules (``rules.py``) owe others for an object is written in the transaction of its row, whenever the row is
new: also when it replaces another, or gives a lost file back. What is there already or is kept aside owes nothing.

Leaving without commit leaves nothing behind. A commit that nobody waits for any more is still carried to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from pacslite.archive.blobs.disk import Buffer
from pacslite.archive.blobs.filesystem import FilesystemBlobs
from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.entry import Entry
from pacslite.archive.index.writer import KEPT_ASIDE, Existing, IndexWriter
from pacslite.archive.intake import Intake, refusal
from pacslite.archive.model import Origin, Outcome, Stored
from pacslite.archive.rules import Rules
from pacslite.archive.settings import ArchiveSettings, DuplicatePolicy
from pacslite.archive.space import Space
from pacslite.archive.spool import Spool
from pacslite.archive.threads import FileThreads
from pacslite.archive.traffic import Traffic
from pacslite.errors import OutOfResources
from pacslite.facts import InstanceStored, Observe

__all__ = ["Ingest", "Origin", "Workshop"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What every ingest of an archive works with."""

    settings: ArchiveSettings
    blobs: FilesystemBlobs
    index: GroupCommit
    threads: FileThreads
    space: Space
    observe: Observe
    rules: Rules
    jobs_added: Callable[[], None]
    """Told when something is owed to others that was not before."""
    sweep: Callable[[str], None]
    """Takes the name of a file that was in flight and is safe now."""
    finish: Callable[[asyncio.Task[object]], None]
    """Sees to it that this comes to its end before the archive closes."""
    traffic: Traffic = field(default_factory=Traffic)


class Ingest:
    """An asynchronous context manager; :meth:`write` any number of times, then :meth:`commit` once, in one task."""

    __slots__ = ("_intake", "_limit", "_origin", "_sealed", "_size", "_spool", "_started", "_workshop", "_writing")

    def __init__(self, origin: Origin, workshop: Workshop) -> None:
        self._origin = origin
        self._workshop = workshop
        self._spool = Spool()
        self._limit = workshop.settings.spool_bytes
        self._size = 0
        self._intake: Intake | None = None
        self._writing: asyncio.Future[None] | None = None
        self._sealed = False
        self._started = 0.0

    async def __aenter__(self) -> Self:
        self._started = time.perf_counter()
        await self._workshop.space.take(0)
        return self

    async def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the data set, which must not change any more; waits while the disk is behind."""
        size = len(data)
        largest = self._workshop.settings.max_object_bytes
        if largest is not None and self._size + size > largest:
            raise OutOfResources(f"Object is larger than the limit of {largest} bytes")
        await self._workshop.space.take(size)
        self._size += size
        self._workshop.traffic.came()
        self._spool.append(data)
        if self._spool.size > self._limit:
            await self._spill()

    async def commit(self) -> Stored:
        """Make the object durable and visible. Raises DataSetMismatch, CannotUnderstand or OutOfResources."""
        await self._written()
        intake = self._open()
        self._sealed = True
        decision: asyncio.Future[Existing | None] = asyncio.get_running_loop().create_future()
        self._workshop.threads.start(_seal, self._workshop, intake, self._spool.take(), decision)
        try:
            existing = await asyncio.shield(decision)
        except asyncio.CancelledError:
            self._workshop.finish(asyncio.create_task(self._conclude(intake, decision)))
            raise
        except Exception:
            existing = None
        if decision.exception() is None and existing is None and _entry(intake).path:
            return self._stored(intake, Outcome.STORED)
        return await self._undisturbed(self._conclude(intake, decision))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sealed:
            return
        self._sealed = True
        if self._intake is None:
            self._workshop.space.settle(self._size, stored=False)
        else:
            await self._undisturbed(self._abandon(self._intake))

    # --- Writing ---

    def _open(self) -> Intake:
        if self._intake is None:
            workshop = self._workshop
            self._intake = Intake(self._origin, workshop.blobs, workshop.settings, workshop.rules)
        return self._intake

    async def _spill(self) -> None:
        pieces = self._spool.take()
        await self._written()
        self._limit = self._workshop.settings.piece_bytes
        self._writing = self._workshop.threads.submit(self._open().absorb, pieces)

    async def _written(self) -> None:
        """Wait for the piece in flight."""
        if self._writing is None:
            return
        try:
            await asyncio.shield(self._writing)
            self._writing = None
        except Exception as error:
            raise self._refusal(error) from error

    async def _abandon(self, intake: Intake) -> None:
        if self._writing is not None:
            await asyncio.wait((self._writing,))
            if not self._writing.cancelled():
                self._writing.exception()  # whoever was writing has been told
        await self._workshop.threads.run(intake.discard)
        self._workshop.space.settle(self._size, stored=False)

    # --- Committing ---

    async def _conclude(self, intake: Intake, decision: asyncio.Future[Existing | None]) -> Stored:
        """Whatever is not the simple case: the UID was taken, or the place was, or something failed."""
        try:
            return await self._decided(intake, await decision)
        except Exception as error:
            await self._workshop.threads.run(intake.discard)
            self._workshop.space.settle(self._size, stored=False)
            raise self._refusal(error) from error

    async def _decided(self, intake: Intake, existing: Existing | None) -> Stored:
        """``existing`` is what has the UID; without it, an object in no place found its place taken by a stranger."""
        run, index = self._workshop.threads.run, self._workshop.index
        entry = _entry(intake)
        if existing is None and not entry.path:
            entry = await run(intake.place_beside)
            existing = await index.run(_addition(entry))
        if existing is None:
            return self._stored(intake, Outcome.STORED)
        if existing.is_same_as(entry):
            return await self._yield_to(intake, existing)
        if self._workshop.settings.duplicates is DuplicatePolicy.REPLACE:
            return await self._take_over(intake, existing)
        return await self._keep_aside(intake)

    async def _keep_aside(self, intake: Intake) -> Stored:
        run, index = self._workshop.threads.run, self._workshop.index
        entry = await run(intake.set_aside)
        if not intake.is_placed:
            if await index.run(lambda writer: _is_aside(writer, entry)):
                return self._stored(intake, Outcome.KEPT_ASIDE, takes_room=False)
            # One like it lies there, but no row says that it stays: it may just be being deleted.
            entry = await run(partial(intake.set_aside, is_known=False))
        is_new, is_kept = await index.run(
            lambda writer: (writer.keep_aside(entry, reason=KEPT_ASIDE), _is_aside(writer, entry))
        )
        if not is_kept:  # somebody else was faster with the same
            await run(intake.discard)
        return self._stored(intake, Outcome.KEPT_ASIDE, takes_room=is_new)

    async def _take_over(self, intake: Intake, existing: Existing) -> Stored:
        run, index, blobs = self._workshop.threads.run, self._workshop.index, self._workshop.blobs
        entry = _entry(intake)
        if not entry.path:
            entry = await run(intake.place_beside)
        names = await run(blobs.keep_in_sight, (existing.path,))
        try:
            replaced = await index.run(lambda writer: _replace(writer, entry, existing))
            if isinstance(replaced, _Overtaken):
                return await self._decided(intake, replaced.by)
            if replaced is not None:
                if replaced.is_same_as(entry):  # somebody else was faster with the same
                    return await self._yield_to(intake, replaced)
                if replaced.path != entry.path:
                    with contextlib.suppress(OSError):  # the row has the new file already
                        await run(blobs.remove, replaced.path)
                self._workshop.space.free(replaced.size)
            return self._stored(intake, Outcome.REPLACED if replaced else Outcome.STORED)
        finally:
            for name in names.values():
                self._workshop.sweep(name)

    async def _yield_to(self, intake: Intake, existing: Existing) -> Stored:
        """The same object is there already. Give this one up, unless the other one's file has been lost or cut."""
        run, index, blobs = self._workshop.threads.run, self._workshop.index, self._workshop.blobs
        entry = _entry(intake)
        if entry.path != existing.path and await run(is_sound, blobs, existing):
            await run(intake.discard)
            return self._stored(intake, Outcome.IDENTICAL)
        if not entry.path:
            entry = await run(intake.place_beside)
        current = await index.run(lambda writer: writer.restore(entry, lambda other: is_sound(blobs, other)))
        if current is not None and current.path != entry.path:  # it has been replaced or restored meanwhile
            return await self._decided(intake, current)
        if existing.path != entry.path:
            with contextlib.suppress(OSError):  # the row has this file already
                await run(blobs.quarantine_if_there, existing.path)
        if entry.owed:
            self._workshop.jobs_added()
        return self._stored(intake, Outcome.IDENTICAL)

    def _stored(self, intake: Intake, outcome: Outcome, *, takes_room: bool = True) -> Stored:
        entry, identity, origin = _entry(intake), intake.identity, self._origin
        assert identity is not None
        if name := intake.release():
            self._workshop.sweep(name)
        self._workshop.space.settle(self._size, stored=takes_room and outcome is not Outcome.IDENTICAL)
        if entry.owed and outcome in (Outcome.STORED, Outcome.REPLACED):
            self._workshop.jobs_added()
        self._workshop.observe(
            InstanceStored(
                sop_class=origin.sop_class_uid,
                sop_instance=origin.sop_instance_uid,
                study=entry.study_uid,
                series=entry.series_uid,
                transfer_syntax=origin.transfer_syntax_uid,
                source_ae=origin.calling_ae,
                outcome=outcome.value,
                size=entry.size,
                seconds=time.perf_counter() - self._started,
            )
        )
        return Stored(
            outcome=outcome,
            sop_class_uid=origin.sop_class_uid,
            sop_instance_uid=origin.sop_instance_uid,
            study_uid=entry.study_uid,
            series_uid=entry.series_uid,
            size=entry.size,
            digest=entry.digest.hex(),
            warning=identity.warning,
        )

    def _refusal(self, error: Exception) -> Exception:
        if isinstance(error, OSError | sqlite3.Error):
            self._workshop.space.full()
        return refusal(error)

    async def _undisturbed(self, work: Coroutine[object, object, T]) -> T:
        """Wait for ``work``, which goes on to its end even if the waiting is cancelled."""
        task = asyncio.create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._workshop.finish(task)
            raise


def _seal(
    workshop: Workshop, intake: Intake, pieces: Sequence[Buffer], decision: asyncio.Future[Existing | None]
) -> None:
    """In a file thread: the file, then straight to the index."""
    try:
        entry = intake.seal(pieces)
    except BaseException as error:  # it has left nothing behind; the ingest is told
        workshop.threads.fail(decision, error)
    else:
        workshop.index.submit(_addition(entry), decision)


def _addition(entry: Entry) -> Callable[[IndexWriter], Existing | None]:
    """Add the object; one that found its place taken only asks who has its UID."""
    if entry.path:
        return lambda writer: writer.add(entry)
    return lambda writer: writer.find(entry.origin.sop_instance_uid)


@dataclass(frozen=True, slots=True)
class _Overtaken:
    """Nothing was replaced: somebody else has replaced it meanwhile, by an object whose file is not in sight."""

    by: Existing


def _replace(writer: IndexWriter, entry: Entry, seen: Existing) -> Existing | _Overtaken | None:
    """Replace what was seen, whose file is in sight until it is removed; anything else is to be looked at first."""
    current = writer.find(entry.origin.sop_instance_uid)
    if current is not None and current != seen and not current.is_same_as(entry):
        return _Overtaken(current)
    return writer.replace(entry)


def _is_aside(writer: IndexWriter, entry: Entry) -> bool:
    """Whether a row says that this is what lies there under ``conflicts``."""
    return entry.path in writer.conflicts_of(entry.origin.sop_instance_uid)


def is_sound(blobs: FilesystemBlobs, existing: Existing) -> bool:
    """Whether a stored object's file is there in full."""
    return blobs.size(existing.path) == existing.file_size


def _entry(intake: Intake) -> Entry:
    assert intake.entry is not None
    return intake.entry
