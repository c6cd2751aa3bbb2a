"""The responses to one operation that the peer invoked."""

from __future__ import annotations

from pacslite.dimse.command import DATA_SET_FOLLOWS, NO_DATA_SET, RESPONSE_BIT, Tag, Value, encode_command
from pacslite.dimse.service import Request, Response
from pacslite.dimse.status import CANCEL
from pacslite.errors import ERROR_COMMENT_LENGTH
from pacslite.net.sender import Sender


class Responder:
    """Sends them; both methods raise :class:`AssociationError` if the association is gone.

    The answers of a query differ in their data sets alone, so their commands are encoded once.
    """

    def __init__(self, sender: Sender, request: Request) -> None:
        self._sender = sender
        self._request = request
        self._context_id = request.context.context_id
        self._encoded: dict[tuple[int, bool], bytes] = {}

    async def pending(self, response: Response) -> None:
        """A response that others follow; it leaves with those that follow at once."""
        if response.comment or response.offending or response.elements:
            command = encode_command(self._elements(response))
        else:
            key = response.status, response.data_set is None
            found = self._encoded.get(key)
            command = found or self._encoded.setdefault(key, encode_command(self._elements(response)))
        await self._sender.send_soon(self._context_id, command, response.data_set)

    async def final(self, response: Response) -> None:
        """The last response; nothing follows."""
        await self._sender.send(self._context_id, self._elements(response), response.data_set)

    def _elements(self, response: Response) -> dict[int, Value]:
        command = self._request.command
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
        return elements
