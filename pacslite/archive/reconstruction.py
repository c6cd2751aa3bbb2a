"""A new index from the files alone.

Theory of operation
-------------------
Every file is read into a fresh index beside the old one, which goes on being used. One last transaction of the old
index then takes over the new rows: everybody sees the old state before it and the new one after it, and a crash before
its end changes nothing. Nobody has to reopen anything, as the index stays the same file; a server's writer notices by
``PRAGMA data_version`` that its memory of keys is void.

What was stored meanwhile is caught up with inside that transaction, when no writer can be in between: rows of the old
index that the new one does not have or has otherwise are read from their files again, and recent rows of the new one
whose file has gone (it was in flight when it was read, and given up) are dropped, as are those of what was deleted
meanwhile, or is being deleted, by the record of deletions. Files in flight are left to the process that is storing
them. Writers wait for that last transaction: about four seconds for a million objects.

What is owed and promised does not follow from files: those tables stay as they are.

Of several files with one SOP Instance UID the one that the old index names stays; without one, the first of a study,
or the last if the policy is to replace. The others are reported, and left to the check that compares both ways.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from itertools import groupby

from pacslite.archive.blobs.layout import Layout
from pacslite.archive.blobs.paths import BLOBS, CONFLICTS, stem_of
from pacslite.archive.blobs.walk import is_in_flight, walk
from pacslite.archive.examine import examine
from pacslite.archive.findings import Finding, Problem, Progress, Report
from pacslite.archive.index.entry import Entry
from pacslite.archive.index.promises import PROMISED
from pacslite.archive.index.salvage import let_go
from pacslite.archive.index.schema import PATIENT_NAME_TRIGGERS, REBUILD_PATIENT_NAMES, metadata
from pacslite.archive.index.sqlite import create, immediate
from pacslite.archive.index.writer import KEPT_ASIDE, IndexWriter
from pacslite.archive.settings import ArchiveSettings, DuplicatePolicy
from pacslite.dicom.part10 import NotPart10Error
from pacslite.errors import DimseError

_SHADOW = "index.rebuild.sqlite"
_TABLES = {table.name: ", ".join(table.columns.keys()) for table in metadata.sorted_tables if table not in PROMISED}
"""What follows from the files, in an order in which it may be filled; and the columns."""

_RECENT_S = 3600.0
"""Clocks of blob volumes may differ from ours."""


class Reconstruction:
    """One run. ``connection`` writes to the index that is in use."""

    def __init__(self, connection: sqlite3.Connection, layout: Layout, settings: ArchiveSettings) -> None:
        self._connection = connection
        self._folder = layout.folder
        self._shadow_path = layout.folder / _SHADOW
        self._settings = settings
        self._started = time.time()
        self._caught_up_to = 0

    def run(self) -> Report:
        with self._shadow() as shadow:
            writer = IndexWriter(shadow)
            yield from self._objects(writer)
            yield from self._conflicts(writer)
            yield from self._catch_up(writer)
        try:
            yield Progress(phase="take over", done=0, fraction=0.0)
            self._take_over()
        finally:
            self._shadow_path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _shadow(self) -> Iterator[sqlite3.Connection]:
        self._shadow_path.unlink(missing_ok=True)
        connection = sqlite3.connect(self._shadow_path, isolation_level=None, check_same_thread=False)
        with contextlib.closing(connection):
            # It is thrown away if this run does not come to its end, so nothing of it has to be durable.
            connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32768")
            create(connection)
            yield connection

    # --- From the files ---

    def _objects(self, writer: IndexWriter) -> Report:
        done = 0
        for _, group in groupby(walk(self._folder, BLOBS), key=lambda found: found[0].split("/")[1:3]):
            files = list(group)  # of one study
            with writer.transaction():
                findings = [finding for path in self._oldest_first(files) if (finding := self._object(writer, path))]
            yield from findings
            done += len(files)
            yield Progress(phase="files", done=done, fraction=files[-1][1])

    def _oldest_first(self, files: list[tuple[str, float]]) -> list[str]:
        dated = []
        for path, _ in files:
            with contextlib.suppress(FileNotFoundError):
                dated.append((os.stat(self._folder / path).st_mtime_ns, path))
        return [path for _, path in sorted(dated)]

    def _object(self, writer: IndexWriter, path: str) -> Finding | None:
        if stem_of(path.rpartition("/")[2]) is None:
            return Finding(problem=Problem.FOREIGN, path=path)
        if is_in_flight(self._folder, path):
            return None
        entry = self._examined(path)
        if entry is None or isinstance(entry, Finding):
            return entry
        existing = writer.add(entry)
        if existing is None:
            return None
        uid, loser = entry.origin.sop_instance_uid, path
        if existing.is_same_as(entry):
            return Finding(problem=Problem.DUPLICATE, path=path, sop_instance_uid=uid, detail=existing.path)
        if self._settings.duplicates is DuplicatePolicy.REPLACE and entry.stored_at > existing.stored_at:
            writer.replace(entry)
            loser = existing.path
        return Finding(problem=Problem.CONTRADICTION, path=loser, sop_instance_uid=uid)

    def _examined(self, path: str) -> Entry | Finding | None:
        try:
            return examine(self._folder, path, self._settings)
        except FileNotFoundError:
            return None
        except (NotPart10Error, DimseError, OSError) as error:
            return Finding(problem=Problem.UNREADABLE, path=path, detail=str(error))

    def _conflicts(self, writer: IndexWriter) -> Report:
        for done, (path, fraction) in enumerate(walk(self._folder, CONFLICTS), 1):
            if stem_of(path.rpartition("/")[2]) is None or is_in_flight(self._folder, path):
                continue
            entry = self._examined(path)
            if isinstance(entry, Entry):
                with writer.transaction():
                    writer.keep_aside(entry, reason=KEPT_ASIDE)
            elif entry is not None:
                yield entry
            yield Progress(phase="conflicts", done=done, fraction=fraction)

    # --- From the index in use ---

    def _catch_up(self, writer: IndexWriter) -> Report:
        """What came while the files were read, before the lock is taken: the less is left then."""
        old = IndexWriter(self._connection)
        last = done = 0
        while batch := old.instances_after(last):
            last = batch[-1][0]
            with writer.transaction():
                for _, uid in batch:
                    self._adjust(writer, old, uid)
            self._caught_up_to = last
            done += len(batch)
            yield Progress(phase="catching up", done=done, fraction=last / max(1, old.last_instance()))

    def _adjust(self, new: IndexWriter, old: IndexWriter, uid: str) -> None:
        """Make the new row what the file says that the old index names."""
        theirs, ours = old.find(uid), new.find(uid)
        if theirs is None or (ours is not None and (ours.path, ours.digest) == (theirs.path, theirs.digest)):
            return
        if is_in_flight(self._folder, theirs.path):
            return
        entry = self._examined(theirs.path)
        if isinstance(entry, Entry) and entry.origin.sop_instance_uid == uid:
            new.remove(uid)
            new.add(entry)

    def _take_over(self) -> None:
        connection = self._connection
        connection.execute("ATTACH ? AS rebuilt", (str(self._shadow_path),))
        try:
            with immediate(connection):
                late = self._late_entries()
                conflicts = self._late_conflicts()
                deleted, deleted_conflicts = self._deleted()
                for trigger in PATIENT_NAME_TRIGGERS:  # row by row it would take ten times as long
                    connection.execute(f"DROP TRIGGER main.{trigger}")
                for table in reversed(_TABLES):
                    connection.execute(f"DELETE FROM main.{table}")
                for table in _TABLES:
                    self._copy(table)
                connection.execute(REBUILD_PATIENT_NAMES)
                for trigger, what in PATIENT_NAME_TRIGGERS.items():
                    connection.execute(f"CREATE TRIGGER main.{trigger} {what}")
                writer = IndexWriter(connection)
                for uid in self._ghosts():
                    writer.remove(uid)
                for uid in deleted:
                    if (existing := writer.find(uid)) and self._is_going(existing.path):
                        writer.remove(uid)
                for path in deleted_conflicts:
                    connection.execute("DELETE FROM main.conflicts WHERE path = ?", (path,))
                for entry in late:
                    writer.remove(entry.origin.sop_instance_uid)
                    writer.add(entry)
                for entry in conflicts:
                    writer.keep_aside(entry, reason=KEPT_ASIDE)
                writer.flush()
                let_go(connection)
        finally:
            connection.execute("DETACH rebuilt")

    def _copy(self, table: str) -> None:
        """With ``*`` on both sides SQLite copies tables and indexes as they are, in a fifth of the time.

        A migrated index may have its columns in another order; then they are named.
        """
        connection, columns = self._connection, _TABLES[table]
        there = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
        if there == columns:
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM rebuilt.{table}")
        else:
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM rebuilt.{table}")

    def _late_entries(self) -> list[Entry]:
        """Objects that have come since, or are otherwise in the old index, by what is in their files."""
        rows = self._connection.execute(
            "SELECT old.sop_instance_uid FROM main.instances old"
            " LEFT JOIN rebuilt.instances new ON new.sop_instance_uid = old.sop_instance_uid"
            " WHERE (old.id > ? OR old.stored_at > ?)"  # older ones have been compared by _catch_up
            " AND (new.id IS NULL OR new.digest <> old.digest OR new.path <> old.path)",
            (self._caught_up_to, self._started - _RECENT_S),
        ).fetchall()
        old = IndexWriter(self._connection)
        found = (old.find(uid) for (uid,) in rows)
        entries = (self._examined(existing.path) for existing in found if existing is not None)
        return [entry for entry in entries if isinstance(entry, Entry)]

    def _late_conflicts(self) -> list[Entry]:
        rows = self._connection.execute(
            "SELECT path FROM main.conflicts WHERE path NOT IN (SELECT path FROM rebuilt.conflicts)"
        ).fetchall()
        entries = (self._examined(path) for (path,) in rows)
        return [entry for entry in entries if isinstance(entry, Entry)]

    def _ghosts(self) -> list[str]:
        """Objects read while they were in flight and given up afterwards."""
        rows = self._connection.execute(
            "SELECT sop_instance_uid FROM main.instances WHERE stored_at > ?", (self._started - _RECENT_S,)
        ).fetchall()
        writer = IndexWriter(self._connection)
        found = ((uid, writer.find(uid)) for (uid,) in rows)
        return [uid for uid, existing in found if existing and not (self._folder / existing.path).exists()]

    def _deleted(self) -> tuple[list[str], list[str]]:
        """Objects read before, or while, they were deleted: UIDs to be looked at, and paths of those kept aside."""
        since = "(ended_at IS NULL OR ended_at > ?)"
        studies = {
            uid
            for (uid,) in self._connection.execute(
                f"SELECT DISTINCT study_uid FROM main.deletions WHERE {since}", (self._started - _RECENT_S,)
            )
        }
        if not studies:
            return [], []
        rows = self._connection.execute(
            "SELECT new.sop_instance_uid FROM rebuilt.instances new LEFT JOIN rebuilt.series se ON se.id = new.series"
            " LEFT JOIN rebuilt.studies st ON st.id = se.study"
            " WHERE coalesce(st.study_uid, '') IN (SELECT value FROM json_each(?)) AND NOT EXISTS"
            " (SELECT 1 FROM main.instances old WHERE old.sop_instance_uid = new.sop_instance_uid)",
            (json.dumps(sorted(studies)),),
        ).fetchall()
        conflicts = self._connection.execute(
            "SELECT path FROM rebuilt.conflicts WHERE path NOT IN (SELECT path FROM main.conflicts)"
        ).fetchall()
        return [uid for (uid,) in rows], [path for (path,) in conflicts if self._is_going(path)]

    def _is_going(self, path: str) -> bool:
        """Whether the file has been removed, or has a name in flight until it is."""
        return not (self._folder / path).exists() or is_in_flight(self._folder, path)
