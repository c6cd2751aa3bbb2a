"""From a header to values of columns: text, names, dates, numbers, requests (for QF-09, QF-14, QF-17, QF-20)."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.encode import EXPLICIT_BIG, EXPLICIT_LITTLE
from kit.samples import EXPLICIT, Sample, put, rows, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.index.attributes import INSTANCE, PATIENT, REQUEST, SERIES, STUDY
from pacslite.archive.index.entry import MAX_TEXT, instance_values, level_values, request_values
from pacslite.dicom import tags
from pacslite.dicom.header import Header, HeaderReader
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.facts import ignore

BIG_ENDIAN = "1.2.840.10008.1.2.2"


def header(*more: tuple[int, str, bytes | str], big: bool = False, **changes: object) -> Header:
    reader = HeaderReader(transfer_syntax(BIG_ENDIAN if big else EXPLICIT))
    reader.feed(Sample(more=more).but(**changes).data_set(EXPLICIT_BIG if big else EXPLICIT_LITTLE))
    return reader.finish()


def instance(found: Header) -> dict[str, object]:
    columns = [name for attribute in INSTANCE for name, _ in attribute.columns()]
    return dict(zip(columns, instance_values(found), strict=True))


def level(found: Header, attributes: object) -> dict[str, object]:
    assert isinstance(attributes, tuple)
    columns = [name for attribute in attributes for name, _ in attribute.columns()]
    values = [value for group in level_values(found, attributes) for value in group]
    return dict(zip(columns, values, strict=True))


def test_every_wanted_attribute_has_its_columns() -> None:
    """Declared once: what the header reader collects is what the index keeps."""
    kept = {attribute.tag for level in (PATIENT, STUDY, SERIES, INSTANCE) for attribute in level}
    keys = {
        tags.PATIENT_ID,
        tags.ISSUER_OF_PATIENT_ID,
        tags.STUDY_INSTANCE_UID,
        tags.SERIES_INSTANCE_UID,
        tags.SOP_INSTANCE_UID,
        tags.SOP_CLASS_UID,
    }
    assert kept | keys == tags.WANTED
    assert {attribute.tag for attribute in REQUEST} == tags.WANTED_OF_REQUEST - {tags.SPECIFIC_CHARACTER_SET}


def test_a_name_in_three_writings_is_kept_decoded_and_folded() -> None:
    """ISO 2022; PS3.5 H.3.1."""
    name = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
    found = header((0x00080005, "CS", "\\ISO 2022 IR 87"), (0x00100010, "PN", name))
    values = level(found, PATIENT)
    assert values["patient_name"] == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert values["patient_name_alphabetic"] == "yamada^tarou"
    assert values["patient_name_ideographic"] == "山田^太郎"
    assert values["patient_name_phonetic"] == "やまだ^たろう"


def test_the_same_bytes_mean_what_their_character_set_says() -> None:
    """What is remembered for plain values must not be used for these."""
    raw = b"M\xfcller"
    for _ in range(2):
        latin = header((0x00080005, "CS", "ISO_IR 100"), (0x00700081, "LO", raw))
        greek = header((0x00080005, "CS", "ISO_IR 126"), (0x00700081, "LO", raw))
        assert instance(latin)["content_description"] == "Müller"
        assert instance(greek)["content_description"] == "Mόller"


@pytest.mark.parametrize(
    ("written", "normal", "raw"),
    [
        ("20200131", "20200131", None),
        ("2020.01.31", "20200131", "2020.01.31"),
        ("20200231", None, "20200231"),
        ("", None, None),
        ("gestern", None, "gestern"),
    ],
)
def test_a_date_is_kept_in_its_normal_form_and_as_written(written: str, normal: str | None, raw: str | None) -> None:
    values = level(header((tags.STUDY_DATE, "DA", written)), STUDY)
    assert (values["study_date"], values["study_date_raw"]) == (normal, raw)
    values = instance(header((tags.CONTENT_DATE, "DA", written)))
    assert (values["content_date"], values["content_date_raw"]) == (normal, raw)


@pytest.mark.parametrize(
    ("written", "normal", "raw"),
    [("2230", "223000.000000", "2230"), ("223000.000000", "223000.000000", None), ("99", None, "99")],
)
def test_a_time_is_kept_in_its_normal_form_and_as_written(written: str, normal: str | None, raw: str | None) -> None:
    values = level(header((tags.STUDY_TIME, "TM", written)), STUDY)
    assert (values["study_time"], values["study_time_raw"]) == (normal, raw)


@pytest.mark.parametrize("big", [False, True])
def test_numbers_are_read_in_their_byte_order(*, big: bool) -> None:
    for rows_value, raw in ((258, b"\1\2" if big else b"\2\1"), (513, b"\2\1" if big else b"\1\2")):
        found = header((tags.ROWS, "US", raw), (tags.NUMBER_OF_FRAMES, "IS", " 12 "), big=big)
        assert instance(found)["rows"] == rows_value
        assert instance(found)["number_of_frames"] == 12


@pytest.mark.parametrize("number", ["", "x", "9" * 20, "1\\2", "-5", "99999999999999999999999999"])
async def test_no_number_that_a_sender_writes_keeps_an_object_out(quick_path: Path, number: str) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, Sample(more=((0x00200013, "IS", number), (0x00200011, "IS", number))))
    expected = {"1\\2": 1, "-5": -5}.get(number)
    assert rows(quick_path, "SELECT instance_number, series_number FROM instances, series") == [(expected, expected)]


@pytest.mark.parametrize("text", [b"\xff\xfe\xfd", b"a\0b", b"\x1b$B\x1b", b"\xed\xa0\x80", bytes(range(256))])
@pytest.mark.parametrize("charset", ["", "ISO_IR 192", "ISO 2022 IR 149", "GB18030", "nonsense\\more"])
async def test_no_text_that_a_sender_writes_keeps_an_object_out(quick_path: Path, text: bytes, charset: str) -> None:
    more = tuple((tag, "LO", text) for tag in (0x00081030, 0x0008103E, 0x00100020, 0x00204000, 0x00700081))
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, Sample(more=((0x00080005, "CS", charset), *more, (0x00100010, "PN", text))))
        assert (await archive.stats()).instances == 1


def test_text_beyond_any_limit_is_cut_in_the_index() -> None:
    assert len(str(instance(header((tags.IMAGE_COMMENTS, "LT", "x" * 20_000)))["image_comments"])) == MAX_TEXT


def test_requests_are_kept_by_item_without_repetition() -> None:
    item = EXPLICIT_LITTLE.element(0x00400009, "SH", "STEP1") + EXPLICIT_LITTLE.element(0x00401001, "SH", "PROC1")
    other = EXPLICIT_LITTLE.element(0x00401001, "SH", "PROC2")
    sequence = EXPLICIT_LITTLE.sequence(0x00400275, item, item, other, b"")
    reader = HeaderReader(transfer_syntax(EXPLICIT))
    reader.feed(Sample(pixels=b"").data_set()[:-12] + sequence)
    values = request_values(reader.finish())
    assert values == [("PROC1", "STEP1", "", "", "", ""), ("PROC2", "", "", "", "", "")]


def test_several_values_stay_several() -> None:
    found = header(
        (tags.OPERATORS_NAME, "PN", "Müller^A\\Ørsted^B".encode("latin-1")), (0x00080005, "CS", "ISO_IR 100")
    )
    values = level(found, SERIES)
    assert values["operators_name"] == "Müller^A\\Ørsted^B"
    assert values["operators_name_folded"] == "muller^a\\orsted^b"
