"""The data folder: its marker, its locks, and the folder of this process for what is in flight.

    store.toml                 what this folder is, and the version of its layout
    server.lock                locked by the one server
    index.sqlite, backups/     the index, and copies made before it was migrated
    blobs/ conflicts/ quarantine/
    incoming/<process>/        files being received; <process>.lock is locked while the process lives

A lock is an ``flock``: it goes with the process however that ends, so nothing stale is ever believed. A lock file
that has been unlinked by someone who cleaned up does not count: after locking, the name must still lead to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pacslite.archive.blobs.paths import BLOBS, CONFLICTS
from pacslite.archive.settings import StoreMode
from pacslite.errors import StoreInUseError

LAYOUT = 1
INCOMING = "incoming"
QUARANTINE = "quarantine"
BACKUPS = "backups"
MARKER = "store.toml"
SERVER_LOCK = "server.lock"
INDEX = "index.sqlite"

_MARKER_TEXT = f"""# This folder is a pacslite store. Objects are under blobs/; the index can be rebuilt from them.
layout = {LAYOUT}
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """An opened data folder. ``incoming`` is this process's own part of it."""

    folder: Path
    incoming: Path

    @property
    def index(self) -> Path:
        return self.folder / INDEX

    @property
    def backups(self) -> Path:
        return self.folder / BACKUPS

    def stale_incoming(self) -> Iterator[Path]:
        """The folders of processes that are gone, each locked while the caller looks at it and removed afterwards."""
        for lock in sorted((self.folder / INCOMING).glob("*.lock")):
            if lock.stem == self.incoming.name:
                continue
            descriptor = _try_lock(lock)
            if descriptor is None:
                continue
            try:
                left = lock.with_suffix("")
                if left.is_dir():
                    yield left
                    left.rmdir()
                lock.unlink()
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def open_layout(folder: Path, mode: StoreMode) -> Iterator[Layout]:
    """Open the data folder, making it if it is new; :class:`StoreInUseError` says in one line why it cannot be."""
    with contextlib.ExitStack() as stack:
        try:
            _prepare(folder)
            if mode is StoreMode.SERVER:
                stack.enter_context(_server_lock(folder / SERVER_LOCK))
            incoming = stack.enter_context(_own_incoming(folder / INCOMING))
        except OSError as error:
            raise StoreInUseError(f"{folder}: {error.strerror or error}") from error
        yield Layout(folder, incoming)


def server_is_running(folder: Path) -> bool:
    """Whether some process holds the server's lock."""
    descriptor = _try_lock(folder / SERVER_LOCK)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise StoreInUseError(f"{folder}: is a file, and a data folder is wanted") from None
    marker = folder / MARKER
    try:
        layout = tomllib.loads(marker.read_text()).get("layout")
    except FileNotFoundError:
        found = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(("lost+found", ".")))
        if found and not marker.exists():  # it exists now if another process is just making this store
            raise StoreInUseError(f"{folder}: not a pacslite store, and not empty ({found[0]})") from None
        _write_marker(marker)
        layout = LAYOUT
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StoreInUseError(f"{marker}: {error}") from error
    if layout != LAYOUT:
        raise StoreInUseError(f"{folder}: layout {layout} is not known to this version, which knows {LAYOUT}")
    for name in (BLOBS, CONFLICTS, INCOMING, BACKUPS, QUARANTINE):
        (folder / name).mkdir(mode=0o750, exist_ok=True)
    sync_folder(folder)


def _write_marker(marker: Path) -> None:
    # Written aside and renamed: a process that starts at the same time sees all of it or nothing.
    temporary = marker.with_name(f".{MARKER}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(_MARKER_TEXT)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(marker)


def sync_folder(folder: Path) -> None:
    """Make the names in it durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    """Lock the file, making it if need be; None if another holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)


@contextlib.contextmanager
def _server_lock(path: Path) -> Iterator[None]:
    descriptor = _try_lock(path)
    if descriptor is None:
        holder = path.read_text().strip() or "unknown"
        raise StoreInUseError(f"{path.parent}: in use by another server (process {holder})")
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _own_incoming(root: Path) -> Iterator[Path]:
    # The lock comes first: whoever finds the folder of a living process also finds its lock held.
    name = f"{os.getpid()}-{os.urandom(4).hex()}"
    lock = root / f"{name}.lock"
    descriptor = _try_lock(lock)
    if descriptor is None:
        raise StoreInUseError(f"{lock}: taken")
    try:
        folder = root / name
        folder.mkdir(mode=0o750)
        yield folder
        with contextlib.suppress(OSError):  # not empty: the next start looks at it
            folder.rmdir()
            lock.unlink()
    finally:
        os.close(descriptor)
