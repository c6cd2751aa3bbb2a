"""Storage commitment as SCU, the result (PS3.4 J.3.3): an N-EVENT-REPORT that comes to us, on any association.

It comes on the association on which we asked, or on one that the archive opens for it, with roles agreed or without
(STANDARD SC-04). Success is answered once everything that follows from the result is on stable storage; an archive that
repeats a result, because it did not hear that, is answered the same again (SC-05, SC-06). PS3.4 J.3.3.1.3 leaves to us
what to do with a result of a transaction that we do not know: it is answered with success as well, and told to the
administrator, since an archive that is refused would repeat it for ever. A result is taken from whoever was asked: from
its AE title, or from its address, for archives whose part that reports has a title of its own. Anybody else is refused
(0124). Of the event's type and the sequences, the sequences are believed.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final

from pacslite.archive.deliveries import Answer, Answered, Deliveries
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import CommandSet, Tag
from pacslite.dimse.service import Request, Response
from pacslite.errors import (
    BadDataSetError,
    ClassInstanceConflict,
    MistypedArgument,
    NoSuchEventType,
    NoSuchObjectInstance,
    NotAuthorized,
    ProcessingFailure,
)
from pacslite.facts import CommitmentAnswered, CommitmentRefused, CommitmentUnexpected, Observe, Peer
from pacslite.services.commitment_data_set import CommitmentResult, read_result_in_slices
from pacslite.services.conversations import Conversations
from pacslite.services.destinations import Callee
from pacslite.services.held_bytes import HeldBytes

_EVENT_TYPES: Final = (1, 2)
"""Successful, and complete with failures (PS3.4 Table J.3.3-1)."""


class EventService:
    """Takes results into ``deliveries``, of questions that were put to one of ``callees``, looked at anew each time."""

    def __init__(
        self,
        deliveries: Deliveries,
        conversations: Conversations,
        *,
        callees: Mapping[str, Callee],
        max_bytes: int,
        max_instances: int,
        held: HeldBytes,
        observe: Observe,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._deliveries = deliveries
        self._conversations = conversations
        self._callees = callees
        self._max_bytes = max_bytes
        self._max_instances = max_instances
        self._held = held
        self._observe = observe
        self._clock = clock

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        event_type = _check(request.command)
        result = await self._read(request)
        await self._take(request, result)
        uid = result.transaction_uid
        yield Response(elements={Tag.EVENT_TYPE_ID: event_type}, sent=lambda: self._conversations.told(uid))

    async def _read(self, request: Request) -> CommitmentResult:
        if request.data_set is None:
            raise MistypedArgument("N-EVENT-REPORT without a data set", offending=(Tag.COMMAND_DATA_SET_TYPE,))
        syntax = transfer_syntax(request.context.transfer_syntax)
        async with self._held.read(request.data_set, self._max_bytes, what="result") as data:
            try:
                return await read_result_in_slices(data, syntax, most=self._max_instances, max_bytes=self._max_bytes)
            except BadDataSetError as error:
                offending = (error.tag,) if error.tag else ()
                raise ProcessingFailure(f"result: {error}", offending=offending) from error

    async def _take(self, request: Request, result: CommitmentResult) -> None:
        destination = await self._deliveries.asked_of(result.transaction_uid)
        if destination is None:
            self._unexpected(request.peer, result, "we have not asked that, or no longer know of it")
            return
        teller = self._conversations.teller(request)
        if teller != destination and not await self._is_at(destination, request.peer.address):
            self._unexpected(request.peer, result, f"{destination} was asked, and this is neither it nor its address")
            raise NotAuthorized("another AE was asked for that commitment")
        answer = Answer(
            transaction_uid=result.transaction_uid,
            committed=[reference.sop_instance_uid for reference in result.committed],
            failed=[(reference.sop_instance_uid, reason) for reference, reason in result.failed],
        )
        answered = await self._deliveries.answer(answer)
        if answered is not None:
            self._tell(request.peer, destination, result.transaction_uid, answered)

    async def _is_at(self, destination: str, address: str) -> bool:
        callee = self._callees.get(destination)
        if callee is None:
            return False
        try:
            found = await asyncio.get_running_loop().getaddrinfo(callee.remote.host, None, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return address in {str(where[0]) for *_, where in found}

    def _tell(self, peer: Peer, destination: str, transaction_uid: str, answered: Answered) -> None:
        for refusal in answered.refused:
            self._observe(
                CommitmentRefused(
                    destination=destination,
                    sop_instance=refusal.sop_instance_uid,
                    failure_reason=refusal.failure_reason,
                    resent=refusal.resent,
                )
            )
        self._observe(
            CommitmentAnswered(
                peer=peer,
                destination=destination,
                transaction=transaction_uid,
                committed=answered.committed,
                resent=len(answered.resent),
                refused=len(answered.refused),
                seconds=max(0.0, self._clock() - answered.asked_at),
            )
        )

    def _unexpected(self, peer: Peer, result: CommitmentResult, why: str) -> None:
        self._observe(CommitmentUnexpected(peer=peer, transaction=result.transaction_uid, why=why))


def _check(command: CommandSet) -> int:
    """The Event Type ID of a command that is for us."""
    if command.sop_class != STORAGE_COMMITMENT_PUSH_MODEL:
        raise ClassInstanceConflict(
            "the SOP Class is not Storage Commitment Push Model", offending=(Tag.AFFECTED_SOP_CLASS_UID,)
        )
    if command.sop_instance != STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE:
        raise NoSuchObjectInstance(
            f"the one SOP Instance is {STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE}",
            offending=(Tag.AFFECTED_SOP_INSTANCE_UID,),
        )
    event_type = command.integer(Tag.EVENT_TYPE_ID)
    if event_type not in _EVENT_TYPES:
        raise NoSuchEventType(f"Event Type ID {event_type}; there are 1 and 2", offending=(Tag.EVENT_TYPE_ID,))
    return event_type
