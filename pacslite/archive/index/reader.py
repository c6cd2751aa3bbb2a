"""Reading the index: a few connections of their own, which never wait for the writer (WAL)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

import aiosqlite
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ClauseElement

from pacslite.archive.index.sqlite import READER_PRAGMAS

_dialect = sqlite.dialect(paramstyle="named")


class IndexReader:
    """At most ``count`` connections, opened when they are first needed."""

    def __init__(self, path: Path, *, count: int, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._unopened = count
        self._idle: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        self._opened: list[aiosqlite.Connection] = []

    async def all(self, query: ClauseElement) -> Sequence[Sequence[object]]:
        """Every row; for results known to be small."""
        sql, parameters = _compiled(query)
        async with self._connection() as connection:
            return list(await connection.execute_fetchall(sql, parameters))

    async def stream(self, query: ClauseElement) -> AsyncGenerator[Sequence[object], None]:
        """Row by row, as the index was when the query began."""
        sql, parameters = _compiled(query)
        async with self._connection() as connection, connection.execute(sql, parameters) as cursor:
            async for row in cursor:
                yield row

    async def close(self) -> None:
        for connection in self._opened:
            await connection.close()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        if self._idle.empty() and self._unopened:
            self._unopened -= 1
            try:
                connection = await aiosqlite.connect(self._path, timeout=self._busy_timeout_s, isolation_level=None)
            except BaseException:
                self._unopened += 1
                raise
            self._opened.append(connection)
            await connection.executescript(READER_PRAGMAS)
        else:
            connection = await self._idle.get()
        try:
            yield connection
        finally:
            self._idle.put_nowait(connection)


def _compiled(query: ClauseElement) -> tuple[str, dict[str, object]]:
    compiled = query.compile(dialect=_dialect)
    return str(compiled), dict(compiled.params)
