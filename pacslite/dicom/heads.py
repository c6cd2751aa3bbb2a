"""The head of one element, as something to hold: what :mod:`pacslite.dicom.walk` tells its visitors."""

from __future__ import annotations

from typing import Final, NamedTuple

from pacslite.dicom.element import Encoding, unusual_head
from pacslite.dicom.tags import tag_text
from pacslite.errors import PacsliteError

_NAMES: Final[dict[bytes, str]] = {}  # one string for each VR that was met: there are at most 26 × 26


class MalformedDataSet(PacsliteError):
    """These bytes are no data set, or not a whole one; the message says what is wrong and where."""


class Head(NamedTuple):
    """`vr` is empty where the data set gives none: implicit VR, delimiters, or nonsense in its place.

    The element begins at `offset` of the (inflated) data set, its value `size` bytes later.
    """

    tag: int
    vr: str
    length: int
    encoding: Encoding
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{tag_text(self.tag)} at offset {self.offset}"


def read_head(buffer: bytes, position: int, encoding: Encoding, offset: int) -> Head | int:
    """The head at `position`, where at least eight bytes are; a number if it needs that many."""
    if not encoding.explicit:
        native, length = encoding.unpack(buffer, position)
        return Head(encoding.native(native), "", length, encoding, offset, 8)
    native, vr, length = encoding.unpack(buffer, position)
    tag = encoding.native(native)
    if native in encoding.delimiters:
        return Head(tag, "", encoding.unpack_length(buffer, position + 4)[0], encoding, offset, 8)
    if vr in encoding.short:
        return Head(tag, _name(buffer, position), length, encoding, offset, 8)
    needed = 12 if vr in encoding.long else 16
    if len(buffer) - position < needed:
        return needed
    if needed == 12:
        return Head(tag, _name(buffer, position), encoding.unpack_length(buffer, position + 8)[0], encoding, offset, 12)
    unusual = unusual_head(buffer, position, encoding)
    if unusual is None:
        raise MalformedDataSet(f"{tag_text(tag)} at offset {offset} has no VR and no sensible length")
    size, length = unusual
    return Head(tag, _name(buffer, position) if size == 12 else "", length, encoding, offset, size)


def _name(buffer: bytes, position: int) -> str:
    raw = buffer[position + 4 : position + 6]
    return _NAMES.get(raw) or _NAMES.setdefault(raw, raw.decode("latin-1"))
