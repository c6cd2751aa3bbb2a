"""Small data sets from bytes: what encode_data_set and pydicom write, what senders make of it, and what is none."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset

from kit.encode import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, ITEM_END, UNDEFINED, Encoding, deflate
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.dictionary import DICTIONARY
from pacslite.dicom.elements import Element, Value
from pacslite.dicom.encode import encode_data_set
from pacslite.dicom.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TransferSyntax,
    transfer_syntax,
)
from pacslite.dicom.vrs import NUMBER_FORMATS, SINGLE_VALUED_VRS, TEXT_VRS, WORD_SIZES, vr_of
from pacslite.errors import BadDataSetError

EXPLICIT = transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN)
IMPLICIT = transfer_syntax(IMPLICIT_VR_LITTLE_ENDIAN)
BIG = transfer_syntax(EXPLICIT_VR_BIG_ENDIAN)
DEFLATED = transfer_syntax(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
SYNTAXES = [EXPLICIT, IMPLICIT, BIG, DEFLATED]
ENCODINGS = [
    pytest.param(EXPLICIT, EXPLICIT_LITTLE, id="explicit"),
    pytest.param(IMPLICIT, IMPLICIT_LITTLE, id="implicit"),
    pytest.param(BIG, EXPLICIT_BIG, id="big endian"),
]
CHARACTER_SETS = [
    (),
    ("ISO_IR 100",),
    ("ISO_IR 13",),
    ("ISO_IR 192",),
    ("GB18030",),
    ("", "ISO 2022 IR 87"),
    ("ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 159"),
    ("", "ISO 2022 IR 149"),
    ("ISO 2022 IR 100", "ISO 2022 IR 144"),
]


# --- What is encoded is decoded ---------------------------------------------------------------------------------------

_BY_VR: dict[str, list[int]] = {}
for _tag in sorted(DICTIONARY):
    if 8 <= _tag >> 16 < 0xFFFE and _tag & 0xFFFF and _tag != 0x00080005:
        _BY_VR.setdefault(vr_of(_tag), []).append(_tag)
_LETTERS = st.text(
    st.sampled_from("aB ^=.*?\\éЖ山ｱ홍¥'") | st.characters(codec="utf-8", exclude_characters=" \0"), max_size=9
)
_INTEGERS = {"US": (0, 65535), "SS": (-32768, 32767), "UL": (0, 2**32 - 1), "SL": (-(2**31), 2**31 - 1)} | {
    "UV": (0, 2**64 - 1),
    "SV": (-(2**63), 2**63 - 1),
    "AT": (0, 2**32 - 1),
}


def _values(vr: str) -> st.SearchStrategy[Value]:
    if vr in SINGLE_VALUED_VRS:
        return _LETTERS.map(lambda text: text.rstrip(" \0"))
    if vr in TEXT_VRS:
        return _LETTERS.map(lambda text: "\\".join(value.strip(" \0") for value in text.split("\\")))
    if vr in _INTEGERS:
        return st.lists(st.integers(*_INTEGERS[vr]), max_size=4).map(tuple)
    if vr in ("FL", "FD"):
        return st.lists(st.floats(allow_nan=False, width=32 if vr == "FL" else 64), max_size=3).map(tuple)
    return st.binary(max_size=3).map(lambda word: word * 8)


def _elements(depth: int = 2) -> st.SearchStrategy[Mapping[int, Element]]:
    def of(vr: str) -> st.SearchStrategy[tuple[int, Element]]:
        tags = st.sampled_from(_BY_VR[vr])
        if vr == "SQ":
            items = st.lists(_elements(depth - 1), max_size=2).map(tuple)
            return st.tuples(tags, items.map(lambda value: Element("SQ", value)))
        return st.tuples(tags, _values(vr).map(lambda value: Element(vr, value)))

    kinds = sorted({*TEXT_VRS, *NUMBER_FORMATS, *WORD_SIZES, "SQ"} & set(_BY_VR))
    return st.lists(st.sampled_from([vr for vr in kinds if depth or vr != "SQ"]).flatmap(of), max_size=6).map(dict)


@given(
    elements=_elements(),
    syntax=st.sampled_from(SYNTAXES),
    character_sets=st.sampled_from(CHARACTER_SETS),
)
def test_what_is_encoded_is_decoded(
    elements: Mapping[int, Element], syntax: TransferSyntax, character_sets: tuple[str, ...]
) -> None:
    """QF-20: whatever the requester's character set, nothing is lost on the way."""
    decoded = decode_data_set(encode_data_set(elements, syntax, character_sets=character_sets), syntax)
    assert {tag: element for tag, element in decoded.elements.items() if tag != 0x00080005} == elements


# --- What others write ------------------------------------------------------------------------------------------------


def identifier() -> Dataset:
    """Like what pynetdicom's applications send, with everything that a key can be."""
    data_set = Dataset()
    data_set.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    data_set.QueryRetrieveLevel = "STUDY"
    data_set.StudyDate = "20200101-20201231"
    data_set.ModalitiesInStudy = ["CT", "MR"]
    data_set.PatientName = "Yamada^Tarou=山田^太郎=*"
    data_set.PatientID = ""
    data_set.StudyInstanceUID = ["1.2.3", "1.2.3.4"]
    data_set.NumberOfStudyRelatedSeries = None
    data_set.Rows = None
    data_set.Columns = 512
    procedure = Dataset()
    procedure.CodeValue = "X*"
    procedure.CodeMeaning = ""
    data_set.ProcedureCodeSequence = [procedure]
    data_set.RequestAttributesSequence = [Dataset()]
    data_set.add_new(0x00091010, "UN", b"\1\2\3\4")
    return data_set


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
@pytest.mark.parametrize("undefined", [False, True])
def test_an_identifier_of_pydicom(syntax: TransferSyntax, undefined: bool) -> None:
    data_set = identifier()
    if undefined:
        data_set["ProcedureCodeSequence"].is_undefined_length = True
        data_set.ProcedureCodeSequence[0].is_undefined_length_sequence_item = True
    buffer = BytesIO()
    file = DicomIO(buffer)
    file.is_implicit_VR, file.is_little_endian = syntax.implicit_vr, not syntax.big_endian
    write_dataset(file, data_set, ["", "ISO 2022 IR 87"])
    decoded = decode_data_set(buffer.getvalue(), syntax)
    assert decoded.character_sets == ("", "ISO 2022 IR 87")
    assert decoded.elements == {
        0x00080005: Element("CS", "\\ISO 2022 IR 87"),
        0x00080020: Element("DA", "20200101-20201231"),
        0x00080052: Element("CS", "STUDY"),
        0x00080061: Element("CS", "CT\\MR"),
        0x00081032: Element("SQ", ({0x00080100: Element("SH", "X*"), 0x00080104: Element("LO", "")},)),
        0x00091010: Element("UN", b"\1\2\3\4"),
        0x00100010: Element("PN", "Yamada^Tarou=山田^太郎=*"),
        0x00100020: Element("LO", ""),
        0x0020000D: Element("UI", "1.2.3\\1.2.3.4"),
        0x00201206: Element("IS", ""),
        0x00280010: Element("US", ()),
        0x00280011: Element("US", (512,)),
        0x00400275: Element("SQ", ({},)),
    }


@pytest.mark.parametrize(("syntax", "kit"), ENCODINGS)
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_in_sequences(syntax: TransferSyntax, kit: Encoding, undefined: bool) -> None:
    """QF-17."""
    inner = kit.sequence(0x00400008, kit.element(0x00080100, "SH", "A"), b"", undefined=undefined)
    data = kit.sequence(0x00400100, kit.element(0x00080060, "CS", "CT") + inner, undefined=undefined)
    data += kit.element(0x00401001, "SH", "after")
    assert decode_data_set(data, syntax).elements == {
        0x00400100: Element(
            "SQ",
            (
                {
                    0x00080060: Element("CS", "CT"),
                    0x00400008: Element("SQ", ({0x00080100: Element("SH", "A")}, {})),
                },
            ),
        ),
        0x00401001: Element("SH", "after"),
    }


@pytest.mark.parametrize(
    ("vr", "tag", "raw", "expected"),
    [
        ("UI", 0x0020000D, b"1.2.3\0", "1.2.3"),
        ("UI", 0x0020000D, b"1.2 \\ 1.3 ", "1.2\\1.3"),
        ("UI", 0x0020000D, b" 1.2\0\0\0", "1.2"),
        ("LO", 0x00100020, b" ID \0", "ID"),
        ("LO", 0x00100020, b"A \\ B\\", "A\\B\\"),
        ("CS", 0x00080060, b"CT ", "CT"),
        ("LT", 0x00104000, b"  text \\ \0 ", "  text \\"),
        ("UT", 0x0040A160, b" \n text  ", " \n text"),
        ("UR", 0x00081190, b"http://x ", "http://x"),
        ("US", 0x00280010, b"\1\0\2\0\3", (1, 2)),
        ("AT", 0x00280009, b"\x18\0\x63\x10", (0x00181063,)),
        ("OB", 0x00420011, b"\1\0 ", b"\1\0 "),
        ("DS", 0x00281050, b" 1.5\\2 ", "1.5\\2"),
    ],
)
def test_padding_is_no_part_of_a_value(vr: str, tag: int, raw: bytes, expected: Value) -> None:
    """PS3.5 6.2: spaces in front count in long texts only."""
    data = EXPLICIT_LITTLE.element(tag, vr, raw, pad=False)
    assert decode_data_set(data, EXPLICIT).elements == {tag: Element(vr, expected)}


def test_what_is_no_part_of_an_identifier_is_dropped() -> None:
    """QF-22: group lengths, and groups below 0008."""
    kit = EXPLICIT_LITTLE
    name = kit.element(0x00100010, "PN", "A^B")
    data = (
        kit.element(0x00020000, "UL", kit.ul(4))
        + kit.element(0x00020010, "UI", "1.2.840.10008.1.2")
        + kit.element(0x00040010, "SH", "x")
        + kit.element(0x00080000, "UL", kit.ul(4))
        + kit.element(0x00100000, "UL", kit.ul(4))
        + name
        + b"\0\0\0\0"
    )
    assert decode_data_set(data, EXPLICIT).elements == {0x00100010: Element("PN", "A^B")}
    assert decode_data_set(b"", EXPLICIT).elements == {}
    assert decode_data_set(b"\0" * 40, IMPLICIT).elements == {}


@pytest.mark.parametrize("declared", [EXPLICIT, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
@pytest.mark.parametrize(
    "kit", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG], ids=["as explicit", "as implicit", "as big"]
)
def test_a_data_set_in_another_syntax_than_agreed_is_recognized(declared: TransferSyntax, kit: Encoding) -> None:
    data = kit.element(0x00080052, "CS", "STUDY ") + kit.element(0x00100010, "PN", "A^B")
    assert decode_data_set(data, declared).elements == {
        0x00080052: Element("CS", "STUDY"),
        0x00100010: Element("PN", "A^B"),
    }


def test_deflated_with_a_header_of_zlib_or_not_deflated_at_all() -> None:
    plain = EXPLICIT_LITTLE.element(0x00080052, "CS", "STUDY ")
    for data in (deflate(plain), plain):
        assert decode_data_set(data, DEFLATED).elements == {0x00080052: Element("CS", "STUDY")}


@pytest.mark.parametrize(("syntax", "kit"), ENCODINGS[::2])
def test_un_of_a_known_attribute_is_implicit_little_endian(syntax: TransferSyntax, kit: Encoding) -> None:
    """PS3.5 6.2.2."""
    item = IMPLICIT_LITTLE.element(0x00080100, "SH", "A")
    nested = IMPLICIT_LITTLE.mark(0xFFFEE000, len(item)) + item
    private = IMPLICIT_LITTLE.mark(0xFFFEE000, UNDEFINED) + item + IMPLICIT_LITTLE.mark(ITEM_END)
    data = (
        kit.element(0x00081032, "UN", nested)
        + kit.element(0x00091010, "UN", private + IMPLICIT_LITTLE.mark(0xFFFEE0DD), length=UNDEFINED)
        + kit.element(0x00100010, "UN", "A^B ")
        + kit.element(0x00280010, "UN", b"\1\0")
        + kit.element(0x00291010, "UN", b"\1\2")
    )
    assert decode_data_set(data, syntax).elements == {
        0x00081032: Element("SQ", ({0x00080100: Element("SH", "A")},)),
        0x00091010: Element("SQ", ({0x00080100: Element("SH", "A")},)),
        0x00100010: Element("PN", "A^B"),
        0x00280010: Element("US", (1,)),
        0x00291010: Element("UN", b"\1\2"),
    }


def test_an_item_may_have_its_own_character_set_and_it_need_not_come_first() -> None:
    """QF-20."""
    kit = EXPLICIT_LITTLE
    item = kit.element(0x00401001, "SH", b"\xb6 ") + kit.element(0x00080005, "CS", "ISO_IR 144")
    data = (
        kit.element(0x00100010, "PN", b"\xe4^ ")
        + kit.sequence(0x00400275, item, kit.element(0x00401001, "SH", b"\xe4"))
        + kit.element(0x00080005, "CS", "ISO_IR 100")
    )
    decoded = decode_data_set(data, EXPLICIT)
    assert decoded.character_sets == ("ISO_IR 100",)
    assert decoded.elements[0x00100010].value == "ä^"
    items = decoded.elements[0x00400275].value
    assert isinstance(items, tuple)
    assert [item[0x00401001].value for item in items if isinstance(item, Mapping)] == ["Ж", "ä"]


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "tag", "offset"),
    [
        (EXPLICIT_LITTLE.element(0x00100010, "PN", "A^B ", length=200), 0x00100010, 0),
        (EXPLICIT_LITTLE.element(0x00080060, "CS", "CT") + b"\x10\0\x10\0", 0, 10),
        (EXPLICIT_LITTLE.element(0x00104000, "UT", b"")[:9], 0x00104000, 0),
        (EXPLICIT_LITTLE.sequence(0x00400275, b"")[:-8], 0x00400275, 28),
        (EXPLICIT_LITTLE.sequence(0x00400275, b"")[:-16], 0, 20),
        (EXPLICIT_LITTLE.element(0x00400275, "SQ", b"x" * 8), 0x00400275, 12),
        (EXPLICIT_LITTLE.element(0x00400275, "SQ", b"x" * 4), 0x00400275, 12),
        (EXPLICIT_LITTLE.element(0x7FE00010, "OB", b"", length=UNDEFINED), 0x7FE00010, 0),
        (EXPLICIT_LITTLE.element(0x00100010, "PN", "A^B ") + EXPLICIT_LITTLE.mark(ITEM_END), ITEM_END, 12),
        (b"\x08\0\x05\0\xff\xff\xff\x7f", 0x00080005, 0),
    ],
)
def test_damage_is_told_with_its_place(data: bytes, tag: int, offset: int) -> None:
    with pytest.raises(BadDataSetError) as caught:
        decode_data_set(data, EXPLICIT)
    assert (caught.value.tag, caught.value.offset) == (tag, offset)
    assert len(str(caught.value)) <= 64
    assert str(offset) in str(caught.value)


def test_limits() -> None:
    """Each is crossed by one."""
    kit = EXPLICIT_LITTLE
    many = b"".join(kit.element(0x00090010 + number, "SH", "") for number in range(11))
    assert len(decode_data_set(many, EXPLICIT, max_elements=11).elements) == 11
    with pytest.raises(BadDataSetError, match="too many"):
        decode_data_set(many, EXPLICIT, max_elements=10)
    empty = kit.sequence(0x00400275, *[b""] * 10, undefined=False)
    decode_data_set(empty, EXPLICIT, max_elements=11)
    with pytest.raises(BadDataSetError, match="too many"):
        decode_data_set(empty, EXPLICIT, max_elements=10)
    nested = b""
    for _ in range(4):
        nested = kit.sequence(0x00400275, nested)
    decode_data_set(nested, EXPLICIT, max_depth=4)
    with pytest.raises(BadDataSetError, match="too deep"):
        decode_data_set(nested, EXPLICIT, max_depth=3)
    bomb = deflate(kit.element(0x00104000, "UT", b"x" * 5000))
    decode_data_set(bomb, DEFLATED, max_inflated_bytes=5012)
    with pytest.raises(BadDataSetError, match="limit"):
        decode_data_set(bomb, DEFLATED, max_inflated_bytes=5011)
    with pytest.raises(BadDataSetError, match="damaged"):
        decode_data_set(b"\xff" * 40, DEFLATED)


@given(data=st.binary(max_size=200), syntax=st.sampled_from(SYNTAXES))
def test_arbitrary_bytes_are_read_or_refused(data: bytes, syntax: TransferSyntax) -> None:
    with suppress(BadDataSetError):
        assert len(decode_data_set(data, syntax, max_elements=50, max_depth=4).elements) <= 50


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_damaged_identifiers_are_read_or_refused(syntax: TransferSyntax) -> None:
    """Bytes changed, lost, doubled and cut off."""
    chance = random.Random(7)
    sound = encode_data_set(
        {
            0x00080052: Element("CS", "STUDY"),
            0x00100010: Element("PN", "Yamada^Tarou=山田^太郎"),
            0x00400275: Element("SQ", ({0x00401001: Element("SH", "A"), 0x00400008: Element("SQ", ({},))}, {})),
            0x00280010: Element("US", (1, 2)),
        },
        syntax,
        character_sets=("ISO 2022 IR 13", "ISO 2022 IR 87"),
    )
    refused = 0
    for _ in range(3000):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[start] = chance.choice((0, 1, 8, 0xFF, chance.randrange(256)))
                case 1:
                    del data[start : start + chance.randint(1, 9)]
                case 2:
                    data[start:start] = data[start : start + chance.randint(1, 40)]
                case _:
                    del data[start:]
            data = data or bytearray(1)
        try:
            decode_data_set(bytes(data), syntax)
        except BadDataSetError:
            refused += 1
    assert 0 < refused < 3000


def test_a_megabyte_of_the_worst() -> None:
    """Tiny elements, empty items, deep nesting: refused by count, not read to the end."""
    kit = EXPLICIT_LITTLE
    for data in (
        kit.element(0x00090010, "SH", "") * (1 << 17),
        kit.sequence(0x00400275, *[b""] * (1 << 16)),
        kit.element(0x00400275, "SQ", b"", length=UNDEFINED) + kit.mark(0xFFFEE000, UNDEFINED) * (1 << 17),
    ):
        with pytest.raises(BadDataSetError):
            decode_data_set(data, EXPLICIT)
