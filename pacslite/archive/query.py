"""What can be asked of the archive: a query by matching keys, and what its answers hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pacslite.archive.index.sources import is_within
from pacslite.dicom import tags
from pacslite.dicom.elements import Value
from pacslite.dicom.levels import Level
from pacslite.dicom.matching import Key

_FIRST_GROUP: Final = 0x0008
_PIXEL_GROUP: Final = tags.PIXEL_DATA >> 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """An attribute that answers hold; of a sequence, ``items`` are those of each item (empty: all that it has)."""

    tag: int
    vr: str
    items: tuple[Wanted, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Entities of ``level`` that match every key. Keys and wanted attributes may be of that level and those above.

    ``utc_offset_minutes`` is the requester's time zone where its dates and times are to be understood in it
    (PS3.4 C.2.2.2.9); None compares them as they are written.
    """

    level: Level
    keys: tuple[Key, ...]
    wanted: tuple[Wanted, ...]
    utc_offset_minutes: int | None = None


Row = tuple[Value, ...]
"""The values of one answer, in the order of :attr:`Query.wanted`."""


def can_match(level: Level, tag: int) -> bool:
    """Whether entities of ``level`` can be asked for by this attribute, which is of that level or above."""
    return can_return(level, tag)


def can_return(level: Level, tag: int) -> bool:
    """Whether answers of ``level`` can hold this attribute; those of instances hold any that is in the stored file."""
    return is_within(level, tag) or (level is Level.IMAGE and _is_in_headers(tag))


def _is_in_headers(tag: int) -> bool:
    """Pixel data is not told, nor what is no data set."""
    return _FIRST_GROUP <= tag >> 16 != _PIXEL_GROUP and tag & 0xFFFF != 0 and tag != tags.SPECIFIC_CHARACTER_SET
