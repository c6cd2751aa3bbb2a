"""From keys (``dicom/matching.py``) to conditions over the index's columns.

Where SQL says exactly what a key means it does the work alone. Where it does not (several values in a column, a
pattern with many stars, sounds, text that holds a date) it narrows as far as it can, and a matcher in Python has the
last word: ``dicom/keys.py``, which is also what everything here has to agree with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

from pacslite.archive.index.attributes import NAME_GROUPS, Kind
from pacslite.archive.index.sources import IDENTIFYING, OF_REQUEST, REQUESTS, SOURCES, Made, Stored
from pacslite.archive.index.terms import (
    Among,
    Column,
    Compared,
    Condition,
    Decided,
    HasTrigrams,
    Is,
    Matcher,
    Operator,
    SQLValue,
    State,
    below,
    every,
    some,
)
from pacslite.dicom import tags
from pacslite.dicom.keys import TIME_OF, value_matcher
from pacslite.dicom.levels import Level
from pacslite.dicom.matching import (
    AllOf,
    CombinedRange,
    EmptyValue,
    Key,
    NameMatch,
    Range,
    SequenceMatch,
    SingleValue,
    ValueList,
    Wildcard,
)
from pacslite.dicom.moments import in_combined_range, matches_in_zone
from pacslite.dicom.names import name_matcher
from pacslite.dicom.values import normalise_date, normalise_time, utc_offset_minutes
from pacslite.dicom.wildcard import is_pattern, literal_prefix, longest_literal

_TEXT_VRS: Final = frozenset({"AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"})
"""Whose values are compared as they are written."""

_NATIVE_STARS: Final = 2
"""GLOB tries every place for each star, so its time grows with the power of their number; ours does not."""
_NATIVE_LENGTH: Final = 1000
_TRIGRAMS: Final = 12
_LAST_CHARACTER: Final = 0x10FFFF

_ONE: Final = 1
_FEW: Final = 3
_OF_A_DAY: Final = 100
_MANY: Final = 50_000
_ANY: Final = 500_000
"""How many rows an index may find. Guesses: what counts is which of two is the smaller."""

TimeZones = tuple[int, int]
"""Minutes from UTC: of the requester, and of what names no time zone itself."""


@dataclass(slots=True)
class Conditions:
    """Conditions of one query, and the matchers that they call by number."""

    time_zones: TimeZones | None = None
    conditions: list[Condition] = field(default_factory=list)
    matchers: list[Matcher] = field(default_factory=list)

    def add(self, key: Key) -> None:
        """Have the entities match ``key``, which is in the index (:data:`SOURCES`)."""
        source = SOURCES[key.tag]
        self.conditions.append(self._of_stored(source, key) if isinstance(source, Stored) else self._made(source, key))

    # --- Made attributes ---

    def _made(self, source: Made, key: Key) -> Condition:
        match source:
            case Made.MODALITIES:
                return self._of_some_series(SOURCES[tags.MODALITY], key)
            case Made.SOP_CLASSES:
                return self._of_some_series(SOP_CLASSES, key)
            case Made.REQUESTS:
                return self._of_one_item(key)

    def _of_some_series(self, source: object, key: Key) -> Condition:
        """Any series decides (QF-19); a study without a value is one where none has any."""
        assert isinstance(source, Stored)
        if isinstance(key.match, EmptyValue):
            filled = Condition("series", Is(Column("series", source.column), State.FILLED))
            return below("series", "studies", filled, negated=True)
        if isinstance(key.match, AllOf):
            return every(*(self._of_some_series(source, Key(key.tag, key.vr, each)) for each in key.match.matches))
        return below("series", "studies", self._of_stored(source, key))

    def _of_one_item(self, key: Key) -> Condition:
        """Every key in the same item (QF-17). What the index does not keep of items asks nothing of them."""
        match key.match:
            case SequenceMatch(keys):
                inner = [self._of_stored(OF_REQUEST[inner.tag], inner) for inner in keys if inner.tag in OF_REQUEST]
                return below(REQUESTS, "series", every(*inner) if inner else _ANY_ITEM)
            case _:
                return below(REQUESTS, "series", _ANY_ITEM, negated=True)

    # --- Stored attributes ---

    def _of_stored(self, source: Stored, key: Key) -> Condition:
        if isinstance(key.match, SingleValue | Range | CombinedRange) and (pair := _PAIRS.get(key.tag)):
            if self.time_zones is not None and source.level is not Level.PATIENT:  # a birthday is of no zone
                return self._in_zone(source, pair, key.match, self.time_zones)
            if isinstance(key.match, CombinedRange):
                return self._combined(source, pair[1], key.match)
        match source.kind:
            case Kind.GROUPED_NAME:
                return self._grouped_name(source, key)
            case Kind.NAME:
                return self._name(source, key)
            case Kind.DATE | Kind.TIME:
                return self._moment(source, key)
            case Kind.INTEGER:
                return self._integer(source, key)
            case Kind.TEXT:
                return self._text(source, key) if source.vr in _TEXT_VRS else self._decided(source, key)

    def _text(self, source: Stored, key: Key) -> Condition:
        column = Column(source.table, source.column)
        match key.match:
            case SingleValue(value):
                exact = Condition(source.table, Compared(column, Operator.EQUAL), (value,), _rows(source, _FEW))
            case ValueList(values):
                rows = _rows(source, _FEW * len(values))
                exact = Condition(source.table, Among(column), (json.dumps(values),), rows)
            case Wildcard(pattern):
                if not _is_native(pattern):
                    return _narrowed(column, pattern, self._decided(source, key), _rows(source, _ANY))
                exact = _pattern(column, pattern, _rows(source, _ANY))
            case EmptyValue():
                return Condition(source.table, Is(column, State.EMPTY))
            case _:
                return self._decided(source, key)
        if source.column in _PARTIALLY_INDEXED and exact.rows:
            return every(exact, Condition(source.table, Is(column, State.FILLED)))
        if source.is_single:
            return exact
        # Several values are in one column, and one of them suffices (QF-18).
        single = Condition(source.table, Is(column, State.SINGLE))
        several = Condition(source.table, Is(column, State.SEVERAL))
        return some(every(single, exact), every(several, self._decided(source, key)))

    def _integer(self, source: Stored, key: Key) -> Condition:
        column = Column(source.table, source.column)
        match key.match:
            case SingleValue(value):
                return Condition(source.table, Compared(column, Operator.EQUAL), (_integer(value),))
            case ValueList(values):
                return Condition(source.table, Among(column), (json.dumps([_integer(value) for value in values]),))
            case EmptyValue():
                return Condition(source.table, Is(column, State.NULL))
            case _:
                return self._decided(source, key)

    def _moment(self, source: Stored, key: Key) -> Condition:
        """Dates and times compare as their normal forms do."""
        table, column = source.table, Column(source.table, source.column)
        match key.match:
            case SingleValue(value):
                return Condition(table, Compared(column, Operator.EQUAL), (value,), _rows(source, _OF_A_DAY))
            case Range(first, last):
                return _between(column, first, last, _rows(source, _rows_of_days(first, last)))
            case EmptyValue():
                raw = Column(table, f"{source.column}_raw")
                return every(Condition(table, Is(column, State.NULL)), Condition(table, Is(raw, State.NULL)))
            case _:
                return self._decided(source, key)

    def _combined(self, source: Stored, other: Stored, match: CombinedRange) -> Condition:
        """One interval over two columns (QF-15); the date alone decides but for the first day and the last."""
        table, day, clock = source.table, Column(source.table, source.column), Column(source.table, other.column)
        if source.kind is not Kind.DATE:
            return self._call(table, lambda *when: in_combined_range(match, *_normal(*when)), day, clock)
        days = _between(day, match.first[:8], match.last[:8], _rows(source, _rows_of_days(match.first, match.last)))
        ends = [days]
        for end, inside, operator in (
            (match.first, Operator.AFTER, Operator.FROM),
            (match.last, Operator.BEFORE, Operator.UNTIL),
        ):
            if end:
                ends.append(
                    some(
                        Condition(table, Compared(day, inside), (end[:8],)),
                        Condition(table, Is(clock, State.NULL)),  # any moment of the day
                        Condition(table, Compared(clock, operator), (end[8:],)),
                    )
                )
        return every(*ends)

    def _in_zone(
        self, source: Stored, pair: tuple[Stored, Stored], match: SingleValue | Range | CombinedRange, zones: TimeZones
    ) -> Condition:
        """Clocks differ by a day and a bit (+1400 and -1200): dates, so much wider, narrow, and moments decide."""
        wanted, usual = zones
        of_time = source is pair[1]

        @lru_cache(maxsize=1024)
        def matches(day: str | None, clock: str | None, offset: str) -> bool:
            own = utc_offset_minutes(offset)
            date_, time_ = _normal(day, clock)
            stored = usual if own is None else own
            return matches_in_zone(
                match, date=date_, time=time_, of_time=of_time, stored_minutes=stored, wanted_minutes=wanted
            )

        day, clock = (Column(source.table, each.column) for each in pair)
        found = self._call(source.table, matches, day, clock, Column("studies", "timezone_offset"))
        if of_time or source.kind is not Kind.DATE:
            return found
        first, last = (match.value, match.value) if isinstance(match, SingleValue) else (match.first, match.last)
        first, last = _shifted(first[:8], -2), _shifted(last[:8], 2)
        return every(_between(day, first, last, _rows(source, _rows_of_days(first, last))), found)

    def _name(self, source: Stored, key: Key) -> Condition:
        """The folded names together narrow, each with its groups decides."""
        column = Column(source.table, source.column)
        if isinstance(key.match, EmptyValue):
            return Condition(source.table, Is(column, State.EMPTY))
        decided = self._decided(source, key)
        if not isinstance(key.match, NameMatch) or key.match.fuzzy:
            return every(Condition(source.table, Is(column, State.FILLED)), decided)
        folded = Column(source.table, f"{source.column}_folded")
        parts = [longest_literal(group).strip("^") for group in key.match.groups]
        holds = [
            Condition(source.table, Compared(folded, Operator.LIKE), (f"*{_escaped(part)}*",))
            for part in parts
            if part and len(part) < _NATIVE_LENGTH
        ]
        return every(*holds, decided)

    def _grouped_name(self, source: Stored, key: Key) -> Condition:
        columns = tuple(Column(source.table, f"{source.column}_{group}") for group in NAME_GROUPS)
        match key.match:
            case EmptyValue():
                return Condition(source.table, Is(Column(source.table, source.column), State.EMPTY))
            case NameMatch(groups=patterns, fuzzy=False) if key.match.any_group:
                groups = [_group(column, patterns[0], source) for column in columns]
                rows = max(group.rows for group in groups)
                found = some(groups[0], *(_if_filled(group) for group in groups[1:]), rows=rows)
            case NameMatch(groups=patterns, fuzzy=False):
                groups = [
                    _group(column, pattern, source)
                    for column, pattern in zip(columns, patterns, strict=True)
                    if pattern
                ]
                found = every(*groups)
            case _:
                return self._decided(source, key)
        asked = [pattern for pattern in patterns if pattern]
        if source.column in IDENTIFYING and found.rows >= _MANY and (grams := _trigrams(asked)):
            found = every(Condition(source.table, HasTrigrams(), (grams,)), found, rows=_MANY // 10)
        if all(map(_is_plain_name, asked)):
            return found
        matcher = name_matcher(key.match)
        return every(found, self._call(source.table, lambda *names: matcher(names), *columns))

    # --- Matchers ---

    def _decided(self, source: Stored, key: Key) -> Condition:
        matches = value_matcher(key)
        return self._call(source.table, lru_cache(maxsize=1024)(matches), Column(source.table, source.column))

    def _call(self, table: str, matcher: Matcher, *columns: Column) -> Condition:
        self.matchers.append(matcher)
        return Condition(table, Decided(len(self.matchers) - 1, columns))


def _paired() -> Iterator[tuple[int, tuple[Stored, Stored]]]:
    for date_tag, time_tag in TIME_OF.items():
        pair = SOURCES.get(date_tag), SOURCES.get(time_tag)
        if isinstance(pair[0], Stored) and isinstance(pair[1], Stored):
            yield from ((tag, (pair[0], pair[1])) for tag in (date_tag, time_tag))


_PAIRS: Final = dict(_paired())
"""By the tags of both: the date attributes that have a time, and their times."""


def _normal(day: str | None, clock: str | None) -> tuple[str, str]:
    return normalise_date(day or ""), normalise_time(clock or "")


_ANY_ITEM: Final = Condition(REQUESTS, Is(Column(REQUESTS, "id"), State.FILLED))

_PARTIALLY_INDEXED: Final = frozenset({"patient_id"})
"""Their indexes leave out what is empty; a query has to say that it does not want that."""

SOP_CLASSES: Final = Stored(
    level=Made.SOP_CLASSES.level,
    table="series",
    tag=tags.SOP_CLASSES_IN_STUDY,
    vr="UI",
    column="sop_classes",
    kind=Kind.TEXT,
    is_single=False,
)


# --- Indexes ---------------------------------------------------------------------------------------------------------


def _rows(source: Stored, rows: int) -> int:
    """How many rows its index may find: unique ones find one for each value, those without an index find nothing."""
    if source.column not in IDENTIFYING or source.table == REQUESTS:
        return 0
    return max(_ONE, rows // _FEW) if source.vr == "UI" else rows


def _rows_of_days(first: str, last: str) -> int:
    if not first or not last:
        return _MANY
    try:
        days = (_date(last) - _date(first)).days + 1
    except ValueError:
        return _MANY
    return min(_MANY, _OF_A_DAY * max(1, days))


def _date(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _shifted(day: str, days: int) -> str:
    if not day:
        return ""
    try:
        return f"{_date(day) + timedelta(days=days):%Y%m%d}"
    except (OverflowError, ValueError):
        return ""


def _between(column: Column, first: str, last: str, rows: int) -> Condition:
    ends = [
        Condition(column.table, Compared(column, operator), (end,), rows)
        for operator, end in ((Operator.FROM, first), (Operator.UNTIL, last))
        if end
    ]
    return every(*ends)


# --- Patterns --------------------------------------------------------------------------------------------------------


def _is_native(pattern: str) -> bool:
    return pattern.rstrip("*").count("*") <= _NATIVE_STARS and len(pattern) < _NATIVE_LENGTH


def _pattern(column: Column, pattern: str, rows: int) -> Condition:
    """A pattern that GLOB is quick with; what it begins with is a range of an index. ``rows`` 0: there is none."""
    table = column.table
    if not is_pattern(pattern):
        return Condition(table, Compared(column, Operator.EQUAL), (pattern,), min(rows, _FEW))
    prefix = literal_prefix(pattern)
    glob = Condition(table, Compared(column, Operator.LIKE), (_escaped(pattern),), rows)
    if not prefix or not rows:
        return glob
    begins = _begins(column, prefix)
    return begins if pattern == prefix + "*" else every(begins, glob)


def _narrowed(column: Column, pattern: str, decided: Condition, rows: int) -> Condition:
    prefix = literal_prefix(pattern)
    return every(_begins(column, prefix), decided) if prefix and rows else decided


def _begins(column: Column, prefix: str) -> Condition:
    """As a range: SQLite would see it in a pattern only if it were not a parameter."""
    rows = max(_FEW, _ANY // 20 ** min(len(prefix), 4))
    first = Condition(column.table, Compared(column, Operator.FROM), (prefix,), rows)
    end = _successor(prefix)
    return every(first, Condition(column.table, Compared(column, Operator.BEFORE), (end,), rows)) if end else first


def _successor(prefix: str) -> str:
    """The first text behind all that begin with ``prefix``: UTF-8 sorts as its characters do."""
    bare = prefix.rstrip(chr(_LAST_CHARACTER))
    if not bare:
        return ""
    following = ord(bare[-1]) + 1
    return bare[:-1] + chr(0xE000 if following == 0xD800 else following)


def _escaped(pattern: str) -> str:
    """``[`` begins a class of characters in GLOB; here it is itself (QF-11)."""
    return pattern.replace("[", "[[]")


def _integer(value: str) -> SQLValue:
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -(1 << 63) <= number < 1 << 63 else None


# --- Names -----------------------------------------------------------------------------------------------------------


def _is_plain_name(pattern: str) -> bool:
    """Whether :func:`_group` says all there is to it: see there."""
    if not _is_native(pattern):
        return False
    head, delimiter, tail = pattern.rpartition("^")
    if not delimiter or not pattern.endswith("*"):
        return True
    return not is_pattern(head) and (tail == "*" or not is_pattern(tail[0]))


def _group(column: Column, pattern: str, source: Stored) -> Condition:
    """One group. Delimiters at the end of a name mean nothing, so ``smith^*`` is ``smith`` too; where more of a pattern
    could mean delimiters that are not written, only what it begins with counts here."""
    rows = _ANY if source.column in IDENTIFYING else 0
    if _is_plain_name(pattern):
        found = _pattern(column, pattern, rows)
        if pattern.endswith("^*"):
            bare = Condition(column.table, Compared(column, Operator.EQUAL), (pattern[:-1].rstrip("^"),), rows and _FEW)
            return some(bare, found, rows=found.rows + bare.rows)
        return found
    prefix = literal_prefix(pattern).rstrip("^")
    if prefix and rows and len(prefix) < _NATIVE_LENGTH:
        return _begins(column, prefix)
    return Condition(column.table, Compared(column, Operator.LIKE), ("*",), rows)


def _if_filled(group: Condition) -> Condition:
    """Ideographic and phonetic groups are mostly empty, and their indexes leave that out."""
    column = _column_of(group)
    return every(Condition(group.table, Is(column, State.FILLED)), group)


def _column_of(condition: Condition) -> Column:
    term = condition.term
    while not isinstance(term, Compared):
        term = term.terms[0]  # type: ignore[union-attr] # made by _group: compared columns, joined
    return term.column


def _trigrams(patterns: list[str]) -> str:
    """An expression for the index of trigrams: of what the patterns hold for certain, a few; empty if that is short.

    Delimiters at the end of a piece may be ones that are not written.
    """
    pieces = [piece.rstrip("^") for pattern in patterns for piece in pattern.replace("?", "*").split("*")]
    grams = list(dict.fromkeys(piece[at : at + 3] for piece in pieces for at in range(len(piece) - 2)))
    return " AND ".join('"' + gram.replace('"', '""') + '"' for gram in grams[:_TRIGRAMS])
