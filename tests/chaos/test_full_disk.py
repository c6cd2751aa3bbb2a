"""No room: a disk that is really full, and the limits that keep it from getting there. Refused, never broken."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kit.commands import fsck
from kit.holdings import Holdings, in_flight
from kit.message import Packing, c_store_rq, pack_message
from kit.rawpeer import EXPLICIT, association, contexts_for
from kit.server import RunningServer
from kit.storm import CT_IMAGE_STORAGE, Answer, Book, StormObject, objects, storm
from kit.volumes import NotPermitted, fill, small_volume
from kit.wait import eventually

MIB = 1 << 20
OUT_OF_RESOURCES = 0xA700


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    try:
        with small_volume(tmp_path / "volume", 48 * MIB) as place:
            yield place
    except NotPermitted as reason:
        pytest.fail(
            f"the full-disk test must mount a small tmpfs; run it as root, or in a container that may: {reason}"
        )


def send(server: RunningServer, *lanes: Iterator[StormObject], window: int = 1) -> Book:
    book = Book()
    asyncio.run(storm(server.port, lanes, book, window=window))
    return book


def assert_only_refused_for_room(book: Book) -> None:
    assert book.unanswered == []
    assert {answer.status for _, answer in book.refused} <= {OUT_OF_RESOURCES}
    assert all(answer.comment for _, answer in book.refused), "Error Comment says why (DM-08)"
    assert set(book.ended) == {"released"}


def send_until_taken(server: RunningServer, refused: list[tuple[StormObject, Answer]]) -> list[StormObject]:
    """There is room again; the server may take a second to notice, then it takes everything."""
    left = [obj for obj, _ in refused]
    first = left.pop(0)
    eventually(lambda: send(server, iter([first])).acknowledged, "the first object taken")
    after = send(server, iter(left))
    assert after.refused == []
    assert after.acknowledged == left
    return [first, *left]


@pytest.mark.parametrize(("window", "leave_bytes"), [(1, 3 * MIB), (8, 3 * MIB), (8, MIB // 2)])
def test_full_disk_refuses_and_goes_on_when_there_is_room_again(
    volume: Path, tmp_path: Path, window: int, leave_bytes: int
) -> None:
    """Whichever comes first, a blob's write or the index's: the answer is A700 and both stay whole."""
    server = RunningServer(volume / "data")
    server.log_file = tmp_path / "server.log"
    with server:
        before = send(server, *(objects(f"1.{lane}", [20_000] * 20) for lane in range(4)), window=window)
        assert len(before.acknowledged) == 80
        ballast = fill(volume, leave_bytes=leave_bytes)
        sizes = ([30_000] * 60, [500] * 400, [900_000] * 20, [500] * 400)
        full = send(server, *(objects(f"2.{lane}", each) for lane, each in enumerate(sizes)), window=window)
        assert_only_refused_for_room(full)
        assert len(full.refused) > 10
        known = before.acknowledged + full.acknowledged
        Holdings(server.data).assert_holds(known)
        ballast.unlink()
        known += send_until_taken(server, full.refused)
        holdings = Holdings(server.data)
        holdings.assert_sound()
        holdings.assert_holds(known)
        fsck(server.data, "--digest")
    fsck(server.data, "--digest")


def test_server_starts_on_a_disk_that_is_full_and_stores_when_it_is_not(volume: Path, tmp_path: Path) -> None:
    server = RunningServer(volume / "data")
    server.log_file = tmp_path / "server.log"
    with server:
        known = send(server, objects("1", [20_000] * 20)).acknowledged
        server.kill()
        ballast = fill(volume, leave_bytes=512 << 10)
        server.start()
        full = send(server, objects("2", [200_000] * 10))
        assert_only_refused_for_room(full)
        assert full.refused
        ballast.unlink()
        known += full.acknowledged + send_until_taken(server, full.refused)
        assert len(known) == 30
        holdings = Holdings(server.data)
        holdings.assert_sound()
        holdings.assert_holds(known)


@pytest.mark.parametrize(
    ("settings", "fitting", "excess"),
    [
        ({"storage.min_free_percent": 99.9}, [], [50_000]),
        ({"storage.max_object_bytes": 100_000}, [90_000, 90_000], [100_002, 300_000]),
        ({"storage.quota_bytes": 250_000}, [90_000, 90_000], [90_000, 300_000]),
    ],
    ids=["free-space reserve", "object size", "quota"],
)
def test_limit_refuses_with_a700_and_the_association_goes_on(
    tmp_path: Path, settings: Mapping[str, object], fitting: list[int], excess: list[int]
) -> None:
    """DESIGN 6, DM-09: answered before the data set is in, the rest drained, the next request served."""
    with RunningServer(tmp_path / "data", settings=settings) as server:
        supply = objects("1", [*fitting, *excess])
        kept = list(itertools.islice(supply, len(fitting)))
        with association(server.port, contexts_for((CT_IMAGE_STORAGE, EXPLICIT))) as peer:
            for obj in kept:
                assert peer.store(1, CT_IMAGE_STORAGE, obj.sop_instance, obj.data_set()).status == 0x0000
            for obj in supply:
                packing = Packing(data_fragments=(10_000,))
                response = peer.store(1, CT_IMAGE_STORAGE, obj.sop_instance, obj.data_set(), packing=packing)
                assert response.status == OUT_OF_RESOURCES
        eventually(lambda: not in_flight(server.data), "nothing in flight")
        holdings = Holdings(server.data)
        holdings.assert_sound()
        holdings.assert_holds(kept)
        assert len(holdings.instances) == len(kept)


def test_files_that_cannot_grow_are_refused_and_others_taken(tmp_path: Path) -> None:
    """What a disk quota does, for objects and then for the index; this one needs no volume of its own."""
    server = RunningServer(tmp_path / "data", prefix=("prlimit", f"--fsize={3 * MIB // 2}"))
    with server:
        large = send(server, objects("1", [1_600_000, 5_000_000]))
        assert_only_refused_for_room(large)
        assert large.acknowledged == []
        known = send(server, objects("2", [20_000] * 5)).acknowledged
        assert len(known) == 5
        many = send(server, objects("3", [1000] * 400), window=8)
        assert_only_refused_for_room(many)
        assert many.refused
        known += many.acknowledged
        holdings = Holdings(server.data)
        holdings.assert_sound()
        holdings.assert_holds(known)
    with RunningServer(tmp_path / "data") as unlimited:
        known += send(unlimited, iter([obj for obj, _ in many.refused])).acknowledged
        assert len(known) == 405
        holdings = Holdings(unlimited.data)
        holdings.assert_sound()
        holdings.assert_holds(known)


def test_free_space_reserve_refuses_before_the_data_set_is_taken(tmp_path: Path) -> None:
    """The answer comes while the peer has sent no more than the command."""
    (obj,) = objects("1", [50_000])
    with (
        RunningServer(tmp_path / "data", settings={"storage.min_free_percent": 99.9}) as server,
        association(server.port, contexts_for((CT_IMAGE_STORAGE, EXPLICIT))) as peer,
    ):
        command, *rest = pack_message(1, c_store_rq(CT_IMAGE_STORAGE, obj.sop_instance), obj.data_set())
        peer.send(command)
        assert peer.read_response().status == OUT_OF_RESOURCES
        peer.send(*rest)
        assert peer.store(1, CT_IMAGE_STORAGE, obj.sop_instance, obj.data_set()).status == OUT_OF_RESOURCES
