"""From fragments to messages (PS3.7 6.3.1, PS3.8 Annex E).

Theory of operation. A message is a command set, sent as one or more command fragments, and, where Command Data Set Type
says so, a data set in one or more data fragments. Only the command is collected; a data set passes through as it
arrives. A reader is between messages (``_context_id`` is None), inside a command, or inside a data set
(``_in_data_set``). Everything a peer can get wrong raises :class:`RemoteProtocolError`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pacslite.dimse.command import CommandSet, decode_command
from pacslite.errors import RemoteProtocolError
from pacslite.ul.pdu import AbortReason


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """A command is complete; if ``command.has_data_set``, the data set follows in :class:`DataSetPiece` events."""

    context_id: int
    command: CommandSet


@dataclass(frozen=True, slots=True)
class DataSetPiece:
    """The next bytes of the data set of the last command; the data set ends with the piece that is ``last``."""

    data: bytes | memoryview
    last: bool


MessageEvent = CommandReceived | DataSetPiece


class MessageReader:
    """Joins the fragments that one direction of an association carries; ``max_command_length`` is in bytes."""

    def __init__(self, *, max_command_length: int) -> None:
        self._max_command_length = max_command_length
        self._command = bytearray()
        self._context_id: int | None = None
        self._in_data_set = False

    @property
    def in_message(self) -> bool:
        """Whether a message has begun and its end has not arrived."""
        return self._context_id is not None

    def receive(
        self, context_id: int, data: bytes | memoryview, *, is_command: bool, last: bool
    ) -> MessageEvent | None:
        """Take one fragment; returns what it completes or carries, None while a command is still incomplete.

        Raises :class:`RemoteProtocolError` when fragments of different messages mix (PS3.8 Annex E.2), a data set
        comes unannounced, or a command grows beyond ``max_command_length``.
        """
        if self._context_id is None:
            self._context_id = context_id
        elif self._context_id != context_id:
            raise RemoteProtocolError(
                f"presentation context changed from {self._context_id} to {context_id} inside a message",
                reason=AbortReason.INVALID_PARAMETER,
            )
        if is_command:
            return self._receive_command(context_id, data, last)
        if not self._in_data_set:
            raise RemoteProtocolError(
                "data set fragment where a command was expected", reason=AbortReason.INVALID_PARAMETER
            )
        if last:
            self._in_data_set = False
            self._context_id = None
        return DataSetPiece(data, last)

    def _receive_command(self, context_id: int, data: bytes | memoryview, last: bool) -> CommandReceived | None:
        if self._in_data_set:
            raise RemoteProtocolError(
                "command fragment where a data set was expected", reason=AbortReason.INVALID_PARAMETER
            )
        if len(self._command) + len(data) > self._max_command_length:
            raise RemoteProtocolError(
                f"command set longer than {self._max_command_length} bytes", reason=AbortReason.INVALID_PARAMETER
            )
        if not last:
            self._command += data
            return None
        command = decode_command(bytes(self._command) + data if self._command else bytes(data))
        self._command.clear()
        self._in_data_set = command.has_data_set
        if not self._in_data_set:
            self._context_id = None
        return CommandReceived(context_id, command)
