"""Writing a data set anew: what a :class:`~pacslite.dicom.reencode.Reencoder` does with what it reads."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pacslite.dicom.element import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED_LENGTH, encoding_of
from pacslite.dicom.heads import Head, MalformedDataSet
from pacslite.dicom.representation import DECIDING, PIXEL_REPRESENTATION, WIDTHS, Surroundings, Swapper, swapped, vr_for
from pacslite.dicom.tags import BITS_ALLOCATED, PIXEL_DATA
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.dicom.vrs import LONG_VRS, TEXT_VRS

PIECE_BYTES: Final = 1 << 16
"""Short values are gathered to pieces of about this size."""

_MAX_SHORT: Final = 0xFFFE  # what a 16-bit length holds, and is even
_LENGTH_TO_END: Final = 0x00080001  # retired; counts bytes
_FOREIGN_GROUPS: Final = (0x0000, 0x0002)  # of commands and of File Meta Information


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPixels:
    """Other Pixel Data: `pieces` of little endian words, `length` bytes. Of undefined length (None) they are the items
    of encapsulated data, with the delimiter at its end."""

    vr: str
    length: int | None
    pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """What becomes of one data set or item: elements by tag (VR and little endian value; None: left out), and its
    Pixel Data."""

    elements: Mapping[int, tuple[str, bytes] | None]
    pixels: NewPixels


class Output:
    """Where the writer puts what it has written: gathered, in order, cut at even lengths."""

    def __init__(self) -> None:
        self.is_closed = False  # what is put meanwhile is dropped
        self._ready: deque[bytes | Iterator[bytes]] = deque()
        self._gathered = bytearray()

    def put(self, data: bytes) -> None:
        if self.is_closed:
            return
        if len(data) >= PIECE_BYTES and not len(data) % 2 and not len(self._gathered) % 2:
            self._flush()
            self._ready.append(data)
            return
        self._gathered += data
        if len(self._gathered) >= PIECE_BYTES:
            self._flush()

    def put_later(self, pieces: Iterator[bytes]) -> None:
        """Pieces to be made when they are taken; they begin at an even offset."""
        self._flush()
        self._ready.append(pieces)

    def take(self) -> Iterator[bytes]:
        while self._ready:
            match self._ready.popleft():
                case bytes() as piece:
                    yield piece
                case pieces:
                    yield from even(pieces)

    def finish(self) -> None:
        self._flush()

    def _flush(self) -> None:
        even = len(self._gathered) & ~1
        if even:
            self._ready.append(bytes(self._gathered[:even]))
            del self._gathered[:even]


def even(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of even length, none of them empty; the last is padded with a zero."""
    rest = b""
    for piece in pieces:
        data = rest + piece if rest else piece
        end = len(data) & ~1
        rest = data[end:]
        if end:
            yield data[:end] if rest else data
    if rest:
        yield rest + b"\0"


class _Place:
    """The data set or an item, with what is known in it and what is still to become of it."""

    __slots__ = ("pending", "rewrite", "surroundings")

    def __init__(self, surroundings: Surroundings, rewrite: Rewrite | None) -> None:
        self.surroundings = surroundings
        self.rewrite = rewrite
        self.pending = deque(sorted(rewrite.elements.items())) if rewrite else None


class Writer:
    """The visitor that writes what it is told in the target's encoding."""

    def __init__(
        self,
        output: Output,
        source: TransferSyntax,
        target: TransferSyntax,
        *,
        pixel_representation: int | None,
        rewrites: Mapping[int, Rewrite],
    ) -> None:
        known = {} if pixel_representation is None else {PIXEL_REPRESENTATION: pixel_representation}
        self._output = output
        self._encoding = encoding_of(target)
        self._keeps_fragments = target.encapsulated
        # Compressed icons are not seen in what is copied as it is; whoever knows rewrites knows all of them.
        self._copies_sequences = bool(rewrites) or target.encapsulated or not source.encapsulated
        self._rewrites = rewrites
        self._places = [_Place(Surroundings(known=known), rewrites.get(0))]
        self._swapper: Swapper | None = None
        self._padding = b""
        self._is_dropping = False  # the long value that is being told
        self._short = struct.Struct(">HH2sH" if self._encoding.big_endian else "<HH2sH").pack
        self._long = struct.Struct(">HH2sHI" if self._encoding.big_endian else "<HH2sHI").pack
        self._bare = struct.Struct(">HHI" if self._encoding.big_endian else "<HHI").pack
        self._item = self._mark(ITEM, UNDEFINED_LENGTH)
        self._item_end = self._mark(ITEM_END, 0)
        self._sequence_end = self._mark(SEQUENCE_END, 0)

    # --- What the walker tells ---

    def enters(self, head: Head) -> bool:
        if head.encoding is not self._encoding or not self._copies_sequences:
            return True
        start = head.offset
        return any(start < offset <= start + head.size + head.length for offset in self._rewrites)

    def value(self, head: Head, value: bytes) -> None:
        place = self._places[-1]
        if head.tag in DECIDING:
            place.surroundings.learn(head.tag, value, big_endian=head.encoding.big_endian)
        if self._is_replaced(head, place):
            return
        vr, width = self._representation(head, len(value))
        self._put(head.tag, vr, swapped(value, width) if width else value)

    def begin_value(self, head: Head) -> None:
        if self._is_replaced(head, self._places[-1]):
            self._is_dropping = self._output.is_closed = True
            return
        vr, width = self._representation(head, head.length)
        self._swapper = Swapper(width) if width else None
        self._padding = _pad(vr) if head.length % 2 else b""
        self._output.put(self._head(head.tag, vr, head.length + len(self._padding)))

    def piece(self, piece: bytes) -> None:
        self._output.put(self._swapper.feed(piece) if self._swapper else piece)

    def end_value(self) -> None:
        if self._is_dropping:
            self._is_dropping = self._output.is_closed = False
        self._output.put(self._padding)
        self._padding = b""
        self._swapper = None

    def begin_sequence(self, head: Head) -> None:
        self._insert(self._places[-1], head.tag)
        self._output.put(self._head(head.tag, "SQ", UNDEFINED_LENGTH))

    def begin_item(self, offset: int) -> None:
        self._places.append(_Place(Surroundings(self._places[-1].surroundings), self._rewrites.get(offset)))
        self._output.put(self._item)

    def end_item(self) -> None:
        self._insert(self._places.pop(), ITEM_END)
        self._output.put(self._item_end)

    def end_sequence(self) -> None:
        self._output.put(self._sequence_end)

    def begin_fragments(self, head: Head) -> None:
        if self._is_replaced(head, self._places[-1]):
            self._output.is_closed = True
        elif self._keeps_fragments:
            self._output.put(self._head(head.tag, "OB", UNDEFINED_LENGTH))
        else:
            raise MalformedDataSet(f"{head} is encapsulated, which the target is not")

    def begin_fragment(self, length: int) -> None:
        self._padding = b"\0" * (length % 2)
        self._output.put(self._mark(ITEM, length + len(self._padding)))

    def end_fragments(self) -> None:
        if self._output.is_closed:
            self._output.is_closed = False
        else:
            self._output.put(self._sequence_end)

    def finish(self) -> None:
        self._insert(self._places[0], ITEM_END)
        self._output.finish()

    # --- What becomes of it ---

    def _is_replaced(self, head: Head, place: _Place) -> bool:
        """Whether the element is not to be written; what is there instead of it, or before it, is written."""
        tag = head.tag
        if tag & 0xFFFF == 0 or tag >> 16 in _FOREIGN_GROUPS or tag == _LENGTH_TO_END:
            return True
        if place.rewrite is None:
            return False
        self._insert(place, tag)
        if tag != PIXEL_DATA:
            return tag in place.rewrite.elements
        pixels = place.rewrite.pixels
        length = UNDEFINED_LENGTH if pixels.length is None else pixels.length + pixels.length % 2
        self._output.put(self._head(tag, pixels.vr, length))
        self._output.put_later(self._new_pixels(pixels))
        return True

    def _new_pixels(self, pixels: NewPixels) -> Iterator[bytes]:
        width = WIDTHS[pixels.vr] if self._encoding.big_endian else 1
        swapper = Swapper(width) if width > 1 else None
        for piece in pixels.pieces():
            yield swapper.feed(piece) if swapper else piece

    def _insert(self, place: _Place, tag: int) -> None:
        """Write the elements of a rewrite that stand before `tag`, or in its place."""
        while place.pending and place.pending[0][0] <= tag:
            new_tag, element = place.pending.popleft()
            if element is not None:
                vr, value = element
                width = WIDTHS[vr]
                self._put(new_tag, vr, swapped(value, width) if self._encoding.big_endian and width > 1 else value)

    def _representation(self, head: Head, length: int) -> tuple[str, int]:
        """The VR to write, and the width of words whose bytes are to be turned round (0: none)."""
        encoding, surroundings = self._encoding, self._places[-1].surroundings
        vr = head.vr or vr_for(head.tag, surroundings)
        is_big = head.encoding.big_endian and head.vr != "UN"  # UN is little endian wherever it is (PS3.5 6.2.2)
        if head.encoding is encoding and (head.vr or not encoding.explicit):
            return vr, 0
        if head.tag == PIXEL_DATA and head.vr in ("OB", "UN"):
            is_big = False  # bytes: no byte order applies to them
            vr = vr_for(head.tag, surroundings) if (surroundings.find(BITS_ALLOCATED) or 0) > 8 else "OB"
        width = WIDTHS.get(vr)
        if encoding.explicit and length > _MAX_SHORT and vr in WIDTHS and vr not in LONG_VRS:
            vr = "UN"  # PS3.5 6.2.2, Note 4
        if is_big == (encoding.big_endian and vr != "UN") or not length:
            return vr, 0
        if width is None or (vr == "UN" and width == 1 and head.vr != vr and is_big):
            raise MalformedDataSet(f"{head} has the VR {head.vr or vr}, whose byte order nobody knows")
        if length % width:
            raise MalformedDataSet(f"{head} has {length} bytes, which are no whole words of {width}")
        return vr, width if width > 1 else 0

    # --- Bytes ---

    def _put(self, tag: int, vr: str, value: bytes) -> None:
        if len(value) % 2:
            value += _pad(vr)
        self._output.put(self._head(tag, vr, len(value)) + value)

    def _head(self, tag: int, vr: str, length: int) -> bytes:
        if not self._encoding.explicit:
            return self._bare(tag >> 16, tag & 0xFFFF, length)
        if vr in WIDTHS and vr not in LONG_VRS:
            return self._short(tag >> 16, tag & 0xFFFF, vr.encode("latin-1"), length)
        return self._long(tag >> 16, tag & 0xFFFF, vr.encode("latin-1"), 0, length)

    def _mark(self, tag: int, length: int) -> bytes:
        return self._bare(tag >> 16, tag & 0xFFFF, length)


def _pad(vr: str) -> bytes:
    return b" " if vr in TEXT_VRS and vr != "UI" else b"\0"
