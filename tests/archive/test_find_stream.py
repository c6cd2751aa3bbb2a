"""How answers come: soon, in batches, breakable at any moment, and holding nothing while nobody reads them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path

import pytest

from kit.indexed import Indexed, Texts, entry_of, indexed, keys_of
from kit.samples import Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.index.search import Pace
from pacslite.archive.query import Query, Row, Wanted
from pacslite.dicom import tags
from pacslite.dicom.levels import Level
from pacslite.facts import ignore

COUNT = 3000
LONGER_THAN_A_TEST = 3600.0
WANTED = (Wanted(tags.STUDY_INSTANCE_UID, "UI"),)
ALL = Query(level=Level.STUDY, keys=(), wanted=WANTED)
ENDLESS = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE pacslite_decides(0)
"""


def thing(number: int) -> Texts:
    return {
        tags.PATIENT_ID: f"P{number}",
        tags.PATIENT_NAME: f"Name^{number}",
        tags.STUDY_INSTANCE_UID: f"1.{number}",
        tags.SERIES_INSTANCE_UID: f"1.{number}.1",
        tags.SOP_INSTANCE_UID: f"1.{number}.1.1",
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of many studies."""
    folder = tmp_path_factory.mktemp("filled")

    async def fill() -> None:
        async with indexed(folder) as index:
            index.add(entry_of(thing(number)) for number in range(COUNT))
            index.writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    asyncio.run(fill())
    return folder / "index.sqlite"


@contextlib.asynccontextmanager
async def opened(filled: Path, folder: Path, *, queries: int = 1, **pace: float) -> AsyncIterator[Indexed]:
    shutil.copy(filled, folder / "index.sqlite")
    chosen = Pace(**{"hold_s": LONGER_THAN_A_TEST, **pace})  # type: ignore[arg-type] # figures, as they are named
    async with indexed(folder, queries=queries, pace=chosen) as index:
        yield index


async def rest(batches: AsyncGenerator[Sequence[Row], None]) -> list[Row]:
    return [row async for rows in batches for row in rows]


def log_can_begin_anew(index: Indexed) -> bool:
    """Whether nobody reads an older state of the index than the newest."""
    index.add([entry_of(thing(COUNT + 1))])
    with closing(sqlite3.connect(index.path, isolation_level=None, timeout=0)) as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    return not busy


async def test_the_first_answers_come_alone_and_batches_grow(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path, patience_s=LONGER_THAN_A_TEST) as index:
        async with aclosing(index.finder.find(ALL)) as batches:
            sizes = [len(rows) async for rows in batches]
        assert sizes[:3] == [32, 128, 512]
        assert max(sizes) == 512
        assert sum(sizes) == COUNT


async def test_rows_that_are_far_between_are_not_waited_for(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path, patience_s=0.0) as index, aclosing(index.finder.find(ALL)) as batches:
        assert len(await anext(batches)) < 16


async def test_a_query_sees_the_index_as_it_was_when_it_began(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path) as index, aclosing(index.finder.find(ALL)) as batches:
        first = list(await anext(batches))
        index.add([entry_of(thing(COUNT + 1))])
        assert len(first + await rest(batches)) == COUNT


async def test_closing_gives_the_connection_back(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path) as index:
        for _ in range(3):
            async with aclosing(index.finder.find(ALL)) as batches:
                await anext(batches)
        assert len(await rest(index.finder.find(ALL))) == COUNT
        assert log_can_begin_anew(index)


async def test_what_runs_is_interrupted_at_once_and_the_connection_is_sound(filled: Path, tmp_path: Path) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def decide() -> bool:
        loop.call_soon_threadsafe(started.set)
        return False

    async with opened(filled, tmp_path) as index:
        connection = await index.reader.take()
        connection.matchers = [decide]
        running = connection.run(lambda lent: lent.execute(ENDLESS).fetchall())
        await started.wait()
        connection.interrupt_now()
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            await running
        index.reader.give_back(connection)
        assert len(await rest(index.finder.find(ALL))) == COUNT


async def test_a_cancelled_query_leaves_nothing_behind(filled: Path, tmp_path: Path) -> None:
    keys = keys_of(PATIENT_NAME="*9*9*9*9*9*")
    query = Query(level=Level.STUDY, keys=tuple(keys), wanted=WANTED)
    async with opened(filled, tmp_path) as index:
        for turns in range(12):
            task = asyncio.ensure_future(rest(index.finder.find(query)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert len(await asyncio.wait_for(rest(index.finder.find(ALL)), 20)) == COUNT
        assert log_can_begin_anew(index)


async def test_a_slow_consumer_holds_neither_snapshot_nor_connection(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path, hold_s=0.01) as index, aclosing(index.finder.find(ALL)) as slow:
        first = list(await anext(slow))
        # Only one connection is there, and nobody closes or reads the slow query.
        assert len(await asyncio.wait_for(rest(index.finder.find(ALL)), 20)) == COUNT
        assert log_can_begin_anew(index)
        with index.writer.transaction():
            index.writer.remove("1.2999.1.1")
        found = first + await rest(slow)
        assert len(found) == len(set(found)) == COUNT - 1, "what is gone by now is not told"


async def test_a_row_that_comes_later_is_looked_at_again(filled: Path, tmp_path: Path) -> None:
    """Its id may be another's by now: SQLite gives the last one again."""
    query = Query(level=Level.STUDY, keys=tuple(keys_of(PATIENT_NAME="name*")), wanted=WANTED)
    async with opened(filled, tmp_path, hold_s=0.0) as index, aclosing(index.finder.find(query)) as batches:
        first = list(await anext(batches))
        with index.writer.transaction():
            index.writer.remove("1.2999.1.1")
            index.writer.add(entry_of({**thing(5000), tags.PATIENT_NAME: "Other"}))
        found = first + await rest(batches)
        assert ("1.2999",) not in found
        assert ("1.5000",) not in found
        assert len(found) in (COUNT - 1, COUNT)


async def test_what_has_no_patient_is_no_answer_though_it_has_the_id_of_one(filled: Path, tmp_path: Path) -> None:
    """SQLite gives the largest key again when its row is gone."""
    every_image = Query(level=Level.IMAGE, keys=(), wanted=(Wanted(tags.SOP_INSTANCE_UID, "UI"),))
    async with (
        opened(filled, tmp_path, hold_s=0.0, first_rows=1) as index,
        aclosing(index.finder.find(every_image)) as batches,
    ):
        first = await anext(batches)
        protocol = entry_of({**thing(0), tags.SOP_INSTANCE_UID: "9.9"})
        with index.writer.transaction():
            index.writer.remove(f"1.{COUNT - 1}.1.1")
            index.writer.add(replace(protocol, study_uid="", series_uid=""))
        rest = [row async for rows in batches for row in rows]
    assert len(first) + len(rest) == COUNT - 1
    assert ("9.9",) not in rest


async def test_a_query_that_was_drained_can_be_closed(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path, hold_s=0.0) as index:
        for batches_read in range(4):
            async with aclosing(index.finder.find(ALL)) as batches:
                for _ in range(batches_read):
                    await anext(batches)
        assert len(await rest(index.finder.find(ALL))) == COUNT


async def test_a_cursor_does_not_rest_while_others_wait_for_its_connection(filled: Path, tmp_path: Path) -> None:
    """However long it might otherwise."""
    async with (
        opened(filled, tmp_path, hold_s=LONGER_THAN_A_TEST) as index,
        aclosing(index.finder.find(ALL)) as slow,
        aclosing(index.finder.find(ALL)) as other,
    ):
        read = len(await anext(slow))
        assert await asyncio.wait_for(anext(other), 20)
        assert len(await asyncio.wait_for(rest(index.finder.find(ALL)), 20)) == COUNT
        assert read + sum([len(rows) async for rows in slow]) == COUNT


async def test_connections_go_to_who_has_waited_longest(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path) as index:
        order: list[int] = []
        connection = await index.reader.take()

        async def queue(number: int) -> None:
            lent = await index.reader.take()
            order.append(number)
            index.reader.give_back(lent)

        tasks = [asyncio.create_task(queue(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        index.reader.give_back(connection)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 1, 3, 4]


async def test_one_that_is_cancelled_as_it_gets_a_connection_passes_it_on(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path) as index:
        connection = await index.reader.take()
        first, second = (asyncio.create_task(index.reader.take()) for _ in range(2))
        await asyncio.sleep(0)
        index.reader.give_back(connection)
        first.cancel()
        assert await asyncio.wait_for(second, 20) is connection
        index.reader.give_back(connection)


async def test_a_broken_index_is_told_and_does_not_stop_the_next_query(filled: Path, tmp_path: Path) -> None:
    async with opened(filled, tmp_path) as index:
        index.writer.connection.execute("ALTER TABLE studies RENAME TO gone")
        with pytest.raises(sqlite3.OperationalError):
            await rest(index.finder.find(ALL))
        index.writer.connection.execute("ALTER TABLE gone RENAME TO studies")
        assert len(await rest(index.finder.find(ALL))) == COUNT


async def test_queries_delay_nothing_but_queries(quick_path: Path) -> None:
    """With every connection for queries taken, objects are looked up and listed as before."""
    async with Archive.open(settings_for(quick_path, queries=1), observe=ignore) as archive:
        for number in range(40):
            await put(archive, Sample(instance=f"1.{number}", study=f"2.{number}", series=f"2.{number}.1"))
        async with aclosing(archive.find(ALL)) as batches:
            await anext(batches)
            waiting = asyncio.ensure_future(rest(archive.find(ALL)))
            stored = await asyncio.wait_for(archive.read("1.7"), 20)
            assert stored is not None
            assert len([study async for study in archive.list.studies()]) == 40
        assert len(await asyncio.wait_for(waiting, 20)) == 40
