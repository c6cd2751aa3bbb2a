"""From the Identifier of a C-FIND-RQ to what is asked of the archive (PS3.4 C.4.1.1.3, C.4.1.2, C.4.1.3).

An attribute of the request is one of four things: it belongs to the request itself (level, character set, time zone),
the archive server answers it for all entities alike (Retrieve AE Title), the archive answers it for each, or nobody
does; then it is left out of the answers and every one of them says so (FF01). Without relational queries only the
attributes of the level and the unique keys above it count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pacslite.archive.index.sources import OF_REQUEST
from pacslite.archive.query import Query, Wanted, can_match, can_return
from pacslite.dicom import tags
from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.keys import NEVER_KEYS, combine, key_of
from pacslite.dicom.levels import OF_EVERY_LEVEL, RETURN_ONLY, Level, Model
from pacslite.dicom.matching import Key
from pacslite.dicom.tags import keyword_of
from pacslite.dicom.values import utc_offset_minutes
from pacslite.dicom.vrs import vr_of
from pacslite.errors import InvalidKey
from pacslite.services.negotiated import Agreed

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query, and what its answers hold besides: ``fixed`` is in each; ``complete``: nothing had to be left out."""

    query: Query
    fixed: Elements
    complete: bool


def question(identifier: Elements, model: Model, agreed: Agreed, *, ae_title: str) -> Question:
    """What ``identifier`` asks. Raises :class:`InvalidKey` with the element that is wrong."""
    level = _level(identifier, model)
    if not agreed.relational:
        _require_unique_keys(identifier, level, model)
    offset = _utc_offset(identifier) if agreed.time_zone else None
    keys: list[Key] = []
    wanted: list[Wanted] = []
    complete = True
    for tag, element in identifier.items():
        if tag in NEVER_KEYS or tag in OF_EVERY_LEVEL or _is_group_length(tag):
            continue
        if not _counts(tag, level, model, agreed) or not can_return(level, tag):
            complete = False
            continue
        attribute, whole = _wanted(tag, element)
        complete &= whole
        if attribute is None:
            continue
        wanted.append(attribute)
        if tag not in RETURN_ONLY and can_match(level, tag):
            keys += _key(tag, element, agreed)
        elif element.value:
            complete = False
    return Question(
        query=Query(
            level=level,
            keys=tuple(combine(keys) if agreed.combined_date_time else keys),
            wanted=tuple(wanted),
            utc_offset_minutes=None if offset is None else utc_offset_minutes(offset),
        ),
        fixed=dict(_fixed(identifier, level, ae_title, offset)),
        complete=complete,
    )


def _level(identifier: Elements, model: Model) -> Level:
    """Query/Retrieve Level (0008,0052), which the model must have (QF-04)."""
    value = _text(identifier.get(tags.QUERY_RETRIEVE_LEVEL))
    for level in model.levels:
        if level.value == value:
            return level
    choice = ", ".join(level.value for level in model.levels)
    if not value:
        words = f"Query/Retrieve Level is missing; use {choice}"
    elif any(level.value == value for level in Level):
        words = f"{model.name} has no {value} level; use {choice}"
    else:
        words = f"no such Query/Retrieve Level; use {choice}"
    raise InvalidKey(words, offending=(tags.QUERY_RETRIEVE_LEVEL,))


def _require_unique_keys(identifier: Elements, level: Level, model: Model) -> None:
    """Of all higher levels, a single value each (C.4.1.2.1, QF-06)."""
    missing = [
        higher.unique_key for higher in model.higher_levels(level) if not _text(identifier.get(higher.unique_key))
    ]
    if missing:
        names = ", ".join(keyword_of(tag) for tag in missing)
        raise InvalidKey(f"{level.value} level needs {names}", offending=tuple(missing))
    for higher in model.higher_levels(level):
        tag = higher.unique_key
        if any(special in _text(identifier[tag]) for special in "*?\\"):
            raise InvalidKey(f"{keyword_of(tag)} must be one value at {level.value} level", offending=(tag,))


def _utc_offset(identifier: Elements) -> str | None:
    """The requester's time zone, where it gives one (0008,0201)."""
    value = _text(identifier.get(tags.TIMEZONE_OFFSET_FROM_UTC))
    if not value:
        return None
    if utc_offset_minutes(value) is None:
        raise InvalidKey(
            "TimezoneOffsetFromUTC must be like +0100 or -0500", offending=(tags.TIMEZONE_OFFSET_FROM_UTC,)
        )
    return value


def _counts(tag: int, level: Level, model: Model, agreed: Agreed) -> bool:
    """Whether an attribute takes part at ``level``: it is of that level, or above it and may be asked for there."""
    if tag in _NOBODYS:
        return False
    own = model.level_of(tag)
    if own is level:
        return True
    return own.is_above(level) and (agreed.relational or tag == own.unique_key)


def _wanted(tag: int, element: Element) -> tuple[Wanted | None, bool]:
    """What answers hold of an attribute, None if nothing of it, and whether that is all that was asked for."""
    if not _items(element):
        return Wanted(tag, _vr(tag, element)), True
    inside: dict[int, Wanted] = {}
    complete = True
    for inner, value in ((inner, value) for item in _items(element) for inner, value in item.items()):
        if inner in NEVER_KEYS or _is_group_length(inner):
            continue
        attribute, whole = _wanted(inner, value) if _is_kept(tag, inner) else (None, False)
        complete &= whole
        if attribute is not None:
            inside[inner] = attribute
    if not inside and not complete:
        return None, False  # an item without attributes would ask for all of them
    return Wanted(tag, "SQ", tuple(inside.values())), complete


def _is_kept(sequence: int, tag: int) -> bool:
    """Whether answers can hold ``tag`` in items of ``sequence``: of one the index keeps some, others are in files."""
    return sequence != tags.REQUEST_ATTRIBUTES_SEQUENCE or tag in OF_REQUEST


def _key(tag: int, element: Element, agreed: Agreed) -> Iterable[Key]:
    key = key_of(
        tag,
        element,
        fuzzy=agreed.fuzzy,
        empty_value=agreed.empty_value,
        multiple_values=agreed.multiple_values,
        combined=agreed.combined_date_time,
    )
    return () if key is None else (key,)


def _fixed(identifier: Elements, level: Level, ae_title: str, offset: str | None) -> Iterable[tuple[int, Element]]:
    """What is the same in every answer (C.4.1.1.3.2, QF-05)."""
    yield tags.QUERY_RETRIEVE_LEVEL, Element("CS", level.value)
    yield tags.RETRIEVE_AE_TITLE, Element("AE", ae_title)
    if tags.INSTANCE_AVAILABILITY in identifier:
        yield tags.INSTANCE_AVAILABILITY, Element("CS", "ONLINE")
    if offset is not None:
        yield tags.TIMEZONE_OFFSET_FROM_UTC, Element("SH", offset)


def _vr(tag: int, element: Element) -> str:
    """The VR PS3.6 gives to the attribute, whatever the requester wrote; a private one's own."""
    known = vr_of(tag)
    return element.vr if known == "UN" else known


def _text(element: Element | None) -> str:
    return element.value.strip() if element is not None and isinstance(element.value, str) else ""


def _items(element: Element) -> tuple[Mapping[int, Element], ...]:
    if element.vr != "SQ" or not isinstance(element.value, tuple):
        return ()
    return tuple(item for item in element.value if isinstance(item, Mapping))


def _is_group_length(tag: int) -> bool:
    """Retired in data sets, and still met (QF-22)."""
    return tag & 0xFFFF == 0
