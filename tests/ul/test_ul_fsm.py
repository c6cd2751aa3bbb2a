"""PS3.8 Table 9-10, cell by cell, against a copy of its own: first the data, then the machine that follows it."""

from __future__ import annotations

import pytest

from pacslite.errors import LocalProtocolError
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
    UpperLayer,
)
from pacslite.ul.fsm import DEFINITIONS, TRANSITIONS, Action, Event, State
from pacslite.ul.pdu import ReleaseRP, ReleaseRQ
from ul.samples import (
    ABORT_BY_PEER,
    AC,
    ARTIM,
    NOW,
    REACHABLE,
    RJ,
    RQ,
    in_state,
    p_data,
    sent,
    settle,
    wire,
)

# The table by columns: for each state, action: numbers of the events that cause it. The module has it by rows.
COLUMNS = {
    1: "AE-1: 1 | AE-5: 5",
    2: "AA-1: 3 4 10 12 13 19 | AE-6: 6 | AA-2: 16 18 | AA-5: 17",
    3: "AA-8: 3 4 6 10 12 13 19 | AE-7: 7 | AE-8: 8 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    4: "AE-2: 2 | AA-2: 15 | AA-4: 17",
    5: "AE-3: 3 | AE-4: 4 | AA-8: 6 10 12 13 19 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    6: "AA-8: 3 4 6 13 19 | DT-1: 9 | DT-2: 10 | AR-1: 11 | AR-2: 12 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    7: "AA-8: 3 4 6 19 | AR-6: 10 | AR-8: 12 | AR-3: 13 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    8: "AA-8: 3 4 6 10 12 13 19 | AR-7: 9 | AR-4: 14 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    9: "AA-8: 3 4 6 10 12 13 19 | AR-9: 14 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    10: "AA-8: 3 4 6 10 12 19 | AR-10: 13 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    11: "AA-8: 3 4 6 10 12 19 | AR-3: 13 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    12: "AA-8: 3 4 6 10 12 13 19 | AR-4: 14 | AA-1: 15 | AA-3: 16 | AA-4: 17",
    13: "AA-6: 3 4 10 12 13 | AA-7: 6 19 | AA-2: 16 18 | AR-5: 17",
}

# What an action leaves behind: next state, PDU types sent, event told, ARTIM (+ runs, - does not, . as before), closed.
OUTCOMES = """
AE-2   5      01  -                     .  open
AE-3   6      -   AssociationAccepted   .  open
AE-4   1      -   AssociationRejected   -  closed
AE-5   2      -   -                     +  open
AE-6   3      -   AssociationRequested  -  open
AE-7   6      02  -                     .  open
AE-8   13     03  -                     +  open
DT-1   6      04  -                     .  open
DT-2   6      -   DataFragment          .  open
AR-1   7      05  -                     .  open
AR-2   8      -   ReleaseRequested      .  open
AR-3   1      -   ReleaseConfirmed      -  closed
AR-4   13     06  -                     +  open
AR-5   1      -   -                     -  closed
AR-6   7      -   DataFragment          .  open
AR-7   8      04  -                     .  open
AR-8   9/10   -   ReleaseRequested      .  open
AR-9   11     06  -                     .  open
AR-10  12     -   ReleaseConfirmed      .  open
AA-1   13     07  -                     +  open
AA-2   1      -   -                     -  closed
AA-3   1      -   Aborted               -  closed
AA-4   1      -   ConnectionClosed      -  closed
AA-5   1      -   -                     -  closed
AA-6   13     -   -                     .  open
AA-7   13     07  -                     .  open
AA-8   13     07  Aborted               +  open
"""

TOLD = {
    kind.__name__: kind
    for kind in (
        Aborted,
        AssociationAccepted,
        AssociationRejected,
        AssociationRequested,
        ConnectionClosed,
        DataFragment,
        ReleaseConfirmed,
        ReleaseRequested,
    )
}
LATER = NOW + 5
CELLS = {
    (int(event), state): action.strip()
    for state, column in COLUMNS.items()
    for action, events in (part.split(":") for part in column.split("|"))
    for event in events.split()
}
PDUS = {
    3: wire(AC),
    4: wire(RJ),
    6: wire(RQ),
    10: wire(p_data()),
    12: wire(ReleaseRQ()),
    13: wire(ReleaseRP()),
    16: wire(ABORT_BY_PEER),
    19: b"\x99\0\0\0\0\x02??",
}
BY_USER = (1, 7, 8, 9, 11, 14, 15)


def cause(upper_layer: UpperLayer, event: int) -> None:
    """Let the event with this number happen, through the interface."""
    match event:
        case 1:
            upper_layer.request(RQ, LATER)
        case 7:
            upper_layer.accept(AC, LATER)
        case 8:
            upper_layer.reject(RJ, LATER)
        case 9:
            upper_layer._contexts = frozenset({1})
            upper_layer.send_data(1, b"abcd", command=False, last=True)
        case 11:
            upper_layer.release(LATER)
        case 14:
            upper_layer.answer_release(LATER)
        case 15:
            upper_layer.abort(LATER)
        case 17:
            upper_layer.connection_closed(LATER)
        case 18:
            upper_layer.tick(NOW + ARTIM)
        case _:
            upper_layer.receive_data(PDUS[event], LATER)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_table_9_10_is_as_printed(state: State, event: Event) -> None:
    action = TRANSITIONS.get((event, state))
    assert (action and action.value) == CELLS.get((event.value, state.value))


def test_every_action_leads_where_tables_9_6_to_9_9_say() -> None:
    outcomes = {line.split()[0]: line.split()[1] for line in OUTCOMES.split("\n") if line}
    outcomes |= {"AE-1": "4", "AE-6": "3/13"}
    assert {action.value: "/".join(str(int(one)) for one in DEFINITIONS[action].next_states) for action in Action} == (
        outcomes
    )


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("cell", "action"), [pair for pair in CELLS.items() if pair[0][0] not in (1, 2, 5)])
def test_the_machine_does_what_the_cell_says(role: Role, cell: tuple[int, int], action: str) -> None:
    event, state = cell
    upper_layer = in_state(role, state)
    if event == 18:
        upper_layer._deadline = NOW + ARTIM  # also where this role could not have started it
    before = upper_layer.deadline
    cause(upper_layer, event)

    _, next_state, sends, told, artim, transport = next(
        line for line in OUTCOMES.split("\n") if line.startswith(action + " ")
    ).split()
    if "/" in next_state:
        next_state = next_state.split("/")[0 if role is Role.REQUESTOR else 1]
    assert upper_layer.state == int(next_state)
    output = sent(upper_layer)
    assert output[:1].hex() == (sends if sends != "-" else "")
    events = upper_layer.events()
    if action == "AA-1" and event != 15:
        told = "Aborted"  # there is nobody to indicate it to, but the log wants to know
    assert [type(one) for one in events] == ([TOLD[told]] if told != "-" else [])
    assert upper_layer.deadline == {"+": LATER + ARTIM, "-": None, ".": before}[artim]
    assert upper_layer.close_transport == (transport == "closed")


def test_sta1_request_passes_through_sta4() -> None:
    """Evt1, AE-1, Sta4, Evt2, AE-2: the transport is already there when the user asks."""
    upper_layer = in_state(Role.REQUESTOR, 1)
    cause(upper_layer, 1)
    assert upper_layer.state is State.STA5
    assert sent(upper_layer) == wire(RQ)


def test_sta1_transport_indication_starts_artim() -> None:
    """Evt5, AE-5 (UL-02)."""
    upper_layer = in_state(Role.ACCEPTOR, 2)
    assert upper_layer.state is State.STA2
    assert upper_layer.deadline == NOW + ARTIM


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("event", "state"),
    [
        (event, state)
        for event in (*BY_USER, 18)
        for state in range(1, 14)
        if (event, state) not in CELLS and (event, state) not in {(15, 1), (15, 2), (14, 10)}
    ],
)
def test_a_blank_cell_does_nothing(role: Role, event: int, state: int) -> None:
    """A primitive that the state forbids is the caller's defect, unless the association's end overtook it (Sta13)."""
    upper_layer = in_state(role, state)
    if event == 18 or (state == 13 and event != 1):
        cause(upper_layer, event)
    else:
        with pytest.raises(LocalProtocolError):
            cause(upper_layer, event)
    assert upper_layer.state == state
    assert sent(upper_layer) == b""
    assert upper_layer.events() == []


@pytest.mark.parametrize(("role", "state"), [(Role.REQUESTOR, 1), (Role.ACCEPTOR, 2)])
def test_an_abort_where_nothing_was_asked_just_closes(role: Role, state: int) -> None:
    upper_layer = in_state(role, state)
    upper_layer.abort(LATER)
    assert upper_layer.close_transport
    assert upper_layer.state is State.STA1
    assert upper_layer.deadline is None
    assert sent(upper_layer) == b""


@pytest.mark.parametrize("event", [*PDUS, 17])
def test_a_requestor_whose_peer_speaks_or_closes_first_is_over(event: int) -> None:
    """No row of the table has events of the peer in Sta1."""
    upper_layer = in_state(Role.REQUESTOR, 1)
    cause(upper_layer, event)
    cause(upper_layer, event)
    assert upper_layer.close_transport
    assert [type(one) for one in upper_layer.events()] == [ConnectionClosed if event == 17 else Aborted]
    with pytest.raises(LocalProtocolError):
        upper_layer.request(RQ, LATER)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("event", [*BY_USER[1:], *PDUS, 17, 18])
def test_a_closed_machine_stays_closed(role: Role, event: int) -> None:
    """UL-01: nothing happens any more on a connection that had its association."""
    upper_layer = in_state(role, 6)
    upper_layer.connection_closed(NOW)
    settle(upper_layer)
    cause(upper_layer, event)
    assert upper_layer.state is State.STA1
    assert upper_layer.close_transport
    assert upper_layer.events() == []
    assert sent(upper_layer) == b""


def test_the_driver_reaches_what_it_claims() -> None:
    for role, numbers in REACHABLE.items():
        for number in numbers:
            assert in_state(role, number).state == number
