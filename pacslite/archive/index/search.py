"""One query of the index: a few rows at once, many by their ids.

Theory of operation
-------------------
A search borrows a connection. Where an index finds few rows, as it does for most queries, one statement reads them all.
Otherwise, and if they turn out to be more than the first batch may have, the cursor finds ids, a few at first and more
later; the rows of each batch are read by their ids in the same step and from the same snapshot. While rows are being
used the cursor rests, and with it the connection and a snapshot that keeps the write-ahead log from beginning anew. So
a second after its start, at the latest when the consumer has its next batch, or at once when others wait for a
connection, the cursor runs to its end: the ids that are left go into an array, eight bytes each, and the connection
goes back. From then on pages of ids become rows through any connection, each row looked at again, as it may have
changed meanwhile, or gone and given its id to another.

Closing interrupts SQLite at once. The connection is given back by the last step that its thread does for this search,
so nobody waits for that, and nobody else's statement is interrupted.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from array import array
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass

from pacslite.archive.index.conditions import Conditions
from pacslite.archive.index.match_statement import matching
from pacslite.archive.index.page_statement import Page, of_few, page_of
from pacslite.archive.index.reader import IndexReader, ReaderConnection
from pacslite.archive.index.terms import SQLValue
from pacslite.archive.query import Row, Wanted
from pacslite.dicom.levels import Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is looked for at a time, and for how long."""

    first_rows: int = 32
    most_rows: int = 512
    growth: int = 4
    hold_s: float = 1.0
    """How long a cursor may rest on its snapshot."""
    patience_s: float = 0.02
    """How long a step looks for more once it has found something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for, and what to tell of it."""

    level: Level
    conditions: Conditions
    wanted: tuple[Wanted, ...]
    located: bool = False
    pace: Pace = Pace()


async def search(reader: IndexReader, wanted: Search) -> AsyncGenerator[Sequence[Row], None]:
    """Batches of rows, none of them empty."""
    lent = _Lent(reader, await reader.take(), wanted)
    try:
        while not lent.over:
            if rows := await lent.more():
                yield rows
    finally:
        lent.close()
    if not lent.left:
        return
    conditions = wanted.conditions.conditions
    page = page_of(wanted.level, wanted.wanted, tuple(each.term for each in conditions), located=wanted.located)
    values = [value for condition in conditions for value in condition.values]
    parameters = [values[number - 1] for number in page.order]
    most = wanted.pace.most_rows
    for start in range(0, len(lent.left), most):
        if rows := await _page(reader, wanted, page, lent.left[start : start + most], parameters):
            yield rows


class _Lent:
    """A connection with the search's cursor on it."""

    def __init__(self, reader: IndexReader, connection: ReaderConnection, wanted: Search) -> None:
        connection.matchers = wanted.conditions.matchers
        self._reader = reader
        self._connection = connection
        self._cursor = _Cursor(wanted)
        self._loop = asyncio.get_running_loop()
        self._pace = wanted.pace
        self._until = self._loop.time() + self._pace.hold_s
        self._count = self._pace.first_rows
        self._timer: asyncio.TimerHandle | None = None
        self._draining: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def over(self) -> bool:
        """Whether :meth:`more` has no more."""
        return self._cursor.ended and (self._draining is None or self._draining.done())

    @property
    def left(self) -> array[int]:
        """The ids that have not been read as rows."""
        return self._cursor.left

    async def more(self) -> list[Row]:
        """The next rows; none if they are far between, or now have to be read as pages."""
        self._stir()
        if self._draining is not None:
            await asyncio.shield(self._draining)
            return []
        count = self._count
        rows = await self._connection.run(lambda lent: self._cursor.step(lent, count))
        self._count = min(count * self._pace.growth, self._pace.most_rows)
        if self._cursor.ended:
            self._closed = True
            self._reader.give_back(self._connection)
        elif self._reader.is_short or self._loop.time() >= self._until:
            self._drain()
        else:
            self._timer = self._loop.call_at(self._until, self._drain)
            self._reader.rests(self._drain)
        return rows

    def close(self) -> None:
        """Give the connection back, whatever it is doing."""
        self._stir()
        if self._closed:
            return
        self._closed = True
        self._connection.interrupt_now()
        self._connection.run(lambda _: self._cursor.close()).add_done_callback(self._give_back)

    def _stir(self) -> None:
        """Rest no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._reader.goes_on(self._drain)

    def _drain(self) -> None:
        self._stir()
        self._draining = self._connection.run(self._cursor.drain)
        self._draining.add_done_callback(self._drained)

    def _drained(self, done: asyncio.Future[None]) -> None:
        done.exception()  # told to whoever asks for more, if anybody does
        if not self._closed:
            self._closed = True
            self._give_back(done)

    def _give_back(self, _: asyncio.Future[None]) -> None:
        self._reader.give_back(self._connection)


class _Cursor:
    """What happens in the connection's thread."""

    def __init__(self, wanted: Search) -> None:
        self._wanted = wanted
        # In the event loop, as each object that a thread touches has to come over from the other processor.
        self._of_few = of_few(wanted.level, wanted.wanted, wanted.conditions.conditions, located=wanted.located)
        self._ids: sqlite3.Cursor | None = None
        self.left: array[int] = array("q")
        self.ended = False

    def step(self, connection: sqlite3.Connection, count: int) -> list[Row]:
        """The next rows, fewer than ``count`` if there are no more or they are far between."""
        wanted = self._wanted
        if self._ids is None:
            if (few := self._few(connection, count)) is not None:
                self.ended = True
                return few
            self._ids = connection.execute(*matching(wanted.level, wanted.conditions.conditions))
        ids: list[int] = []
        patience = 0.0
        for (found,) in self._ids:
            ids.append(found)
            if len(ids) == count:
                break
            now = time.monotonic()
            patience = patience or now + wanted.pace.patience_s
            if now > patience:
                break
        else:
            self.ended = True
            self.close()
        return _rows(connection, page_of(wanted.level, wanted.wanted, located=wanted.located), ids) if ids else []

    def _few(self, connection: sqlite3.Connection, count: int) -> list[Row] | None:
        """All rows, if not many are expected and there are no more than ``count``."""
        if self._of_few is None:
            return None
        page, values = self._of_few
        cursor = connection.execute(page.sql, values)
        rows = cursor.fetchmany(count + 1)
        cursor.close()
        return page.rows(rows) if len(rows) <= count else None

    def drain(self, _: sqlite3.Connection) -> None:
        try:
            if self._ids is not None:
                self.left.extend(found for (found,) in self._ids)
            self.ended = True
        finally:
            self.close()

    def close(self) -> None:
        if self._ids is not None:
            self._ids.close()
            self._ids = None


async def _page(
    reader: IndexReader, wanted: Search, page: Page, ids: array[int], parameters: Sequence[SQLValue]
) -> list[Row]:
    connection = await reader.take()
    connection.matchers = wanted.conditions.matchers

    def give_back(done: asyncio.Future[list[Row]]) -> None:
        done.exception()  # told to whoever waits, if anybody does
        reader.give_back(connection)

    reading = connection.run(lambda lent: _rows(lent, page, ids, parameters))
    reading.add_done_callback(give_back)
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        if not reading.done():
            connection.interrupt_now()
        raise


def _rows(
    connection: sqlite3.Connection, page: Page, ids: Iterable[int], parameters: Sequence[SQLValue] = ()
) -> list[Row]:
    return page.rows(connection.execute(page.sql, (f"[{','.join(map(str, ids))}]", *parameters)).fetchall())
