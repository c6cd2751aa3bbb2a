"""Which attributes of an Identifier take part in a query, whatever their values are (PS3.4 C.2.2.1, C.4.1.2, C.4.1.3).

Workstations ask the same attributes over and over; what follows from these alone is worked out once and remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pacslite.archive.query import Wanted, can_match, can_return
from pacslite.dicom.keys import NEVER_KEYS
from pacslite.dicom.levels import MODEL_OF, OF_EVERY_LEVEL, RETURN_ONLY, Level, Model
from pacslite.dicom.vrs import vr_of

_MOST_ATTRIBUTES: Final = 100
"""Of a remembered shape: nobody shall fill the memory with what is asked once."""

_CHOICE: Final = frozenset({"SS", "US"})

_NOBODYS: Final = frozenset(
    {
        0x00080053,  # Query/Retrieve View
        0x00081190,  # Retrieve URL
        0x0040E010,  # Retrieve URI
        0x00880130,  # Storage Media File-set ID
        0x00880140,  # Storage Media File-set UID
    }
)
"""Where and how objects can be had; no object's header knows."""


_ABOUT_BYTES: Final = frozenset(
    {
        0x00080001,  # Length to End, retired
        0xFFFCFFFC,  # Data Set Trailing Padding
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What answers hold of the attributes asked for, which of these can be matched, and whether nothing is left out."""

    wanted: tuple[Wanted, ...]
    matched: frozenset[int]
    complete: bool


def shape_of(attributes: tuple[tuple[int, str], ...], level: Level, model: Model, *, relational: bool) -> Shape:
    """The shape of a request for ``attributes``, tags with the VRs that the requester gave; none of them is an SQ."""
    if len(attributes) > _MOST_ATTRIBUTES:
        return _shape(attributes, level, model, relational=relational)
    return _remembered(attributes, level.value, model.find, relational)


def takes_part(tag: int, level: Level, model: Model, *, relational: bool) -> bool:
    """Whether the attribute counts at ``level``: it is of that level, or above it and may be asked for there.

    Without relational queries only the unique keys of higher levels may.
    """
    if tag in _NOBODYS or not can_return(level, tag):
        return False
    own = model.level_of(tag)
    return own is level or (own.is_above(level) and (relational or tag == own.unique_key))


def is_of_request(tag: int) -> bool:
    """Whether it says how to read the request or is answered for all entities alike; or it is about the request's
    bytes: a retired group length, which is still met (QF-22), or padding."""
    return tag in _ABOUT_BYTES or tag in NEVER_KEYS or tag in OF_EVERY_LEVEL or tag & 0xFFFF == 0


def vr_for(tag: int, given: str) -> str:
    """The VR PS3.6 gives to the attribute, whatever the requester wrote; its own where there is none, or a choice."""
    known = vr_of(tag)
    return given if known == "UN" or {known, given} <= _CHOICE else known


@lru_cache(maxsize=256)
def _remembered(attributes: tuple[tuple[int, str], ...], level: str, sop_class: str, relational: bool) -> Shape:
    return _shape(attributes, Level(level), MODEL_OF[sop_class], relational=relational)


def _shape(attributes: Iterable[tuple[int, str]], level: Level, model: Model, *, relational: bool) -> Shape:
    asked = [(tag, given) for tag, given in attributes if not is_of_request(tag)]
    wanted = tuple(
        Wanted(tag, vr_for(tag, given)) for tag, given in asked if takes_part(tag, level, model, relational=relational)
    )
    return Shape(
        wanted=wanted,
        matched=frozenset(one.tag for one in wanted if one.tag not in RETURN_ONLY and can_match(level, one.tag)),
        complete=len(wanted) == len(asked),
    )
