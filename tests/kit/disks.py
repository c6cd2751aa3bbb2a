"""Disks that tell what is done to them, fail, or take the process with them: the real one underneath, every time."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pacslite.archive.blobs.disk import Buffer, Disk


@dataclass(frozen=True, slots=True)
class Call:
    """One call, and the file or folder it was about (its path relative to the data folder, where it is known)."""

    operation: str
    what: str


class WatchedDisk(Disk):
    """Calls ``before`` with every call, which may raise or not return; descriptors are told by their paths."""

    __slots__ = ("_before", "_folder", "_lock", "_paths")

    def __init__(self, before: Callable[[Call], None], folder: str) -> None:
        self._before = before
        self._folder = folder
        self._paths: dict[int, str] = {}
        self._lock = threading.Lock()

    def _tell(self, operation: str, path: str) -> None:
        with self._lock:
            self._before(Call(operation, os.path.relpath(path, self._folder)))

    def create(self, path: str) -> int:
        self._tell("create", path)
        descriptor = super().create(path)
        self._paths[descriptor] = path
        return descriptor

    def write(self, descriptor: int, buffers: Sequence[Buffer]) -> None:
        self._tell("write", self._paths[descriptor])
        super().write(descriptor, buffers)

    def write_past_cache(self, descriptor: int, buffers: Sequence[Buffer]) -> None:
        self._tell("write", self._paths[descriptor])
        super().write_past_cache(descriptor, buffers)

    def begin_write_back(self, descriptor: int, offset: int, length: int) -> None:
        self._tell("begin_write_back", self._paths[descriptor])
        super().begin_write_back(descriptor, offset, length)

    def sync(self, descriptor: int) -> None:
        self._tell("sync", self._paths[descriptor])
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)

    def link(self, source: str, name: str, directory: int) -> None:
        self._tell("link", f"{self._paths[directory]}/{name}")
        super().link(source, name, directory)

    def rename(self, source: str, destination: str) -> None:
        self._tell("rename", destination)
        super().rename(source, destination)

    def unlink(self, path: str) -> None:
        self._tell("unlink", path)
        super().unlink(path)

    def make_directory(self, path: str) -> None:
        self._tell("make_directory", path)
        super().make_directory(path)

    def remove_directory(self, path: str) -> None:
        self._tell("remove_directory", path)
        super().remove_directory(path)

    def open_directory(self, path: str) -> int:
        descriptor = super().open_directory(path)
        self._paths[descriptor] = path
        return descriptor

    def sync_directory(self, descriptor: int) -> None:
        self._tell("sync_directory", self._paths[descriptor])
        super().sync_directory(descriptor)


def failing(operation: str, error: int = errno.ENOSPC, *, times: int = 1 << 30) -> Callable[[Call], None]:
    """Fail an operation this many times."""
    left = [times]

    def before(call: Call) -> None:
        if call.operation == operation and left[0]:
            left[0] -= 1
            raise OSError(error, os.strerror(error))

    return before


def dying(step: int) -> Callable[[Call], None]:
    """Take the process down before the call with this number, as ``kill -9`` would."""
    count = [0]

    def before(call: Call) -> None:
        if count[0] == step:
            os._exit(DIED)
        count[0] += 1

    return before


DIED = 99
