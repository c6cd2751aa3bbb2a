"""The index's one writer: what can happen to objects, as rows.

Theory of operation
-------------------
All of it runs inside a transaction of the thread that owns the writer (``commit.py``). SOP Instance UIDs are unique in
the index, and that constraint alone decides which of two objects with the same UID came first, also between processes.

Of a series seen before, with the same raw values above the instance, nothing is read: ``_known`` remembers its keys, so
an object costs one INSERT, and the counters of its series, study and patient are added up and written once before the
commit. Whatever makes that memory doubtful (a rollback, another process's commit, a removal) empties it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.index import statements as sql
from pacslite.archive.index.attributes import PATIENT, SERIES, STUDY, Attribute
from pacslite.archive.index.entry import Entry, Value, level_values, patient_key, request_values
from pacslite.archive.index.job_rows import owe, put_off
from pacslite.dicom import tags

KEPT_ASIDE = "different content"
"""Why an object is under ``conflicts``."""

_REMEMBERED_SERIES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """The object that has a SOP Instance UID already."""

    sop_class_uid: str
    transfer_syntax_uid: str
    digest: bytes
    path: str
    size: int
    data_set_offset: int
    study_uid: str
    series_uid: str
    stored_at: float

    def is_same_as(self, entry: Entry) -> bool:
        """The same bytes, meaning the same: a data set in another transfer syntax is another one."""
        return self.digest == entry.digest and self.transfer_syntax_uid == entry.origin.transfer_syntax_uid

    @property
    def file_size(self) -> int:
        return self.data_set_offset + self.size


@dataclass(slots=True)
class _Known:
    """A series with its keys, and what its last object said about the levels above."""

    series: int
    study: int
    patient: int
    upper: tuple[object, ...]
    discrepancy: str
    sop_classes: frozenset[str]
    instances: int = 0
    bytes: int = 0
    """Counted since the last flush."""


class IndexWriter:
    """Adds, replaces and removes objects through one connection. Not for several threads at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.cursor().execute
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._counted: list[_Known] = []
        self._version = -1
        self.others_wrote = 0
        """How often it was noticed that somebody else had written."""

    # --- Transactions ---

    def begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")
        version: int = self._execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:  # somebody else has written: rows may be gone, or have other keys
            self._version = version
            self.others_wrote += 1
            self._known.clear()

    def commit(self) -> None:
        self.flush()
        self._execute("COMMIT")

    def rollback(self) -> None:
        self._known.clear()
        self._counted.clear()
        if self.connection.in_transaction:
            self._execute("ROLLBACK")

    def flush(self) -> None:
        """Write the counters that have been added up."""
        if not self._counted:
            return
        studies: dict[int, list[int]] = {}
        for known in self._counted:
            self._execute(sql.COUNT_IN_SERIES, (known.instances, known.bytes, known.series))
            sums = studies.setdefault(known.study, [0, 0, known.patient])
            sums[0] += known.instances
            sums[1] += known.bytes
            known.instances = known.bytes = 0
        self._counted.clear()
        for study, (count, size, patient) in studies.items():
            self._execute(sql.COUNT_IN_STUDY, (0, count, size, study))
            self._execute(sql.COUNT_IN_PATIENT, (0, 0, count, size, patient))

    def forget(self) -> None:
        """Before rows are removed: write what has been added up, and read anew what is remembered."""
        self.flush()
        self._known.clear()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it: for those who work outside the group commit."""
        self.begin()
        try:
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise

    # --- Objects ---

    def find(self, sop_instance_uid: str) -> Existing | None:
        row = self._execute(sql.FIND_INSTANCE, (sop_instance_uid,)).fetchone()
        if row is None:
            return None
        _, digest, syntax, sop_class, size, offset, path, stored_at, series_uid, study_uid, *_ = row
        usual = blob_path(
            study_uid=study_uid or "",
            series_uid=series_uid or "",
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance_uid,
        )
        return Existing(
            sop_class_uid=sop_class,
            transfer_syntax_uid=syntax,
            digest=digest,
            path=path or usual,
            size=size,
            data_set_offset=offset,
            study_uid=study_uid or "",
            series_uid=series_uid or "",
            stored_at=stored_at,
        )

    def add(self, entry: Entry) -> Existing | None:
        """Add the object and what is owed for it, unless its UID is taken: then whose it is, and nothing changes."""
        uid = entry.origin.sop_instance_uid
        if not entry.study_uid or not entry.series_uid:
            if not self._execute(sql.INSERT_INSTANCE, (None, "", *entry.row())).rowcount:
                return self.find(uid)
            self._owe(entry)
            return None
        key = (entry.study_uid, entry.series_uid)
        known = self._known.get(key)
        if known is None or known.upper != entry.upper:
            if existing := self.find(uid):
                return existing
            known = self._remember(key, entry)
        if not self._execute(sql.INSERT_INSTANCE, (known.series, known.discrepancy, *entry.row())).rowcount:
            return self.find(uid)
        if entry.origin.sop_class_uid not in known.sop_classes:
            known.sop_classes |= self._add_sop_class(known.series, entry.origin.sop_class_uid)
        if not known.instances:
            self._counted.append(known)
        known.instances += 1
        known.bytes += entry.size
        self._owe(entry)
        return None

    def replace(self, entry: Entry) -> Existing | None:
        """Put the object in the place of what has its UID now, which is returned; the same one stays as it is."""
        existing = self.find(entry.origin.sop_instance_uid)
        if existing is None or not existing.is_same_as(entry):
            self.remove(entry.origin.sop_instance_uid)
            self.add(entry)
        return existing

    def restore(self, entry: Entry, is_sound: Callable[[Existing], bool]) -> Existing | None:
        """Give the object's row this file, unless the one it has is sound, or the row is another object's by now.

        Forwards may have found nothing to send, so what the object owes is owed again.
        """
        existing = self.find(entry.origin.sop_instance_uid)
        if existing is not None and (not existing.is_same_as(entry) or is_sound(existing)):
            if existing.path == entry.path and existing.is_same_as(entry):  # this file is in the place of the lost one
                self._owe(entry)
            return existing
        self.remove(entry.origin.sop_instance_uid)
        self.add(entry)
        return None

    def remove(self, sop_instance_uid: str) -> bool:
        """Take an object out of the index, and every series, study and patient that has nothing left."""
        row = self._execute(sql.FIND_INSTANCE, (sop_instance_uid,)).fetchone()
        if row is None:
            return False
        self.forget()
        key, size, (series, study, patient) = row[0], row[4], row[-3:]
        self._execute(sql.DELETE_INSTANCE, (key,))
        if series is None:
            return True
        self._execute(sql.COUNT_IN_SERIES, (-1, -size, series))
        series_gone = self._is_empty(sql.SERIES_LEFT, series)
        if series_gone:
            self._execute(sql.DELETE_REQUESTS, (series,))
            self._execute(sql.DELETE_SERIES, (series,))
        else:
            self._remove_sop_class(series, row[3])
        self._execute(sql.COUNT_IN_STUDY, (-series_gone, -1, -size, study))
        study_gone = self._is_empty(sql.STUDY_LEFT, study)
        if study_gone:
            self._execute(sql.DELETE_STUDY, (study,))
        self._execute(sql.COUNT_IN_PATIENT, (-study_gone, -series_gone, -1, -size, patient))
        if self._is_empty(sql.PATIENT_LEFT, patient):
            self._execute(sql.DELETE_PATIENT, (patient,))
        return True

    def keep_aside(self, entry: Entry, *, reason: str) -> bool:
        """Record an object that is under ``conflicts``; False if that same one is recorded already."""
        origin = entry.origin
        values = (
            origin.sop_instance_uid,
            entry.digest,
            origin.transfer_syntax_uid,
            origin.sop_class_uid,
            entry.study_uid,
            entry.series_uid,
            entry.path,
            entry.size,
            entry.data_set_offset,
            entry.stored_at,
            origin.calling_ae,
            origin.called_ae,
            origin.address,
            reason,
        )
        return bool(self._execute(sql.INSERT_CONFLICT, values).rowcount)

    def conflicts_of(self, sop_instance_uid: str) -> list[str]:
        """Paths of the objects kept aside for a UID."""
        return [path for (path,) in self._execute(sql.CONFLICTS_OF, (sop_instance_uid,)).fetchall()]

    def remove_conflict(self, key: int) -> None:
        self._execute(sql.DELETE_CONFLICT, (key,))

    # --- In bulk ---

    def last_instance(self) -> int:
        """The largest key there is."""
        return int(self._execute(sql.LAST_INSTANCE).fetchone()[0] or 0)

    def instances_after(self, key: int) -> list[tuple[int, str]]:
        """Keys and SOP Instance UIDs of the next few hundred objects, in the order they came."""
        return self._execute(sql.INSTANCES_AFTER, (key,)).fetchall()

    def conflicts_after(self, key: int) -> list[tuple[int, str, str]]:
        """Keys, SOP Instance UIDs and paths of the next few hundred objects kept aside."""
        return self._execute(sql.CONFLICTS_AFTER, (key,)).fetchall()

    def total_bytes(self) -> int:
        """Data set bytes in the archive, those kept aside included."""
        return int(self._execute(sql.TOTAL_BYTES).fetchone()[0])

    def _owe(self, entry: Entry) -> None:
        """What follows for others from an object that is new."""
        if entry.owed:
            owe(self, entry.owed, entry.stored_at)
        for rule, quiet_s in entry.disturbs:
            put_off(self, rule, entry.study_uid, quiet_s, entry.stored_at)

    def _is_empty(self, left: str, key: int) -> bool:
        return not self._execute(left, (key,)).fetchone()[0]

    # --- The rows above the instance ---

    def _remember(self, key: tuple[str, str], entry: Entry) -> _Known:
        """The series' keys, its rows made or completed from this object."""
        discrepancies: list[str] = []
        study, patient = self._study(entry, discrepancies)
        series, sop_classes = self._series(entry, study, patient, discrepancies)
        known = _Known(series, study, patient, entry.upper, " ".join(discrepancies), frozenset(sop_classes.split("\\")))
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED_SERIES:
            self._known.popitem(last=False)
        return known

    def _study(self, entry: Entry, discrepancies: list[str]) -> tuple[int, int]:
        """A study stays with its first patient; an object that names another is recorded as a discrepancy."""
        header = entry.header
        patient_id, issuer = patient_key(header)
        of_patient, of_study = level_values(header, PATIENT), level_values(header, STUDY)
        row = self._execute(sql.FIND_STUDY, (entry.study_uid,)).fetchone()
        if row is None:
            patient = self._patient(patient_id, issuer, of_patient, discrepancies)
            study = self._insert(sql.INSERT_STUDY, (patient, entry.study_uid, *_flat(of_study)))
            self._execute(sql.COUNT_IN_PATIENT, (1, 0, 0, 0, patient))
            return study, patient
        study, patient, its_id, its_issuer = row
        if patient_id and patient_id != its_id:
            discrepancies.append(tags.keyword_of(tags.PATIENT_ID))
        if issuer and issuer != its_issuer:
            discrepancies.append(tags.keyword_of(tags.ISSUER_OF_PATIENT_ID))
        is_other = bool(discrepancies)
        self._merge(
            patient, PATIENT, (sql.PATIENT_LEVEL, sql.SET_PATIENT_LEVEL), of_patient, discrepancies, not is_other
        )
        self._merge(study, STUDY, (sql.STUDY_LEVEL, sql.SET_STUDY_LEVEL), of_study, discrepancies)
        return study, patient

    def _patient(
        self, patient_id: str, issuer: str, values: tuple[tuple[Value, ...], ...], discrepancies: list[str]
    ) -> int:
        row = self._execute(sql.FIND_PATIENT, (patient_id, issuer)).fetchone() if patient_id else None
        if row is None:
            return self._insert(sql.INSERT_PATIENT, (patient_id, issuer, *_flat(values)))
        patient: int = row[0]
        self._merge(patient, PATIENT, (sql.PATIENT_LEVEL, sql.SET_PATIENT_LEVEL), values, discrepancies)
        return patient

    def _series(self, entry: Entry, study: int, patient: int, discrepancies: list[str]) -> tuple[int, str]:
        """Its key, and the SOP classes in it."""
        sop_classes = ""
        values = level_values(entry.header, SERIES)
        requests = request_values(entry.header)
        row = self._execute(sql.FIND_SERIES, (entry.series_uid, study)).fetchone()
        if row is None:
            series = self._insert(sql.INSERT_SERIES, (study, entry.series_uid, *_flat(values)))
            self._execute(sql.COUNT_IN_STUDY, (1, 0, 0, study))
            self._execute(sql.COUNT_IN_PATIENT, (0, 1, 0, 0, patient))
        else:
            series, sop_classes = row
            self._merge(series, SERIES, (sql.SERIES_LEVEL, sql.SET_SERIES_LEVEL), values, discrepancies)
            there = self._execute(sql.FIND_REQUESTS, (series,)).fetchall() if requests else []
            requests = [request for request in requests if request not in there]
        for request in requests:
            self._execute(sql.INSERT_REQUEST, (series, *request))
        return series, sop_classes

    def _add_sop_class(self, series: int, uid: str) -> frozenset[str]:
        there: str = self._execute(sql.SOP_CLASSES, (series,)).fetchone()[0]
        classes = frozenset((*there.split("\\"), uid))
        self._execute(sql.SET_SOP_CLASSES, ("\\".join(sorted(classes - {""})), series))
        return classes

    def _remove_sop_class(self, series: int, uid: str) -> None:
        """Once nothing of it is left."""
        if self._execute(sql.FIND_OF_SOP_CLASS, (series, uid)).fetchone() is None:
            there: str = self._execute(sql.SOP_CLASSES, (series,)).fetchone()[0]
            left = "\\".join(other for other in there.split("\\") if other != uid)
            self._execute(sql.SET_SOP_CLASSES, (left, series))

    def _insert(self, statement: str, values: tuple[Value, ...]) -> int:
        key = self._execute(statement, values).lastrowid
        assert key is not None
        return key

    def _merge(
        self,
        key: int,
        attributes: tuple[Attribute, ...],
        level: tuple[str, str],
        values: tuple[tuple[Value, ...], ...],
        discrepancies: list[str],
        fill_in: bool = True,
    ) -> None:
        """Complete a row with what it had no value for, and note what contradicts it: the first value stays."""
        read, write = level
        stored = self._execute(read, (key,)).fetchone()
        merged: list[Value] = []
        for attribute, new in zip(attributes, values, strict=True):
            old = stored[len(merged) : len(merged) + len(new)]
            if old != new and _has_value(old) and _has_value(new):
                discrepancies.append(tags.keyword_of(attribute.tag))
            merged += new if fill_in and not _has_value(old) else old
        if tuple(merged) != stored:
            self._execute(write, (*merged, key))


def _has_value(values: tuple[Value, ...]) -> bool:
    return any(value is not None and value != "" for value in values)


def _flat(values: tuple[tuple[Value, ...], ...]) -> tuple[Value, ...]:
    return tuple(value for columns in values for value in columns)
