"""Volumes of their own for a data folder: one that gets full, and one whose power can be cut."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
"""What is not in the journal by now is lost, as when the power fails."""


class NotPermitted(Exception):
    """This machine lets us mount nothing; the message is the system's."""


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermitted(done.stderr.strip() or f"mount {' '.join(arguments)} failed")


def _unmount(place: Path) -> None:
    # Lazily, so that a test that failed with the server still on the volume leaves no mount behind.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def small_volume(place: Path, size_bytes: int) -> Iterator[Path]:
    """A tmpfs of ``size_bytes`` on ``place``; raises :class:`NotPermitted`."""
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "chaos", str(place))
    try:
        yield place
    finally:
        _unmount(place)


def fill(volume: Path, *, leave_bytes: int) -> Path:
    """Take the volume's free space but for ``leave_bytes``; removing the returned file frees it again."""
    ballast = volume / "ballast"
    statistics = os.statvfs(volume)
    missing = statistics.f_bavail * statistics.f_frsize - leave_bytes
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        if missing > 0:
            os.posix_fallocate(descriptor, 0, missing)
    finally:
        os.close(descriptor)
    return ballast


class PoweredVolume:
    """An ext4 file system in a file. :meth:`cut_power` loses everything that was not synced, as a real one would."""

    def __init__(self, scratch: Path, *, size_bytes: int) -> None:
        self.place = scratch / "volume"
        self._image = scratch / "volume.img"
        self._mounted = False
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(size_bytes)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True, capture_output=True)

    def power_on(self) -> None:
        """Mount, which replays the journal; raises :class:`NotPermitted`."""
        _mount("-o", "loop", str(self._image), str(self.place))
        self._mounted = True

    def cut_power(self) -> None:
        """Nothing reaches the disk from now on. The processes that use it have to be killed before ``unplug``."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def unplug(self) -> None:
        if self._mounted:
            subprocess.run(["umount", str(self.place)], check=True, capture_output=True)
            self._mounted = False

    def remove(self) -> None:
        """Unmount whatever still uses it, and forget it."""
        if self._mounted:
            _unmount(self.place)
        self._image.unlink()
