"""From a request to its service and back: the one dispatcher for every DIMSE operation.

It is one of the three places that catch broadly: whatever a service raises becomes exactly one final response.
"""

from __future__ import annotations

import time
import traceback
from contextlib import aclosing

from pacslite.dimse.command import CommandField
from pacslite.dimse.registry import ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.dimse.status import Kind, kind_of
from pacslite.errors import (
    AssociationError,
    DimseError,
    DuplicateInvocation,
    NotAuthorized,
    ProcessingFailure,
)
from pacslite.facts import Observe, OperationServed, TaskFailed
from pacslite.net.association import Association
from pacslite.net.responder import Responder


class Dispatcher:
    """Performs requests by ``registry`` and tells ``observe`` how each ended."""

    def __init__(self, registry: ServiceRegistry, observe: Observe) -> None:
        self._registry = registry
        self._observe = observe

    async def perform(self, association: Association, request: Request) -> None:
        """Serve ``request`` and send every response; never raises but for cancellation."""
        started = time.perf_counter()
        responder = Responder(association.sender, request)
        try:
            final = await self._serve(association, request, responder)
        except DimseError as error:
            final = Response(status=error.status, comment=error.comment, offending=error.offending)
        except Exception as error:
            if isinstance(error, AssociationError) and not association.sender.may_send:
                return  # nobody is left to answer
            final = self._defect(request, error)
        try:
            await responder.final(final)
        except AssociationError:
            return
        except Exception as error:
            self._defect(request, error)
            association.protocol.abort("response could not be encoded")
        else:
            if final.sent is not None:
                final.sent()
        self._account(association, request, final, time.perf_counter() - started)

    async def _serve(self, association: Association, request: Request, responder: Responder) -> Response:
        """Run the service, send what is pending, return what is final."""
        if association.is_reused(request):
            raise DuplicateInvocation(f"message id {request.command.message_id} is still in use")
        context = request.context
        # Accepted for what we send alone: who may fetch may not therefore store. Events come from SCPs, of which some
        # never negotiate that role, and they say nothing but what we asked for (STANDARD SC-04).
        if not context.scp and request.command.field != CommandField.N_EVENT_REPORT_RQ:
            raise NotAuthorized("the roles agreed for this SOP class do not allow this")
        service = self._registry.service(context.abstract_syntax, context.related_general, request.command.field)
        async with aclosing(service.serve(request)) as responses:
            async for response in responses:
                if response.is_final:
                    return response
                await responder.pending(response)
        raise ProcessingFailure("the service gave no final answer")

    def _defect(self, request: Request, error: Exception) -> Response:
        self._observe(
            TaskFailed(where=request.command.name, error=repr(error), trace="".join(traceback.format_exception(error)))
        )
        return Response(status=ProcessingFailure.status, comment=f"internal error: {type(error).__name__}")

    def _account(self, association: Association, request: Request, final: Response, seconds: float) -> None:
        command = request.command
        totals = association.totals
        totals.operations += 1
        if kind_of(final.status) is Kind.FAILURE:
            totals.failed += 1
        elif command.field == CommandField.C_STORE_RQ:
            totals.stored += 1
        self._observe(
            OperationServed(
                peer=association.peer,
                command=command.name,
                status=final.status,
                comment=final.comment,
                sop_class=command.sop_class,
                sop_instance=command.sop_instance,
                seconds=seconds,
            )
        )
