"""Survey: what must be known of a stored data set before it can be converted, from one pass over its file.

The pass steps over long values without reading them, so it costs about as much as reading the header does. It finds
every image (icons too, PS3.3 C.7.6.1.1.6), and it finds what is wrong with the data set before anything was sent of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pacslite.dicom.element import UNDEFINED_LENGTH
from pacslite.dicom.heads import Head, MalformedDataSet
from pacslite.dicom.inflate import Inflater
from pacslite.dicom.representation import PIXEL_REPRESENTATION
from pacslite.dicom.tags import BITS_ALLOCATED, COLUMNS, NUMBER_OF_FRAMES, PIXEL_DATA, ROWS
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.dicom.walk import Walker
from pacslite.errors import CannotConvert

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
PLANAR_CONFIGURATION: Final = 0x00280006
BITS_STORED: Final = 0x00280101
HIGH_BIT: Final = 0x00280102
EXTENDED_OFFSET_TABLE: Final = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS: Final = 0x7FE00002
ENCAPSULATED_LENGTH: Final = 0x7FE00003
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009

OFFSET_TABLES: Final = (EXTENDED_OFFSET_TABLE, EXTENDED_OFFSET_TABLE_LENGTHS, ENCAPSULATED_LENGTH)
"""What says where frames are in encapsulated Pixel Data: gone, or other, when they are encoded anew."""

_NUMBERS: Final = frozenset(
    {
        SAMPLES_PER_PIXEL,
        PLANAR_CONFIGURATION,
        ROWS,
        COLUMNS,
        BITS_ALLOCATED,
        BITS_STORED,
        HIGH_BIT,
        PIXEL_REPRESENTATION,
    }
)
_WANTED: Final = _NUMBERS | {PHOTOMETRIC_INTERPRETATION, NUMBER_OF_FRAMES, *OFFSET_TABLES}
_MAX_TABLE_BYTES: Final = 1 << 24
_MAX_IMAGES: Final = 1000  # icons; each takes memory here
_CHUNK_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Pixel Data, and the attributes beside it, as they are in the data set.

    Its value begins at `offset` of the (inflated) data set and has `length` bytes, or fragments if that is None.
    """

    attributes: Mapping[int, bytes]
    big_endian: bool
    offset: int
    length: int | None

    def number(self, tag: int) -> int | None:
        raw = self.attributes.get(tag, b"")[:2]
        return int.from_bytes(raw, "big" if self.big_endian else "little") if len(raw) == 2 else None

    def required(self, tag: int, name: str) -> int:
        number = self.number(tag)
        if number is None:
            raise CannotConvert(f"its Pixel Data has no {name} beside it")
        return number

    @property
    def photometric_interpretation(self) -> str:
        return self.attributes.get(PHOTOMETRIC_INTERPRETATION, b"").decode("latin-1").strip(" \0")

    @property
    def frames(self) -> int:
        """Number of Frames; one where there is none, or none that makes sense."""
        text = self.attributes.get(NUMBER_OF_FRAMES, b"").decode("latin-1").strip(" \0")
        return max(1, int(text)) if text.isascii() and text.isdigit() else 1

    @property
    def sample_bytes(self) -> int:
        """Bytes of one frame, decoded, without padding."""
        bits = self.required(BITS_ALLOCATED, "Bits Allocated")
        samples = self.number(SAMPLES_PER_PIXEL) or 1
        if bits % 8:
            raise CannotConvert(f"its samples have {bits} bits allocated")
        size = self.required(ROWS, "Rows") * self.required(COLUMNS, "Columns") * samples * bits // 8
        if not size:
            raise CannotConvert("its image has no pixels")
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found: images by the offset where the data set (0) or the item with them begins."""

    images: Mapping[int, Image]
    pixel_representation: int | None
    has_float_pixels: bool

    @property
    def compressed(self) -> Mapping[int, Image]:
        return {start: image for start, image in self.images.items() if image.length is None}

    def needs_codec(self, target: TransferSyntax) -> bool:
        """Whether pixels have to be decoded or compressed: all else is a matter of re-encoding."""
        return bool(self.compressed) or (target.encapsulated and (0 in self.images or self.has_float_pixels))


def survey(descriptor: int, offset: int, size: int, syntax: TransferSyntax) -> Survey:
    """Look through the data set of `size` bytes at `offset` of a file."""
    visitor = _Surveyor()
    walker = Walker(syntax, visitor)
    inflater = Inflater(1 << 62) if syntax.deflated else None
    position, end = offset, offset + size
    while position < end:
        if inflater is None and walker.left > _CHUNK_BYTES and not visitor.is_reading:
            step = min(walker.left, end - position)
            walker.skip(step)
        else:
            chunk = os.pread(descriptor, min(_CHUNK_BYTES, end - position), position)
            if not chunk:
                raise CannotConvert(f"its file is {end - position} bytes short")
            step = len(chunk)
            for piece in inflater.feed(chunk) if inflater else (chunk,):
                walker.feed(piece)
        position += step
    for piece in inflater.finish() if inflater else ():
        walker.feed(piece)
    if inflater is not None and inflater.problem:
        raise MalformedDataSet(inflater.problem)
    walker.finish()
    return visitor.found()


class _Place:
    """The data set or an item, with its Pixel Data if it has some."""

    __slots__ = ("attributes", "big_endian", "pixels", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.attributes: dict[int, bytes] = {}
        self.big_endian = False
        self.pixels: tuple[int, int | None] | None = None  # offset and length


class _Surveyor:
    """The visitor that takes the notes."""

    def __init__(self) -> None:
        self._top = _Place(0)
        self._places = [self._top]
        self._images: dict[int, Image] = {}
        self._has_float_pixels = False
        self._table: bytearray | None = None  # an offset table that is being read

    @property
    def is_reading(self) -> bool:
        """Whether the long value at hand is wanted."""
        return self._table is not None

    def found(self) -> Survey:
        self.end_item()
        raw = self._top.attributes.get(PIXEL_REPRESENTATION, b"")[:2]
        return Survey(
            images=self._images,
            pixel_representation=int.from_bytes(raw, "big" if self._top.big_endian else "little") if raw else None,
            has_float_pixels=self._has_float_pixels,
        )

    def enters(self, head: Head) -> bool:
        return True

    def value(self, head: Head, value: bytes) -> None:
        place = self._places[-1]
        if head.tag in _WANTED:
            place.attributes[head.tag] = value
            place.big_endian = head.encoding.big_endian
        elif head.tag >= FLOAT_PIXEL_DATA:
            self._pixels(head, place)

    def begin_value(self, head: Head) -> None:
        if head.tag in OFFSET_TABLES and head.length <= _MAX_TABLE_BYTES:
            self._table = bytearray()
            self._places[-1].attributes[head.tag] = b""
        self._pixels(head, self._places[-1])

    def piece(self, piece: bytes) -> None:
        if self._table is not None:
            self._table += piece

    def end_value(self) -> None:
        if self._table is not None:
            attributes = self._places[-1].attributes
            attributes[next(reversed(attributes))] = bytes(self._table)
            self._table = None

    def begin_sequence(self, head: Head) -> None:
        pass

    def begin_item(self, offset: int) -> None:
        self._places.append(_Place(offset))

    def end_item(self) -> None:
        place = self._places.pop()
        if place.pixels is not None:
            if len(self._images) >= _MAX_IMAGES:
                raise CannotConvert(f"it has more than {_MAX_IMAGES} images in sequences")
            offset, length = place.pixels
            self._images[place.start] = Image(
                attributes=place.attributes, big_endian=place.big_endian, offset=offset, length=length
            )

    def end_sequence(self) -> None:
        pass

    def begin_fragments(self, head: Head) -> None:
        self._pixels(head._replace(length=UNDEFINED_LENGTH), self._places[-1])

    def begin_fragment(self, length: int) -> None:
        pass

    def end_fragments(self) -> None:
        pass

    def _pixels(self, head: Head, place: _Place) -> None:
        if head.tag == PIXEL_DATA:
            place.pixels = (head.offset + head.size, None if head.length == UNDEFINED_LENGTH else head.length)
        elif head.tag in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA):
            self._has_float_pixels = True
