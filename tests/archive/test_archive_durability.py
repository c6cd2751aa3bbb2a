"""The order of what makes an object durable, and what happens when one of its steps fails (DESIGN 5)."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kit.disks import Call, WatchedDisk, failing
from kit.samples import Sample, files, put, rows, settings_for, visible
from kit.volumes import small_volume
from pacslite.archive.archive import Archive
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.integrity import Finding, check
from pacslite.archive.model import Outcome
from pacslite.archive.settings import DuplicatePolicy
from pacslite.errors import OutOfResources
from pacslite.facts import ignore


def is_committed(folder: Path, uid: str) -> bool:
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        return bool(connection.execute("SELECT 1 FROM instances WHERE sop_instance_uid = ?", (uid,)).fetchone())


class Steps:
    """The calls in their order, each with whether the object's row was committed before it."""

    def __init__(self, folder: Path, uid: str) -> None:
        self._folder = folder
        self._uid = uid
        self.taken: list[tuple[Call, bool]] = []

    def __call__(self, call: Call) -> None:
        self.taken.append((call, is_committed(self._folder, self._uid)))

    def at(self, operation: str, end: str) -> int:
        (index,) = [
            n for n, (call, _) in enumerate(self.taken) if call.operation == operation and call.what.endswith(end)
        ]
        return index


async def stored_steps(folder: Path, sample: Sample, **changes: object) -> Steps:
    steps = Steps(folder, sample.instance)
    settings = settings_for(folder, **changes)
    async with Archive.open(settings, observe=ignore, disk=WatchedDisk(steps, str(folder))) as archive:
        await put(archive, sample)
        assert is_committed(folder, sample.instance), "it was answered before its row was committed"
    return steps


@pytest.mark.parametrize("size", [100, 20_000])
async def test_file_then_name_then_row_then_answer(quick_path: Path, size: int) -> None:
    """A C-STORE-RSP of Success (ST-02) means: file synced, its directory entry durable, its row committed."""
    sample = Sample(pixels=bytes(size))
    steps = await stored_steps(quick_path, sample, spool_bytes=4096, piece_bytes=4096)
    link, unlink = steps.at("link", "1.2.3.3.dcm"), steps.at("unlink", "1.2.3.3.dcm")
    written = max(n for n, (call, _) in enumerate(steps.taken) if call.operation == "write")
    sync = next(n for n, (call, _) in enumerate(steps.taken) if call.operation == "sync")
    assert written < link < sync < steps.at("sync_directory", "1.2.3.1/1.2.3.2") < unlink
    assert [committed for _, committed in steps.taken] == [False] * unlink + [True] * (len(steps.taken) - unlink)


async def test_every_new_directory_is_durable_before_the_row(quick_path: Path) -> None:
    steps = await stored_steps(quick_path, Sample())
    made = [call.what for call, _ in steps.taken if call.operation == "make_directory" and call.what != "blobs"]
    synced = [call.what for call, committed in steps.taken if call.operation == "sync_directory" and not committed]
    assert len(made) == 3
    assert all(os.path.dirname(path) in synced for path in made)


async def test_the_way_to_a_known_series_is_not_synced_again(quick_path: Path) -> None:
    calls: list[Call] = []
    disk = WatchedDisk(calls.append, str(quick_path))
    async with Archive.open(settings_for(quick_path), observe=ignore, disk=disk) as archive:
        await put(archive, Sample())
        before = len(calls)
        await put(archive, Sample(instance="1.2.3.4"))
    second = [call.operation for call in calls[before:] if "1.2.3.3.dcm" not in call.what]  # which is swept by and by
    assert second == ["create", "write", "link", "sync", "sync_directory", "unlink"]


async def test_sending_again_syncs_nothing(quick_path: Path) -> None:
    calls: list[Call] = []
    async with Archive.open(
        settings_for(quick_path), observe=ignore, disk=WatchedDisk(calls.append, str(quick_path))
    ) as archive:
        await put(archive, Sample())
        calls.clear()
        assert (await put(archive, Sample())).outcome is Outcome.IDENTICAL
    assert "sync" not in {call.operation for call in calls}


@pytest.mark.parametrize("policy", DuplicatePolicy)
async def test_a_different_duplicate_is_as_durable_as_a_first_object(quick_path: Path, policy: DuplicatePolicy) -> None:
    calls: list[Call] = []
    async with Archive.open(
        settings_for(quick_path, duplicates=policy), observe=ignore, disk=WatchedDisk(calls.append, str(quick_path))
    ) as archive:
        await put(archive, Sample())
        calls.clear()
        await put(archive, Sample(pixels=b"other"))
    operations = [call.operation for call in calls]
    # The last link into its place: with replace, the file that is to go gets a name in flight as well.
    last_link = max(n for n, call in enumerate(calls) if call.operation == "link" and "incoming" not in call.what)
    assert "sync" in operations[last_link:]
    assert operations.index("sync_directory", last_link) > last_link


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("operation", ["create", "write", "link", "sync", "sync_directory", "make_directory"])
@pytest.mark.parametrize("size", [100, 20_000])
async def test_a_failing_disk_refuses_the_object_in_words_and_nothing_of_it_is_seen(
    quick_path: Path, operation: str, error: int, size: int
) -> None:
    """ST-01: A700, and the server goes on."""
    disk = WatchedDisk(failing(operation, error, times=1), str(quick_path))
    sample = Sample(pixels=bytes(size))
    settings = settings_for(quick_path, spool_bytes=4096, piece_bytes=4096)
    async with Archive.open(settings, observe=ignore, disk=disk) as archive:
        with pytest.raises(OutOfResources, match=r"No space|Cannot write"):
            await put(archive, sample)
        assert visible(quick_path) == []
        assert rows(quick_path, "SELECT count(*) FROM patients") == [(0,)]
        assert (await put(archive, sample)).outcome is Outcome.STORED
        assert [finding async for finding in check(archive, digest=True) if isinstance(finding, Finding)] == []


async def test_an_index_that_cannot_grow_refuses_the_object(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, Sample())
        large = Sample(instance="1.2.3.4", more=((0x00204000, "LT", "x" * 10_000),))
        await archive.workshop.index.run(lambda writer: limit_pages(writer, 1))
        with pytest.raises(OutOfResources, match="Cannot write the index: database or disk is full"):
            await put(archive, large)
        assert len(files(quick_path, "blobs")) == 1
        await archive.workshop.index.run(lambda writer: limit_pages(writer, 1 << 30))
        assert (await put(archive, large)).outcome is Outcome.STORED


def limit_pages(writer: IndexWriter, most: int) -> None:
    writer.connection.execute(f"PRAGMA max_page_count={most}").fetchall()


@pytest.fixture
def volume(quick_path: Path) -> Iterator[Path]:
    """Where it may not be mounted the test fails: a skipped one would pass for one that saw a full disk."""
    with small_volume(quick_path / "volume", 4 << 20) as place:
        yield place


async def fill_up(archive: Archive) -> tuple[list[str], list[str]]:
    """Objects of 300 kB until well after the end; UIDs of those stored, and the words for the others."""
    samples = [Sample(instance=f"1.2.3.{n}", number=n, pixels=os.urandom(300_000)) for n in range(25)]
    results = await asyncio.gather(*(put(archive, sample) for sample in samples), return_exceptions=True)
    refused = [str(result) for result in results if isinstance(result, OutOfResources)]
    stored = [
        sample.instance for sample, result in zip(samples, results, strict=True) if not isinstance(result, Exception)
    ]
    assert len(stored) + len(refused) == 25
    return stored, refused


async def test_a_full_volume_refuses_keeps_what_it_has_and_recovers(volume: Path) -> None:
    folder = volume / "data"
    async with Archive.open(settings_for(folder, spool_bytes=100_000), observe=ignore) as archive:
        stored, refused = await fill_up(archive)
        assert stored
        assert refused
        assert all("space" in words or "index" in words for words in refused)
        assert len(files(folder, "blobs")) == len(stored)
        assert [item async for item in check(archive, digest=True) if isinstance(item, Finding)] == []
        for path in files(folder, "blobs"):
            (folder / path).unlink()
        async for _ in check(archive, repair=True):
            pass
        assert (await put(archive, Sample(instance="1.2.4"))).outcome is Outcome.STORED


async def test_the_reserve_is_kept_free_and_refused_before_any_data(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path, min_free_bytes=1 << 60), observe=ignore) as archive:
        with pytest.raises(OutOfResources, match="reserved"):
            async with archive.ingest(Sample().origin):
                pytest.fail("the data set was asked for")
    async with Archive.open(settings_for(quick_path, min_free_percent=100.0), observe=ignore) as archive:
        with pytest.raises(OutOfResources, match="reserved"):
            await put(archive, Sample())
    assert visible(quick_path) == []


async def test_the_quota_counts_what_is_stored_and_what_is_coming(quick_path: Path) -> None:
    size = len(Sample().data_set())
    async with Archive.open(settings_for(quick_path, quota_bytes=size * 2), observe=ignore) as archive:
        await put(archive, Sample())
        with pytest.raises(OutOfResources, match="Quota"):
            await put(archive, Sample(instance="1.2.3.4", pixels=bytes(2 * size)))
        await put(archive, Sample(instance="1.2.3.4"))
        with pytest.raises(OutOfResources, match="Quota"):
            await put(archive, Sample(instance="1.2.3.5"))
    async with Archive.open(settings_for(quick_path, quota_bytes=size * 2), observe=ignore) as archive:
        with pytest.raises(OutOfResources, match="Quota"):
            await put(archive, Sample(instance="1.2.3.5"))
