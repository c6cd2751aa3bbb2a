"""From a request to its service and back: the one dispatcher for every DIMSE operation.

It is one of the three places that catch broadly: whatever a service raises becomes exactly one final response.
"""

from __future__ import annotations

import time
import traceback
from contextlib import aclosing

from pacslite.dimse.command import DATA_SET_FOLLOWS, NO_DATA_SET, RESPONSE_BIT, CommandField, Tag, Value
from pacslite.dimse.registry import ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.dimse.status import CANCEL, Kind, kind_of
from pacslite.errors import (
    ERROR_COMMENT_LENGTH,
    AssociationError,
    DimseError,
    DuplicateInvocation,
    NotAuthorized,
    ProcessingFailure,
)
from pacslite.facts import Observe, OperationServed, TaskFailed
from pacslite.net.association import Association


class Dispatcher:
    """Performs requests by ``registry`` and tells ``observe`` how each ended."""

    def __init__(self, registry: ServiceRegistry, observe: Observe) -> None:
        self._registry = registry
        self._observe = observe

    async def perform(self, association: Association, request: Request) -> None:
        """Serve ``request`` and send every response; never raises but for cancellation."""
        started = time.perf_counter()
        try:
            final = await self._serve(association, request)
        except DimseError as error:
            final = Response(status=error.status, comment=error.comment, offending=error.offending)
        except AssociationError:
            return  # nobody is left to answer
        except Exception as error:
            final = self._defect(request, error)
        try:
            await respond(association, request, final)
        except AssociationError:
            return
        except Exception as error:
            self._defect(request, error)
            association.protocol.abort("response could not be encoded")
        self._account(association, request, final, time.perf_counter() - started)

    async def _serve(self, association: Association, request: Request) -> Response:
        """Run the service, send what is pending, return what is final."""
        if association.is_reused(request):
            raise DuplicateInvocation(f"message id {request.command.message_id} is still in use")
        context = request.context
        if not context.scp:  # accepted for what we send alone: who may fetch may not therefore store
            raise NotAuthorized("the roles agreed for this SOP class do not allow this")
        service = self._registry.service(context.abstract_syntax, context.related_general, request.command.field)
        async with aclosing(service.serve(request)) as responses:
            async for response in responses:
                if response.is_final:
                    return response
                await respond(association, request, response)
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


async def respond(association: Association, request: Request, response: Response) -> None:
    """Send one response to ``request``; raises :class:`AssociationError` if the association is gone."""
    command = request.command
    elements: dict[int, Value] = {
        Tag.COMMAND_FIELD: command.field | RESPONSE_BIT,
        Tag.MESSAGE_ID_BEING_RESPONDED_TO: command.message_id,
        Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET if response.data_set is None else DATA_SET_FOLLOWS,
        Tag.STATUS: response.status,
    }
    if command.sop_class:
        elements[Tag.AFFECTED_SOP_CLASS_UID] = command.sop_class
    if command.sop_instance:
        elements[Tag.AFFECTED_SOP_INSTANCE_UID] = command.sop_instance
    if response.comment and response.status != CANCEL:
        elements[Tag.ERROR_COMMENT] = response.comment[:ERROR_COMMENT_LENGTH]
    if response.offending:
        elements[Tag.OFFENDING_ELEMENT] = response.offending
    elements.update(response.elements)
    await association.send(request.context.context_id, elements, response.data_set)
