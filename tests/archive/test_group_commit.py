"""The index's one writer: everybody is answered after the commit, and a bad change fails alone."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.sqlite import connect, create
from pacslite.archive.index.writer import IndexWriter


@pytest.fixture
async def index(quick_path: Path) -> AsyncIterator[GroupCommit]:
    with closing(connect(quick_path / "index.sqlite", busy_timeout_s=0.2)) as connection:
        create(connection)
        connection.execute("CREATE TABLE t (v UNIQUE)")
    commit = GroupCommit(quick_path / "index.sqlite", busy_timeout_s=0.2, loop=asyncio.get_running_loop())
    yield commit
    await asyncio.to_thread(commit.close)


def insert(value: object) -> object:
    def change(writer: IndexWriter) -> int:
        writer.connection.execute("INSERT INTO t VALUES (?)", (value,))
        return threading.get_ident()

    return change


def values(folder: Path) -> list[object]:
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        return [value for (value,) in connection.execute("SELECT v FROM t ORDER BY v")]


async def submit(index: GroupCommit, value: object) -> object:
    change = insert(value)
    assert callable(change)
    return await index.run(change)


async def test_an_answer_means_committed(index: GroupCommit, quick_path: Path) -> None:
    threads = set()
    for number in range(3):
        threads.add(await submit(index, number))
        assert values(quick_path) == list(range(number + 1))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_what_waits_shares_one_transaction(index: GroupCommit, quick_path: Path) -> None:
    gate = threading.Event()
    first = asyncio.create_task(index.run(lambda _: gate.wait(10)))
    transactions: list[int] = []

    def change(writer: IndexWriter) -> None:
        transactions.append(writer.connection.total_changes)
        assert writer.connection.in_transaction

    others = [asyncio.create_task(index.run(change)) for _ in range(20)]
    added = [asyncio.create_task(submit(index, number)) for number in range(20)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others, *added)
    assert values(quick_path) == list(range(20))


async def test_a_change_that_fails_does_not_fail_its_neighbours(index: GroupCommit, quick_path: Path) -> None:
    gate = threading.Event()
    first = asyncio.create_task(index.run(lambda _: gate.wait(10)))
    tasks = [asyncio.create_task(submit(index, value)) for value in (1, 2, 2, 3, object(), "\ud800", 4)]
    await asyncio.sleep(0)
    gate.set()
    await first
    results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [type(result) for result in results if isinstance(result, Exception)]
    assert failed == [sqlite3.IntegrityError, sqlite3.ProgrammingError, UnicodeEncodeError]
    assert values(quick_path) == [1, 2, 3, 4]


async def test_a_lock_that_does_not_end_is_told_and_the_next_one_works(index: GroupCommit, quick_path: Path) -> None:
    with closing(sqlite3.connect(quick_path / "index.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await submit(index, 1)
        other.execute("ROLLBACK")
    await submit(index, 1)
    assert values(quick_path) == [1]


async def test_closing_finishes_what_was_submitted(quick_path: Path) -> None:
    with closing(connect(quick_path / "index.sqlite", busy_timeout_s=1)) as connection:
        create(connection)
        connection.execute("CREATE TABLE t (v UNIQUE)")
    loop = asyncio.get_running_loop()
    index = GroupCommit(quick_path / "index.sqlite", busy_timeout_s=1, loop=loop)
    tasks = [asyncio.create_task(submit(index, number)) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(index.close)
    await asyncio.gather(*tasks)
    assert values(quick_path) == list(range(50))


async def test_the_log_is_copied_into_the_index_while_commits_go_on(index: GroupCommit, quick_path: Path) -> None:
    for start in range(0, 3000, 100):
        await asyncio.gather(*(submit(index, number) for number in range(start, start + 100)))
    for number in range(3000, 4500):
        await submit(index, number)
    log = (quick_path / "index.sqlite-wal").stat().st_size
    await asyncio.to_thread(lambda: None)
    assert log < 16 << 20, "it starts again at its beginning now and then"
    assert len(values(quick_path)) == 4500


async def test_the_log_starts_again_though_readers_overlap_without_a_gap(quick_path: Path) -> None:
    with closing(connect(quick_path / "index.sqlite", busy_timeout_s=0.2)) as connection:
        create(connection)
        connection.execute("CREATE TABLE t (v UNIQUE)")
    loop = asyncio.get_running_loop()
    index = GroupCommit(quick_path / "index.sqlite", busy_timeout_s=0.2, loop=loop, long_log_bytes=1 << 20)
    stopped = threading.Event()
    reading = threading.Thread(target=read_without_a_gap, args=(quick_path / "index.sqlite", stopped))
    reading.start()
    try:
        for number in range(2600):
            await submit(index, f"{number:08192}")
        log = (quick_path / "index.sqlite-wal").stat().st_size
    finally:
        stopped.set()
        await asyncio.to_thread(reading.join)
        await asyncio.to_thread(index.close)
    assert log < 45 << 20, "it would be 91 MB if it never started again"
    assert len(values(quick_path)) == 2600


def read_without_a_gap(path: Path, stopped: threading.Event) -> None:
    """At every moment one of two has a snapshot; none keeps it for long."""
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(path)) as other:
        readers = [one, other]
        while not stopped.is_set():
            readers[0].execute("BEGIN")
            readers[0].execute("SELECT count(*) FROM t").fetchone()
            if readers[1].in_transaction:
                readers[1].execute("COMMIT")
            stopped.wait(0.005)
            readers.reverse()


async def test_what_comes_while_the_log_is_copied_is_not_forgotten(
    index: GroupCommit, quick_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, copied = threading.Event(), threading.Event()

    def slow_copy(*_: object) -> int:
        copying.set()
        copied.wait(10)
        return 0

    monkeypatch.setattr("pacslite.archive.index.commit._checkpoint", slow_copy)
    await submit(index, 1)
    await asyncio.to_thread(copying.wait, 10)
    reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    change = insert(2)
    assert callable(change)
    await asyncio.to_thread(index.submit, change, reply)  # finds the lock taken and goes away
    copied.set()
    async with asyncio.timeout(10):
        await reply
    assert values(quick_path) == [1, 2]
