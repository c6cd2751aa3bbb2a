"""Storage as SCP on an association of ours (C-GET): what the peer sends becomes Part 10 files in a folder.

A file has its name only when it is whole: until then it is a ``.part`` file beside it. Names are made of SOP Instance
UIDs that keep the rules for UIDs, of nothing else. A file that is there already stays, whatever it is, unless it may be
replaced: the same object in the same transfer syntax counts as received, another one fails.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pacslite.dicom.part10 import NotPart10Error, file_meta, read_file_meta
from pacslite.dicom.uids import is_conformant_uid
from pacslite.dimse.command import CommandField, Tag
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.errors import DimseError, InvalidObjectInstance, MistypedArgument, OutOfResources, ProcessingFailure
from pacslite.facts import ignore
from pacslite.net.association import Perform
from pacslite.net.dispatch import Dispatcher
from pacslite.ul.items import PresentationContext, RoleSelection

MOST_CONTEXTS: Final = 128
"""Presentation context IDs are odd numbers of one byte (PS3.8 9.3.2.2)."""

_WRITE_BYTES: Final = 1 << 20  # small pieces are collected up to this before a thread is asked to write them
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})  # memory sticks, shares
_HEAD_BYTES: Final = 1 << 16
_COMPARE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Received:
    """An object that lies in ``path``; ``kept`` says that it was there before and is the same."""

    path: Path
    bytes: int
    kept: bool


@dataclass(frozen=True, slots=True)
class Unsaved:
    """An object that came and could not be saved, and why: the peer is told so, and may keep it to itself."""

    sop_instance_uid: str
    reason: str


class FolderService:
    """C-STORE into ``folder``. ``moved`` hears of bytes as they come, ``told`` of every object that came.

    With ``replace`` a file of the same name gives way. With ``sync`` files are on the disk before they are
    acknowledged, not only with the operating system.
    """

    def __init__(
        self,
        folder: Path,
        *,
        told: Callable[[Received | Unsaved], None],
        moved: Callable[[int], None] = lambda size: None,
        replace: bool = False,
        sync: bool = False,
    ) -> None:
        self._folder = folder
        self._told = told
        self._moved = moved
        self._replace = replace
        self._sync = sync

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        try:
            received = await self._receive(request)
        except OSError as error:
            self._told(Unsaved(request.command.sop_instance, error.strerror or str(error)))
            raise OutOfResources(f"cannot write: {error.strerror or error}") from error
        except DimseError as error:
            self._told(Unsaved(request.command.sop_instance, str(error)))
            raise
        self._told(received)
        yield Response()

    async def _receive(self, request: Request) -> Received:
        if request.data_set is None:
            raise MistypedArgument("C-STORE without a data set", offending=(Tag.COMMAND_DATA_SET_TYPE,))
        uid = request.command.sop_instance
        if not is_conformant_uid(uid):
            raise InvalidObjectInstance("not a UID, so no file name", offending=(Tag.AFFECTED_SOP_INSTANCE_UID,))
        path = self._folder / f"{uid}.dcm"
        head = file_meta(
            sop_class_uid=request.command.sop_class,
            sop_instance_uid=request.command.sop_instance,
            transfer_syntax_uid=request.context.transfer_syntax,
            source_ae=request.peer.called_ae,
            sending_ae=request.peer.called_ae,
            receiving_ae=request.peer.calling_ae,
        )
        opened, part = await asyncio.to_thread(self._create, path)
        try:
            size = unwritten = 0
            waiting: list[bytes | memoryview] = [head]
            async for piece in request.data_set.pieces():
                waiting.append(piece)
                size += len(piece)
                unwritten += len(piece)
                self._moved(len(piece))
                if unwritten >= _WRITE_BYTES:
                    await asyncio.to_thread(opened.writelines, waiting)
                    waiting, unwritten = [], 0
            await asyncio.to_thread(self._finish, opened, waiting)
            return Received(path, size, kept=await asyncio.to_thread(self._name, part, path))
        finally:
            with suppress(OSError):  # on a full disk what is still buffered fails here once more
                opened.close()
            with suppress(FileNotFoundError):
                part.unlink()

    # --- In threads ---------------------------------------------------------------------------------------------------

    def _create(self, path: Path) -> tuple[BinaryIO, Path]:
        part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part")
        return part.open("xb"), part

    def _finish(self, opened: BinaryIO, waiting: Sequence[bytes | memoryview]) -> None:
        opened.writelines(waiting)
        opened.flush()
        if self._sync:
            os.fsync(opened.fileno())
        opened.close()

    def _name(self, part: Path, path: Path) -> bool:
        """Give the whole file its name; true if an equal one has it already."""
        if self._replace:
            part.replace(path)
        else:
            try:
                _take_name(part, path)
            except FileExistsError:
                if _same_object(part, path):
                    return True
                raise ProcessingFailure("another file of this name is there") from None
        if self._sync:
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        return False


def receiver(service: FolderService) -> Perform:
    """Who performs the peer's operations on an association that is opened for C-GET."""
    storage = Registration(
        name="Storage",
        abstract_syntaxes=(),
        serves=lambda abstract_syntax, related_general: True,  # what we did not propose has no context
        transfer_syntaxes=(),
        permission=Permission.STORE,
        operations={CommandField.C_STORE_RQ: service},
    )
    return Dispatcher(ServiceRegistry([storage]), ignore).perform


def storage_proposal(
    sop_classes: Sequence[str], syntaxes: Sequence[Sequence[str]], *, first_id: int
) -> tuple[list[PresentationContext], list[RoleSelection]]:
    """Contexts to be sent objects on: for each SOP class one for each group of transfer syntaxes, and the SCP role.

    What does not fit behind context ``first_id`` is left out, the last SOP classes first.
    """
    room = (2 * MOST_CONTEXTS - first_id + 1) // 2 // len(syntaxes)
    contexts: list[PresentationContext] = []
    for sop_class in sop_classes[:room]:
        for group in syntaxes:
            contexts.append(PresentationContext(first_id + 2 * len(contexts), sop_class, tuple(group)))
    return contexts, [RoleSelection(sop_class=one, scu=False, scp=True) for one in sop_classes[:room]]


def _take_name(part: Path, path: Path) -> None:
    """Call the file ``path`` too; raises :class:`FileExistsError` if the name is taken, whoever took it."""
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(path) from None
        part.rename(path)


def _same_object(one: Path, other: Path) -> bool:
    """Whether both files hold the same data set in the same transfer syntax; who sent them does not count."""
    with one.open("rb") as first, other.open("rb") as second:
        try:
            metas = [read_file_meta(file.read(_HEAD_BYTES)) for file in (first, second)]
        except NotPart10Error:
            return False
        if metas[0].transfer_syntax_uid != metas[1].transfer_syntax_uid:
            return False
        for file, meta in zip((first, second), metas, strict=True):
            file.seek(meta.data_set_offset)
        while True:
            pieces = first.read(_COMPARE_BYTES), second.read(_COMPARE_BYTES)
            if pieces[0] != pieces[1]:
                return False
            if not pieces[0]:
                return True
