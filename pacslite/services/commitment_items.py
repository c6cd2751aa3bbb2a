"""The items of storage commitment: references to objects, read and written in bulk.

See :mod:`pacslite.services.commitment_data_set` for why there are two readers.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final

from pacslite.archive.commitment import Reference
from pacslite.dicom import tags
from pacslite.dicom.element import (
    DELIMITERS,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    encoding_of,
    recognize,
)
from pacslite.dicom.heads import Head, MalformedDataSet, read_head
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.dicom.uids import MAX_UID_LENGTH
from pacslite.dicom.walk import Walker
from pacslite.errors import ResourceLimitation

REFERENCED_SOP_CLASS_UID: Final = 0x00081150
REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
TRANSACTION_UID: Final = 0x00081195
FAILURE_REASON: Final = 0x00081197
FAILED_SOP_SEQUENCE: Final = 0x00081198
REFERENCED_SOP_SEQUENCE: Final = 0x00081199

_SEQUENCES: Final = (REFERENCED_SOP_SEQUENCE, FAILED_SOP_SEQUENCE)
_OF_ITEMS: Final = (REFERENCED_SOP_CLASS_UID, REFERENCED_SOP_INSTANCE_UID, FAILURE_REASON)
_ITEMS_AT_A_TIME: Final = 1000
_BYTES_AT_A_TIME: Final = 32 * 1024
_ITEM_HEAD: Final = 8
_ELEMENT_HEAD: Final = 8

_plain = re.compile(rb"[\0 ]*([0-9.]{1,64})[\0 ]*").fullmatch
_usable = re.compile(r"[0-9.]{1,64}").fullmatch
_odd = re.compile(r"[^!-\[\]-~]")
_NOT_A_UID: Final = "?"


@dataclass(slots=True)
class Found:
    """What a data set says: the Transaction UID as it is, the items of each sequence, Failure Reasons by number. All
    else is not kept: there may be millions of it."""

    values: dict[int, bytes] = field(default_factory=dict)
    items: dict[int, list[Reference]] = field(default_factory=dict)
    reasons: dict[int, int] = field(default_factory=dict)


def uid_text(raw: bytes) -> str:
    """A UID without its padding. What is none becomes text of at most 64 visible characters which is none either, so
    that it is found nowhere and can be written into an answer."""
    if match := _plain(raw):
        return match[1].decode("ascii")
    text = _odd.sub(_NOT_A_UID, raw.decode("latin-1").strip("\0 "))
    return text if len(text) <= MAX_UID_LENGTH else text[: MAX_UID_LENGTH - 1] + _NOT_A_UID


def is_usable_uid(uid: str) -> bool:
    """Digits and dots. More is not asked for: components that begin with zero are seen too often."""
    return _usable(uid) is not None


def read_slices(data: bytes, syntax: TransferSyntax, most: int) -> Generator[None, None, Found]:
    """Read a data set (inflated), pausing now and then. MalformedDataSet; ResourceLimitation beyond ``most`` items."""
    found = yield from _read_usual(data, recognize(data[:8], encoding_of(syntax)), most)
    return found if found is not None else (yield from _read_any(data, syntax, most))


def _too_many(most: int) -> ResourceLimitation:
    return ResourceLimitation(f"more than {most} instances in one request")


# --- The usual shape -------------------------------------------------------------------------------------------------


class _Heads:
    """The beginnings of heads as they lie in data sets of an encoding, and how to read a length behind each."""

    def __init__(self, encoding: Encoding) -> None:
        order = ">" if encoding.big_endian else "<"

        def head(tag: int, vr: bytes) -> bytes:
            return struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + (vr if encoding.explicit else b"")

        self.item = struct.pack(f"{order}HH", ITEM >> 16, ITEM & 0xFFFF)
        self.item_end = struct.pack(f"{order}HHI", ITEM_END >> 16, ITEM_END & 0xFFFF, 0)
        self.sequence_end = struct.pack(f"{order}HHI", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
        self.sop_class = head(REFERENCED_SOP_CLASS_UID, b"UI")
        self.sop_instance = head(REFERENCED_SOP_INSTANCE_UID, b"UI")
        self.reason = head(FAILURE_REASON, b"US")
        self.size = struct.Struct(f"{order}{'H' if encoding.explicit else 'I'}").unpack_from
        self.short = struct.Struct(f"{order}H").unpack_from


def _read_usual(data: bytes, encoding: Encoding, most: int) -> Generator[None, None, Found | None]:
    """None if anything is not as it usually is."""
    found = Found()
    position, end = 0, len(data)
    heads = 0
    try:
        while position < end:
            heads += 1
            if heads % _ITEMS_AT_A_TIME == 0:
                yield
            head = read_head(data, position, encoding, position)
            if isinstance(head, int) or head.tag in DELIMITERS:
                return None
            value = position + head.size
            if head.tag in _SEQUENCES:
                stop = end if head.length == UNDEFINED_LENGTH else value + head.length
                if stop > end or head.vr not in ("SQ", "") or head.tag in found.items:
                    return None
                after = yield from _read_items(data, head, value, stop, found, most)
                if after is None:
                    return None
                position = after
            else:
                position = value + head.length
                if head.length == UNDEFINED_LENGTH or position > end:
                    return None
                if head.tag == TRANSACTION_UID:
                    found.values[head.tag] = data[value:position]
    except (struct.error, MalformedDataSet):
        return None
    return found


def _read_items(
    data: bytes, sequence: Head, position: int, end: int, found: Found, most: int
) -> Generator[None, None, int | None]:
    """Where the sequence ends."""
    heads, is_open = _Heads(sequence.encoding), sequence.length == UNDEFINED_LENGTH
    sop_class_head, sop_instance_head, item_head = heads.sop_class, heads.sop_instance, heads.item
    size_of, length_of, wide = heads.size, sequence.encoding.unpack_length, len(heads.sop_class)
    references = found.items[sequence.tag] = list[Reference]()
    classes: dict[bytes, str] = {}
    while position < end:
        if data[position : position + 4] != item_head:
            if len(references) > most:
                raise _too_many(most)
            is_end = is_open and data[position : position + _ITEM_HEAD] == heads.sequence_end
            return position + _ITEM_HEAD if is_end else None
        (length,) = length_of(data, position + 4)
        at = position + _ITEM_HEAD
        if data[at : at + wide] != sop_class_head:
            return None
        middle = at + _ELEMENT_HEAD + size_of(data, at + wide)[0]
        if data[middle : middle + wide] != sop_instance_head:
            return None
        stop = middle + _ELEMENT_HEAD + size_of(data, middle + wide)[0]
        raw_class = data[at + _ELEMENT_HEAD : middle]
        sop_class = classes.get(raw_class)
        if sop_class is None:
            sop_class = classes[raw_class] = uid_text(raw_class)
        references.append(Reference(sop_class, uid_text(data[middle + _ELEMENT_HEAD : stop])))
        if data[stop : stop + wide] == heads.reason and size_of(data, stop + wide)[0] == 2:
            (found.reasons[len(references) - 1],) = heads.short(data, stop + _ELEMENT_HEAD)
            stop += _ELEMENT_HEAD + 2
        if length == UNDEFINED_LENGTH:
            if data[stop : stop + _ITEM_HEAD] != heads.item_end:
                return None
            position = stop + _ITEM_HEAD
        else:
            position = at + length
            if position != stop:
                return None
        if len(references) % _ITEMS_AT_A_TIME == 0:
            if len(references) > most:
                raise _too_many(most)
            yield
    if len(references) > most:
        raise _too_many(most)
    return position if position == end and not is_open else None


# --- Any other -------------------------------------------------------------------------------------------------------


def _read_any(data: bytes, syntax: TransferSyntax, most: int) -> Generator[None, None, Found]:
    collector = _Collector(most)
    walker = Walker(syntax, collector)
    for start in range(0, len(data), _BYTES_AT_A_TIME):
        walker.feed(data[start : start + _BYTES_AT_A_TIME])
        yield
    if collector.lacks_end:  # the walker would supply it; but half a request is another request
        raise MalformedDataSet("the data set ends inside a sequence")
    walker.finish()
    return collector.found


class _Collector:
    """A visitor that keeps what belongs to storage commitment."""

    def __init__(self, most: int) -> None:
        self.found = Found()
        self._most = most
        self._depth = 0
        self._sequence: int | None = None
        self._is_open = False
        self._item: dict[int, bytes] = {}
        self._big_endian = False

    @property
    def lacks_end(self) -> bool:
        """Whether a sequence is being read that only a delimiter can end."""
        return self._depth > 0 and self._is_open

    def enters(self, head: Head) -> bool:
        return self._depth == 0 and head.tag in _SEQUENCES

    def value(self, head: Head, value: bytes) -> None:
        if self._depth == 0:
            if head.tag in _SEQUENCES:
                self.found.items.setdefault(head.tag, [])
            elif head.tag == TRANSACTION_UID:
                self.found.values[head.tag] = value
        elif self._depth == 1 and self._sequence is not None and head.tag in _OF_ITEMS:
            self._item[head.tag] = value
            self._big_endian = head.encoding.big_endian

    def begin_value(self, head: Head) -> None:
        """Thousands of bytes: no UID."""
        self.value(head, _NOT_A_UID.encode())

    def piece(self, piece: bytes) -> None:
        pass

    def end_value(self) -> None:
        pass

    def begin_sequence(self, head: Head) -> None:
        if self._depth == 0:
            self._sequence = head.tag if head.tag in _SEQUENCES else None
            self._is_open = head.length == UNDEFINED_LENGTH
            if self._sequence is not None:
                self.found.items.setdefault(head.tag, [])
        self._depth += 1

    def begin_item(self, offset: int) -> None:
        if self._depth == 1:
            self._item = {}

    def end_item(self) -> None:
        if self._depth != 1 or self._sequence is None:
            return
        item, references = self._item, self.found.items[self._sequence]
        if len(references) >= self._most:
            raise _too_many(self._most)
        if self._sequence == FAILED_SOP_SEQUENCE and len(reason := item.get(FAILURE_REASON, b"")) == 2:
            self.found.reasons[len(references)] = int.from_bytes(reason, "big" if self._big_endian else "little")
        references.append(
            Reference(
                uid_text(item.get(REFERENCED_SOP_CLASS_UID, b"")), uid_text(item.get(REFERENCED_SOP_INSTANCE_UID, b""))
            )
        )

    def end_sequence(self) -> None:
        self._depth -= 1

    def begin_fragments(self, head: Head) -> None:
        self._depth += 1

    def begin_fragment(self, length: int) -> None:
        pass

    def end_fragments(self) -> None:
        self._depth -= 1


# --- Writing ---------------------------------------------------------------------------------------------------------


class ItemWriter:
    """Elements of storage commitment in one encoding."""

    def __init__(self, *, implicit: bool, big_endian: bool) -> None:
        self._implicit = implicit
        self._order = ">" if big_endian else "<"
        self._item_head = struct.Struct(f"{self._order}HHI").pack
        self._instance_heads = tuple(
            self._head(REFERENCED_SOP_INSTANCE_UID, b"UI", size + size % 2) for size in range(MAX_UID_LENGTH + 1)
        )
        self._classes: dict[str, bytes] = {}

    def transaction(self, uid: str) -> bytes:
        return self._text(TRANSACTION_UID, b"UI", uid, b"\0")

    def retrieve_ae(self, ae_title: str) -> bytes:
        return self._text(tags.RETRIEVE_AE_TITLE, b"AE", ae_title, b" ")

    def sequence_head(self, tag: int, size: int) -> bytes:
        if self._implicit:
            return self._head(tag, b"SQ", size)
        return struct.pack(f"{self._order}HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, size)

    def item(self, reference: Reference, reason: int | None = None) -> bytes:
        sop_class_uid, sop_instance_uid = reference
        sop_class = self._classes.get(sop_class_uid)
        if sop_class is None:
            sop_class = self._text(REFERENCED_SOP_CLASS_UID, b"UI", sop_class_uid, b"\0")
            self._classes[sop_class_uid] = sop_class
        uid = sop_instance_uid.encode("latin-1", "replace")[:MAX_UID_LENGTH]
        body = sop_class + self._instance_heads[len(uid)] + (uid + b"\0" if len(uid) % 2 else uid)
        if reason is not None:
            body += self._head(FAILURE_REASON, b"US", 2) + struct.pack(f"{self._order}H", reason)
        return self._item_head(ITEM >> 16, ITEM & 0xFFFF, len(body)) + body

    def _text(self, tag: int, vr: bytes, text: str, pad: bytes) -> bytes:
        raw = text.encode("latin-1", "replace")
        raw += pad * (len(raw) % 2)
        return self._head(tag, vr, len(raw)) + raw

    def _head(self, tag: int, vr: bytes, size: int) -> bytes:
        if self._implicit:
            return struct.pack(f"{self._order}HHI", tag >> 16, tag & 0xFFFF, size)
        return struct.pack(f"{self._order}HH2sH", tag >> 16, tag & 0xFFFF, vr, size)
