"""HeaderReader on data sets made by hand and by hypothesis: whole and cut, sane and not."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacslite.dicom import tags
from pacslite.dicom.header import MAX_REQUEST_ITEMS, MAX_VALUE_BYTES, Header, HeaderReader
from pacslite.dicom.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)

UNDEFINED = 0xFFFFFFFF
LONG_VRS = ("OB", "OW", "SQ", "UN", "UT", "UC", "UR", "OD", "OF", "OL", "OV", "SV", "UV")
NATIVE = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
SOP, STUDY, SERIES = tags.SOP_INSTANCE_UID, tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID


@dataclass(frozen=True)
class Writer:
    """A data set writer that knows nothing of the reader under test."""

    uid: str

    @property
    def order(self) -> str:
        return ">" if self.uid == EXPLICIT_VR_BIG_ENDIAN else "<"

    def head(self, tag: int, vr: str, length: int) -> bytes:
        place = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if self.uid == IMPLICIT_VR_LITTLE_ENDIAN or tag >> 16 == 0xFFFE:
            return place + struct.pack(self.order + "I", length)
        if vr in LONG_VRS:
            return place + vr.encode() + struct.pack(self.order + "HI", 0, length)
        return place + vr.encode() + struct.pack(self.order + "H", length)

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        return self.head(tag, vr, len(value)) + value

    def item(self, value: bytes, *, undefined: bool = False) -> bytes:
        if undefined:
            return self.head(0xFFFEE000, "", UNDEFINED) + value + self.head(0xFFFEE00D, "", 0)
        return self.head(0xFFFEE000, "", len(value)) + value

    def sequence(self, tag: int, items: Sequence[bytes], *, undefined: bool = False, vr: str = "SQ") -> bytes:
        value = b"".join(items)
        if undefined:
            return self.head(tag, vr, UNDEFINED) + value + self.head(0xFFFEE0DD, "", 0)
        return self.element(tag, vr, value)

    def identity(self) -> bytes:
        """The two UIDs of group 0020; put them last to see whether a reader got that far."""
        return self.element(STUDY, "UI", b"1.2.3\0") + self.element(SERIES, "UI", b"1.2.3.4\0")


EXPLICIT = Writer(EXPLICIT_VR_LITTLE_ENDIAN)
IMPLICIT = Writer(IMPLICIT_VR_LITTLE_ENDIAN)
writers = pytest.mark.parametrize("writer", [Writer(uid) for uid in NATIVE], ids=["implicit", "explicit", "big"])


def read(
    data: bytes, uid: str = EXPLICIT_VR_LITTLE_ENDIAN, *, cuts: Sequence[int] = (), limit: int = 1 << 20
) -> Header:
    """The header of `data`, fed in pieces that end at `cuts`."""
    reader = HeaderReader(transfer_syntax(uid), limit_bytes=limit)
    positions = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in pairwise(positions):
        if reader.feed(memoryview(data)[start:end]):
            break
    return reader.finish()


def identified(header: Header) -> bool:
    return (header.uid(STUDY), header.uid(SERIES)) == ("1.2.3", "1.2.3.4")


# --- What is read ---


@writers
def test_wanted_values_are_kept_raw_and_others_are_not(writer: Writer) -> None:
    data = (
        writer.element(tags.SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 100")
        + writer.element(SOP, "UI", b"1.2.3.4.5\0")
        + writer.element(0x00091001, "UN", b"private!")
        + writer.element(tags.PATIENT_NAME, "PN", "Müller^Jörg ".encode("latin-1"))
        + writer.element(0x00181020, "LO", b"A 1\\B 2 ")
        + writer.identity()
        + writer.element(tags.INSTANCE_NUMBER, "IS", b"12 ")
        + writer.element(tags.ROWS, "US", struct.pack(writer.order + "H", 512))
        + writer.head(tags.PIXEL_DATA, "OW", 1 << 30)
    )
    header = read(data, writer.uid)
    assert header.complete
    assert header.problem == ""
    assert header.elements[SOP] == b"1.2.3.4.5\0"
    assert 0x00091001 not in header.elements
    assert header.uid(SOP) == "1.2.3.4.5"
    assert header.text(tags.PATIENT_NAME) == "Müller^Jörg"
    assert header.texts(tags.SOFTWARE_VERSIONS) == ("A 1", "B 2")
    assert header.integer(tags.INSTANCE_NUMBER) == 12
    assert header.integer(tags.ROWS) == 512
    assert header.big_endian == (writer.order == ">")
    assert header.character_sets == ("ISO_IR 100",)
    assert identified(header)


def test_absent_attributes_are_empty() -> None:
    header = read(b"")
    assert header.complete
    assert (header.uid(SOP), header.text(tags.PATIENT_NAME), header.texts(tags.IMAGE_TYPE)) == ("", "", ())
    assert header.integer(tags.ROWS) is None


@writers
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_are_stepped_over(writer: Writer, undefined: bool) -> None:
    """A UID inside a sequence is not the object's own."""
    other = writer.element(STUDY, "UI", b"9.9.9.9\0")
    inner = writer.sequence(0x00081115, [writer.item(other, undefined=undefined)], undefined=undefined)
    data = (
        writer.element(SOP, "UI", b"1.2\0")
        + writer.sequence(0x00081110, [writer.item(inner + other, undefined=undefined)] * 2, undefined=undefined)
        + writer.identity()
    )
    assert identified(read(data, writer.uid))


@writers
@pytest.mark.parametrize("undefined", [(False, False), (False, True), (True, False), (True, True)])
def test_request_attributes(writer: Writer, undefined: tuple[bool, bool]) -> None:
    first = writer.element(tags.ACCESSION_NUMBER, "SH", b"A1") + writer.sequence(
        0x00400008, [writer.item(writer.element(tags.ACCESSION_NUMBER, "SH", b"no"))], undefined=undefined[0]
    )
    second = writer.element(tags.SCHEDULED_PROCEDURE_STEP_ID, "SH", b"S2") + writer.element(
        tags.REQUESTED_PROCEDURE_ID, "SH", b"R2"
    )
    items = [writer.item(item, undefined=undefined[1]) for item in (first, second, b"")]
    after = writer.element(tags.COMPLETION_FLAG, "CS", b"COMPLETE")
    data = writer.identity() + writer.sequence(0x00400275, items, undefined=undefined[0]) + after
    header = read(data, writer.uid)
    assert header.request_attributes == (
        {tags.ACCESSION_NUMBER: b"A1"},
        {tags.SCHEDULED_PROCEDURE_STEP_ID: b"S2", tags.REQUESTED_PROCEDURE_ID: b"R2"},
        {},
    )
    assert header.text(tags.COMPLETION_FLAG) == "COMPLETE"
    assert header.complete
    assert header.request_text(0, tags.ACCESSION_NUMBER) == "A1"
    assert header.request_text(2, tags.ACCESSION_NUMBER) == ""


def test_request_attributes_in_un_are_implicit_inside() -> None:
    item = IMPLICIT.item(IMPLICIT.element(tags.REQUESTED_PROCEDURE_ID, "SH", b"R1"))
    for undefined in (False, True):
        data = EXPLICIT.identity() + EXPLICIT.sequence(0x00400275, [item], undefined=undefined, vr="UN")
        assert read(data).request_attributes == ({tags.REQUESTED_PROCEDURE_ID: b"R1"},)


def test_request_attributes_have_a_limit() -> None:
    items = [EXPLICIT.item(EXPLICIT.element(tags.ACCESSION_NUMBER, "SH", b"A"))] * 1000
    header = read(EXPLICIT.sequence(0x00400275, items) + EXPLICIT.element(tags.COMPLETION_FLAG, "CS", b"YES "))
    assert len(header.request_attributes) == MAX_REQUEST_ITEMS
    assert header.text(tags.COMPLETION_FLAG) == "YES"


def test_lengths_that_reach_over_the_end_of_the_request_are_cut_to_it() -> None:
    item = EXPLICIT.head(0xFFFEE000, "", 4000) + EXPLICIT.head(tags.ACCESSION_NUMBER, "SH", 3000) + b"A1"
    data = EXPLICIT.identity() + EXPLICIT.sequence(0x00400275, [item])
    header = read(data + EXPLICIT.element(tags.COMPLETION_FLAG, "CS", b"YES "))
    assert header.request_attributes == ({tags.ACCESSION_NUMBER: b"A1"},)
    assert header.text(tags.COMPLETION_FLAG) == "YES"


def test_encapsulated_data_of_undefined_length_is_stepped_over() -> None:
    fragments = EXPLICIT.item(b"") + EXPLICIT.item(bytes(5000)) + EXPLICIT.item(b"odd")
    data = EXPLICIT.head(0x00091010, "OB", UNDEFINED) + fragments + EXPLICIT.head(0xFFFEE0DD, "", 0)
    assert identified(read(EXPLICIT.element(SOP, "UI", b"1.2\0") + data + EXPLICIT.identity()))


# --- When reading stops ---


def test_it_stops_at_pixel_data_and_behind_the_last_wanted_group() -> None:
    reader = HeaderReader(transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN))
    assert not reader.feed(EXPLICIT.element(SOP, "UI", b"1.2\0"))
    assert not reader.feed(EXPLICIT.element(0x00880140, "UI", b"1.2\0"))  # no UIDs yet: they may come out of order
    assert not reader.feed(EXPLICIT.identity())
    assert reader.feed(EXPLICIT.element(0x00880140, "UI", b"1.2\0"))
    assert reader.feed(EXPLICIT.element(tags.PATIENT_NAME, "PN", b"late"))
    header = reader.finish()
    assert identified(header)
    assert tags.PATIENT_NAME not in header.elements

    reader = HeaderReader(transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN))
    assert reader.feed(EXPLICIT.head(tags.PIXEL_DATA, "OW", 1 << 31))
    assert reader.finish().complete


def test_a_content_sequence_ends_the_header_of_an_identified_document() -> None:
    content = EXPLICIT.head(tags.CONTENT_SEQUENCE, "SQ", UNDEFINED)
    reader = HeaderReader(transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN))
    assert reader.feed(EXPLICIT.element(SOP, "UI", b"1.2\0") + EXPLICIT.identity() + content)
    assert reader.finish().complete


def test_tags_out_of_order_are_found() -> None:
    data = EXPLICIT.identity() + EXPLICIT.element(SOP, "UI", b"1.2\0")
    assert read(data).uid(SOP) == "1.2"


def test_a_huge_value_is_stepped_over_without_buffering() -> None:
    """The limit counts what is examined: here 40 bytes."""
    reader = HeaderReader(transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN), limit_bytes=100)
    reader.feed(EXPLICIT.head(0x00091010, "OB", 1 << 26))
    piece = memoryview(bytes(1 << 20))
    for _ in range(64):
        assert not reader.feed(piece)
        assert not reader._held
    reader.feed(EXPLICIT.identity())
    assert identified(reader.finish())


def test_a_length_of_4_gib_costs_nothing() -> None:
    for tag in (0x00091010, SOP, tags.PATIENT_COMMENTS, 0x00400275):
        header = read(EXPLICIT.identity() + EXPLICIT.head(tag, "UN", UNDEFINED - 1) + b"abc")
        assert identified(header)
        assert not header.complete
        assert header.problem


def test_the_limit_stops() -> None:
    data = EXPLICIT.identity() + EXPLICIT.element(0x00201040, "LO", b"x") * 1000
    header = read(data, limit=200)
    assert identified(header)
    assert not header.complete
    assert "longer than its limit" in header.problem


def test_an_oversized_value_is_left_out_and_reading_goes_on() -> None:
    data = EXPLICIT.element(tags.PATIENT_COMMENTS, "UT", bytes(MAX_VALUE_BYTES + 1)) + EXPLICIT.identity()
    header = read(data)
    assert identified(header)
    assert header.complete
    assert "(0010,4000)" in header.problem


@pytest.mark.parametrize("depth", [1, 32, 33, 5000])
@pytest.mark.parametrize("undefined", [False, True])
def test_deep_nesting_is_harmless(depth: int, undefined: bool) -> None:
    """5,000 levels: no recursion, no quadratic cost, and what came first is known."""
    data = b""
    for _ in range(depth):
        if undefined:
            break
        data = EXPLICIT.sequence(0x00400440, [EXPLICIT.item(data)])
    if undefined:
        opening = EXPLICIT.head(0x00400440, "SQ", UNDEFINED) + EXPLICIT.head(0xFFFEE000, "", UNDEFINED)
        closing = EXPLICIT.head(0xFFFEE00D, "", 0) + EXPLICIT.head(0xFFFEE0DD, "", 0)
        data = opening * depth + closing * depth
    data = EXPLICIT.identity() + data + EXPLICIT.element(tags.COMPLETION_FLAG, "CS", b"YES ")
    began = time.process_time()
    for cuts in ((), range(0, len(data), 3)):
        header = read(data, cuts=cuts)
        assert identified(header)
        assert header.complete == (not undefined or depth <= 32)
        assert header.text(tags.COMPLETION_FLAG) == ("YES" if header.complete else "")
        assert header.problem == ("" if header.complete else "sequences are nested too deep")
    assert time.process_time() - began < 5


# --- What senders do wrong ---


def test_file_meta_inside_the_data_set_is_stepped_over() -> None:
    """ST-04: illegal there, and explicit VR little endian whatever the transfer syntax is."""
    meta = EXPLICIT.element(0x00020000, "UL", bytes(4)) + EXPLICIT.element(0x00020001, "OB", b"\0\1")
    for uid in NATIVE:
        header = read(meta + Writer(uid).element(SOP, "UI", b"1.2\0"), uid)
        assert header.uid(SOP) == "1.2"
        assert header.problem == ""


@pytest.mark.parametrize("real", NATIVE)
@pytest.mark.parametrize("declared", NATIVE)
def test_a_wrong_transfer_syntax_is_seen_through(declared: str, real: str) -> None:
    writer = Writer(real)
    data = writer.element(SOP, "UI", b"1.2.3.4.5.6.7.8\0") + writer.identity()
    header = read(data, declared)
    assert identified(header)
    assert header.big_endian == (real == EXPLICIT_VR_BIG_ENDIAN)
    assert bool(header.problem) == (declared != real)


@pytest.mark.parametrize("vr", [b"ZZ", b"??", b"\0\0", b"  ", b"--", b"ox"])
@pytest.mark.parametrize("value", [b"", b"abcd", b"odd"])
def test_unknown_vrs_with_short_length(vr: bytes, value: bytes) -> None:
    odd = struct.pack("<HH2sH", 0x0009, 0x1001, vr, len(value)) + value
    data = EXPLICIT.element(SOP, "UI", b"1.2\0") + odd + EXPLICIT.identity()
    assert identified(read(data))


@pytest.mark.parametrize("value", [b"", b"abcd", bytes(70000)])
def test_unknown_vrs_with_long_length(value: bytes) -> None:
    odd = struct.pack("<HH2sHI", 0x0009, 0x1001, b"ZZ", 0, len(value)) + value
    data = EXPLICIT.element(SOP, "UI", b"1.2\0") + odd + EXPLICIT.identity()
    assert identified(read(data))


def test_an_implicit_element_among_explicit_ones() -> None:
    odd = IMPLICIT.element(0x00091001, "", b"implicit")
    assert identified(read(EXPLICIT.element(SOP, "UI", b"1.2\0") + odd + EXPLICIT.identity()))


def test_nonsense_instead_of_a_vr_stops_with_a_reason() -> None:
    header = read(EXPLICIT.identity() + struct.pack("<HH4sI", 0x0028, 0x0008, b"\x01\xff\xff\xfe", 0) + bytes(16))
    assert identified(header)
    assert not header.complete
    assert "(0028,0008)" in header.problem
    assert "offset 30" in header.problem


@pytest.mark.parametrize("inner", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("vr", ["UN", "SQ"])
def test_items_in_the_other_encoding(inner: Writer, vr: str) -> None:
    item = inner.item(inner.element(0x00091002, "LO", b"value ") * 3, undefined=True)
    data = EXPLICIT.element(SOP, "UI", b"1.2\0") + EXPLICIT.sequence(0x00091001, [item], undefined=True, vr=vr)
    assert identified(read(data + EXPLICIT.identity()))


def test_forgotten_and_surplus_delimiters() -> None:
    item = EXPLICIT.head(0xFFFEE000, "", UNDEFINED) + EXPLICIT.element(0x00081150, "UI", b"1.2\0")
    forgotten = EXPLICIT.sequence(0x00081110, [item, item], undefined=True)
    surplus = EXPLICIT.sequence(0x00081111, []) + EXPLICIT.head(0xFFFEE0DD, "", 0) + EXPLICIT.head(0xFFFEE00D, "", 0)
    assert identified(read(EXPLICIT.element(SOP, "UI", b"1.2\0") + forgotten + surplus + EXPLICIT.identity()))


def test_trailing_zeros_are_padding() -> None:
    for count in range(20):
        header = read(EXPLICIT.identity() + bytes(count))
        assert header.complete
        assert header.problem == ""


@writers
def test_group_lengths_and_odd_lengths(writer: Writer) -> None:
    data = (
        writer.element(0x00080000, "UL", struct.pack(writer.order + "I", 99))
        + writer.element(SOP, "UI", b"1.2.3")
        + writer.element(0x00200000, "UL", bytes(4))
        + writer.identity()
    )
    header = read(data, writer.uid)
    assert identified(header)
    assert header.uid(SOP) == "1.2.3"


@pytest.mark.parametrize("cut", [1, 7, 9, 13, 15])
def test_a_truncated_data_set_keeps_what_came_first(cut: int) -> None:
    data = EXPLICIT.identity() + EXPLICIT.element(tags.PATIENT_NAME, "PN", b"Doe^John")
    header = read(data[:-cut])
    assert identified(header)
    assert not header.complete
    assert "ends inside the element at offset 30" in header.problem


def test_integers_of_many_kinds() -> None:
    def of(tag: int, value: bytes) -> int | None:
        return read(EXPLICIT.element(tag, "UN", value)).integer(tag)

    assert of(tags.SERIES_NUMBER, b" 7\\8") == 7
    assert of(tags.SERIES_NUMBER, b"seven") is None
    assert of(tags.SERIES_NUMBER, b"9" * 5000) is None
    assert of(tags.ROWS, b"\x00\x02") == 512
    assert of(tags.ROWS, b"\x00\x02\x00\x00") == 512
    assert of(tags.ROWS, b"512") == 512


# --- Deflated ---


def _deflated(data: bytes, *, wrapped: bool = False) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


DATA_SET = EXPLICIT.element(SOP, "UI", b"1.2\0") + EXPLICIT.identity() + EXPLICIT.element(tags.ROWS, "US", b"\0\2")


@pytest.mark.parametrize("step", [1, 7, 10000])
@pytest.mark.parametrize("pack", [_deflated, lambda data: _deflated(data, wrapped=True), lambda data: data])
def test_deflated_data_sets(pack: Callable[[bytes], bytes], step: int) -> None:
    """As PS3.5 A.5 has it, with a zlib header around it, and not deflated at all."""
    data = pack(DATA_SET + bytes(20000))
    header = read(data, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, cuts=range(0, len(data), step))
    assert identified(header)
    assert header.complete


def test_a_deflate_bomb_stops_at_the_limit() -> None:
    bomb = _deflated(EXPLICIT.identity() + EXPLICIT.head(0x00201041, "OB", 1 << 30) + bytes(1 << 24))
    began = time.process_time()
    header = read(bomb, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, limit=100000)
    assert identified(header)
    assert not header.complete
    assert "limit" in header.problem
    assert time.process_time() - began < 1


def test_a_damaged_or_short_deflated_stream_keeps_what_came_first() -> None:
    filler = [EXPLICIT.element(0x00280011, "US", struct.pack("<H", 7 * count % 65536)) for count in range(900)]
    data = _deflated(DATA_SET + b"".join(filler))
    damaged = data[:200] + b"\xff" * 40
    for broken, words in ((damaged, "damaged"), (data[:200], "ends early")):
        for step in (1, 3, 10000):
            header = read(broken, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, cuts=range(0, len(broken), step))
            assert identified(header)
            assert not header.complete
            assert words in header.problem


# --- Whatever the bytes and the cuts are ---

TAGS = st.sampled_from(
    [*sorted(tags.WANTED), 0x00091001, 0x00081140, 0x00400275, 0x0040A730, 0x00880140, 0x00020010, 0x00101002]
)
VRS = st.sampled_from(["LO", "UI", "UN", "OB", "US", "ZZ", "PN", "SQ"])
CUTS = st.lists(st.integers(0, 3000), max_size=12)


@st.composite
def data_sets(draw: st.DrawFn, uid: str, depth: int = 0, vrs: st.SearchStrategy[str] = VRS) -> bytes:
    writer = Writer(uid)
    parts = []
    for _ in range(draw(st.integers(0, 5 if depth else 12))):
        tag = draw(TAGS)
        if depth < 4 and draw(st.integers(0, 3)) == 0:
            items = [
                writer.item(item, undefined=draw(st.booleans()))
                for item in draw(st.lists(data_sets(uid, depth + 1, vrs), max_size=3))
            ]
            parts.append(writer.sequence(tag, items, undefined=draw(st.booleans())))
        else:
            parts.append(writer.element(tag, draw(vrs), draw(st.binary(max_size=40))))
    return b"".join(parts)


@st.composite
def syntaxes_and_bytes(draw: st.DrawFn) -> tuple[str, bytes]:
    """Data sets as declared, in another encoding, cut short, with a few bytes changed, or nothing but noise."""
    declared = draw(st.sampled_from([*NATIVE, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN]))
    data = draw(st.one_of(st.binary(max_size=300), *(data_sets(uid) for uid in NATIVE)))
    damaged = bytearray(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
    for position in draw(st.lists(st.integers(0, 2000), max_size=4)):
        if position < len(damaged):
            damaged[position] = draw(st.integers(0, 255))
    if declared == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN and draw(st.booleans()):
        damaged = bytearray(_deflated(bytes(damaged)))
    return declared, bytes(damaged)


@settings(max_examples=400, deadline=None)
@given(case=syntaxes_and_bytes(), cuts=CUTS, limit=st.sampled_from([50, 400, 1 << 20]))
def test_cuts_make_no_difference_and_nothing_raises(case: tuple[str, bytes], cuts: list[int], limit: int) -> None:
    """UL-23."""
    uid, data = case
    whole = read(data, uid, limit=limit)
    assert read(data, uid, cuts=cuts, limit=limit) == whole
    assert read(data, uid, cuts=range(len(data)), limit=limit) == whole
    for tag in tags.WANTED:
        whole.uid(tag)
        whole.texts(tag)
        whole.integer(tag)
    for number in range(len(whole.request_attributes)):
        whole.request_text(number, tags.ACCESSION_NUMBER)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), uid=st.sampled_from(NATIVE))
def test_a_sane_data_set_is_read_to_its_end(data: st.DataObject, uid: str) -> None:
    """Whatever is in sequences before it, the last element of the data set itself is found."""
    writer = Writer(uid)
    middle = [
        writer.sequence(0x00081140, [writer.item(item, undefined=data.draw(st.booleans()))], undefined=True)
        for item in data.draw(st.lists(data_sets(uid, 2, VRS.filter(lambda vr: vr not in ("ZZ", "SQ"))), max_size=3))
    ]
    whole = writer.element(SOP, "UI", b"1.2\0") + b"".join(middle) + writer.identity()
    header = read(whole, uid)
    assert identified(header)
    assert header.complete
    assert header.elements.keys() == {SOP, STUDY, SERIES}
