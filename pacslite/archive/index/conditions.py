"""From keys (``dicom/matching.py``) to conditions over the index's columns.

Where SQL says exactly what a key means it does the work alone. Where it does not (several values in a column, a
pattern with many stars, sounds, text that holds a date) it narrows as far as it can, and a matcher in Python has the
last word: ``dicom/keys.py``, which is also what everything here has to agree with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from pacslite.archive.index.attributes import NAME_GROUPS, Kind
from pacslite.archive.index.patterns import (
    ANY,
    FEW,
    MANY,
    NATIVE_LENGTH,
    OF_A_DAY,
    between,
    escaped,
    group_like,
    if_filled,
    integer,
    is_native,
    is_plain_name,
    like,
    narrowed,
    rows_found,
    rows_of_days,
    shifted,
    trigrams,
)
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
from pacslite.dicom.moments import date_time_matches_in_zone, in_combined_range, matches_in_zone
from pacslite.dicom.names import name_matcher
from pacslite.dicom.values import normalise_date, normalise_date_time, normalise_time, utc_offset_minutes
from pacslite.dicom.wildcard import longest_literal

_TEXT_VRS: Final = frozenset({"AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"})
"""Whose values are compared as they are written."""


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
        if self.time_zones is not None and source.vr == "DT" and isinstance(key.match, Range):
            return self._date_time_in_zone(source, key.match, self.time_zones)
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
                exact = Condition(source.table, Compared(column, Operator.EQUAL), (value,), rows_found(source, FEW))
            case ValueList(values):
                rows = rows_found(source, FEW * len(values))
                exact = Condition(source.table, Among(column), (json.dumps(values),), rows)
            case Wildcard(pattern):
                if not is_native(pattern):
                    return narrowed(column, pattern, self._decided(source, key), rows_found(source, ANY))
                exact = like(column, pattern, rows_found(source, ANY))
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
                return Condition(source.table, Compared(column, Operator.EQUAL), (integer(value),))
            case ValueList(values):
                return Condition(source.table, Among(column), (json.dumps([integer(value) for value in values]),))
            case EmptyValue():
                return Condition(source.table, Is(column, State.NULL))
            case _:
                return self._decided(source, key)

    def _moment(self, source: Stored, key: Key) -> Condition:
        """Dates and times compare as their normal forms do."""
        table, column = source.table, Column(source.table, source.column)
        match key.match:
            case SingleValue(value):
                return Condition(table, Compared(column, Operator.EQUAL), (value,), rows_found(source, OF_A_DAY))
            case Range(first, last):
                return between(column, first, last, rows_found(source, rows_of_days(first, last)))
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
        days = between(day, match.first[:8], match.last[:8], rows_found(source, rows_of_days(match.first, match.last)))
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
        first, last = shifted(first[:8], -2), shifted(last[:8], 2)
        return every(between(day, first, last, rows_found(source, rows_of_days(first, last))), found)

    def _date_time_in_zone(self, source: Stored, match: Range, zones: TimeZones) -> Condition:
        """One that names its offset is of that, another of its study's."""
        wanted, usual = zones

        @lru_cache(maxsize=1024)
        def matches(value: str, offset: str) -> bool:
            own = utc_offset_minutes(offset)
            stored = usual if own is None else own
            return any(
                date_time_matches_in_zone(
                    match, normalise_date_time(text), stored_minutes=stored, wanted_minutes=wanted
                )
                for text in value.split("\\")
            )

        columns = Column(source.table, source.column), Column("studies", "timezone_offset")
        return self._call(source.table, matches, *columns)

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
            Condition(source.table, Compared(folded, Operator.LIKE), (f"*{escaped(part)}*",))
            for part in parts
            if part and len(part) < NATIVE_LENGTH
        ]
        return every(*holds, decided)

    def _grouped_name(self, source: Stored, key: Key) -> Condition:
        columns = tuple(Column(source.table, f"{source.column}_{group}") for group in NAME_GROUPS)
        match key.match:
            case EmptyValue():
                return Condition(source.table, Is(Column(source.table, source.column), State.EMPTY))
            case NameMatch(groups=patterns, fuzzy=False) if key.match.any_group:
                groups = [group_like(column, patterns[0], source) for column in columns]
                rows = max(group.rows for group in groups)
                found = some(groups[0], *(if_filled(group) for group in groups[1:]), rows=rows)
            case NameMatch(groups=patterns, fuzzy=False):
                groups = [
                    group_like(column, pattern, source)
                    for column, pattern in zip(columns, patterns, strict=True)
                    if pattern
                ]
                found = every(*groups)
            case _:
                return self._decided(source, key)
        asked = [pattern for pattern in patterns if pattern]
        if source.column in IDENTIFYING and found.rows >= MANY and (grams := trigrams(asked)):
            found = every(Condition(source.table, HasTrigrams(), (grams,)), found, rows=MANY // 10)
        if all(map(is_plain_name, asked)):
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
