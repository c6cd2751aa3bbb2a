"""The archive: objects in, objects and their lists out. It does not know who is asking.

An archive is one data folder (``blobs/layout.py``): files, which are the truth, and an index, which can be rebuilt from
them. Writing goes through file threads and the index's one writer (``index/commit.py``); reading has connections of
its own.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

from pacslite.archive import listing
from pacslite.archive.blobs.disk import Disk
from pacslite.archive.blobs.filesystem import FilesystemBlobs
from pacslite.archive.blobs.layout import Layout, open_layout, server_is_running
from pacslite.archive.commitments import Commitments
from pacslite.archive.deletion import Deletions
from pacslite.archive.find import Finder
from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.sqlite import connect, prepare
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.ingest import Ingest, Workshop
from pacslite.archive.jobs import Outbox
from pacslite.archive.listing import Listing
from pacslite.archive.model import Origin, Stats, StoredObject
from pacslite.archive.query import Query, Row
from pacslite.archive.reading import Reading
from pacslite.archive.recovery import reconcile
from pacslite.archive.rules import Rules
from pacslite.archive.selection import Gone, Selection, look_up, select_objects
from pacslite.archive.settings import ArchiveSettings, StoreMode
from pacslite.archive.space import Space
from pacslite.archive.threads import FileThreads
from pacslite.errors import ObjectUnreadable, StoreInUseError
from pacslite.facts import IndexMigrated, Observe


class Archive:
    """Made by :meth:`open`."""

    def __init__(self, workshop: Workshop, outbox: Outbox, layout: Layout, reader: IndexReader, finder: Finder) -> None:
        self.settings = workshop.settings
        self.layout = layout
        self.workshop = workshop
        self.traffic = workshop.traffic
        self.list = Listing(reader, layout.folder)
        self.outbox = outbox
        self.commitments = Commitments(workshop.index, reader, workshop.threads, layout.folder, added=self.outbox.added)
        self.deletions = Deletions(workshop, reader)
        self._reader = reader
        self._finder = finder
        self._reading = Reading(workshop.threads)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, settings: ArchiveSettings, *, observe: Observe, disk: Disk | None = None
    ) -> AsyncIterator[Archive]:
        """Open the data folder, making it if it is new; put right what an unclean stop left. StoreInUseError if not."""
        loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            layout = stack.enter_context(open_layout(settings.folder, settings.store_mode))
            stored_bytes = await asyncio.to_thread(_prepare, layout, settings, observe)
            reader = IndexReader(layout.index, count=settings.readers, busy_timeout_s=settings.busy_timeout_s)
            stack.push_async_callback(reader.close)
            searcher = IndexReader(layout.index, count=settings.queries, busy_timeout_s=settings.busy_timeout_s)
            stack.push_async_callback(searcher.close)
            index = GroupCommit(layout.index, busy_timeout_s=settings.busy_timeout_s, loop=loop)
            stack.push_async_callback(asyncio.to_thread, index.close)
            threads = FileThreads(settings.file_threads, loop)
            stack.push_async_callback(asyncio.to_thread, threads.close)
            blobs = FilesystemBlobs(layout, disk or Disk(), direct_bytes=settings.direct_bytes)
            sweeper = _Sweeper(blobs, threads)
            space = Space(
                settings, stored_bytes=stored_bytes, clock=time.monotonic, count=_Counting(index).stored_bytes
            )
            stack.push_async_callback(space.close)
            unfinished = _Unfinished()
            stack.push_async_callback(unfinished.wait)
            outbox = Outbox(index, reader)
            workshop = Workshop(
                settings=settings,
                blobs=blobs,
                index=index,
                threads=threads,
                space=space,
                observe=observe,
                rules=Rules(settings.rules),
                jobs_added=outbox.added,
                sweep=sweeper.take,
                finish=unfinished.take,
            )
            yield cls(workshop, outbox, layout, reader, Finder(searcher, threads, settings))

    def ingest(self, origin: Origin) -> Ingest:
        """An object is coming; see :class:`Ingest`."""
        return Ingest(origin, self.workshop)

    async def read(self, sop_instance_uid: str) -> StoredObject | None:
        """Where the object with this UID is; None if there is none."""
        return await listing.find(self._reader, self.layout.folder, sop_instance_uid)

    async def select(self, unique_keys: Mapping[int, Sequence[str]]) -> Selection:
        """The objects below the entities that ``unique_keys`` name; see :func:`select_objects`."""
        return await select_objects(self._reader, self.layout.folder, unique_keys)

    async def look_up(self, uids: Sequence[str]) -> list[StoredObject | Gone]:
        """Where the objects with these SOP Instance UIDs are, in that order."""
        return await look_up(self._reader, self.layout.folder, uids)

    def load_into(
        self, slab: bytearray, objects: Sequence[StoredObject]
    ) -> asyncio.Future[list[memoryview | ObjectUnreadable]]:
        """The data sets of several small objects, read into ``slab``; see :meth:`Reading.load_into`."""
        return self._reading.load_into(slab, objects)

    def pieces(self, stored: StoredObject, *, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        """The data set's bytes in pieces; see :meth:`Reading.pieces`."""
        return self._reading.pieces(stored, piece_bytes=piece_bytes)

    def find(self, query: Query) -> AsyncGenerator[Sequence[Row], None]:
        """The answers to a query in batches, the first one soon and none of them empty. Close it: that breaks off
        whatever is running. However slowly it is read, neither the index nor another query waits for that."""
        return self._finder.find(query)

    async def stats(self) -> Stats:
        return await listing.stats(self._reader, self.layout.index, self.workshop.space.free_bytes)


def _prepare(layout: Layout, settings: ArchiveSettings, observe: Observe) -> int:
    """The index, up to date and consistent with the files; answers how many bytes are stored."""
    may_migrate = settings.store_mode is StoreMode.SERVER or not server_is_running(settings.folder)
    migration = prepare(layout.index, layout.backups, busy_timeout_s=settings.busy_timeout_s, may_migrate=may_migrate)
    if migration is not None:
        observe(
            IndexMigrated(
                from_revision=migration.from_revision, to_revision=migration.to_revision, backup=str(migration.backup)
            )
        )
    try:
        with contextlib.closing(connect(layout.index, busy_timeout_s=settings.busy_timeout_s)) as connection:
            reconciled = reconcile(layout, connection)
            stored_bytes = IndexWriter(connection).total_bytes() if settings.quota_bytes is not None else 0
    except sqlite3.DatabaseError as error:
        raise StoreInUseError(f"{layout.index}: {error}") from error
    if reconciled is not None:
        observe(reconciled)
    return stored_bytes


class _Sweeper:
    """Gathers names in flight that are safe, and has a file thread remove what has gathered."""

    def __init__(self, blobs: FilesystemBlobs, threads: FileThreads) -> None:
        self._blobs = blobs
        self._threads = threads
        self._names: collections.deque[str] = collections.deque()

    def take(self, name: str) -> None:
        self._names.append(name)
        if len(self._names) == 1:  # with more, a thread is at it and comes to this one too
            self._threads.start(self._sweep)

    def _sweep(self) -> None:
        with contextlib.suppress(IndexError):  # two threads may be at it
            while self._names:
                self._blobs.sweep((self._names.popleft(),))


class _Counting:
    """Counts what is stored, when another process has written: what this one stores and deletes is known anyway.

    In the writer, though it then waits for as long as it takes to read a row for each patient: so everybody whose
    commit is in it hears of that before, and everybody else afterwards.
    """

    def __init__(self, index: GroupCommit) -> None:
        self._index = index
        self._others_wrote = 0

    async def stored_bytes(self) -> int | None:
        others_wrote, stored = await self._index.run(self._count)
        self._others_wrote = others_wrote
        return stored

    def _count(self, writer: IndexWriter) -> tuple[int, int | None]:
        if writer.others_wrote == self._others_wrote:
            return writer.others_wrote, None
        writer.flush()
        return writer.others_wrote, writer.total_bytes()


class _Unfinished:
    """Work whose caller is gone and which is to come to its end all the same."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def take(self, task: asyncio.Task[object]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def wait(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller would have been told
