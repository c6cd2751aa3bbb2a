"""Reading the index: a few connections of their own, which never wait for the writer (WAL).

A connection is lent to whoever has waited longest. Who has one and makes no use of it at the moment says so, and is
called when another waits (:meth:`IndexReader.rests`). Everything that SQLite does for it happens in the connection's
thread; going there and back takes longer than looking a study up, so each step does as much as it can in one go.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import aiosqlite
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ClauseElement

from pacslite.archive.index.match_statement import DECIDE
from pacslite.archive.index.sqlite import READER_PRAGMAS
from pacslite.archive.index.terms import Matcher

T = TypeVar("T")

_STATEMENTS: Final = 256  # that a connection keeps prepared
_ROWS: Final = 256  # that a stream fetches at a time

_dialect = sqlite.dialect(paramstyle="named")


class ReaderConnection(aiosqlite.Connection):
    """One that runs whole functions in its thread, and calls matchers of the query that it is lent for."""

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(
                path, timeout=busy_timeout_s, isolation_level=None, cached_statements=_STATEMENTS
            )
            connection.executescript(READER_PRAGMAS)
            connection.create_function(DECIDE, -1, self._decide)
            return connection

        super().__init__(connect, iter_chunk_size=_ROWS)
        self.matchers: Sequence[Matcher] = ()

    def run(self, function: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have it called in the connection's thread, after what was asked before; called it is in any case."""
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        connection = self._conn
        self._tx.put_nowait((reply, lambda: function(connection)))
        return reply

    def interrupt_now(self) -> None:
        """Break off what runs at this moment; nothing happens if nothing does."""
        self._conn.interrupt()

    def _decide(self, number: int, *values: object) -> bool:
        return self.matchers[number](*values)


class IndexReader:
    """At most ``count`` connections, opened when they are first needed."""

    def __init__(self, path: Path, *, count: int, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._unopened = count
        self._idle: list[ReaderConnection] = []
        self._opened: list[ReaderConnection] = []
        self._waiting: collections.deque[asyncio.Future[ReaderConnection]] = collections.deque()
        self._resting: dict[Callable[[], None], None] = {}

    @property
    def is_short(self) -> bool:
        """Whether somebody waits for a connection."""
        return bool(self._waiting)

    def rests(self, hurry: Callable[[], None]) -> None:
        """Have ``hurry`` called, once, when a connection is waited for; it should come back soon then."""
        self._resting[hurry] = None

    def goes_on(self, hurry: Callable[[], None]) -> None:
        """``hurry`` need not be called any more."""
        self._resting.pop(hurry, None)

    async def all(self, query: ClauseElement) -> Sequence[Sequence[object]]:
        """Every row; for results known to be small."""
        sql, parameters = _compiled(query)
        async with self._connection() as connection:
            return await connection.run(lambda lent: lent.execute(sql, parameters).fetchall())

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Have it called in a connection's thread: one way there and one back, however many rows there are."""
        async with self._connection() as connection:
            return await connection.run(function)

    async def stream(self, query: ClauseElement) -> AsyncGenerator[Sequence[object], None]:
        """Row by row, as the index was when the query began."""
        sql, parameters = _compiled(query)
        async with self._connection() as connection, connection.execute(sql, parameters) as cursor:
            while rows := await cursor.fetchmany(_ROWS):
                for row in rows:
                    yield row

    async def take(self) -> ReaderConnection:
        """A connection, to be given back; waits for its turn."""
        if self._idle:
            return self._idle.pop()
        if self._unopened:
            return await self._open()
        waiting: asyncio.Future[ReaderConnection] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        if self._resting:
            hurry = next(iter(self._resting))
            del self._resting[hurry]
            hurry()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():  # given at the last moment
                self.give_back(waiting.result())
            raise

    def give_back(self, connection: ReaderConnection) -> None:
        """It goes to whoever has waited longest."""
        connection.matchers = ()
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        self._idle.append(connection)

    async def close(self) -> None:
        for connection in self._opened:
            await connection.close()

    async def _open(self) -> ReaderConnection:
        self._unopened -= 1
        connection = ReaderConnection(self._path, busy_timeout_s=self._busy_timeout_s)
        try:
            await connection
        except BaseException:
            self._unopened += 1
            raise
        self._opened.append(connection)
        return connection

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[ReaderConnection]:
        connection = await self.take()
        try:
            yield connection
        finally:
            self.give_back(connection)


def _compiled(query: ClauseElement) -> tuple[str, dict[str, object]]:
    compiled = query.compile(dialect=_dialect)
    return str(compiled), dict(compiled.params)
