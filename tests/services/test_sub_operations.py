"""The loop of sub-operations with several associations and destinations that fail; STANDARD QR-04, QR-06, QR-12."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kit.identifiers import EXPLICIT
from kit.retrieving import Calls, Taker, contexts, retrieving, study
from kit.samples import Sample
from pacslite.dicom import tags
from pacslite.errors import ConnectionLost
from pacslite.services.conveyor import Manner
from pacslite.services.progress import Progress
from pacslite.services.sub_operations import Failure, SubOperations


@asynccontextmanager
async def sending(
    folder: Path, destination: Calls, samples: list[Sample], manner: Manner | None = None
) -> AsyncIterator[SubOperations]:
    async with retrieving(folder, samples) as place:
        selection = await place.archive.select({tags.STUDY_INSTANCE_UID: [samples[0].study]})
        failures: list[Failure] = []
        operations = SubOperations(
            place.archive, selection, destination, manner=manner or Manner(), priority=0, failed=failures.append
        )
        yield operations
        assert destination.open == 0
        assert [one.sop_instance_uid for one in failures] == operations.progress.failed_uids
        assert len(asyncio.all_tasks()) == 1


def numbers(taker: Taker) -> list[int]:
    return [int(uid.rpartition(".")[2]) for uid in taker.uids]


def takers(*lost_at: int, window: int = 1) -> list[Taker]:
    """Peers each of which is lost when it is sent that image; 0 is never."""
    return [
        Taker(contexts(EXPLICIT), window=window, replies={f"1.2.3.1.1.{at}": ConnectionLost(f"lost at {at}")})
        for at in lost_at
    ]


def counted(progress: Progress) -> tuple[int, int, int]:
    return progress.completed, progress.failed, progress.remaining


async def test_what_had_no_answer_is_sent_again_on_a_new_association(tmp_path: Path) -> None:
    first, second = takers(3, 0)
    async with sending(tmp_path, Calls(first, second), study(6)) as operations:
        await operations.run()
        assert counted(operations.progress) == (6, 0, 0)
        assert (numbers(first), numbers(second)) == ([1, 2, 3], [4, 5, 6, 3])


async def test_everything_in_flight_is_sent_again(tmp_path: Path) -> None:
    first, second = takers(3, 0, window=4)
    async with sending(tmp_path, Calls(first, second), study(30)) as operations:
        await operations.run()
        assert counted(operations.progress) == (30, 0, 0)
        assert set(numbers(first)) | set(numbers(second)) == set(range(1, 31))


async def test_a_destination_that_is_lost_twice_is_not_called_again(tmp_path: Path) -> None:
    first, second = takers(3, 5)
    destination = Calls(first, second)
    async with sending(tmp_path, destination, study(6)) as operations:
        await operations.run()
        assert counted(operations.progress) == (3, 3, 0)
        assert sorted(operations.progress.failed_uids) == ["1.2.3.1.1.3", "1.2.3.1.1.5", "1.2.3.1.1.6"]
        assert operations.progress.why_failed == "lost at 5"
        assert destination.connections == 2


@pytest.mark.parametrize("window", [1, 4])
async def test_qr_04_an_object_that_ends_the_association_twice_fails_without_those_behind_it(
    tmp_path: Path, window: int
) -> None:
    first, second = takers(3, 3, window=window)
    async with sending(tmp_path, Calls(first, second), study(30)) as operations:
        await operations.run()
        assert "1.2.3.1.1.3" in operations.progress.failed_uids
        assert operations.progress.failed < 2 * window  # those in flight with it, both times
        assert operations.progress.remaining == 0


async def test_one_that_does_not_come_back(tmp_path: Path) -> None:
    (first,) = takers(3)
    destination = Calls(first, ConnectionLost("nobody there"))
    async with sending(tmp_path, destination, study(5)) as operations:
        await operations.run()
        assert counted(operations.progress) == (2, 3, 0)
        assert operations.progress.why_failed == "nobody there"


async def test_qr_12_one_that_cannot_be_reached_is_tried_once_and_all_have_failed(tmp_path: Path) -> None:
    destination = Calls(ConnectionLost("nobody there"))
    async with sending(tmp_path, destination, study(300)) as operations:
        await operations.run()
        assert counted(operations.progress) == (0, 300, 0)
        assert destination.connections == 1


async def test_several_associations_share_the_work(tmp_path: Path) -> None:
    peers = takers(0, 0, 0)
    for peer in peers:
        peer.gate.clear()
    async with sending(tmp_path, Calls(*peers, associations=3), study(30)) as operations:
        running = asyncio.create_task(operations.run())
        for peer in peers:
            await peer.arrived.wait()  # each has begun before any has ended
        for peer in peers:
            peer.gate.set()
        await running
        assert counted(operations.progress) == (30, 0, 0)
        assert sorted(number for peer in peers for number in numbers(peer)) == list(range(1, 31))


async def test_an_association_that_is_refused_leaves_its_work_to_the_others(tmp_path: Path) -> None:
    (peer,) = takers(0)
    destination = Calls(peer, ConnectionLost("too many"), associations=2)
    async with sending(tmp_path, destination, study(10)) as operations:
        await operations.run()
        assert counted(operations.progress) == (10, 0, 0)


async def test_no_more_associations_than_objects(tmp_path: Path) -> None:
    peers = takers(0, 0)
    destination = Calls(*peers, associations=5)
    async with sending(tmp_path, destination, study(2)) as operations:
        await operations.run()
        assert destination.connections == 2


async def test_stopping_gives_up_an_association_that_is_being_opened(tmp_path: Path) -> None:
    class Slow(Calls):
        @asynccontextmanager
        async def connect(self, kinds: object) -> AsyncIterator[Taker]:
            self.connections += 1
            opening.set()
            await asyncio.Event().wait()
            yield Taker({})

    opening = asyncio.Event()
    async with sending(tmp_path, Slow(), study(3)) as operations:
        running = asyncio.create_task(operations.run())
        await opening.wait()
        operations.stop()
        await running
        assert counted(operations.progress) == (0, 0, 3)


async def test_what_is_removed_meanwhile_has_failed(tmp_path: Path) -> None:
    (peer,) = takers(0)
    async with retrieving(tmp_path, study(3)) as place:
        selection = await place.archive.select({tags.STUDY_INSTANCE_UID: ["1.2.3.1"]})
        await place.archive.workshop.index.run(lambda writer: writer.remove("1.2.3.1.1.2"))
        operations = SubOperations(
            place.archive, selection, Calls(peer), manner=Manner(), priority=0, failed=lambda failure: None
        )
        await operations.run()
        assert counted(operations.progress) == (2, 1, 0)
        assert operations.progress.failed_uids == ["1.2.3.1.1.2"]
