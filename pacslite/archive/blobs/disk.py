"""The operating system calls that the blob store rests on, in one place, so that tests can fail, record or cut them."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview

_BUFFERS_PER_CALL = 1000  # IOV_MAX is 1024 on Linux

_BLOCK_BYTES = 4096
_DIRECT = getattr(os, "O_DIRECT", 0)
_areas = threading.local()


def _area(size: int) -> mmap.mmap:
    """Memory of at least ``size`` bytes and a block, aligned to pages; the calling thread's own, used again."""
    area: mmap.mmap | None = getattr(_areas, "area", None)
    if area is None or len(area) < size + _BLOCK_BYTES:
        area = _areas.area = mmap.mmap(-1, size + _BLOCK_BYTES)
    return area


def _joined(area: memoryview, buffers: Sequence[Buffer]) -> int:
    """Put ``buffers`` into ``area``, zeros up to the next whole block; the length of that."""
    at = 0
    for buffer in buffers:
        area[at : at + len(buffer)] = buffer
        at += len(buffer)
    end = -(-at // _BLOCK_BYTES) * _BLOCK_BYTES
    area[at:end] = bytes(end - at)
    return end


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

    def write_past_cache(self, descriptor: int, buffers: Sequence[Buffer]) -> None:
        """All of ``buffers`` into a new file, straight to the device (O_DIRECT); plainly where there is no such thing.

        The page cache would cost a page to find and a copy for every 4 KiB, and be written out and waited for at once.
        The device wants aligned memory and whole blocks, so the buffers are joined in an aligned area of the thread's
        own, and the file is cut to its length afterwards.
        """
        size = sum(map(len, buffers))
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT)
        except OSError:  # EINVAL: this file system has no direct writes
            self.write(descriptor, buffers)
            return
        with memoryview(_area(size)) as area:
            end = _joined(area, buffers)
            written, is_direct = 0, True
            while written < end:
                try:
                    written += os.write(descriptor, area[written:end])
                except OSError as error:
                    if error.errno != errno.EINVAL or not is_direct:
                        raise
                    # Other blocks than we thought, or a short write left us inside one: the rest goes the plain way.
                    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
                    is_direct = False
        os.ftruncate(descriptor, size)

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

    def remove_directory(self, path: str) -> None:
        os.rmdir(path)

    def open_directory(self, path: str) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync_directory(self, descriptor: int) -> None:
        os.fsync(descriptor)
