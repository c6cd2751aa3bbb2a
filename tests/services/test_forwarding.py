"""Forwarding to destinations that behave as they are told to; STANDARD ST-05, DM-02, QR-07."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from kit.forwarding import ListedRound, forwarding
from kit.retrieving import IMPLICIT, Shouting, inverted, study
from kit.samples import CT, rows
from kit.server import free_port
from kit.sink import Sink, Stop, StopWithAbort, listening
from kit.wait import eventually
from pacslite.archive.job import Priority
from pacslite.archive.rules import ForwardRule
from pacslite.dimse.command import CommandSet, Tag
from pacslite.errors import AssociationError
from pacslite.facts import Fact, ForwardNotNeeded, ForwardUnreadable, ObjectsForwarded

MR = "1.2.840.10008.5.1.4.1.1.4"
JPEG = "1.2.840.10008.1.2.4.70"


def told(facts: list[Fact], kind: type[Fact]) -> list[Fact]:
    return [fact for fact in facts if type(fact) is kind]


# --- Destinations that take what they get ----------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 8])
async def test_st_05_every_object_arrives_as_it_is_stored_and_is_recorded(tmp_path: Path, window: int) -> None:
    samples = [*study(30), *study(3, uid="1.2.5", pixels=bytes(3 << 20))]
    with listening(Sink(keeps=True, window=window)) as sink:
        async with forwarding(tmp_path, sink.port, samples, window=window) as place:
            owed = await place.round(samples)
            for change in owed.changes:
                await place.archive.workshop.index.run(change)
    assert sorted(owed.delivered) == sorted(sample.instance for sample in samples)
    assert (owed.failures, owed.unsettled, sink.connections) == ({}, 0, 1)
    assert {command.sop_instance: data for command, data in sink.taken} == {
        sample.instance: sample.data_set() for sample in samples
    }
    for command, _ in sink.taken:
        assert command.integer(Tag.PRIORITY) == 0
        assert Tag.MOVE_ORIGINATOR_AE_TITLE not in command.elements
        assert Tag.MOVE_ORIGINATOR_MESSAGE_ID not in command.elements
    (ended,) = told(place.facts, ObjectsForwarded)
    assert isinstance(ended, ObjectsForwarded)
    assert (ended.completed, ended.failed, ended.outcome, ended.rule) == (33, 0, "complete", "all")
    delivered = rows(tmp_path / "data", "SELECT sop_instance_uid, destination, rule FROM deliveries")
    assert sorted(delivered) == sorted((sample.instance, "DEST", "all") for sample in samples)


async def test_a_warning_counts_as_delivered(tmp_path: Path) -> None:
    samples = study(2)
    with listening(Sink(answers=lambda number, command: 0xB007 if number == 1 else 0)) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = await place.round(samples)
    assert (len(owed.delivered), owed.failures) == (2, {})


@pytest.mark.parametrize(("priority", "said"), [(Priority.HIGH, 1), (Priority.MEDIUM, 0), (Priority.LOW, 2)])
async def test_the_priority_of_the_job_goes_with_the_object(tmp_path: Path, priority: Priority, said: int) -> None:
    with listening(Sink(keeps=True)) as sink:
        async with forwarding(tmp_path, sink.port, study(1)) as place:
            owed = ListedRound()
            owed.owe(["1.2.3.1.1.1"], priority=priority)
            await place.performer.perform(owed)
    assert [command.integer(Tag.PRIORITY) for command, _ in sink.taken] == [said]


async def test_what_comes_while_the_association_is_open_goes_over_it(tmp_path: Path) -> None:
    samples = study(40)
    with listening(Sink()) as sink:
        async with forwarding(tmp_path, sink.port, samples, linger_s=5.0) as place:
            owed = ListedRound(over_after=40)
            owed.owe(["1.2.3.1.1.1"])
            performing = asyncio.create_task(place.performer.perform(owed))
            for number in range(2, 41):
                if number % 10 == 0:  # now and then it runs dry
                    await owed.until_settled(number - 1)
                owed.owe([f"1.2.3.1.1.{number}"])
            await performing
    assert (len(owed.delivered), sink.connections) == (40, 1)


async def test_other_kinds_come_in_the_next_association(tmp_path: Path) -> None:
    samples = [*study(3), *study(3, uid="1.2.5", sop_class=MR)]
    with listening(Sink()) as sink:
        async with forwarding(tmp_path, sink.port, samples, linger_s=1.0) as place:
            owed = ListedRound()
            owed.owe(sample.instance for sample in samples[:3])
            performing = asyncio.create_task(place.performer.perform(owed))
            await owed.until_settled(3)
            owed.owe(sample.instance for sample in samples[3:])
            await performing
    assert len(owed.delivered) == 6
    assert [{context.abstract_syntax for context in proposed} for proposed in sink.proposals] == [{CT}, {MR}]


async def test_several_associations_share_the_work(tmp_path: Path) -> None:
    samples = study(20)
    both = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(number: int, command: CommandSet) -> int:
        if sink.open == 2:
            loop.call_soon_threadsafe(both.set)
        return 0

    with listening(Sink(answers=answer)) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = await place.round(samples, associations=2)
            rule = ForwardRule(name="all", to=("DEST",), associations=1)
    assert (len(owed.delivered), sink.connections) == (20, 2)
    with listening(Sink()) as sink:
        async with forwarding(tmp_path, sink.port, rule=rule) as place:
            owed = await place.round(samples, associations=2)
    assert (len(owed.delivered), sink.connections) == (20, 1)


async def test_an_association_is_added_when_there_is_plenty(tmp_path: Path) -> None:
    samples = study(200)

    def answer(number: int, command: CommandSet) -> int:
        time.sleep(0.002)  # else the first association would have sent all before the second is open
        return 0

    with listening(Sink(answers=answer)) as sink:
        async with forwarding(tmp_path, sink.port, samples, linger_s=5.0) as place:
            owed = ListedRound(associations=2, over_after=200)
            owed.owe(["1.2.3.1.1.1"])
            performing = asyncio.create_task(place.performer.perform(owed))
            await owed.until_settled(1)
            assert sink.connections == 1
            owed.owe(sample.instance for sample in samples[1:])
            await performing
    assert (len(owed.delivered), sink.connections) == (200, 2)


async def test_nothing_is_begun_when_the_round_is_over_and_the_rest_is_given_back(tmp_path: Path) -> None:
    samples = study(50)
    with listening(Sink()) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = await place.round(samples, over_after=10)
    assert (len(owed.delivered), len(owed.given_back), owed.unsettled) == (10, 40, 0)
    assert len(sink.uids) == 10


async def test_a_pace_is_kept_within_an_object(tmp_path: Path) -> None:
    samples = study(1, pixels=bytes(300_000))
    rule = ForwardRule(name="all", to=("DEST",), bytes_per_s=1_000_000)
    with listening(Sink(keeps=True)) as sink:
        async with forwarding(tmp_path, sink.port, samples, rule=rule, answer_s=0.1) as place:
            owed = await place.round(samples)  # which takes longer than an answer may take
    assert len(owed.delivered) == 1
    assert sink.taken[0][1] == samples[0].data_set()


# --- Destinations that do not ----------------------------------------------------------------------------------------


async def test_failures_cost_the_object_alone_and_are_told_with_status_and_comment(tmp_path: Path) -> None:
    samples = study(5)
    with listening(Sink(answers=lambda n, command: 0xC123 if n == 2 else 0, comment="no Pixel Data")) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = await place.round(samples)
    assert owed.failures == {"1.2.3.1.1.2": "refused with C123: no Pixel Data"}
    assert (len(owed.delivered), sink.connections) == (4, 1)
    (fact,) = told(place.facts, ObjectsForwarded)
    assert isinstance(fact, ObjectsForwarded)
    assert (fact.completed, fact.failed, fact.reason) == (4, 1, "refused with C123: no Pixel Data")


async def test_a_destination_without_room_is_left_in_peace_after_some_objects(tmp_path: Path) -> None:
    samples = study(100)
    with listening(Sink(answers=lambda number, command: 0xA700, comment="disk full")) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = ListedRound()
            owed.owe(sample.instance for sample in samples)
            with pytest.raises(AssociationError, match="refused with A700: disk full"):
                await place.performer.perform(owed)
    assert len(sink.uids) == 8
    assert set(owed.failures.values()) == {"refused with A700: disk full"}
    assert owed.given_back == []  # they fail with the round


async def test_a_syntax_that_is_not_taken_is_converted_or_fails_in_words(tmp_path: Path) -> None:
    samples = study(3)

    def refuses(abstract_syntax: str, syntaxes: tuple[str, ...]) -> bool:
        return IMPLICIT not in syntaxes

    with listening(Sink(refuses=refuses, prefers=IMPLICIT, keeps=True)) as sink:
        async with forwarding(tmp_path, sink.port, samples, converter=Shouting(fails=["1.2.3.1.1.2"])) as place:
            owed = await place.round(samples)
            assert owed.failures == {"1.2.3.1.1.2": "its pixel data are damaged"}
            assert {command.sop_instance: data for command, data in sink.taken} == {
                one.instance: inverted(one.data_set()) for one in samples if one.instance != "1.2.3.1.1.2"
            }
        async with forwarding(tmp_path, sink.port) as place:
            owed = await place.round(samples)
    assert set(owed.failures) == {one.instance for one in samples}
    (why,) = set(owed.failures.values())
    assert why.startswith("no suitable presentation context: CT Image Storage in Explicit VR")


async def test_one_that_cannot_be_reached_fails_the_round(tmp_path: Path) -> None:
    samples = study(3)
    async with forwarding(tmp_path, free_port(), samples) as place:
        owed = ListedRound()
        owed.owe(sample.instance for sample in samples)
        with pytest.raises(AssociationError, match="cannot connect"):
            await place.performer.perform(owed)
    assert (owed.unsettled, owed.given_back, told(place.facts, ObjectsForwarded)) == (3, [], [])


async def test_one_that_the_configuration_does_not_have_any_more(tmp_path: Path) -> None:
    samples = study(1)
    async with forwarding(tmp_path, free_port(), samples) as place:
        place.callees.clear()
        owed = ListedRound()
        owed.owe(sample.instance for sample in samples)
        with pytest.raises(AssociationError, match=r'no peer "DEST" .*: add it to \[\[peers\]\]'):
            await place.performer.perform(owed)
    assert owed.unsettled == 1


async def test_one_that_rejects_associations(tmp_path: Path) -> None:
    samples = study(3)
    with listening(Sink(rejects=True)) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = ListedRound()
            owed.owe(sample.instance for sample in samples)
            with pytest.raises(AssociationError, match="rejected"):
                await place.performer.perform(owed)
    assert (owed.unsettled, sink.connections) == (3, 1)


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("stop", [Stop, StopWithAbort])
async def test_one_that_drops_the_association_after_some_objects(tmp_path: Path, window: int, stop: type[Stop]) -> None:
    samples = study(60)

    def answer(number: int, command: CommandSet) -> int:
        if number % 20 == 0:
            raise stop
        return 0

    with listening(Sink(answers=answer, window=window)) as sink:
        async with forwarding(tmp_path, sink.port, samples, window=window) as place:
            owed = await place.round(samples)
    assert sorted([*owed.delivered, *owed.failures]) == sorted(one.instance for one in samples)
    assert len(owed.failures) < 4 * window  # what was in flight both times
    assert owed.unsettled == 0


async def test_an_object_that_ends_every_association_fails_and_the_others_arrive(tmp_path: Path) -> None:
    samples = study(20)

    def begins(command: CommandSet) -> None:
        if command.sop_instance == "1.2.3.1.1.1":
            raise StopWithAbort

    with listening(Sink(begins=begins)) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = await place.round(samples)
    assert set(owed.failures) == {"1.2.3.1.1.1"}
    assert (len(owed.delivered), sink.connections) == (19, 2)


async def test_one_that_aborts_in_the_middle_of_every_object_is_given_up(tmp_path: Path) -> None:
    samples = study(5, pixels=bytes(1 << 21))

    def begins(command: CommandSet) -> None:
        raise StopWithAbort

    with listening(Sink(begins=begins)) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = ListedRound()
            owed.owe(sample.instance for sample in samples)
            with pytest.raises(AssociationError):
                await place.performer.perform(owed)
    assert (owed.unsettled, owed.delivered, sink.connections) == (5, [], 2)


async def test_one_that_stalls_is_given_up(tmp_path: Path) -> None:
    samples = study(4)

    def answer(number: int, command: CommandSet) -> int:
        if number > 2:
            time.sleep(0.3)
            raise Stop
        return 0

    with listening(Sink(answers=answer)) as sink:
        async with forwarding(tmp_path, sink.port, samples, answer_s=0.1) as place:
            owed = ListedRound()
            owed.owe(sample.instance for sample in samples)
            with pytest.raises(AssociationError, match="no answer"):
                await place.performer.perform(owed)
    assert len(owed.delivered) == 2
    assert (len(owed.failures), owed.unsettled) == (1, 1)


# --- Objects that are not there --------------------------------------------------------------------------------------


async def test_an_object_that_was_removed_meanwhile_is_not_owed_any_more(tmp_path: Path) -> None:
    samples = study(3)
    with listening(Sink()) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            await place.archive.workshop.index.run(lambda writer: writer.remove("1.2.3.1.1.2"))
            owed = await place.round(samples)
    assert (owed.dropped, len(owed.delivered), owed.failures) == (["1.2.3.1.1.2"], 2, {})
    (fact,) = told(place.facts, ForwardNotNeeded)
    assert isinstance(fact, ForwardNotNeeded)
    assert fact.sop_instance == "1.2.3.1.1.2"


async def test_nothing_is_called_for_objects_that_are_all_gone(tmp_path: Path) -> None:
    async with forwarding(tmp_path, free_port()) as place:
        owed = await place.round(study(300))
    assert (len(owed.dropped), owed.unsettled) == (300, 0)


async def test_an_unreadable_file_is_told_as_damage(tmp_path: Path) -> None:
    samples = study(3)
    with listening(Sink()) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            stored = await place.archive.read("1.2.3.1.1.2")
            assert stored is not None
            stored.path.write_bytes(b"")
            owed = await place.round(samples)
    assert set(owed.failures) == {"1.2.3.1.1.2"}
    (fact,) = told(place.facts, ForwardUnreadable)
    assert isinstance(fact, ForwardUnreadable)
    assert (fact.sop_instance, fact.reason) == ("1.2.3.1.1.2", owed.failures["1.2.3.1.1.2"])
    assert len(owed.delivered) == 2


async def test_an_object_that_is_removed_after_it_was_looked_up_is_no_damage(tmp_path: Path) -> None:
    samples = study(40)

    with listening(Sink()) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            index = place.archive.workshop.index
            last = await place.archive.read("1.2.3.1.1.40")
            assert last is not None
            look_up = place.archive.look_up
            removed: list[str] = []

            async def look_up_and_remove(uids: list[str]) -> object:
                found = await look_up(uids)
                if not removed:
                    removed.append(last.sop_instance_uid)
                    await index.run(lambda writer: writer.remove(last.sop_instance_uid))
                    last.path.unlink()
                return found

            place.archive.look_up = look_up_and_remove  # type: ignore[method-assign, assignment]
            owed = await place.round(samples)
    assert (owed.dropped, len(owed.delivered), owed.failures) == (["1.2.3.1.1.40"], 39, {})
    assert told(place.facts, ForwardUnreadable) == []


async def test_a_job_that_is_made_new_while_its_object_is_under_way_waits(tmp_path: Path) -> None:
    samples = study(3)
    with listening(Sink()) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = ListedRound()
            owed.owe(["1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.1.1"])
            await place.performer.perform(owed)
    assert sorted(owed.delivered) == ["1.2.3.1.1.1", "1.2.3.1.1.2"]
    assert owed.given_back == ["1.2.3.1.1.1"]


async def test_cancelled_it_leaves_nothing_open(tmp_path: Path) -> None:
    samples = study(10)
    reached, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(number: int, command: CommandSet) -> int:
        loop.call_soon_threadsafe(reached.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(5)
        raise Stop

    with listening(Sink(answers=answer)) as sink:
        async with forwarding(tmp_path, sink.port, samples) as place:
            owed = ListedRound()
            owed.owe(sample.instance for sample in samples)
            performing = asyncio.create_task(place.performer.perform(owed))
            await reached.wait()
            performing.cancel()
            await asyncio.wait({performing})
            assert performing.cancelled()
            go_on.set()
            await asyncio.to_thread(eventually, lambda: not sink.open, "the connection is closed")
    assert (owed.unsettled, len(owed.given_back)) == (0, 10)
