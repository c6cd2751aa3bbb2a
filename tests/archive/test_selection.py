"""What a retrieval gets to see of the archive: which objects, in which order, and their bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kit.samples import Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.model import StoredObject
from pacslite.archive.selection import PAGE_OBJECTS, Gone, Kind, Selection
from pacslite.archive.settings import DuplicatePolicy
from pacslite.dicom import tags
from pacslite.errors import ObjectUnreadable
from pacslite.facts import ignore

IMPLICIT = "1.2.840.10008.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"


@asynccontextmanager
async def archive_of(folder: Path, *samples: Sample, **changes: object) -> AsyncIterator[Archive]:
    async with Archive.open(settings_for(folder / "data", **changes), observe=ignore) as archive:
        for sample in samples:
            await put(archive, sample)
        yield archive


async def uids(selection: Selection) -> list[str]:
    return [one.sop_instance_uid for one in await objects(selection)]


async def objects(selection: Selection, kinds: Collection[Kind] | None = None) -> list[StoredObject | Gone]:
    return [one async for page in selection.pages(kinds) for one in page]


def series_number(number: int) -> tuple[tuple[int, str, str], ...]:
    return ((tags.SERIES_NUMBER, "IS", str(number)),)


HEAD = Sample(instance="1.1.1", series="1.1", study="1", number=1)
ONES = (
    HEAD.but(instance="1.2.1", series="1.2", number=2, more=series_number(1)),
    HEAD.but(instance="1.1.10", number=10, more=series_number(2)),
    HEAD.but(instance="1.1.9", number=9, more=series_number(2)),
    HEAD.but(instance="1.2.2", series="1.2", number=1, more=series_number(1)),
    HEAD.but(instance="2.1.1", series="2.1", study="2"),
    HEAD.but(instance="3.1.1", series="1.1", study="3", patient_id="P2"),
)


@pytest.mark.parametrize(
    ("keys", "selected"),
    [
        ({tags.PATIENT_ID: ["P1"]}, ["1.2.2", "1.2.1", "1.1.9", "1.1.10", "2.1.1"]),
        ({tags.STUDY_INSTANCE_UID: ["1"]}, ["1.2.2", "1.2.1", "1.1.9", "1.1.10"]),
        ({tags.STUDY_INSTANCE_UID: ["3", "2"]}, ["2.1.1", "3.1.1"]),
        ({tags.STUDY_INSTANCE_UID: ["1", "2"], tags.PATIENT_ID: ["P2"]}, []),
        ({tags.STUDY_INSTANCE_UID: ["1"], tags.SERIES_INSTANCE_UID: ["1.1"]}, ["1.1.9", "1.1.10"]),
        ({tags.SERIES_INSTANCE_UID: ["1.1"]}, ["1.1.9", "1.1.10", "3.1.1"]),
        ({tags.STUDY_INSTANCE_UID: ["3"], tags.SERIES_INSTANCE_UID: ["1.1", "1.2"]}, ["3.1.1"]),
        ({tags.SOP_INSTANCE_UID: ["2.1.1", "1.2.1", "9", "2.1.1"]}, ["1.2.1", "2.1.1"]),
        ({tags.SOP_INSTANCE_UID: ["1.2.1"], tags.SERIES_INSTANCE_UID: ["1.1"]}, []),
        ({tags.PATIENT_ID: ["p1"]}, []),
        ({tags.PATIENT_ID: ["P_"]}, []),
    ],
)
async def test_qr_08_unique_keys_select_by_hierarchy_in_series_and_instance_order(
    tmp_path: Path, keys: Mapping[int, Sequence[str]], selected: list[str]
) -> None:
    async with archive_of(tmp_path, *ONES) as archive:
        selection = await archive.select(keys)
        assert await uids(selection) == selected
        assert selection.total == len(selected)
        assert selection.bytes == sum(len(one.data_set()) for one in ONES if one.instance in selected)


async def test_qr_08_ten_thousand_uids(tmp_path: Path) -> None:
    async with archive_of(tmp_path, *ONES) as archive:
        asked = [f"1.1.{number}" for number in range(10_000)]
        assert await uids(await archive.select({tags.SOP_INSTANCE_UID: asked})) == ["1.1.9", "1.1.10"]


async def test_kinds_are_counted_and_objects_of_some_are_given(tmp_path: Path) -> None:
    one, other = HEAD, HEAD.but(instance="1.1.2", sop_class=MR, number=2)
    async with archive_of(tmp_path, one, other) as archive:
        selection = await archive.select({tags.STUDY_INSTANCE_UID: ["1"]})
        assert dict(selection.kinds) == {(one.sop_class, one.transfer_syntax): 1, (MR, one.transfer_syntax): 1}
        assert [o.sop_instance_uid for o in await objects(selection, {(MR, one.transfer_syntax)})] == ["1.1.2"]
        assert await objects(selection, {(MR, IMPLICIT)}) == []


async def test_more_objects_than_a_page(tmp_path: Path) -> None:
    many = [HEAD.but(instance=f"1.1.{number}", number=number) for number in range(1, PAGE_OBJECTS + 3)]
    async with archive_of(tmp_path, *many) as archive:
        selection = await archive.select({tags.STUDY_INSTANCE_UID: ["1"]})
        assert await uids(selection) == [one.instance for one in many]


async def test_an_object_that_is_replaced_meanwhile_is_found_where_it_is_now(tmp_path: Path) -> None:
    async with archive_of(tmp_path, HEAD, duplicates=DuplicatePolicy.REPLACE) as archive:
        selection = await archive.select({tags.STUDY_INSTANCE_UID: ["1"]})
        new = HEAD.but(pixels=b"\3\4" * 70)
        await put(archive, new)
        (found,) = await objects(selection)
        assert isinstance(found, StoredObject)
        assert await loaded(archive, found) == new.data_set()


async def test_an_object_that_is_removed_meanwhile_is_given_as_gone(tmp_path: Path) -> None:
    """And none that got its row's number instead: it may be another patient's."""
    other = HEAD.but(instance="5.1.1", series="5.1", study="5", patient_id="P5")
    async with archive_of(tmp_path, HEAD) as archive:
        selection = await archive.select({tags.STUDY_INSTANCE_UID: ["1"]})
        await archive.workshop.index.run(lambda writer: writer.remove(HEAD.instance))
        await put(archive, other)
        assert await objects(selection) == [Gone(HEAD.instance)]


# --- Bytes -----------------------------------------------------------------------------------------------------------


async def stored(archive: Archive) -> StoredObject:
    found = await archive.read(HEAD.instance)
    assert found is not None
    return found


async def loaded(archive: Archive, what: StoredObject) -> bytes:
    (found,) = await archive.load_into(bytearray(what.size), [what])
    if isinstance(found, ObjectUnreadable):
        raise found
    return bytes(found)


async def joined(archive: Archive, what: StoredObject, piece_bytes: int) -> list[bytes]:
    return [piece async for piece in archive.pieces(what, piece_bytes=piece_bytes)]


@pytest.mark.parametrize("piece_bytes", [2, 100, 1 << 20])
async def test_the_bytes_are_those_that_were_stored(tmp_path: Path, piece_bytes: int) -> None:
    async with archive_of(tmp_path, HEAD) as archive:
        one = await stored(archive)
        assert await loaded(archive, one) == HEAD.data_set()
        pieces = await joined(archive, one, piece_bytes)
        assert b"".join(pieces) == HEAD.data_set()
        assert {len(piece) for piece in pieces[:-1]} <= {piece_bytes}


async def test_several_small_ones_are_read_into_one_slab(tmp_path: Path) -> None:
    second = HEAD.but(instance="1.1.2", number=2, pixels=b"\7\7" * 30)
    lost = HEAD.but(instance="1.1.3", number=3)
    async with archive_of(tmp_path, HEAD, lost, second) as archive:
        found = await objects(await archive.select({tags.STUDY_INSTANCE_UID: ["1"]}))
        stored_ones = [one for one in found if isinstance(one, StoredObject)]
        stored_ones[2].path.unlink()
        slab = bytearray(4096)
        *read, gone = await archive.load_into(slab, stored_ones)
        assert [bytes(one) for one in read if isinstance(one, memoryview)] == [HEAD.data_set(), second.data_set()]
        assert isinstance(gone, ObjectUnreadable)
        assert slab.startswith(HEAD.data_set() + second.data_set())


async def test_a_file_that_is_gone_cannot_be_read(tmp_path: Path) -> None:
    async with archive_of(tmp_path, HEAD) as archive:
        one = await stored(archive)
        one.path.unlink()
        with pytest.raises(ObjectUnreadable, match="No such file"):
            await loaded(archive, one)
        with pytest.raises(ObjectUnreadable, match="No such file"):
            await joined(archive, one, 100)


async def test_a_file_that_is_cut_short_is_noticed_before_the_first_piece(tmp_path: Path) -> None:
    async with archive_of(tmp_path, HEAD) as archive:
        one = await stored(archive)
        with one.path.open("r+b") as file:
            file.truncate(one.data_set_offset + one.size - 10)
        with pytest.raises(ObjectUnreadable, match="10 bytes short"):
            await loaded(archive, one)
        pieces = archive.pieces(one, piece_bytes=100)
        with pytest.raises(ObjectUnreadable, match="10 bytes short"):
            await anext(pieces)
