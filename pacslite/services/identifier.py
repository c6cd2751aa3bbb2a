"""From the Identifier of a C-FIND-RQ to what is asked of the archive (PS3.4 C.4.1.1.3, C.4.1.2, C.4.1.3).

An attribute of the request is one of four things: it belongs to the request itself (level, character set, time zone),
the archive server answers it for all entities alike (Retrieve AE Title), the archive answers it for each, or nobody
does; then it is left out of the answers and every one of them says so (FF01). Without relational queries only the
attributes of the level and the unique keys above it count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pacslite.archive.index.sources import OF_REQUEST
from pacslite.archive.query import Query, Wanted
from pacslite.dicom import tags
from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.keys import combine, key_of
from pacslite.dicom.levels import Level, Model
from pacslite.dicom.matching import Key
from pacslite.dicom.tags import keyword_of
from pacslite.dicom.values import utc_offset_minutes
from pacslite.dicom.vrs import vr_of
from pacslite.errors import InvalidKey
from pacslite.services.identifier_shape import is_of_request, shape_of, takes_part, vr_for
from pacslite.services.negotiated import Agreed

_LEVELS: Final = {level.value: level for level in Level}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A query, and what its answers hold besides: ``fixed`` is in each; ``complete``: nothing had to be left out."""

    query: Query
    fixed: Elements
    complete: bool


def question(identifier: Elements, model: Model, agreed: Agreed, *, ae_title: str) -> Question:
    """What ``identifier`` asks. Raises :class:`InvalidKey` with the element that is wrong."""
    level = level_asked(identifier, model)
    if not agreed.relational:
        _require_unique_keys(identifier, level, model)
    offset = _utc_offset(identifier) if agreed.time_zone else None
    asked = {tag: element for tag, element in identifier.items() if not is_of_request(tag)}
    plain = tuple([(tag, element.vr) for tag, element in asked.items() if element.vr != "SQ"])
    shape = shape_of(plain, level, model, relational=agreed.relational)
    sequences = [
        _wanted(tag, element) if takes_part(tag, level, model, relational=agreed.relational) else (None, False)
        for tag, element in asked.items()
        if element.vr == "SQ"
    ]
    kept = [attribute for attribute, _ in sequences if attribute is not None]
    matched = shape.matched | {attribute.tag for attribute in kept} if kept else shape.matched
    keys = tuple(_keys(asked, matched, agreed))
    return Question(
        query=Query(
            level=level,
            keys=combine(keys) if agreed.combined_date_time else keys,
            wanted=(*shape.wanted, *kept),
            utc_offset_minutes=None if offset is None else utc_offset_minutes(offset),
        ),
        fixed=dict(_fixed(identifier, level, ae_title, offset)),
        complete=shape.complete
        and all(whole for _, whole in sequences)
        and all(tag in matched for tag, element in asked.items() if element.value),
    )


def level_asked(identifier: Elements, model: Model) -> Level:
    """Query/Retrieve Level (0008,0052), which the model must have (QF-04); raises :class:`InvalidKey`."""
    value = _text(identifier.get(tags.QUERY_RETRIEVE_LEVEL))
    level = _LEVELS.get(value)
    if level is not None and level in model.levels:
        return level
    choice = ", ".join(level.value for level in model.levels)
    if not value:
        words = f"Query/Retrieve Level is missing; use {choice}"
    elif level is not None:
        words = f"{model.name} has no {value} level; use {choice}"
    else:
        words = f"no such Query/Retrieve Level; use {choice}"
    raise InvalidKey(words, offending=(tags.QUERY_RETRIEVE_LEVEL,))


def _require_unique_keys(identifier: Elements, level: Level, model: Model) -> None:
    """Of all higher levels, a single value each (C.4.1.2.1, QF-06)."""
    needed = [higher.unique_key for higher in model.higher_levels(level)]
    missing = [tag for tag in needed if not _text(identifier.get(tag))]
    if missing:
        names = ", ".join(keyword_of(tag) for tag in missing)
        raise InvalidKey(f"{level.value} level needs {names}", offending=tuple(missing))
    for tag in needed:
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


def _wanted(tag: int, element: Element) -> tuple[Wanted | None, bool]:
    """What answers hold of an attribute, None if nothing of it, and whether that is all that was asked for."""
    if not _items(element):
        return Wanted(tag, vr_for(tag, element.vr)), True
    inside: dict[int, Wanted] = {}
    complete = True
    for inner, value in ((inner, value) for item in _items(element) for inner, value in item.items()):
        if is_of_request(inner):
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


def _keys(asked: Elements, matched: Collection[int], agreed: Agreed) -> Iterator[Key]:
    """What is to be matched; an attribute without a value is only returned."""
    for tag, element in asked.items():
        if tag not in matched or not element.value or _only_reserves(tag, asked):
            continue
        is_sequence = vr_of(tag) == "SQ"
        if is_sequence is not (element.vr == "SQ") and vr_of(tag) != "UN":
            is_what = "is a sequence" if is_sequence else "is no sequence"
            raise InvalidKey(f"{keyword_of(tag)} {is_what}", offending=(tag,))
        key = key_of(
            tag,
            _kept(tag, element),
            fuzzy=agreed.fuzzy,
            empty_value=agreed.empty_value,
            multiple_values=agreed.multiple_values,
            combined=agreed.combined_date_time,
        )
        if key is not None:
            yield key


def _kept(tag: int, element: Element) -> Element:
    """The element without what its items ask in vain: that shall not decide anything (QF-03, QF-17)."""
    if tag != tags.REQUEST_ATTRIBUTES_SEQUENCE:
        return element
    items = ({inner: asked for inner, asked in item.items() if _is_kept(tag, inner)} for item in _items(element))
    return Element("SQ", tuple(items))


def _only_reserves(tag: int, asked: Elements) -> bool:
    """Whether it is a private creator whose block has no key: then it only says whose attributes are wanted, and
    objects without them are answers too (PS3.5 7.8.1, QF-13)."""
    group, block = tag >> 16, tag & 0xFFFF
    if not group & 1 or not 0x10 <= block <= 0xFF:
        return False
    return not any(other >> 8 == group << 8 | block and element.value for other, element in asked.items())


def _fixed(identifier: Elements, level: Level, ae_title: str, offset: str | None) -> Iterator[tuple[int, Element]]:
    """What is the same in every answer (C.4.1.1.3.2, QF-05)."""
    yield tags.QUERY_RETRIEVE_LEVEL, Element("CS", level.value)
    yield tags.RETRIEVE_AE_TITLE, Element("AE", ae_title)
    if tags.INSTANCE_AVAILABILITY in identifier:
        yield tags.INSTANCE_AVAILABILITY, Element("CS", "ONLINE")
    if offset is not None:
        yield tags.TIMEZONE_OFFSET_FROM_UTC, Element("SH", offset)


def _text(element: Element | None) -> str:
    return element.value.strip() if element is not None and isinstance(element.value, str) else ""


def _items(element: Element) -> tuple[Mapping[int, Element], ...]:
    if element.vr != "SQ" or not isinstance(element.value, tuple):
        return ()
    return tuple(item for item in element.value if isinstance(item, Mapping))
