"""kill -9 while many associations send, again and again: nothing acknowledged is lost, nothing half is seen."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from kit.commands import fsck
from kit.holdings import Holdings
from kit.mortal import MortalServer, mortal_server
from kit.storm import Book, StormObject, objects, storm
from kit.volumes import NotPermitted, PoweredVolume
from kit.wait import eventually

CYCLES = 52
LANES = 2
SMALL_ASSOCIATIONS = 4
WINDOW = 8
LEFT_AT_MOST = SMALL_ASSOCIATIONS + 3 + WINDOW + 256
"""The most names that a kill can leave: objects on their way in :func:`traffic`, and those just stored, tidied up in
batches."""
POWER_CUTS = 5
REPLACING_CYCLES = 7


def small(chance: random.Random) -> Iterator[int]:
    while True:
        yield 2 * chance.randrange(500, 20_000)


def large(chance: random.Random) -> Iterator[int]:
    while True:
        yield 2 * chance.randrange(500_000, 2_500_000)


def again(known: list[StormObject], chance: random.Random) -> Iterator[StormObject]:
    """What was acknowledged in earlier cycles, now and then with other content."""
    while known:
        obj = chance.choice(known)
        yield replace(obj, variant=chance.choice((0, 0, 1)))


async def kill_in_the_middle(server: MortalServer, book: Book, chance: random.Random) -> None:
    """At no particular moment, but after a number of objects and not of seconds, of which a busy machine needs more."""
    enough = chance.randrange(60)
    await asyncio.to_thread(eventually, lambda: len(book.acknowledged) >= enough, "objects stored", every_s=0.001)
    asyncio.get_running_loop().call_later(chance.uniform(0.0, 0.05), server.kill)


async def traffic(server: MortalServer, cycle: int, known: list[StormObject], chance: random.Random) -> Book:
    """Send on every kind of association until the server is killed."""
    shared = list(objects(f"{cycle}.90", itertools.islice(small(chance), 2000)))
    book = Book()
    plain = [objects(f"{cycle}.{lane}", small(chance)) for lane in range(SMALL_ASSOCIATIONS)]
    plain.append(objects(f"{cycle}.80", large(chance)))
    plain += [iter(shared), again(known, chance)] if known else [iter(shared)]
    await asyncio.gather(
        kill_in_the_middle(server, book, chance),
        storm(server.port, plain, book),
        storm(server.port, [iter(shared)], book, window=WINDOW),  # the same objects as another association, at once
    )
    return book


def assert_recovered_quickly(log: str, held: int) -> None:
    """Start-up looked at what was in flight, however much the archive holds."""
    for examined in map(int, re.findall(r'"examined": ?(\d+)', log)):
        assert examined <= LEFT_AT_MOST, f"start-up looked at {examined} files; the archive holds {held}"


def test_acknowledged_objects_survive_kill_9_while_sending(tmp_path: Path) -> None:
    """DESIGN 5: a crash never leaves an acknowledged object missing and never shows a half-written one.

    Two servers with a folder each, side by side: most of a cycle is one processor starting Python.
    """
    with ThreadPoolExecutor(LANES) as lanes:
        for _ in lanes.map(kill_again_and_again, [tmp_path / f"data{lane}" for lane in range(LANES)], range(LANES)):
            pass


def kill_again_and_again(data: Path, seed: int) -> None:
    chance = random.Random(seed)
    known: list[StormObject] = []
    fresh: list[StormObject] = []
    killed_in_flight = 0
    with mortal_server(data, settings={"logging.format": "json"}) as server:
        for cycle in range(CYCLES // LANES):
            seen = len(server.log)
            server.start()
            assert_recovered_quickly(server.log[seen:], len(known))
            holdings = Holdings(server.data)
            holdings.assert_sound()
            holdings.assert_holds(fresh)
            book = asyncio.run(traffic(server, cycle, known, chance))
            server.kill()
            assert book.refused == []
            killed_in_flight += len(book.unanswered)
            fresh = book.acknowledged
            known += fresh
            if cycle % 13 == 12:
                verify(server, known)
        verify(server, known)
    assert len(known) > 2 * LEFT_AT_MOST, "too few for start-up's work to tell anything"
    assert killed_in_flight > CYCLES // LANES


def test_replacing_survives_kill_9(tmp_path: Path) -> None:
    """DESIGN 5, policy replace: one content is in place, whole, and the other one is gone, wherever the kill came."""
    chance = random.Random(20260104)
    pool = list(objects("1", [3_000, 300_000, 1_500_000] * 15))
    sent: dict[str, set[bytes]] = {}

    def variants() -> Iterator[StormObject]:
        while True:
            obj = replace(chance.choice(pool), variant=chance.randrange(1000))
            sent.setdefault(obj.sop_instance, set()).add(blake3(obj.data_set()).digest())
            yield obj

    async def send_until_killed(server: MortalServer) -> Book:
        book = Book()
        asyncio.get_running_loop().call_later(chance.uniform(0.2, 0.5), server.kill)
        await storm(server.port, [variants() for _ in range(SMALL_ASSOCIATIONS)], book, window=2)
        return book

    acknowledged: set[str] = set()
    with mortal_server(tmp_path / "data", settings={"storage.duplicates": "replace"}) as server:
        for _ in range(REPLACING_CYCLES):
            server.start()
            holdings = Holdings(server.data)
            holdings.assert_sound()
            assert acknowledged <= holdings.instances.keys()
            for uid, row in holdings.instances.items():
                assert row.digest in sent[uid]
            book = asyncio.run(send_until_killed(server))
            assert book.refused == []
            acknowledged |= {obj.sop_instance for obj in book.acknowledged}
        with server:
            fsck(server.data, "--digest")
    assert len(acknowledged) > 30


def verify(server: MortalServer, known: list[StormObject]) -> None:
    with server:
        holdings = Holdings(server.data)
        holdings.assert_sound()
        holdings.assert_holds(known)
    fsck(server.data, "--digest")


def test_acknowledged_objects_survive_a_power_cut(tmp_path: Path) -> None:
    """DESIGN 5: synced file, durable directory entry, committed row; kill -9 alone would not miss an fsync."""
    chance = random.Random(20260103)
    volume = PoweredVolume(tmp_path, size_bytes=256 << 20)
    known: list[StormObject] = []
    try:
        volume.power_on()
    except NotPermitted as reason:
        volume.remove()
        pytest.fail(f"no loop device to cut the power of: {reason}")
    try:
        with mortal_server(volume.place / "data") as server:
            server.log_file = tmp_path / "server.log"
            for cycle in range(POWER_CUTS):
                server.start()
                holdings = Holdings(server.data)
                holdings.assert_sound()
                holdings.assert_holds(known)
                known += asyncio.run(interrupted(server, volume, cycle, known, chance)).acknowledged
                volume.unplug()
                volume.power_on()
            verify(server, known)
    finally:
        volume.remove()
    assert len(known) > 10 * POWER_CUTS


async def interrupted(
    server: MortalServer, volume: PoweredVolume, cycle: int, known: list[StormObject], chance: random.Random
) -> Book:
    def power_fails() -> None:
        server.freeze()  # a machine without power answers nobody, whatever its disk did last
        volume.cut_power()
        server.kill()

    book = Book()
    lanes = [objects(f"{cycle}.{lane}", small(chance)) for lane in range(SMALL_ASSOCIATIONS)]
    lanes.append(objects(f"{cycle}.80", large(chance)))
    asyncio.get_running_loop().call_later(chance.uniform(0.2, 0.6), power_fails)
    await asyncio.gather(
        storm(server.port, [*lanes, again(known, chance)], book),
        storm(server.port, [objects(f"{cycle}.9", small(chance))], book, window=WINDOW),
    )
    return book
