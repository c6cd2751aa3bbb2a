"""What values become in SQL: ranges, patterns, person names; and how many rows an index may find for them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from pacslite.archive.index.sources import IDENTIFYING, REQUESTS, Stored
from pacslite.archive.index.terms import Column, Compared, Condition, Is, Operator, SQLValue, State, every, some
from pacslite.dicom.wildcard import is_pattern, literal_prefix

_NATIVE_STARS: Final = 2
"""GLOB tries every place for each star, so its time grows with the power of their number; ours does not."""
NATIVE_LENGTH: Final = 1000
_TRIGRAMS: Final = 12
_LAST_CHARACTER: Final = 0x10FFFF

ONE: Final = 1
FEW: Final = 3
OF_A_DAY: Final = 100
MANY: Final = 50_000
ANY: Final = 500_000
"""How many rows an index may find. Guesses: what counts is which of two is the smaller."""


# --- Indexes ---------------------------------------------------------------------------------------------------------


def rows_found(source: Stored, rows: int) -> int:
    """How many rows its index may find: unique ones find one for each value, those without an index find nothing."""
    if source.column not in IDENTIFYING or source.table == REQUESTS:
        return 0
    return max(ONE, rows // FEW) if source.vr == "UI" else rows


def rows_of_days(first: str, last: str) -> int:
    if not first or not last:
        return MANY
    try:
        days = (_date(last) - _date(first)).days + 1
    except ValueError:
        return MANY
    return min(MANY, OF_A_DAY * max(1, days))


def _date(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def shifted(day: str, days: int) -> str:
    if not day:
        return ""
    try:
        return f"{_date(day) + timedelta(days=days):%Y%m%d}"
    except (OverflowError, ValueError):
        return ""


def between(column: Column, first: str, last: str, rows: int) -> Condition:
    ends = [
        Condition(column.table, Compared(column, operator), (end,), rows)
        for operator, end in ((Operator.FROM, first), (Operator.UNTIL, last))
        if end
    ]
    return every(*ends)


# --- Patterns --------------------------------------------------------------------------------------------------------


def is_native(pattern: str) -> bool:
    return pattern.rstrip("*").count("*") <= _NATIVE_STARS and len(pattern) < NATIVE_LENGTH


def like(column: Column, pattern: str, rows: int) -> Condition:
    """A pattern that GLOB is quick with; what it begins with is a range of an index. ``rows`` 0: there is none."""
    table = column.table
    if not is_pattern(pattern):
        return Condition(table, Compared(column, Operator.EQUAL), (pattern,), min(rows, FEW))
    prefix = literal_prefix(pattern)
    glob = Condition(table, Compared(column, Operator.LIKE), (escaped(pattern),), rows)
    if not prefix or not rows:
        return glob
    begins = _begins(column, prefix)
    return begins if pattern == prefix + "*" else every(begins, glob)


def narrowed(column: Column, pattern: str, decided: Condition, rows: int) -> Condition:
    prefix = literal_prefix(pattern)
    return every(_begins(column, prefix), decided) if prefix and rows else decided


def _begins(column: Column, prefix: str) -> Condition:
    """As a range: SQLite would see it in a pattern only if it were not a parameter."""
    rows = max(FEW, ANY // 20 ** min(len(prefix), 4))
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


def escaped(pattern: str) -> str:
    """``[`` begins a class of characters in GLOB; here it is itself (QF-11)."""
    return pattern.replace("[", "[[]")


def integer(value: str) -> SQLValue:
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -(1 << 63) <= number < 1 << 63 else None


# --- Names -----------------------------------------------------------------------------------------------------------


def is_plain_name(pattern: str) -> bool:
    """Whether :func:`group_like` says all there is to it: see there."""
    if not is_native(pattern):
        return False
    head, delimiter, tail = pattern.rpartition("^")
    if not delimiter or not pattern.endswith("*"):
        return True
    return not is_pattern(head) and (tail == "*" or not is_pattern(tail[0]))


def group_like(column: Column, pattern: str, source: Stored) -> Condition:
    """One group. Delimiters at the end of a name mean nothing, so ``smith^*`` is ``smith`` too; where more of a pattern
    could mean delimiters that are not written, only what it begins with counts here."""
    rows = ANY if source.column in IDENTIFYING else 0
    if is_plain_name(pattern):
        found = like(column, pattern, rows)
        if pattern.endswith("^*"):
            bare = Condition(column.table, Compared(column, Operator.EQUAL), (pattern[:-1].rstrip("^"),), rows and FEW)
            return some(bare, found, rows=found.rows + bare.rows)
        return found
    prefix = literal_prefix(pattern).rstrip("^")
    if prefix and rows and len(prefix) < NATIVE_LENGTH:
        return _begins(column, prefix)
    return Condition(column.table, Compared(column, Operator.LIKE), ("*",), rows)


def if_filled(group: Condition) -> Condition:
    """Ideographic and phonetic groups are mostly empty, and their indexes leave that out."""
    column = _column_of(group)
    return every(Condition(group.table, Is(column, State.FILLED)), group)


def _column_of(condition: Condition) -> Column:
    term = condition.term
    while not isinstance(term, Compared):
        term = term.terms[0]  # type: ignore[union-attr] # made by group_like: compared columns, joined
    return term.column


def trigrams(patterns: list[str]) -> str:
    """An expression for the index of trigrams: of what the patterns hold for certain, a few; empty if that is short.

    Delimiters at the end of a piece may be ones that are not written.
    """
    pieces = [piece.rstrip("^") for pattern in patterns for piece in pattern.replace("?", "*").split("*")]
    grams = list(dict.fromkeys(piece[at : at + 3] for piece in pieces for at in range(len(piece) - 2)))
    return " AND ".join('"' + gram.replace('"', '""') + '"' for gram in grams[:_TRIGRAMS])
