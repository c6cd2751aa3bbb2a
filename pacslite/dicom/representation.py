"""Which VR a value is written with, and how wide its words are: what implicit VR does not say (PS3.5 6.2, Annex A)."""

from __future__ import annotations

import struct
from array import array
from typing import Final

from pacslite.dicom.dictionary import known_vr
from pacslite.dicom.tags import BITS_ALLOCATED, PIXEL_DATA
from pacslite.dicom.vrs import NUMBER_FORMATS, TEXT_VRS, WORD_SIZES

PIXEL_REPRESENTATION: Final = 0x00280103
WAVEFORM_BITS_ALLOCATED: Final = 0x54001004

DECIDING: Final = frozenset({BITS_ALLOCATED, PIXEL_REPRESENTATION, WAVEFORM_BITS_ALLOCATED})
"""Attributes, all US, whose values decide the VR of others."""

_WAVEFORM_GROUP: Final = 0x5400
_ARRAY_TYPES: Final = {array(code).itemsize: code for code in "HIQ"}

WIDTHS: Final = {
    **dict.fromkeys((*TEXT_VRS, "SQ"), 1),
    **WORD_SIZES,
    **{vr: struct.calcsize(f"<{form[0]}") for vr, form in NUMBER_FORMATS.items()},
}
"""The bytes in the words of a value: what the byte order applies to (PS3.5 7.3). A VR that we do not know has none."""


class Surroundings:
    """What is known where a value is: the deciding attributes of the data set or item, and of what that is in."""

    __slots__ = ("_known", "_outer")

    def __init__(self, outer: Surroundings | None = None, known: dict[int, int] | None = None) -> None:
        self._outer = outer
        self._known: dict[int, int] = known or {}

    def learn(self, tag: int, value: bytes, *, big_endian: bool) -> None:
        if len(value) >= 2:
            self._known[tag] = int.from_bytes(value[:2], "big" if big_endian else "little")

    def find(self, tag: int) -> int | None:
        place: Surroundings | None = self
        while place is not None:
            if tag in place._known:
                return place._known[tag]
            place = place._outer
        return None


def vr_for(tag: int, surroundings: Surroundings) -> str:
    """The VR of an attribute whose sender told none; UN for one that PS3.6 does not know."""
    vr = known_vr(tag)
    if len(vr) == 2:
        return vr
    match vr:
        case "US or SS":  # without Pixel Representation there are no signed pixels
            return "SS" if surroundings.find(PIXEL_REPRESENTATION) else "US"
        case "US or OW" | "US or SS or OW":  # only OW can be as long as a look-up table
            return "OW"
        case "OB or OW":  # PS3.5 A.2: words where a sample takes more than a byte, else both are right
            deciding = WAVEFORM_BITS_ALLOCATED if tag >> 16 == _WAVEFORM_GROUP else BITS_ALLOCATED
            bits = surroundings.find(deciding) if tag == PIXEL_DATA or tag >> 16 == _WAVEFORM_GROUP else None
            return "OB" if bits is not None and bits <= 8 else "OW"
    return _of_unknown(tag)


def _of_unknown(tag: int) -> str:
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return "UL"
    return "LO" if group & 1 and 0x10 <= element <= 0xFF else "UN"  # private creators (PS3.5 7.8.1)


class Swapper:
    """Turns the bytes of words round, as they come: what a piece has cut waits for the next."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._rest = b""

    def feed(self, piece: bytes) -> bytes:
        data = self._rest + piece if self._rest else piece
        whole = len(data) - len(data) % self._width
        self._rest = data[whole:]
        return swapped(data[:whole] if self._rest else data, self._width)


def swapped(data: bytes, width: int) -> bytes:
    """The bytes of each word of `width` turned round; there must be no part of a word."""
    words = array(_ARRAY_TYPES[width], data)
    words.byteswap()
    return words.tobytes()
