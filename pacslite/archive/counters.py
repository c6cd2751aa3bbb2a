"""Counters against what they count, a thousand rows at a time, each in one consistent read."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from pacslite.archive.findings import Finding, Problem, Progress, Report
from pacslite.archive.index.sqlite import immediate

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class _Level:
    """A table whose counters, and what is gathered like them, follow from the table below."""

    table: str
    below: str
    link: str
    sums: tuple[tuple[str, str], ...]

    def select(self) -> str:
        sums = ", ".join(what for _, what in self.sums)
        told = ", ".join(f"t.{counter}" for counter, _ in self.sums)
        return (
            f"SELECT t.id, {told}, {sums} FROM {self.table} t LEFT JOIN {self.below} b ON b.{self.link} = t.id"
            f" WHERE t.id > ? AND t.id <= ? GROUP BY t.id"
        )

    def update(self) -> str:
        return f"UPDATE {self.table} SET {', '.join(f'{counter} = ?' for counter, _ in self.sums)} WHERE id = ?"


_SOP_CLASSES = r"""(
    SELECT coalesce(group_concat(uid, '\'), '')
    FROM (SELECT DISTINCT sop_class_uid AS uid FROM instances WHERE series = t.id AND sop_class_uid <> '' ORDER BY 1)
)"""

_LEVELS = (
    _Level(
        "series",
        "instances",
        "series",
        (("instances", "count(b.id)"), ("bytes", "coalesce(sum(b.size), 0)"), ("sop_classes", _SOP_CLASSES)),
    ),
    _Level(
        "studies",
        "series",
        "study",
        (
            ("series", "count(b.id)"),
            ("instances", "coalesce(sum(b.instances), 0)"),
            ("bytes", "coalesce(sum(b.bytes), 0)"),
        ),
    ),
    _Level(
        "patients",
        "studies",
        "patient",
        (
            ("studies", "count(b.id)"),
            ("series", "coalesce(sum(b.series), 0)"),
            ("instances", "coalesce(sum(b.instances), 0)"),
            ("bytes", "coalesce(sum(b.bytes), 0)"),
        ),
    ),
)


def recount(connection: sqlite3.Connection, *, repair: bool) -> Report:
    """From the series upwards; with ``repair``, rows that hold nothing go too."""
    for level in _LEVELS:
        end: int = connection.execute(f"SELECT coalesce(max(id), 0) FROM {level.table}").fetchone()[0]
        for start in range(0, end, _BATCH):
            yield from _part(connection, level, start, repair=repair)
            yield Progress(phase="counters", done=start, fraction=start / end)


def _part(connection: sqlite3.Connection, level: _Level, start: int, *, repair: bool) -> Report:
    wrong = _wrong(connection, level, start)
    if wrong and repair:
        with immediate(connection):
            wrong = _wrong(connection, level, start)  # inside the transaction, so that nothing changes any more
            for key, _, counted in wrong:
                connection.execute(level.update(), (*counted, key))
                if not any(counted):
                    if level.table == "series":
                        connection.execute("DELETE FROM series_requests WHERE series = ?", (key,))
                    connection.execute(f"DELETE FROM {level.table} WHERE id = ?", (key,))
    for key, told, counted in wrong:
        yield Finding(
            problem=Problem.MISCOUNTED,
            detail=f"{level.table} {key}: {told} instead of {counted}",
            remedy="corrected" if repair else "",
        )


def _wrong(
    connection: sqlite3.Connection, level: _Level, start: int
) -> list[tuple[int, tuple[int | str, ...], tuple[int | str, ...]]]:
    count = len(level.sums)
    rows = connection.execute(level.select(), (start, start + _BATCH)).fetchall()
    parts = [(row[0], tuple(row[1 : 1 + count]), tuple(row[1 + count :])) for row in rows]
    return [(key, told, counted) for key, told, counted in parts if told != counted or not any(counted)]
