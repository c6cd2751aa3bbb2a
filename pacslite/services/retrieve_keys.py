"""From the Identifier of a C-MOVE-RQ or C-GET-RQ to the unique keys of what is wanted (PS3.4 C.4.2.1.4, C.4.3.1.3).

Only unique keys count. Attributes that are no unique keys are passed over: workstations send back what a query gave
them. A value of a unique key below the level is refused, since more would be sent than was asked for. Without
relational retrieval the UIDs of all higher levels are needed, one of each; Patient ID may be missing below the PATIENT
level, where many requesters leave it out and nothing becomes ambiguous by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.levels import Level, Model
from pacslite.dicom.tags import keyword_of
from pacslite.errors import InvalidKey
from pacslite.services.identifier import level_asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be retrieved: the entities of ``level`` that all of ``keys`` name, by tag."""

    level: Level
    keys: Mapping[int, tuple[str, ...]]


def wanted(identifier: Elements, model: Model, *, relational: bool) -> Wanted:
    """What ``identifier`` names; raises :class:`InvalidKey` with the element that is wrong."""
    level = level_asked(identifier, model)
    keys: dict[int, tuple[str, ...]] = {}
    for own in Level:
        tag = own.unique_key
        values = _values(identifier.get(tag))
        if level.is_above(own):
            if values:
                raise InvalidKey(f"{keyword_of(tag)} does not go with {level.value} level", offending=(tag,))
        elif values:
            _check(tag, values, single=own is Level.PATIENT or (own is not level and not relational))
            keys[tag] = values
        elif _is_needed(own, level, model, relational=relational):
            raise InvalidKey(f"{keyword_of(tag)} is missing for {level.value} level", offending=(tag,))
    return Wanted(level=level, keys=keys)


def _is_needed(own: Level, level: Level, model: Model, *, relational: bool) -> bool:
    if own is level:
        return True
    return own is not Level.PATIENT and own in model.higher_levels(level) and not relational


def _check(tag: int, values: tuple[str, ...], *, single: bool) -> None:
    if single and len(values) > 1:
        raise InvalidKey(f"{keyword_of(tag)} must be a single value here", offending=(tag,))
    if any(wildcard in value for value in values for wildcard in "*?"):
        raise InvalidKey(f"{keyword_of(tag)} takes no wildcards in a retrieval", offending=(tag,))


def _values(element: Element | None) -> tuple[str, ...]:
    """The values that are not empty, each once."""
    if element is None:
        return ()
    value = element.value
    if isinstance(value, bytes):  # a list too long for a short length field comes as UN (PS3.5 6.2.2)
        value = value.decode("latin-1")
    if not isinstance(value, str):
        return ()
    return tuple(dict.fromkeys(part for one in value.split("\\") if (part := one.strip(" \0"))))
