"""Walker: a whole data set as a run of events, as its bytes arrive and whatever its size.

Theory of operation. What is open (the data set, sequences, items, the fragments of encapsulated data) lies on an
explicit stack of places, each with the offset where it ends, if that is known; nothing recurses. `_read` takes one
element after the other. A value up to `WHOLE_VALUE_BYTES` is told in one piece, a longer one as it comes: then only the
number of bytes that are left of it is kept. What the end of a piece has cut waits in `_held` until `_need` bytes are
there, so the events do not depend on how the data set was cut, but for the pieces of long values.

Senders err, so the encoding is looked at, not believed, as :mod:`pacslite.dicom.header` does. Forgotten delimiters are
supplied and stray ones dropped, because the elements are the same with and without them. Lengths that contradict each
other are an error: whoever copies a data set must not guess what was meant.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from pacslite.dicom.dictionary import known_vr
from pacslite.dicom.element import (
    DELIMITERS,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    encoding_for,
    encoding_of,
    has_known_vr,
    recognize,
    recognize_item,
)
from pacslite.dicom.heads import Head, MalformedDataSet, read_head
from pacslite.dicom.places import NO_END
from pacslite.dicom.tags import PIXEL_DATA
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.dicom.visitor import Visitor

WHOLE_VALUE_BYTES: Final = 4096
"""A value up to this length is told at once."""

_NESTED: Final = (ITEM, SEQUENCE_END)
_ZEROS: Final = bytes(8)


class _Kind(Enum):
    DATA_SET = "data set"
    SEQUENCE = "sequence"
    ITEM = "item"
    FRAGMENTS = "fragments"


_OF_ITEMS: Final = (_Kind.SEQUENCE, _Kind.FRAGMENTS)


class _Place:
    """`end` is where it ends at the latest: by its own length if that `is_defined`, else with what it is in."""

    __slots__ = ("encoding", "end", "fresh", "is_defined", "kind")

    def __init__(self, kind: _Kind, encoding: Encoding, end: int, *, is_defined: bool = False) -> None:
        self.kind = kind
        self.encoding = encoding
        self.end = end
        self.is_defined = is_defined
        self.fresh = kind is _Kind.ITEM  # the encoding inside an item shows at its first element


class Walker:
    """Feed it a data set (inflated), then finish; :class:`MalformedDataSet` for what cannot be understood."""

    def __init__(self, syntax: TransferSyntax, visitor: Visitor, *, max_depth: int = 64) -> None:
        self._visitor = visitor
        self._max_open = 1 + 2 * max_depth
        self._stack = [_Place(_Kind.DATA_SET, encoding_of(syntax), NO_END)]
        self._recognized = False
        self._padding = False
        self._offset = 0  # of the first byte not read yet
        self._left = 0
        self._need = 0
        self._held = bytearray()

    @property
    def left(self) -> int:
        """How much is still to come of the long value that is being read; as much may be skipped instead of fed."""
        return self._left

    @property
    def offset(self) -> int:
        """How much was read or skipped; what was fed beyond that waits for its end."""
        return self._offset

    def skip(self, size: int) -> None:
        """Go on as if `size` bytes, at most :attr:`left`, had been fed and their pieces told."""
        self._left -= size
        self._offset += size
        self._end_if_read()

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next piece, of any size."""
        rest = bytes(data)
        while self._held and rest:
            missing = self._need - len(self._held)
            self._held += rest[:missing]
            rest = rest[missing:]
            if len(self._held) < self._need:
                return
            held = bytes(self._held)
            self._held.clear()
            self._take(held)
        if rest:
            self._take(rest)

    def finish(self) -> None:
        """There is no more."""
        if self._left:
            raise MalformedDataSet(f"the data set ends {self._left} bytes before the end of its last value")
        if any(self._held):  # zeros are padding
            raise MalformedDataSet(f"the data set ends inside the element at offset {self._offset}")
        while len(self._stack) > 1:
            if self._stack[-1].is_defined and self._offset < self._stack[-1].end:
                raise MalformedDataSet(
                    f"the data set ends inside a {self._stack[-1].kind.value}, as that was to be longer"
                )
            self._close()

    # --- Pieces ---

    def _take(self, buffer: bytes) -> None:
        position, size = 0, len(buffer)
        while position < size:
            if self._left:
                step = min(self._left, size - position)
                self._visitor.piece(buffer[position : position + step])
                self._left -= step
                self._offset += step
                position += step
                self._end_if_read()
            elif self._padding:
                if any(buffer[position:]):
                    raise MalformedDataSet(f"there is no element at offset {self._offset}")
                position = size
            else:
                start = position
                position, self._need = self._read(buffer, position)
                self._offset += position - start
                if self._need:
                    self._held += buffer[position:]
                    return

    def _end_if_read(self) -> None:
        if not self._left:
            self._visitor.end_value()

    def _read(self, buffer: bytes, position: int) -> tuple[int, int]:
        """Read elements as far as they are there: the position of the rest, and how much is needed from there.

        Nothing is needed when everything was read, or when a long value or padding has begun.
        """
        base, size = self._offset - position, len(buffer)
        while position < size and not (self._left or self._padding):
            place = self._stack[-1]
            if base + position >= place.end:
                self._close()
                continue
            if size - position < 8:
                return position, 8
            head = read_head(buffer, position, self._encoding_at(buffer, position, place), base + position)
            if isinstance(head, int):
                return position, head
            end = position + head.size
            if place.kind is _Kind.DATA_SET and buffer[position:end] == _ZEROS:
                self._padding = True
            elif head.tag in DELIMITERS or place.kind in _OF_ITEMS:
                position = end if self._structure(head, place) else position
            else:
                need = self._element(head, buffer, end, place)
                if need < 0:
                    return position, head.size - need
                position = end + need
        return position, 0

    def _encoding_at(self, buffer: bytes, position: int, place: _Place) -> Encoding:
        if self._recognized and not place.fresh:
            return place.encoding
        start = buffer[position : position + 8]
        if place.fresh:
            place.fresh = False
            place.encoding = recognize_item(start, place.encoding)
        elif start[:2] in (b"\x02\0", b"\0\x02"):  # File Meta elements have an encoding of their own (ST-04)
            return encoding_for(explicit=has_known_vr(start), big_endian=start[0] == 0)
        else:
            self._recognized = True
            place.encoding = recognize(start, place.encoding)
        return place.encoding

    # --- Elements ---

    def _element(self, head: Head, buffer: bytes, start: int, place: _Place) -> int:
        """Tell an element whose value begins at `start`: how much of that was read; less than zero: how much more it
        needs to be told, negated."""
        length, available = head.length, len(buffer) - start
        if length == UNDEFINED_LENGTH:
            if available < 8:
                return -8
            self._begin_undefined(head, buffer[start : start + 8], place)
            return 0
        if head.offset + head.size + length > place.end:
            raise MalformedDataSet(f"{head} is longer than the {place.kind.value} that it is in")
        if length and _is_sequence(head):
            if available < 8:
                return -8
            is_filled = self._tag(buffer, start, head.encoding) in _NESTED
            if not is_filled and head.vr:
                raise MalformedDataSet(f"{head} is a sequence and does not begin with an item")
            if is_filled and self._visitor.enters(head):
                end = head.offset + head.size + length
                self._begin_sequence(head, _Place(_Kind.SEQUENCE, head.encoding, end, is_defined=True))
                return 0
            head = head._replace(vr="SQ" if is_filled else "UN")
        if length <= WHOLE_VALUE_BYTES:
            if available < length:
                return -length
            self._visitor.value(head, buffer[start : start + length])
            return length
        self._left = length
        self._visitor.begin_value(head)
        return 0

    def _begin_undefined(self, head: Head, first: bytes, place: _Place) -> None:
        """A value without length is a sequence, or fragments, which look the same."""
        is_pixel_data = head.tag == PIXEL_DATA
        encoding = IMPLICIT_LITTLE if head.vr == "UN" and not is_pixel_data else head.encoding  # PS3.5 6.2.2
        if self._tag(first, 0, encoding) not in _NESTED:
            raise MalformedDataSet(f"{head} has no length and does not begin with an item")
        if is_pixel_data or head.vr in ("OB", "OW"):
            self._open(_Place(_Kind.FRAGMENTS, encoding, place.end))
            self._visitor.begin_fragments(head)
        else:
            self._begin_sequence(head, _Place(_Kind.SEQUENCE, encoding, place.end))

    def _begin_sequence(self, head: Head, place: _Place) -> None:
        self._open(place)
        self._visitor.begin_sequence(head)

    # --- Structure ---

    def _structure(self, head: Head, place: _Place) -> bool:
        """Items, delimiters, and what stands where only those may be; False: to be looked at again in another place."""
        match place.kind:
            case _Kind.FRAGMENTS:
                return self._in_fragments(head, place)
            case _Kind.SEQUENCE:
                return self._in_sequence(head, place)
            case _Kind.ITEM if head.tag == ITEM_END and place.is_defined:
                return True
            case _Kind.ITEM if place.is_defined:
                raise MalformedDataSet(f"{head} is inside an item that is longer")
            case _Kind.ITEM:
                self._close()
                return head.tag == ITEM_END
        if head.tag == ITEM:
            raise MalformedDataSet(f"{head} is an item outside of a sequence")
        return True

    def _in_sequence(self, head: Head, place: _Place) -> bool:
        if head.tag == ITEM:
            self._begin_item(head, place)
            return True
        if head.tag == ITEM_END:
            return True
        if place.is_defined:
            raise MalformedDataSet(f"{head} is in a sequence, but not in an item")
        self._close()
        return head.tag == SEQUENCE_END

    def _begin_item(self, head: Head, sequence: _Place) -> None:
        start = head.offset + head.size
        is_defined = head.length != UNDEFINED_LENGTH
        end = start + head.length if is_defined else sequence.end
        if end > sequence.end:
            raise MalformedDataSet(f"{head} is longer than the sequence that it is in")
        self._open(_Place(_Kind.ITEM, sequence.encoding, end, is_defined=is_defined))
        self._visitor.begin_item(start)

    def _in_fragments(self, head: Head, place: _Place) -> bool:
        if head.tag not in DELIMITERS or head.tag == SEQUENCE_END:
            self._close()
            return head.tag == SEQUENCE_END
        if head.tag == ITEM_END or head.length == UNDEFINED_LENGTH:
            raise MalformedDataSet(f"{head} is among the fragments of encapsulated data")
        if head.offset + head.size + head.length > place.end:
            raise MalformedDataSet(f"{head} is a fragment longer than the item that it is in")
        self._visitor.begin_fragment(head.length)
        self._left = head.length
        self._end_if_read()
        return True

    def _open(self, place: _Place) -> None:
        if len(self._stack) >= self._max_open:
            raise MalformedDataSet("sequences are nested too deep")
        self._stack.append(place)

    def _close(self) -> None:
        kind = self._stack.pop().kind
        if kind is _Kind.SEQUENCE:
            self._visitor.end_sequence()
        elif kind is _Kind.ITEM:
            self._visitor.end_item()
        else:
            self._visitor.end_fragments()

    @staticmethod
    def _tag(buffer: bytes, position: int, encoding: Encoding) -> int:
        return encoding.native(encoding.unpack_length(buffer, position)[0])


def _is_sequence(head: Head) -> bool:
    return (head.vr or known_vr(head.tag)) == "SQ"
