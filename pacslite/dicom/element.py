"""The head of a data element (PS3.5 7.1): its encodings, and telling which one a sender has really used."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pacslite.dicom.transfer_syntax import TransferSyntax

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
DELIMITERS: Final = frozenset({ITEM, ITEM_END, SEQUENCE_END})

# fmt: off
_SHORT_VRS: Final = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
)
_LONG_VRS: Final = (
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
)
# fmt: on
_KNOWN_VRS: Final = frozenset((*_SHORT_VRS, *_LONG_VRS))
# What some writers put where they know no VR. Zeros could also be the low half of an implicit length of n × 65536;
# that is far less likely than a short explicit one.
_BLANK_VRS: Final = frozenset({b"\0\0", b"??", b"  ", b"--"})
_EMPTY: Final = b"\0\0\0\0"  # instead of VR and length: no value, and the same in both encodings
_MAX_GUESSED_LENGTH: Final = 1 << 20

_Unpack: TypeAlias = Callable[[bytes, int], tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How heads are written.

    `unpack` reads eight bytes: the tag, and either VR and 16-bit length (explicit) or the length (implicit). For speed
    the tag is one number, which in little endian has its halves exchanged: see `native`. `short` and `long` are the
    known VRs, as `unpack` gives them, by the width of their length; `delimiters` are the native tags that have no VR,
    `item` is one of them.
    """

    explicit: bool
    big_endian: bool
    unpack: _Unpack
    unpack_length: _Unpack
    short: frozenset[int]
    long: frozenset[int]
    delimiters: frozenset[int]
    item: int

    def native(self, tag: int) -> int:
        """`tag` as `unpack` gives it, and the reverse."""
        return tag if self.big_endian else _exchanged(tag)

    def __str__(self) -> str:
        return f"{'explicit' if self.explicit else 'implicit'} VR {'big' if self.big_endian else 'little'} endian"


def _exchanged(tag: int) -> int:
    return tag >> 16 | (tag & 0xFFFF) << 16


def _encoding(*, explicit: bool, big_endian: bool) -> Encoding:
    order = ">" if big_endian else "<"

    def codes(vrs: tuple[bytes, ...]) -> frozenset[int]:
        return frozenset(int.from_bytes(vr, "big" if big_endian else "little") for vr in vrs)

    return Encoding(
        explicit=explicit,
        big_endian=big_endian,
        unpack=struct.Struct(order + ("IHH" if explicit else "II")).unpack_from,
        unpack_length=struct.Struct(order + "I").unpack_from,
        short=codes(_SHORT_VRS),
        long=codes(_LONG_VRS),
        delimiters=DELIMITERS if big_endian else frozenset(map(_exchanged, DELIMITERS)),
        item=ITEM if big_endian else _exchanged(ITEM),
    )


_ENCODINGS: Final = {
    (explicit, big_endian): _encoding(explicit=explicit, big_endian=big_endian)
    for explicit in (False, True)
    for big_endian in (False, True)
}
IMPLICIT_LITTLE: Final = _ENCODINGS[False, False]


def encoding_for(*, explicit: bool, big_endian: bool) -> Encoding:
    """The one object there is for each combination, so that they may be compared by identity."""
    return _ENCODINGS[explicit, big_endian]


def encoding_of(syntax: TransferSyntax) -> Encoding:
    """The encoding a transfer syntax stands for, once inflated."""
    return _ENCODINGS[not syntax.implicit_vr, syntax.big_endian]


def has_known_vr(head: bytes) -> bool:
    """Whether the first eight bytes of an element have a VR where an explicit one is."""
    return head[4:6] in _KNOWN_VRS


def recognize(head: bytes, declared: Encoding) -> Encoding:
    """The encoding of a data set that begins with these eight bytes and should be `declared`.

    A known VR cannot be a coincidence: read as an implicit length it would make the first element, a short one of group
    0008, longer than 16 KiB. Byte order is doubted only where one of the two gives group 0008.
    """
    big_endian = declared.big_endian
    if head[:2] == b"\x08\0":
        big_endian = False
    elif head[:2] == b"\0\x08":
        big_endian = True
    return _ENCODINGS[_is_explicit(head, declared), big_endian]


def recognize_item(head: bytes, enclosing: Encoding) -> Encoding:
    """The encoding inside an item that begins with these eight bytes; the byte order stays.

    Sequences in UN are implicit VR little endian by rule (PS3.5 6.2.2), and explicit in practice; some senders write
    private sequences of explicit data sets in implicit VR.
    """
    return _ENCODINGS[_is_explicit(head, enclosing), enclosing.big_endian]


def _is_explicit(head: bytes, expected: Encoding) -> bool:
    vr, length = head[4:6], head[6:8]
    if vr in _KNOWN_VRS:
        return True
    return expected.explicit and (vr.isalpha() or (vr in _BLANK_VRS and length != b"\0\0") or vr + length == _EMPTY)


def unusual_head(buffer: bytes, position: int, encoding: Encoding) -> tuple[int, int] | None:
    """Size of the head and length of the value of an explicit element whose VR is not known; None if it is nonsense.

    Sixteen bytes must be there. Letters are a VR newer than we are, which has a 32-bit length (PS3.5 6.2), unless the
    two bytes in front of that are not zero as they must be, or a proper element follows at once. Other bytes are an
    implicit length among explicit elements.
    """
    vr = buffer[position + 4 : position + 6]
    short_length = int.from_bytes(buffer[position + 6 : position + 8], "big" if encoding.big_endian else "little")
    if vr in _BLANK_VRS:
        return 8, short_length
    if not vr.isalpha():
        length: int = encoding.unpack_length(buffer, position + 4)[0]
        return (8, length) if length <= _MAX_GUESSED_LENGTH or length == UNDEFINED_LENGTH else None
    if short_length or has_known_vr(buffer[position + 8 : position + 16]):
        return 8, short_length
    following: int = encoding.unpack_length(buffer, position + 8)[0]
    return (8, short_length) if following in encoding.delimiters else (12, following)
