"""The upper layer state machine of PS3.8 9.2: states, events, actions and Table 9-10, as data.

Nothing here does anything. :data:`TRANSITIONS` says which action a state and an event call for, :data:`DEFINITIONS`
what the action consists of; :class:`pacslite.ul.connection.UpperLayer` carries it out. One table serves both roles, as
in the standard: only AR-8 asks which side is the association requestor. A cell that is not in the table cannot happen:
for a primitive of the local user it is a defect of the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum


class State(IntEnum):
    """Tables 9-1 to 9-5."""

    STA1 = 1
    """Idle."""
    STA2 = 2
    """Transport connection open, awaiting A-ASSOCIATE-RQ."""
    STA3 = 3
    """Awaiting the local user's answer to the A-ASSOCIATE indication."""
    STA4 = 4
    """Awaiting the opening of the transport connection."""
    STA5 = 5
    """Awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ."""
    STA6 = 6
    """Association established, ready for data."""
    STA7 = 7
    """Awaiting A-RELEASE-RP."""
    STA8 = 8
    """Awaiting the local user's answer to the A-RELEASE indication."""
    STA9 = 9
    """Release collision, requestor: awaiting the local user's answer."""
    STA10 = 10
    """Release collision, acceptor: awaiting A-RELEASE-RP."""
    STA11 = 11
    """Release collision, requestor: awaiting A-RELEASE-RP."""
    STA12 = 12
    """Release collision, acceptor: awaiting the local user's answer."""
    STA13 = 13
    """The association is over, awaiting the close of the transport connection."""


class Event(IntEnum):
    """The rows of Table 9-10; the value is the number of the event."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMED = 2
    ASSOCIATE_AC = 3
    ASSOCIATE_RJ = 4
    TRANSPORT_INDICATED = 5
    ASSOCIATE_RQ = 6
    ASSOCIATE_ACCEPT = 7
    ASSOCIATE_REJECT = 8
    DATA_REQUEST = 9
    P_DATA_TF = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ = 12
    RELEASE_RP = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19
    """An unrecognized or invalid PDU."""


class Action(Enum):
    """Tables 9-6 to 9-9."""

    AE_1 = "AE-1"
    AE_2 = "AE-2"
    AE_3 = "AE-3"
    AE_4 = "AE-4"
    AE_5 = "AE-5"
    AE_6 = "AE-6"
    AE_7 = "AE-7"
    AE_8 = "AE-8"
    DT_1 = "DT-1"
    DT_2 = "DT-2"
    AR_1 = "AR-1"
    AR_2 = "AR-2"
    AR_3 = "AR-3"
    AR_4 = "AR-4"
    AR_5 = "AR-5"
    AR_6 = "AR-6"
    AR_7 = "AR-7"
    AR_8 = "AR-8"
    AR_9 = "AR-9"
    AR_10 = "AR-10"
    AA_1 = "AA-1"
    AA_2 = "AA-2"
    AA_3 = "AA-3"
    AA_4 = "AA-4"
    AA_5 = "AA-5"
    AA_6 = "AA-6"
    AA_7 = "AA-7"
    AA_8 = "AA-8"


class Effect(Enum):
    """What an action consists of. TRANSPORT CONNECT and its response are the caller's: it has the socket."""

    SEND = "send the PDU"
    INDICATE = "issue the indication or confirmation primitive"
    START_ARTIM = "start, or restart, the ARTIM timer"
    STOP_ARTIM = "stop the ARTIM timer"
    CLOSE = "close the transport connection"


@dataclass(frozen=True, slots=True)
class Definition:
    """Of an action: what it does, in order, and the state it leads to.

    Two have a choice of states: AE-6 between a request acceptable to the service provider and one that is not, AR-8
    between the association requestor and the acceptor.
    """

    effects: tuple[Effect, ...]
    next_states: tuple[State, ...]


# fmt: off
DEFINITIONS: Mapping[Action, Definition] = {
    Action.AE_1:  Definition((), (State.STA4,)),
    Action.AE_2:  Definition((Effect.SEND,), (State.STA5,)),
    Action.AE_3:  Definition((Effect.INDICATE,), (State.STA6,)),
    Action.AE_4:  Definition((Effect.INDICATE, Effect.CLOSE), (State.STA1,)),
    Action.AE_5:  Definition((Effect.START_ARTIM,), (State.STA2,)),
    Action.AE_6:  Definition((Effect.STOP_ARTIM, Effect.INDICATE), (State.STA3, State.STA13)),
    Action.AE_7:  Definition((Effect.SEND,), (State.STA6,)),
    Action.AE_8:  Definition((Effect.SEND, Effect.START_ARTIM), (State.STA13,)),
    Action.DT_1:  Definition((Effect.SEND,), (State.STA6,)),
    Action.DT_2:  Definition((Effect.INDICATE,), (State.STA6,)),
    Action.AR_1:  Definition((Effect.SEND,), (State.STA7,)),
    Action.AR_2:  Definition((Effect.INDICATE,), (State.STA8,)),
    Action.AR_3:  Definition((Effect.INDICATE, Effect.CLOSE), (State.STA1,)),
    Action.AR_4:  Definition((Effect.SEND, Effect.START_ARTIM), (State.STA13,)),
    Action.AR_5:  Definition((Effect.STOP_ARTIM,), (State.STA1,)),
    Action.AR_6:  Definition((Effect.INDICATE,), (State.STA7,)),
    Action.AR_7:  Definition((Effect.SEND,), (State.STA8,)),
    Action.AR_8:  Definition((Effect.INDICATE,), (State.STA9, State.STA10)),
    Action.AR_9:  Definition((Effect.SEND,), (State.STA11,)),
    Action.AR_10: Definition((Effect.INDICATE,), (State.STA12,)),
    Action.AA_1:  Definition((Effect.SEND, Effect.START_ARTIM), (State.STA13,)),
    Action.AA_2:  Definition((Effect.STOP_ARTIM, Effect.CLOSE), (State.STA1,)),
    Action.AA_3:  Definition((Effect.INDICATE, Effect.CLOSE), (State.STA1,)),
    Action.AA_4:  Definition((Effect.INDICATE,), (State.STA1,)),
    Action.AA_5:  Definition((Effect.STOP_ARTIM,), (State.STA1,)),
    Action.AA_6:  Definition((), (State.STA13,)),
    Action.AA_7:  Definition((Effect.SEND,), (State.STA13,)),
    Action.AA_8:  Definition((Effect.SEND, Effect.INDICATE, Effect.START_ARTIM), (State.STA13,)),
}
"""Tables 9-6 to 9-9."""

_PRINTED: Mapping[Event, str] = {
    #                          Sta1  Sta2  Sta3  Sta4  Sta5  Sta6  Sta7  Sta8  Sta9  Sta10 Sta11 Sta12 Sta13
    Event.ASSOCIATE_REQUEST:   "AE-1 -     -     -     -     -     -     -     -     -     -     -     -   ",
    Event.TRANSPORT_CONFIRMED: "-    -     -     AE-2  -     -     -     -     -     -     -     -     -   ",
    Event.ASSOCIATE_AC:        "-    AA-1  AA-8  -     AE-3  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6",
    Event.ASSOCIATE_RJ:        "-    AA-1  AA-8  -     AE-4  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6",
    Event.TRANSPORT_INDICATED: "AE-5 -     -     -     -     -     -     -     -     -     -     -     -   ",
    Event.ASSOCIATE_RQ:        "-    AE-6  AA-8  -     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7",
    Event.ASSOCIATE_ACCEPT:    "-    -     AE-7  -     -     -     -     -     -     -     -     -     -   ",
    Event.ASSOCIATE_REJECT:    "-    -     AE-8  -     -     -     -     -     -     -     -     -     -   ",
    Event.DATA_REQUEST:        "-    -     -     -     -     DT-1  -     AR-7  -     -     -     -     -   ",
    Event.P_DATA_TF:           "-    AA-1  AA-8  -     AA-8  DT-2  AR-6  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6",
    Event.RELEASE_REQUEST:     "-    -     -     -     -     AR-1  -     -     -     -     -     -     -   ",
    Event.RELEASE_RQ:          "-    AA-1  AA-8  -     AA-8  AR-2  AR-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-6",
    Event.RELEASE_RP:          "-    AA-1  AA-8  -     AA-8  AA-8  AR-3  AA-8  AA-8  AR-10 AR-3  AA-8  AA-6",
    Event.RELEASE_RESPONSE:    "-    -     -     -     -     -     -     AR-4  AR-9  -     -     AR-4  -   ",
    Event.ABORT_REQUEST:       "-    -     AA-1  AA-2  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  AA-1  -   ",
    Event.ABORT:               "-    AA-2  AA-3  -     AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-3  AA-2",
    Event.TRANSPORT_CLOSED:    "-    AA-5  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AA-4  AR-5",
    Event.ARTIM_EXPIRED:       "-    AA-2  -     -     -     -     -     -     -     -     -     -     AA-2",
    Event.INVALID_PDU:         "-    AA-1  AA-8  -     AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-8  AA-7",
}
# fmt: on

TRANSITIONS: Mapping[tuple[Event, State], Action] = {
    (event, state): Action(cell)
    for event, row in _PRINTED.items()
    for state, cell in zip(State, row.split(), strict=True)
    if cell != "-"
}
"""Table 9-10. The state that follows is in :data:`DEFINITIONS` of the action."""
