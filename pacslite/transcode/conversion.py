"""One object from one file into another, with its pixels decoded or compressed. Only worker processes import this."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import BinaryIO, Final

from typing_extensions import Buffer

from pacslite.dicom.element import ITEM, SEQUENCE_END
from pacslite.dicom.reencode import Reencoder
from pacslite.dicom.rewriting import NewPixels, Rewrite
from pacslite.dicom.tags import BITS_ALLOCATED
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.errors import CannotConvert
from pacslite.transcode.codecs import Frame, decoded_frames, encoded, native_frames
from pacslite.transcode.survey import (
    OFFSET_TABLES,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLES_PER_PIXEL,
    Image,
    Survey,
    survey,
)

_CHUNK_BYTES: Final = 1 << 18
_MAX_OFFSET: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be converted: `size` bytes at `offset` of the file `descriptor`, from one transfer syntax to another.

    The result may have `max_bytes`, and so may its pixels when they are not compressed. `folder` is for what does not
    fit into memory on the way.
    """

    descriptor: int
    offset: int
    size: int
    source: str
    target: str
    max_bytes: int
    folder: str | None = None


def convert(job: Job, output: BinaryIO) -> None:
    """Write the converted data set to `output`, which must be empty; :class:`CannotConvert` says why it cannot be."""
    source, target = transfer_syntax(job.source), transfer_syntax(job.target)
    found = survey(job.descriptor, job.offset, job.size, source)
    if source.deflated or any(image.big_endian for image in found.images.values()):
        # Codecs read frames from the file, so they have to be there, and little endian.
        with tempfile.TemporaryFile(dir=job.folder) as plain:
            straight = transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN)
            size = _write(job, plain, Reencoder(source, straight, pixel_representation=found.pixel_representation))
            plain.flush()
            convert(replace(job, descriptor=plain.fileno(), offset=0, size=size, source=straight.uid), output)
        return
    rewrites = dict(_rewrites(job, found, output, compresses=target.encapsulated))
    representation = found.pixel_representation
    _write(job, output, Reencoder(source, target, pixel_representation=representation, rewrites=rewrites))


def _rewrites(job: Job, found: Survey, output: BinaryIO, *, compresses: bool) -> Iterator[tuple[int, Rewrite]]:
    if compresses and found.has_float_pixels:
        raise CannotConvert("its pixels are floating point numbers, which no compression here keeps")
    for start, image in found.images.items():
        is_compressed, becomes_compressed = image.length is None, compresses and start == 0
        if not (is_compressed or becomes_compressed):
            continue
        size = image.sample_bytes * image.frames
        if size > job.max_bytes:
            raise CannotConvert(f"its pixels are {size} bytes, and {job.max_bytes} are allowed")
        file = io.BufferedReader(_Window(job.descriptor, job.offset + image.offset, job.offset + job.size))
        frames = decoded_frames(image, file, job.source) if is_compressed else native_frames(image, file)
        first = next(frames)
        alike = _alike(chain((first,), frames))
        if becomes_compressed:
            pixels = NewPixels(vr="OB", length=None, pieces=_Fragments(image, alike, job.target, output))
        elif size >= _MAX_OFFSET:
            raise CannotConvert(f"its pixels are {size} bytes, more than a value can have")
        else:
            vr = "OW" if image.required(BITS_ALLOCATED, "Bits Allocated") > 8 else "OB"
            pixels = NewPixels(vr=vr, length=size, pieces=_Plain(alike))
        yield start, Rewrite(elements=_elements(image, first), pixels=pixels)


def _elements(image: Image, frame: Frame) -> Mapping[int, tuple[str, bytes] | None]:
    """The attributes that describe the pixels otherwise than before."""
    elements: dict[int, tuple[str, bytes] | None] = dict.fromkeys(OFFSET_TABLES)
    if frame.photometric_interpretation != image.photometric_interpretation:
        elements[PHOTOMETRIC_INTERPRETATION] = ("CS", frame.photometric_interpretation.encode("ascii"))
    if (image.number(SAMPLES_PER_PIXEL) or 1) > 1:
        elements[PLANAR_CONFIGURATION] = ("US", b"\0\0")
    return elements


def _alike(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The frames; one that is to be interpreted otherwise than the first is an error."""
    first = None
    for frame in frames:
        first = first or frame.photometric_interpretation
        if frame.photometric_interpretation != first:
            raise CannotConvert(f"some of its frames are {first} and some {frame.photometric_interpretation}")
        yield frame


class _Plain:
    """Frames as native Pixel Data."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames

    def __call__(self) -> Iterator[bytes]:
        return (frame.data for frame in self._frames)


class _Fragments:
    """Frames as encapsulated Pixel Data, a fragment each (PS3.5 A.4).

    The Basic Offset Table is first written empty of offsets, and once more when they are known: everything in front of
    it is in the output when it is asked for.
    """

    def __init__(self, image: Image, frames: Iterator[Frame], syntax: str, output: BinaryIO) -> None:
        self._image = image
        self._frames = frames
        self._syntax = syntax
        self._output = output

    def __call__(self) -> Iterator[bytes]:
        image, output = self._image, self._output
        # Where offsets might not fit into 32 bits there is no table; it is optional.
        has_table = (image.sample_bytes + 8) * image.frames < _MAX_OFFSET // 2
        table_at, offsets, offset = output.tell() + 8, list[int](), 0
        yield _item(bytes(4 * image.frames if has_table else 0))
        for frame in self._frames:
            item = _item(encoded(frame, image, self._syntax))
            offsets.append(offset)
            offset += len(item)
            yield item
        yield struct.pack("<HHI", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
        if has_table:
            end = output.seek(0, os.SEEK_CUR)
            output.seek(table_at)
            output.write(struct.pack(f"<{len(offsets)}I", *offsets))
            output.seek(end)


def _item(value: bytes) -> bytes:
    padded = value + b"\0" * (len(value) % 2)
    return struct.pack("<HHI", ITEM >> 16, ITEM & 0xFFFF, len(padded)) + padded


def _write(job: Job, output: BinaryIO, reencoder: Reencoder) -> int:
    """Everything through the re-encoder into the output, and how much that was."""
    written = 0
    for piece in _pieces(job, reencoder):
        output.write(piece)
        written += len(piece)
        if written > job.max_bytes:
            raise CannotConvert(f"it is longer than the {job.max_bytes} bytes that are allowed")
    return written


def _pieces(job: Job, reencoder: Reencoder) -> Iterator[bytes]:
    position, end = job.offset, job.offset + job.size
    while position < end:
        if skippable := min(reencoder.skippable, end - position):
            reencoder.skip(skippable)
            position += skippable
            continue
        chunk = os.pread(job.descriptor, min(_CHUNK_BYTES, end - position), position)
        if not chunk:
            raise CannotConvert(f"its file is {end - position} bytes short")
        yield from reencoder.feed(chunk)
        position += len(chunk)
    yield from reencoder.finish()


class _Window(io.RawIOBase):
    """A part of an open file, read without moving the position that others read it at."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor = descriptor
        self._start = start
        self._end = end
        self._position = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = max(self._start, base + offset)
        return self._position - self._start

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._descriptor, max(0, min(len(view), self._end - self._position)), self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
