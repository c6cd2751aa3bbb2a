"""Retrievals on a real archive with peers that do as they are told; STANDARD QR-01 to QR-13."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from kit.encode import EXPLICIT_LITTLE, Encoding
from kit.identifiers import DEFLATED, EXPLICIT, identifier
from kit.retrieving import (
    ALL_FAILED,
    CANCELLED,
    IMPLICIT,
    PATIENT_ROOT_GET,
    PENDING,
    SOME_FAILED,
    STUDY,
    SUCCESS,
    Shouting,
    Taker,
    collected,
    contexts,
    counters,
    inverted,
    request,
    retrieving,
    study,
)
from kit.samples import CT, Sample
from pacslite.archive import selection
from pacslite.archive.archive import Archive
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.model import StoredObject
from pacslite.archive.selection import PAGE_OBJECTS, Gone, Selection
from pacslite.dimse.command import CommandField, Tag
from pacslite.errors import (
    CannotCountMatches,
    ConnectionLost,
    DimseError,
    InvalidKey,
    MistypedArgument,
    ObjectUnreadable,
    OutOfResources,
    UnableToProcess,
)
from pacslite.facts import RetrievalServed, SubOperationFailed
from pacslite.net.cancellation import Cancellation
from pacslite.services.read_ahead import SLAB_BYTES, WHOLE_BYTES
from pacslite.services.retrieve import GetService, RetrieveLimits, retrieve_negotiation
from pacslite.transcode.transcoder import Transcoder

MR = "1.2.840.10008.5.1.4.1.1.4"


def taker(*syntaxes: str, window: int = 1, **replies: int | ConnectionLost) -> Taker:
    """``replies`` by the number of the image: ``taker(_2=0xA700)``."""
    uids = {f"1.2.3.1.1.{number.removeprefix('_')}": reply for number, reply in replies.items()}
    return Taker(contexts(*(syntaxes or (EXPLICIT,))), window=window, replies={**uids})


# --- What is sent ----------------------------------------------------------------------------------------------------


async def test_every_object_of_the_study_is_sent_byte_for_byte_in_order(tmp_path: Path) -> None:
    samples = study(5)
    async with retrieving(tmp_path, [samples[at] for at in (3, 0, 4, 1, 2)]) as place:
        peer = taker()
        done = await place.get(STUDY, peer)
        assert (done.final.status, done.counters, done.failed) == (SUCCESS, (None, 5, 0, 0), [])
        assert [one.data_set for one in peer.sent] == [one.data_set() for one in samples]
        assert peer.uids == [one.instance for one in samples]


async def test_qr_07_priority_is_passed_on_and_nothing_of_a_move_is_said(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(1)) as place:
        peer = taker()
        await place.get(STUDY, peer, priority=2)
        (sent,) = peer.sent
        assert sent.elements == {
            Tag.AFFECTED_SOP_CLASS_UID: CT,
            Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.3.1.1.1",
            Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Tag.PRIORITY: 2,
            Tag.COMMAND_DATA_SET_TYPE: 1,
        }


async def test_qr_07_only_contexts_on_which_we_are_scu_are_used(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(2)) as place:
        peer = Taker(contexts(EXPLICIT, scu=False))
        done = await place.get(STUDY, peer)
        assert (done.final.status, peer.sent) == (ALL_FAILED, [])


async def test_as_many_are_in_flight_as_the_window_allows(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(20)) as place:
        peer = taker(window=4)
        peer.gate.clear()
        asking = asyncio.create_task(place.get(STUDY, peer))
        while peer.in_flight < 4:
            await peer.arrived.wait()
            peer.arrived.clear()
        peer.gate.set()
        done = await asking
        assert (done.counters, peer.most_in_flight) == ((None, 20, 0, 0), 4)


@pytest.mark.parametrize("size", [WHOLE_BYTES, WHOLE_BYTES + 2, 2 * WHOLE_BYTES, 5 * WHOLE_BYTES + 1234])
async def test_large_objects_go_in_pieces_and_small_ones_whole(tmp_path: Path, size: int) -> None:
    large = study(1, pixels=bytes(range(256)) * (size // 256) + b"\1" * (size % 256))[0]
    small = [one for one in study(4) if one.number > 1]
    async with retrieving(tmp_path, [large, *small]) as place:
        peer = taker()
        assert (await place.get(STUDY, peer)).final.status == SUCCESS
        assert [one.data_set for one in peer.sent] == [one.data_set() for one in (large, *small)]


@pytest.mark.parametrize("size", [5000, WHOLE_BYTES + 100])
async def test_a_deflated_object_of_odd_length_is_padded(tmp_path: Path, size: int) -> None:
    """PS3.5 A.5: fragments have even length (UL-20), and DCMTK takes no others."""
    stored = Deflated(study=STUDY.StudyInstanceUID, transfer_syntax=DEFLATED, pixels=nibbles(3 * size))
    async with retrieving(tmp_path, [stored]) as place:
        peer = Taker(contexts(DEFLATED))
        assert (await place.get(STUDY, peer)).final.status == SUCCESS
        (sent,) = peer.sent
        assert len(stored.data_set()) % 2 == 1
        assert sent.data_set == stored.data_set() + b"\0"


class Unpadded(Sample):
    """With an element of odd length at its end."""

    def data_set(self, encoding: Encoding = EXPLICIT_LITTLE) -> bytes:
        return super().data_set(encoding) + bytes.fromhex("E17F1000 4F420000 03000000") + b"abc"


def with_an_odd_one(pixels: bytes) -> tuple[Sample, list[Sample]]:
    first, *others = study(3, pixels=pixels)
    return Unpadded(instance=first.instance, series=first.series, study=first.study, pixels=pixels), others


@pytest.mark.parametrize("pixels", [b"\1\2" * 50, b"\1\2" * WHOLE_BYTES])
async def test_ul_20_an_object_with_an_element_of_odd_length_is_padded_there(tmp_path: Path, pixels: bytes) -> None:
    """Fragments of odd length make some destinations abort, and then nothing behind the object would arrive."""
    odd, others = with_an_odd_one(pixels)
    async with (
        Transcoder(processes=1, max_bytes=1 << 20) as converter,
        retrieving(tmp_path, [odd, *others], converter=converter) as place,
    ):
        peer = taker()
        done = await place.get(STUDY, peer)
        assert (done.final.status, done.counters) == (SUCCESS, (None, 3, 0, 0))
        assert len(odd.data_set()) % 2 == 1
        assert peer.sent[0].data_set == odd.data_set()[:-7] + b"\4\0\0\0abc\0"
        assert [one.data_set for one in peer.sent[1:]] == [one.data_set() for one in others]


async def test_qr_04_one_that_cannot_be_made_even_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    odd, others = with_an_odd_one(b"\1\2")
    async with retrieving(tmp_path, [odd, *others]) as place:
        done = await place.get(STUDY, taker())
        assert (done.counters, done.failed) == ((None, 2, 1, 0), [odd.instance])
        assert "odd" in done.final.comment


def nibbles(size: int) -> bytes:
    """What deflates to about half."""
    return bytes(byte & 15 for byte in random.Random(1).randbytes(size // 2 * 2))


class Deflated(Sample):
    """Without padding, and of odd length because of what it holds."""

    def data_set(self, encoding: Encoding = EXPLICIT_LITTLE) -> bytes:
        for more in range(100):
            pixels = self.pixels + b"\7\7" * more
            packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            plain = replace(Sample(), study=self.study, pixels=pixels).data_set(encoding)
            packed = packer.compress(plain) + packer.flush()
            if len(packed) % 2:
                return packed
        raise AssertionError("never of odd length")


async def test_more_objects_than_fit_into_memory_are_sent_all_the_same(tmp_path: Path) -> None:
    samples = study(40, pixels=b"\1\2" * 200_000)
    async with retrieving(tmp_path, samples, read_ahead_bytes=SLAB_BYTES) as place:
        peer = taker(window=3)
        assert (await place.get(STUDY, peer)).counters == (None, 40, 0, 0)
        assert {one.uid: one.data_set for one in peer.sent} == {one.instance: one.data_set() for one in samples}


async def test_the_same_series_uid_in_two_studies_is_told_apart_by_the_hierarchy(tmp_path: Path) -> None:
    twice = [Sample(study=f"1.2.{at}", series="1.9", instance=f"1.2.{at}.1", patient_id=f"P{at}") for at in (1, 2)]
    async with retrieving(tmp_path, twice) as place:
        peer = taker()
        await place.get(identifier("SERIES", StudyInstanceUID="1.2.2", SeriesInstanceUID="1.9"), peer)
        assert peer.uids == ["1.2.2.1"]
        await place.get(identifier("PATIENT", PatientID="P1"), peer, PATIENT_ROOT_GET)
        assert peer.uids == ["1.2.2.1", "1.2.1.1"]


async def test_qr_08_ten_thousand_uids_at_image_level(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(3)) as place:
        peer = taker(IMPLICIT, EXPLICIT)
        asked = identifier(
            "IMAGE",
            StudyInstanceUID="1.2.3.1",
            SeriesInstanceUID="1.2.3.1.1",
            SOPInstanceUID=[f"1.2.3.1.1.{number}" for number in range(2, 10_002)],
        )
        assert (await place.get(asked, peer, syntax=IMPLICIT)).counters == (None, 2, 0, 0)
        assert peer.uids == ["1.2.3.1.1.2", "1.2.3.1.1.3"]


async def test_relational_retrieval_needs_no_higher_keys_if_it_was_agreed_on(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(3)) as place:
        asked = identifier("IMAGE", SOPInstanceUID="1.2.3.1.1.2")
        assert (await place.get(asked, taker(), extended=b"\1")).counters == (None, 1, 0, 0)
        with pytest.raises(InvalidKey):
            await place.get(asked, taker())


@pytest.mark.parametrize(
    ("offered", "answer"), [(b"", None), (b"\0", b"\0"), (b"\1", b"\1"), (b"\1\1", b"\1\0"), (b"\1\1\1", b"\1\0")]
)
def test_what_extended_negotiation_is_answered(offered: bytes, answer: bytes | None) -> None:
    assert retrieve_negotiation(offered) == answer


# --- Contexts and conversion -----------------------------------------------------------------------------------------


def mixed() -> list[Sample]:
    """The second of three is of a SOP class that has no context."""
    first, second, third = study(3)
    return [first, second.but(sop_class=MR), third]


async def test_qr_06_an_object_without_a_context_has_failed_and_the_others_go_on(tmp_path: Path) -> None:
    async with retrieving(tmp_path, mixed()) as place:
        peer = taker()
        done = await place.get(STUDY, peer)
        assert (done.final.status, done.counters, done.failed) == (SOME_FAILED, (None, 2, 1, 0), ["1.2.3.1.1.2"])
        assert peer.uids == ["1.2.3.1.1.1", "1.2.3.1.1.3"]
        assert "no suitable presentation context" in done.final.comment


async def test_an_object_is_sent_as_it_is_where_that_is_possible(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(1), converter=Shouting()) as place:
        peer = taker(IMPLICIT, EXPLICIT)
        await place.get(STUDY, peer)
        assert [(one.context_id, one.data_set) for one in peer.sent] == [(3, study(1)[0].data_set())]


@pytest.mark.parametrize("pixels", [b"\1\2" * 50, b"\1\2" * (3 * WHOLE_BYTES)])
async def test_an_object_is_converted_to_what_the_peer_has_accepted(tmp_path: Path, pixels: bytes) -> None:
    samples = study(3, pixels=pixels)
    converter = Shouting()
    async with retrieving(tmp_path, samples, converter=converter) as place:
        peer = taker(IMPLICIT)
        done = await place.get(STUDY, peer)
        assert done.final.status == SUCCESS
        assert [one.data_set for one in peer.sent] == [inverted(one.data_set()) for one in samples]
        (served,) = [fact for fact in place.facts if isinstance(fact, RetrievalServed)]
        assert served.converted == 3
    assert converter.open == 0


async def test_qr_06_what_cannot_be_converted_has_failed_and_the_rest_goes_on(tmp_path: Path) -> None:
    converter = Shouting(fails={"1.2.3.1.1.2"})
    async with retrieving(tmp_path, study(3), converter=converter) as place:
        done = await place.get(STUDY, taker(IMPLICIT))
        assert (done.counters, done.failed) == ((None, 2, 1, 0), ["1.2.3.1.1.2"])
        assert "pixel data are damaged" in done.final.comment
    assert converter.open == 0


async def test_without_a_converter_it_has_failed(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(2)) as place:
        done = await place.get(STUDY, taker(IMPLICIT))
        assert (done.final.status, len(done.failed)) == (ALL_FAILED, 2)


# --- Final answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replies", "status", "counted", "failed"),
    [
        ({}, SUCCESS, (None, 3, 0, 0), []),
        ({"_2": 0xB000}, SOME_FAILED, (None, 2, 0, 1), []),
        ({"_1": 0xB007, "_2": 0xB006, "_3": 0xB000}, SOME_FAILED, (None, 0, 0, 3), []),
        ({"_2": 0xA700}, SOME_FAILED, (None, 2, 1, 0), ["1.2.3.1.1.2"]),
        ({"_1": 0xC000, "_3": 0xB007}, SOME_FAILED, (None, 1, 1, 1), ["1.2.3.1.1.1"]),
        (
            {"_1": 0xA900, "_2": 0x0110, "_3": 0x0122},
            ALL_FAILED,
            (None, 0, 3, 0),
            [f"1.2.3.1.1.{n}" for n in (1, 2, 3)],
        ),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
async def test_qr_01_qr_02_qr_03_qr_04_qr_05_final_answers(
    tmp_path: Path,
    replies: dict[str, int],
    status: int,
    counted: tuple[object, ...],
    failed: list[str],
    syntax: str,
) -> None:
    async with retrieving(tmp_path, study(3)) as place:
        peer = taker(**replies)
        done = await place.get(STUDY, peer, syntax=syntax)
        assert (done.final.status, done.counters, done.failed) == (status, counted, failed)
        assert len(peer.sent) == 3, "a failed one ended the loop"
        assert bool(done.final.comment) is bool(failed)


async def test_qr_09_nothing_matches(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(1)) as place:
        peer = taker()
        done = await place.get(identifier("STUDY", StudyInstanceUID="9.9"), peer)
        assert (done.final.status, done.counters, done.pending) == (SUCCESS, (None, 0, 0, 0), [])
        assert done.final.data_set is None
        assert not peer.sent


@pytest.mark.parametrize(
    ("data", "error", "status"),
    [
        (None, MistypedArgument, 0x0212),
        (b"\x08\x00\x52\x00CS\xff\x00STUDY ", UnableToProcess, 0xC001),
        (bytes(2000), OutOfResources, 0xA700),
    ],
)
async def test_qr_01_an_identifier_that_cannot_be_used(
    tmp_path: Path, data: bytes | None, error: type[DimseError], status: int
) -> None:
    async with retrieving(tmp_path) as place:
        place.limits = RetrieveLimits(max_identifier_bytes=1000)
        asked = request(data, taker())
        with pytest.raises(error) as caught:
            await collected(GetService(place.retrieval()).serve(asked), asked)
        assert caught.value.status == status
        assert caught.value.comment


async def test_qr_01_matches_that_cannot_be_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(archive: Archive, keys: object) -> Selection:
        raise sqlite3.DatabaseError("disk I/O error")

    async with retrieving(tmp_path, study(1)) as place:
        monkeypatch.setattr(Archive, "select", broken)
        with pytest.raises(CannotCountMatches) as caught:
            await place.get(STUDY, taker())
        assert caught.value.status == 0xA701


async def test_qr_04_an_index_that_cannot_be_read_in_the_middle_fails_what_it_would_have_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QR-05: the requester learns what it has not got."""
    look_up = selection.look_up
    calls = 0

    async def breaking(reader: IndexReader, folder: Path, uids: Sequence[str]) -> list[StoredObject | Gone]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise sqlite3.OperationalError("disk I/O error")
        return await look_up(reader, folder, uids)

    monkeypatch.setattr(selection, "look_up", breaking)
    async with retrieving(tmp_path, study(2 * PAGE_OBJECTS + 3)) as place:
        done = await place.get(STUDY, taker(window=4))
        assert (done.final.status, done.counters) == (SOME_FAILED, (None, PAGE_OBJECTS + 3, PAGE_OBJECTS, 0))
        assert len(done.failed) == PAGE_OBJECTS
        assert "the index cannot be read: disk I/O error" in done.final.comment


async def test_qr_04_a_conversion_that_breaks_in_an_unforeseen_way_costs_its_object_alone(tmp_path: Path) -> None:
    class Breaking(Shouting):
        async def convert(
            self, *, path: Path, data_set_offset: int, size: int, source: str, target: str
        ) -> AsyncGenerator[bytes, None]:
            if path.stem == "1.2.3.1.1.2":
                raise OSError(5, "Input/output error")
            async for piece in super().convert(
                path=path, data_set_offset=data_set_offset, size=size, source=source, target=target
            ):
                yield piece

    async with retrieving(tmp_path, study(3), converter=Breaking()) as place:
        done = await place.get(STUDY, taker(IMPLICIT))
        assert (done.counters, done.failed) == ((None, 2, 1, 0), ["1.2.3.1.1.2"])
        assert "Input/output error" in done.final.comment


@pytest.mark.parametrize("pixels", [b"\1\2" * 50, b"\1\2" * WHOLE_BYTES])
async def test_a_file_that_is_gone_or_cut_short_is_a_failed_sub_operation_and_told(
    tmp_path: Path, pixels: bytes
) -> None:
    async with retrieving(tmp_path, study(4, pixels=pixels)) as place:
        for number, cut in ((2, False), (3, True)):
            found = await place.archive.read(f"1.2.3.1.1.{number}")
            assert found is not None
            if cut:
                with found.path.open("r+b") as file:
                    file.truncate(found.data_set_offset + found.size // 2)
            else:
                found.path.unlink()
        peer = taker()
        done = await place.get(STUDY, peer)
        assert (done.counters, done.failed) == ((None, 2, 2, 0), ["1.2.3.1.1.2", "1.2.3.1.1.3"])
        assert peer.uids == ["1.2.3.1.1.1", "1.2.3.1.1.4"]
        told = [fact for fact in place.facts if isinstance(fact, SubOperationFailed)]
        assert [(fact.sop_instance, fact.damaged) for fact in told] == [(uid, True) for uid in done.failed]


async def test_what_is_deleted_after_it_was_looked_up_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with retrieving(tmp_path, study(3)) as place:
        load_into, index = place.archive.load_into, place.archive.workshop.index
        removed: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()

        def too_late(
            slab: bytearray, objects: Sequence[StoredObject]
        ) -> asyncio.Future[list[memoryview | ObjectUnreadable]]:
            """As a deletion at that moment does."""
            for stored in objects:
                stored.path.unlink()
            index.submit(lambda writer: [writer.remove(stored.sop_instance_uid) for stored in objects], removed)
            return load_into(slab, objects)

        monkeypatch.setattr(place.archive, "load_into", too_late)
        done = await place.get(STUDY, taker())
        assert done.counters == (None, 0, 3, 0)
        told = [fact for fact in place.facts if isinstance(fact, SubOperationFailed)]
        assert [fact.damaged for fact in told] == [False] * 3


async def test_what_was_served_is_told_without_a_word_about_the_patient(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(3)) as place:
        await place.get(STUDY, taker(_2=0xA700))
        (served,) = [fact for fact in place.facts if isinstance(fact, RetrievalServed)]
        assert (served.command, served.level, served.destination) == ("C-GET-RQ", "STUDY", "WS1")
        assert (served.objects, served.completed, served.failed, served.outcome) == (3, 2, 1, "complete")
        assert served.bytes == 2 * len(study(1)[0].data_set())
        assert served.reason == "refused with A700"
        assert "1.2.3" not in repr(served)
        assert "Doe" not in repr(served)


# --- While it runs ---------------------------------------------------------------------------------------------------


def held(number: int, *, window: int = 1, **replies: int | ConnectionLost) -> Taker:
    """A peer that does not answer for one image before its gate opens."""
    peer = taker(window=window, **replies)
    peer.held = frozenset({f"1.2.3.1.1.{number}"})
    peer.gate.clear()
    return peer


async def test_qr_02_qr_03_qr_05_qr_10_a_pending_answer(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(4)) as place:
        place.limits = RetrieveLimits(pending_s=0.01)
        peer = held(3, _1=0xA700, _2=0xB000)
        async with aclosing(GetService(place.retrieval()).serve(request(STUDY, peer))) as responses:
            told = await anext(responses)
            while counters(told) != (2, 0, 1, 1):
                assert told.status == PENDING
                assert sum(int(str(count)) for count in counters(told)) == 4
                told = await anext(responses)
            assert (told.status, told.data_set, told.comment) == (PENDING, None, "")
            peer.gate.set()
            *_, final = [response async for response in responses]
        assert (final.status, counters(final)) == (SOME_FAILED, (None, 2, 1, 1))


async def reached(peer: Taker, uid: str) -> None:
    while uid not in peer.uids:
        peer.arrived.clear()
        await peer.arrived.wait()


@pytest.mark.parametrize("window", [1, 3])
async def test_qr_11_cancel_starts_nothing_new_and_counts_what_is_in_flight(tmp_path: Path, window: int) -> None:
    async with retrieving(tmp_path, study(20)) as place:
        peer = held(2, window=window, _1=0xA700)
        cancellation = Cancellation()
        asking = asyncio.create_task(place.get(STUDY, peer, cancellation=cancellation))
        await reached(peer, "1.2.3.1.1.2")
        cancellation.request()
        begun = len(peer.sent)
        assert not asking.done()
        peer.gate.set()
        done = await asking
        assert done.final.status == CANCELLED
        assert (done.counters, done.failed) == ((20 - begun, begun - 1, 1, 0), ["1.2.3.1.1.1"])
        assert len(peer.sent) == begun
        assert not done.final.comment


async def test_qr_11_one_that_comes_before_anything_was_begun(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(3)) as place:
        cancellation, peer = Cancellation(), taker()
        cancellation.request()
        done = await place.get(STUDY, peer, cancellation=cancellation)
        assert (done.final.status, done.counters, peer.sent) == (CANCELLED, (3, 0, 0, 0), [])


async def test_qr_11_what_is_still_being_converted_is_not_waited_for(tmp_path: Path) -> None:
    begun = asyncio.Event()

    class Endless(Shouting):
        async def convert(
            self, *, path: Path, data_set_offset: int, size: int, source: str, target: str
        ) -> AsyncGenerator[bytes, None]:
            begun.set()
            await asyncio.Event().wait()
            yield b""

    async with retrieving(tmp_path, study(3), converter=Endless()) as place:
        cancellation, peer = Cancellation(), taker(IMPLICIT)
        asking = asyncio.create_task(place.get(STUDY, peer, cancellation=cancellation))
        await begun.wait()
        cancellation.request()
        done = await asking
        assert (done.final.status, done.counters, peer.sent) == (CANCELLED, (3, 0, 0, 0), [])
        assert len(asyncio.all_tasks()) == 1


async def test_qr_11_one_that_comes_when_all_is_done_changes_nothing(tmp_path: Path) -> None:
    """FE00 means that something was left undone."""
    async with retrieving(tmp_path, study(2)) as place:
        cancellation, peer = Cancellation(), held(2)
        asking = asyncio.create_task(place.get(STUDY, peer, cancellation=cancellation))
        await reached(peer, "1.2.3.1.1.2")
        cancellation.request()
        peer.gate.set()
        done = await asking
        assert (done.final.status, done.counters) == (SUCCESS, (None, 2, 0, 0))


async def test_a_requester_that_is_gone_leaves_nothing_running(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(20)) as place:
        place.limits = RetrieveLimits(pending_s=0.01)
        peer = held(2)
        responses = GetService(place.retrieval()).serve(request(STUDY, peer))
        assert (await anext(responses)).status == PENDING
        closing = asyncio.create_task(responses.aclose())
        await asyncio.sleep(0)
        assert not closing.done(), "what is in flight is waited for"
        peer.gate.set()
        await closing
        assert peer.uids == ["1.2.3.1.1.1", "1.2.3.1.1.2"]
        (served,) = [fact for fact in place.facts if isinstance(fact, RetrievalServed)]
        assert (served.outcome, served.completed) == ("broken off", 2)
        assert len(asyncio.all_tasks()) == 1


async def test_a_retrieval_that_is_cut_off_leaves_nothing_running(tmp_path: Path) -> None:
    """As the end of the server's grace does."""
    async with retrieving(tmp_path, study(5)) as place:
        peer = held(2)
        asking = asyncio.create_task(place.get(STUDY, peer))
        await reached(peer, "1.2.3.1.1.2")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert peer.in_flight == 0
        assert len(asyncio.all_tasks()) == 1


async def test_the_association_of_a_get_is_not_opened_again(tmp_path: Path) -> None:
    async with retrieving(tmp_path, study(4)) as place:
        done = await place.get(STUDY, taker(_2=ConnectionLost("it is gone")))
        assert (done.final.status, done.counters) == (SOME_FAILED, (None, 1, 3, 0))
        assert sorted(done.failed) == [f"1.2.3.1.1.{number}" for number in (2, 3, 4)]
        assert "it is gone" in done.final.comment
