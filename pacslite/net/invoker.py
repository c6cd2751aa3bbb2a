"""The operations that we invoke on a peer over one association, whoever asked for it.

Theory of operation. An :class:`Invocation` has a Message ID of its own from the sending of its command to the end of
its block; responses find it by that. They wait in it until they are taken; when too many do, reading pauses. One that
is left before its final response is abandoned: its Message ID stays taken and what still comes for it is dropped, so a
late response is neither a protocol violation nor somebody else's. The Message IDs of the two directions are independent
(PS3.7 9.1; QR-13), so nothing here looks at what the peer invokes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pacslite.dimse.command import NO_DATA_SET, CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import OutgoingDataSet
from pacslite.dimse.status import PENDINGS
from pacslite.errors import AssociationError, ConnectionLost, RemoteProtocolError
from pacslite.net.incoming import IncomingDataSet
from pacslite.ul.pdu import AbortReason

MOST_WAITING_RESPONSES = 1024
"""Responses of one operation that nobody has taken yet: beyond, reading pauses until a quarter of them is left."""

Send = Callable[[int, Mapping[int, Value], OutgoingDataSet | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class IncomingResponse:
    """A response to an operation of ours, with its data set if it has one."""

    command: CommandSet
    data_set: IncomingDataSet | None

    @property
    def is_final(self) -> bool:
        return self.command.status not in PENDINGS


class Invoker:
    """What one association has outstanding. ``quiet_since`` tells since when it has been the peer's turn to speak,
    ``hold`` and ``unhold`` pause and resume reading."""

    def __init__(
        self,
        send: Send,
        *,
        quiet_since: Callable[[], float],
        hold: Callable[[], None],
        unhold: Callable[[], None],
    ) -> None:
        self.send = send
        self.quiet_since = quiet_since
        self.hold = hold
        self.unhold = unhold
        self._outstanding: dict[int, Invocation] = {}
        self._abandoned: set[int] = set()
        self._last_message_id = 0
        self._error: AssociationError | None = None

    @property
    def busy(self) -> bool:
        """Whether an operation of ours has not had its final response."""
        return bool(self._outstanding)

    def received(self, command: CommandSet, data_set: IncomingDataSet | None) -> None:
        """A response came; raises :class:`RemoteProtocolError` if it answers nothing."""
        response = IncomingResponse(command, data_set)
        message_id = command.responds_to
        invocation = self._outstanding.get(message_id)
        if invocation is not None:
            invocation.received(response)
        elif message_id in self._abandoned:
            if response.is_final:
                self._abandoned.discard(message_id)
            if data_set is not None:
                data_set.discard()
        else:
            raise RemoteProtocolError(
                f"response to message {message_id}, which was not sent", reason=AbortReason.UNEXPECTED_PDU
            )

    def fail(self, error: AssociationError) -> None:
        """No response can come any more: whoever waits for one gets ``error`` after those that came, and whoever would
        invoke something gets it at once."""
        self._error = self._error or error
        for invocation in self._outstanding.values():
            invocation.fail(error)

    def begin(self, invocation: Invocation) -> int:
        """Give ``invocation`` its Message ID."""
        if self._error is not None:
            raise self._error
        while True:
            self._last_message_id = self._last_message_id % 0xFFFF + 1
            if self._last_message_id not in self._outstanding and self._last_message_id not in self._abandoned:
                self._outstanding[self._last_message_id] = invocation
                return self._last_message_id

    def end(self, message_id: int, *, answered: bool) -> None:
        """Take the Message ID back, as soon as no response can come for it any more."""
        del self._outstanding[message_id]
        if not answered:
            self._abandoned.add(message_id)


class Invocation:
    """One operation of ours: entering the block sends it, iterating yields its responses, the final one last. ::

        async with association.invoke(context_id, elements, identifier) as invocation:
            async for response in invocation:
                if response.data_set is not None:
                    use(await response.data_set.read(limit))
                if enough:
                    await invocation.cancel()

    After ``cancel`` the iteration goes on until the peer's final response, whose status tells whether it obeyed. The
    iterator stops by itself after a final response. It raises :class:`AssociationError` if the association ends before,
    or if nothing passes over the association for ``answer_s`` seconds. Data sets of responses that are not wanted are
    to be discarded, otherwise they fill the association's receive budget.
    """

    def __init__(
        self,
        invoker: Invoker,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None,
        *,
        answer_s: float,
    ) -> None:
        self._invoker = invoker
        self._context_id = context_id
        self._elements = elements
        self._data_set = data_set
        self._answer_s = answer_s
        self._waiting: deque[IncomingResponse] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: AssociationError | None = None
        self._holding = False
        self._answered = False
        self.message_id = 0

    async def __aenter__(self) -> Self:
        self.message_id = self._invoker.begin(self)
        try:
            await self._invoker.send(
                self._context_id, {**self._elements, Tag.MESSAGE_ID: self.message_id}, self._data_set
            )
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __aiter__(self) -> AsyncIterator[IncomingResponse]:
        return self

    async def __anext__(self) -> IncomingResponse:
        if not self._waiting:
            if self._answered:
                raise StopAsyncIteration
            await self._wait()
        response = self._waiting.popleft()
        if self._holding and len(self._waiting) <= MOST_WAITING_RESPONSES // 4:
            self._holding = False
            self._invoker.unhold()
        return response

    async def cancel(self) -> None:
        """Send C-CANCEL-RQ (PS3.7 9.3.2.3): only C-FIND, C-MOVE and C-GET know it, and it has no response of its own.

        After the final response it does nothing. Raises :class:`AssociationError` if the association is gone.
        """
        if self._answered:
            return
        await self._invoker.send(
            self._context_id,
            {
                Tag.COMMAND_FIELD: CommandField.C_CANCEL_RQ,
                Tag.MESSAGE_ID_BEING_RESPONDED_TO: self.message_id,
                Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
            },
            None,
        )

    # --- The invoker's side -------------------------------------------------------------------------------------------

    def received(self, response: IncomingResponse) -> None:
        if self._answered:
            raise RemoteProtocolError(
                f"response to message {self.message_id} after its final one", reason=AbortReason.UNEXPECTED_PDU
            )
        self._answered = response.is_final
        self._waiting.append(response)
        if len(self._waiting) > MOST_WAITING_RESPONSES and not self._holding:
            self._holding = True
            self._invoker.hold()
        self._wake()

    def fail(self, error: AssociationError) -> None:
        self._error = self._error or error
        self._wake()

    # --- Inside -------------------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Wait for a response; raises if none can come any more, or none has come in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not self._waiting:
            if self._error is not None:
                raise self._error
            deadline = max(began, self._invoker.quiet_since()) + self._answer_s
            if deadline <= loop.time():
                raise ConnectionLost(f"no answer to message {self.message_id} within {self._answer_s:g} s")
            self._waiter = loop.create_future()
            timer = loop.call_at(deadline, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self) -> None:
        self._invoker.end(self.message_id, answered=self._answered)
        for response in self._waiting:
            if response.data_set is not None:
                response.data_set.discard()
        self._waiting.clear()
        if self._holding:
            self._holding = False
            self._invoker.unhold()
