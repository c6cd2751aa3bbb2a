"""Large objects cost the server no more than its limits, one or many at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from blake3 import blake3

from kit.holdings import Holdings
from kit.server import RunningServer
from kit.storm import Book, StormObject, objects, storm

MIB = 1 << 20
BOUND = 150 * MIB
TEN_BOUND = 200 * MIB
"""Ten associations, each with 4 MiB waiting and a spool of 1 MiB, and what the allocator does not give back."""


def assert_stored_whole(server: RunningServer, obj: StormObject) -> None:
    """By digest and piece by piece: the test has no memory to waste either."""
    expected = blake3()
    for piece in obj.pieces():
        expected.update(piece)
    holdings = Holdings(server.data)
    row = holdings.instances[obj.sop_instance]
    assert row.digest == expected.digest()
    found = blake3()
    with holdings.blobs[obj.sop_instance].open("rb") as blob:
        blob.seek(row.data_set_offset)
        while piece := blob.read(MIB):
            found.update(piece)
    assert found.digest() == row.digest


def test_object_of_600_mb_is_streamed(tmp_path: Path) -> None:
    """DESIGN 6: 4 MiB of it in memory at a time. The 2 GB of the claim differ only in how long they take."""
    (obj,) = objects("1", [600 * MIB])
    with RunningServer(tmp_path / "data") as server:
        book = Book()
        asyncio.run(storm(server.port, [iter([obj])], book))
        assert book.acknowledged == [obj]
        assert server.peak_memory_bytes < BOUND
        assert_stored_whole(server, obj)


def test_ten_objects_at_once_are_streamed(tmp_path: Path) -> None:
    lanes = [list(objects(f"2.{lane}", [40 * MIB])) for lane in range(10)]
    with RunningServer(tmp_path / "data") as server:
        book = Book()
        asyncio.run(storm(server.port, [iter(lane) for lane in lanes], book))
        assert len(book.acknowledged) == 10
        assert server.peak_memory_bytes < TEN_BOUND
        for (obj,) in lanes:
            assert_stored_whole(server, obj)
