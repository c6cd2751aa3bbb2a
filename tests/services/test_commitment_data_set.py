"""Requests and results of storage commitment as data sets: PS3.4 J.3.2, J.3.3. STANDARD SC-03."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.encode import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, UNDEFINED, Encoding, deflate
from pacslite.archive.commitment import Reference
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.elements import Elements
from pacslite.dicom.transfer_syntax import TransferSyntax, transfer_syntax
from pacslite.errors import (
    BadDataSetError,
    InvalidArgumentValue,
    MissingAttribute,
    PacsliteError,
    ResourceLimitation,
)
from pacslite.services.commitment_data_set import (
    CommitmentRequest,
    CommitmentResult,
    read_request,
    read_request_in_slices,
    read_result,
    read_result_in_slices,
    write_request,
    write_request_in_slices,
    write_result,
    write_result_in_slices,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
CLASS, INSTANCE, REASON = 0x00081150, 0x00081155, 0x00081197
TRANSACTION, FAILED, REFERENCED = 0x00081195, 0x00081198, 0x00081199

EXPLICIT = transfer_syntax("1.2.840.10008.1.2.1")
IMPLICIT = transfer_syntax("1.2.840.10008.1.2")
BIG = transfer_syntax("1.2.840.10008.1.2.2")
DEFLATED = transfer_syntax("1.2.840.10008.1.2.1.99")
SYNTAXES = (EXPLICIT, IMPLICIT, BIG, DEFLATED)
ENCODINGS = {EXPLICIT: EXPLICIT_LITTLE, IMPLICIT: IMPLICIT_LITTLE, BIG: EXPLICIT_BIG}

uids = st.lists(st.integers(0, 10**8), min_size=1, max_size=6).map(lambda parts: ".".join(map(str, parts)))
references = st.builds(Reference, uids, uids)
syntaxes = st.sampled_from(SYNTAXES)


def item(
    encoding: Encoding, sop_class: str | bytes = CT, sop_instance: str | bytes = "1.2.3", more: bytes = b""
) -> bytes:
    return encoding.element(CLASS, "UI", sop_class) + encoding.element(INSTANCE, "UI", sop_instance) + more


def a_request(encoding: Encoding, *items: bytes, undefined: bool = False, transaction: str = "1.9") -> bytes:
    return encoding.element(TRANSACTION, "UI", transaction) + encoding.sequence(REFERENCED, *items, undefined=undefined)


# --- What is written is read -----------------------------------------------------------------------------------------


@given(syntaxes, uids, st.lists(references, min_size=1, max_size=5))
def test_a_request_is_read_as_it_was_written(
    syntax: TransferSyntax, transaction: str, asked: Sequence[Reference]
) -> None:
    request = CommitmentRequest(transaction, asked)
    data = write_request(request, syntax)
    assert len(data) % 2 == 0
    assert read_request(data, syntax) == request


@given(
    syntaxes,
    uids,
    st.lists(references, max_size=4),
    st.lists(st.tuples(references, st.integers(1, 0xFFFF)), max_size=4),
    st.sampled_from(["", "PACS", "PACSLITE1"]),
)
def test_a_result_is_read_as_it_was_written(
    syntax: TransferSyntax,
    transaction: str,
    committed: Sequence[Reference],
    failed: Sequence[tuple[Reference, int]],
    retrieve_ae: str,
) -> None:
    """SC-03: both sequences, each item with its reason, in order and as often as it was given."""
    result = CommitmentResult(transaction, committed, failed)
    assert read_result(write_result(result, syntax, retrieve_ae=retrieve_ae), syntax) == result


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_result_is_what_the_standard_wants(syntax: TransferSyntax) -> None:
    """PS3.4 Table J.3-2, read by the general decoder: nothing empty, sequences only where they have items."""
    one, other = Reference(CT, "1.2.3"), Reference(CT, "1.2.4")
    data = write_result(CommitmentResult("1.9", [one], [(other, 0x0112)]), syntax, retrieve_ae="PACS")
    elements = decode_data_set(data, syntax).elements
    assert {tag: elements[tag].value for tag in (0x00080054, TRANSACTION)} == {0x00080054: "PACS", TRANSACTION: "1.9"}
    assert _items(elements, REFERENCED) == [(CT, "1.2.3", None)]
    assert _items(elements, FAILED) == [(CT, "1.2.4", 0x0112)]
    only_good = decode_data_set(
        write_result(CommitmentResult("1.9", [one], []), syntax, retrieve_ae=""), syntax
    ).elements
    assert set(only_good) == {TRANSACTION, REFERENCED}


def _items(elements: Elements, tag: int) -> list[tuple[object, object, object]]:
    found = []
    value = elements[tag].value
    assert isinstance(value, tuple)
    for one in value:
        assert isinstance(one, dict)
        reason = one[REASON].value if REASON in one else None
        found.append((one[CLASS].value, one[INSTANCE].value, reason[0] if isinstance(reason, tuple) else None))
    return found


def test_slices_make_no_difference() -> None:
    asked = [Reference(CT, f"1.2.{number}") for number in range(2500)]
    request = CommitmentRequest("1.9", asked)
    result = CommitmentResult("1.9", asked[:1200], [(one, 0x0110) for one in asked[1200:]])

    async def run() -> None:
        for syntax in SYNTAXES:
            data = write_request(request, syntax)
            assert await write_request_in_slices(request, syntax) == data
            assert await read_request_in_slices(data, syntax) == request
            data = write_result(result, syntax, retrieve_ae="PACS")
            assert await write_result_in_slices(result, syntax, retrieve_ae="PACS") == data
            assert await read_result_in_slices(data, syntax) == result

    asyncio.run(run())


# --- What senders do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", ENCODINGS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("undefined", [False, True])
def test_lengths_may_be_defined_or_not(syntax: TransferSyntax, undefined: bool) -> None:
    encoding = ENCODINGS[syntax]
    items = [item(encoding, sop_instance=f"1.2.{number}") for number in range(3)]
    data = a_request(encoding, *items, undefined=undefined)
    assert [one.sop_instance_uid for one in read_request(data, syntax).references] == ["1.2.0", "1.2.1", "1.2.2"]


def test_elements_that_do_not_matter_are_passed_over() -> None:
    """Storage Media File-Set ID, Referenced Performed Procedure Step Sequence, private ones, wherever they are."""
    e = EXPLICIT_LITTLE
    private = e.element(0x00091010, "UN", b"\1\2\3\4")
    nested = e.sequence(0x00081111, item(e, sop_instance="9.9.9"))
    inner = e.sequence(REFERENCED, item(e, sop_instance="8.8"), undefined=False)
    data = (
        e.element(0x00080000, "UL", e.ul(100))
        + e.sequence(0x00081111, item(e, sop_instance="9.9.8"), undefined=False)
        + e.element(TRANSACTION, "UI", "1.9")
        + e.sequence(
            REFERENCED, item(e, sop_instance="1.1", more=private + nested), item(e, sop_instance="1.2", more=inner)
        )
        + e.element(0x00880130, "SH", "DISC")
    )
    assert read_request(data, EXPLICIT).references == [Reference(CT, "1.1"), Reference(CT, "1.2")]


def test_duplicates_and_order_are_kept() -> None:
    """SC-03."""
    e = EXPLICIT_LITTLE
    asked = ["1.3", "1.2", "1.3", "1.3"]
    data = a_request(e, *[item(e, sop_instance=uid) for uid in asked])
    assert [one.sop_instance_uid for one in read_request(data, EXPLICIT).references] == asked


def test_an_item_that_lacks_something_is_an_item() -> None:
    e = EXPLICIT_LITTLE
    data = a_request(
        e, b"", e.element(CLASS, "UI", CT), e.element(INSTANCE, "UI", "1.2"), e.element(INSTANCE, "UI", "")
    )
    assert read_request(data, EXPLICIT).references == [
        Reference("", ""),
        Reference(CT, ""),
        Reference("", "1.2"),
        Reference("", ""),
    ]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"1.2.3\0\0\0", "1.2.3"),
        (b" 1.2.3  ", "1.2.3"),
        (b"1.02.3", "1.02.3"),
        (b"1.2.3\0junk", "1.2.3?junk"),
        (b"1.2\\3.4", "1.2?3.4"),
        (b"1.2 3", "1.2?3"),
        (b"1.2\n1.3", "1.2?1.3"),
        ("1.2.é".encode(), "1.2.??"),
        (b"abc", "abc"),
        (b"1" * 64, "1" * 64),
        (b"1" * 65, "1" * 63 + "?"),
    ],
)
@pytest.mark.parametrize("usual", [True, False])
def test_a_uid_is_cleaned_or_can_be_none(raw: bytes, text: str, usual: bool) -> None:
    """What is no UID must not be found in the archive as another one, and must fit into a line and into an answer."""
    e = EXPLICIT_LITTLE
    more = b"" if usual else e.element(0x00091010, "UN", b"\1\2")
    (found,) = read_request(a_request(e, item(e, sop_instance=raw, more=more)), EXPLICIT).references
    assert found.sop_instance_uid == text
    answer = write_result(CommitmentResult("1.9", [], [(found, 0x0112)]), EXPLICIT, retrieve_ae="")
    assert read_result(answer, EXPLICIT).failed == [(found, 0x0112)]


@pytest.mark.parametrize("more", [b"", EXPLICIT_LITTLE.element(0x00091010, "UN", b"\1\2")])
def test_thousands_of_figures_are_no_uid(more: bytes) -> None:
    e = EXPLICIT_LITTLE
    (found,) = read_request(a_request(e, item(e, sop_instance=b"1" * 5000, more=more)), EXPLICIT).references
    assert len(found.sop_instance_uid) <= 64
    assert found.sop_instance_uid.endswith("?")


def test_values_of_odd_length_are_read() -> None:
    e = EXPLICIT_LITTLE
    odd = e.element(CLASS, "UI", "1.2.3", pad=False) + e.element(INSTANCE, "UI", "1.2.345", pad=False)
    assert read_request(a_request(e, odd), EXPLICIT).references == [Reference("1.2.3", "1.2.345")]


def test_the_encoding_is_looked_at_not_believed() -> None:
    for declared, encoding in itertools.product(SYNTAXES[:3], ENCODINGS.values()):
        data = a_request(encoding, item(encoding))
        assert read_request(data, declared).references == [Reference(CT, "1.2.3")], (declared.name, encoding)


def test_a_reason_that_is_missing_is_a_processing_failure() -> None:
    e = EXPLICIT_LITTLE
    reason = e.element(REASON, "US", e.us(0x0119))
    data = e.element(TRANSACTION, "UI", "1.9") + e.sequence(FAILED, item(e), item(e, more=reason), undefined=False)
    assert [reason for _, reason in read_result(data, EXPLICIT).failed] == [0x0110, 0x0119]


# --- What cannot be answered -----------------------------------------------------------------------------------------


def test_a_request_needs_a_transaction_and_references() -> None:
    e = EXPLICIT_LITTLE
    references = e.sequence(REFERENCED, item(e))
    with pytest.raises(MissingAttribute, match="Transaction") as missing:
        read_request(references, EXPLICIT)
    assert missing.value.offending == (TRANSACTION,)
    with pytest.raises(MissingAttribute, match="Transaction"):
        read_request(e.element(TRANSACTION, "UI", "") + references, EXPLICIT)
    with pytest.raises(InvalidArgumentValue, match="Transaction"):
        read_request(e.element(TRANSACTION, "UI", "1.2\\3.4") + references, EXPLICIT)
    with pytest.raises(MissingAttribute, match="Referenced SOP Sequence"):
        read_request(e.element(TRANSACTION, "UI", "1.9"), EXPLICIT)
    for undefined in (False, True):
        with pytest.raises(InvalidArgumentValue, match="Referenced SOP Sequence"):
            read_request(a_request(e, undefined=undefined), EXPLICIT)
    with pytest.raises(MissingAttribute):
        read_request(b"", EXPLICIT)


@pytest.mark.parametrize("more", [b"", EXPLICIT_LITTLE.element(0x00091010, "UN", b"\1\2")])
def test_a_request_has_limits(more: bytes) -> None:
    e = EXPLICIT_LITTLE
    items = [item(e, more=more)] * 2001
    data = a_request(e, *items)
    assert len(read_request(data, EXPLICIT, most=2001, max_bytes=len(data)).references) == 2001
    with pytest.raises(ResourceLimitation, match="2000 instances"):
        read_request(data, EXPLICIT, most=2000)
    with pytest.raises(ResourceLimitation, match="bytes"):
        read_request(data, EXPLICIT, max_bytes=len(data) - 1)


def test_a_result_has_limits() -> None:
    e = EXPLICIT_LITTLE
    data = e.element(TRANSACTION, "UI", "1.9") + e.sequence(FAILED, *[b""] * 11)
    assert len(read_result(data, EXPLICIT, most=11).failed) == 11
    with pytest.raises(ResourceLimitation, match="10 instances"):
        read_result(data, EXPLICIT, most=10)


def test_what_is_deflated_cannot_grow_without_limit() -> None:
    bomb = deflate(a_request(EXPLICIT_LITTLE, *[item(EXPLICIT_LITTLE)] * 20_000))
    assert len(bomb) < 20_000
    with pytest.raises(ResourceLimitation, match="bytes"):
        read_request(bomb, DEFLATED, max_bytes=100_000)
    with pytest.raises(BadDataSetError):
        read_request(bomb[: len(bomb) // 2], DEFLATED)


@given(syntaxes, st.booleans(), st.data())
def test_half_a_request_is_none(syntax: TransferSyntax, undefined: bool, data: st.DataObject) -> None:
    encoding = ENCODINGS.get(syntax, EXPLICIT_LITTLE)
    whole = a_request(
        encoding, *[item(encoding, sop_instance=f"1.2.{number}") for number in range(3)], undefined=undefined
    )
    cut = data.draw(st.integers(0, len(whole) - 1))
    part = deflate(whole[:cut]) if syntax.deflated else whole[:cut]
    with pytest.raises((BadDataSetError, MissingAttribute)):
        read_request(part, syntax)


@given(st.binary(max_size=200), syntaxes)
def test_whatever_comes_is_read_or_refused(data: bytes, syntax: TransferSyntax) -> None:
    _read_or_refused(data, syntax)


@given(st.data(), st.sampled_from(list(ENCODINGS)), st.booleans())
def test_whatever_is_damaged_is_read_or_refused(data: st.DataObject, syntax: TransferSyntax, undefined: bool) -> None:
    encoding = ENCODINGS[syntax]
    damaged = bytearray(a_request(encoding, item(encoding), item(encoding), undefined=undefined))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    _read_or_refused(bytes(damaged), syntax)


def _read_or_refused(data: bytes, syntax: TransferSyntax) -> None:
    try:
        for one in read_request(data, syntax, max_bytes=1 << 20).references:
            assert all(len(uid) <= 64 and uid.isascii() and " " not in uid for uid in one)
    except PacsliteError:
        pass


# --- Two readers -----------------------------------------------------------------------------------------------------


@st.composite
def shapes(draw: st.DrawFn) -> tuple[TransferSyntax, bytes]:
    """Requests in the shapes that senders write, and in others."""
    syntax = draw(st.sampled_from(list(ENCODINGS)))
    e = ENCODINGS[syntax]
    extra = [
        b"",
        e.element(0x00091010, "UN", b"\1\2\3\4"),
        e.sequence(0x00081111, item(e, sop_instance="9.9"), undefined=draw(st.booleans())),
        e.element(REASON, "US", e.us(3)),
    ]
    pad = st.sampled_from(["", "\0", " ", "\0\0"])

    def one() -> bytes:
        parts = [
            e.element(CLASS, "UI", draw(uids) + draw(pad)) if draw(st.integers(0, 9)) else b"",
            e.element(INSTANCE, "UI", draw(uids) + draw(pad)) if draw(st.integers(0, 9)) else b"",
            draw(st.sampled_from(extra)) if not draw(st.integers(0, 3)) else b"",
        ]
        body = b"".join(parts)
        if draw(st.booleans()):
            return e.mark(0xFFFEE000, len(body)) + body
        return e.mark(0xFFFEE000, UNDEFINED) + body + e.mark(0xFFFEE00D)

    items = b"".join(one() for _ in range(draw(st.integers(1, 4))))
    if draw(st.booleans()):
        sequence = e.element(REFERENCED, "SQ", items, pad=False)
    else:
        sequence = e.element(REFERENCED, "SQ", items, length=UNDEFINED, pad=False) + e.mark(0xFFFEE0DD)
    return syntax, e.element(TRANSACTION, "UI", "1.9") + draw(st.sampled_from(extra)) + sequence


@given(shapes())
def test_it_reads_what_the_general_decoder_reads(shape: tuple[TransferSyntax, bytes]) -> None:
    syntax, data = shape
    value = decode_data_set(data, syntax).elements[REFERENCED].value
    assert isinstance(value, tuple)
    expected = []
    for one in value:
        assert isinstance(one, dict)
        found = [one[tag].value if tag in one else "" for tag in (CLASS, INSTANCE)]
        expected.append(tuple(found))
    assert read_request(data, syntax).references == expected


# --- A hundred thousand ----------------------------------------------------------------------------------------------


def test_a_huge_request_is_read_in_slices() -> None:
    """The event loop gets its turn all the time: turns are counted here, the figures are in the benchmarks."""
    data = write_request(CommitmentRequest("1.9", [Reference(CT, f"1.2.{i}") for i in range(20_000)]), EXPLICIT)
    assert asyncio.run(turns_while_reading(data, 20_000)) >= 20


@pytest.mark.parametrize("where", ["beside the sequence", "in an item"])
def test_what_is_full_of_other_things_is_read_in_slices(where: str) -> None:
    e = EXPLICIT_LITTLE
    chaff = b"".join(e.element(0x0009_1000 + number, "UN", b"") for number in range(20_000))
    data = chaff + a_request(e, item(e)) if where == "beside the sequence" else a_request(e, item(e, more=chaff))
    assert asyncio.run(turns_while_reading(data, 1)) >= 7


async def turns_while_reading(data: bytes, instances: int) -> int:
    """How often others had their turn."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert len((await read_request_in_slices(data, EXPLICIT)).references) == instances
    counting.cancel()
    return turns
