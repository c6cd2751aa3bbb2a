"""A fuzz target for the upper layer: damaged conversations, in every state, cut anywhere, with a user in between.

Whatever the bytes, the only outcomes are events and bytes to send; from the codec, a PDU or ``RemoteProtocolError``.
Run it as long as you like::

    python tests/ul/fuzz.py --seconds 60 --seed 1

A failure names the seed of its round; ``--seed N --rounds 1`` runs that round again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":  # as pytest does by its own setting
    sys.path.insert(0, str(Path(__file__).parents[1]))

from pacslite.errors import LocalProtocolError, RemoteProtocolError
from pacslite.ul.codec import PDU_HEADER, decode_pdu, encode_pdu
from pacslite.ul.connection import Aborted, DataFragment, Role, UpperLayer, UpperLayerEvent
from pacslite.ul.fsm import State
from pacslite.ul.items import (
    AsyncOperationsWindow,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentity,
    UserInformation,
)
from pacslite.ul.negotiation import AbstractSyntaxPolicy, Policy, negotiate
from pacslite.ul.pdu import (
    PDU,
    Abort,
    AbortReason,
    AssociateAC,
    AssociateRQ,
    PDataTF,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
)
from ul.samples import AC, ARTIM, CT, EXPLICIT, IMPLICIT, LIMITS, NOW, REACHABLE, RJ, RQ, in_state, pieces, wire

FULL = UserInformation(
    max_length=32768,
    implementation_class_uid="1.2.3",
    implementation_version_name="FUZZ",
    async_window=AsyncOperationsWindow(4, 4),
    roles=(RoleSelection(sop_class=CT, scu=True, scp=True),),
    extended=(SOPClassExtendedNegotiation(CT, b"\1\2\3"),),
    common_extended=(SOPClassCommonExtendedNegotiation(sop_class=CT, service_class="4.2", related_general=("1.5",)),),
    user_identity=UserIdentity(kind=2, primary=b"me", secondary=b"pw", positive_response_requested=True),
)
POLICY = Policy(
    accepts=lambda uid, related: AbstractSyntaxPolicy(transfer_syntaxes=(IMPLICIT, EXPLICIT), requestor_scp=True),
    max_pdu_length=16384,
    operations_performed=8,
    user_identity_answer=b"",
)
CHARACTERISTIC = (0, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x51, 0x58, 0x7F, 0x80, 0xFE, 0xFF)


def conversation(rng: random.Random) -> bytes:
    """Some valid PDUs, in an order that may make no sense."""

    def data() -> PDataTF:
        return PDataTF(
            tuple(
                PresentationDataValue(
                    rng.choice((1, 3, 5, 255)),
                    rng.randbytes(rng.choice((0, 1, 2, 40))),
                    rng.random() < 0.5,
                    rng.random() < 0.5,
                )
                for _ in range(rng.randint(1, 3))
            )
        )

    makers: list[Callable[[], PDU]] = [
        lambda: AssociateRQ(
            called_ae_title=RQ.called_ae_title,
            calling_ae_title=RQ.calling_ae_title,
            contexts=RQ.contexts,
            user_information=FULL,
        ),
        lambda: AC,
        lambda: RJ,
        data,
        data,
        ReleaseRQ,
        ReleaseRP,
        lambda: Abort(source=2, reason=rng.choice((0, 1, 2, 4, 5, 6))),
    ]
    return wire(*(rng.choice(makers)() for _ in range(rng.randint(1, 5))))


def damage(rng: random.Random, raw: bytes) -> bytes:
    """``raw`` with up to three things wrong with it, or nothing."""
    data = bytearray(raw)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] = rng.choice(CHARACTERISTIC)
            case 1 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 3:
                del data[at : at + rng.randint(1, 12)]
            case 4:
                data[at:at] = data[at : at + rng.randint(1, 80)]
            case 5:
                data[at : at + 2] = rng.choice((b"\0\0", b"\xff\xff", b"\0\4", b"\x7f\xff"))
    return bytes(data)


def use(rng: random.Random, upper_layer: UpperLayer, requested: AssociateRQ | None) -> None:
    """Some primitive of the local user, at the right time or not."""
    now = NOW + rng.random() * 2 * ARTIM
    try:
        match rng.randrange(9):
            case 0 | 1 if requested is not None:
                answer = negotiate(requested, POLICY)
                if isinstance(answer, AssociateAC):
                    upper_layer.accept(answer, now)
                else:
                    upper_layer.reject(answer, now)
            case 2:
                upper_layer.send_data(rng.choice((1, 3)), rng.randbytes(20), command=False, last=True)
            case 3:
                upper_layer.release(now)
            case 4:
                upper_layer.answer_release(now)
            case 5 if rng.random() < 0.3:
                upper_layer.abort(now)
            case 6:
                upper_layer.tick(now)
            case 7 if rng.random() < 0.2:
                upper_layer.connection_closed(now)
            case 8:
                upper_layer.request(RQ, now)
    except LocalProtocolError:
        pass  # the wrong time: that is what it is for


def check(upper_layer: UpperLayer, events: list[UpperLayerEvent]) -> None:
    """What must hold after every call."""
    output = b"".join(upper_layer.data_to_send())
    while output:
        pdu_type, length = PDU_HEADER.unpack_from(output)
        decode_pdu(pdu_type, output[6 : 6 + length])
        output = output[6 + length :]
    assert all(len(event.data) > 0 or event.last for event in events if isinstance(event, DataFragment))
    assert sum(isinstance(event, Aborted) for event in events) <= 1
    assert (upper_layer.deadline is not None) <= (upper_layer.state in (State.STA2, State.STA13))
    assert not upper_layer.close_transport or upper_layer.state is State.STA1


def fuzz_connection(rng: random.Random) -> None:
    role = rng.choice(list(Role))
    upper_layer = in_state(role, rng.choice(sorted(REACHABLE[role])))
    raw = damage(rng, conversation(rng))
    requested: AssociateRQ | None = None
    for chunk in pieces(raw, (rng.randrange(len(raw) + 1) for _ in range(rng.choice((0, 1, 5, 200))))):
        upper_layer.receive_data(chunk, NOW)
        events = upper_layer.events()
        check(upper_layer, events)
        for event in events:
            requested = getattr(event, "rq", requested)
        if rng.random() < 0.2:
            use(rng, upper_layer, requested)
            check(upper_layer, upper_layer.events())
    assert len(upper_layer._reader._kept) <= LIMITS.max_associate_length


def fuzz_codec(rng: random.Random) -> None:
    raw = wire(RQ) if rng.random() < 0.3 else conversation(rng)
    pdu_type, length = PDU_HEADER.unpack_from(raw)
    body = damage(rng, raw[6 : 6 + length])
    try:
        pdu = decode_pdu(pdu_type, body)
    except RemoteProtocolError as error:
        AbortReason(error.reason)  # raises on a reason that cannot be sent
        return
    if isinstance(pdu, AssociateRQ):
        encode_pdu(negotiate(pdu, POLICY))
    try:
        again = encode_pdu(pdu)
    except LocalProtocolError:
        return  # taken from others, but not sent by us
    assert decode_pdu(again[0], again[6:]) == pdu


def run(seed: int, *, rounds: int | None = None, seconds: float | None = None) -> int:
    """Fuzz until ``rounds`` or ``seconds`` are over; returns the rounds. A round's seed is ``seed`` plus its number."""
    done = 0
    end = time.monotonic() + seconds if seconds is not None else None
    while (rounds is None or done < rounds) and (end is None or time.monotonic() < end):
        rng = random.Random(seed + done)
        try:
            fuzz_connection(rng)
            fuzz_codec(rng)
        except Exception as error:
            error.add_note(f"upper layer fuzz: --seed {seed + done} --rounds 1")
            raise
        done += 1
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the upper layer.")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int, default=time.time_ns() & 0xFFFFFFFF)
    arguments = parser.parse_args()
    if arguments.seconds is None and arguments.rounds is None:
        arguments.seconds = 10.0
    done = run(arguments.seed, rounds=arguments.rounds, seconds=arguments.seconds)
    print(f"{done} rounds from seed {arguments.seed}: nothing but events and RemoteProtocolError")


if __name__ == "__main__":
    main()
