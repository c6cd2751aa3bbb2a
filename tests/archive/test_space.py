"""How much may still be stored: what this process stores and deletes counts, and what others do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kit.samples import Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.deletion import Level, Target
from pacslite.archive.settings import ArchiveSettings
from pacslite.archive.space import Space
from pacslite.errors import OutOfResources
from pacslite.facts import ignore

ONE = Sample()
SIZE = len(ONE.data_set())


async def test_what_another_process_deletes_makes_room_at_once(quick_path: Path) -> None:
    async with (
        Archive.open(settings_for(quick_path, quota_bytes=SIZE), observe=ignore) as server,
        Archive.open(settings_for(quick_path), observe=ignore) as tool,
    ):
        await put(server, ONE)
        with pytest.raises(OutOfResources, match="Quota"):
            await put(server, ONE.but(instance="1.2.4"))
        await tool.deletions.delete(Target(level=Level.INSTANCE, uid=ONE.instance), deleted_by="somebody")
        await put(server, ONE.but(instance="1.2.4"))
        with pytest.raises(OutOfResources, match="Quota"):
            await put(server, ONE.but(instance="1.2.5"))


async def test_what_another_process_stores_takes_room(quick_path: Path) -> None:
    async with (
        Archive.open(settings_for(quick_path, quota_bytes=SIZE), observe=ignore) as server,
        Archive.open(settings_for(quick_path), observe=ignore) as tool,
    ):
        await put(tool, ONE)
        await put(tool, ONE.but(pixels=b"\3\4" * 50))
        # The first one to come notices; what was under way by then may still be taken.
        await put_if_there_is_room(server, "1.2.4")
        await server.workshop.space.close()
        with pytest.raises(OutOfResources, match="Quota"):
            await put(server, ONE.but(instance="1.2.5"))
        for path in (ONE.instance, "1.2.4"):
            await tool.deletions.delete(Target(level=Level.INSTANCE, uid=path), deleted_by="somebody")
        await put(server, ONE.but(instance="1.2.5"))


async def put_if_there_is_room(archive: Archive, instance: str) -> None:
    try:
        await put(archive, ONE.but(instance=instance))
    except OutOfResources:
        return


class Others:
    """What is counted when others have written."""

    def __init__(self) -> None:
        self.stored: int | None = None
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.called = asyncio.Event()

    async def __call__(self) -> int | None:
        self.asked += 1
        self.called.set()
        await self.go_on.wait()
        return self.stored


def space(folder: Path, others: Others, now: list[float], *, quota_bytes: int | None = 100) -> Space:
    settings = ArchiveSettings(folder=folder, min_free_bytes=0, min_free_percent=0.0, quota_bytes=quota_bytes)
    return Space(settings, stored_bytes=0, clock=lambda: now[0], count=others)


async def test_others_are_asked_about_once_a_second_and_before_anything_is_refused(tmp_path: Path) -> None:
    others, now = Others(), [0.0]
    room = space(tmp_path, others, now)
    for _ in range(10):
        await room.take(10)
    await room.close()
    assert others.asked == 1
    now[0] = 2.0
    for _ in range(10):
        with pytest.raises(OutOfResources):
            await room.take(10)
    assert others.asked >= 10
    others.stored = 0
    room.settle(100, stored=False)
    await room.take(100)


async def test_who_is_refused_at_the_same_time_waits_for_the_same_count(tmp_path: Path) -> None:
    others, now = Others(), [0.0]
    room = space(tmp_path, others, now)
    await room.take(50)
    room.settle(50, stored=True)
    await room.close()
    others.stored = 0
    others.go_on.clear()
    others.called.clear()
    waiting = [asyncio.create_task(room.take(60)) for _ in range(3)]
    await others.called.wait()
    others.go_on.set()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["NoneType", "OutOfResources", "OutOfResources"]


async def test_what_comes_from_both_sides_is_counted_once(quick_path: Path) -> None:
    async with (
        Archive.open(settings_for(quick_path, quota_bytes=91 * SIZE), observe=ignore) as server,
        Archive.open(settings_for(quick_path), observe=ignore) as tool,
    ):
        for turn in range(3):
            samples = [ONE.but(instance=f"1.{turn}.{number:02}") for number in range(40)]
            await asyncio.gather(
                *(put(server if number % 2 else tool, sample) for number, sample in enumerate(samples)),
                *(server.workshop.space.recount() for _ in range(5)),
            )
            await asyncio.gather(
                *(
                    archive.deletions.delete(
                        Target(level=Level.INSTANCE, uid=f"1.{turn}.0{number}"), deleted_by="x", batch=1
                    )
                    for number in range(10)
                    for archive in (server, tool)
                ),
                *(server.workshop.space.recount() for _ in range(5)),
            )
        await put(server, ONE)
        with pytest.raises(OutOfResources, match="Quota"):
            await put(server, ONE.but(instance="1.2.5"))


async def test_without_a_quota_nothing_is_counted(tmp_path: Path) -> None:
    others = Others()
    await space(tmp_path, others, [0.0], quota_bytes=None).take(1 << 20)
    assert others.asked == 0
