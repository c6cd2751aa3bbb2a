"""``kill -9`` at every step of a deletion: the next start finds every object whole, or nothing of it.

A child process deletes and dies before its n-th disk operation, or before or after its n-th transaction.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kit.disks import DIED, Call, WatchedDisk, dying
from kit.samples import Sample, assert_counters_exact, files, put, rows, settings_for, visible
from pacslite.archive.archive import Archive
from pacslite.archive.deletion import Level, Target
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.integrity import Finding, check
from pacslite.archive.model import Outcome
from pacslite.facts import ignore

ONE = Sample()
SAMPLES = tuple(ONE.but(instance=f"1.2.{number}", series=f"1.2.3.{number % 2}") for number in range(4))
ASIDE = SAMPLES[0].but(pixels=b"different")
OTHER = ONE.but(instance="1.3", series="1.3.2", study="1.3.1")
STUDY = Target(level=Level.STUDY, uid=ONE.study)
BATCH = 3
MOST_STEPS = 90
Hook = Callable[[Path], WatchedDisk]


async def fill(folder: Path) -> None:
    async with Archive.open(settings_for(folder), observe=ignore) as archive:
        for sample in (*SAMPLES, ASIDE, OTHER):
            await put(archive, sample)


def run_child(folder: Path, disk: WatchedDisk, prepare: Callable[[], None] = lambda: None) -> int:
    """Delete in a process of its own; its exit code says whether it died."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        prepare()
        asyncio.run(child_deletes(folder, disk))
    except BaseException:  # nothing of the test run may continue in the child
        os._exit(1)
    os._exit(0)


async def child_deletes(folder: Path, disk: WatchedDisk) -> None:
    async with Archive.open(settings_for(folder), observe=ignore, disk=disk) as archive:
        await archive.deletions.delete(STUDY, deleted_by="somebody", batch=BATCH)


async def assert_settled(archive: Archive) -> int:
    """Index and files agree, and the record with both; how many objects of the study are left."""
    folder = archive.layout.folder
    assert [item async for item in check(archive, digest=True) if isinstance(item, Finding)] == []
    assert_counters_exact(folder)
    ((left, aside),) = rows(
        folder,
        "SELECT (SELECT count(*) FROM instances WHERE sop_instance_uid <> '1.3'), (SELECT count(*) FROM conflicts)",
    )
    assert len(visible(folder)) == int(str(left)) + int(str(aside)) + 1
    deletions = await archive.deletions.history(10)
    assert sum(deletion.instances for deletion in deletions) == len(SAMPLES) - int(str(left))
    assert [deletion.ended_at is None for deletion in deletions[1:]] == [True] * (len(deletions) - 1)
    return int(str(left))


async def look_at(folder: Path, *, went_on: bool) -> None:
    async with Archive.open(settings_for(folder), observe=ignore) as archive:
        left = await assert_settled(archive)
        assert left in ((0,) if went_on else (0, 1, len(SAMPLES)))
        assert files(folder, "incoming", "quarantine") == []
        # Again, as whoever asked for it would.
        assert (await archive.deletions.delete(STUDY, deleted_by="somebody", batch=BATCH)).instances == left
        assert await assert_settled(archive) == 0
        assert (await put(archive, SAMPLES[0])).outcome is Outcome.STORED
        assert await archive.read(OTHER.instance) is not None


def test_a_crash_before_any_disk_operation_leaves_objects_whole_or_gone(quick_path: Path) -> None:
    template, folder = quick_path / "template", quick_path / "data"
    asyncio.run(fill(template))
    for step in range(MOST_STEPS):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        code = run_child(folder, WatchedDisk(dying(step), str(folder)))
        assert code in (0, DIED)
        asyncio.run(look_at(folder, went_on=code == 0))
        if code == 0:
            assert step > 20, "there were no steps to die at"
            return
    pytest.fail("it never came to an end")


@pytest.mark.parametrize("committed", [False, True], ids=["before", "after"])
def test_a_crash_at_any_transaction_leaves_objects_whole_or_gone(quick_path: Path, committed: bool) -> None:
    template, folder = quick_path / "template", quick_path / "data"
    asyncio.run(fill(template))
    for step in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        disk = WatchedDisk(lambda call: None, str(folder))
        code = run_child(folder, disk, partial(die_at, step, committed=committed))
        assert code in (0, DIED)
        asyncio.run(look_at(folder, went_on=code == 0))
        if code == 0:
            assert step == 3, "one transaction to begin with, and one for each of two batches"
            return
    pytest.fail("it never came to an end")


def die_at(step: int, *, committed: bool) -> None:
    """In the child: before or after the commit with this number."""
    commit, count = IndexWriter.commit, iter(range(1000))

    def dying_commit(writer: IndexWriter) -> None:
        is_last = next(count) == step
        if is_last and not committed:
            os._exit(DIED)
        commit(writer)
        if is_last:
            os._exit(DIED)

    IndexWriter.commit = dying_commit  # type: ignore[assignment, method-assign] # this process ends with it


async def test_what_a_killed_tool_leaves_does_not_hurt_a_running_server_and_goes_at_the_next_start(
    quick_path: Path,
) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as server:
        for sample in (*SAMPLES, ASIDE, OTHER):
            await put(server, sample)
        unlinks = iter(range(1000))

        def before(call: Call) -> None:
            if call.operation == "unlink" and next(unlinks) == 1:
                os._exit(DIED)

        assert await asyncio.to_thread(run_child, quick_path, WatchedDisk(before, str(quick_path))) == DIED
        left = [sample for sample in SAMPLES if await server.read(sample.instance) is not None]
        assert len(left) == 1
        assert len(files(quick_path, "incoming")) == 4, "three objects, and one kept aside"
        assert [item async for item in check(server, digest=True) if isinstance(item, Finding)] == []
        # Two of the files are still in their places: what comes now lies beside them, or in the place of the third.
        for sample in SAMPLES[:3]:
            changed = sample.but(pixels=b"changed")
            assert (await put(server, changed)).outcome is Outcome.STORED
            assert (await put(server, changed)).outcome is Outcome.IDENTICAL
        assert (await put(server, ASIDE)).outcome is Outcome.KEPT_ASIDE
        async with Archive.open(settings_for(quick_path), observe=ignore) as other:
            assert [item async for item in check(other, digest=True) if isinstance(item, Finding)] == []
            assert len(visible(quick_path)) == len(SAMPLES) + 1 + len(files(quick_path, "quarantine")) + 1
        for sample in SAMPLES[:3]:
            stored = await server.read(sample.instance)
            assert stored is not None
            assert stored.path.read_bytes().endswith(sample.but(pixels=b"changed").data_set())


async def test_what_is_kept_aside_again_while_it_is_deleted_is_kept(quick_path: Path) -> None:
    """Its row has gone, its file has not yet: it must not be taken for one that stays."""
    at_it, go_on = threading.Event(), threading.Event()

    def before(call: Call) -> None:
        if call.operation == "unlink" and call.what.startswith("conflicts") and not at_it.is_set():
            at_it.set()
            go_on.wait(10)

    disk = StallingDisk(before, str(quick_path))
    async with (
        Archive.open(settings_for(quick_path), observe=ignore, disk=disk) as archive,
        Archive.open(settings_for(quick_path), observe=ignore) as other,
    ):
        await put(archive, ONE)
        await put(archive, ASIDE.but(instance=ONE.instance))
        deleting = asyncio.create_task(archive.deletions.delete(STUDY, deleted_by="somebody"))
        await asyncio.to_thread(at_it.wait, 10)
        assert (await put(other, ONE)).outcome is Outcome.STORED
        assert (await put(other, ASIDE.but(instance=ONE.instance))).outcome is Outcome.KEPT_ASIDE
        go_on.set()
        assert (await deleting).conflicts == 1
        assert [item async for item in check(other, digest=True) if isinstance(item, Finding)] == []
        (path,) = files(quick_path, "conflicts")
        assert (quick_path / path).read_bytes().endswith(ASIDE.but(instance=ONE.instance).data_set())


class StallingDisk(WatchedDisk):
    """One whose calls may wait for each other."""

    __slots__ = ()

    def _tell(self, operation: str, path: str) -> None:
        self._before(Call(operation, os.path.relpath(path, self._folder)))
