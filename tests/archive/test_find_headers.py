"""What the index does not keep is matched and answered from the stored files, at IMAGE level."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.encode import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, deflate
from kit.samples import Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.headers import MAX_VALUE_BYTES, read_header
from pacslite.archive.query import Query, Row, Wanted
from pacslite.dicom import tags
from pacslite.dicom.elements import Element
from pacslite.dicom.keys import key_of
from pacslite.dicom.levels import Level
from pacslite.dicom.matching import Key
from pacslite.dicom.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacslite.facts import ignore

KVP, SLICE_THICKNESS, PIXEL_SPACING = 0x00180060, 0x00180050, 0x00280030
SMALLEST = 0x00280106  # US or SS
CODES, CODE, MEANING = 0x00081032, 0x00080100, 0x00080104  # Procedure Code Sequence
LONG_TEXT = 0x00324000
SIMPLE: tuple[tuple[int, str, bytes | str], ...] = (
    (0x00080005, "CS", "ISO_IR 100"),
    (KVP, "DS", "120"),
    (SLICE_THICKNESS, "DS", "1.5"),
    (PIXEL_SPACING, "DS", "0.5\\0.5"),
    (0x00181030, "LO", "Sch\xe4del".encode("latin-1")),
)


async def found(archive: Archive, wanted: Sequence[Wanted], keys: Sequence[Key] = ()) -> list[Row]:
    async with aclosing(archive.find(Query(level=Level.IMAGE, keys=tuple(keys), wanted=tuple(wanted)))) as batches:
        return sorted([row async for rows in batches for row in rows], key=str)


def key(tag: int, vr: str, text: str) -> Key:
    made = key_of(tag, Element(vr, text))
    assert made is not None
    return made


@pytest.fixture
async def archive(quick_path: Path) -> AsyncIterator[Archive]:
    async with Archive.open(settings_for(quick_path), observe=ignore) as opened:
        yield opened


async def test_any_attribute_is_answered(archive: Archive) -> None:
    await put(archive, Sample(more=SIMPLE))
    wanted = (
        Wanted(tags.SOP_INSTANCE_UID, "UI"),
        Wanted(KVP, "DS"),
        Wanted(PIXEL_SPACING, "DS"),
        Wanted(0x00181030, "LO"),
        Wanted(0x00181040, "LO"),
        Wanted(tags.MODALITY, "CS"),
    )
    assert await found(archive, wanted) == [("1.2.3.3", "120", "0.5\\0.5", "Schädel", "", "CT")]


async def test_more_attributes_than_sqlite_has_columns(archive: Archive) -> None:
    await put(archive, Sample(more=SIMPLE))
    unknown = [Wanted(tag, "LO") for tag in range(0x00210000, 0x00210000 + 3000) if tag & 0xFFFF]
    wanted = [*unknown, Wanted(tags.MODALITY, "CS"), Wanted(KVP, "DS"), Wanted(tags.MODALITIES_IN_STUDY, "CS")]
    assert await found(archive, wanted) == [(*("" for _ in unknown), "CT", "120", "CT")]


async def test_any_attribute_is_matched(archive: Archive) -> None:
    for number in range(40):
        more = ((KVP, "DS", "120.0" if number % 10 == 0 else "80"),)
        await put(archive, Sample(instance=f"1.{number}", number=number, more=more))
    rows = await found(archive, (Wanted(tags.SOP_INSTANCE_UID, "UI"),), [key(KVP, "DS", "120")])
    assert rows == [("1.0",), ("1.10",), ("1.20",), ("1.30",)]
    both = [key(KVP, "DS", "120"), key(tags.INSTANCE_NUMBER, "IS", "20")]
    assert await found(archive, (Wanted(KVP, "DS"),), both) == [("120.0",)]


@pytest.mark.parametrize("undefined", [True, False])
async def test_qf_17_sequences_are_answered_and_matched_item_by_item(archive: Archive, *, undefined: bool) -> None:
    def item(code: str, meaning: str) -> bytes:
        return EXPLICIT_LITTLE.element(CODE, "SH", code) + EXPLICIT_LITTLE.element(MEANING, "LO", meaning)

    sequence = EXPLICIT_LITTLE.sequence(CODES, item("A", "Head"), item("B", "Neck"), undefined=undefined)
    sample, modality = Sample(), EXPLICIT_LITTLE.element(0x00080060, "CS", "CT")
    whole = sample.data_set().replace(modality, modality + sequence)
    async with archive.ingest(sample.origin) as ingest:
        await ingest.write(memoryview(whole))
        await ingest.commit()
    part = Wanted(CODES, "SQ", (Wanted(CODE, "SH"), Wanted(0x00080102, "SH")))
    nothing = Element("SH", "")
    expected = tuple({CODE: Element("SH", code), 0x00080102: nothing} for code in "AB")
    assert await found(archive, (part,)) == [(expected,)]
    ((items,),) = await found(archive, (Wanted(CODES, "SQ"),))
    assert items == tuple(
        {CODE: Element("SH", code), MEANING: Element("LO", meaning)} for code, meaning in (("A", "Head"), ("B", "Neck"))
    )
    for code, meaning, count in (("A", "Head", 1), ("A", "Neck", 0), ("?", "N*", 1)):
        inner = {CODE: Element("SH", code), MEANING: Element("LO", meaning)}
        asked = key_of(CODES, Element("SQ", (inner,)))
        assert asked is not None
        assert len(await found(archive, (part,), [asked])) == count


async def test_a_file_that_is_gone_has_no_attributes(archive: Archive) -> None:
    await put(archive, Sample(more=SIMPLE))
    stored = await archive.read("1.2.3.3")
    assert stored is not None
    stored.path.unlink()
    assert await found(archive, (Wanted(KVP, "DS"),)) == [("",)]
    assert await found(archive, (Wanted(KVP, "DS"),), [key(KVP, "DS", "120")]) == []


async def test_closing_while_files_are_read(archive: Archive) -> None:
    for number in range(60):
        await put(archive, Sample(instance=f"1.{number}", more=SIMPLE))
    query = Query(level=Level.IMAGE, keys=(), wanted=(Wanted(KVP, "DS"),))
    for turns in range(6):
        async with aclosing(archive.find(query)) as batches:
            for _ in range(turns):
                await anext(batches, [])
    task = asyncio.ensure_future(found(archive, query.wanted))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await found(archive, query.wanted)) == 60


def parts(syntax: str, *elements: bytes) -> bytes:
    data = b"".join(elements)
    return deflate(data) if syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN else data


@pytest.mark.parametrize(
    ("syntax", "encoding"),
    [
        (EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_LITTLE),
        (IMPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_LITTLE),
        (EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_BIG),
        (DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_LITTLE),
        (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_LITTLE),
    ],
)
def test_every_encoding_is_read(tmp_path: Path, syntax: str, encoding: Encoding) -> None:
    inner = encoding.element(CODE, "SH", "A")
    data = parts(
        syntax,
        encoding.sequence(CODES, encoding.sequence(CODES, inner), inner),
        encoding.element(KVP, "DS", "120"),
        encoding.element(0x00280010, "US", encoding.us(512)),
        encoding.element(0x7FE00010, "OW", b"\1\2" * 50_000),
    )
    file = tmp_path / "x"
    file.write_bytes(b"meta" + data)
    header = read_header(
        file, data_set_offset=4, transfer_syntax_uid=syntax, wanted={CODES, KVP, 0x00280010}, limit_bytes=1 << 20
    )
    assert header.elements[KVP] == Element("DS", "120")
    assert header.elements[0x00280010] == Element("US", (512,))
    innermost = {CODE: Element("SH", "A")}
    assert header.elements[CODES] == Element("SQ", ({CODES: Element("SQ", (innermost,))}, innermost))


def test_long_values_are_passed_by(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(
        EXPLICIT_LITTLE.element(KVP, "DS", "120")
        + EXPLICIT_LITTLE.element(0x00282000, "OB", bytes(MAX_VALUE_BYTES + 2))
        + EXPLICIT_LITTLE.element(LONG_TEXT, "LT", "end")
    )
    wanted = {0x00282000, LONG_TEXT}
    header = read_header(
        file, data_set_offset=0, transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN, wanted=wanted, limit_bytes=1 << 20
    )
    assert dict(header.elements) == {LONG_TEXT: Element("LT", "end")}


async def test_a_value_of_another_vr_is_answered_where_it_can_be(archive: Archive) -> None:
    more = (
        (SMALLEST, "SS", struct.pack("<h", -5)),
        (0x00280107, "US", struct.pack("<H", 7)),
    )
    await put(archive, Sample(more=more))
    wanted = (Wanted(SMALLEST, "US"), Wanted(0x00280107, "SS"), Wanted(SMALLEST, "SS"))
    assert await found(archive, wanted) == [("", (7,), (-5,))]


ENCODINGS = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(ENCODINGS))
def test_no_file_makes_it_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes, syntax: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(EXPLICIT_LITTLE.element(0x00080060, "CS", "CT") + data)
    read_header(file, data_set_offset=0, transfer_syntax_uid=syntax, wanted={CODES, KVP}, limit_bytes=4096)
