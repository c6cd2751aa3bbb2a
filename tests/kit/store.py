"""A data folder looked at from outside: which objects lie in it, with which bytes.

Knows only that an object is a ``.dcm`` file under ``blobs/`` or, kept aside, under ``conflicts/``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.shipped import DicomObject, read_meta

META_SOP_CLASS = 0x0002
META_SOP_INSTANCE = 0x0003
META_TRANSFER_SYNTAX = 0x0010


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of the store; the UIDs are those of its File Meta Information."""

    path: Path
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data_set_offset: int

    @property
    def data_set(self) -> bytes:
        return self.path.read_bytes()[self.data_set_offset :]

    @property
    def kept_aside(self) -> bool:
        return "conflicts" in self.path.parts


_SETTLED_NS = 1_000_000_000
"""A folder that has not changed for so long is not looked into again: time stamps are too coarse for less."""


@dataclass(frozen=True, slots=True)
class _Folder:
    changed_ns: int
    settled: bool
    folders: tuple[str, ...]
    files: tuple[StoredFile, ...]


class Store:
    """The objects in a data folder. A file is never changed once it is there, so each is read only once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folders: dict[str, _Folder] = {}
        self._files: dict[tuple[str, int], StoredFile] = {}

    def files(self) -> list[StoredFile]:
        """All objects, those kept aside included; a file that vanishes meanwhile is left out."""
        return [stored for place in ("blobs", "conflicts") for stored in self._below(str(self.folder / place))]

    def _below(self, path: str) -> Iterator[StoredFile]:
        try:
            folder = self._look(path)
        except FileNotFoundError:
            return
        yield from folder.files
        for name in folder.folders:
            yield from self._below(name)

    def _look(self, path: str) -> _Folder:
        now, changed = time.time_ns(), os.stat(path).st_mtime_ns
        known = self._folders.get(path)
        if known is not None and known.settled and known.changed_ns == changed:
            return known
        with os.scandir(path) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        folders = tuple(entry.path for entry in entries if entry.is_dir())
        files = (self._file(entry.path, entry.inode()) for entry in entries if entry.name.endswith(".dcm"))
        found = _Folder(changed, now - changed > _SETTLED_NS, folders, tuple(one for one in files if one is not None))
        self._folders[path] = found
        return found

    def _file(self, path: str, inode: int) -> StoredFile | None:
        stored = self._files.get((path, inode)) or _read(Path(path))
        if stored is not None:
            self._files[path, inode] = stored
        return stored

    def copies(self, sop_instance: str) -> list[StoredFile]:
        return [stored for stored in self.files() if stored.sop_instance == sop_instance]

    def copy_of(self, sent: DicomObject) -> StoredFile:
        """The stored file with exactly these bytes; an AssertionError that says what is there instead."""
        copies = self.copies(sent.sop_instance)
        assert copies, f"{sent.name}: nothing is stored as {sent.sop_instance!r}"
        for stored in copies:
            if stored.data_set == sent.data_set and stored.transfer_syntax == sent.transfer_syntax:
                assert stored.sop_class == sent.sop_class, f"{sent.name}: stored as class {stored.sop_class}"
                return stored
        there = [(stored.path.name, stored.transfer_syntax, stored.path.stat().st_size) for stored in copies]
        raise AssertionError(
            f"{sent.name}: {len(sent.data_set)} bytes in {sent.transfer_syntax} were sent, stored are {there}"
        )

    def in_flight(self) -> list[Path]:
        """What lies in the folder for objects that are being received."""
        return [path for path in (self.folder / "incoming").rglob("*") if path.is_file() and path.suffix != ".lock"]


def _read(path: Path) -> StoredFile | None:
    try:
        with path.open("rb") as file:
            meta = read_meta(file.read(4096), trusted=True)
    except FileNotFoundError:
        return None
    return StoredFile(
        path=path,
        sop_class=meta.uid(META_SOP_CLASS),
        sop_instance=meta.uid(META_SOP_INSTANCE),
        transfer_syntax=meta.uid(META_TRANSFER_SYNTAX),
        data_set_offset=meta.data_set_offset,
    )
