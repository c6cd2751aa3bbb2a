"""Storage commitment as SCP (PS3.4 Annex J): an N-ACTION is a request that is stored, and its answer.

The answer says no more than that (STANDARD SC-02): what has become of the objects is looked after by the outbox, and
told by :mod:`~pacslite.services.reporting`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

from pacslite.archive.archive import Archive
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import CommandSet, Tag
from pacslite.dimse.service import Request, Response
from pacslite.errors import (
    BadDataSetError,
    ClassInstanceConflict,
    MistypedArgument,
    NoSuchAction,
    NoSuchObjectInstance,
    ProcessingFailure,
)
from pacslite.facts import CommitmentRequested, Observe
from pacslite.services.commitment_data_set import CommitmentRequest, read_request_in_slices
from pacslite.services.held_bytes import HeldBytes
from pacslite.services.open_lines import OpenLines

REQUEST_STORAGE_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 Table J.3.2.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentLimits:
    """Beyond either, a request is refused (0213)."""

    max_request_bytes: int
    max_instances: int


class CommitmentService:
    """Takes requests into ``archive``, each being ``held`` while it is read; results may go over ``lines``."""

    def __init__(
        self,
        archive: Archive,
        lines: OpenLines,
        *,
        limits: CommitmentLimits,
        held: HeldBytes,
        observe: Observe,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._lines = lines
        self._limits = limits
        self._held = held
        self._observe = observe
        self._clock = clock

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        _check(request.command)
        asked = await self._read(request)
        peer = request.peer
        try:
            request_id = await self._archive.commitments.receive(
                transaction_uid=asked.transaction_uid,
                calling_ae=peer.calling_ae,
                called_ae=peer.called_ae,
                address=peer.address,
                references=asked.references,
                now=self._clock(),
            )
        except sqlite3.Error as error:
            raise ProcessingFailure(f"the index cannot be written: {error}") from error
        line = self._lines.open(request_id, request)
        self._archive.outbox.added(peer.calling_ae)  # it is there, so whatever is owed to it need not wait any longer
        self._observe(
            CommitmentRequested(
                peer=peer, request=request_id, transaction=asked.transaction_uid, instances=len(asked.references)
            )
        )
        yield Response(
            elements={Tag.ACTION_TYPE_ID: REQUEST_STORAGE_COMMITMENT}, sent=None if line is None else line.answered
        )

    async def _read(self, request: Request) -> CommitmentRequest:
        if request.data_set is None:
            raise MistypedArgument("N-ACTION without a data set", offending=(Tag.COMMAND_DATA_SET_TYPE,))
        most, max_bytes = self._limits.max_instances, self._limits.max_request_bytes
        syntax = transfer_syntax(request.context.transfer_syntax)
        async with self._held.read(request.data_set, max_bytes, what="request") as data:
            try:
                return await read_request_in_slices(data, syntax, most=most, max_bytes=max_bytes)
            except BadDataSetError as error:
                offending = (error.tag,) if error.tag else ()
                raise ProcessingFailure(f"request cannot be read: {error}", offending=offending) from error


def _check(command: CommandSet) -> None:
    if command.sop_class != STORAGE_COMMITMENT_PUSH_MODEL:
        raise ClassInstanceConflict(
            "the SOP Class is not Storage Commitment Push Model", offending=(Tag.REQUESTED_SOP_CLASS_UID,)
        )
    if command.sop_instance != STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE:
        raise NoSuchObjectInstance(
            f"the one SOP Instance is {STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE}",
            offending=(Tag.REQUESTED_SOP_INSTANCE_UID,),
        )
    action = command.integer(Tag.ACTION_TYPE_ID)
    if action != REQUEST_STORAGE_COMMITMENT:
        raise NoSuchAction(f"Action Type ID {action}; there is only 1", offending=(Tag.ACTION_TYPE_ID,))
