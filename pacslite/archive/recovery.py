"""After an unclean stop: the objects that were in flight, and nothing else, are looked at.

A name under ``incoming`` tells where else its file may be visible. If the index has a row for the file there, the
object is stored and only the name goes. If not, either nobody was told that it is stored, or it was being deleted, and
it goes altogether. Another file in that place has come later and is none of this.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from pacslite.archive.blobs.disk import Disk
from pacslite.archive.blobs.filesystem import FilesystemBlobs
from pacslite.archive.blobs.layout import Layout
from pacslite.archive.blobs.paths import CONFLICTS, decode_destination
from pacslite.archive.examine import read_meta
from pacslite.archive.index.writer import IndexWriter
from pacslite.dicom.part10 import NotPart10Error
from pacslite.facts import StoreReconciled


def reconcile(layout: Layout, connection: sqlite3.Connection) -> StoreReconciled | None:
    """Put right what processes that are gone left in flight; None if there was nothing."""
    writer, blobs = IndexWriter(connection), FilesystemBlobs(layout, Disk())
    started, examined, discarded = time.perf_counter(), 0, 0
    for folder in layout.stale_incoming():
        for path in sorted(folder.iterdir()):
            examined += 1
            discarded += _settle(blobs, writer, path)
    if not examined:
        return None
    return StoreReconciled(examined=examined, discarded=discarded, seconds=time.perf_counter() - started)


def let_be(layout: Layout) -> None:
    """Instead, when there is no index that could tell: whatever has a place stays there, to be found by a rebuild.

    Some of it was never acknowledged, or was being deleted; but some was, and none of that may be lost.
    """
    for folder in layout.stale_incoming():
        for path in folder.iterdir():
            path.unlink()


def _settle(blobs: FilesystemBlobs, writer: IndexWriter, path: Path) -> bool:
    """Keep the object or discard it; True if discarded."""
    _, _, encoded = path.name.partition(",")
    destination = decode_destination(encoded)
    kept = False
    if destination:
        place = blobs.path(destination)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samefile(place, path):
                kept = _is_known(writer, destination, place)
                if not kept:
                    place.unlink()
                    blobs.remove_empty(destination.rpartition("/")[0])
    path.unlink()
    return not kept


def _is_known(writer: IndexWriter, destination: str, place: Path) -> bool:
    try:
        uid = read_meta(place).sop_instance_uid
    except NotPart10Error:  # a row is only made for a file that has been written completely
        return False
    if destination.startswith(f"{CONFLICTS}/"):
        return destination in writer.conflicts_of(uid)
    existing = writer.find(uid)
    return existing is not None and existing.path == destination
