"""The half of an ingest that runs in the file threads: from pieces of a data set to a file and its index entry."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace

from blake3 import blake3

from pacslite.archive.blobs.disk import Buffer
from pacslite.archive.blobs.filesystem import FilesystemBlobs, IncomingBlob
from pacslite.archive.blobs.paths import blob_path, conflict_path
from pacslite.archive.identity import Identity, identify
from pacslite.archive.index.entry import Entry, instance_values, upper_key
from pacslite.archive.model import Origin
from pacslite.archive.rules import Rules
from pacslite.archive.settings import ArchiveSettings
from pacslite.dicom.header import HeaderReader
from pacslite.dicom.part10 import file_meta
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.errors import OutOfResources


class Intake:
    """Receives one data set. Nothing of it remains after any of its methods has raised, or after :meth:`discard`."""

    __slots__ = ("_blobs", "_digest", "_meta", "_reader", "_rules", "_settled", "blob", "entry", "identity", "origin")

    def __init__(self, origin: Origin, blobs: FilesystemBlobs, settings: ArchiveSettings, rules: Rules) -> None:
        self.origin = origin
        self._blobs = blobs
        self._rules = rules
        self._meta = file_meta(
            sop_class_uid=origin.sop_class_uid,
            sop_instance_uid=origin.sop_instance_uid,
            transfer_syntax_uid=origin.transfer_syntax_uid,
            source_ae=origin.calling_ae,
            sending_ae=origin.calling_ae,
            receiving_ae=origin.called_ae,
        )
        self._reader = HeaderReader(
            transfer_syntax(origin.transfer_syntax_uid),
            limit_bytes=settings.header_limit_bytes,
            max_depth=settings.header_max_depth,
        )
        self._settled = False  # the reader has seen enough
        self._digest = blake3()
        self.identity: Identity | None = None
        self.blob: IncomingBlob | None = None
        self.entry: Entry | None = None

    def absorb(self, pieces: Sequence[Buffer]) -> None:
        """Write the next part of a large data set. One that cannot be stored is refused as soon as that is known."""
        try:
            self._read(pieces)
            if self._settled and self.identity is None:
                self.identity = identify(self.origin, self._reader.finish())
            if self.blob is None:
                self.blob = self._blobs.create()
                self.blob.write([self._meta])
            before = self.blob.size
            self.blob.write(pieces)
            self.blob.begin_write_back(self.blob.size - before)
        except BaseException:
            self.discard()
            raise

    def seal(self, pieces: Sequence[Buffer]) -> Entry:
        """Take the last part, and put the file into its place if that is free: then the entry's path says which."""
        try:
            self._read(pieces)
            header = self._reader.finish()
            identity = self.identity = identify(self.origin, header)
            place = blob_path(
                study_uid=identity.study_uid,
                series_uid=identity.series_uid,
                sop_class_uid=self.origin.sop_class_uid,
                sop_instance_uid=self.origin.sop_instance_uid,
            )
            if self.blob is None:
                self.blob = self._blobs.create(place)
                self.blob.write_whole([self._meta, *pieces])
            elif pieces:
                self.blob.write(pieces)
            is_placed = self.blob.place(place)
            owed = self._rules.owed(self.origin, header, study_uid=identity.study_uid)
            return self._enter(
                Entry(
                    origin=self.origin,
                    header=header,
                    study_uid=identity.study_uid,
                    series_uid=identity.series_uid,
                    path=place if is_placed else "",
                    usual_path=place,
                    size=self.blob.size - len(self._meta),
                    data_set_offset=len(self._meta),
                    digest=self._digest.digest(),
                    stored_at=time.time(),
                    upper=upper_key(header),
                    attributes=instance_values(header),
                    owed=owed,
                    disturbs=self._rules.disturbed(owed) if identity.study_uid else (),
                )
            )
        except BaseException:
            self.discard()
            raise

    def place_beside(self) -> Entry:
        """The usual place is taken, but by what the index does not keep there: take another."""
        blob, entry = self._sealed()
        return self._enter(replace_path(entry, blob.place_beside(entry.usual_path)))

    @property
    def is_placed(self) -> bool:
        """Whether the file at the entry's path is this one, not one like it that was there before."""
        return self.blob is not None and bool(self.blob.placed)

    def set_aside(self, *, is_known: bool = True) -> Entry:
        """Put the file under ``conflicts``, unless one like it is there and, with ``is_known``, may be relied on."""
        blob, entry = self._sealed()
        place = conflict_path(
            sop_instance_uid=self.origin.sop_instance_uid,
            digest=entry.digest,
            transfer_syntax_uid=self.origin.transfer_syntax_uid,
        )
        offset = blob.set_aside(place, entry.digest, size=entry.size, offset=entry.data_set_offset, is_known=is_known)
        return self._enter(replace(replace_path(entry, blob.placed or place), data_set_offset=offset))

    def release(self) -> str:
        """The file stays. Returns its name in flight, if it has one, to be swept after the row is committed."""
        blob, self.blob = self.blob, None
        return blob.release() if blob else ""

    def discard(self) -> None:
        """Leave nothing behind."""
        if self.blob is not None:
            self.blob.discard()
            self.blob = None

    def _read(self, pieces: Sequence[Buffer]) -> None:
        for piece in pieces:
            if not self._settled:
                self._settled = self._reader.feed(bytes(piece) if isinstance(piece, bytearray) else piece)
            self._digest.update(piece)

    def _enter(self, entry: Entry) -> Entry:
        self.entry = entry
        return entry

    def _sealed(self) -> tuple[IncomingBlob, Entry]:
        assert self.blob is not None
        assert self.entry is not None
        return self.blob, self.entry


def replace_path(entry: Entry, path: str) -> Entry:
    """The same object at another place."""
    return replace(entry, path=path)


def refusal(error: Exception) -> Exception:
    """What the sender is told when the disk or the index failed; other errors stay what they are."""
    match error:
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return OutOfResources(f"No space: {os.strerror(error.errno or 0)}")
        case OSError():
            return OutOfResources(f"Cannot write: {error.strerror or error}")
        case sqlite3.Error():
            return OutOfResources(f"Cannot write the index: {error}")
        case _:
            return error
