"""The same object from several senders at the same moment: one object in the archive, and nothing lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from kit.commands import fsck
from kit.holdings import Holdings
from kit.server import RunningServer
from kit.storm import Book, StormObject, objects, storm

ROUND = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("duplicates") / "data") as running:
        yield running


def send_at_once(server: RunningServer, lanes: list[list[StormObject]], *, window: int = 1) -> Book:
    book = Book()
    asyncio.run(storm(server.port, [iter(lane) for lane in lanes], book, window=window))
    assert set(book.ended) == {"released"}
    assert book.refused == []
    assert len(book.acknowledged) == sum(map(len, lanes))
    return book


@pytest.mark.parametrize("window", [1, 8])
def test_identical_objects_at_once_are_one_object(server: RunningServer, window: int) -> None:
    """DESIGN 5: identical bytes → Success and nothing changes."""
    lane = list(objects(f"1.{window}", [15_000] * ROUND))
    conflicts = len(Holdings(server.data).conflicts)
    send_at_once(server, [lane] * 6, window=window)
    holdings = Holdings(server.data)
    holdings.assert_sound()
    holdings.assert_holds(lane)
    assert len(holdings.conflicts) == conflicts


def test_large_identical_objects_at_once_are_one_object(server: RunningServer) -> None:
    lane = list(objects("2", [5_000_000] * 2))
    send_at_once(server, [lane] * 4)
    holdings = Holdings(server.data)
    holdings.assert_sound()
    holdings.assert_holds(lane)


@pytest.mark.parametrize("window", [1, 8])
def test_different_contents_at_once_are_all_kept(server: RunningServer, window: int) -> None:
    """DESIGN 5, policy keep: one stays, each other content is kept aside once, however often it came."""
    lane = list(objects(f"3.{window}", [15_000] * ROUND))
    variants = [[replace(obj, variant=variant) for obj in lane] for variant in range(3)]
    book = send_at_once(server, [*variants, *variants], window=window)
    holdings = Holdings(server.data)
    holdings.assert_sound()
    holdings.assert_holds(book.acknowledged)
    mine = {obj.sop_instance for obj in lane}
    assert sum(uid in mine for uid, _ in holdings.conflicts) == 2 * ROUND


def test_different_contents_at_once_with_replace_leave_one_of_them_whole(tmp_path: Path) -> None:
    lane = list(objects("4", [15_000] * ROUND))
    variants = [[replace(obj, variant=variant) for obj in lane] for variant in range(4)]
    with RunningServer(tmp_path / "data", settings={"storage.duplicates": "replace"}) as server:
        send_at_once(server, variants)
        holdings = Holdings(server.data)
        holdings.assert_sound()
        for number, obj in enumerate(lane):
            sent = {blake3(variant[number].data_set()).digest() for variant in variants}
            assert holdings.instances[obj.sop_instance].digest in sent
        fsck(server.data, "--digest")


def test_nothing_is_left_to_repair(server: RunningServer) -> None:
    fsck(server.data, "--digest")
