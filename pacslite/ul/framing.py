"""The byte stream cut into PDUs, and P-DATA-TF into fragments.

Theory of operation. Six bytes are due at two places: a PDU header (type, length) and, inside a P-DATA-TF, a PDV header
(length, context ID, control). Only such headers and the bodies of the other PDUs, all of limited size, are ever kept
back; the payload of a PDV is passed on as a view into the chunk it came in, so a P-DATA-TF of any announced length
costs no memory (UL-18) and a peer that sends single bytes costs time in proportion to the bytes (UL-23).

When a header is read, ``admit`` decides what becomes of the PDU: its body is collected and given to ``deliver``, its
PDVs are streamed to ``emit``, it is skipped, or reading stops for good.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from pacslite.ul.codec import COMMAND_BIT, LAST_BIT, PDU_HEADER, PDV_HEADER, check_pdv
from pacslite.ul.events import DataFragment, UpperLayerEvent
from pacslite.ul.item_codec import invalid

HEADER_LENGTH = 6


class Disposition(Enum):
    """What becomes of a PDU whose header was read."""

    COLLECT = 1
    STREAM = 2
    SKIP = 3
    STOP = 4


class PDUReader:
    """``admit(type, length)`` and ``deliver(type, body)`` are called in the order of the bytes; after ``stop()``,
    which either of them may call, all input is dropped."""

    def __init__(
        self,
        admit: Callable[[int, int], Disposition],
        deliver: Callable[[int, bytes], None],
        emit: Callable[[UpperLayerEvent], None],
    ) -> None:
        self._admit = admit
        self._deliver = deliver
        self._emit = emit
        self._stopped = False
        self._kept = bytearray()  # of a header, or of the body of a collected PDU
        self._pdu_type = 0
        self._collect = 0  # length of the body being collected
        self._skip = 0  # bytes to drop
        self._pdu_left = 0  # bytes of a streamed PDU after the PDV at hand
        self._pdv_left = 0  # bytes of the PDV at hand
        self._context_id = 0
        self._control = 0
        self._muted = False

    def stop(self) -> None:
        """Drop what comes from now on."""
        self._stopped = True
        self._kept.clear()

    def mute(self) -> None:
        """Keep following the stream, but emit nothing of the P-DATA-TF at hand."""
        self._muted = True

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream; raises :class:`RemoteProtocolError` where they make no sense."""
        view = memoryview(data)
        at, end = 0, len(data)
        while at < end and not self._stopped:
            if self._pdv_left:
                at = self._take_payload(view, at, end)
            elif self._collect:
                at = self._take_body(view, at, end)
            elif self._skip:
                dropped = min(self._skip, end - at)
                self._skip -= dropped
                at += dropped
            elif self._kept or end - at < HEADER_LENGTH:
                at = self._take_partial_header(view, at, end)
            elif self._pdu_left:
                self._begin_pdv(data, at)
                at += HEADER_LENGTH
            else:
                self._begin_pdu(data, at)
                at += HEADER_LENGTH

    def _take_partial_header(self, view: memoryview, at: int, end: int) -> int:
        after = min(at + HEADER_LENGTH - len(self._kept), end)
        self._kept += view[at:after]
        if len(self._kept) == HEADER_LENGTH:
            header = bytes(self._kept)
            self._kept.clear()
            if self._pdu_left:
                self._begin_pdv(header, 0)
            else:
                self._begin_pdu(header, 0)
        return after

    def _begin_pdu(self, data: bytes, at: int) -> None:
        pdu_type, length = PDU_HEADER.unpack_from(data, at)
        disposition = self._admit(pdu_type, length)
        if disposition is Disposition.STREAM:
            if length < HEADER_LENGTH:
                raise invalid(f"a P-DATA-TF of {length} bytes has no room for a PDV")
            self._pdu_left = length
            self._muted = False
        elif disposition is Disposition.COLLECT:
            self._pdu_type = pdu_type
            self._collect = length
            if not length:
                self._deliver(pdu_type, b"")
        elif disposition is Disposition.SKIP:
            self._skip = length
        else:
            self.stop()

    def _begin_pdv(self, data: bytes, at: int) -> None:
        length, self._context_id, self._control = PDV_HEADER.unpack_from(data, at)
        check_pdv(length, self._context_id, self._pdu_left)
        self._pdu_left -= 4 + length
        self._pdv_left = length - 2
        if 0 < self._pdu_left < HEADER_LENGTH:
            raise invalid(f"{self._pdu_left} bytes after the last PDV of a P-DATA-TF")
        if not self._pdv_left and self._control & LAST_BIT:
            self._emit_fragment(memoryview(b""), last=True)  # illegal to send, harmless to take (UL-20)

    def _take_payload(self, view: memoryview, at: int, end: int) -> int:
        size = self._pdv_left
        if size <= end - at:
            after = at + size
            self._pdv_left = 0
            self._emit_fragment(view[at:after], last=bool(self._control & LAST_BIT))
            return after
        self._pdv_left = size - (end - at)
        self._emit_fragment(view[at:end], last=False)
        return end

    def _emit_fragment(self, data: memoryview, *, last: bool) -> None:
        if not self._muted:
            self._emit(DataFragment(self._context_id, bool(self._control & COMMAND_BIT), last, data))

    def _take_body(self, view: memoryview, at: int, end: int) -> int:
        after = min(at + self._collect - len(self._kept), end)
        self._kept += view[at:after]
        if len(self._kept) == self._collect:
            body = bytes(self._kept)
            self._kept.clear()
            self._collect = 0
            self._deliver(self._pdu_type, body)
        return after
