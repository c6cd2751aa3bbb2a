"""How objects stand that may be deleted: how much they are, and what speaks against it.

Deletion asks this first for all that it is about, and then again in each transaction for the objects that go in it; so
the statements take either a study, series or instance, or a list of UIDs. Each object is looked up in a few indexes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final


class Level(StrEnum):
    """What can be deleted at once."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be deleted. ``study_uid`` says which series is meant where two studies have one of that UID."""

    level: Level
    uid: str
    study_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What else is asked of each object; AE titles of destinations."""

    delivered_to: Collection[str] = ()
    committed_by: Collection[str] = ()


NO_CONDITIONS: Final = Conditions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Objects in numbers. ``bytes`` are data set bytes, those of the objects kept aside not among them."""

    studies: int
    instances: int
    bytes: int
    conflicts: int
    conflict_bytes: int
    newest: float
    """When the last one came: seconds since 1970-01-01 UTC."""
    forwards: int
    """Objects that are still to be forwarded, given up or not."""
    committed: int
    """Objects that we have committed to."""
    awaited: int
    """Objects whose destination has been, or is to be, asked to commit to them, and has not."""
    undelivered: int
    """Objects that not all of ``delivered_to`` have taken as they are now."""
    uncommitted: int
    """Objects that not all of ``committed_by`` have committed to as they are now."""


_OF_TARGET: Final = {
    Level.STUDY: "FROM studies st JOIN series se ON se.study = st.id JOIN instances i ON i.series = se.id"
    " WHERE st.study_uid = :uid AND :study_uid IN ('', st.study_uid)",
    Level.SERIES: "FROM series se JOIN studies st ON st.id = se.study JOIN instances i ON i.series = se.id"
    " WHERE se.series_uid = :uid AND :study_uid IN ('', st.study_uid)",
    Level.INSTANCE: "FROM instances i LEFT JOIN series se ON se.id = i.series LEFT JOIN studies st ON st.id = se.study"
    " WHERE i.sop_instance_uid = :uid AND :study_uid IN ('', st.study_uid)",
}
_OF_LIST: Final = (
    "FROM json_each(:uids) u CROSS JOIN instances i ON i.sop_instance_uid = u.value"
    " LEFT JOIN series se ON se.id = i.series LEFT JOIN studies st ON st.id = se.study"
)
# What was kept aside for an object that is not there any more belongs where it says itself.
_CONFLICTS_LEFT: Final = {
    Level.STUDY: "c.study_uid = :uid",
    Level.SERIES: "c.series_uid = :uid AND :study_uid IN ('', c.study_uid)",
    Level.INSTANCE: "c.sop_instance_uid = :uid",
}

_OF_OBJECT = "sop_instance_uid = i.sop_instance_uid"
_KEPT_ASIDE = f"FROM conflicts WHERE {_OF_OBJECT}"
_NUMBERS: Final = (
    "count(DISTINCT coalesce(se.study, 0))",
    "count(*)",
    "coalesce(sum(i.size), 0)",
    f"coalesce(sum((SELECT count(*) {_KEPT_ASIDE})), 0)",
    f"coalesce(sum((SELECT sum(size) {_KEPT_ASIDE})), 0)",
    "coalesce(max(i.stored_at), 0.0)",
    "coalesce(sum(EXISTS (SELECT 1 FROM jobs WHERE subject = i.sop_instance_uid AND kind = 'forward')), 0)",
    f"coalesce(sum(EXISTS (SELECT 1 FROM commitment_items WHERE {_OF_OBJECT} AND failure_reason = 0)), 0)",
    f"coalesce(sum(EXISTS (SELECT 1 FROM deliveries WHERE {_OF_OBJECT} AND wants_commitment = 1"
    " AND committed_at IS NULL)), 0)",
)
# A delivery of what was there before this object is none of it.
_TAKEN = f"FROM deliveries WHERE {_OF_OBJECT} AND delivered_at >= i.stored_at AND destination IN"
_NOT_DELIVERED = f"coalesce(sum((SELECT count(*) {_TAKEN} (SELECT value FROM json_each(:delivered_to))) < :to), 0)"
_NOT_COMMITTED = (
    f"coalesce(sum((SELECT count(*) {_TAKEN} (SELECT value FROM json_each(:committed_by))"
    " AND committed_at IS NOT NULL) < :by), 0)"
)


def standing(
    connection: sqlite3.Connection, of: Target | Sequence[str], conditions: Conditions = NO_CONDITIONS
) -> Standing:
    """Of all objects of a target, or of those with these SOP Instance UIDs."""
    statement = _statement(
        of.level if isinstance(of, Target) else None, bool(conditions.delivered_to), bool(conditions.committed_by)
    )
    delivered_to, committed_by = set(conditions.delivered_to), set(conditions.committed_by)
    row = connection.execute(
        statement,
        {
            **_parameters(of),
            "delivered_to": json.dumps(sorted(delivered_to)),
            "to": len(delivered_to),
            "committed_by": json.dumps(sorted(committed_by)),
            "by": len(committed_by),
        },
    ).fetchone()
    studies, instances, size, conflicts, conflict_bytes, newest, *counts = row
    if isinstance(of, Target):
        left, left_bytes = connection.execute(f"SELECT count(*), total(c.size) {_left(of)}", _parameters(of)).fetchone()
        conflicts, conflict_bytes = conflicts + left, conflict_bytes + int(left_bytes)
    forwards, committed, awaited, undelivered, uncommitted = counts
    return Standing(
        studies=studies,
        instances=instances,
        bytes=size,
        conflicts=conflicts,
        conflict_bytes=conflict_bytes,
        newest=newest,
        forwards=forwards,
        committed=committed,
        awaited=awaited,
        undelivered=undelivered,
        uncommitted=uncommitted,
    )


def members(connection: sqlite3.Connection, target: Target) -> list[str]:
    """The SOP Instance UIDs of a target's objects, those that are only kept aside included; in the order of rows."""
    statement = (
        f"SELECT sop_instance_uid FROM (SELECT i.sop_instance_uid, i.id {_OF_TARGET[target.level]} ORDER BY i.id)"
        f" UNION ALL SELECT DISTINCT c.sop_instance_uid {_left(target)}"
    )
    return [uid for (uid,) in connection.execute(statement, _parameters(target))]


def _left(target: Target) -> str:
    """Of what was kept aside for objects that are not there any more."""
    there = "EXISTS (SELECT 1 FROM instances i WHERE i.sop_instance_uid = c.sop_instance_uid)"
    return f"FROM conflicts c WHERE {_CONFLICTS_LEFT[target.level]} AND NOT {there}"


def study_of(connection: sqlite3.Connection, target: Target) -> str:
    """The UID of the study that it is in; empty for what is in none."""
    row = connection.execute(
        f"SELECT coalesce(st.study_uid, '') {_OF_TARGET[target.level]} LIMIT 1", _parameters(target)
    ).fetchone()
    return row[0] if row else target.study_uid


def _parameters(of: Target | Sequence[str]) -> dict[str, object]:
    if isinstance(of, Target):
        return {"uid": of.uid, "study_uid": of.study_uid}
    return {"uids": json.dumps(of)}


@cache
def _statement(level: Level | None, delivered: bool, committed: bool) -> str:
    """``level`` None is for a list of UIDs; conditions that nobody asks about cost nothing."""
    numbers = (*_NUMBERS, _NOT_DELIVERED if delivered else "0", _NOT_COMMITTED if committed else "0")
    return f"SELECT {', '.join(numbers)} {_OF_LIST if level is None else _OF_TARGET[level]}"
