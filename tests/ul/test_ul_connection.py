"""The association as a value: what the standard's fine print (UL-01 to UL-26) asks of a connection's behaviour."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pacslite.errors import LocalProtocolError
from pacslite.ul.codec import decode_pdu, encode_pdu
from pacslite.ul.connection import (
    Aborted,
    AssociationAccepted,
    AssociationRejected,
    AssociationRequested,
    ConnectionClosed,
    DataFragment,
    Limits,
    ReleaseConfirmed,
    ReleaseRequested,
    Role,
    UpperLayer,
    UpperLayerEvent,
)
from pacslite.ul.fsm import State
from pacslite.ul.items import UnknownItem
from pacslite.ul.pdu import PDU, Abort, PDataTF, PresentationDataValue, ReleaseRP, ReleaseRQ
from ul.samples import (
    AC,
    ARTIM,
    INFORMATION,
    LIMITS,
    NOW,
    RJ,
    RQ,
    established,
    in_state,
    joined,
    p_data,
    pieces,
    sent,
    settle,
    wire,
)
from ul.strategies import acceptances, p_datas, requests

LATER = NOW + 5


def fragments(upper_layer: UpperLayer) -> list[tuple[int, bool, bool, bytes]]:
    return [
        (one.context_id, one.command, one.last, bytes(one.data))
        for one in upper_layer.events()
        if isinstance(one, DataFragment)
    ]


def expect_abort(upper_layer: UpperLayer, *, source: int, reason: int) -> None:
    """The machine aborted, said so, and reads no further."""
    assert sent(upper_layer) == wire(Abort(source=source, reason=reason))
    (event,) = (one for one in upper_layer.events() if not isinstance(one, DataFragment))
    assert isinstance(event, Aborted)
    assert (event.source, event.reason, event.by_peer) == (source, reason, False)
    assert event.message
    assert upper_layer.state is State.STA13
    upper_layer.receive_data(wire(RQ) + b"\x99" * 100, LATER)
    assert sent(upper_layer) == b""
    assert upper_layer.events() == []


# --- Life of a connection ------------------------------------------------------------------------------------------


def test_ul_01_after_release_the_connection_is_not_reusable() -> None:
    requestor = established(Role.REQUESTOR)
    requestor.release(NOW)
    assert sent(requestor) == wire(ReleaseRQ())
    requestor.receive_data(wire(ReleaseRP()), NOW)
    assert requestor.events() == [ReleaseConfirmed()]
    assert requestor.close_transport
    with pytest.raises(LocalProtocolError):
        requestor.request(RQ, NOW)


def test_ul_02_artim_runs_from_the_accept_until_the_request() -> None:
    acceptor = UpperLayer(Role.ACCEPTOR, Limits(artim_s=7), NOW)
    assert acceptor.deadline == NOW + 7
    acceptor.receive_data(wire(RQ), NOW + 1)
    assert acceptor.deadline is None
    assert acceptor.events() == [AssociationRequested(RQ)]


def test_ul_02_a_silent_connection_is_closed_without_a_pdu() -> None:
    acceptor = UpperLayer(Role.ACCEPTOR, LIMITS, NOW)
    acceptor.receive_data(wire(RQ)[:-1], NOW + 1)  # almost said something
    acceptor.tick(NOW + ARTIM - 0.1)
    assert not acceptor.close_transport
    acceptor.tick(NOW + ARTIM)
    assert acceptor.close_transport
    assert acceptor.deadline is None
    assert sent(acceptor) == b""
    assert acceptor.events() == []


def after_rejection() -> UpperLayer:
    acceptor = in_state(Role.ACCEPTOR, 3)
    acceptor.reject(RJ, LATER)
    assert sent(acceptor) == wire(RJ)
    return acceptor


def after_release() -> UpperLayer:
    acceptor = in_state(Role.ACCEPTOR, 8)
    acceptor.answer_release(LATER)
    assert sent(acceptor) == wire(ReleaseRP())
    return acceptor


def after_abort() -> UpperLayer:
    acceptor = in_state(Role.ACCEPTOR, 6)
    acceptor.abort(LATER)
    assert sent(acceptor) == wire(Abort(source=0, reason=0))
    return acceptor


ENDINGS = [after_rejection, after_release, after_abort]


@pytest.mark.parametrize("ending", ENDINGS)
def test_ul_03_the_peer_closes_or_artim_does(ending: object) -> None:
    assert callable(ending)
    waiting = ending()
    assert waiting.state is State.STA13
    assert not waiting.close_transport
    assert waiting.deadline == LATER + ARTIM
    waiting.tick(LATER + ARTIM)
    assert waiting.close_transport

    closed = ending()
    closed.connection_closed(LATER + 1)
    assert closed.close_transport
    assert closed.deadline is None
    assert closed.events() == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_ul_04_sta13_ignores_what_it_can(ending: object) -> None:
    assert callable(ending)
    over = ending()
    for pdu in (AC, RJ, p_data(bytes(100)), ReleaseRQ(), ReleaseRP()):
        over.receive_data(wire(pdu), LATER)
    assert over.state is State.STA13
    assert sent(over) == b""
    assert over.events() == []
    over.receive_data(wire(Abort(source=2, reason=0)), LATER)
    assert over.close_transport
    assert over.events() == []


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("raw", "reason"), [(wire(RQ), 2), (b"\x08\0\0\0\0\0", 1)])
def test_ul_04_sta13_aborts_on_a_request_or_an_unrecognized_pdu(ending: object, raw: bytes, reason: int) -> None:
    assert callable(ending)
    over = ending()
    over.receive_data(raw, LATER)
    assert sent(over) == wire(Abort(source=2, reason=reason))
    assert over.state is State.STA13
    assert over.events() == []


@pytest.mark.parametrize("raw", [wire(AC), wire(RJ), wire(p_data()), wire(ReleaseRQ()), wire(ReleaseRP()), b"GET / HT"])
def test_ul_05_ul_06_in_sta2_only_a_request_is_expected(raw: bytes) -> None:
    acceptor = UpperLayer(Role.ACCEPTOR, LIMITS, NOW)
    acceptor.receive_data(raw, LATER)
    assert acceptor.deadline == LATER + ARTIM
    expect_abort(acceptor, source=0, reason=0)


@pytest.mark.parametrize(
    ("role", "state"),
    [(Role.ACCEPTOR, number) for number in (3, 6, 7, 8, 10, 12)]
    + [(Role.REQUESTOR, number) for number in (5, 6, 7, 8, 9, 11)],
)
@pytest.mark.parametrize(("raw", "reason"), [(wire(RQ), 2), (b"\0\0\0\0\0\0", 1), (b"\xff" * 6, 1)])
def test_ul_05_ul_06_later_the_provider_aborts(role: Role, state: int, raw: bytes, reason: int) -> None:
    upper_layer = in_state(role, state)
    upper_layer.receive_data(raw, LATER)
    expect_abort(upper_layer, source=2, reason=reason)


@pytest.mark.parametrize(("source", "reason"), [(0, 0), (0, 5), (2, 6), (1, 77)])
def test_ul_06_any_abort_of_the_peer_ends_it(source: int, reason: int) -> None:
    upper_layer = established(Role.ACCEPTOR)
    upper_layer.receive_data(bytes([7, 0, 0, 0, 0, 4, 0, 0, source, reason]), NOW)
    (event,) = upper_layer.events()
    assert isinstance(event, Aborted)
    assert (event.source, event.reason, event.by_peer) == (source, reason, True)
    assert upper_layer.close_transport
    assert sent(upper_layer) == b""


def test_ul_06_the_user_gives_no_reason_unless_it_speaks_for_the_provider() -> None:
    for source, reason, expected in ((0, 6, Abort(source=0, reason=0)), (2, 6, Abort(source=2, reason=6))):
        upper_layer = established(Role.ACCEPTOR)
        upper_layer.abort(NOW, source=source, reason=reason)
        assert sent(upper_layer) == wire(expected)
        assert upper_layer.events() == []
    with pytest.raises(LocalProtocolError):
        established(Role.ACCEPTOR).abort(NOW, source=1)


def test_ul_08_a_rejection_is_told_before_the_close() -> None:
    requestor = in_state(Role.REQUESTOR, 5)
    requestor.receive_data(wire(RJ), NOW)
    assert requestor.events() == [AssociationRejected(RJ)]
    assert requestor.close_transport


def test_ul_09_data_in_sta7_is_still_delivered() -> None:
    upper_layer = established(Role.ACCEPTOR)
    raw = wire(p_data(b"abcdef"))
    upper_layer.receive_data(raw[:14], NOW)
    upper_layer.release(NOW)
    upper_layer.receive_data(raw[14:] + wire(p_data(b"gh", command=True)), NOW)
    assert fragments(upper_layer) == [(1, False, False, b"ab"), (1, False, True, b"cdef"), (1, True, True, b"gh")]
    assert upper_layer.state is State.STA7


def test_ul_09_data_after_the_peer_asked_for_release_is_not() -> None:
    """Table 9-10 delivers in Sta7 only: in the others the peer has asked for release and may not send any more."""
    for role, number in ((Role.REQUESTOR, 9), (Role.REQUESTOR, 11), (Role.ACCEPTOR, 8), (Role.ACCEPTOR, 10)):
        upper_layer = in_state(role, number)
        upper_layer.receive_data(wire(p_data()), NOW)
        expect_abort(upper_layer, source=2, reason=2)


def test_data_may_be_sent_while_the_peers_release_waits() -> None:
    """AR-7: the answers that are still owed."""
    acceptor = in_state(Role.ACCEPTOR, 8)
    acceptor.send_data(1, b"late", command=True, last=True)
    acceptor.answer_release(NOW)
    assert sent(acceptor) == wire(p_data(b"late", command=True), ReleaseRP())


@pytest.mark.parametrize("answer_early", [True, False])
def test_ul_10_release_collision(answer_early: bool) -> None:
    requestor, acceptor = established(Role.REQUESTOR), established(Role.ACCEPTOR)
    requestor.release(NOW)
    acceptor.release(NOW)
    from_requestor, from_acceptor = sent(requestor), sent(acceptor)
    requestor.receive_data(from_acceptor, NOW)
    acceptor.receive_data(from_requestor, NOW)
    assert (requestor.state, acceptor.state) == (State.STA9, State.STA10)
    assert requestor.events() == acceptor.events() == [ReleaseRequested()]

    if answer_early:  # as a user does who answers every indication at once: it waits for its turn
        acceptor.answer_release(NOW)
        assert sent(acceptor) == b""
    requestor.answer_release(NOW)
    assert requestor.state is State.STA11
    acceptor.receive_data(sent(requestor), NOW)
    if not answer_early:
        assert acceptor.state is State.STA12
        acceptor.answer_release(NOW)
    assert acceptor.events() == [ReleaseConfirmed()]
    assert acceptor.state is State.STA13
    requestor.receive_data(sent(acceptor), NOW)
    assert requestor.events() == [ReleaseConfirmed()]
    assert requestor.close_transport


def test_ul_12_the_echo_in_the_answer_is_not_tested() -> None:
    requestor = in_state(Role.REQUESTOR, 5)
    ac = replace(AC, called_ae_title=b" " * 16, calling_ae_title=bytes(16), reserved=b"\xee" * 32, protocol_version=6)
    body = bytearray(wire(AC))
    body[10:74] = ac.called_ae_title + ac.calling_ae_title + ac.reserved
    body[6:8] = b"\0\6"
    requestor.receive_data(bytes(body), NOW)
    assert requestor.events() == [AssociationAccepted(ac)]
    assert requestor.established


@pytest.mark.parametrize("raw", [b"\0\0\0\4\2\1ab", b"\0\0\0\4\0\1ab"])
def test_ul_13_an_even_context_id_in_a_pdv(raw: bytes) -> None:
    upper_layer = established(Role.ACCEPTOR)
    upper_layer.receive_data(b"\4\0" + len(raw).to_bytes(4, "big") + raw, NOW)
    expect_abort(upper_layer, source=2, reason=6)


def test_ul_16_what_was_skipped_can_be_logged() -> None:
    acceptor = UpperLayer(Role.ACCEPTOR, LIMITS, NOW)
    rq = replace(
        RQ,
        unknown=(UnknownItem(0x60, b"?"),),
        user_information=replace(INFORMATION, unknown=(UnknownItem(0x5F, b"!"),)),
    )
    acceptor.receive_data(wire(rq), NOW)
    assert acceptor.events() == [AssociationRequested(rq)]


def test_ul_26_a_close_in_the_middle_is_told() -> None:
    upper_layer = established(Role.ACCEPTOR)
    upper_layer.receive_data(wire(p_data(bytes(100)))[:50], NOW)
    upper_layer.connection_closed(NOW)
    first, second = upper_layer.events()
    assert isinstance(first, DataFragment)
    assert not first.last
    assert second == ConnectionClosed()


# --- Lengths -------------------------------------------------------------------------------------------------------


def test_ul_17_the_limit_is_of_the_pdu_length_field() -> None:
    limits = Limits(max_pdu_length=100)
    upper_layer = established(Role.ACCEPTOR, limits=limits)
    upper_layer.receive_data(wire(p_data(bytes(94))), NOW)
    assert len(fragments(upper_layer)) == 1
    upper_layer.receive_data(wire(p_data(bytes(95)))[:6], NOW)  # the header is enough
    expect_abort(upper_layer, source=2, reason=6)


def test_ul_18_an_unlimited_pdu_costs_no_memory() -> None:
    upper_layer = established(Role.ACCEPTOR, limits=Limits(max_pdu_length=0))
    size = 0xFFFFFFFF
    upper_layer.receive_data(b"\4\0" + size.to_bytes(4, "big") + (size - 4).to_bytes(4, "big") + b"\1\2", NOW)
    chunk = bytes(1 << 16)
    for _ in range(64):
        upper_layer.receive_data(chunk, NOW)
        (event,) = upper_layer.events()
        assert isinstance(event, DataFragment)
        assert event.data.obj is chunk  # a view, no copy
        assert not event.last
    assert len(upper_layer._reader._kept) == 0


@pytest.mark.parametrize("role", Role)
def test_an_associate_pdu_has_a_limit_too(role: Role) -> None:
    limits = Limits(max_associate_length=len(wire(RQ)))
    upper_layer = UpperLayer(role, limits, NOW)
    if role is Role.REQUESTOR:
        upper_layer.request(RQ, NOW)
        settle(upper_layer)
    pdu_type = 1 if role is Role.ACCEPTOR else 2
    upper_layer.receive_data(bytes([pdu_type, 0]) + b"\xff\xff\xff\xff", NOW)
    expect_abort(upper_layer, source=0 if role is Role.ACCEPTOR else 2, reason=0 if role is Role.ACCEPTOR else 6)


def test_an_associate_pdu_of_no_bytes_is_refused_at_once() -> None:
    requestor = in_state(Role.REQUESTOR, 5)
    requestor.receive_data(bytes([2, 0, 0, 0, 0, 0]), NOW)
    expect_abort(requestor, source=2, reason=6)


@pytest.mark.parametrize("pdu_type", [5, 7])
def test_a_control_pdu_of_another_length_is_refused_from_its_header(pdu_type: int) -> None:
    upper_layer = established(Role.ACCEPTOR)
    upper_layer.receive_data(bytes([pdu_type, 0, 0xFF, 0, 0, 0]), NOW)
    expect_abort(upper_layer, source=2, reason=6)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="no PDV"),
        pytest.param("0000000101", id="no room for a PDV"),
        pytest.param("00000001 01 02", id="PDV without its header"),
        pytest.param("00000005 01 02 6162", id="PDV longer than the PDU"),
        pytest.param("ffffffff 01 02 6162", id="PDV of 4 GiB"),
        pytest.param("00000004 01 02 6162 00", id="stray byte"),
        pytest.param("00000004 01 02 6162 00000002 01", id="half a second PDV"),
    ],
)
def test_a_pdv_that_contradicts_its_pdu_is_an_invalid_parameter(body: str) -> None:
    raw = bytes.fromhex(body)
    upper_layer = established(Role.ACCEPTOR)
    upper_layer.receive_data(b"\4\0" + len(raw).to_bytes(4, "big") + raw, NOW)
    expect_abort(upper_layer, source=2, reason=6)


# --- P-DATA --------------------------------------------------------------------------------------------------------


def test_ul_19_one_pdu_may_carry_command_and_data_set() -> None:
    upper_layer = established(Role.ACCEPTOR)
    values = (
        PresentationDataValue(1, b"co", True, False),
        PresentationDataValue(1, b"mm", True, True),
        PresentationDataValue(1, b"da", False, False),
        PresentationDataValue(1, b"ta", False, True),
    )
    upper_layer.receive_data(wire(PDataTF(values)), NOW)
    assert fragments(upper_layer) == [(one.context_id, one.command, one.last, one.data) for one in values]


def test_ul_20_an_empty_pdv_is_accepted() -> None:
    upper_layer = established(Role.ACCEPTOR)
    values = (
        PresentationDataValue(1, b"", False, False),
        PresentationDataValue(1, b"ab", False, False),
        PresentationDataValue(1, b"", False, True),
    )
    upper_layer.receive_data(wire(PDataTF(values)), NOW)
    assert fragments(upper_layer) == [(1, False, False, b"ab"), (1, False, True, b"")]


def test_ul_20_an_odd_fragment_is_accepted() -> None:
    upper_layer = established(Role.ACCEPTOR)
    upper_layer.receive_data(wire(p_data(b"abc", last=False), p_data(b"d")), NOW)
    assert fragments(upper_layer) == [(1, False, False, b"abc"), (1, False, True, b"d")]


def test_ul_21_other_control_bits_are_ignored() -> None:
    upper_layer = established(Role.ACCEPTOR)
    upper_layer.receive_data(bytes.fromhex("0400 00000008 00000004 01 fe 6162"), NOW)
    assert fragments(upper_layer) == [(1, False, True, b"ab")]


def test_ul_22_each_fragment_names_its_context() -> None:
    """Whether it may change within a message is for the message reader to judge; it is told."""
    upper_layer = established(Role.ACCEPTOR)
    upper_layer.receive_data(wire(p_data(b"ab", last=False), p_data(b"cd", context_id=3)), NOW)
    assert [one[0] for one in fragments(upper_layer)] == [1, 3]


def test_ul_23_headers_may_straddle_chunks() -> None:
    raw = wire(p_data(b"abcd", last=False), p_data(b"ef"), ReleaseRQ())
    for cut in range(1, len(raw)):
        upper_layer = established(Role.ACCEPTOR)
        upper_layer.receive_data(raw[:cut], NOW)
        upper_layer.receive_data(raw[cut:], NOW)
        assert joined(upper_layer.events()) == [((1, False), b"abcdef", True), ReleaseRequested()]


def test_an_abort_stops_the_message_at_hand() -> None:
    upper_layer = established(Role.ACCEPTOR)
    raw = wire(p_data(bytes(50)))
    upper_layer.receive_data(raw[:20], NOW)
    upper_layer.abort(NOW)
    settle(upper_layer)
    upper_layer.receive_data(raw[20:] + wire(p_data(b"more")) + wire(Abort(source=0, reason=0)), NOW)
    assert upper_layer.events() == []
    assert upper_layer.close_transport  # the framing was followed: the peer's abort was seen


# --- Sending -------------------------------------------------------------------------------------------------------


def sending_to(max_length: int) -> UpperLayer:
    information = replace(INFORMATION, max_length=max_length)
    return established(Role.REQUESTOR, ac=replace(AC, user_information=information))


def split(raw: bytes) -> list[PDU]:
    result: list[PDU] = []
    while raw:
        length = int.from_bytes(raw[2:6], "big")
        result.append(decode_pdu(raw[0], raw[6 : 6 + length]))
        raw = raw[6 + length :]
    return result


@pytest.mark.parametrize("max_length", [8, 9, 128, 16384, 16385, 0, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [1, 2, 121, 122, 123, 40_000])
def test_ul_17_ul_20_what_is_sent_fits_and_is_even(max_length: int, size: int) -> None:
    if size > 1000 and 0 < max_length < 100:
        size = 500
    data = bytes(range(256)) * (size // 256 + 1)
    upper_layer = sending_to(max_length)
    upper_layer.send_data(3, data[:size], command=False, last=True)
    pdus = split(sent(upper_layer))
    values = [one for pdu in pdus if isinstance(pdu, PDataTF) for one in pdu.pdvs]
    assert b"".join(one.data for one in values) == data[:size]
    assert [one.last for one in values] == [False] * (len(values) - 1) + [True]
    assert all(len(one.data) % 2 == 0 for one in values[:-1])
    assert all(one.data and one.context_id == 3 and not one.command for one in values)
    assert max_length == 0 or all(len(encode_pdu(pdu)) - 6 <= max_length for pdu in pdus)


def test_ul_18_a_peer_without_a_limit_gets_our_own() -> None:
    upper_layer = sending_to(0)
    assert upper_layer.peer_max_length == 0
    upper_layer.send_data(1, bytes(1 << 20), command=False, last=True)
    assert [len(encode_pdu(pdu)) - 6 for pdu in split(sent(upper_layer))][:4] == [262144] * 4


def test_a_large_payload_is_not_copied() -> None:
    upper_layer = sending_to(0)
    data = bytes(300_000)
    upper_layer.send_data(1, data, command=False, last=False)
    payloads = [one for one in upper_layer.data_to_send() if isinstance(one, memoryview)]
    assert sum(map(len, payloads)) == len(data)
    assert all(one.obj is data for one in payloads)


def test_pieces_of_a_message_are_marked_last_once() -> None:
    upper_layer = sending_to(128)
    upper_layer.send_data(1, bytes(200), command=False, last=False)
    upper_layer.send_data(1, memoryview(bytes(201)), command=False, last=True)
    values = [one for pdu in split(sent(upper_layer)) if isinstance(pdu, PDataTF) for one in pdu.pdvs]
    assert [(len(one.data), one.last) for one in values] == [(122, False), (78, False), (122, False), (79, True)]


@pytest.mark.parametrize(
    ("context_id", "data", "last"),
    [
        pytest.param(1, b"", True, id="empty (UL-20)"),
        pytest.param(1, b"abc", False, id="odd with more to come (UL-20)"),
        pytest.param(5, b"ab", True, id="rejected context"),
        pytest.param(7, b"ab", True, id="context never proposed"),
    ],
)
def test_what_may_not_be_sent(context_id: int, data: bytes, last: bool) -> None:
    upper_layer = established(Role.REQUESTOR)
    with pytest.raises(LocalProtocolError):
        upper_layer.send_data(context_id, data, command=False, last=last)
    assert sent(upper_layer) == b""
    assert upper_layer.established


def test_a_pdu_that_cannot_be_encoded_changes_nothing() -> None:
    requestor = UpperLayer(Role.REQUESTOR, LIMITS, NOW)
    with pytest.raises(LocalProtocolError):
        requestor.request(replace(RQ, calling_ae_title=b""), NOW)
    assert requestor.state is State.STA1
    acceptor = in_state(Role.ACCEPTOR, 3)
    with pytest.raises(LocalProtocolError):
        acceptor.accept(replace(AC, reserved=b""), NOW)
    assert acceptor.state is State.STA3
    assert sent(acceptor) == sent(requestor) == b""


# --- The same, however it is cut -----------------------------------------------------------------------------------


def feed(upper_layer: UpperLayer, chunks: list[bytes]) -> list[UpperLayerEvent]:
    events: list[UpperLayerEvent] = []
    for chunk in chunks:
        upper_layer.receive_data(chunk, NOW)
        events += upper_layer.events()
    return events


cuts = st.lists(st.integers(0, 2000), max_size=30)
damage = st.none() | st.tuples(st.integers(0, 400), st.integers(0, 255))


@given(
    st.lists(p_datas, max_size=4),
    st.sampled_from([ReleaseRQ(), ReleaseRP(), Abort(source=2, reason=1), RQ, AC]),
    cuts,
    damage,
)
@example([p_data(b"")], ReleaseRQ(), [], None)
@settings(max_examples=100, deadline=None)
def test_data_is_the_same_whole_bytewise_and_in_pieces(
    data: list[PDataTF], end: PDU, places: list[int], change: tuple[int, int] | None
) -> None:
    raw = bytearray(wire(*data, end))
    if change is not None:
        raw[change[0] % len(raw)] = change[1]
    stream = bytes(raw)
    machines = [established(Role.ACCEPTOR) for _ in range(3)]
    ways = ([stream], [stream[at : at + 1] for at in range(len(stream))], pieces(stream, places))
    whole, bytewise, cut = (joined(feed(one, way)) for one, way in zip(machines, ways, strict=True))
    assert whole == bytewise == cut
    assert len({sent(one) for one in machines}) == 1
    assert len({(one.state, one.deadline, one.close_transport) for one in machines}) == 1


@given(requests, cuts, damage)
@settings(max_examples=50, deadline=None)
def test_a_request_is_the_same_whole_bytewise_and_in_pieces(
    rq: PDU, places: list[int], change: tuple[int, int] | None
) -> None:
    raw = bytearray(wire(rq))
    if change is not None:
        raw[change[0] % len(raw)] = change[1]
    stream = bytes(raw)
    machines = [UpperLayer(Role.ACCEPTOR, LIMITS, NOW) for _ in range(3)]
    ways = ([stream], [stream[at : at + 1] for at in range(len(stream))], pieces(stream, places))
    whole, bytewise, cut = (feed(one, way) for one, way in zip(machines, ways, strict=True))
    assert whole == bytewise == cut
    assert len({sent(one) for one in machines}) == 1
    if change is None:
        assert whole == [AssociationRequested(decode_pdu(1, stream[6:]))]  # type: ignore[arg-type]  # it is a request


@given(acceptances, cuts)
@settings(max_examples=30, deadline=None)
def test_an_acceptance_is_the_same_whole_and_in_pieces(ac: PDU, places: list[int]) -> None:
    stream = wire(ac)
    machines = [in_state(Role.REQUESTOR, 5) for _ in range(2)]
    whole, cut = (feed(one, way) for one, way in zip(machines, ([stream], pieces(stream, places)), strict=True))
    assert whole == cut == [AssociationAccepted(ac)]  # type: ignore[arg-type]  # it is an acceptance
