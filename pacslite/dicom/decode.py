"""Small data sets from bytes (PS3.5 7): identifiers, answers, action information.

Theory of operation. First the structure is read, without meaning: heads, raw values, sequences and items, with a count
of what was read and of how deep it is. Only then are values made of the bytes: Specific Character Set must be known for
that, and nobody promises that it comes first. Every step moves on by at least eight bytes and every value is copied
once, so time and memory are bounded by the size of the data set, whatever it is.

Senders err, so the encoding is looked at, not believed, as :mod:`pacslite.dicom.header` does it. What cannot be read
without guessing where the next element begins is refused: half a request is another request.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from pacslite.dicom import tags
from pacslite.dicom.charset import decode_text
from pacslite.dicom.element import (
    DELIMITERS,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    encoding_for,
    encoding_of,
    has_known_vr,
    recognize,
    recognize_item,
    unusual_head,
)
from pacslite.dicom.elements import Element, Elements, Value
from pacslite.dicom.inflate import Inflater
from pacslite.dicom.tags import tag_text
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.dicom.vrs import (
    ALL_VRS,
    LEADING_SPACE_VRS,
    LONG_VRS,
    NUMBER_FORMATS,
    SINGLE_VALUED_VRS,
    TEXT_VRS,
    WORD_SIZES,
    swapped,
    vr_of,
)
from pacslite.errors import BadDataSetError

_FIRST_GROUP: Final = 0x0008  # elements of lower groups are no part of a data set (QF-22)
_STRIPPED_VRS: Final = TEXT_VRS - LEADING_SPACE_VRS
_MAX_CHARACTER_SETS: Final = 16
_HEAD: Final = 8
_VRS: Final = {
    big_endian: {int.from_bytes(vr.encode("ascii"), "big" if big_endian else "little"): vr for vr in ALL_VRS}
    for big_endian in (False, True)
}
_TOO_MANY: Final = "is one element too many"
_PLAIN_VRS: Final = ALL_VRS - {"SQ", "UN"}
_SHORT_PLAIN_VRS: Final = {
    big_endian: {code: vr for code, vr in vrs.items() if vr in _PLAIN_VRS - LONG_VRS}
    for big_endian, vrs in _VRS.items()
}
_WITHOUT_VALUE: Final = {vr: Element(vr, "") for vr in TEXT_VRS}

_Raw: TypeAlias = "tuple[int, str, bool, bytes | list[list[_Raw]]]"  # tag, VR, big endian, the Value Field or the items


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A data set, Specific Character Set (0008,0005) among its elements; ``character_sets`` are the values of that."""

    elements: Elements
    character_sets: tuple[str, ...]


def decode_data_set(
    data: bytes,
    syntax: TransferSyntax,
    *,
    max_elements: int = 10_000,
    max_depth: int = 16,
    max_inflated_bytes: int = 1 << 20,
) -> Decoded:
    """The elements of a data set, without group lengths and padding. Items count as elements.

    Raises :class:`BadDataSetError` for what is damaged, or crosses a limit.
    """
    if syntax.deflated:
        data = _inflated(data, max_inflated_bytes)
    reader = _StructureReader(data, max_elements, max_depth)
    raw = reader.data_set(encoding_of(syntax))
    character_sets = _character_sets(raw, ())
    return Decoded(elements=_decoded(raw, character_sets), character_sets=character_sets)


def _inflated(data: bytes, limit: int) -> bytes:
    inflater = Inflater(limit)
    output = b"".join([*inflater.feed(data), *inflater.finish()])
    if inflater.problem:
        raise BadDataSetError(inflater.problem, offset=len(output))
    return output


class _StructureReader:
    def __init__(self, data: bytes, max_elements: int, max_depth: int) -> None:
        self._data = data
        self._left = max_elements
        self._max_depth = max_depth

    def data_set(self, declared: Encoding) -> list[_Raw]:
        """The whole; File Meta elements in front, which do not belong there, may be in another encoding."""
        data, position, encoding = self._data, 0, declared
        while len(head := data[position : position + _HEAD]) == _HEAD and head[:2] in (b"\x02\0", b"\0\x02"):
            encoding = encoding_for(explicit=has_known_vr(head), big_endian=head[:1] == b"\0")
            tag, _, length, value = self._head(position, len(data), encoding)
            position = self._end_of(tag, position, value, length, len(data))
            self._count(tag, position)
        encoding = recognize(data[position : position + _HEAD], declared)
        return self._elements(position, len(data), encoding, 0)[0]

    def _elements(
        self, position: int, end: int, encoding: Encoding, depth: int, *, in_open_item: bool = False
    ) -> tuple[list[_Raw], int]:
        """Up to ``end``, or up to the end of the item; and the position behind it."""
        elements: list[_Raw] = []
        data, big_endian, explicit = self._data, encoding.big_endian, encoding.explicit
        unpack, vrs = encoding.unpack, _SHORT_PLAIN_VRS[big_endian]
        while position < end:
            start = position
            if end - start < _HEAD:
                if any(data[start:end]):
                    raise BadDataSetError(f"the data set ends inside an element, at offset {start}", offset=start)
                position = end  # zeros are padding
                break
            if explicit and (head := unpack(data, start))[1] in vrs:  # the hot path
                native, code, length = head
                tag = native if big_endian else native >> 16 | (native & 0xFFFF) << 16
                vr, position = vrs[code], start + _HEAD
            elif not explicit:
                native, length = unpack(data, start)
                tag = native if big_endian else native >> 16 | (native & 0xFFFF) << 16
                vr, position = vr_of(tag), start + _HEAD
            else:
                tag, vr, length, position = self._head(start, end, encoding)
            self._left -= 1
            if self._left < 0:
                raise self._bad(tag, start, _TOO_MANY)
            if vr in _PLAIN_VRS and length <= end - position:
                if tag & 0xFFFF and tag >> 16 >= _FIRST_GROUP:
                    elements.append((tag, vr, big_endian, data[position : position + length]))
                position += length
                continue
            if tag == ITEM_END and in_open_item:
                return elements, position
            element, position = self._special(tag, vr, length, start, position, end, encoding, depth)
            if tag & 0xFFFF and tag >> 16 >= _FIRST_GROUP:
                elements.append(element)
        if in_open_item:
            raise BadDataSetError(f"the data set ends inside an item, at offset {position}", offset=position)
        return elements, position

    def _special(
        self, tag: int, vr: str, length: int, start: int, value: int, end: int, encoding: Encoding, depth: int
    ) -> tuple[_Raw, int]:
        """A sequence, or an element whose VR its sender did not know; and the position behind it."""
        is_open = length == UNDEFINED_LENGTH
        if tag in DELIMITERS or (is_open and vr not in ("SQ", "UN")):
            raise self._bad(tag, start, "has no business here")
        stop = end if is_open else self._end_of(tag, start, value, length, end)
        known = vr_of(tag) if vr == "UN" else vr
        if known == "SQ" or is_open:
            # Under UN it is written in implicit VR little endian, and so is any other value (PS3.5 6.2.2).
            inner = IMPLICIT_LITTLE if vr == "UN" else encoding
            items, position = self._items(tag, value, stop, inner, depth, is_open=is_open)
            return (tag, "SQ", encoding.big_endian, items), position
        return (tag, known, encoding.big_endian and vr != "UN", self._data[value:stop]), stop

    def _items(
        self, tag: int, position: int, end: int, encoding: Encoding, depth: int, *, is_open: bool = False
    ) -> tuple[list[list[_Raw]], int]:
        if depth >= self._max_depth:
            raise self._bad(tag, position, "is nested too deep")
        items: list[list[_Raw]] = []
        while position < end:
            start = position
            if end - start < _HEAD:
                raise self._bad(tag, start, "ends inside an item's head")
            (native,) = encoding.unpack_length(self._data, start)
            (length,) = encoding.unpack_length(self._data, start + 4)
            position += _HEAD
            mark = encoding.native(native)
            self._count(tag, start)
            if mark == SEQUENCE_END:
                return items, position if is_open else end
            if mark != ITEM:
                raise self._bad(tag, start, "has something between its items")
            stop = end if length == UNDEFINED_LENGTH else self._end_of(tag, start, position, length, end)
            inner = encoding
            if stop - position >= _HEAD:
                inner = recognize_item(self._data[position : position + _HEAD], encoding)
            item, position = self._elements(position, stop, inner, depth + 1, in_open_item=length == UNDEFINED_LENGTH)
            items.append(item)
        if is_open:
            raise self._bad(tag, position, "has no end")
        return items, position

    def _head(self, position: int, end: int, encoding: Encoding) -> tuple[int, str, int, int]:
        """Tag, VR and length of the element that begins at ``position``, and where its value does."""
        data = self._data
        if not encoding.explicit:
            native, length = encoding.unpack(data, position)
            tag = encoding.native(native)
            return tag, "UN" if tag in DELIMITERS else vr_of(tag), length, position + _HEAD
        native, code, length = encoding.unpack(data, position)
        tag = encoding.native(native)
        if code in encoding.short:
            return tag, _VRS[encoding.big_endian][code], length, position + _HEAD
        if native in encoding.delimiters:
            return tag, "UN", encoding.unpack_length(data, position + 4)[0], position + _HEAD
        if code in encoding.long:
            if end - position < _HEAD + 4:
                raise self._bad(tag, position, "ends inside its head")
            length = encoding.unpack_length(data, position + _HEAD)[0]
            return tag, _VRS[encoding.big_endian][code], length, position + _HEAD + 4
        unusual = unusual_head(data[position : position + 16].ljust(16, b"\0"), 0, encoding)
        if unusual is None:
            raise self._bad(tag, position, "has no VR and no sensible length")
        return tag, "UN", unusual[1], position + unusual[0]

    def _end_of(self, tag: int, start: int, value: int, length: int, end: int) -> int:
        if length > end - value:
            raise self._bad(tag, start, "reaches beyond its end")
        return value + length

    def _count(self, tag: int, position: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._bad(tag, position, _TOO_MANY)

    def _bad(self, tag: int, offset: int, what: str) -> BadDataSetError:
        return BadDataSetError(f"{tag_text(tag)} at offset {offset} {what}", tag=tag, offset=offset)


def _character_sets(raw: list[_Raw], inherited: tuple[str, ...]) -> tuple[str, ...]:
    """The values of (0008,0005) among the elements; those of the enclosing data set where it is not there."""
    for tag, _, _, value in raw:
        if tag == tags.SPECIFIC_CHARACTER_SET and isinstance(value, bytes):
            terms = value[:1024].decode("latin-1").split("\\")[:_MAX_CHARACTER_SETS]
            stripped = tuple(term.strip(" \0") for term in terms)
            return stripped if any(stripped) else ()
    return inherited


def _decoded(raw: list[_Raw], character_sets: tuple[str, ...]) -> dict[int, Element]:
    elements = {}
    for tag, vr, big_endian, value in raw:
        if not value and vr in _WITHOUT_VALUE:
            elements[tag] = _WITHOUT_VALUE[vr]  # most of what a query asks for
        elif (
            vr in _STRIPPED_VRS
            and isinstance(value, bytes)
            and value.isascii()
            and not (b"\\" in value or b"\x1b" in value)
        ):
            elements[tag] = Element(vr, value.decode("ascii").strip(" \0"))  # as most are
        else:
            elements[tag] = Element(vr, _value(vr, value, character_sets, big_endian))
    return elements


def _value(vr: str, raw: bytes | list[list[_Raw]], character_sets: tuple[str, ...], big_endian: bool) -> Value:
    if isinstance(raw, list):
        return tuple(_decoded(item, _character_sets(item, character_sets)) for item in raw)
    if vr in TEXT_VRS:
        multi_valued = vr not in SINGLE_VALUED_VRS
        return _stripped(vr, decode_text(raw, character_sets, person_name=vr == "PN", multi_valued=multi_valued))
    if code := NUMBER_FORMATS.get(vr):
        return tuple(_numbers(code, raw, big_endian=big_endian))
    return swapped(raw, vr) if big_endian and vr in WORD_SIZES else raw


def _stripped(vr: str, text: str) -> str:
    """Without what pads each value: spaces, and NUL, which only UI is padded with and others are all the same."""
    if vr in LEADING_SPACE_VRS:
        return text.rstrip(" \0")
    if "\\" in text:
        return "\\".join([value.strip(" \0") for value in text.split("\\")])
    return text.strip(" \0")


def _numbers(code: str, raw: bytes, *, big_endian: bool) -> Iterator[int | float]:
    order, size = ">" if big_endian else "<", struct.calcsize(f"<{code}")
    whole = raw[: len(raw) - len(raw) % size]
    if code == "HH":
        return (group << 16 | element for group, element in struct.iter_unpack(f"{order}HH", whole))
    return (number for (number,) in struct.iter_unpack(order + code, whole))
