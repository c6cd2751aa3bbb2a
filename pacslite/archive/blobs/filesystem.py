"""Blobs as files.

Theory of operation
-------------------
A file is written under ``incoming/<process>/``, then linked to its place, synced, and the directory of its place is
synced: from then on it is durable there. The name under ``incoming`` stays until its index row is committed, and tells
the one other place where the file may be visible. So after a crash nothing but the files left in ``incoming`` has to be
looked at, however large the archive is: those whose row exists are fine, the others were never acknowledged, and both
their names are removed.

A link never replaces anything: when the place is taken, the caller learns so and decides (see ``ingest.py``).
Everything here blocks and runs in the file threads; one :class:`IncomingBlob` is used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3

from pacslite.archive.blobs.directories import ATTEMPTS, Directories, Directory
from pacslite.archive.blobs.disk import Buffer, Disk
from pacslite.archive.blobs.layout import QUARANTINE, Layout
from pacslite.archive.blobs.paths import BLOBS, CONFLICTS, encode_destination, versioned

_READ_BYTES = 1 << 20
_LEAST_DEPTH = {BLOBS: 2, CONFLICTS: 1}
"""What lies deeper is a folder of objects; above it, folders that will be used again."""


class FilesystemBlobs:
    """The files of one data folder. Paths are relative to it, with ``/``.

    Files of ``direct_bytes`` and more that come in one go are written past the page cache; 0 is none.
    """

    def __init__(self, layout: Layout, disk: Disk, *, direct_bytes: int = 0) -> None:
        self.disk = disk
        self.direct_bytes = direct_bytes
        self.folder = str(layout.folder)
        self.incoming = str(layout.incoming)
        self.directories = Directories(disk, self.folder)
        self._numbers = itertools.count()

    def create(self, destination: str = "") -> IncomingBlob:
        """A new file, in flight. Naming its place now, where that is known, saves a rename later."""
        return IncomingBlob(self, destination)

    def next_number(self) -> int:
        return next(self._numbers)

    def path(self, relative: str) -> Path:
        return Path(self.folder, relative)

    def size(self, relative: str) -> int | None:
        """Size of the file, None if there is none."""
        try:
            return os.stat(f"{self.folder}/{relative}").st_size
        except FileNotFoundError:
            return None

    def remove(self, relative: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.disk.unlink(f"{self.folder}/{relative}")

    def keep_in_sight(self, relatives: Iterable[str]) -> dict[str, str]:
        """Give files that are about to lose their rows names under ``incoming``, durably: if a crash comes between the
        commit and their removal, the next start finds them there. Returns the names of those that are there."""
        incoming = Directory(self.disk, self.incoming)
        names: dict[str, str] = {}
        try:
            for relative in relatives:
                name = f"{self.next_number()},{encode_destination(relative)}"
                with contextlib.suppress(FileNotFoundError):
                    self.disk.link(f"{self.folder}/{relative}", name, incoming.descriptor)
                    names[relative] = f"{self.incoming}/{name}"
            if names:
                incoming.sync()
        except BaseException:
            self.sweep(names.values())
            raise
        return names

    def remove_kept(self, names: Mapping[str, str]) -> None:
        """Remove files whose rows are gone, by what :meth:`keep_in_sight` returned, and the folders that this empties.

        What has come into such a place since is another file, and stays. A name goes once the removal is durable; that
        of a file that cannot be removed stays for the next start.
        """
        removed = [relative for relative, name in names.items() if self._remove_same(relative, name)]
        folders = sorted({relative.rpartition("/")[0] for relative in removed}, reverse=True)
        for folder in folders:
            with contextlib.suppress(FileNotFoundError):
                Directory(self.disk, f"{self.folder}/{folder}").sync()
        self.sweep(names[relative] for relative in removed)
        for folder in folders:
            self.remove_empty(folder)

    def _remove_same(self, relative: str, name: str) -> bool:
        """False if it is still there."""
        place = f"{self.folder}/{relative}"
        try:
            if os.path.samefile(place, name):
                self.disk.unlink(place)
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    def remove_empty(self, folder: str) -> None:
        """Remove a folder of objects if nothing is left in it, and those above that hold nothing else."""
        least = _LEAST_DEPTH.get(folder.partition("/")[0])
        while least is not None and folder.count("/") >= least:
            try:
                self.disk.remove_directory(f"{self.folder}/{folder}")
            except OSError:  # not empty, or gone already
                return
            self.directories.forget(folder)
            folder = folder.rpartition("/")[0]

    def link(self, source: str, destination: str) -> Directory:
        """Give a file a name in its place, and answer the directory to be synced; FileExistsError if it is taken.

        The way there is made, again if need be: whoever deletes the last object of a folder removes the folder.
        """
        folder, _, last = destination.rpartition("/")
        for attempt in itertools.count(1):
            directory = self.directories.durable(folder)
            try:
                self.disk.link(source, last, directory.descriptor)
            except FileNotFoundError:
                if attempt == ATTEMPTS or not os.path.lexists(source):
                    raise
                self.directories.forget(folder)
            else:
                return directory
        raise AssertionError

    def sweep(self, names: Iterable[str]) -> None:
        """Remove names under ``incoming`` of files that are safe in their place. Nothing depends on when that is."""
        for name in names:
            with contextlib.suppress(OSError):
                self.disk.unlink(name)

    def digest(self, relative: str, offset: int) -> bytes:
        """Digest of the data set in a file, which starts at ``offset``."""
        digest = blake3()
        with open(f"{self.folder}/{relative}", "rb") as file:
            file.seek(offset)
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
        return digest.digest()

    def move(self, relative: str, destination: str) -> None:
        """Give a file another place, durably; whatever was there must be gone."""
        self.link(f"{self.folder}/{relative}", destination).sync()
        self.disk.unlink(f"{self.folder}/{relative}")

    def quarantine(self, relative: str) -> str:
        """Put a file that cannot stay where it is out of the way, and say where. Nothing is deleted for being odd."""
        day = datetime.now(UTC).strftime("%Y%m%d")
        place = f"{QUARANTINE}/{day}/{encode_destination(relative)}"
        for version in itertools.count(2):
            try:
                self.move(relative, place)
            except FileExistsError:
                place = versioned(place, version)
            else:
                return place
        raise AssertionError

    def quarantine_if_there(self, relative: str) -> None:
        """The same for a file that may have gone already."""
        with contextlib.suppress(FileNotFoundError):
            self.quarantine(relative)


class IncomingBlob:
    """A file being received. It is visible nowhere until :meth:`place`, and gone after :meth:`discard`."""

    __slots__ = ("_descriptor", "_name", "_prefix", "_store", "placed", "size")

    def __init__(self, store: FilesystemBlobs, destination: str) -> None:
        self._store = store
        self._prefix = f"{store.incoming}/{store.next_number()}"
        self._name = f"{self._prefix},{encode_destination(destination)}" if destination else self._prefix
        self._descriptor = store.disk.create(self._name)
        self.placed = ""
        self.size = 0

    def write(self, buffers: Sequence[Buffer]) -> None:
        self._store.disk.write(self._descriptor, buffers)
        self.size += sum(map(len, buffers))

    def write_whole(self, buffers: Sequence[Buffer]) -> None:
        """:meth:`write`, for a file that is complete with it."""
        size = sum(map(len, buffers))
        if self._store.direct_bytes and size >= self._store.direct_bytes:
            self._store.disk.write_past_cache(self._descriptor, buffers)
            self.size += size
        else:
            self.write(buffers)

    def begin_write_back(self, length: int) -> None:
        """Start writing out the last ``length`` bytes."""
        self._store.disk.begin_write_back(self._descriptor, self.size - length, length)

    def place(self, destination: str) -> bool:
        """Make the file visible and durable there; False if the place is taken, and then nothing has changed."""
        store = self._store
        name = f"{self._prefix},{encode_destination(destination)}"
        if name != self._name:  # the name in incoming comes first: it is how a crash finds the other one
            store.disk.rename(self._name, name)
            self._name = name
        try:
            directory = store.link(name, destination)
        except FileExistsError:
            return False
        self.placed = destination
        if self._descriptor >= 0:
            store.disk.sync(self._descriptor)
            self._close()  # complete: whatever follows is done by name
        directory.sync()
        return True

    def place_beside(self, destination: str) -> str:
        """:meth:`place`, under the first free version of the name; returns that."""
        place = destination
        for version in itertools.count(2):
            if self.place(place):
                return place
            place = versioned(destination, version)
        raise AssertionError

    def set_aside(self, destination: str, digest: bytes, *, size: int, offset: int, is_known: bool) -> int:
        """Give up its place and be durable under ``conflicts`` instead, where the name tells the content.

        Returns where the data set of ``size`` bytes begins in the file that is there now: in one that was there before,
        another sender's File Meta Information may be longer or shorter. With ``is_known`` False it is not relied on.
        """
        self.retract()
        if self.place(destination):
            return offset
        if is_known:
            with contextlib.suppress(FileNotFoundError):  # deleted at this moment
                there = (self._store.size(destination) or 0) - size
                if there >= 0 and self._store.digest(destination, there) == digest:
                    return there
                self._store.quarantine(destination)  # torn by a crash of long ago, or altered since
        self.place_beside(destination)
        return offset

    def retract(self) -> None:
        """Give up the place it has, if it has one."""
        if self.placed:
            self._store.remove(self.placed)
            self.placed = ""

    def release(self) -> str:
        """The file stays where it is. Returns its name in ``incoming``, to be swept once its row is committed."""
        return self._name

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            self.retract()
        self._close()
        self._store.sweep((self._name,))

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):  # it has been synced, or is being thrown away
                self._store.disk.close(descriptor)
