"""DIMSE messages as bytes, in every packing that PS3.8 allows and in some that it does not.

Made by hand and not by the code under test, so that a mistake there is not repeated here.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

C_STORE_RQ = 0x0001
C_ECHO_RQ = 0x0030
C_CANCEL_RQ = 0x0FFF
NO_DATA_SET = 0x0101
VERIFICATION = "1.2.840.10008.1.1"

COMMAND = 1
LAST = 2
PDV_OVERHEAD = 6
P_DATA_TF = 4


def command_element(element: int, value: bytes) -> bytes:
    """One element of group 0000, Implicit VR Little Endian whatever the context's syntax (UL-24)."""
    return struct.pack("<HHI", 0, element, len(value)) + value


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def ui(value: str) -> bytes:
    raw = value.encode("latin-1")
    return raw + b"\0" * (len(raw) % 2)


def command_set(elements: dict[int, bytes]) -> bytes:
    """A command set from values as bytes, ascending, Group Length first (DM-01)."""
    body = b"".join(command_element(element, elements[element]) for element in sorted(elements))
    return command_element(0x0000, struct.pack("<I", len(body))) + body


def c_echo_rq(message_id: int = 1) -> bytes:
    return command_set(
        {0x0002: ui(VERIFICATION), 0x0100: us(C_ECHO_RQ), 0x0110: us(message_id), 0x0800: us(NO_DATA_SET)}
    )


def c_store_rq(
    sop_class: str, sop_instance: str, message_id: int = 1, *, more: dict[int, bytes] | None = None
) -> bytes:
    """``more`` adds or replaces elements; an empty ``sop_instance`` leaves the element out."""
    elements = {0x0002: ui(sop_class), 0x0100: us(C_STORE_RQ), 0x0110: us(message_id), 0x0700: us(0), 0x0800: us(1)}
    if sop_instance:
        elements[0x1000] = ui(sop_instance)
    return command_set({**elements, **(more or {})})


def c_cancel_rq(message_id: int) -> bytes:
    return command_set({0x0100: us(C_CANCEL_RQ), 0x0120: us(message_id), 0x0800: us(NO_DATA_SET)})


def pdv(context_id: int, data: bytes, control: int) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def pdu(pdu_type: int, body: bytes) -> bytes:
    return struct.pack(">BxI", pdu_type, len(body)) + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How a message is cut into PDVs and these into PDUs. Sizes are in bytes of PDV data and repeat in turn."""

    command_fragments: Sequence[int] = (1 << 30,)
    data_fragments: Sequence[int] = (16378,)
    pdvs_per_pdu: int = 1
    """More than one also joins command and data set in one P-DATA-TF (UL-19)."""
    empty_pdvs: bool = False
    """A PDV without data before each real one, and the end marked by an empty one (UL-20)."""
    control_noise: int = 0
    """Bits 2-7 of the message control header, which no receiver may check (UL-21)."""


ONE_PDV_EACH = Packing()


def pack_message(
    context_id: int, command: bytes, data_set: bytes | None, packing: Packing = ONE_PDV_EACH
) -> list[bytes]:
    """The P-DATA-TF PDUs of one message."""
    pdvs = list(_pdvs(context_id, command, COMMAND, packing.command_fragments, packing))
    if data_set is not None:
        pdvs += _pdvs(context_id, data_set, 0, packing.data_fragments, packing)
    groups = [pdvs[at : at + packing.pdvs_per_pdu] for at in range(0, len(pdvs), packing.pdvs_per_pdu)]
    return [pdu(P_DATA_TF, b"".join(group)) for group in groups]


def _pdvs(context_id: int, data: bytes, kind: int, sizes: Iterable[int], packing: Packing) -> Iterator[bytes]:
    control = kind | packing.control_noise
    for piece, last in _pieces(data, sizes):
        if packing.empty_pdvs:
            yield pdv(context_id, b"", control)
        yield pdv(context_id, piece, control | (LAST if last and not packing.empty_pdvs else 0))
    if packing.empty_pdvs:
        yield pdv(context_id, b"", control | LAST)


def _pieces(data: bytes, sizes: Iterable[int]) -> Iterator[tuple[bytes, bool]]:
    at = 0
    for size in itertools.cycle(sizes):
        yield data[at : at + size], at + size >= len(data)
        at += size
        if at >= len(data):
            return
