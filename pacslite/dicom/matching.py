"""Attribute matching (PS3.4 C.2.2.2): what a key of a request asks for, as values that any store can evaluate.

Universal matching is no match at all: such a key is only returned.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SingleValue:
    """Equal to ``value``, which is in the normal form of its VR (C.2.2.2.1, ``normal_forms.py``); case counts."""

    value: str


@dataclass(frozen=True, slots=True)
class ValueList:
    """Equal to one of ``values``: UID list matching (C.2.2.2.2), several Modalities in Study."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``*`` is any number of characters, ``?`` exactly one (C.2.2.2.4); every other character is itself."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Range:
    """From ``first`` to ``last``, both included, in the normal form of DA, TM or DT (C.2.2.2.5). Empty: open.

    An end of a DT may carry its offset from UTC. A TM whose ``first`` is after its ``last`` goes past midnight; there
    is such a one only until it is combined with its date.
    """

    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinedRange:
    """One interval over a date and a time attribute (C.2.2.2.5.4), ends as ``YYYYMMDDHHMMSS.FFFFFF``. Empty: open.

    The tag of its :class:`Key` is that of the date.
    """

    time_tag: int
    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMatch:
    """A person name by its folded component groups: alphabetic, ideographic, phonetic.

    Each group is a pattern that may hold ``*`` and ``?``, empty where nothing is asked of it. With ``any_group`` the
    request had but one, the first, and it may match any of the three. As delimiters at the end of a name mean nothing,
    ``smith^*`` matches ``smith``. ``fuzzy`` is semantic matching (C.2.2.2.1.1): what matches literally, and more.
    """

    groups: tuple[str, str, str]
    any_group: bool = False
    fuzzy: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    """Each of several, by some value of the attribute, in any order (Multiple Value Matching, C.2.2.2.8)."""

    matches: tuple[SingleValue | NameMatch, ...]


@dataclass(frozen=True, slots=True)
class EmptyValue:
    """No value, or no attribute (Empty Value Matching, C.2.2.2.7)."""


@dataclass(frozen=True, slots=True)
class SequenceMatch:
    """One item in which every key matches (C.2.2.2.6)."""

    keys: tuple[Key, ...]


Match = SingleValue | ValueList | Wildcard | Range | CombinedRange | NameMatch | AllOf | EmptyValue | SequenceMatch


@dataclass(frozen=True, slots=True)
class Key:
    """A matching key: the attribute and what is asked of it."""

    tag: int
    vr: str
    match: Match
