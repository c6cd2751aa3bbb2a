"""Are files and index in agreement? Checking, repairing, and making the index anew; all of it beside a running server.

The work runs in a thread and is handed out as an asynchronous generator: a :class:`Finding` for each thing that is not
as it should be, :class:`Progress` in between. Nothing here deletes an object's bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pacslite.archive.archive import Archive
from pacslite.archive.blobs.layout import open_layout, sync_folder
from pacslite.archive.counters import recount
from pacslite.archive.findings import Finding, Problem, Progress, Report
from pacslite.archive.index.salvage import let_go, salvage
from pacslite.archive.index.sqlite import connect, create, immediate
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.inspection import Inspection
from pacslite.archive.reconstruction import Reconstruction
from pacslite.archive.recovery import let_be
from pacslite.archive.settings import ArchiveSettings, StoreMode

__all__ = ["Finding", "Problem", "Progress", "SetAside", "check", "is_index_sound", "rebuild", "set_index_aside"]

_REPORT_S = 0.1
_FRESH = "index.fresh.sqlite"


async def check(
    archive: Archive, *, digest: bool = False, repair: bool = False
) -> AsyncGenerator[Finding | Progress, None]:
    """Compare files and index both ways, and the counters; ``digest`` reads every file, ``repair`` changes things."""
    async with contextlib.aclosing(_in_thread(_check(archive, digest=digest, repair=repair))) as report:
        async for item in report:
            yield item


async def rebuild(archive: Archive) -> AsyncGenerator[Finding | Progress, None]:
    """Make the index anew from the files alone, and let it take the old one's place."""
    async with contextlib.aclosing(_in_thread(_rebuild(archive))) as report:
        async for item in report:
            yield item


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Where a damaged index is now, and what of the new one was taken from it: rows by table."""

    path: str
    salvaged: Mapping[str, int]


def set_index_aside(settings: ArchiveSettings) -> SetAside:
    """Move a damaged index to ``backups``; :class:`StoreInUseError` while a server runs.

    The one that takes its place has nothing but what could be read of all that is owed and promised, which no file
    tells; to be followed by :func:`rebuild`, for which what is owed waits.
    """
    with open_layout(settings.folder, StoreMode.SERVER) as layout:
        let_be(layout)
        fresh = layout.folder / _FRESH
        fresh.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            create(connection)
            with immediate(connection):
                salvaged = salvage(layout.index, connection) if layout.index.exists() else {}
        aside = layout.backups / f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.sqlite"
        with contextlib.suppress(FileNotFoundError):
            os.link(layout.index, aside)
        for suffix in ("-wal", "-shm"):  # the new one must not find them: they are the old one's
            with contextlib.suppress(FileNotFoundError):
                Path(f"{layout.index}{suffix}").rename(f"{aside}{suffix}")
        fresh.rename(layout.index)
        sync_folder(layout.backups)
        sync_folder(layout.folder)
        return SetAside(path=str(aside), salvaged=salvaged)


async def is_index_sound(archive: Archive) -> bool:
    """Whether the index can be read from end to end; takes seconds for a million objects."""

    def check() -> bool:
        with contextlib.closing(connect(archive.layout.index, busy_timeout_s=archive.settings.busy_timeout_s)) as index:
            try:
                return bool(index.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
            except sqlite3.DatabaseError:
                return False

    return await asyncio.to_thread(check)


def _check(archive: Archive, *, digest: bool, repair: bool) -> Report:
    settings = archive.settings
    with contextlib.closing(connect(archive.layout.index, busy_timeout_s=settings.busy_timeout_s)) as connection:
        blobs = archive.workshop.blobs
        yield from Inspection(IndexWriter(connection), blobs, settings, digest=digest, repair=repair).run()
        yield from recount(connection, repair=repair)
        if repair:  # whatever has a file has a row now
            with immediate(connection):
                let_go(connection)


def _rebuild(archive: Archive) -> Report:
    settings = archive.settings
    with contextlib.closing(connect(archive.layout.index, busy_timeout_s=settings.busy_timeout_s)) as connection:
        yield from Reconstruction(connection, archive.layout, settings).run()


async def _in_thread(report: Report) -> AsyncGenerator[Finding | Progress, None]:
    """Run a generator in a thread: everything it finds, and its progress ten times a second."""

    busy = threading.Lock()  # a cancelled wait leaves the thread at it for a moment

    def some() -> list[Finding | Progress] | None:
        items: list[Finding | Progress] = []
        until = time.monotonic() + _REPORT_S
        with busy:
            for item in report:
                if items and isinstance(item, Progress) and isinstance(items[-1], Progress):
                    items[-1] = item
                else:
                    items.append(item)
                if time.monotonic() > until:
                    return items
        return items or None

    def close() -> None:
        with busy:
            report.close()

    try:
        while (items := await asyncio.to_thread(some)) is not None:
            for item in items:
                yield item
    finally:
        await asyncio.to_thread(close)
