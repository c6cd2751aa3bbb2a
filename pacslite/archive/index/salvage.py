"""What can still be read of the promises in an index that is damaged: they follow from no file.

A table is read row by row, from its beginning to where the damage is and then from its end back to there. What cannot
be read is lost, so what refers to it must not be misunderstood: a forward that waited for a study to be quiet waits no
longer, a delivery whose question is lost is asked about again, a report of a request that is lost is owed no more. The
items of such a request still protect their objects; a placeholder keeps its number from being given to another.

The new index has no objects yet. Whoever worked off what is owed would find them gone: forwards would be dropped, and
requesters told that nothing is here. So all of it but reports is held until the index has been made anew from the files
(:func:`let_go`), however long that takes: a crash, or somebody in a hurry, may start a server before.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Column

from pacslite.archive.index.promises import PROMISED

_Row = tuple[object, ...]

_MEND = (
    "UPDATE jobs SET hold = NULL WHERE hold NOT IN (SELECT id FROM job_holds)",
    "UPDATE jobs SET state = 'waiting', lease = '', leased_until = NULL WHERE state = 'running'",
    "UPDATE deliveries SET asked = NULL WHERE asked NOT IN (SELECT id FROM commitments_asked)",
    "DELETE FROM jobs WHERE kind IN ('verify', 'report')"
    " AND subject NOT IN (SELECT CAST(id AS TEXT) FROM commitment_requests)",
    "INSERT INTO commitment_requests (id, transaction_uid, calling_ae, called_ae, received_at, state, objects, digest)"
    " SELECT DISTINCT request, '', '', '', 0, 'reported', x'', x'' FROM commitment_items"
    " WHERE request NOT IN (SELECT id FROM commitment_requests)",
)

_OURS = "rule = '' AND study_uid = ''"
"""Of a hold: those of studies belong to a rule."""
_HOLD = (
    "INSERT OR IGNORE INTO job_holds (until, rule, study_uid)"
    f" SELECT {float(1 << 37)}, '', '' WHERE EXISTS (SELECT 1 FROM jobs)",  # some thousand years
    f"UPDATE jobs SET hold = (SELECT id FROM job_holds WHERE {_OURS}) WHERE state = 'waiting' AND kind <> 'report'",
)
_LET_GO = (
    f"UPDATE jobs SET hold = NULL WHERE hold = (SELECT id FROM job_holds WHERE {_OURS})",
    f"DELETE FROM job_holds WHERE {_OURS}",
)


def salvage(damaged: Path, connection: sqlite3.Connection) -> Mapping[str, int]:
    """Copy what can be read of ``damaged`` into the new, empty index of ``connection``; how many rows, by table."""
    counts: dict[str, int] = {}
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(damaged))}?mode=ro", uri=True)) as source:
        for table in PROMISED:
            columns = table.columns.keys()
            insert = (
                f"INSERT OR IGNORE INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
            )
            count = 0
            for row in _rows(source, table.name, columns):
                if all(_fits(column, value) for column, value in zip(table.columns, row, strict=True)):
                    count += connection.execute(insert, row).rowcount
            counts[table.name] = count
    for statement in (*_MEND, *_HOLD):
        connection.execute(statement)
    return counts


def let_go(connection: sqlite3.Connection) -> None:
    """In the transaction that has brought the objects back: what was salvaged can be worked off."""
    for statement in _LET_GO:
        connection.execute(statement)


def _fits(column: Column[Any], value: object) -> bool:
    """What has been overwritten may still look like a row."""
    if value is None:
        return bool(column.nullable)
    return isinstance(value, (int, float) if column.type.python_type is float else column.type.python_type)


def _rows(source: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[_Row]:
    """Each row that can be read; where something is damaged, some of them twice."""
    for order in ("ASC", "DESC"):
        try:
            # By the key, which is the order in the file: other indexes need not be sound.
            yield from source.execute(f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED ORDER BY rowid {order}")
        except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError):
            continue
        return
