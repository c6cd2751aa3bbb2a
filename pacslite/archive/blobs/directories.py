"""Directories that are known to be durable, so that a file's way to them is synced once and not with every file.

A directory entry is durable once the directory that holds it has been synced. The first use of a directory in this
process therefore makes it if it is missing and syncs its parent, and so on upwards: it may have been made by a process
that died before it got to that.

A directory may also be removed at any moment, by whoever deletes the last object in it, and be made again by another
process. One that we hold open is then no longer the one at its path: nothing can be linked into it any more, and to
sync it says nothing about the new one, which is why the parent of a new directory is looked at again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import OrderedDict

from pacslite.archive.blobs.disk import Disk

_KEPT_OPEN = 128
ATTEMPTS = 10
"""How often a way is made again that others remove; once is rare."""


class Directory:
    """An open directory; it is closed when nobody uses it any more."""

    __slots__ = ("_disk", "_path", "descriptor")

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self.descriptor = disk.open_directory(path)

    def sync(self) -> None:
        self._disk.sync_directory(self.descriptor)

    def is_at_its_path(self) -> bool:
        """False if it was removed, also if another has been made there."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def __del__(self) -> None:
        # Evicted while another thread syncs it: the reference count is what keeps the descriptor valid until then.
        with contextlib.suppress(AttributeError, OSError):
            self._disk.close(self.descriptor)


class Directories:
    """The directories below ``root``, opened on first use; safe to use from several threads."""

    def __init__(self, disk: Disk, root: str) -> None:
        self._disk = disk
        self._root = root
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Directory] = OrderedDict()
        self._top = Directory(disk, root)

    def durable(self, relative: str) -> Directory:
        """The directory, made if need be, with its own entry durable."""
        if not relative:
            return self._top
        with self._lock:
            if known := self._open.get(relative):
                self._open.move_to_end(relative)
                return known
        for _ in range(ATTEMPTS):
            if directory := self._made(relative):
                with self._lock:
                    self._open[relative] = directory
                    if len(self._open) > _KEPT_OPEN:
                        self._open.popitem(last=False)
                return directory
            self.forget(relative)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self._root}/{relative}")

    def _made(self, relative: str) -> Directory | None:
        """None if somebody removes the way to it meanwhile."""
        parent = self.durable(relative.rpartition("/")[0])
        path = f"{self._root}/{relative}"
        try:
            with contextlib.suppress(FileExistsError):
                self._disk.make_directory(path)
            directory = Directory(self._disk, path)
        except FileNotFoundError:
            return None
        parent.sync()
        return directory if parent.is_at_its_path() else None

    def forget(self, relative: str) -> None:
        """Somebody removed this directory, or one above it: look again from the top."""
        with self._lock:
            self._open = OrderedDict(
                (known, directory)
                for known, directory in self._open.items()
                if not (relative == known or relative.startswith(known + "/") or known.startswith(relative + "/"))
            )
