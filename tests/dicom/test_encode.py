"""Small data sets to bytes: element by element, in every syntax, and as pydicom reads them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping
from io import BytesIO

import pytest
from pydicom.filereader import read_dataset

from kit.encode import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding
from pacslite.archive.query import Wanted
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.elements import Element, Value
from pacslite.dicom.encode import AnswerEncoder, encode_data_set
from pacslite.dicom.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    TransferSyntax,
    transfer_syntax,
)

EXPLICIT = transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN)
IMPLICIT = transfer_syntax(IMPLICIT_VR_LITTLE_ENDIAN)
BIG = transfer_syntax(EXPLICIT_VR_BIG_ENDIAN)
DEFLATED = transfer_syntax(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
SYNTAXES = [
    pytest.param(EXPLICIT, EXPLICIT_LITTLE, id="explicit"),
    pytest.param(IMPLICIT, IMPLICIT_LITTLE, id="implicit"),
    pytest.param(BIG, EXPLICIT_BIG, id="big endian"),
]
ANSWER: Mapping[int, tuple[str, Value]] = {
    0x00080020: ("DA", "20200131"),
    0x00080050: ("SH", "A123456"),
    0x00080061: ("CS", "CT\\SR"),
    0x00100010: ("PN", "SMITH^JOHN"),
    0x00100030: ("DA", ""),
    0x0020000D: ("UI", "1.2.3"),
    0x00201206: ("IS", 4),
    0x00280010: ("US", (512,)),
    0x00400275: ("SQ", ({0x00401001: Element("SH", "RP 1")},)),
}


def rows(attributes: Mapping[int, tuple[str, Value]]) -> tuple[list[Wanted], list[Value]]:
    return [Wanted(tag, vr) for tag, (vr, _) in attributes.items()], [value for _, value in attributes.values()]


def elements_of(attributes: Mapping[int, tuple[str, Value]]) -> dict[int, Element]:
    return {tag: Element(vr, value) for tag, (vr, value) in attributes.items()}


@pytest.mark.parametrize(("syntax", "kit"), SYNTAXES)
def test_every_kind_of_value(syntax: TransferSyntax, kit: Encoding) -> None:
    """Padding by VR (PS3.5 6.2), byte order, heads of both widths."""
    order = ">" if kit.big else "<"
    encoded = encode_data_set(
        {
            0x00080016: Element("UI", "1.2.3"),
            0x00080061: Element("CS", "CT\\MRX"),
            0x00201206: Element("IS", 4),
            0x00080110: Element("SQ", ({0x00100010: Element("PN", "A^B"), 0x00080050: Element("SH", "")}, {})),
            0x00189073: Element("FD", (1.5, -2.0)),
            0x00280009: Element("AT", (0x00181063,)),
            0x00280010: Element("US", 512),
            0x00420011: Element("OB", b"abc"),
            0x54001010: Element("OW", b"\x01\x02\x03\x04"),
            0x0040A160: Element("UT", " text"),
            0x00091001: Element("UN", b"\x01\x02\x03"),
            0x00100030: Element("DA", None),
        },
        syntax,
    )
    words = b"\x02\x01\x04\x03" if kit.big else b"\x01\x02\x03\x04"
    inner = kit.element(0x00080050, "SH", "") + kit.element(0x00100010, "PN", "A^B")
    assert encoded == (
        kit.element(0x00080016, "UI", "1.2.3")
        + kit.element(0x00080061, "CS", "CT\\MRX")
        + kit.sequence(0x00080110, inner, b"", undefined=False)
        + kit.element(0x00091001, "UN", b"\x01\x02\x03")
        + kit.element(0x00189073, "FD", struct.pack(f"{order}dd", 1.5, -2.0))
        + kit.element(0x00201206, "IS", "4")
        + kit.element(0x00280009, "AT", struct.pack(f"{order}HH", 0x0018, 0x1063))
        + kit.element(0x00280010, "US", kit.us(512))
        + kit.element(0x0040A160, "UT", " text")
        + kit.element(0x00420011, "OB", b"abc")
        + kit.element(0x54001010, "OW", words)
    )


def test_deflated() -> None:
    encoded = encode_data_set({0x00100010: Element("PN", "A^B")}, DEFLATED)
    assert len(encoded) % 2 == 0
    assert zlib.decompress(encoded, -zlib.MAX_WBITS) == EXPLICIT_LITTLE.element(0x00100010, "PN", "A^B")


@pytest.mark.parametrize(
    ("requested", "name", "label", "raw"),
    [
        (("ISO_IR 100",), "SMITH", None, b"SMITH "),
        (("ISO_IR 13",), "SMITH", None, b"SMITH "),
        ((), "Müller", "ISO_IR 192", "Müller ".encode()),
        (("ISO_IR 100",), "Müller", "ISO_IR 100", b"M\xfcller"),
        (("iso-ir-100",), "Müller", "ISO_IR 100", b"M\xfcller"),
        (("ISO_IR 144",), "Müller", "ISO_IR 192", "Müller ".encode()),
        (("", "ISO 2022 IR 87"), "=山田", "\\ISO 2022 IR 87", b"=\x1b$B;3ED\x1b(B "),
        (("nonsense",), "山田", "ISO_IR 192", "山田".encode()),
        (("GB18030",), "山田", "GB18030", "山田".encode("gb18030")),
        (("ISO_IR 100",), "a\x1b$Bb", "ISO_IR 192", b"a\x1b$Bb "),
        (("ISO_IR 100",), "\ud800", "ISO_IR 192", b"? "),
    ],
)
def test_the_label_says_what_the_bytes_are(
    requested: tuple[str, ...], name: str, label: str | None, raw: bytes
) -> None:
    """QF-20: the requester's own set if all text is representable in it, else UTF-8; nothing for plain ASCII."""
    head = b"" if label is None else EXPLICIT_LITTLE.element(0x00080005, "CS", label)
    expected = head + EXPLICIT_LITTLE.element(0x00100010, "PN", raw)
    assert encode_data_set({0x00100010: Element("PN", name)}, EXPLICIT, character_sets=requested) == expected
    encoder = AnswerEncoder([Wanted(0x00100010, "PN")], EXPLICIT, character_sets=requested)
    assert encoder.encode((name,)) == expected


def test_one_text_that_is_not_representable_decides_for_all() -> None:
    """QF-20: a data set has one Specific Character Set; texts in sequences count too."""
    item = {0x00400007: Element("LO", "Ж"), 0x00080005: Element("CS", "ISO_IR 144")}
    elements = {0x00100010: Element("PN", "Müller"), 0x00400275: Element("SQ", (item,))}
    expected = (
        EXPLICIT_LITTLE.element(0x00080005, "CS", "ISO_IR 192")
        + EXPLICIT_LITTLE.element(0x00100010, "PN", "Müller".encode())
        + EXPLICIT_LITTLE.sequence(0x00400275, EXPLICIT_LITTLE.element(0x00400007, "LO", "Ж".encode()), undefined=False)
    )
    assert encode_data_set(elements, EXPLICIT, character_sets=("ISO_IR 100",)) == expected
    encoder = AnswerEncoder(
        [Wanted(0x00400275, "SQ"), Wanted(0x00100010, "PN")], EXPLICIT, character_sets=("ISO_IR 100",)
    )
    assert encoder.encode(((item,), "Müller")) == expected


def test_plain_ascii_is_not_labelled_with_a_set_that_reads_it_differently() -> None:
    """QF-20, QF-21: to a reader of ISO_IR 13 a backslash is a yen sign, so it is not named."""
    plain = encode_data_set({0x00104000: Element("LT", "C:\\data")}, EXPLICIT, character_sets=("ISO_IR 13",))
    assert plain == EXPLICIT_LITTLE.element(0x00104000, "LT", "C:\\data")
    yen = encode_data_set({0x00104000: Element("LT", "¥100")}, EXPLICIT, character_sets=("ISO_IR 13",))
    assert yen == EXPLICIT_LITTLE.element(0x00080005, "CS", "ISO_IR 13") + EXPLICIT_LITTLE.element(
        0x00104000, "LT", "\\100"
    )
    both = {0x00100010: Element("PN", "ﾔﾏﾀﾞ"), 0x00104000: Element("LT", "C:\\data")}
    decoded = decode_data_set(encode_data_set(both, EXPLICIT, character_sets=("ISO_IR 13",)), EXPLICIT)
    assert decoded.character_sets == ("ISO_IR 192",)
    assert decoded.elements == {**both, 0x00080005: Element("CS", "ISO_IR 192")}


def test_a_request_is_labelled_also_when_it_is_plain() -> None:
    name = EXPLICIT_LITTLE.element(0x00100010, "PN", "A^B")
    encoded = encode_data_set(
        {0x00100010: Element("PN", "A^B")}, EXPLICIT, character_sets=("ISO_IR 192",), labelled=True
    )
    assert encoded == EXPLICIT_LITTLE.element(0x00080005, "CS", "ISO_IR 192") + name
    encoded = encode_data_set({0x00100010: Element("PN", "Ж")}, EXPLICIT, character_sets=("ISO_IR 100",), labelled=True)
    assert encoded.startswith(EXPLICIT_LITTLE.element(0x00080005, "CS", "ISO_IR 192"))


@pytest.mark.parametrize(
    ("vr", "value"),
    [("US", "many"), ("US", 70000), ("US", (-1,)), ("OB", "text"), ("SQ", "text"), ("AT", "x"), ("FD", ()), ("US", "")],
)
def test_what_a_vr_cannot_hold_becomes_no_value(vr: str, value: Value) -> None:
    assert encode_data_set({0x00091010: Element(vr, value)}, EXPLICIT) == EXPLICIT_LITTLE.element(0x00091010, vr, b"")


def test_numbers_that_are_kept_as_text() -> None:
    encoded = encode_data_set({0x00280010: Element("US", "512"), 0x00281052: Element("DS", (1, -2.5))}, EXPLICIT)
    assert encoded == EXPLICIT_LITTLE.element(0x00280010, "US", b"\0\2") + EXPLICIT_LITTLE.element(
        0x00281052, "DS", "1\\-2.5"
    )


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG, IMPLICIT], ids=["explicit", "big endian", "implicit"])
def test_a_value_too_long_for_its_vr_is_written_as_un(syntax: TransferSyntax) -> None:
    """PS3.5 6.2.2: of any other VR a 16-bit length could only tell a lie."""
    elements = {
        0x00104000: Element("LT", "x" * 70000),
        0x00280009: Element("AT", (0x00181063,) * 20000),
        0x00281052: Element("DS", "1"),
    }
    encoded = encode_data_set(elements, syntax)
    assert decode_data_set(encoded, syntax).elements == elements
    assert (b"UN" in encoded) is (syntax is not IMPLICIT)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED], ids=["explicit", "implicit", "big", "deflated"])
def test_an_answer_is_the_data_set_of_its_values(syntax: TransferSyntax) -> None:
    """QF-03: the fast way gives what the plain way gives, whatever the order, the lengths and the fixed elements."""
    chance = random.Random(20)
    fixed = {0x00080052: Element("CS", "STUDY"), 0x00080054: Element("AE", "PACSLITE"), 0x00400001: Element("AE", "X")}
    samples = ["", "a", "ab", "x" * 64, "y" * 65, "z" * 64 + "é", "Müller", "山田", None, "C\x1b$B", "é" * 40]
    for _ in range(300):
        tags = chance.sample(list(ANSWER), chance.randint(0, len(ANSWER)))
        attributes = {tag: ANSWER[tag] for tag in tags}
        for tag, (vr, _) in attributes.items():
            if vr in ("SH", "PN"):
                attributes[tag] = vr, chance.choice(samples)
        chosen = dict(chance.sample(list(fixed.items()), chance.randint(0, 3)))
        character_sets = chance.choice([(), ("ISO_IR 100",), ("ISO 2022 IR 13", "ISO 2022 IR 87")])
        wanted, values = rows(attributes)
        encoder = AnswerEncoder(wanted, syntax, character_sets=character_sets, fixed=chosen)
        expected = encode_data_set({**elements_of(attributes), **chosen}, syntax, character_sets=character_sets)
        assert encoder.encode(values) == expected
        assert encoder.encode(values) == expected, "an encoder keeps no state"


def test_specific_character_set_is_never_a_value_of_the_caller() -> None:
    """QF-16, QF-20: asked for, it is still there only if it is needed."""
    encoder = AnswerEncoder([Wanted(0x00080005, "CS"), Wanted(0x00100010, "PN")], EXPLICIT, character_sets=())
    assert encoder.encode(("ISO_IR 100", "A^B")) == EXPLICIT_LITTLE.element(0x00100010, "PN", "A^B")
    assert b"ISO_IR 192" in encoder.encode(("ISO_IR 100", "Ä"))


def test_a_fixed_element_wins() -> None:
    encoder = AnswerEncoder([Wanted(0x00080052, "CS")], EXPLICIT, fixed={0x00080052: Element("CS", "STUDY")})
    assert encoder.encode(("junk",)) == EXPLICIT_LITTLE.element(0x00080052, "CS", "STUDY ")


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
def test_pydicom_reads_an_answer(syntax: TransferSyntax) -> None:
    """QF-20: names, label, sequences."""
    wanted, values = rows({**ANSWER, 0x00100010: ("PN", "Yamada^Tarou=山田^太郎=やまだ^たろう")})
    encoder = AnswerEncoder(wanted, syntax, character_sets=("", "ISO 2022 IR 87"))
    read = read_dataset(BytesIO(encoder.encode(values)), syntax.implicit_vr, not syntax.big_endian)
    read.decode()
    assert read.SpecificCharacterSet == ["", "ISO 2022 IR 87"]
    assert read.PatientName.ideographic == "山田^太郎"
    assert list(read.ModalitiesInStudy) == ["CT", "SR"]
    assert read.NumberOfStudyRelatedSeries == 4
    assert read.Rows == 512
    assert read.RequestAttributesSequence[0].RequestedProcedureID == "RP 1"
    assert read.StudyInstanceUID == "1.2.3"
