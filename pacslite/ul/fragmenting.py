"""A command set or data set cut into P-DATA-TF PDUs of one PDV each."""

from __future__ import annotations

import struct

from pacslite.errors import LocalProtocolError
from pacslite.ul.codec import COMMAND_BIT, LAST_BIT, PDV_OVERHEAD
from pacslite.ul.pdu import PDUType

OWN_SEND_LENGTH = 256 * 1024
"""The longest P-DATA-TF sent, also to peers that take any length (UL-18): larger ones gain nothing measurable."""

_COPY_BELOW = 8 * 1024
"""Pieces shorter than this are cheaper copied behind their header than written as two buffers."""

_PDU_AND_PDV_HEADER = struct.Struct(">BxIIBB")


def fragments(
    context_id: int, data: bytes | memoryview, *, command: bool, last: bool, max_length: int
) -> list[bytes | memoryview]:
    """The PDUs, as buffers to be written one after the other; ``max_length`` is the peer's, 0 for no limit."""
    size = len(data)
    if not size:
        raise LocalProtocolError("an empty PDV cannot be sent")
    if size & 1 and not last:
        raise LocalProtocolError(f"a fragment of {size} bytes is odd and more is to follow")  # UL-20
    pdu_length = min(max_length, OWN_SEND_LENGTH) if max_length else OWN_SEND_LENGTH
    step = (pdu_length - PDV_OVERHEAD) & ~1
    control = COMMAND_BIT if command else 0
    if size <= step and size < _COPY_BELOW:
        header = _PDU_AND_PDV_HEADER.pack(PDUType.P_DATA_TF, size + 6, size + 2, context_id, control | LAST_BIT * last)
        return [header + data]
    view = memoryview(data)
    pieces: list[bytes | memoryview] = []
    for at in range(0, size, step):
        piece = view[at : at + step]
        if last and at + step >= size:
            control |= LAST_BIT
        length = len(piece) + 2
        pieces.append(_PDU_AND_PDV_HEADER.pack(PDUType.P_DATA_TF, length + 4, length, context_id, control))
        pieces.append(piece)
    return [b"".join(pieces)] if min(size, step) < _COPY_BELOW else pieces
