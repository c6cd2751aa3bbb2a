"""Data sets built byte by byte, so that they can also be built wrong."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
_LONG_VRS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UR", "UT", "UN", "SV", "UV"})


@dataclass(frozen=True, slots=True)
class Encoding:
    """Explicit or implicit VR, little or big endian."""

    explicit: bool = True
    big: bool = False

    def element(self, tag: int, vr: str, value: bytes | str, *, length: int | None = None, pad: bool = True) -> bytes:
        """One element. ``length`` replaces the true one; with ``pad`` false an odd value stays odd."""
        raw = value.encode("latin-1") if isinstance(value, str) else value
        if pad and len(raw) % 2:
            raw += b"\0" if vr in ("UI", "OB", "UN") else b" "
        size = len(raw) if length is None else length
        order = ">" if self.big else "<"
        head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
        if not self.explicit:
            return head + struct.pack(f"{order}I", size) + raw
        if vr in _LONG_VRS:
            return head + vr.encode("latin-1") + b"\0\0" + struct.pack(f"{order}I", size) + raw
        return head + vr.encode("latin-1") + struct.pack(f"{order}H", size & 0xFFFF) + raw

    def mark(self, tag: int, length: int = 0) -> bytes:
        """An item or a delimiter: these never have a VR."""
        return struct.pack(">HHI" if self.big else "<HHI", tag >> 16, tag & 0xFFFF, length)

    def us(self, value: int) -> bytes:
        return struct.pack(">H" if self.big else "<H", value)

    def ul(self, value: int) -> bytes:
        return struct.pack(">I" if self.big else "<I", value)

    def sequence(self, tag: int, *items: bytes, undefined: bool = True, vr: str = "SQ") -> bytes:
        """A sequence with its items, both of undefined or both of defined length."""
        if undefined:
            body = b"".join(self.mark(ITEM, UNDEFINED) + item + self.mark(ITEM_END) for item in items)
            return self.element(tag, vr, body, length=UNDEFINED, pad=False) + self.mark(SEQUENCE_END)
        return self.element(tag, vr, b"".join(self.mark(ITEM, len(item)) + item for item in items), pad=False)

    def encapsulated(self, *fragments: bytes, offsets: bytes = b"", end: bool = True) -> bytes:
        """Encapsulated Pixel Data (PS3.5 A.4): a Basic Offset Table, the fragments, and the end if ``end``."""
        body = b"".join(self.mark(ITEM, len(part)) + part for part in (offsets, *fragments))
        return self.element(0x7FE00010, "OB", body, length=UNDEFINED, pad=False) + (
            self.mark(SEQUENCE_END) if end else b""
        )


EXPLICIT_LITTLE = Encoding()
EXPLICIT_BIG = Encoding(big=True)
IMPLICIT_LITTLE = Encoding(explicit=False)


def deflate(data: bytes) -> bytes:
    """A raw deflate stream without zlib's header, padded to even length (PS3.5 A.5)."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)
