"""Conditions without their values: the shape of a query, equal for all queries that have the same statement.

A shape is a tree of terms over columns. It says where values go, not what they are; they come beside it, in the order
in which the tree is read. So a statement is built and compiled once for each shape, and queries that differ in their
values alone share it (``match_statement.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

SQLValue = str | int | None
Matcher = Callable[..., bool]
"""Told the values of columns, in a thread that reads."""


@dataclass(frozen=True, slots=True)
class Column:
    table: str
    name: str


class Operator(Enum):
    """Between a column and one value."""

    EQUAL = "="
    FROM = ">="
    AFTER = ">"
    UNTIL = "<="
    BEFORE = "<"
    LIKE = "GLOB"
    """SQLite's GLOB, as its LIKE does not tell case apart (QF-08)."""


@dataclass(frozen=True, slots=True)
class Compared:
    column: Column
    operator: Operator


@dataclass(frozen=True, slots=True)
class Among:
    """One of a list of any length: its value is the list as JSON, as the number of parameters is limited."""

    column: Column


class State(Enum):
    """What a column is; there is no value to it."""

    EMPTY = "empty"
    NULL = "null"
    FILLED = "filled"
    SINGLE = "single"
    """It holds one value: no backslash."""
    SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class Is:
    column: Column
    state: State


@dataclass(frozen=True, slots=True)
class Decided:
    """What no SQL can decide: by the matcher of this number in the query's list, from the values of the columns."""

    matcher: int
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class HasTrigrams:
    """The patient's name has all of these, in some group: narrows, does not decide."""


@dataclass(frozen=True, slots=True)
class Every:
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Some:
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Below:
    """There is a row of ``table`` that belongs to the row of ``of``, and for which ``term`` holds; or there is none."""

    table: str
    of: str
    term: Term
    negated: bool = False


Term = Compared | Among | Is | Decided | HasTrigrams | Every | Some | Below


@dataclass(frozen=True, slots=True)
class Condition:
    """A term with its values. ``table`` is the table whose rows it is about; ``rows`` how many of them it may leave
    where an index finds them, 0 where none does."""

    table: str
    term: Term
    values: tuple[SQLValue, ...] = ()
    rows: int = 0


def every(*conditions: Condition, rows: int = 0) -> Condition:
    """All of them; an index that one of them has serves the whole."""
    found = [condition.rows for condition in conditions if condition.rows]
    return _joined(Every, conditions, rows or (min(found) if found else 0))


def some(*conditions: Condition, rows: int = 0) -> Condition:
    return _joined(Some, conditions, rows)


def below(table: str, of: str, condition: Condition, *, negated: bool = False) -> Condition:
    return Condition(of, Below(table, of, condition.term, negated), condition.values)


def _joined(join: type[Every] | type[Some], conditions: tuple[Condition, ...], rows: int) -> Condition:
    terms = tuple(condition.term for condition in conditions)
    values = tuple(value for condition in conditions for value in condition.values)
    return Condition(conditions[0].table, terms[0] if len(terms) == 1 else join(terms), values, rows)
