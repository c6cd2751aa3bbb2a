"""Queries of the archive: what the index knows is asked of it, the rest of the stored files' headers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

from pacslite.archive.index.conditions import Conditions
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.search import Search, search
from pacslite.archive.query import Query, Row
from pacslite.archive.settings import ArchiveSettings
from pacslite.archive.threads import FileThreads


class Finder:
    """Answers queries through connections of ``reader``; ``threads`` read files."""

    def __init__(self, reader: IndexReader, threads: FileThreads, settings: ArchiveSettings) -> None:
        self._reader = reader
        self._threads = threads
        self._settings = settings

    async def find(self, query: Query) -> AsyncGenerator[Sequence[Row], None]:
        """Batches of answers, none of them empty."""
        conditions = Conditions(time_zones=self._time_zones(query))
        for key in query.keys:
            conditions.add(key)
        wanted = Search(level=query.level, conditions=conditions, wanted=query.wanted)
        async with contextlib.aclosing(search(self._reader, wanted)) as batches:
            async for rows in batches:
                yield rows

    def _time_zones(self, query: Query) -> tuple[int, int] | None:
        if query.utc_offset_minutes is None:
            return None
        usual = self._settings.utc_offset_minutes
        return query.utc_offset_minutes, time.localtime().tm_gmtoff // 60 if usual is None else usual
