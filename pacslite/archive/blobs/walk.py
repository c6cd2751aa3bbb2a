"""Every file of the store, one after the other, in the order of names; memory holds one directory per level."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pacslite.archive.blobs.layout import INCOMING


def walk(folder: Path, root: str) -> Iterator[tuple[str, float]]:
    """Files under ``folder/root``: their paths relative to ``folder``, and how much of the whole lies before each."""
    try:
        names = sorted(os.listdir(folder / root))
    except FileNotFoundError:
        return
    for number, name in enumerate(names):
        for path in _files(str(folder), f"{root}/{name}"):
            yield path, number / len(names)


def _files(folder: str, relative: str) -> Iterator[str]:
    try:
        with os.scandir(f"{folder}/{relative}") as entries:
            inside = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except NotADirectoryError:
        yield relative
        return
    except FileNotFoundError:  # removed while we walk
        return
    for name, is_folder in inside:
        if is_folder:
            yield from _files(folder, f"{relative}/{name}")
        else:
            yield f"{relative}/{name}"


def is_in_flight(folder: Path, path: str) -> bool:
    """Whether some living process is just storing this file: its other name is under ``incoming``.

    The index must be asked again after this has said no: the object may have been committed in between.
    """
    try:
        status = os.stat(folder / path)
    except FileNotFoundError:
        return False
    if status.st_nlink < 2:
        return False
    return any(_holds(process, status.st_ino) for process in (folder / INCOMING).iterdir())


def _holds(process: Path, inode: int) -> bool:
    try:
        with os.scandir(process) as entries:
            return any(entry.inode() == inode for entry in entries)
    except (NotADirectoryError, FileNotFoundError):  # a lock, or a process that has just ended
        return False
