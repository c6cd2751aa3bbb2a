"""Retrieve service class (PS3.4 Annex C, C-MOVE and C-GET): an identifier becomes a selection, and that is sent.

Theory of operation. Both services are one: what is wanted is selected, :class:`SubOperations` sends it, and while it
does the requester is told by time how far it has come. They differ in the destination alone. The requester's C-CANCEL,
or its disappearance, stops the sub-operations; those in flight end and are counted before the final answer.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from pacslite.archive.archive import Archive
from pacslite.archive.selection import Selection
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.encode import encode_data_set
from pacslite.dicom.levels import MODEL_OF, Model
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dimse.command import Tag
from pacslite.dimse.service import Context, Request, Response
from pacslite.dimse.status import CANCEL, PENDING, SUB_OPERATIONS_WITH_FAILURES, SUCCESS
from pacslite.errors import (
    BadDataSetError,
    CannotCountMatches,
    CannotPerformSubOperations,
    MistypedArgument,
    UnableToProcess,
    UnknownDestination,
)
from pacslite.facts import Observe, RetrievalServed, SubOperationFailed
from pacslite.services.conveyor import Manner
from pacslite.services.destinations import Call, Called, Callee, Originator, Requester
from pacslite.services.progress import Progress, Reports
from pacslite.services.retrieve_keys import Wanted, wanted
from pacslite.services.sub_operations import Destination, Failure, SubOperations

Clock = Callable[[], float]


def retrieve_negotiation(information: bytes) -> bytes | None:
    """The answer to Service-class-application-information of C-MOVE and C-GET (PS3.4 C.5.2.1.1, C.5.3.1.1).

    Byte 1 asks for relational retrieval, which is supported; byte 2, conversion of enhanced multi-frame images, is not.
    """
    relational = information[:1] == b"\1"
    return bytes((relational, 0))[: len(information)] or None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveLimits:
    """Of both services, by the settings."""

    max_identifier_bytes: int = 1 << 20
    pending_s: float = 1.0


class Retrieval:
    """What C-MOVE and C-GET have in common. ``clock`` tells seconds for reports."""

    def __init__(
        self,
        archive: Archive,
        *,
        manner: Manner,
        limits: RetrieveLimits,
        observe: Observe,
        clock: Clock = time.monotonic,
    ) -> None:
        self._archive = archive
        self._manner = manner
        self._limits = limits
        self._observe = observe
        self._clock = clock

    async def perform(self, request: Request, destination: Destination, *, name: str) -> AsyncGenerator[Response, None]:
        """Send what ``request`` names to ``destination``, whose AE title is ``name``."""
        model = MODEL_OF[request.context.abstract_syntax]
        asked = await self._understand(request, model)
        selection = await self._select(asked)
        operations = SubOperations(
            self._archive,
            selection,
            destination,
            manner=self._manner,
            priority=request.command.integer(Tag.PRIORITY),
            failed=lambda failure: self._tell_failure(request, name, failure),
        )
        progress = operations.progress
        account = _Account(request, model, asked, name)
        request.cancellation.when_requested(operations.stop)
        if request.cancellation.requested:
            operations.stop()
        performing = asyncio.create_task(operations.run())
        reports = Reports(self._limits.pending_s, self._clock())
        try:
            while not performing.done():
                await asyncio.wait({performing}, timeout=reports.wait_s(self._clock()))
                if not performing.done() and reports.is_due(
                    progress, self._clock(), requester_has_the_turn=operations.await_requester
                ):
                    yield Response(status=PENDING, elements=progress.counters(remaining=True))
            performing.result()
            account.outcome = "cancelled" if progress.remaining else "complete"
        except asyncio.CancelledError:
            performing.cancel()
            raise
        finally:
            request.cancellation.when_requested(None)
            operations.stop()
            try:
                await asyncio.wait({performing})  # what is in flight ends, also if nobody listens any more
            finally:
                performing.cancel()
                await asyncio.wait({performing})
                self._observe(account.closed(progress))
        yield final_response(progress, request.context)

    async def _understand(self, request: Request, model: Model) -> Wanted:
        if request.data_set is None:
            raise MistypedArgument("a retrieval without an identifier", offending=(Tag.COMMAND_DATA_SET_TYPE,))
        data = await request.data_set.read(self._limits.max_identifier_bytes)
        context = request.context
        try:
            identifier = decode_data_set(data, transfer_syntax(context.transfer_syntax))
        except BadDataSetError as error:
            raise UnableToProcess(f"identifier: {error}", offending=(error.tag,) if error.tag else ()) from error
        return wanted(identifier.elements, model, relational=context.extended[:1] == b"\1")

    async def _select(self, asked: Wanted) -> Selection:
        try:
            return await self._archive.select(asked.keys)
        except sqlite3.Error as error:
            raise CannotCountMatches(f"the index cannot be read: {error}") from error

    def _tell_failure(self, request: Request, name: str, failure: Failure) -> None:
        self._observe(
            SubOperationFailed(
                peer=request.peer,
                destination=name,
                sop_instance=failure.sop_instance_uid,
                reason=failure.reason,
                damaged=failure.damaged,
            )
        )


class GetService:
    """C-GET: to the requester, over its own association."""

    def __init__(self, retrieval: Retrieval) -> None:
        self._retrieval = retrieval

    def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        return self._retrieval.perform(request, Requester(request.invoker), name=request.peer.calling_ae)


class MoveService:
    """C-MOVE: to one of ``callees``, by AE title. They may be replaced while it runs."""

    def __init__(self, retrieval: Retrieval, *, callees: Mapping[str, Callee], call: Call) -> None:
        self.callees = callees
        self._retrieval = retrieval
        self._call = call

    def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        title = request.command.text(Tag.MOVE_DESTINATION)
        callee = self.callees.get(title)
        if callee is None:
            raise UnknownDestination(
                f'no peer "{title}" with a port is configured' if title else "no Move Destination is given",
                offending=(Tag.MOVE_DESTINATION,),
            )
        originator = Originator(ae_title=request.peer.calling_ae, message_id=request.command.message_id)
        return self._retrieval.perform(request, Called(callee, self._call, originator), name=title)


def final_response(progress: Progress, context: Context) -> Response:
    """The last answer, for what ``progress`` has come to (STANDARD QR-02, QR-04, QR-05); what remains was cancelled."""
    comment = ""
    if progress.remaining:
        status = CANCEL
    elif progress.failed and progress.failed == progress.total:
        status, comment = CannotPerformSubOperations.status, progress.why_failed
    elif progress.failed or progress.warning:
        status, comment = SUB_OPERATIONS_WITH_FAILURES, progress.why_failed
    else:
        status = SUCCESS
    failed = progress.failed_list
    return Response(
        status=status,
        comment=comment,
        elements=progress.counters(remaining=status == CANCEL),
        data_set=encode_data_set(failed, transfer_syntax(context.transfer_syntax)) if failed else None,
    )


class _Account:
    """What became of one retrieval, for whoever observes."""

    def __init__(self, request: Request, model: Model, asked: Wanted, name: str) -> None:
        self.outcome = "broken off"
        self._request = request
        self._model = model
        self._asked = asked
        self._name = name
        self._started = time.perf_counter()

    def closed(self, progress: Progress) -> RetrievalServed:
        return RetrievalServed(
            peer=self._request.peer,
            command=self._request.command.name,
            model=self._model.name,
            level=self._asked.level.value,
            destination=self._name,
            objects=progress.total,
            completed=progress.completed,
            warning=progress.warning,
            failed=progress.failed,
            converted=progress.converted,
            bytes=progress.bytes,
            outcome=self.outcome,
            reason=progress.why_failed,
            seconds=time.perf_counter() - self._started,
        )
