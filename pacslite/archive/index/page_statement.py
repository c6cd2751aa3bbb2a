"""The statement that reads what answers hold: for a page of rows whose ids are known, or of all where few are found."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, bindparam, cast, func, literal_column, select

from pacslite.archive.index.attributes import Kind
from pacslite.archive.index.match_statement import (
    TABLES,
    Beginning,
    Clauses,
    CrossJoin,
    Statement,
    beginning,
    compiled,
    found_rows,
    parameters,
    tables_of,
)
from pacslite.archive.index.schema import instances, series, series_requests, studies
from pacslite.archive.index.sources import OF_REQUEST, SOURCES, TABLE_OF, Made, Stored
from pacslite.archive.index.terms import Condition, SQLValue, Term
from pacslite.archive.query import Row, Wanted
from pacslite.dicom.elements import Element, Value
from pacslite.dicom.levels import Level

Finish = Callable[[Any], Value]
"""From what a column holds to the value of an attribute."""

_OF_INSTANCE: Final = ("path", "data_set_offset", "sop_class_uid", "sop_instance_uid", "transfer_syntax_uid")
LOCATED: Final = (*_OF_INSTANCE, "study_uid", "series_uid")
"""What tells where the file of an instance is: columns behind those that are wanted."""

MOST_REMEMBERED: Final = 100
"""Attributes of answers whose statements are kept: nobody shall fill the memory with what is asked once."""

_BLANK: Final = -1
"""Where a row has the empty string."""

_FEW: Final = 100
"""Rows that may be reached where they are read without their ids: the images of a series and what is less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``sql`` takes the ids as JSON if it is for such, then the values of its terms in ``order``. What ``finish`` names
    by place is not yet the value that it stands for. ``pick`` makes room for what only files have, where there is any;
    as columns these would be too many for SQLite."""

    sql: str
    order: tuple[int, ...]
    finish: tuple[tuple[int, Finish], ...]
    pick: itemgetter[Any] | None

    def rows(self, found: list[Any]) -> list[Row]:
        """The rows as answers want them."""
        if self.pick is not None:
            found = [self.pick((*row, "")) for row in found]
        if not self.finish:
            return found
        finished = []
        for row in found:
            values = list(row)
            for place, finish in self.finish:
                values[place] = finish(values[place])
            finished.append(tuple(values))
        return finished


def page_of(level: Level, wanted: tuple[Wanted, ...], terms: tuple[Term, ...] = (), *, located: bool = False) -> Page:
    """Rows hold ``wanted`` in order, ``located`` ones then :data:`LOCATED`.

    With ``terms`` each row is looked at again: it may have changed, or another may have its id by now.
    """
    make = _page_of if len(wanted) <= MOST_REMEMBERED else _page_of.__wrapped__
    return make(level, wanted, terms, located=located)


@lru_cache(maxsize=512)
def _page_of(level: Level, wanted: tuple[Wanted, ...], terms: tuple[Term, ...], *, located: bool) -> Page:
    columns, needed, finish, pick = _columns(level, wanted, located=located)
    needed |= {name for term in terms for name in tables_of(term)}
    sql, order = _statement(level, columns, needed, terms)
    return Page(sql=sql, order=order[1:], finish=finish, pick=pick)


def of_few(
    level: Level, wanted: tuple[Wanted, ...], conditions: Sequence[Condition], *, located: bool = False
) -> tuple[Page, tuple[SQLValue, ...]] | None:
    """A statement for the rows themselves and its parameters, where an index finds so few that ids need not come first.

    It takes half the time that a statement for the ids and one for the rows take together.
    """
    first, reached = beginning(level, conditions)
    if not 0 < reached <= _FEW:
        return None
    make = _of_few if len(wanted) <= MOST_REMEMBERED else _of_few.__wrapped__
    page = make(level, wanted, tuple([condition.term for condition in conditions]), first, located=located)
    return page, parameters(conditions, page.order)


@lru_cache(maxsize=512)
def _of_few(
    level: Level, wanted: tuple[Wanted, ...], terms: tuple[Term, ...], first: Beginning, *, located: bool
) -> Page:
    columns, needed, finish, pick = _columns(level, wanted, located=located)
    sql, order = found_rows(level, columns, needed, terms, first)
    return Page(sql=sql, order=order, finish=finish, pick=pick)


def _columns(
    level: Level, wanted: tuple[Wanted, ...], *, located: bool
) -> tuple[list[ColumnElement[Any]], set[str], tuple[tuple[int, Finish], ...], itemgetter[Any] | None]:
    """What answers hold as columns, the tables that these are of, how to finish them, and which of them to pick."""
    columns: list[ColumnElement[Any]] = []
    places: list[int] = []
    finish: list[tuple[int, Finish]] = []
    needed = {TABLE_OF[level]}
    for place, attribute in enumerate(wanted):
        source = SOURCES.get(attribute.tag)
        if source is None:  # read from the file
            places.append(_BLANK)
            continue
        places.append(len(columns))
        needed.add(TABLE_OF[source.level])
        if isinstance(source, Stored):
            columns.append(_stored(source))
        else:
            column, finisher = _made(source, attribute)
            columns.append(column)
            finish.append((place, finisher))
    if located:
        needed |= {"studies", "series"}
        places += range(len(columns), len(columns) + len(LOCATED))
        columns += [*(instances.c[name] for name in _OF_INSTANCE), studies.c.study_uid, series.c.series_uid]
    pick = itemgetter(*places) if _BLANK in places else None  # they are located: more than one, so a tuple is picked
    return columns or [literal_column("1")], needed, tuple(finish), pick


def _statement(level: Level, columns: list[ColumnElement[Any]], needed: set[str], terms: tuple[Term, ...]) -> Statement:
    names = [table.name for table in TABLES]
    numbers = count(1)
    ids = func.json_each(bindparam("v0")).table_valued("value", name="ids")
    place = names.index(TABLE_OF[level])
    joined: Any = CrossJoin(ids, TABLES[place], TABLES[place].c.id == ids.c.value)
    for above in range(place - 1, min(map(names.index, needed)) - 1, -1):
        parent = {"studies": "patient", "series": "study", "instances": "series"}[names[above + 1]]
        joined = CrossJoin(joined, TABLES[above], TABLES[above].c.id == TABLES[above + 1].c[parent])
    clauses = Clauses({table.name: table for table in TABLES}, numbers)
    query = select(*columns).select_from(joined).where(*(clauses.of(term, free=False) for term in terms))
    if needed == {"instances"}:
        query = query.where(instances.c.series.is_not(None))  # as where they were found: an id may be another's by now
    sql, order = compiled(query)
    return sql, order


def _stored(source: Stored) -> ColumnElement[Any]:
    table = next(table for table in TABLES if table.name == source.table)
    column: ColumnElement[Any] = table.c[source.column]
    empty = literal_column("''", Text)
    match source.kind:
        case Kind.DATE | Kind.TIME:
            return func.coalesce(table.c[f"{source.column}_raw"], column, empty)
        case Kind.INTEGER:
            return func.coalesce(cast(column, Text) if source.vr == "IS" else column, empty)
        case _:
            return column


def _made(source: Made, wanted: Wanted) -> tuple[ColumnElement[Any], Finish]:
    below, backslash, empty = series.alias("below"), literal_column("'\\'", Text), literal_column("''", Text)
    match source:
        case Made.MODALITIES:
            column, finish = below.c.modality, _without_repeats
        case Made.SOP_CLASSES:
            column, finish = below.c.sop_classes, _without_repeats
        case Made.REQUESTS:
            return _requests(wanted)
    values = select(func.coalesce(func.group_concat(column, backslash), empty))
    return values.where(below.c.study == studies.c.id, column != empty).scalar_subquery(), finish


def _requests(wanted: Wanted) -> tuple[ColumnElement[Any], Finish]:
    kept = tuple(tag for tag in (tuple(item.tag for item in wanted.items) or tuple(OF_REQUEST)) if tag in OF_REQUEST)
    below = series_requests.alias("below")
    item = func.json_array(*(below.c[OF_REQUEST[tag].column] for tag in kept))
    items = select(func.json_group_array(item)).where(below.c.series == series.c.id).scalar_subquery()
    return items, lambda text: _items(kept, text)


def _without_repeats(joined: str) -> Value:
    return "\\".join(dict.fromkeys(joined.split("\\"))) if "\\" in joined else joined


def _items(kept: Sequence[int], text: str) -> Value:
    vrs = [OF_REQUEST[tag].vr for tag in kept]
    return tuple(
        {tag: Element(vr, value) for tag, vr, value in zip(kept, vrs, item, strict=True)} for item in json.loads(text)
    )
