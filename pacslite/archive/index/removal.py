"""Many objects out of the index at once, with all that is theirs: the rows of a deletion.

One object after the other would look at its series, study and patient each time; here these are counted down, or go,
once for all objects of a transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.index import statements as sql
from pacslite.archive.index.asking_rows import ask_no_more
from pacslite.archive.index.job_rows import cancel_of
from pacslite.archive.index.writer import IndexWriter

_FIND = """
    SELECT i.id, i.sop_instance_uid, i.sop_class_uid, i.size, i.path, coalesce(se.series_uid, ''),
        coalesce(st.study_uid, ''), i.series, se.study, st.patient
    FROM json_each(?) u CROSS JOIN instances i ON i.sop_instance_uid = u.value
        LEFT JOIN series se ON se.id = i.series LEFT JOIN studies st ON st.id = se.study
"""
_FIND_CONFLICTS = """
    SELECT c.id, c.sop_instance_uid, c.path, c.size
    FROM json_each(?) u CROSS JOIN conflicts c ON c.sop_instance_uid = u.value
"""
_DELETE_ALL = "DELETE FROM {} WHERE id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went in one transaction. ``left`` are UIDs of objects that have come to lie elsewhere meanwhile."""

    instances: int
    conflicts: int
    bytes: int
    forwards: int
    paths: Sequence[str]
    left: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Instance:
    key: int
    sop_instance_uid: str
    sop_class_uid: str
    size: int
    path: str
    series: int | None
    study: int | None
    patient: int | None


def places(connection: sqlite3.Connection, uids: Sequence[str]) -> list[str]:
    """Where the files are of objects with these UIDs, those kept aside included; relative paths."""
    return [
        *(instance.path for instance in _instances(connection, uids)),
        *(path for _, _, path, _ in connection.execute(_FIND_CONFLICTS, (json.dumps(uids),))),
    ]


def remove(writer: IndexWriter, uids: Sequence[str], *, places: Iterable[str]) -> Removed:
    """Take objects out of the index that lie at ``places``, with what was kept aside for them and is still to be
    forwarded of them, or to be committed to elsewhere; and every series, study and patient that has nothing left."""
    connection, known = writer.connection, set(places)
    found = _instances(connection, uids)
    conflicts = connection.execute(_FIND_CONFLICTS, (json.dumps(uids),)).fetchall()
    moved = {instance.sop_instance_uid for instance in found if instance.path not in known}
    moved |= {uid for _, uid, path, _ in conflicts if path not in known}
    going = [instance for instance in found if instance.sop_instance_uid not in moved]
    aside = [(key, path, size) for key, uid, path, size in conflicts if uid not in moved]
    writer.forget()
    _delete(connection, "instances", [instance.key for instance in going])
    _delete(connection, "conflicts", [key for key, _, _ in aside])
    gone = [uid for uid in uids if uid not in moved]
    forwards = cancel_of(writer, subjects=gone)
    ask_no_more(writer, gone)
    _count_down(connection, going)
    return Removed(
        instances=len(going),
        conflicts=len(aside),
        bytes=sum(instance.size for instance in going) + sum(size for _, _, size in aside),
        forwards=forwards,
        paths=[*(instance.path for instance in going), *(path for _, path, _ in aside)],
        left=[uid for uid in uids if uid in moved],
    )


def _instances(connection: sqlite3.Connection, uids: Sequence[str]) -> list[_Instance]:
    found = []
    for key, uid, sop_class, size, path, series_uid, study_uid, *above in connection.execute(
        _FIND, (json.dumps(uids),)
    ):
        usual = blob_path(study_uid=study_uid, series_uid=series_uid, sop_class_uid=sop_class, sop_instance_uid=uid)
        found.append(_Instance(key, uid, sop_class, size, path or usual, *above))
    return found


def _delete(connection: sqlite3.Connection, table: str, keys: list[int]) -> None:
    if keys:
        connection.execute(_DELETE_ALL.format(table), (json.dumps(keys),))


def _count_down(connection: sqlite3.Connection, gone: Iterable[_Instance]) -> None:
    """Set right, or remove, what the objects belonged to, from the series upwards."""
    by_series: defaultdict[tuple[int, int, int], list[_Instance]] = defaultdict(list)
    for instance in gone:
        if instance.series is not None and instance.study is not None and instance.patient is not None:
            by_series[instance.series, instance.study, instance.patient].append(instance)
    by_study: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for (series, study, patient), instances in by_series.items():
        size = sum(instance.size for instance in instances)
        connection.execute(sql.COUNT_IN_SERIES, (-len(instances), -size, series))
        series_gone = _is_empty(connection, sql.SERIES_LEFT, series)
        if series_gone:
            connection.execute(sql.DELETE_REQUESTS, (series,))
            connection.execute(sql.DELETE_SERIES, (series,))
        else:
            _remove_sop_classes(connection, series, {instance.sop_class_uid for instance in instances})
        _add(by_study[study, patient], series_gone, len(instances), size)
    by_patient: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for (study, patient), (series_count, count, size) in by_study.items():
        connection.execute(sql.COUNT_IN_STUDY, (-series_count, -count, -size, study))
        study_gone = _is_empty(connection, sql.STUDY_LEFT, study)
        if study_gone:
            connection.execute(sql.DELETE_STUDY, (study,))
        _add(by_patient[patient], study_gone, series_count, count, size)
    for patient, (study_count, series_count, count, size) in by_patient.items():
        connection.execute(sql.COUNT_IN_PATIENT, (-study_count, -series_count, -count, -size, patient))
        if _is_empty(connection, sql.PATIENT_LEFT, patient):
            connection.execute(sql.DELETE_PATIENT, (patient,))


def _add(sums: list[int], *more: int) -> None:
    for at, number in enumerate(more):
        sums[at] += number


def _is_empty(connection: sqlite3.Connection, left: str, key: int) -> bool:
    return not connection.execute(left, (key,)).fetchone()[0]


def _remove_sop_classes(connection: sqlite3.Connection, series: int, uids: Iterable[str]) -> None:
    """Those of which nothing is left."""
    gone = {uid for uid in uids if connection.execute(sql.FIND_OF_SOP_CLASS, (series, uid)).fetchone() is None}
    if gone:
        there: str = connection.execute(sql.SOP_CLASSES, (series,)).fetchone()[0]
        left = "\\".join(uid for uid in there.split("\\") if uid not in gone)
        connection.execute(sql.SET_SOP_CLASSES, (left, series))
