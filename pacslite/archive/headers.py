"""What the index does not keep of an instance, from the head of its stored file.

Theory of operation. The file is walked from element to element; heads are read, values stepped over. The elements that
are wanted, sequences whole, are copied one behind the other as they are, which makes a small data set in the same
encoding, and that is decoded as any other. Pixel data ends the walk, as does the last element that is wanted. A value
of more than :data:`MAX_VALUE_BYTES` is passed by, and so is a sequence; the number of heads and the bytes that a
deflated data set may become have their limits, so a file costs little whatever is in it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from pacslite.archive.query import Wanted
from pacslite.dicom import tags
from pacslite.dicom.charset import decode_text
from pacslite.dicom.decode import Decoded, decode_data_set
from pacslite.dicom.element import (
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
from pacslite.dicom.elements import Element, Value
from pacslite.dicom.inflate import Inflater
from pacslite.dicom.transfer_syntax import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax,
)
from pacslite.dicom.vrs import NUMBER_FORMATS, TEXT_VRS
from pacslite.errors import BadDataSetError

MAX_VALUE_BYTES: Final = 64 * 1024
MAX_HEADS: Final = 50_000
"""Heads of elements and items that are looked at in one file; an enhanced multi-frame object may have that many."""

_WINDOW: Final = 64 * 1024
_MAX_DEPTH: Final = 32
_PIXEL_GROUP: Final = tags.PIXEL_DATA >> 16
_NOTHING: Final = Decoded(elements={}, character_sets=())
_LIMITS: Final = {vr: (-(1 << bits), 1 << bits) for vr, bits in (("SL", 31), ("SS", 15), ("SV", 63))} | {
    vr: (0, 1 << bits) for vr, bits in (("UL", 32), ("US", 16), ("UV", 64))
}
"""What goes into each VR: where PS3.6 leaves a choice of two, the sender may have made the other one."""


def read_header(
    path: Path, *, data_set_offset: int, transfer_syntax_uid: str, wanted: Collection[int], limit_bytes: int
) -> Decoded:
    """Those of the ``wanted`` attributes that the file has, and how its text is encoded.

    A deflated data set is inflated up to ``limit_bytes``. What cannot be read is not there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _NOTHING
    try:
        syntax = transfer_syntax(transfer_syntax_uid)
        source = (
            _Bytes(b"".join(_inflated(descriptor, data_set_offset, limit_bytes)))
            if syntax.deflated
            else _File(descriptor, data_set_offset)
        )
        walk = _Walk(source)
        found = b"".join(walk.elements(encoding_of(syntax), frozenset(wanted) | {tags.SPECIFIC_CHARACTER_SET}))
        return decode_data_set(found, transfer_syntax(walk.syntax), max_elements=MAX_HEADS, max_depth=_MAX_DEPTH)
    except (BadDataSetError, OSError):
        return _NOTHING
    finally:
        os.close(descriptor)


def value_of(header: Decoded, wanted: Wanted) -> Value:
    """A value as answers hold it: by the VR that is wanted, no value where there is none."""
    element = header.elements.get(wanted.tag)
    return "" if element is None else _converted(element, wanted, header.character_sets)


def _converted(element: Element, wanted: Wanted, character_sets: tuple[str, ...]) -> Value:
    value = element.value
    if wanted.vr == "SQ" or element.vr == "SQ":
        return _items(value, wanted, character_sets) if wanted.vr == element.vr else ""
    if element.vr == wanted.vr or value in ("", b"", ()):
        return value
    match value:
        case str() if wanted.vr in TEXT_VRS:
            return value
        case str() if wanted.vr == "UN" and value.isascii():
            return value.encode("ascii")
        case bytes() if wanted.vr in TEXT_VRS:  # the sender did not know the VR
            text = decode_text(value, character_sets, person_name=wanted.vr == "PN", multi_valued=True)
            return text.strip(" \0")
        case tuple() if wanted.vr in _LIMITS:
            least, end = _LIMITS[wanted.vr]
            return value if all(isinstance(number, int) and least <= number < end for number in value) else ""
        case tuple() if wanted.vr in ("FD", "FL") and element.vr in NUMBER_FORMATS:
            return value
    return ""


def _items(value: Value, wanted: Wanted, character_sets: tuple[str, ...]) -> Value:
    """Every item, with what is asked of items: all that they have if that is nothing."""
    items = tuple(item for item in value if isinstance(item, Mapping)) if isinstance(value, tuple) else ()
    if not wanted.items:
        return items
    return tuple(
        {
            inner.tag: Element(
                inner.vr,
                _converted(item[inner.tag], inner, character_sets) if inner.tag in item else "",
            )
            for inner in wanted.items
        }
        for item in items
    )


# --- Bytes -----------------------------------------------------------------------------------------------------------


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def at(self, position: int, length: int) -> bytes:
        return self._data[position : position + length]


class _File:
    """A window of the file, moved to where it is looked at."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._start = 0
        self._window = b""

    def at(self, position: int, length: int) -> bytes:
        """``length`` bytes from ``position`` of the data set on, fewer at its end."""
        start = position - self._start
        if start < 0 or start + length > len(self._window):
            self._window = os.pread(self._descriptor, max(length, _WINDOW), self._offset + position)
            self._start, start = position, 0
        return self._window[start : start + length]


def _inflated(descriptor: int, offset: int, limit: int) -> Iterator[bytes | memoryview]:
    inflater, left = Inflater(limit), limit
    while (piece := os.pread(descriptor, min(left, _WINDOW), offset)) and not inflater.problem:
        yield from inflater.feed(piece)
        offset += len(piece)
        left -= len(piece)


# --- Elements --------------------------------------------------------------------------------------------------------


class _Walk:
    """Goes over a data set. Afterwards ``syntax`` says how it is really encoded."""

    def __init__(self, source: _Bytes | _File) -> None:
        self._at = source.at
        self._left = MAX_HEADS
        self.syntax = EXPLICIT_VR_LITTLE_ENDIAN

    def elements(self, declared: Encoding, wanted: frozenset[int]) -> Iterator[bytes]:
        """The wanted elements as they are written, as far as the data set makes sense."""
        position, last = 0, max(wanted)
        while (head := self._at(position, 8))[:2] in (b"\x02\0", b"\0\x02"):
            # File Meta elements in front, which do not belong there, may be in another encoding.
            found = self._head(position, encoding_for(explicit=has_known_vr(head), big_endian=head[:1] == b"\0"))
            if found is None:
                return
            position = found[2] + found[1]
        encoding = recognize(head, declared)
        self.syntax = _syntax(encoding)
        while (found := self._head(position, encoding)) is not None:
            tag, length, value = found
            if tag > last or tag >> 16 >= _PIXEL_GROUP:
                return
            if length == UNDEFINED_LENGTH:
                end = self._end(value, self._inside(position, encoding))
                if end is None:
                    return
            else:
                end = value + length
            if tag in wanted and end - position <= MAX_VALUE_BYTES:
                element = self._at(position, end - position)
                if len(element) < end - position:
                    return
                yield element
            position = end

    def _head(self, position: int, encoding: Encoding) -> tuple[int, int, int] | None:
        """Tag, length and where the value begins. None: there is no element, or no sense in it."""
        self._left -= 1
        head = self._at(position, 16)
        if len(head) < 8 or self._left < 0:
            return None
        native, *vr, length = encoding.unpack(head, 0)
        tag = encoding.native(native)
        if not encoding.explicit or vr[0] in encoding.short:
            return tag, length, position + 8
        if native in encoding.delimiters:
            return tag, encoding.unpack_length(head, 4)[0], position + 8
        if vr[0] in encoding.long:
            return (tag, encoding.unpack_length(head, 8)[0], position + 12) if len(head) >= 12 else None
        unusual = unusual_head(head.ljust(16, b"\0"), 0, encoding)
        return None if unusual is None else (tag, unusual[1], position + unusual[0])

    def _inside(self, position: int, encoding: Encoding) -> Encoding:
        """The encoding in a sequence: under UN it is implicit VR little endian (PS3.5 6.2.2)."""
        return IMPLICIT_LITTLE if encoding.explicit and self._at(position + 4, 2) == b"UN" else encoding

    def _end(self, position: int, encoding: Encoding) -> int | None:
        """Where a sequence of undefined length ends, which begins here; None if it does not."""
        opened: list[tuple[bool, Encoding]] = [(False, encoding)]  # what is open: is it an item, and how it is encoded
        while len(opened) <= 2 * _MAX_DEPTH:
            is_item, inner = opened[-1]
            found = self._head(position, inner)
            if found is None:
                return None
            tag, length, value = found
            if tag in (ITEM_END, SEQUENCE_END):
                if (tag == ITEM_END) is is_item:
                    opened.pop()
                if not opened:
                    return value
                position = value
            elif length != UNDEFINED_LENGTH:
                position = value + length
            elif is_item:
                opened.append((False, self._inside(position, inner)))
                position = value
            elif tag == ITEM:
                opened.append((True, recognize_item(self._at(value, 8).ljust(8, b"\0"), inner)))
                position = value
            else:
                return None
        return None


def _syntax(encoding: Encoding) -> str:
    if not encoding.explicit:
        return IMPLICIT_VR_LITTLE_ENDIAN
    return EXPLICIT_VR_BIG_ENDIAN if encoding.big_endian else EXPLICIT_VR_LITTLE_ENDIAN
