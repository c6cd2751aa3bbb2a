"""The statement that finds the rows of a level for which conditions hold, built once for each shape of a query.

Nobody has to have run ANALYZE: where to begin is decided here. The table that begins is the one where an index finds
the fewest rows; from it the statement goes up to what is asked of the levels above, by their keys, and down to the
level that is wanted. CROSS JOIN holds SQLite to that order, and a unary plus keeps it from other indexes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, and_, bindparam, exists, func, literal_column, not_, or_, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.selectable import Join

from pacslite.archive.index.schema import instances, patients, series, series_requests, studies
from pacslite.archive.index.sources import REQUESTS, TABLE_OF
from pacslite.archive.index.terms import (
    Among,
    Below,
    Column,
    Compared,
    Condition,
    Decided,
    Every,
    HasTrigrams,
    Is,
    Operator,
    Some,
    SQLValue,
    State,
    Term,
)
from pacslite.dicom.levels import Level

DECIDE: Final = "pacslite_decides"
"""The SQL function that calls a matcher: its number, then values."""

TABLES: Final = (patients, studies, series, instances)
"""From the top; each belongs to the one before it."""

_NAMES: Final = tuple(table.name for table in TABLES)
_PARENT: Final = {"studies": "patient", "series": "study", "instances": "series", REQUESTS: "series"}
_FAN_OUT: Final = (1, 2, 8, 800)
"""Rows of each table for one patient, roughly."""

_dialect = sqlite.dialect(paramstyle="qmark")
_STATEMENTS: Final = 512

Statement = tuple[str, tuple[int, ...]]
"""SQL, and which value goes to each of its parameters."""

Beginning = tuple[int, str]
"""The number of the condition to begin with, -1 if no index helps any, and its table."""


class CrossJoin(Join):
    """A join whose left side SQLite reads first."""

    inherit_cache = True


@compiles(CrossJoin)
def _cross_join(join: CrossJoin, compiler: SQLCompiler, **options: Any) -> str:
    left, right = (compiler.process(side, **{**options, "asfrom": True}) for side in (join.left, join.right))
    return f"{left} CROSS JOIN {right} ON {compiler.process(join.onclause, **options)}"  # type: ignore[arg-type] # is set


def matching(level: Level, conditions: Sequence[Condition]) -> tuple[str, tuple[SQLValue, ...]]:
    """SQL that finds the ids of the rows of ``level``, and its parameters."""
    first, _ = beginning(level, conditions)
    sql, order = _statement(level, tuple(condition.term for condition in conditions), first)
    return sql, parameters(conditions, order)


def parameters(conditions: Sequence[Condition], order: Sequence[int]) -> tuple[SQLValue, ...]:
    """The values of the conditions as a statement takes them."""
    values = [value for condition in conditions for value in condition.values]
    return tuple([values[number] for number in order])


def beginning(level: Level, conditions: Sequence[Condition]) -> tuple[Beginning, float]:
    """Where to begin, and about how many rows of ``level`` are reached from there; 0 if no index helps.

    Then the highest table that has a condition is read whole: it has the fewest rows.
    """
    tables = [condition.table for condition in conditions] or [TABLE_OF[level]]
    best, found = 0.0, (-1, min(tables, key=_NAMES.index))
    wanted = _FAN_OUT[_NAMES.index(TABLE_OF[level])]
    for number, condition in enumerate(conditions):
        if condition.rows:
            reached = condition.rows * wanted / _FAN_OUT[_NAMES.index(condition.table)]
            if found[0] < 0 or reached < best:
                best, found = reached, (number, condition.table)
    return found, best


@lru_cache(maxsize=_STATEMENTS)
def _statement(level: Level, terms: tuple[Term, ...], first: Beginning) -> Statement:
    target = TABLES[_NAMES.index(TABLE_OF[level])]
    return found_rows(level, [target.c.id], set(), terms, first)


def found_rows(
    level: Level, columns: Sequence[ColumnElement[Any]], needed: set[str], terms: tuple[Term, ...], first: Beginning
) -> Statement:
    """A statement for ``columns`` of what is found; they are of the ``needed`` tables."""
    number_of_first, start = first
    numbers = count()
    clauses = Clauses({table.name: table for table in TABLES}, numbers)
    rendered = [clauses.of(term, free=number == number_of_first) for number, term in enumerate(terms)]
    target = TABLES[_NAMES.index(TABLE_OF[level])]
    used = needed | {name for term in terms for name in tables_of(term)}
    query = select(*columns).select_from(_path(start, target.name, used)).where(*rendered)
    if target is instances and not used - {target.name} and start == target.name:
        query = query.where(instances.c.series.is_not(None))  # what has no patient is in no model (PS3.4 C.6)
    return compiled(query)


def compiled(query: Any) -> Statement:
    """Its parameters are named ``v`` and a number."""
    result = query.compile(dialect=_dialect)
    return str(result), tuple(int(name[1:]) for name in result.positiontup or ())


def _path(start: str, target: str, used: set[str]) -> FromClause:
    """From the first table up as far as it is needed, then down to the target."""
    first, last = _NAMES.index(start), _NAMES.index(target)
    top = min((_NAMES.index(name) for name in used), default=first)
    joined: FromClause = TABLES[first]
    for above, below_ in zip(range(first - 1, top - 1, -1), range(first, top, -1), strict=True):
        joined = CrossJoin(joined, TABLES[above], TABLES[above].c.id == TABLES[below_].c[_PARENT[_NAMES[below_]]])
    for below_ in range(first + 1, last + 1):
        table = TABLES[below_]
        joined = CrossJoin(joined, table, table.c[_PARENT[table.name]] == TABLES[below_ - 1].c.id)
    return joined


def tables_of(term: Term) -> set[str]:
    """The tables of the levels that a term looks at, but for rows below one."""
    match term:
        case Compared(column) | Among(column) | Is(column):
            return {column.table}
        case Decided(_, columns):
            return {column.table for column in columns}
        case HasTrigrams():
            return {"patients"}
        case Every(terms) | Some(terms):
            return {name for each in terms for name in tables_of(each)}
        case Below(of=of):
            return {of}


class Clauses:
    """Makes clauses from terms; ``numbers`` counts the values that they take."""

    def __init__(self, tables: Mapping[str, FromClause], numbers: count[int]) -> None:
        self._tables = tables
        self._numbers = numbers

    def of(self, term: Term, *, free: bool) -> ColumnElement[bool]:
        """``free``: SQLite may use an index for it."""
        match term:
            case Compared(column, operator):
                return self._compared(self._column(column, free=free), operator)
            case Among(column):
                each = func.json_each(self._value()).table_valued("value")
                return self._column(column, free=free).in_(select(each.c.value))
            case Is(column, state):
                return self._is(self._column(column, free=free), state)
            case Decided(matcher, columns):
                values = (self._column(column, free=True) for column in columns)
                return func.__getattr__(DECIDE)(literal_column(str(matcher)), *values) == literal_column("1")
            case HasTrigrams():
                return self._has_trigrams(free=free)
            case Every(terms):
                return and_(*(self.of(each, free=free) for each in terms))
            case Some(terms):
                return or_(*(self.of(each, free=free) for each in terms))
            case Below(table, of, inner, negated):
                return self._below(table, self._tables[of].c.id, inner, negated=negated)

    def _column(self, column: Column, *, free: bool) -> ColumnElement[Any]:
        found: ColumnElement[Any] = self._tables[column.table].c[column.name]
        return found if free else UnaryExpression(found, operator=custom_op("+"), type_=found.type)

    def _value(self) -> ColumnElement[Any]:
        return bindparam(f"v{next(self._numbers)}")

    def _compared(self, column: ColumnElement[Any], operator: Operator) -> ColumnElement[bool]:
        value = self._value()
        match operator:
            case Operator.EQUAL:
                return column == value
            case Operator.FROM:
                return column >= value
            case Operator.AFTER:
                return column > value
            case Operator.UNTIL:
                return column <= value
            case Operator.BEFORE:
                return column < value
            case Operator.LIKE:
                return column.op("GLOB", is_comparison=True)(value)

    def _is(self, column: ColumnElement[Any], state: State) -> ColumnElement[bool]:
        match state:
            case State.EMPTY:
                return column == literal_column("''")
            case State.FILLED:
                return column != literal_column("''")
            case State.NULL:
                return column.is_(None)
            case State.SINGLE:
                return func.instr(column, literal_column("'\\'")) == literal_column("0")
            case State.SEVERAL:
                return func.instr(column, literal_column("'\\'")) > literal_column("0")

    def _has_trigrams(self, *, free: bool) -> ColumnElement[bool]:
        name = f"v{next(self._numbers)}"
        if not free:
            return literal_column("1") == literal_column("1")
        grams = text(f"SELECT rowid FROM patient_names WHERE patient_names MATCH :{name}")
        return self._tables["patients"].c.id.in_(grams)

    def _below(self, name: str, owner: ColumnElement[Any], term: Term, *, negated: bool) -> ColumnElement[bool]:
        table = {"series": series, REQUESTS: series_requests}[name].alias("below")
        inner = Clauses({**self._tables, name: table}, self._numbers).of(term, free=True)
        found = exists(literal_column("1")).where(table.c[_PARENT[name]] == owner, inner)
        return not_(found) if negated else found
