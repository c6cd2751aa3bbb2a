"""Value Representations (PS3.5 6.2): how the values of each are written, and which one an attribute has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from pacslite.dicom.dictionary import DICTIONARY, dictionary_VR

CHARSET_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""Text that Specific Character Set (0008,0005) applies to."""

SINGLE_VALUED_VRS: Final = frozenset({"LT", "ST", "UT"})
"""Text that is one value: a backslash in it is a character of the text."""

LEADING_SPACE_VRS: Final = frozenset({"LT", "ST", "UC", "UR", "UT"})
"""Text in which spaces at the beginning count (PS3.5 Table 6.2-1)."""

TEXT_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}) | CHARSET_VRS
"""Everything that is written in characters."""

LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""Those with a 32-bit length in explicit VR (PS3.5 7.1.2)."""

NUMBER_FORMATS: Final[Mapping[str, str]] = MappingProxyType(
    {"AT": "HH", "FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
)
"""Binary numbers, as :mod:`struct` writes one. A tag is its group, then its element (PS3.5 6.2, AT)."""

WORD_SIZES: Final[Mapping[str, int]] = MappingProxyType({"OB": 1, "OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2, "UN": 1})
"""Byte strings, with the bytes of the words in them: what the byte order applies to (PS3.5 7.3)."""

ALL_VRS: Final = frozenset({*TEXT_VRS, *NUMBER_FORMATS, *WORD_SIZES, "SQ"})

# Where PS3.6 leaves a choice that only other attributes decide: what is right in a query, or holds the bytes unharmed.
_CHOSEN: Final = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW", "NONE": "UN"}
_OF_TAG: Final = {tag: _CHOSEN.get(vr, vr) for tag, (vr, *_) in DICTIONARY.items()}


def vr_of(tag: int) -> str:
    """The VR that PS3.6 gives to `tag`; UN for what it does not know, private attributes above all."""
    return _OF_TAG.get(tag) or _of_rarer(tag)


@lru_cache(maxsize=1024)
def _of_rarer(tag: int) -> str:
    """Repeating groups (60xx,eeee), Private Creators, group lengths."""
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return "UL"
    if group & 1:
        return "LO" if 0x10 <= element <= 0xFF else "UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return _CHOSEN.get(vr, vr)


def swapped(value: bytes, vr: str) -> bytes:
    """A byte string of this VR in the other byte order; what is no whole word at the end stays as it is."""
    size = WORD_SIZES[vr]
    whole = len(value) - len(value) % size
    if size == 1 or not whole:
        return value
    output = bytearray(value)
    for position in range(size):
        output[position:whole:size] = value[size - 1 - position : whole : size]
    return bytes(output)
