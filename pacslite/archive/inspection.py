"""Comparing files and index in both directions, and repairing what can be repaired.

Theory of operation
-------------------
Objects arrive while this runs, so a first impression counts for nothing. A file without a row is looked at again: it
may be in flight (its other name is under ``incoming``), and if it is not, its row may have been committed since; only
then is it an orphan. A row without a file is read again: it may have been replaced. A writer commits the row before it
removes the name in flight, which is what makes this order of questions sufficient.

Repairs are single transactions of the index, in which the row is looked up once more.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

from pacslite.archive.blobs.filesystem import FilesystemBlobs
from pacslite.archive.blobs.paths import BLOBS, CONFLICTS, conflict_path, stem_of, uid_of
from pacslite.archive.blobs.walk import is_in_flight, walk
from pacslite.archive.examine import examine, read_meta
from pacslite.archive.findings import Finding, Problem, Progress, Report
from pacslite.archive.index.entry import Entry
from pacslite.archive.index.writer import KEPT_ASIDE, Existing, IndexWriter
from pacslite.archive.intake import replace_path
from pacslite.archive.settings import ArchiveSettings, DuplicatePolicy
from pacslite.dicom.part10 import NotPart10Error
from pacslite.errors import DimseError

_BATCH = 500
_SETTLE_S = 0.5
"""A replaced file is removed right after the commit that replaced it."""


class Inspection:
    """One run over the archive; ``digest`` reads every file, ``repair`` changes things."""

    def __init__(
        self, writer: IndexWriter, blobs: FilesystemBlobs, settings: ArchiveSettings, *, digest: bool, repair: bool
    ) -> None:
        self._writer = writer
        self._blobs = blobs
        self._folder = Path(blobs.folder)
        self._settings = settings
        self._digest = digest
        self._repair = repair

    def run(self) -> Report:
        yield from self._files()
        yield from self._rows()
        yield from self._conflict_files()
        yield from self._conflict_rows()

    # --- Files that the index should know ---

    def _files(self) -> Report:
        done = 0
        files = walk(self._folder, BLOBS)
        while batch := list(islice(files, _BATCH)):
            suspects = [path for path, _ in batch if not self._is_known(path)]
            if suspects and self._settings.duplicates is DuplicatePolicy.REPLACE:
                time.sleep(_SETTLE_S)
            for path in suspects:
                if finding := self._file(path):
                    yield finding
            done += len(batch)
            yield Progress(phase="files", done=done, fraction=batch[-1][1])

    def _is_known(self, path: str) -> bool:
        """By the UID in its name, without opening the file."""
        stem = stem_of(path.rpartition("/")[2])
        uid = uid_of(stem) if stem else None
        return uid is not None and self._is_at(uid, path)

    def _file(self, path: str) -> Finding | None:
        """Look again, more closely."""
        if stem_of(path.rpartition("/")[2]) is None:
            return Finding(problem=Problem.FOREIGN, path=path)
        if is_in_flight(self._folder, path):
            return None
        try:
            uid = read_meta(self._folder / path).sop_instance_uid
        except FileNotFoundError:
            return None
        except (NotPart10Error, OSError):
            uid = ""
        if (uid and self._is_at(uid, path)) or not (self._folder / path).exists():
            return None
        return self._orphan(path)

    def _is_at(self, uid: str, path: str) -> bool:
        existing = self._writer.find(uid)
        return existing is not None and existing.path == path

    def _orphan(self, path: str) -> Finding | None:
        entry = self._examined(path)
        if entry is None or isinstance(entry, Finding):
            return entry
        uid = entry.origin.sop_instance_uid
        existing = self._writer.find(uid)
        if existing is None or not self._is_sound(existing):
            remedy = self._adopt(entry) if self._repair else ""
            return Finding(problem=Problem.ORPHAN, path=path, sop_instance_uid=uid, remedy=remedy)
        detail = f"the object is at {existing.path}"
        if existing.is_same_as(entry):
            remedy = f"moved to {self._blobs.quarantine(path)}" if self._repair else ""
            return Finding(problem=Problem.DUPLICATE, path=path, sop_instance_uid=uid, detail=detail, remedy=remedy)
        remedy = self._set_aside(entry) if self._repair else ""
        return Finding(problem=Problem.CONTRADICTION, path=path, sop_instance_uid=uid, detail=detail, remedy=remedy)

    def _examined(self, path: str) -> Entry | Finding | None:
        """What the index would keep of the file; None if it is gone."""
        try:
            return examine(self._folder, path, self._settings)
        except FileNotFoundError:
            return None
        except (NotPart10Error, DimseError, OSError) as error:
            remedy = f"moved to {self._blobs.quarantine(path)}" if self._repair else ""
            return Finding(problem=Problem.UNREADABLE, path=path, detail=str(error), remedy=remedy)

    def _is_sound(self, existing: Existing) -> bool:
        return self._blobs.size(existing.path) == existing.file_size

    def _adopt(self, entry: Entry) -> str:
        """Give the file a row; one whose file is missing gives way."""
        with self._writer.transaction():
            existing = self._writer.find(entry.origin.sop_instance_uid)
            if existing is not None and self._is_sound(existing):
                return ""
            self._writer.remove(entry.origin.sop_instance_uid)
            self._writer.add(entry)
        return "added to the index"

    def _set_aside(self, entry: Entry) -> str:
        place = conflict_path(
            sop_instance_uid=entry.origin.sop_instance_uid,
            digest=entry.digest,
            transfer_syntax_uid=entry.origin.transfer_syntax_uid,
        )
        try:
            self._blobs.move(entry.path, place)
        except FileExistsError:
            return f"moved to {self._blobs.quarantine(entry.path)}"
        with self._writer.transaction():
            self._writer.keep_aside(replace_path(entry, place), reason=KEPT_ASIDE)
        return f"moved to {place}"

    # --- Rows that should have a file ---

    def _rows(self) -> Report:
        done = last = 0
        end = self._writer.last_instance()
        while batch := self._writer.instances_after(last):
            for key, uid in batch:
                last = key
                if finding := self._row(uid):
                    yield finding
            done += len(batch)
            yield Progress(phase="objects", done=done, fraction=min(1.0, last / max(end, 1)))

    def _row(self, uid: str) -> Finding | None:
        existing = self._writer.find(uid)
        if existing is None:
            return None
        size = self._blobs.size(existing.path)
        if size == existing.file_size and not (self._digest and self._is_altered(existing)):
            return None
        if self._writer.find(uid) != existing:  # replaced or removed while we looked
            return None
        if size is None:
            remedy = ""
            if self._repair:
                with self._writer.transaction():
                    if self._writer.find(uid) == existing and self._blobs.size(existing.path) is None:
                        self._writer.remove(uid)
                        remedy = "removed from the index"
            return Finding(problem=Problem.MISSING, path=existing.path, sop_instance_uid=uid, remedy=remedy)
        return Finding(
            problem=Problem.ALTERED, path=existing.path, sop_instance_uid=uid, detail=_difference(size, existing)
        )

    def _is_altered(self, existing: Existing) -> bool:
        try:
            return self._blobs.digest(existing.path, existing.data_set_offset) != existing.digest
        except FileNotFoundError:
            return True

    # --- Objects kept aside ---

    def _conflict_files(self) -> Report:
        for done, (path, fraction) in enumerate(walk(self._folder, CONFLICTS), 1):
            if finding := self._conflict_file(path):
                yield finding
            if not done % _BATCH:
                yield Progress(phase="conflicts", done=done, fraction=fraction)

    def _conflict_file(self, path: str) -> Finding | None:
        if stem_of(path.rpartition("/")[2]) is None:
            return Finding(problem=Problem.FOREIGN, path=path)
        uid = uid_of(path.split("/")[1])
        if (uid and path in self._writer.conflicts_of(uid)) or is_in_flight(self._folder, path):
            return None
        entry = self._examined(path)
        if entry is None or isinstance(entry, Finding):
            return entry
        uid, remedy = entry.origin.sop_instance_uid, ""
        if path in self._writer.conflicts_of(uid):
            return None
        if self._repair:
            with self._writer.transaction():
                is_new = self._writer.keep_aside(entry, reason=KEPT_ASIDE)
            remedy = "added to the index" if is_new else f"moved to {self._blobs.quarantine(path)}"
        return Finding(problem=Problem.ORPHAN, path=path, sop_instance_uid=uid, remedy=remedy)

    def _conflict_rows(self) -> Report:
        last = 0
        while batch := self._writer.conflicts_after(last):
            for key, uid, path in batch:
                last = key
                if self._blobs.size(path) is None and path in self._writer.conflicts_of(uid):
                    remedy = ""
                    if self._repair:
                        with self._writer.transaction():
                            self._writer.remove_conflict(key)
                        remedy = "removed from the index"
                    yield Finding(problem=Problem.MISSING, path=path, sop_instance_uid=uid, remedy=remedy)


def _difference(size: int, existing: Existing) -> str:
    if size != existing.file_size:
        return f"{size} bytes instead of {existing.file_size}"
    return "its digest is not what was stored"
