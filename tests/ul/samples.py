"""Samples for the upper layer tests: PDUs, connected pairs, and machines in any state of PS3.8 Table 9-10."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pacslite.dicom.uids import VERIFICATION
from pacslite.ul.codec import encode_pdu
from pacslite.ul.connection import DataFragment, Limits, Role, UpperLayer, UpperLayerEvent
from pacslite.ul.fsm import State
from pacslite.ul.items import PresentationContext, PresentationContextAnswer, UserInformation
from pacslite.ul.pdu import (
    PDU,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    ae_title_field,
)

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"

NOW = 1000.0
ARTIM = 30.0
LIMITS = Limits(artim_s=ARTIM)
INFORMATION = UserInformation(max_length=16384, implementation_class_uid="1.2.3", implementation_version_name="TEST")

RQ = AssociateRQ(
    called_ae_title=ae_title_field("STORE"),
    calling_ae_title=ae_title_field("CT1"),
    contexts=(
        PresentationContext(1, VERIFICATION, (IMPLICIT,)),
        PresentationContext(3, CT, (EXPLICIT, IMPLICIT)),
        PresentationContext(5, MR, (JPEG,)),
    ),
    user_information=INFORMATION,
)
AC = AssociateAC(
    called_ae_title=RQ.called_ae_title,
    calling_ae_title=RQ.calling_ae_title,
    contexts=(
        PresentationContextAnswer(1, 0, IMPLICIT),
        PresentationContextAnswer(3, 0, EXPLICIT),
        PresentationContextAnswer(5, 4, IMPLICIT),
    ),
    user_information=INFORMATION,
)
RJ = AssociateRJ(result=2, source=3, reason=2)


def p_data(data: bytes = b"abcd", *, context_id: int = 1, command: bool = False, last: bool = True) -> PDataTF:
    return PDataTF((PresentationDataValue(context_id, data, command, last),))


def wire(*pdus: PDU) -> bytes:
    return b"".join(map(encode_pdu, pdus))


def sent(upper_layer: UpperLayer) -> bytes:
    """What the machine wants written, joined."""
    return b"".join(upper_layer.data_to_send())


def settle(upper_layer: UpperLayer) -> UpperLayer:
    """Forget what happened so far."""
    upper_layer.events()
    upper_layer.data_to_send()
    return upper_layer


def established(role: Role, *, limits: Limits = LIMITS, rq: AssociateRQ = RQ, ac: AssociateAC = AC) -> UpperLayer:
    upper_layer = UpperLayer(role, limits, NOW)
    if role is Role.ACCEPTOR:
        upper_layer.receive_data(wire(rq), NOW)
        upper_layer.accept(ac, NOW)
    else:
        upper_layer.request(rq, NOW)
        upper_layer.receive_data(wire(ac), NOW)
    return settle(upper_layer)


REACHABLE: dict[Role, frozenset[int]] = {
    Role.ACCEPTOR: frozenset({2, 3, 6, 7, 8, 10, 12, 13}),
    Role.REQUESTOR: frozenset({1, 5, 6, 7, 8, 9, 11, 13}),
}
"""States in which the interface can leave a machine that is not closed; the requestor only passes through Sta4."""


def in_state(role: Role, number: int) -> UpperLayer:
    """A machine driven into this state, by its interface and its peer if there is a way, else put there."""
    if number not in REACHABLE[role]:
        upper_layer = UpperLayer(role, LIMITS, NOW)
        upper_layer._state = State(number)
        upper_layer._deadline = None
        return settle(upper_layer)
    if number in (1, 2):
        return UpperLayer(role, LIMITS, NOW)
    if number == 3:
        upper_layer = UpperLayer(role, LIMITS, NOW)
        upper_layer.receive_data(wire(RQ), NOW)
        return settle(upper_layer)
    if number == 5:
        upper_layer = UpperLayer(role, LIMITS, NOW)
        upper_layer.request(RQ, NOW)
        return settle(upper_layer)
    upper_layer = established(role)
    if number in (7, 9, 10, 11, 12):
        upper_layer.release(NOW)
    if number in (8, 9, 10, 11, 12):
        upper_layer.receive_data(wire(ReleaseRQ()), NOW)
    if number == 11:
        upper_layer.answer_release(NOW)
    if number == 12:
        upper_layer.receive_data(wire(ReleaseRP()), NOW)
    if number == 13:
        upper_layer.abort(NOW)
    assert upper_layer.state == number
    return settle(upper_layer)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` cut at these offsets; offsets outside it are ignored."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[start:stop] for start, stop in pairwise(places) if stop > start]


def joined(events: Sequence[UpperLayerEvent]) -> list[object]:
    """Events with the fragments of one message put together, so that the cutting of the stream does not show."""
    result: list[object] = []
    open_key: tuple[int, bool] | None = None
    gathered = b""
    for event in events:
        if isinstance(event, DataFragment):
            key = (event.context_id, event.command)
            if open_key not in (None, key):
                result.append((open_key, gathered, False))
                gathered = b""
            gathered += event.data
            open_key = key
            if event.last:
                result.append((key, gathered, True))
                open_key, gathered = None, b""
        else:
            if open_key is not None:
                result.append((open_key, gathered, False))
                open_key, gathered = None, b""
            result.append(event)
    if open_key is not None:
        result.append((open_key, gathered, False))
    return result


ABORT_BY_PEER = Abort(source=0, reason=0)
