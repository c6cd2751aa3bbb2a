"""Are the files of some objects as the index says? Asked in bulk, and answered in file threads.

Theory of operation. To be there with the right size is asked of many files in one call of a thread. To have the right
content means reading: several threads do that at once, a few megabytes each, the next file being fetched while one is
digested, so that the disk always has something to do. They are fewer than there are file threads, because objects
arrive meanwhile. What was read is not kept in the page cache: it has no further use.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3
from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects import sqlite

from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.schema import instances, series, studies
from pacslite.archive.threads import FileThreads

_READERS: Final = 3
_BATCH_BYTES: Final = 8 << 20
_PIECE_BYTES: Final = 1 << 20
_FETCHED_AHEAD_BYTES: Final = 4 << 20
_OUR_OWN_TROUBLE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Says nothing about a file."""


class Indexed(NamedTuple):
    """What the index says of an object and its file: just that, as it is made for hundreds of thousands."""

    sop_instance_uid: str
    sop_class_uid: str
    digest: bytes
    path: str
    data_set_offset: int
    size: int

    @property
    def file_size(self) -> int:
        return self.data_set_offset + self.size


class FileChecks:
    """For one archive."""

    def __init__(self, reader: IndexReader, threads: FileThreads, folder: Path) -> None:
        self._reader = reader
        self._threads = threads
        self._folder = str(folder)

    async def find(self, sop_instance_uids: Collection[str]) -> dict[str, Indexed]:
        """What the index has of these objects, by UID."""
        return await self._reader.run(partial(_find, list(sop_instance_uids), self._folder))

    async def unsound(self, objects: Sequence[Indexed], *, digest: bool) -> set[str]:
        """The UIDs of those whose file is missing, has another size or, with ``digest``, another content.

        Raises :class:`OSError` for what is no file's fault.
        """
        if not digest:
            return await self._threads.run(_without_their_size, objects)
        batches = _batches(objects)
        found: set[str] = set()

        async def read() -> None:
            for batch in batches:
                found.update(await self._threads.run(_without_their_content, batch))

        await asyncio.gather(*(read() for _ in range(_READERS)))
        return found


def _batches(objects: Sequence[Indexed]) -> Iterator[list[Indexed]]:
    batch: list[Indexed] = []
    size = 0
    for stored in objects:
        batch.append(stored)
        size += stored.size
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# --- In a connection's thread ----------------------------------------------------------------------------------------


def _find(uids: Sequence[str], folder: str, connection: sqlite3.Connection) -> dict[str, Indexed]:
    statement, constants = _whereabouts()
    found = {}
    for uid, sop_class, digest, path, offset, size, study_uid, series_uid in connection.execute(
        statement, {**constants, "uids": json.dumps(uids)}
    ):
        place = path or blob_path(
            study_uid=study_uid, series_uid=series_uid, sop_class_uid=sop_class, sop_instance_uid=uid
        )
        found[uid] = Indexed(uid, sop_class, digest, f"{folder}/{place}", offset, size)
    return found


@cache
def _whereabouts() -> tuple[str, Mapping[str, object]]:
    query = (
        select(
            instances.c.sop_instance_uid,
            instances.c.sop_class_uid,
            instances.c.digest,
            instances.c.path,
            instances.c.data_set_offset,
            instances.c.size,
            func.coalesce(studies.c.study_uid, ""),
            func.coalesce(series.c.series_uid, ""),
        )
        .select_from(instances.outerjoin(series, instances.c.series == series.c.id).outerjoin(studies))
        .where(
            instances.c.sop_instance_uid.in_(select(func.json_each(bindparam("uids")).table_valued("value").c.value))
        )
    )
    compiled = query.compile(dialect=sqlite.dialect(paramstyle="named"))
    return str(compiled), compiled.params


# --- In a file thread ------------------------------------------------------------------------------------------------


def _without_their_size(objects: Sequence[Indexed]) -> set[str]:
    return {stored.sop_instance_uid for stored in objects if not _has_its_size(stored)}


def _has_its_size(stored: Indexed) -> bool:
    try:
        return os.stat(stored.path).st_size == stored.file_size
    except OSError as error:
        if error.errno in _OUR_OWN_TROUBLE:
            raise
        return False


def _without_their_content(objects: Sequence[Indexed]) -> set[str]:
    unsound = set()
    buffer = memoryview(bytearray(_PIECE_BYTES))
    following = _open(objects[0]) if objects else None
    try:
        for number, stored in enumerate(objects, 1):
            current, following = following, None
            try:
                following = _open(objects[number]) if number < len(objects) else None
                if current is None or not _has_its_content(current, stored, buffer):
                    unsound.add(stored.sop_instance_uid)
            finally:
                _close(current)
    finally:
        _close(following)
    return unsound


def _open(stored: Indexed) -> int | None:
    """The file, its beginning on the way into memory; None if it is not there or has not its size."""
    try:
        descriptor = os.open(stored.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _OUR_OWN_TROUBLE:
            raise
        return None
    if os.fstat(descriptor).st_size != stored.file_size:
        os.close(descriptor)
        return None
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    os.posix_fadvise(descriptor, 0, _FETCHED_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
    return descriptor


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _has_its_content(descriptor: int, stored: Indexed, buffer: memoryview) -> bool:
    digest = blake3()
    position, left = stored.data_set_offset, stored.size
    while left:
        try:
            done = os.preadv(descriptor, (buffer[: min(left, _PIECE_BYTES)],), position)
        except OSError:  # the disk cannot give it
            return False
        if not done:
            return False
        digest.update(buffer[:done])
        position += done
        left -= done
    return digest.digest() == stored.digest
