"""One association as a value: bytes and time go in, events and bytes come out. No sockets, no clock, no waiting.

Theory of operation. Three things move the machine: bytes from the peer (``receive_data``, ``connection_closed``), the
clock (``tick``) and the local user (``request``, ``accept``, ``reject``, ``send_data``, ``release``,
``answer_release``, ``abort``). Each is an event of PS3.8 Table 9-10 and ends in ``_fire``:
:data:`~pacslite.ul.fsm.TRANSITIONS` names the action, :data:`~pacslite.ul.fsm.DEFINITIONS` its effects and the next
state. After every call the caller takes ``events()``, sends ``data_to_send()``, closes the transport if
``close_transport`` says so, and calls ``tick`` at ``deadline``.

A P-DATA-TF is an event when its header has arrived; its payload then flows through as fragments. A PDU that the state
has no use for is answered from its header alone. When the peer breaks the protocol, A-ABORT is sent, ``Aborted`` told,
and its further bytes are dropped unread: what follows a violation cannot be trusted to be framed.

The caller sees events a little later than the machine does: by the time it answers one, the association may be over.
A primitive that was overtaken so does nothing; any other one that the state forbids raises :class:`LocalProtocolError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from pacslite.errors import LocalProtocolError, RemoteProtocolError
from pacslite.ul.codec import CONTROL_PDU_LENGTH, decode_pdu, encode_pdu
from pacslite.ul.events import (
    Aborted,
    AssociationAccepted,
    AssociationRejected,
    AssociationRequested,
    ConnectionClosed,
    DataFragment,
    ReleaseConfirmed,
    ReleaseRequested,
    UpperLayerEvent,
)
from pacslite.ul.fragmenting import fragments
from pacslite.ul.framing import Disposition, PDUReader
from pacslite.ul.fsm import DEFINITIONS, TRANSITIONS, Action, Effect, Event, State
from pacslite.ul.item_codec import invalid
from pacslite.ul.items import PresentationContextAnswer
from pacslite.ul.pdu import (
    ABORT_BY_PROVIDER,
    ABORT_BY_USER,
    PDU,
    Abort,
    AbortReason,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    PDUType,
    ReleaseRP,
    ReleaseRQ,
)

__all__ = [
    "Aborted",
    "AssociationAccepted",
    "AssociationRejected",
    "AssociationRequested",
    "ConnectionClosed",
    "DataFragment",
    "Limits",
    "ReleaseConfirmed",
    "ReleaseRequested",
    "Role",
    "UpperLayer",
    "UpperLayerEvent",
]


class Role(Enum):
    """Which side of the association this is."""

    ACCEPTOR = "acceptor"
    REQUESTOR = "requestor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is taken from a peer. ``max_pdu_length`` bounds the PDU-length field of P-DATA-TF (UL-17), 0 for no bound;
    ``max_associate_length`` that of A-ASSOCIATE-RQ and -AC, which have none of their own."""

    max_pdu_length: int = 262144
    max_associate_length: int = 1 << 20
    artim_s: float = 30.0


class UpperLayer:
    """The upper layer of one connection. ``ACCEPTOR``: the transport was just accepted, ARTIM runs. ``REQUESTOR``: it
    was just opened, ``request`` comes next."""

    def __init__(self, role: Role, limits: Limits, now: float) -> None:
        self._role = role
        self._limits = limits
        self._state = State.STA1
        self._deadline: float | None = None
        self._close_transport = False
        self._release_answered = False
        self._contexts: frozenset[int] = frozenset()
        self._peer_max_length = 0
        self._now = now  # of the call at hand
        self._events: list[UpperLayerEvent] = []
        self._output: list[bytes | memoryview] = []
        self._reader = PDUReader(self._admit, self._deliver, self._events.append)
        if role is Role.ACCEPTOR:
            self._fire(Event.TRANSPORT_INDICATED)

    # --- What to do after every call ---------------------------------------------------------------------------------

    def events(self) -> list[UpperLayerEvent]:
        """What happened since the last time."""
        drained = self._events.copy()
        self._events.clear()
        return drained

    def data_to_send(self) -> list[bytes | memoryview]:
        """What is to be written since the last time, in order."""
        drained = self._output
        self._output = []
        return drained

    @property
    def close_transport(self) -> bool:
        """Close the TCP connection, after writing what is to be written. It stays so: it is not reusable (UL-01)."""
        return self._close_transport

    @property
    def deadline(self) -> float | None:
        """When ARTIM expires and ``tick`` is due, or None."""
        return self._deadline

    @property
    def state(self) -> State:
        return self._state

    @property
    def established(self) -> bool:
        return self._state is State.STA6

    @property
    def peer_max_length(self) -> int:
        """The longest P-DATA-TF the peer takes, once it said so; 0 is unlimited."""
        return self._peer_max_length

    # --- The peer and the clock --------------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes from the peer, of any number. Never raises on what is in them."""
        self._now = now
        if self._state is State.STA1:
            self._end_before_request(
                Aborted(ABORT_BY_PROVIDER, AbortReason.UNEXPECTED_PDU, "data before A-ASSOCIATE-RQ was sent", False)
            )
            return
        try:
            self._reader.feed(data)
        except RemoteProtocolError as error:
            self._violated(Event.INVALID_PDU, error)

    def connection_closed(self, now: float) -> None:
        """The transport ended, in whatever way."""
        self._now = now
        if self._state is State.STA1:
            self._end_before_request(ConnectionClosed())
        else:
            self._fire(Event.TRANSPORT_CLOSED, tell=ConnectionClosed())
            self._close_transport = True

    def tick(self, now: float) -> None:
        """Time passed."""
        self._now = now
        if self._deadline is not None and now >= self._deadline:
            self._fire(Event.ARTIM_EXPIRED)

    # --- The local user ----------------------------------------------------------------------------------------------

    def request(self, rq: AssociateRQ, now: float) -> None:
        """A-ASSOCIATE request."""
        self._now = now
        if self._state is not State.STA1 or self._close_transport:
            raise LocalProtocolError(
                f"no association can be requested on this connection any more ({self._state.name})"
            )
        encode_pdu(rq)  # raises while nothing has happened yet
        self._fire(Event.ASSOCIATE_REQUEST)
        self._fire(Event.TRANSPORT_CONFIRMED, send=rq)

    def accept(self, ac: AssociateAC, now: float) -> None:
        """A-ASSOCIATE response, accepted."""
        if self._user(Event.ASSOCIATE_ACCEPT, now, send=ac):
            self._contexts = _accepted(ac.contexts)

    def reject(self, rj: AssociateRJ, now: float) -> None:
        """A-ASSOCIATE response, rejected; the peer is left to close the connection (UL-03)."""
        self._user(Event.ASSOCIATE_REJECT, now, send=rj)

    def send_data(self, context_id: int, data: bytes | memoryview, *, command: bool, last: bool) -> None:
        """P-DATA request: a command set or data set, or with ``last`` unset a piece of one, of even length.

        It leaves in as many P-DATA-TF as the peer's maximum length needs; a large one is not copied, so ``data`` must
        not change until it is written. Nothing empty can be sent (UL-20): hold the last piece back until it is known.
        """
        if self._state is not State.STA6:  # the usual one, first: this is called for every message
            if self._over:
                return
            self._require(Event.DATA_REQUEST)
        if context_id not in self._contexts:
            raise LocalProtocolError(f"presentation context {context_id} was not accepted")
        self._output += fragments(context_id, data, command=command, last=last, max_length=self._peer_max_length)

    def release(self, now: float) -> None:
        """A-RELEASE request."""
        self._user(Event.RELEASE_REQUEST, now, send=ReleaseRQ())

    def answer_release(self, now: float) -> None:
        """A-RELEASE response; in a collision the acceptor's waits until the peer has answered (UL-10)."""
        if self._state is State.STA10:
            self._release_answered = True
        else:
            self._user(Event.RELEASE_RESPONSE, now, send=ReleaseRP())

    def abort(self, now: float, *, source: int = ABORT_BY_USER, reason: int = 0) -> None:
        """A-ABORT request. ``source`` 2 is for a layer above that speaks for the service provider (PS3.7 violations).

        Where no association has been asked for yet there is nobody to tell, so the connection just closes.
        """
        self._now = now
        if self._state in (State.STA1, State.STA2):
            self._deadline = None
            self._state = State.STA1
            self._close_transport = True
            self._reader.stop()
        else:
            self._user(Event.ABORT_REQUEST, now, send=Abort(source=source, reason=reason if source else 0))

    # --- The machine -------------------------------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._state is State.STA13 or self._close_transport

    def _user(self, event: Event, now: float, *, send: PDU) -> bool:
        """A primitive of the local user; False if the end of the association overtook it."""
        if self._over:
            return False
        self._now = now
        self._require(event)
        self._fire(event, send=send)
        return True

    def _require(self, event: Event) -> None:
        if (event, self._state) not in TRANSITIONS:
            raise LocalProtocolError(f"{event.name} is not possible in {self._state.name}")

    def _fire(self, event: Event, *, send: PDU | None = None, tell: UpperLayerEvent | None = None) -> None:
        action = TRANSITIONS[event, self._state]
        definition = DEFINITIONS[action]
        for effect in definition.effects:
            match effect:
                case Effect.SEND if send is not None:
                    self._output.append(encode_pdu(send))
                case Effect.INDICATE if tell is not None:
                    self._events.append(tell)
                case Effect.START_ARTIM:
                    self._deadline = self._now + self._limits.artim_s
                case Effect.STOP_ARTIM:
                    self._deadline = None
                case Effect.CLOSE:
                    self._deadline = None
                    self._close_transport = True
        self._state = self._choose(action, definition.next_states)
        if self._state is State.STA1:
            self._reader.stop()
        elif self._state is State.STA13:
            self._reader.mute()
        elif self._state is State.STA12 and self._release_answered:
            self._fire(Event.RELEASE_RESPONSE, send=ReleaseRP())

    def _choose(self, action: Action, next_states: tuple[State, ...]) -> State:
        if action is Action.AR_8 and self._role is Role.ACCEPTOR:
            return next_states[1]
        # AE-6: this provider has no objections of its own. The protocol version, which the standard has it look at,
        # is refused by negotiation with the same PDU (UL-11).
        return next_states[0]

    def _violated(self, event: Event, error: RemoteProtocolError) -> None:
        """The peer broke the protocol: abort, tell, and read no more."""
        action = TRANSITIONS[event, self._state]
        # UL-05, UL-06: before an association was asked for the standard has the service-user abort, without a reason.
        by_user = action is Action.AA_1
        source = ABORT_BY_USER if by_user else ABORT_BY_PROVIDER
        reason = 0 if by_user else error.reason
        aborted = Aborted(source, reason, str(error), False)
        self._fire(event, send=Abort(source=source, reason=reason), tell=aborted)
        if by_user:
            self._events.append(aborted)  # there is no user to indicate it to, but somebody keeps the log
        self._reader.stop()

    def _end_before_request(self, tell: UpperLayerEvent) -> None:
        """A requestor's connection ended, or spoke, before anything was asked: no row of the table knows this."""
        if not self._close_transport:
            self._close_transport = True
            self._events.append(tell)

    # --- What the reader asks ----------------------------------------------------------------------------------------

    def _admit(self, pdu_type: int, length: int) -> Disposition:
        event = _EVENTS.get(pdu_type)
        if event is None:
            words = f"unrecognized PDU type {pdu_type:02X}H{_SPOKEN_INSTEAD.get(pdu_type, '')}"
            raise RemoteProtocolError(words, reason=AbortReason.UNRECOGNIZED_PDU)
        match TRANSITIONS[event, self._state]:
            case Action.DT_2 | Action.AR_6:
                limit = self._limits.max_pdu_length
                if limit and length > limit:  # UL-17
                    raise invalid(f"a P-DATA-TF of {length} bytes, longer than the {limit} agreed")
                return Disposition.STREAM
            case Action.AA_6:
                return Disposition.SKIP
            case Action.AA_1 | Action.AA_7 | Action.AA_8:
                words = f"{PDUType(pdu_type).name} is not expected in {self._state.name}"
                self._violated(event, RemoteProtocolError(words, reason=AbortReason.UNEXPECTED_PDU))
                return Disposition.STOP
        if event in (Event.ASSOCIATE_RQ, Event.ASSOCIATE_AC):
            if length > self._limits.max_associate_length:
                raise invalid(f"an A-ASSOCIATE PDU of {length} bytes, longer than any real one")
        elif length != CONTROL_PDU_LENGTH:
            raise invalid(f"{PDUType(pdu_type).name} has {length} bytes instead of {CONTROL_PDU_LENGTH}")
        return Disposition.COLLECT

    def _deliver(self, pdu_type: int, body: bytes) -> None:
        match decode_pdu(pdu_type, body):
            case AssociateRQ() as rq:
                self._peer_max_length = rq.user_information.max_length
                self._fire(Event.ASSOCIATE_RQ, tell=AssociationRequested(rq))
            case AssociateAC() as ac:
                self._peer_max_length = ac.user_information.max_length
                self._contexts = _accepted(ac.contexts)
                self._fire(Event.ASSOCIATE_AC, tell=AssociationAccepted(ac))
            case AssociateRJ() as rj:
                self._fire(Event.ASSOCIATE_RJ, tell=AssociationRejected(rj))
            case ReleaseRQ():
                self._fire(Event.RELEASE_RQ, tell=ReleaseRequested())
            case ReleaseRP():
                self._fire(Event.RELEASE_RP, tell=ReleaseConfirmed())
            case Abort(source=source, reason=reason) as abort:
                self._fire(Event.ABORT, tell=Aborted(source, reason, abort.description, True))
            case PDataTF():
                raise AssertionError("P-DATA-TF is streamed, never collected")


_EVENTS: Mapping[int, Event] = {
    PDUType.ASSOCIATE_RQ: Event.ASSOCIATE_RQ,
    PDUType.ASSOCIATE_AC: Event.ASSOCIATE_AC,
    PDUType.ASSOCIATE_RJ: Event.ASSOCIATE_RJ,
    PDUType.P_DATA_TF: Event.P_DATA_TF,
    PDUType.RELEASE_RQ: Event.RELEASE_RQ,
    PDUType.RELEASE_RP: Event.RELEASE_RP,
    PDUType.ABORT: Event.ABORT,
}


_SPOKEN_INSTEAD: Mapping[int, str] = {
    0x16: ": the peer speaks TLS on a plain port",
    ord("G"): ": the peer speaks HTTP",
}
"""What the first byte of another protocol looks like here, for whoever wonders why a modality does not connect."""


def _accepted(answers: tuple[PresentationContextAnswer, ...]) -> frozenset[int]:
    return frozenset(answer.context_id for answer in answers if answer.accepted)
