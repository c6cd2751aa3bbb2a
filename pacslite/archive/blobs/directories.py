"""Directories that are known to be durable, so that a file's way to them is synced once and not with every file.

A directory entry is durable once the directory that holds it has been synced. The first use of a directory in this
process therefore makes it if it is missing and syncs its parent, and so on upwards: it may have been made by a process
that died before it got to that.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict

from pacslite.archive.blobs.disk import Disk

_KEPT_OPEN = 128


class Directory:
    """An open directory; it is closed when nobody uses it any more."""

    __slots__ = ("_disk", "descriptor")

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self.descriptor = disk.open_directory(path)

    def sync(self) -> None:
        self._disk.sync_directory(self.descriptor)

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
        parent = self.durable(relative.rpartition("/")[0])
        path = f"{self._root}/{relative}"
        with contextlib.suppress(FileExistsError):
            self._disk.make_directory(path)
        directory = Directory(self._disk, path)
        parent.sync()
        with self._lock:
            self._open[relative] = directory
            if len(self._open) > _KEPT_OPEN:
                self._open.popitem(last=False)
        return directory

    def forget(self, relative: str) -> None:
        """Somebody removed this directory, or one above it: look again from the top."""
        with self._lock:
            self._open = OrderedDict(
                (known, directory)
                for known, directory in self._open.items()
                if not (relative == known or relative.startswith(known + "/") or known.startswith(relative + "/"))
            )
