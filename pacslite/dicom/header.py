"""HeaderReader: the indexed attributes out of the first bytes of a data set, as they arrive.

Theory of operation. A data set is read as one flat run of element heads. A value that is not wanted is stepped over by
its length, also when it ends far beyond the bytes at hand: then only a number is kept (`_skip`). Sequences of defined
length are such values. A sequence of undefined length cannot be stepped over, so the heads in it are read too, with an
explicit stack of what is open; nothing here recurses. The Request Attributes Sequence is entered in either form, as
its items are wanted.

`feed` reads from the piece itself. What the end of the piece has cut (the head of an element, or a wanted value) waits
in `_held` until `_need` bytes are there, so the result does not depend on how the data set was cut (UL-23) and hardly
anything is copied. An offset counts from the start of the data set (for deflated ones: of the inflated one).

Senders err, so the encoding is looked at, not believed: byte order and implicit or explicit VR at the first element,
implicit or explicit VR again in each item. Whatever the bytes are, reading ends: each step moves on by at least eight
bytes, and `limit_bytes` is the last. What was read until then is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pacslite.dicom import tags
from pacslite.dicom.charset import decode_text
from pacslite.dicom.element import (
    IMPLICIT_LITTLE,
    ITEM,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    encoding_for,
    encoding_of,
    has_known_vr,
    recognize,
    recognize_item,
    unusual_head,
)
from pacslite.dicom.inflate import Inflater
from pacslite.dicom.places import NO_END, OF_DATA_SET, OF_REQUEST, Place
from pacslite.dicom.tags import tag_text
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.dicom.uids import clean_uid
from pacslite.dicom.values import to_integer
from pacslite.dicom.vrs import CHARSET_VRS, SINGLE_VALUED_VRS

MAX_VALUE_BYTES: Final = 65536
"""A wanted value longer than this is left out: no indexed attribute is, and a wrong length must cost nothing."""

MAX_REQUEST_ITEMS: Final = 64

_WINDOW: Final = 16384  # of a memoryview this much is copied at once: slices of bytes cost half as much as of a view
_FREE: Final = 4096  # a longer value that is stepped over does not count as examined
_ENTERING: Final = 64  # entering a sequence or item counts as this many bytes, as it takes as long as reading them
_TOO_LONG: Final = "the header is longer than its limit"

_PIXEL_GROUP: Final = tags.PIXEL_DATA >> 16
_IDENTITY: Final = frozenset({tags.SOP_INSTANCE_UID, tags.STUDY_INSTANCE_UID, tags.SERIES_INSTANCE_UID})


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a data set says about itself.

    `elements` are Value Fields as they are in the data set, padding and all. `complete` says that everything up to the
    last wanted attribute was seen; `problem` is one sentence about what was wrong, and may be there for a complete
    header too (an oversized value, an encoding that is not the declared one).
    """

    elements: Mapping[int, bytes]
    request_attributes: tuple[Mapping[int, bytes], ...]
    complete: bool
    problem: str
    big_endian: bool
    character_sets: tuple[str, ...]

    def uid(self, tag: int) -> str:
        """The UID without padding; empty if absent."""
        return clean_uid(self.elements.get(tag, b""))

    def text(self, tag: int) -> str:
        """The whole value as Unicode, several values still joined by backslashes, without padding; empty if absent."""
        raw = self.elements.get(tag)
        return self.decode(tag, raw) if raw else ""

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values, each without padding; none for an attribute that is absent or empty."""
        text = self.text(tag)
        if not text:
            return ()
        if "\\" not in text or tags.VR_OF.get(tag) in SINGLE_VALUED_VRS:
            return (text,)
        return tuple(value.strip(" \0") for value in text.split("\\"))

    def integer(self, tag: int) -> int | None:
        """The first value of an IS or US; None if absent or no number."""
        raw = self.elements.get(tag)
        if not raw:
            return None
        if tags.VR_OF.get(tag) == "US" and len(raw) in (2, 4):
            return int.from_bytes(raw[:2], "big" if self.big_endian else "little")
        return to_integer(raw.decode("latin-1").split("\\", 1)[0])

    def decode(self, tag: int, raw: bytes, *, character_sets: tuple[str, ...] | None = None) -> str:
        """A value of this data set as text, by the VR of `tag`; `character_sets` are those of an item with its own."""
        vr = tags.VR_OF.get(tag, "LO")
        declared = self.character_sets if character_sets is None else character_sets
        multi_valued = vr not in SINGLE_VALUED_VRS
        text = decode_text(
            raw,
            declared if vr in CHARSET_VRS else (),
            person_name=vr == "PN",
            multi_valued=multi_valued,
        )
        return text.strip(" \0") if multi_valued else text.rstrip(" \0")

    def request_text(self, item: int, tag: int) -> str:
        """The text of one attribute of one item of the Request Attributes Sequence; empty if absent."""
        attributes = self.request_attributes[item]
        own = attributes.get(tags.SPECIFIC_CHARACTER_SET)
        return self.decode(tag, attributes.get(tag, b""), character_sets=_character_sets(own) if own else None)


def _character_sets(raw: bytes) -> tuple[str, ...]:
    return tuple(term.strip(" \0")[:64] for term in raw[:1024].decode("latin-1").split("\\")) if raw else ()


class HeaderReader:
    """Feed it a data set until it says it has enough, then take the header. No data can make it raise.

    `limit_bytes` bounds what is examined: heads, wanted values and short ones that are stepped over; of a deflated data
    set all that is inflated. `max_depth` bounds how deep sequences of undefined length may be nested.
    """

    def __init__(self, transfer_syntax: TransferSyntax, *, limit_bytes: int = 1 << 20, max_depth: int = 32) -> None:
        self._encoding = encoding_of(transfer_syntax)
        self._inflater = Inflater(limit_bytes) if transfer_syntax.deflated else None
        self._limit = limit_bytes  # the offset where reading stops; long values that are stepped over push it on
        self._max_open = 1 + 2 * max_depth  # the data set; a sequence and an item for each level
        self._elements: dict[int, bytes] = {}
        self._items: list[dict[int, bytes]] = []
        self._stack = [Place(self._encoding, NO_END, self._elements, tables=OF_DATA_SET)]
        self._recognized = False
        self._offset = 0  # of the first byte not read yet
        self._skip = 0
        self._need = 0
        self._held = bytearray()
        self._done = False
        self._complete = False
        self._problem = ""

    def feed(self, data: bytes | memoryview) -> bool:
        """Take the next piece, of any size. True: enough was seen, further pieces are ignored."""
        if self._inflater is None:
            self._take(data)
        elif not self._done:
            self._take_inflated(self._inflater.feed(data), self._inflater)
        return self._done

    def finish(self) -> Header:
        """The header, when reading is done or the data set has ended."""
        if self._inflater is not None and not self._done:
            self._take_inflated(self._inflater.finish(), self._inflater)
        if not self._done:
            problem = self._at_end()
            self._stop(problem, complete=not problem)
        return Header(
            elements=self._elements,
            request_attributes=tuple(self._items),
            complete=self._complete,
            problem=self._problem,
            big_endian=self._encoding.big_endian,
            character_sets=_character_sets(self._elements.get(tags.SPECIFIC_CHARACTER_SET, b"")),
        )

    # --- Pieces ---

    def _take_inflated(self, pieces: Iterator[bytes | memoryview], inflater: Inflater) -> None:
        for piece in pieces:
            self._take(piece)
            if self._done:
                return
        if inflater.problem:
            self._stop(inflater.problem)

    def _take(self, data: bytes | memoryview) -> None:
        position, size = 0, len(data)
        while position < size and not self._done:
            if self._skip:
                step = min(self._skip, size - position)
                self._skip -= step
                self._offset += step
                position += step
            elif self._held:
                step = min(self._need - len(self._held), size - position)
                self._held += data[position : position + step]
                position += step
                if len(self._held) >= self._need:
                    held = bytes(self._held)
                    self._held = bytearray(held[self._read(held, 0) :])
            else:
                window, start = (
                    (data, position) if isinstance(data, bytes) else (bytes(data[position : position + _WINDOW]), 0)
                )
                end = self._read(window, start)
                self._held += window[end:]
                position += len(window) - start

    def _read(self, buffer: bytes, position: int) -> int:
        """Read elements from `position` on, as far as they are there; answers the position where that is."""
        self._need = 0
        while not (self._done or self._skip or self._need):
            start = position
            if self._recognized:
                position = self._read_elements(buffer, position, self._stack[-1])
            else:
                position = self._read_beginning(buffer, position)
            if position > len(buffer):
                self._skip = position - len(buffer)
                position = len(buffer)
            self._offset += position - start
        return len(buffer) if self._done else position

    # --- Elements. These read on from `position` and answer where they stopped, maybe beyond the buffer's end. ---

    def _read_beginning(self, buffer: bytes, position: int) -> int:
        """Recognize the encoding; before that step over File Meta elements, which do not belong here (ST-04)."""
        head = buffer[position : position + 8]
        if len(head) < 8 or self._offset >= self._limit:
            return self._pause(position, position, self._offset - position, len(buffer))
        if head[:2] in (b"\x02\0", b"\0\x02"):
            encoding = encoding_for(explicit=has_known_vr(head), big_endian=head[:1] == b"\0")
            found = self._head(buffer, position, encoding, self._offset)
            return position if found is None else self._step_over(*found)
        declared = self._encoding
        self._encoding = self._stack[0].encoding = recognize(head, declared)
        self._recognized = True
        if self._encoding is not declared:
            self._note(f"the data set is {self._encoding}, its transfer syntax says {declared}")
        return position

    def _read_elements(self, buffer: bytes, position: int, place: Place) -> int:
        """The hot path: the elements of `place`, until another place is entered or this one left."""
        base, size = self._offset - position, len(buffer)
        if place.fresh and size - position >= 8:
            place.fresh = False
            place.encoding = recognize_item(buffer[position : position + 8], place.encoding)
        encoding = place.encoding
        explicit, short, long, delimiters = encoding.explicit, encoding.short, encoding.long, encoding.delimiters
        unpack, unpack_length = encoding.unpack, encoding.unpack_length
        (wanted, mask, last_group), sink = place.tables[encoding.big_endian], place.sink
        stop = place.end - base
        last = min(size - 8, self._limit - base - 1, stop - 1)
        value = position
        while position <= last:
            value = position + 8
            if explicit:
                native, vr, length = unpack(buffer, position)
                if vr not in short:
                    if vr in long and value + 4 <= size:
                        (length,) = unpack_length(buffer, value)
                        value += 4
                    elif native in delimiters:
                        (length,) = unpack_length(buffer, position + 4)
                    elif found := self._head(buffer, position, encoding, base + position):
                        value, length = found
                    else:
                        return position
            else:
                native, length = unpack(buffer, position)
            if native in wanted:
                tag = wanted[native]
                if tag is None:
                    if native in delimiters:
                        if native != encoding.item or length == UNDEFINED_LENGTH or not place.holds_items:
                            return self._delimiter(encoding.native(native), value, length, base)
                    elif encoding.native(native) == tags.CONTENT_SEQUENCE:
                        if self._identified():
                            return self._finished(position)
                    elif length:
                        end = NO_END if length == UNDEFINED_LENGTH else base + value + length
                        return self._open(buffer, position, value, encoding, end, is_request=True)
                elif length <= MAX_VALUE_BYTES:
                    end = value + length
                    if end > stop:
                        end = max(value, stop)
                    if end > size:
                        return self._wait(position, end - position)
                    sink[tag] = buffer[value:end]
                    position = end
                    continue
                else:
                    self._note(f"{tag_text(tag)} is too long for the index and was left out")
            elif native & mask > last_group and (encoding.native(native) >> 16 >= _PIXEL_GROUP or self._identified()):
                return self._finished(position)
            if length > _FREE:
                if length == UNDEFINED_LENGTH:
                    return self._open(buffer, position, value, encoding, place.end)
                length = min(length, max(0, stop - value))
                self._limit += length
                last = min(size - 8, self._limit - base - 1, stop - 1)
            position = value + length
        return self._pause(position, value, base, size)

    def _pause(self, position: int, value: int, base: int, size: int) -> int:
        """No element can be read at `position`: it is the end of the place, or beyond the buffer or the limit.

        Where a value (that begins at `value`) reaches over the end of its place, the place is believed.
        """
        end = self._stack[-1].end - base
        if position >= end:
            self._stack.pop()
            return max(value, end)
        if position > size:
            return position
        if base + position >= self._limit:
            self._stop(f"{_TOO_LONG} at offset {base + position}")
        return self._wait(position, 8)

    def _delimiter(self, tag: int, value: int, length: int, base: int) -> int:
        """Begin or end an item, or end a sequence; the ends of items that were forgotten are supplied."""
        stack = self._stack
        if stack[-1].is_item:
            stack.pop()
        if tag == SEQUENCE_END and len(stack) > 1:
            stack.pop()
        if tag != ITEM or len(stack) == 1:
            return value
        sequence = stack[-1]
        end = sequence.end if length == UNDEFINED_LENGTH else min(sequence.end, base + value + length)
        if sequence.is_request and len(self._items) < MAX_REQUEST_ITEMS:
            self._items.append({})
            self._enter(Place(sequence.encoding, end, self._items[-1], tables=OF_REQUEST, is_item=True))
        elif length == UNDEFINED_LENGTH:
            self._enter(Place(sequence.encoding, end, is_item=True))
        else:
            return self._step_over(value, max(0, end - base - value))
        return value

    # --- Steps ---

    def _head(self, buffer: bytes, position: int, encoding: Encoding, offset: int) -> tuple[int, int] | None:
        """Position and length of a value, however it is written. None: reading has stopped or waits for more bytes."""
        value = position + 8
        native, *vr, length = encoding.unpack(buffer, position)
        if not encoding.explicit or vr[0] in encoding.short:
            return value, length
        needed = 12 if vr[0] in encoding.long else 16
        if position + needed > len(buffer):
            self._wait(position, needed)
            return None
        if needed == 12:
            return value + 4, encoding.unpack_length(buffer, value)[0]
        unusual = unusual_head(buffer, position, encoding)
        if unusual is None:
            self._stop(f"{tag_text(encoding.native(native))} at offset {offset} has no VR and no sensible length")
            return None
        return position + unusual[0], unusual[1]

    def _open(
        self, buffer: bytes, position: int, value: int, encoding: Encoding, end: int, *, is_request: bool = False
    ) -> int:
        """Enter a sequence, or the fragments of encapsulated data, which look the same."""
        if len(self._stack) >= self._max_open:
            self._stop("sequences are nested too deep")
            return position
        if encoding.explicit and buffer[position + 4 : position + 6] == b"UN":
            encoding = IMPLICIT_LITTLE  # PS3.5 6.2.2
        self._enter(Place(encoding, end, is_request=is_request))
        return value

    def _enter(self, place: Place) -> None:
        self._stack.append(place)
        self._limit -= _ENTERING

    def _step_over(self, value: int, length: int) -> int:
        if length > _FREE:
            self._limit += length
        return value + length

    def _wait(self, position: int, need: int) -> int:
        self._need = need
        return position

    def _identified(self) -> bool:
        return self._elements.keys() >= _IDENTITY

    def _finished(self, position: int) -> int:
        self._stop("", complete=True)
        return position

    def _note(self, problem: str) -> None:
        self._problem = self._problem or problem

    def _stop(self, problem: str, *, complete: bool = False) -> None:
        self._done = True
        self._complete = complete
        self._problem = problem or self._problem

    def _at_end(self) -> str:
        """What is wrong with a data set that ends here."""
        if self._offset >= self._limit:
            return f"{_TOO_LONG} at offset {self._offset}"
        if self._skip:
            return f"the data set ends {self._skip} bytes before the end of its last value"
        if any(self._held):  # zeros are padding
            return f"the data set ends inside the element at offset {self._offset}"
        if any(opened.end == NO_END for opened in self._stack[1:]):
            return f"the data set ends inside a sequence, at offset {self._offset}"
        return ""
