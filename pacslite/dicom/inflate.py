"""Inflating a deflated data set (PS3.5 A.5) piece by piece, with a bound on what comes out."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from pacslite.dicom.element import has_known_vr

_SLICE: Final = 4096
_HEAD: Final = 8


class Inflater:
    """Bytes in, inflated bytes out; at most `limit` of them, then `problem` says so.

    Some senders wrap the stream in zlib's own header and some do not deflate at all; both are told by the first bytes.
    """

    def __init__(self, limit: int) -> None:
        self.problem = ""
        self._left = limit
        self._head = b""
        self._stream: zlib._Decompress | None = None
        self._plain = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """What `data` inflates to. Stop iterating to leave the rest alone; after a problem nothing comes any more."""
        if self._stream is None and not self._plain:
            missing = _HEAD - len(self._head)
            self._head += bytes(data[:missing])
            data = data[missing:]
            if len(self._head) < _HEAD:
                return
            yield from self._begin()
        if self._plain:
            yield data
            return
        for start in range(0, len(data), _SLICE):
            if self.problem:
                return
            yield from self._inflated(bytes(data[start : start + _SLICE]))

    def finish(self) -> Iterator[bytes | memoryview]:
        """The rest, when there is no more data; a stream that has not ended is a problem."""
        if self._stream is None and not self._plain:
            yield from self._begin()
        if self._stream is not None and not self._stream.eof and not self.problem and self._head:
            self.problem = "the deflated data set ends early"

    def _begin(self) -> Iterator[bytes | memoryview]:
        head = self._head
        if head[:2] in (b"\x08\0", b"\x02\0") and has_known_vr(head):
            self._plain = True
            yield head
            return
        # 78H opens a zlib header; a raw stream would open with it only for a stored block with garbage in its padding.
        wrapped = head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0
        self._stream = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        yield from self._inflated(head)

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        stream = self._stream
        while data and stream is not None and not stream.eof and not self.problem:
            before = stream.copy()
            try:
                output = stream.decompress(data, self._left + 1)
            except zlib.error:
                yield self._last_good(before, data)
                return
            data = stream.unconsumed_tail
            yield self._bounded(output)

    def _last_good(self, stream: zlib._Decompress, data: bytes) -> bytes:
        """All that comes out before the damage: zlib keeps the output of a call that fails, so ask byte by byte."""
        output = bytearray()
        try:
            for position in range(len(data)):
                output += stream.decompress(data[position : position + 1], self._left + 1 - len(output))
                if len(output) > self._left:
                    break
        except zlib.error as error:
            self.problem = f"the deflated data set is damaged: {error}"
        return self._bounded(bytes(output))

    def _bounded(self, output: bytes) -> bytes:
        if len(output) > self._left:
            self.problem = "the deflated data set is longer than the limit for headers"
            output = output[: self._left]
        self._left -= len(output)
        return output
