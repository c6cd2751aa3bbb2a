"""The operating system calls that the blob store rests on, in one place, so that tests can fail, record or cut them."""

from __future__ import annotations

import os
from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview

_BUFFERS_PER_CALL = 1000  # IOV_MAX is 1024 on Linux


class Disk:
    """Thin: each method is one call, or one that is repeated until it is complete. Errors are the system's own."""

    __slots__ = ()

    def create(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def write(self, descriptor: int, buffers: Sequence[Buffer]) -> None:
        """All of ``buffers``, without joining them first."""
        for start in range(0, len(buffers), _BUFFERS_PER_CALL):
            part = buffers[start : start + _BUFFERS_PER_CALL]
            missing = sum(map(len, part)) - os.writev(descriptor, part)
            if missing:  # the disk is filling up, or a signal came: the plain call says which
                rest = memoryview(b"".join(part))[-missing:]
                while rest:
                    rest = rest[os.write(descriptor, rest) :]

    def begin_write_back(self, descriptor: int, offset: int, length: int) -> None:
        """Ask the kernel to start writing these pages out now, so that the final sync has little left to do.

        POSIX_FADV_DONTNEED does that on Linux, and drops what is clean: a large object just received is not read soon.
        """
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def link(self, source: str, name: str, directory: int) -> None:
        """A second name for a file, in an open directory: the very one that is synced afterwards."""
        os.link(source, name, dst_dir_fd=directory)

    def rename(self, source: str, destination: str) -> None:
        os.rename(source, destination)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def make_directory(self, path: str) -> None:
        os.mkdir(path, 0o750)

    def open_directory(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync_directory(self, descriptor: int) -> None:
        os.fsync(descriptor)
