"""One association, either role: messages in, operations performed, messages out.

Theory of operation. Fragments become messages (:class:`~pacslite.dimse.messages.MessageReader`). A request is performed
from its command on (:mod:`~pacslite.net.performer`); while too many wait, reading pauses, and what one read had already
brought is put off: a single read may hold thousands of small requests. A response goes to whoever invoked the operation
(:mod:`~pacslite.net.invoker`); messages leave by the :mod:`~pacslite.net.sender`. When the connection ends, by
whichever side, data sets that are still incomplete fail, operations that are complete run on and see their cancellation
requested, and the owner is told once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from pacslite import errors
from pacslite.dimse.command import CommandField, CommandSet, Tag, Value
from pacslite.dimse.messages import CommandReceived, MessageReader
from pacslite.dimse.service import Context, OutgoingDataSet, Request
from pacslite.errors import (
    AssociationAborted,
    AssociationError,
    ConnectionLost,
    LocalProtocolError,
    RemoteProtocolError,
)
from pacslite.facts import Peer
from pacslite.net.cancellation import Cancellation
from pacslite.net.contexts import agreed_contexts, agreed_windows
from pacslite.net.incoming import IncomingDataSet, ReceiveBudget
from pacslite.net.invoker import Invocation, Invoker
from pacslite.net.limits import ConnectionLimits
from pacslite.net.performer import Performer
from pacslite.net.protocol import AssociationProtocol
from pacslite.net.sender import Sender
from pacslite.ul.connection import (
    Aborted,
    AssociationAccepted,
    AssociationRejected,
    AssociationRequested,
    ConnectionClosed,
    DataFragment,
    ReleaseConfirmed,
    ReleaseRequested,
    Role,
    UpperLayerEvent,
)
from pacslite.ul.pdu import AbortReason, AssociateAC, AssociateRJ, AssociateRQ

Perform = Callable[["Association", Request], Awaitable[None]]

_NO_LIMIT = 1 << 16
"""More operations than Message IDs cannot be outstanding."""


@dataclass(slots=True)
class Totals:
    """What the association did, for its one line in the log."""

    operations: int = 0
    stored: int = 0
    failed: int = 0


def _begins_more(event: DataFragment | ReleaseRequested) -> bool:
    """Whether it may begin an operation, or end the association that others still run on."""
    return not isinstance(event, DataFragment) or event.command


class Association:
    """A :class:`~pacslite.net.protocol.ConnectionUser`. ``opened`` is called when the connection is, ``greet`` answers
    the peer's request for an association, ``perform`` its operations; ``ended`` is called once when the connection is
    closed, and only after ``opened``."""

    def __init__(
        self,
        role: Role,
        limits: ConnectionLimits,
        *,
        number: int,
        opened: Callable[[Association], None] | None = None,
        greet: Callable[[Association, AssociateRQ], None] | None = None,
        perform: Perform | None = None,
        ended: Callable[[Association], None] | None = None,
    ) -> None:
        self.peer = Peer(association=number, address="", port=0)
        self.contexts: Mapping[int, Context] = {}
        self.window = 1
        self._places = asyncio.Semaphore(1)
        self.totals = Totals()
        self.how_it_ended = "silent"
        self.protocol = AssociationProtocol(role, limits, self)
        self._role = role
        self._clock = asyncio.get_running_loop().time
        self.opened_at = self._clock()
        self.established_at: float | None = None
        self._limits = limits
        self._opened = opened
        self._greet = greet
        self._perform = perform
        self._ended = ended
        self._reader = MessageReader(max_command_length=limits.max_command_bytes)
        self._budget = ReceiveBudget(
            high_water_bytes=limits.receive_high_water_bytes,
            low_water_bytes=limits.receive_low_water_bytes,
            pause=self._hold,
            resume=self._unhold,
        )
        self._holding = 0
        self._crowded = False
        self._deferred: deque[DataFragment | ReleaseRequested] = deque()
        self._performer = Performer(self._perform_one, most=limits.max_waiting_operations, ended=self._operation_ended)
        self.sender = Sender(self.protocol)
        self._invoker = Invoker(self.send, quiet_since=self._quiet_since, hold=self._hold, unhold=self._unhold)
        self._incoming: IncomingDataSet | None = None
        self._answer: asyncio.Future[AssociateAC] | None = None
        self._failed: AssociationError | None = None
        self._released = asyncio.Event()
        self._closed = asyncio.Event()
        self._draining = False
        self._release_wanted = False

    # --- Life -------------------------------------------------------------------------------------------------------

    @property
    def established(self) -> bool:
        return self.protocol.upper_layer.established

    @property
    def busy(self) -> bool:
        """Whether an operation of the peer's has not had its final answer."""
        return self._performer.busy

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """What performs the peer's operations; it may outlive the connection."""
        return self._performer.running

    def name_peer(self, *, calling_ae: str, called_ae: str) -> None:
        self.peer = replace(self.peer, calling_ae=calling_ae, called_ae=called_ae)

    def accept(self, rq: AssociateRQ, ac: AssociateAC) -> None:
        """As acceptor: answer ``rq`` with ``ac``."""
        windows = agreed_windows(rq, ac)
        self._establish(agreed_contexts(rq, ac, Role.ACCEPTOR), invoke=windows.performed, perform=windows.invoked)
        self.protocol.upper_layer.accept(ac, self._clock())

    def reject(self, rj: AssociateRJ) -> None:
        """As acceptor: reject; the peer closes the connection, or ARTIM does."""
        self.how_it_ended = "rejected"
        self.protocol.upper_layer.reject(rj, self._clock())

    async def request(self, rq: AssociateRQ) -> AssociateAC:
        """As requestor: ask for the association and wait for the answer; raises :class:`AssociationError`."""
        if self._failed is not None:  # the peer has hung up already, or spoken first
            raise self._failed
        self._answer = asyncio.get_running_loop().create_future()
        self.protocol.upper_layer.request(rq, self._clock())
        self.protocol.transmit()
        ac = await self._answer
        windows = agreed_windows(rq, ac)
        self._establish(agreed_contexts(rq, ac, Role.REQUESTOR), invoke=windows.invoked, perform=windows.performed)
        return ac

    async def release(self) -> None:
        """As requestor: release in good order and wait for the connection's end."""
        if self.established:
            self.protocol.upper_layer.release(self._clock())
            self.protocol.transmit()
            await self._released.wait()
        await self._closed.wait()

    async def wait_closed(self) -> None:
        """Wait for the connection's end, whoever ends it."""
        await self._closed.wait()

    def finish(self) -> None:
        """The server stops: end now if nothing is running, else after the last answer."""
        self._draining = True
        if not self.busy:
            self.protocol.hang_up("server stopped")

    def _establish(self, contexts: Mapping[int, Context], *, invoke: int, perform: int) -> None:
        self.contexts = contexts
        self.window = invoke
        self._places = asyncio.Semaphore(invoke or _NO_LIMIT)
        self.established_at = self._clock()
        self._performer.perform_at_once(perform)
        self.how_it_ended = ""

    # --- What the protocol calls ------------------------------------------------------------------------------------

    def connected(self, address: str, port: int, *, tls: bool) -> None:
        self.peer = replace(self.peer, address=address, port=port, tls=tls)
        if self._opened is not None:
            self._opened(self)

    def is_waiting_for_peer(self) -> bool:
        """The peer's silence counts when every running operation waits for the peer's bytes, or none runs.

        Not if we have called: then it is ours to ask for something, and what we send may take long to be made.
        """
        if self._budget.paused or self._crowded or self._invoker.busy:
            return False
        if self._role is Role.REQUESTOR and not self._performer.busy:
            return False
        return self._performer.awaits_only_peer

    def received(self, event: UpperLayerEvent) -> None:
        match event:
            case DataFragment() | ReleaseRequested():
                if self._deferred or (self._crowded and _begins_more(event)):
                    self._deferred.append(event)
                else:
                    self._take(event)
            case AssociationRequested(rq):
                if self._greet is not None:
                    self._greet(self, rq)
            case AssociationAccepted(ac):
                self._settle_answer(ac)
            case AssociationRejected(rj):
                self.how_it_ended = "rejected"
                self._settle_answer(rj)
            case ReleaseConfirmed():
                self.how_it_ended = "released"
                self._released.set()
            case Aborted(source, reason, message, by_peer):
                self.how_it_ended = "aborted by peer" if by_peer else f"aborted: {message}"
                self._fail(AssociationAborted(f"association {self.how_it_ended}", source=source, reason=reason))
            case ConnectionClosed():
                self.how_it_ended = self.how_it_ended or "connection lost"

    def aborting(self, why: str) -> None:
        self._invoker.fail(ConnectionLost(f"association aborted: {why}"))

    def closed(self, error: AssociationError | None) -> None:
        if self.protocol.closed_because and not self.how_it_ended.startswith(("released", "rejected")):
            self.how_it_ended = f"aborted: {self.protocol.closed_because}"
        self._fail(error or ConnectionLost("connection closed by the peer"))
        self._performer.abandon()
        self._closed.set()
        self._released.set()
        if self._ended is not None:
            self._ended(self)

    # --- Receiving --------------------------------------------------------------------------------------------------

    def _take(self, event: DataFragment | ReleaseRequested) -> None:
        match event:
            case DataFragment(context_id, command, last, data):
                self._receive_fragment(context_id, data, is_command=command, last=last)
            case ReleaseRequested():
                if self._performer.is_inside_a_data_set:
                    # Nothing may follow a release, so the rest never comes, and no timer runs for it in Sta8.
                    raise RemoteProtocolError("release inside a data set", reason=AbortReason.UNEXPECTED_PDU)
                self.how_it_ended = "released"
                self._release_wanted = True
                # A peer in Sta7 may send no more P-DATA, so what we have asked of it (C-GET) stays unanswered.
                self._invoker.fail(ConnectionLost("the peer released the association before it answered"))
                self._answer_release()

    def _receive_fragment(self, context_id: int, data: memoryview, *, is_command: bool, last: bool) -> None:
        event = self._reader.receive(context_id, data, is_command=is_command, last=last)
        if event is None:
            return
        if isinstance(event, CommandReceived):
            self._receive_command(event.context_id, event.command)
        elif self._incoming is not None:
            self._incoming.feed(event.data, last=event.last)

    def _receive_command(self, context_id: int, command: CommandSet) -> None:
        context = self.contexts.get(context_id)
        if context is None:
            raise RemoteProtocolError(
                f"message on presentation context {context_id}, which was not accepted",
                reason=AbortReason.INVALID_PARAMETER,
            )
        self._incoming = IncomingDataSet(self._budget) if command.has_data_set else None
        if command.is_response:
            self._invoker.received(command, self._incoming)
        elif command.field == CommandField.C_CANCEL_RQ:
            self._performer.cancel(command.responds_to)
            if self._incoming is not None:
                self._incoming.discard()  # it has no data set (PS3.7 9.3.2.3); one that comes is dropped
        else:
            self._start(context, command)

    def _start(self, context: Context, command: CommandSet) -> None:
        if self._perform is None:
            raise RemoteProtocolError(
                f"{command.name} from a peer that may only answer", reason=AbortReason.UNEXPECTED_PDU
            )
        cancellation = Cancellation()
        request = Request(
            peer=self.peer,
            context=context,
            command=command,
            data_set=self._incoming,
            cancellation=cancellation,
            invoker=self,
        )
        self._performer.start(request, self._incoming, cancellation)
        if self._performer.is_full and not self._crowded:
            self._crowded = True
            self._hold()

    async def _perform_one(self, request: Request) -> None:
        if self._perform is not None:  # otherwise none is started
            await self._perform(self, request)

    def _operation_ended(self) -> None:
        if self._crowded and not self._performer.is_full:
            self._crowded = False
            self._unhold()
            self._receive_deferred()
        if self._release_wanted and self.protocol.is_open:
            self._answer_release()
            self.protocol.transmit()
        elif self._draining and not self.busy and self.protocol.is_open:
            self.protocol.hang_up("server stopped")

    def _receive_deferred(self) -> None:
        """Go on with what had arrived when it became too much."""
        try:
            while self._deferred and self.protocol.is_open and not (self._crowded and _begins_more(self._deferred[0])):
                self._take(self._deferred.popleft())
        except RemoteProtocolError as error:
            self._deferred.clear()
            self.protocol.abort(str(error), reason=error.reason)

    def is_reused(self, request: Request) -> bool:
        """Whether the Message ID of ``request`` belongs to an earlier operation still outstanding (PS3.7 9.1)."""
        return self._performer.is_reused(request)

    def _answer_release(self) -> None:
        """What the peer still waits for is answered first (PS3.8 9.2, AR-7: P-DATA may be sent in Sta8)."""
        if not self.busy:
            self.protocol.upper_layer.answer_release(self._clock())

    def _hold(self) -> None:
        self._holding += 1
        self.protocol.pause_reading()

    def _unhold(self) -> None:
        self._holding -= 1
        if self._holding == 0:
            self.protocol.resume_reading()

    # --- Invoking ---------------------------------------------------------------------------------------------------

    def invoke(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> Invocation:
        """An operation on the peer, whatever number of responses it has: see :class:`Invocation` for how to use it."""
        context = self.contexts.get(context_id)
        # Devices take reports of events without having agreed to our role for them (STANDARD SC-04).
        is_event = elements.get(Tag.COMMAND_FIELD) == CommandField.N_EVENT_REPORT_RQ
        if context is None or not (context.scu or is_event):
            raise LocalProtocolError(f"presentation context {context_id} is not for operations of ours (DM-03)")
        return Invocation(self._invoker, context_id, elements, data_set, answer_s=answer_s)

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        """Invoke an operation that has one response and return that; raises as an :class:`Invocation` does.

        No more of them than the window allows are outstanding, whoever calls (DM-02): others wait for their turn.
        """
        async with self._places, self.invoke(context_id, elements, data_set, answer_s=answer_s) as invocation:
            response = await anext(invocation)
            if response.data_set is not None:
                response.data_set.discard()
            return response.command

    async def send(
        self, context_id: int, elements: Mapping[int, Value], data_set: OutgoingDataSet | None = None
    ) -> None:
        """Send one message whole; raises :class:`ConnectionLost` if the association is gone."""
        await self.sender.send(context_id, elements, data_set)

    def _quiet_since(self) -> float:
        """Since when nothing has passed that would show the peer alive; now, while it cannot be expected to speak.

        As requestor, what the peer invokes is part of what we asked for (C-GET): it waits for us to perform that. As
        acceptor, a peer that has us stop reading, by invoking more than was agreed, keeps its own answers from us.
        """
        if self._role is Role.REQUESTOR and (self._holding or not self._performer.awaits_only_peer):
            return self._clock()
        return self.protocol.active_at

    # --- Ending -----------------------------------------------------------------------------------------------------

    def _settle_answer(self, answer: AssociateAC | AssociateRJ) -> None:
        if self._answer is None or self._answer.done():
            return
        if isinstance(answer, AssociateAC):
            self._answer.set_result(answer)
        else:
            self._answer.set_exception(
                errors.AssociationRejected(
                    f"association rejected: {answer.description}",
                    result=answer.result,
                    source=answer.source,
                    reason=answer.reason,
                )
            )

    def _fail(self, error: AssociationError) -> None:
        self._failed = self._failed or error
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._performer.fail_data_sets(error)
        if self._incoming is not None:
            self._incoming.fail(error)
        self._invoker.fail(error)
