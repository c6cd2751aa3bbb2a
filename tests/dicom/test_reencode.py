"""Re-encoding: the same elements with the same values, whatever the transfer syntax (PS3.5 7, Annex A; QR-06)."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from kit.encode import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, ITEM, ITEM_END, SEQUENCE_END, Encoding, deflate
from kit.shipped import DicomObject, shipped_objects
from pacslite.dicom.heads import MalformedDataSet
from pacslite.dicom.reencode import Reencoder
from pacslite.dicom.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_BASELINE,
    transfer_syntax,
)

IMPLICIT = IMPLICIT_VR_LITTLE_ENDIAN
EXPLICIT = EXPLICIT_VR_LITTLE_ENDIAN
BIG = EXPLICIT_VR_BIG_ENDIAN
DEFLATED = DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)
ENCODINGS = {IMPLICIT: IMPLICIT_LITTLE, EXPLICIT: EXPLICIT_LITTLE, BIG: EXPLICIT_BIG}
CUT = frozenset({"MR_truncated.dcm", "rtplan_truncated.dcm"})
"""Shipped files that end in the middle of a value."""

SHIPPED = [shipped for shipped in shipped_objects() if shipped.name.rpartition("/")[2] not in CUT]
UNCOMPRESSED = [shipped for shipped in SHIPPED if shipped.transfer_syntax in NATIVE]


def reencoded(
    data: bytes, source: str, target: str, *, sizes: Iterator[int] | None = None, representation: int | None = None
) -> bytes:
    """All of it; in pieces of the given sizes."""
    reencoder = Reencoder(transfer_syntax(source), transfer_syntax(target), pixel_representation=representation)
    pieces: list[bytes] = []
    position = 0
    while position < len(data):
        size = next(sizes) if sizes else len(data)
        pieces += reencoder.feed(memoryview(data)[position : position + size])
        position += size
    pieces += reencoder.finish()
    assert all(pieces), "a piece is empty"
    assert all(len(piece) % 2 == 0 for piece in pieces), "a piece is odd"
    return b"".join(pieces)


def shipped_id(shipped: DicomObject) -> str:
    return shipped.name


# --- Every shipped file ----------------------------------------------------------------------------------------------


def flat(data: bytes, syntax: str) -> list[tuple[tuple[int, ...], bytes]]:
    """Every value by its path, as bytes, read by pydicom; without padding and group lengths."""
    if syntax == DEFLATED:
        data = zlib.decompress(data, -zlib.MAX_WBITS)
    data_set = read_dataset(io.BytesIO(data), syntax == IMPLICIT, syntax != BIG)
    return list(_flat(data_set, ()))


def _flat(data_set: Dataset, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], bytes]]:
    found = {tag: data_set.get_item(tag) for tag in sorted(data_set.keys())}  # looking at one decodes others
    for tag, raw in found.items():
        if tag.elem == 0:
            continue
        here = (*path, int(tag))
        element = data_set[tag]
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from _flat(item, (*here, number))
        elif isinstance(raw, RawDataElement):
            yield here, (raw.value or b"").rstrip(b" \0")
        elif element.is_empty:
            yield here, b""
        else:  # its VR was found out by looking at others
            assert element.VR in ("US", "SS", "OB", "OW")
            yield here, _as_bytes(element.value, element.VR).rstrip(b" \0")


def _as_bytes(value: bytes | int | Sequence[int], vr: str) -> bytes:
    if isinstance(value, bytes):
        return value
    numbers = [value] if isinstance(value, int) else list(value)
    return struct.pack(f"<{len(numbers)}{'h' if vr == 'SS' else 'H'}", *numbers)


@pytest.mark.parametrize("shipped", UNCOMPRESSED, ids=shipped_id)
def test_every_shipped_file_keeps_its_values(shipped: DicomObject) -> None:
    source = shipped.transfer_syntax
    explicit = reencoded(shipped.data_set, source, EXPLICIT)
    expected = flat(explicit, EXPLICIT)
    if source in (IMPLICIT, EXPLICIT):
        assert expected == flat(shipped.data_set, source)
    for target in NATIVE:
        there = reencoded(shipped.data_set, source, target)
        assert reencoded(there, target, target) == there or target == DEFLATED
        back = reencoded(there, target, EXPLICIT)
        assert flat(back, EXPLICIT) == expected, target
        if target != BIG:
            assert flat(there, target) == expected, target


@pytest.mark.parametrize("shipped", UNCOMPRESSED, ids=shipped_id)
def test_implicit_and_back_are_the_same_bytes(shipped: DicomObject) -> None:
    implicit = reencoded(shipped.data_set, shipped.transfer_syntax, IMPLICIT)
    explicit = reencoded(implicit, IMPLICIT, EXPLICIT)
    # Once more, as lengths of sequences in it become undefined when heads change.
    once = reencoded(explicit, EXPLICIT, IMPLICIT)
    assert reencoded(reencoded(once, IMPLICIT, EXPLICIT), EXPLICIT, IMPLICIT) == once


@pytest.mark.parametrize("shipped", SHIPPED, ids=shipped_id)
def test_the_pieces_do_not_matter(shipped: DicomObject) -> None:
    target = EXPLICIT if shipped.transfer_syntax != EXPLICIT else BIG
    if shipped.transfer_syntax not in NATIVE:
        target = shipped.transfer_syntax
    data = shipped.data_set[: 1 << 20] if len(shipped.data_set) < 1 << 20 else shipped.data_set
    whole = reencoded(data, shipped.transfer_syntax, target)
    chance = random.Random(shipped.name)
    for sizes in (iter(lambda: chance.randrange(1, 3000), 0), iter(lambda: chance.choice((1, 7, 8, 9, 65537)), 0)):
        assert reencoded(data, shipped.transfer_syntax, target, sizes=sizes) == whole
    if len(data) < 100_000:
        assert reencoded(data, shipped.transfer_syntax, target, sizes=iter(lambda: 1, 0)) == whole


@pytest.mark.parametrize("shipped", [s for s in SHIPPED if s.transfer_syntax == BIG], ids=shipped_id)
def test_big_endian_files_are_read_alike(shipped: DicomObject) -> None:
    there = read_dataset(io.BytesIO(reencoded(shipped.data_set, BIG, EXPLICIT)), False, True)
    here = read_dataset(io.BytesIO(shipped.data_set), False, False)
    for element in here:
        if element.tag.elem and element.VR in ("US", "UL", "SS", "SL", "FL", "FD", "AT", "IS", "DS", "PN", "UI", "CS"):
            assert there[element.tag].value == element.value


def test_files_that_are_cut_are_refused() -> None:
    cut = [shipped for shipped in shipped_objects() if shipped not in SHIPPED]
    assert {shipped.name.rpartition("/")[2] for shipped in cut} == CUT
    for shipped in cut:
        with pytest.raises(MalformedDataSet, match="ends"):
            reencoded(shipped.data_set, shipped.transfer_syntax, BIG)


# --- Made data sets --------------------------------------------------------------------------------------------------

Tree = list[tuple[int, str, object]]
"""Elements: tag, VR, and a text, bytes, a tuple of numbers, or a list of items."""

_FORMATS = {
    "AT": "H",
    "FD": "d",
    "FL": "f",
    "OL": "I",
    "OW": "H",
    "SL": "i",
    "SV": "q",
    "UL": "I",
    "US": "H",
    "UV": "Q",
}
_TEXT = st.text("ABC abc^=\\", max_size=12)
_VRS = {
    0x00080018: "UI", 0x00080060: "CS", 0x00089459: "FL", 0x00100010: "PN", 0x00186018: "UL", 0x00186028: "FD",
    0x00280009: "AT", 0x00280010: "US", 0x00281201: "OW", 0x00404010: "DT", 0x00660129: "OL", 0x00720064: "IS",
    0x00720070: "UT", 0x00720072: "DS", 0x0072007C: "SL", 0x00720082: "SV", 0x00720083: "UV",
}  # fmt: skip
_SEQUENCES = (0x00081115, 0x00089215, 0x00400275, 0x52009229)


def built(tree: Tree, encoding: Encoding, *, undefined: bool) -> bytes:
    """A data set; where the lengths of sequences are undefined, those of the items in them are too."""
    return b"".join(_built(tag, vr, value, encoding, undefined=undefined) for tag, vr, value in tree)


def _built(tag: int, vr: str, value: object, encoding: Encoding, *, undefined: bool) -> bytes:
    if isinstance(value, list):
        items = [built(item, encoding, undefined=undefined) for item in value]
        return encoding.sequence(tag, *items, undefined=undefined and bool(items))
    if isinstance(value, tuple):
        order = ">" if encoding.big else "<"
        return encoding.element(tag, vr, struct.pack(f"{order}{len(value)}{_FORMATS[vr]}", *value))
    assert isinstance(value, str | bytes)
    return encoding.element(tag, vr, value)


def _values(vr: str) -> st.SearchStrategy[object]:
    if vr not in _FORMATS:
        return _TEXT
    bits = 8 * struct.calcsize(f"<{_FORMATS[vr]}")
    match vr:
        case "FL" | "FD":
            numbers: st.SearchStrategy[float] = st.floats(width=32, allow_nan=False)
        case "SL" | "SV":
            numbers = st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
        case _:
            numbers = st.integers(0, (1 << bits) - 1)
    return st.lists(numbers, max_size=3).map(lambda found: tuple(found * 2 if vr == "AT" else found))


def _trees(items: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    values = st.fixed_dictionaries({}, optional={tag: _values(vr) for tag, vr in _VRS.items()})
    sequences = st.fixed_dictionaries({}, optional={tag: st.lists(items, max_size=3) for tag in _SEQUENCES})
    return st.builds(
        lambda some, others: sorted(
            [
                *((tag, _VRS[tag], value) for tag, value in some.items()),
                *((tag, "SQ", of) for tag, of in others.items()),
            ]
        ),
        values,
        sequences,
    )


TREES = st.recursive(_trees(st.just([])), _trees, max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(TREES, st.sampled_from(sorted(ENCODINGS)), st.sampled_from(sorted(ENCODINGS)), st.booleans(), st.randoms())
def test_any_data_set_becomes_what_it_would_have_been(
    tree: Tree, source: str, target: str, undefined: bool, chance: random.Random
) -> None:
    tree = [(0x00080016, "UI", "1.2.3"), *tree]  # tells how it is encoded
    whole = built(tree, ENCODINGS[source], undefined=undefined)
    sizes = iter(lambda: chance.choice((1, 2, 3, 8, 13, 100)), 0)
    expected = whole if source == target else built(tree, ENCODINGS[target], undefined=True)
    assert reencoded(whole, source, target, sizes=sizes) == expected


@settings(max_examples=100, deadline=None)
@given(TREES, st.sampled_from(sorted(ENCODINGS)))
def test_deflating_and_inflating(tree: Tree, syntax: str) -> None:
    plain = built([(0x00080016, "UI", "1.2.3"), *tree], EXPLICIT_LITTLE, undefined=True)
    assert reencoded(deflate(plain), DEFLATED, syntax) == reencoded(plain, EXPLICIT, syntax)
    deflated = reencoded(reencoded(plain, EXPLICIT, syntax), syntax, DEFLATED)
    assert zlib.decompress(deflated, -zlib.MAX_WBITS) == plain


# --- Which VR it is --------------------------------------------------------------------------------------------------

SMALLEST, PADDING, LUT_DESCRIPTOR, LUT_DATA = 0x00280106, 0x00280120, 0x00283002, 0x00283006
PIXELS = 0x7FE00010


def explicit_from(*elements: tuple[int, bytes], representation: int | None = None) -> dict[int, str]:
    """The VRs that these elements of an implicit VR data set get, by tag."""
    data = b"".join(IMPLICIT_LITTLE.element(tag, "UN", value) for tag, value in elements)
    explicit = reencoded(data, IMPLICIT, EXPLICIT, representation=representation)
    return {int(element.tag): str(element.VR) for element in read_dataset(io.BytesIO(explicit), False, True)}


@pytest.mark.parametrize(("bits", "vr"), [(1, "OB"), (8, "OB"), (16, "OW"), (32, "OW"), (None, "OW")])
def test_pixel_data_are_bytes_or_words(bits: int | None, vr: str) -> None:
    before = [] if bits is None else [(0x00280100, struct.pack("<H", bits))]
    assert explicit_from(*before, (PIXELS, bytes(8)))[PIXELS] == vr


@pytest.mark.parametrize(("representation", "vr"), [(0, "US"), (1, "SS")])
def test_pixel_representation_decides_about_signs(representation: int, vr: str) -> None:
    found = explicit_from(
        (0x00280103, struct.pack("<H", representation)),
        (SMALLEST, b"\xff\xff"),
        (PADDING, b"\xff\xff"),
        (LUT_DESCRIPTOR, bytes(6)),
        (LUT_DATA, bytes(8)),
    )
    assert (found[SMALLEST], found[PADDING], found[LUT_DESCRIPTOR], found[LUT_DATA]) == (vr, vr, vr, "OW")


@pytest.mark.parametrize(("representation", "vr"), [(None, "US"), (0, "US"), (1, "SS")])
def test_what_stands_before_pixel_representation_has_to_be_told_of_it(representation: int | None, vr: str) -> None:
    before = 0x00189810  # Zero Velocity Pixel Value
    assert explicit_from((before, b"\0\0"), representation=representation)[before] == vr


def test_an_item_may_have_its_own_pixel_representation() -> None:
    little = IMPLICIT_LITTLE
    signed, lut = little.element(0x00280103, "US", b"\1\0"), little.element(LUT_DESCRIPTOR, "US", bytes(6))
    unsigned = little.element(0x00280103, "US", b"\0\0")
    data = signed + little.sequence(0x00283000, lut, unsigned + lut)
    first, second = read_dataset(io.BytesIO(reencoded(data, IMPLICIT, EXPLICIT)), False, True)[0x00283000].value
    assert (first[LUT_DESCRIPTOR].VR, second[LUT_DESCRIPTOR].VR) == ("SS", "US")


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        pytest.param(0x60023000, "OW", id="overlay data of a repeating group"),
        pytest.param(0x60FE0010, "US", id="overlay rows of the last group"),
        pytest.param(0x00291000 - 0xFF0, "LO", id="private creator"),
        pytest.param(0x00291001, "UN", id="private"),
        pytest.param(0x00080F0F, "UN", id="unknown"),
        pytest.param(0x00020F0F + 0x20000, "UN", id="unknown of a media directory"),
    ],
)
def test_vrs_of_repeating_private_and_unknown_attributes(tag: int, vr: str) -> None:
    assert explicit_from((tag, bytes(8)))[tag] == vr


def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    """PS3.5 6.2.2, Note 4."""
    text = b"1.5\\" * 20000
    data = IMPLICIT_LITTLE.element(0x30060050, "DS", text)
    explicit = reencoded(data, IMPLICIT, EXPLICIT)
    assert explicit == EXPLICIT_LITTLE.element(0x30060050, "UN", text)
    assert reencoded(explicit, EXPLICIT, IMPLICIT) == data
    numbers = bytes(range(256)) * 256
    big = reencoded(IMPLICIT_LITTLE.element(0x00189810 + 1, "US", numbers), IMPLICIT, BIG)
    assert big[-len(numbers) :] == numbers, "UN is little endian whatever is around it (PS3.5 6.2.2)"


def test_odd_values_are_padded_by_their_vr() -> None:
    odd = {0x00080018: ("UI", b"1.2"), 0x00100010: ("PN", b"Doe"), 0x00291010: ("UN", b"abc"), PIXELS: ("OB", b"xyz")}
    data = b"".join(EXPLICIT_LITTLE.element(tag, vr, value, pad=False) for tag, (vr, value) in odd.items())
    expected = b"".join(EXPLICIT_LITTLE.element(tag, vr, value) for tag, (vr, value) in odd.items())
    assert reencoded(data, EXPLICIT, EXPLICIT) == expected
    long = EXPLICIT_LITTLE.element(PIXELS, "OB", b"x" * 70001, pad=False)
    assert reencoded(long, EXPLICIT, EXPLICIT) == EXPLICIT_LITTLE.element(PIXELS, "OB", b"x" * 70001)


# --- The byte order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vr", "width"), [("OB", 1), ("OW", 2), ("OL", 4), ("OF", 4), ("OD", 8), ("OV", 8), ("UN", 1), ("UT", 1)]
)
@pytest.mark.parametrize("length", [16, 100_000, 262_144 + 8])
def test_words_are_turned_round_by_their_width(vr: str, width: int, length: int) -> None:
    value = random.Random(width).randbytes(length)
    words = b"".join(value[at : at + width][::-1] for at in range(0, length, width))
    little = EXPLICIT_LITTLE.element(0x7FE10010, vr, value)
    big = EXPLICIT_BIG.element(0x7FE10010, vr, words)
    chance = random.Random(length)
    assert reencoded(little, EXPLICIT, BIG, sizes=iter(lambda: chance.randrange(1, 9999), 0)) == big
    assert reencoded(big, BIG, EXPLICIT, sizes=iter(lambda: chance.randrange(1, 9999), 0)) == little


def test_pixel_data_called_bytes_become_words_where_samples_are() -> None:
    """PS3.5 A.2: Pixel Data is OW where more than 8 bits are allocated; as OB it was little endian in either order."""
    for source in (EXPLICIT, BIG):
        made = ENCODINGS[source]
        data = made.element(0x00280100, "US", made.us(16)) + made.element(PIXELS, "OB", b"\1\2\3\4")
        target = BIG if source == EXPLICIT else EXPLICIT
        other = ENCODINGS[target]
        words = b"\2\1\4\3" if target == BIG else b"\1\2\3\4"
        expected = other.element(0x00280100, "US", other.us(16)) + other.element(PIXELS, "OW", words)
        assert reencoded(data, source, target) == expected


def test_words_that_are_cut_in_two_are_refused() -> None:
    for vr, value in (("US", b"\1\2\3"), ("OW", bytes(70001)), ("FD", bytes(12)), ("OL", bytes(6))):
        with pytest.raises(MalformedDataSet, match="whole words"):
            reencoded(EXPLICIT_LITTLE.element(0x00720F00, vr, value, pad=False), EXPLICIT, BIG)


def test_a_vr_nobody_knows_is_copied_but_not_turned_round() -> None:
    data = EXPLICIT_LITTLE.element(0x00080016, "UI", "1.2") + struct.pack("<HH2sHI", 0x9, 0x1001, b"ZZ", 0, 4) + b"abcd"
    assert reencoded(data, EXPLICIT, EXPLICIT) == data
    with pytest.raises(MalformedDataSet, match="byte order"):
        reencoded(data, EXPLICIT, BIG)


# --- Sequences of UN -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [IMPLICIT_LITTLE, EXPLICIT_LITTLE], ids=["as the rule is", "as it happens"])
@pytest.mark.parametrize("source", [EXPLICIT, BIG])
@pytest.mark.parametrize("target", [EXPLICIT, IMPLICIT, BIG])
def test_un_of_undefined_length_is_a_sequence_in_implicit_vr(inside: Encoding, source: str, target: str) -> None:
    """PS3.5 6.2.2."""
    item = inside.element(0x00280010, "US", inside.us(512))
    body = IMPLICIT_LITTLE.sequence(0x00091001, item)[8:]
    data = ENCODINGS[source].element(0x00091001, "UN", body, length=0xFFFFFFFF)
    made = ENCODINGS[target]
    assert reencoded(data, source, target) == made.sequence(0x00091001, made.element(0x00280010, "US", made.us(512)))


def test_un_of_defined_length_keeps_its_bytes() -> None:
    for source in (EXPLICIT, BIG):
        data = ENCODINGS[source].element(0x00091001, "UN", b"\1\2\3\4")
        for target in (EXPLICIT, BIG, IMPLICIT):
            assert reencoded(data, source, target) == ENCODINGS[target].element(0x00091001, "UN", b"\1\2\3\4")


def test_what_only_the_dictionary_calls_a_sequence_becomes_un() -> None:
    data = IMPLICIT_LITTLE.element(0x00081115, "SQ", b"no items")
    assert reencoded(data, IMPLICIT, EXPLICIT) == EXPLICIT_LITTLE.element(0x00081115, "UN", b"no items")
    with pytest.raises(MalformedDataSet, match="does not begin with an item"):
        reencoded(EXPLICIT_LITTLE.element(0x00081115, "SQ", b"no items"), EXPLICIT, IMPLICIT)


# --- What senders get wrong ------------------------------------------------------------------------------------------

FIRST: Tree = [(0x00080016, "UI", "1.2.3"), (0x00280010, "US", (512,)), (0x00081115, "SQ", [[(0x00080018, "UI", "1")]])]


@pytest.mark.parametrize("declared", sorted(ENCODINGS))
@pytest.mark.parametrize("real", sorted(ENCODINGS))
@pytest.mark.parametrize("target", sorted(ENCODINGS))
def test_the_bytes_are_believed_and_not_what_is_said_of_them(declared: str, real: str, target: str) -> None:
    data = built(FIRST, ENCODINGS[real], undefined=True)
    assert reencoded(data, declared, target) == built(FIRST, ENCODINGS[target], undefined=True)
    assert reencoded(built(FIRST, EXPLICIT_LITTLE, undefined=True), DEFLATED, target) == reencoded(data, real, target)


def test_group_lengths_and_foreign_groups_are_left_out() -> None:
    little = EXPLICIT_LITTLE
    meta = little.element(0x00020000, "UL", little.ul(26)) + little.element(0x00020010, "UI", EXPLICIT)
    command = IMPLICIT_LITTLE.element(0x00020010, "UI", "1.2")
    wanted = little.element(0x00080016, "UI", "1.2.3")
    lengths = little.element(0x00080000, "UL", little.ul(10)) + little.element(0x00080001, "UL", little.ul(99))
    again = little.element(0x00090000, "UL", little.ul(4)) + little.element(0x00020003, "UI", "1.2")
    for head in (b"", meta, command):
        for target in (EXPLICIT, IMPLICIT, BIG):
            got = reencoded(head + lengths + wanted + again, EXPLICIT, target)
            assert got == ENCODINGS[target].element(0x00080016, "UI", "1.2.3")


@pytest.mark.parametrize("encoding", [EXPLICIT_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE])
def test_missing_and_stray_delimiters(encoding: Encoding) -> None:
    syntax = next(uid for uid, made in ENCODINGS.items() if made is encoding)
    target = IMPLICIT if encoding.explicit else EXPLICIT
    element, after = encoding.element(0x00080018, "UI", "1.2"), encoding.element(0x00280010, "US", encoding.us(5))
    begin, end = encoding.mark(ITEM, 0xFFFFFFFF), encoding.mark(ITEM_END)
    head = encoding.element(0x00081115, "SQ", b"", length=0xFFFFFFFF)
    last = encoding.mark(SEQUENCE_END)
    expected = reencoded(head + begin + element + end + begin + element + end + last + after, syntax, target)
    for body in (
        begin + element + begin + element + end + last,  # the first item does not end
        begin + element + end + begin + element + last,  # nor the last
        begin + element + end + end + begin + element + end + last,  # or ends twice
        begin + element + end + begin + element + end,  # the sequence does not end
        begin + element + end + begin + element + end + last + last,  # or ends twice
        encoding.mark(ITEM, len(element)) + element + end + begin + element + end + last,
    ):
        assert reencoded(head + body + after, syntax, target) == expected
    without = reencoded(head + begin + element + end + last, syntax, target)
    assert reencoded(head + begin + element, syntax, target) == without, "nor does anything before the data set does"


@pytest.mark.parametrize("padding", [2, 7, 8, 9, 5000])
def test_zeros_at_the_end_are_padding(padding: int) -> None:
    for syntax, encoding in ENCODINGS.items():
        data = built(FIRST, encoding, undefined=True)
        assert reencoded(data + bytes(padding), syntax, EXPLICIT) == reencoded(data, syntax, EXPLICIT)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(EXPLICIT_LITTLE.element(0x00204000, "LT", "short", length=60000), "ends", id="beyond the end"),
        pytest.param(built(FIRST, EXPLICIT_LITTLE, undefined=False)[:-3], "ends", id="cut in a sequence"),
        pytest.param(EXPLICIT_LITTLE.mark(ITEM, 8) + bytes(8), "outside of a sequence", id="item outside"),
        pytest.param(
            EXPLICIT_LITTLE.element(0x0040A730, "SQ", EXPLICIT_LITTLE.mark(ITEM, 9999) + bytes(8)),
            "longer than the sequence",
            id="item longer than its sequence",
        ),
        pytest.param(
            EXPLICIT_LITTLE.sequence(
                0x0040A730, EXPLICIT_LITTLE.element(0x00080018, "UI", "1.2", length=99), undefined=False
            ),
            "longer than the item",
            id="value longer than its item",
        ),
        pytest.param(
            EXPLICIT_LITTLE.element(
                0x0040A730, "SQ", EXPLICIT_LITTLE.mark(ITEM) + built(FIRST[1:2], EXPLICIT_LITTLE, undefined=False)
            ),
            "not in an item",
            id="something between items",
        ),
        pytest.param(
            EXPLICIT_LITTLE.element(0x00100010, "PN", b"Doe^", length=0xFFFF)[:8] + b"Doe^", "ends", id="short length"
        ),
        pytest.param(
            IMPLICIT_LITTLE.element(0x00100010, "PN", b"Doe^Jane", length=0xFFFFFFFF), "no length", id="no length"
        ),
        pytest.param(bytes(40) + b"x", "no element", id="after zeros"),
        pytest.param(EXPLICIT_LITTLE.encapsulated(b"frame"), "encapsulated", id="compressed"),
        pytest.param(
            EXPLICIT_LITTLE.sequence(0x00880200, EXPLICIT_LITTLE.encapsulated(b"icon")), "encapsulated", id="icon"
        ),
    ],
)
def test_what_cannot_be_understood_is_refused(data: bytes, reason: str) -> None:
    for target in (IMPLICIT, BIG):
        with pytest.raises(MalformedDataSet, match=reason):
            reencoded(EXPLICIT_LITTLE.element(0x00080016, "UI", "1.2") + data, EXPLICIT, target)


def test_encapsulated_data_stay_as_they_are_in_encapsulated_syntaxes() -> None:
    data = built(FIRST, EXPLICIT_LITTLE, undefined=False) + EXPLICIT_LITTLE.encapsulated(b"frame1", bytes(70000))
    assert reencoded(data, JPEG_BASELINE, JPEG_BASELINE) == data
    assert reencoded(data[:-8], JPEG_BASELINE, JPEG_BASELINE) == data, "its end was forgotten"


def test_sequences_nested_too_deep_are_refused() -> None:
    data = b"".join(
        EXPLICIT_LITTLE.element(0x0040A730, "SQ", b"", length=0xFFFFFFFF) + EXPLICIT_LITTLE.mark(ITEM, 0xFFFFFFFF)
        for _ in range(1000)
    )
    with pytest.raises(MalformedDataSet, match="too deep"):
        reencoded(data, EXPLICIT, IMPLICIT)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(NATIVE), st.sampled_from(NATIVE))
def test_whatever_the_bytes_are_it_ends(data: bytes, source: str, target: str) -> None:
    """What is not refused is a data set afterwards: it comes out of itself."""
    try:
        got = reencoded(data, source, target)
    except MalformedDataSet:
        return
    assert len(got) <= 8 * len(data) + 16
    if target in (EXPLICIT, BIG):
        assert reencoded(got, target, target) == got


@settings(max_examples=100, deadline=None)
@given(TREES, st.sampled_from(sorted(ENCODINGS)), st.data())
def test_a_damaged_data_set_is_refused_or_a_data_set(tree: Tree, source: str, data: st.DataObject) -> None:
    whole = bytearray(built([*FIRST[:1], *tree], ENCODINGS[source], undefined=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    try:
        got = reencoded(bytes(whole), source, EXPLICIT)
    except MalformedDataSet:
        return
    assert reencoded(got, EXPLICIT, EXPLICIT) == got


# --- Memory ----------------------------------------------------------------------------------------------------------


def _peak_of(reencoder: Reencoder, pieces: Iterator[bytes]) -> tuple[int, int]:
    """The bytes that came out, and the most memory that was taken for that."""
    tracemalloc.start()
    try:
        size = sum(len(piece) for given in pieces for piece in reencoder.feed(given))
        size += sum(len(piece) for piece in reencoder.finish())
        return size, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("source", "target"), [(IMPLICIT, EXPLICIT), (EXPLICIT, BIG), (BIG, IMPLICIT)])
def test_a_gigabyte_takes_no_memory(source: str, target: str) -> None:
    length, piece = 1 << 30, bytes(1 << 18)
    head = ENCODINGS[source].element(PIXELS, "OW", b"", length=length)

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(length // len(piece)):
            yield piece

    size, peak = _peak_of(Reencoder(transfer_syntax(source), transfer_syntax(target)), pieces())
    assert size == length + (12 if target != IMPLICIT else 8)
    assert peak < 8 << 20


def test_what_inflates_to_much_takes_no_memory() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 1 << 27
    data = packer.compress(EXPLICIT_LITTLE.element(PIXELS, "OW", b"", length=length))
    data += b"".join(packer.compress(bytes(1 << 20)) for _ in range(length >> 20)) + packer.flush()
    size, peak = _peak_of(Reencoder(transfer_syntax(DEFLATED), transfer_syntax(EXPLICIT)), iter([data]))
    assert size == length + 12
    assert peak < 32 << 20


def test_many_items_take_no_memory() -> None:
    little = IMPLICIT_LITTLE
    item = little.mark(ITEM, 20) + little.element(0x00081155, "UI", "1.2.3.4.5.66")

    def pieces() -> Iterator[bytes]:
        yield little.element(0x00081115, "SQ", b"", length=0xFFFFFFFF)
        for _ in range(20):
            yield item * 1000
        yield little.mark(SEQUENCE_END)

    size, peak = _peak_of(Reencoder(transfer_syntax(IMPLICIT), transfer_syntax(EXPLICIT)), pieces())
    assert size == 12 + 20_000 * (8 + 20 + 8) + 8
    assert peak < 4 << 20
