"""From files and folders to DICOM files: what ``send`` and ``import`` have in common.

Only the beginning of each file is read, by a few threads at once, and only a little ahead of whoever takes the results:
a folder of any size starts at once and costs no more memory than a small one.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Final

from pacslite.cli.sending_plan import SendableFile
from pacslite.dicom import tags
from pacslite.dicom.header import HeaderReader
from pacslite.dicom.part10 import PREAMBLE_LENGTH, PREFIX, FileMeta, NotPart10Error, read_file_meta
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import MEDIA_STORAGE_DIRECTORY

HEAD_BYTES: Final = 16 * 1024
"""Holds the File Meta Information and SOP Instance UID (0008,0018), which is among the first elements."""

_CHUNK: Final = 64  # files that one thread looks at before it hands over
_CHUNKS_AHEAD: Final = 4


class Why(Enum):
    """Why a file is not taken."""

    NOT_DICOM = "not a DICOM file"
    DICOMDIR = "a DICOMDIR"
    BROKEN = "cannot be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file that is not taken. ``named``: it was asked for by name, not found in a folder."""

    path: Path
    why: Why
    reason: str
    named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    path: Path
    named: bool


Scanned = SendableFile | Skipped


async def scan(paths: Sequence[Path]) -> AsyncGenerator[Scanned, None]:
    """Every file in ``paths``, folders with all they contain, in the order of their names."""
    loop = asyncio.get_running_loop()
    found = _walk(paths)
    with ThreadPoolExecutor(_CHUNKS_AHEAD, thread_name_prefix="scan") as pool:
        ahead: deque[asyncio.Future[list[Scanned]]] = deque()
        more = True
        while more or ahead:
            while more and len(ahead) < _CHUNKS_AHEAD:
                chunk = await loop.run_in_executor(pool, lambda: list(islice(found, _CHUNK)))
                more = bool(chunk)
                if chunk:
                    ahead.append(loop.run_in_executor(pool, _look_at_all, chunk))
            if ahead:
                for scanned in await ahead.popleft():
                    yield scanned


def look_at(path: Path, *, named: bool = True) -> Scanned:
    """Read the beginning of one file."""
    try:
        if path.exists() and not path.is_file():
            return _broken(path, "not a regular file", named)  # opening a pipe would wait for whoever writes into it
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        return _broken(path, f"cannot be read: {error.strerror or error}", named)
    if not head:
        return Skipped(path=path, why=Why.NOT_DICOM, reason="the file is empty", named=named)
    try:
        meta = read_file_meta(head)
    except NotPart10Error as error:
        return Skipped(path=path, why=Why.NOT_DICOM, reason=str(error), named=named)
    return _identify(path, head, size, meta, named)


def _identify(path: Path, head: bytes, size: int, meta: FileMeta, named: bool) -> Scanned:
    if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        return Skipped(path=path, why=Why.DICOMDIR, reason="a DICOMDIR is an index, not an object", named=named)
    reader = HeaderReader(transfer_syntax(meta.transfer_syntax_uid), limit_bytes=HEAD_BYTES)
    reader.feed(head[meta.data_set_offset :])
    header = reader.finish()
    # The command has to say what the data set says (ST-03); File Meta Information may be wrong, or be missing.
    sop_class_uid = header.uid(tags.SOP_CLASS_UID) or meta.sop_class_uid
    sop_instance_uid = header.uid(tags.SOP_INSTANCE_UID) or meta.sop_instance_uid
    if not (sop_class_uid and sop_instance_uid):
        missing = "SOP Instance UID (0008,0018)" if sop_class_uid else "SOP Class UID (0008,0016)"
        if head[PREAMBLE_LENGTH : PREAMBLE_LENGTH + len(PREFIX)] != PREFIX and not sop_class_uid:
            return Skipped(path=path, why=Why.NOT_DICOM, reason=f"no DICM prefix and no {missing}", named=named)
        return _broken(path, f"no {missing}", named)
    if size <= meta.data_set_offset:
        return _broken(path, "the file ends before its data set", named)
    return SendableFile(
        path=path,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        data_set_offset=meta.data_set_offset,
        data_set_bytes=size - meta.data_set_offset,
    )


def _look_at_all(chunk: Sequence[_Found | Skipped]) -> list[Scanned]:
    return [item if isinstance(item, Skipped) else look_at(item.path, named=item.named) for item in chunk]


def _broken(path: Path, reason: str, named: bool) -> Skipped:
    return Skipped(path=path, why=Why.BROKEN, reason=reason, named=named)


def _walk(paths: Sequence[Path]) -> Iterator[_Found | Skipped]:
    for path in paths:
        if path.is_dir():
            yield from _walk_folder(path)
        else:
            yield _Found(path=path, named=True)


def _walk_folder(folder: Path) -> Iterator[_Found | Skipped]:
    """Files through symbolic links too, folders not: a link to a folder above would never end."""
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        folders: list[Path] = []
        try:
            with os.scandir(current) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield _broken(current, f"cannot be read: {error.strerror or error}", named=False)
            continue
        for entry in ordered:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif _may_be_file(entry):
                yield _Found(path=Path(entry.path), named=False)
        waiting.extend(reversed(folders))


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link into a folder that is closed to us: reading it will say so
        return True
