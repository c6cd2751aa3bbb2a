"""A new index from the files leaves alone what no file tells, saves it from a damaged one, and revives nothing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kit.disks import Call, WatchedDisk
from kit.samples import Sample, files, put, rows, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.deletion import Level, Target
from pacslite.archive.index.job_rows import owe
from pacslite.archive.index.promises import PROMISED
from pacslite.archive.integrity import Finding, check, is_index_sound, rebuild, set_index_aside
from pacslite.archive.job import JobKind, Lane, NewJob
from pacslite.archive.reconstruction import Reconstruction
from pacslite.facts import ignore

ONE = Sample()
STUDY = Target(level=Level.STUDY, uid=ONE.study)
OTHER = ONE.but(study="1.3.1", series="1.3.2", instance="1.3.3")
PAGE = 4096


async def promise(archive: Archive, count: int) -> None:
    """So many forwards, deliveries and committed objects; one deletion."""
    folder = archive.layout.folder
    lane = Lane("THERE", JobKind.FORWARD, "rule")
    jobs = [NewJob(lane=lane, subject=f"1.2.{number}", study_uid=ONE.study, quiet_s=60) for number in range(count)]
    await archive.workshop.index.run(lambda writer: owe(writer, jobs, 1000.0))
    with closing(sqlite3.connect(folder / "index.sqlite", timeout=10)) as connection, connection:
        connection.execute(
            "INSERT INTO commitments_asked (transaction_uid, destination, asked_at) VALUES ('1.9', 'THERE', 1)"
        )
        connection.execute(
            "INSERT INTO commitment_requests (transaction_uid, calling_ae, called_ae, received_at, state, objects,"
            " digest) VALUES ('1.8', 'CT1', 'PACSLITE', 1, 'reported', x'', x'')"
        )
        connection.executemany(
            "INSERT INTO deliveries (sop_instance_uid, sop_class_uid, destination, delivered_at, asked)"
            " VALUES (?, '', 'THERE', 1, 1)",
            [(f"1.2.{number}",) for number in range(count)],
        )
        connection.executemany(
            "INSERT INTO commitment_items (request, number, sop_instance_uid, failure_reason) VALUES (1, ?, ?, 0)",
            [(number, f"1.2.{number}") for number in range(count)],
        )
    await put(archive, OTHER)
    await archive.deletions.delete(Target(level=Level.STUDY, uid=OTHER.study), deleted_by="somebody")


def promises(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    return {table.name: rows(folder, f"SELECT * FROM {table.name} ORDER BY 1") for table in PROMISED}


def saved(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Without what holds jobs back: until the index is whole again that is something else."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        connection.row_factory = sqlite3.Row
        return {
            table.name: [
                tuple(
                    value for name, value in zip(row.keys(), row, strict=True) if (table.name, name) != ("jobs", "hold")
                )
                for row in connection.execute(f"SELECT * FROM {table.name} ORDER BY 1")
                if table.name != "job_holds" or row["rule"]
            ]
            for table in PROMISED
        }


async def rebuilt(archive: Archive) -> None:
    assert [item async for item in rebuild(archive) if isinstance(item, Finding)] == []


async def findings(archive: Archive) -> list[Finding]:
    return [item async for item in check(archive, digest=True) if isinstance(item, Finding)]


async def test_a_rebuild_leaves_what_is_owed_and_promised_as_it_is(quick_path: Path) -> None:
    """SC-02, SC-06: neither a report nor a protection is lost with the index."""
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        await promise(archive, 5)
        before = promises(quick_path)
        assert all(before.values()), "every table has something in it"
        await rebuilt(archive)
        assert promises(quick_path) == before
        assert await archive.read(ONE.instance) is not None


# --- A damaged index -------------------------------------------------------------------------------------------------


def pages_of(folder: Path, table: str) -> list[int]:
    """Leaf pages of a table's own tree, by a copy in which nothing else is."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    raw = (folder / "index.sqlite").read_bytes()
    start = (root - 1) * PAGE
    assert raw[start] == 5, "an interior page: the table has several leaves"
    count = int.from_bytes(raw[start + 3 : start + 5])
    cells = [int.from_bytes(raw[start + 12 + 2 * n : start + 14 + 2 * n]) for n in range(count)]
    return [int.from_bytes(raw[start + cell : start + cell + 4]) for cell in cells]


def overwrite(folder: Path, page: int, with_what: bytes) -> None:
    with (folder / "index.sqlite").open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(with_what)


@pytest.mark.parametrize("rubbish", [b"\xee" * PAGE, b"\0" * PAGE], ids=["rubbish", "zeros"])
async def test_what_can_be_read_of_a_damaged_index_is_saved(quick_path: Path, rubbish: bytes) -> None:
    settings = settings_for(quick_path)
    async with Archive.open(settings, observe=ignore) as archive:
        await put(archive, ONE)
        await promise(archive, 1000)
        assert await is_index_sound(archive)
    before = saved(quick_path)
    damaged = ("jobs", "commitment_items")
    for name in damaged:
        leaves = pages_of(quick_path, name)
        assert len(leaves) > 3
        overwrite(quick_path, leaves[len(leaves) // 2], rubbish)
    async with Archive.open(settings, observe=ignore) as archive:
        assert not await is_index_sound(archive)
    aside = set_index_aside(settings)
    after = saved(quick_path)
    for table in PROMISED:
        assert set(after[table.name]) <= set(before[table.name])
        assert len(after[table.name]) == aside.salvaged[table.name]
        is_damaged = table.name in damaged
        least = 600 if is_damaged else len(before[table.name])
        assert least <= len(after[table.name]) <= len(before[table.name]) - is_damaged
    assert {after["jobs"][0], after["jobs"][-1]} == {before["jobs"][0], before["jobs"][-1]}, "from both ends"
    async with Archive.open(settings, observe=ignore) as archive:
        await rebuilt(archive)
        assert await is_index_sound(archive)
        assert saved(quick_path) == after
        assert await archive.read(ONE.instance) is not None
        assert await findings(archive) == []


@pytest.mark.parametrize("remedy", ["rebuild", "repair"])
async def test_what_is_owed_waits_until_the_index_has_its_objects_again(quick_path: Path, remedy: str) -> None:
    """A server that is started before, since the rebuild was killed, must not find that everything is gone."""
    settings = settings_for(quick_path)
    lanes = [Lane("CT1", JobKind.REPORT), Lane("THERE", JobKind.FORWARD, "rule"), Lane("", JobKind.VERIFY)]
    async with Archive.open(settings, observe=ignore) as archive:
        await put(archive, ONE)
        await promise(archive, 3)
        others = [NewJob(lane=lane, subject="1") for lane in lanes]
        await archive.workshop.index.run(lambda writer: owe(writer, others, 1000.0))
    set_index_aside(settings)
    async with Archive.open(settings, observe=ignore) as archive:
        await archive.outbox.bring_forward(latest_s=1.0)
        assert [lane.lane for lane in await archive.outbox.open_lanes()] == lanes[:1]
        if remedy == "rebuild":
            await rebuilt(archive)
        else:
            assert [item async for item in check(archive, repair=True) if isinstance(item, Finding)]
        assert [lane.lane for lane in await archive.outbox.open_lanes()] == sorted(lanes)
        forwards = await archive.outbox.take(lanes[1], most=9, lease_s=60)
        assert [job.subject for job in forwards] == ["1.2.0", "1.2.1", "1.2.2", "1"]


async def test_nothing_refers_to_what_is_lost(quick_path: Path) -> None:
    settings = settings_for(quick_path)
    async with Archive.open(settings, observe=ignore) as archive:
        await put(archive, ONE)
        await promise(archive, 3)
        lane = Lane("CT1", JobKind.REPORT)
        await archive.workshop.index.run(lambda writer: owe(writer, [NewJob(lane=lane, subject="1")], 1000.0))
    with closing(sqlite3.connect(quick_path / "index.sqlite")) as connection, connection:
        for table in ("job_holds", "commitments_asked", "commitment_requests"):
            connection.execute(f"DELETE FROM {table}")
    set_index_aside(settings)
    assert rows(quick_path, "SELECT DISTINCT kind, until > 1e11 FROM jobs JOIN job_holds ON job_holds.id = hold") == [
        ("forward", 1)
    ]
    assert rows(quick_path, "SELECT count(*) FROM jobs") == [(3,)]
    assert rows(quick_path, "SELECT DISTINCT asked FROM deliveries") == [(None,)]
    assert rows(quick_path, "SELECT id, state, transaction_uid FROM commitment_requests") == [(1, "reported", "")]
    assert rows(quick_path, "SELECT count(*) FROM commitment_items") == [(3,)]


@pytest.mark.parametrize("damage", [b"", b"nothing of an index", b"SQLite format 3\0" + b"\xee" * 9000])
async def test_an_index_of_which_nothing_can_be_read_is_set_aside_all_the_same(quick_path: Path, damage: bytes) -> None:
    settings = settings_for(quick_path)
    async with Archive.open(settings, observe=ignore) as archive:
        await put(archive, ONE)
        await promise(archive, 3)
    (quick_path / "index.sqlite").write_bytes(damage)
    assert not any(set_index_aside(settings).salvaged.values())
    async with Archive.open(settings, observe=ignore) as archive:
        await rebuilt(archive)
        assert await archive.read(ONE.instance) is not None


async def test_an_older_index_had_nothing_to_save(quick_path: Path) -> None:
    settings = settings_for(quick_path)
    async with Archive.open(settings, observe=ignore) as archive:
        await put(archive, ONE)
    with closing(sqlite3.connect(quick_path / "index.sqlite")) as connection, connection:
        for table in reversed(PROMISED):
            connection.execute(f"DROP TABLE {table.name}")
    assert not any(set_index_aside(settings).salvaged.values())


async def test_what_a_killed_process_had_in_flight_outlives_its_index(quick_path: Path) -> None:
    """Nobody can tell any more which of it was acknowledged."""
    settings = settings_for(quick_path)
    async with Archive.open(settings, observe=ignore) as archive:
        await put(archive, ONE)
    (path,) = files(quick_path, "blobs")
    gone = quick_path / "incoming" / "1-gone"
    gone.mkdir()
    gone.with_name("1-gone.lock").touch()
    os.link(quick_path / path, gone / ("0," + path.replace("/", ",")))
    (quick_path / "index.sqlite").write_bytes(b"nothing of an index")
    set_index_aside(settings)
    async with Archive.open(settings, observe=ignore) as archive:
        await rebuilt(archive)
        assert await archive.read(ONE.instance) is not None
        assert files(quick_path, "incoming") == []


# --- Deletion meanwhile ----------------------------------------------------------------------------------------------


class Halt:
    """Lets a thread wait at some point until the test goes on."""

    def __init__(self) -> None:
        self._reached, self._passed = threading.Event(), threading.Event()

    def here(self) -> None:
        self._reached.set()
        assert self._passed.wait(20)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 20)

    def go_on(self) -> None:
        self._passed.set()


@pytest.fixture
def before_take_over(monkeypatch: pytest.MonkeyPatch) -> Halt:
    halt = Halt()
    take_over: Callable[[Reconstruction], None] = Reconstruction._take_over

    def later(self: Reconstruction) -> None:
        halt.here()
        take_over(self)

    monkeypatch.setattr(Reconstruction, "_take_over", later)
    return halt


async def test_what_is_deleted_during_a_rebuild_stays_deleted(quick_path: Path, before_take_over: Halt) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await fill(archive)
        rebuilding = asyncio.create_task(rebuilt(archive))
        await before_take_over.reached()
        await archive.deletions.delete(STUDY, deleted_by="somebody")
        before_take_over.go_on()
        await rebuilding
        assert await archive.read(ONE.instance) is None
        assert await archive.read(OTHER.instance) is not None
        assert rows(quick_path, "SELECT count(*) FROM conflicts") == [(0,)]
        assert await findings(archive) == []


async def test_what_is_being_deleted_when_a_rebuild_ends_stays_deleted(
    quick_path: Path, before_take_over: Halt
) -> None:
    """Its rows have gone, its files have not."""
    unlinking = Halt()

    def before(call: Call) -> None:
        if call.operation == "unlink" and call.what.startswith(("blobs", "conflicts")):
            unlinking.here()

    disk = WatchedDisk(before, str(quick_path))
    async with (
        Archive.open(settings_for(quick_path), observe=ignore) as archive,
        Archive.open(settings_for(quick_path), observe=ignore, disk=disk) as other,
    ):
        await fill(archive)
        rebuilding = asyncio.create_task(rebuilt(archive))
        await before_take_over.reached()
        deleting = asyncio.create_task(other.deletions.delete(STUDY, deleted_by="somebody"))
        await unlinking.reached()
        before_take_over.go_on()
        await rebuilding
        unlinking.go_on()
        assert (await deleting).instances == 1
        assert await archive.read(ONE.instance) is None
        assert await findings(archive) == []


async def fill(archive: Archive) -> None:
    """Objects that came long ago, which a rebuild does not look at again by itself."""
    for sample in (ONE, ONE.but(pixels=b"different"), OTHER):
        await put(archive, sample)
    with closing(sqlite3.connect(archive.layout.index, timeout=10)) as connection, connection:
        connection.execute("UPDATE instances SET stored_at = 10")
    for path in files(archive.layout.folder, "blobs", "conflicts"):
        os.utime(archive.layout.folder / path, (10, 10))


async def test_a_deletion_of_long_ago_that_was_broken_off_hides_nothing(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await fill(archive)
        with closing(sqlite3.connect(archive.layout.index, timeout=10)) as connection, connection:
            connection.execute(
                "INSERT INTO deletions (level, uid, study_uid, deleted_by, began_at) VALUES ('study', ?, ?, 'x', 1)",
                (ONE.study, ONE.study),
            )
            connection.execute("DELETE FROM instances WHERE sop_instance_uid = ?", (ONE.instance,))
        await rebuilt(archive)
        assert await archive.read(ONE.instance) is not None
        assert await findings(archive) == []
