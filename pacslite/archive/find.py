"""Queries of the archive: what the index knows is asked of it, the rest of the stored files' headers.

Theory of operation. Keys that the index has narrow the search; where a query of instances has others, or wants what the
index does not keep, the file of each row is read in a thread, a few rows to a task and a few tasks at a time, and only
then is it known whether it is an answer. All queries together leave half of the file threads to arriving objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.headers import read_header, value_of
from pacslite.archive.index.conditions import Conditions
from pacslite.archive.index.page_statement import LOCATED
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.search import Pace, Search, search
from pacslite.archive.index.sources import SOURCES
from pacslite.archive.query import Query, Row, Wanted
from pacslite.archive.settings import ArchiveSettings
from pacslite.archive.threads import FileThreads
from pacslite.dicom.keys import all_match
from pacslite.dicom.matching import CombinedRange, Key

_ROWS_AT_ONCE: Final = 16
_TASKS_AHEAD: Final = 2


class Finder:
    """Answers queries through connections of ``reader``; ``threads`` read files."""

    def __init__(
        self, reader: IndexReader, threads: FileThreads, settings: ArchiveSettings, *, pace: Pace | None = None
    ) -> None:
        self._reader = reader
        self._threads = threads
        self._settings = settings
        self._pace = pace or Pace()
        self._tasks = asyncio.Semaphore(max(1, settings.file_threads // 2))

    def find(self, query: Query) -> AsyncGenerator[Sequence[Row], None]:
        """Batches of answers, none of them empty."""
        conditions = Conditions(time_zones=self._time_zones(query))
        in_files: list[Key] = []
        for key in query.keys:
            if key.tag in SOURCES:
                conditions.add(key)
            else:
                in_files.append(key)
        headers = _Headers(self._settings, tuple(in_files), query.wanted)
        in_index = not headers.tags
        wanted = Search(
            level=query.level,
            conditions=conditions,
            wanted=query.wanted,
            located=not in_index,
            pace=self._pace,
        )
        found = search(self._reader, wanted)
        return found if in_index else self._all_completed(found, headers)

    async def _all_completed(
        self, found: AsyncGenerator[Sequence[Row], None], headers: _Headers
    ) -> AsyncGenerator[Sequence[Row], None]:
        async with contextlib.aclosing(found) as batches:
            async for rows in batches:
                async with contextlib.aclosing(self._completed(rows, headers)) as completed:
                    async for answers in completed:
                        yield answers

    async def _completed(self, rows: Sequence[Row], headers: _Headers) -> AsyncGenerator[Sequence[Row], None]:
        """The answers among ``rows``, with what their files say."""
        parts = deque(rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE))
        ahead: deque[asyncio.Task[list[Row]]] = deque()
        try:
            while parts or ahead:
                while parts and len(ahead) < _TASKS_AHEAD:
                    ahead.append(asyncio.create_task(self._read(headers, parts.popleft())))
                if answers := await ahead.popleft():
                    yield answers
        finally:
            for task in ahead:
                task.cancel()

    async def _read(self, headers: _Headers, rows: Sequence[Row]) -> list[Row]:
        async with self._tasks:
            return await self._threads.run(headers.answers, rows)

    def _time_zones(self, query: Query) -> tuple[int, int] | None:
        if query.utc_offset_minutes is None:
            return None
        usual = self._settings.utc_offset_minutes
        return query.utc_offset_minutes, time.localtime().tm_gmtoff // 60 if usual is None else usual


@dataclass(frozen=True, slots=True)
class _Headers:
    """What is looked for in files, by their keys and among what is wanted."""

    settings: ArchiveSettings
    keys: tuple[Key, ...]
    wanted: tuple[Wanted, ...]

    @property
    def tags(self) -> frozenset[int]:
        times = {key.match.time_tag for key in self.keys if isinstance(key.match, CombinedRange)}
        wanted = {each.tag for each in self.wanted if each.tag not in SOURCES}
        return frozenset(times | wanted | {key.tag for key in self.keys})

    def answers(self, rows: Sequence[Row]) -> list[Row]:
        """In a file thread."""
        looked_for = self.tags
        return [answer for row in rows if (answer := self._answer(row, looked_for)) is not None]

    def _answer(self, row: Row, looked_for: frozenset[int]) -> Row | None:
        values = list(row[: -len(LOCATED)])
        place: dict[str, Any] = dict(zip(LOCATED, row[-len(LOCATED) :], strict=True))
        header = read_header(
            self._path(place),
            data_set_offset=place["data_set_offset"],
            transfer_syntax_uid=place["transfer_syntax_uid"],
            wanted=looked_for,
            limit_bytes=self.settings.header_limit_bytes,
        )
        if not all_match(self.keys, header.elements):
            return None
        for number, each in enumerate(self.wanted):
            if each.tag not in SOURCES:
                values[number] = value_of(header, each)
        return tuple(values)

    def _path(self, place: dict[str, Any]) -> Path:
        usual = blob_path(
            study_uid=place["study_uid"],
            series_uid=place["series_uid"],
            sop_class_uid=place["sop_class_uid"],
            sop_instance_uid=place["sop_instance_uid"],
        )
        return self.settings.folder / (place["path"] or usual)
