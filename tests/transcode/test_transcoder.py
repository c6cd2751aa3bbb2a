"""Converting stored objects: the pixels are the same, whatever they were compressed with (QR-06; PS3.5 8.2, A.4)."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames, parse_basic_offsets
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

from kit.encode import EXPLICIT_LITTLE, SEQUENCE_END, Encoding
from kit.shipped import DicomObject, part10, shipped_objects
from kit.wait import eventually
from pacslite.dicom.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE_LOSSLESS,
    TRANSFER_SYNTAXES,
    transfer_syntax,
)
from pacslite.errors import CannotConvert
from pacslite.transcode.syntaxes import DECODABLE, DEFLATED_IMAGE_FRAME, NATIVE, PRODUCIBLE
from pacslite.transcode.transcoder import PIECE_BYTES, Transcoder

EXPLICIT, IMPLICIT = EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
BIG, DEFLATED = EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
MPEG2 = "1.2.840.10008.1.2.4.100"
TWELVE_BITS = ("JPGExtended.dcm", "JPEG-lossy.dcm")
"""Lossy JPEG of 12 bits: DCMTK decodes it as we do, pydicom without GPL code does not."""
UNDECODABLE = "JPEG2000-embedded-sequence-delimiter.dcm"
"""Its codestream is cut; no decoder makes anything of it."""

LITTLE = EXPLICIT_LITTLE
PIXELS = 0x7FE00010

COMPRESSED = [shipped for shipped in shipped_objects() if transfer_syntax(shipped.transfer_syntax).encapsulated]


@pytest.fixture
async def transcoder(tmp_path: Path) -> AsyncGenerator[Transcoder, None]:
    (tmp_path / "results").mkdir()
    async with Transcoder(processes=2, max_bytes=1 << 28, folder=tmp_path / "results") as transcoder:
        yield transcoder
    assert transcoder.process_ids == ()
    assert list((tmp_path / "results").iterdir()) == []


@dataclass(frozen=True, slots=True)
class Stored:
    """A data set in a file, behind something else, as a stored object is."""

    path: Path
    offset: int
    size: int
    syntax: str


def stored(folder: Path, data: bytes, syntax: str, *, name: str = "object") -> Stored:
    path = folder / f"{name}.dcm"
    path.write_bytes(b"\xff" * 333 + data + b"\xff" * 11)
    return Stored(path, 333, len(data), syntax)


async def converted(transcoder: Transcoder, source: Stored, target: str) -> bytes:
    stream = transcoder.convert(
        path=source.path, data_set_offset=source.offset, size=source.size, source=source.syntax, target=target
    )
    async with aclosing(stream):
        pieces = [piece async for piece in stream]
    assert all(0 < len(piece) <= 2 * PIECE_BYTES and len(piece) % 2 == 0 for piece in pieces)
    return b"".join(pieces)


async def refusal(transcoder: Transcoder, source: Stored, target: str) -> str:
    """Why it cannot be converted, which is said before the first piece."""
    with pytest.raises(CannotConvert) as caught:
        await anext(
            transcoder.convert(
                path=source.path, data_set_offset=source.offset, size=source.size, source=source.syntax, target=target
            )
        )
    return str(caught.value)


def read(data: bytes, syntax: str) -> Dataset:
    made = DicomObject(name="", sop_class="1.2", sop_instance="1.3", transfer_syntax=syntax, data_set=data)
    return dcmread(io.BytesIO(part10(made)), force=True)


# --- Shipped files ---------------------------------------------------------------------------------------------------

CHANGED = {0x00280004, 0x00280006, PIXELS}
"""Photometric Interpretation, Planar Configuration and the pixels: nothing else may differ."""


def read_whole(shipped: DicomObject) -> Dataset:
    """The shipped object, completed if it is cut."""
    end = LITTLE.mark(SEQUENCE_END) if shipped.name.endswith("_too_short.dcm") else b""
    return read(shipped.data_set + end, shipped.transfer_syntax)


@lru_cache(maxsize=1)
def pixels_of(shipped: DicomObject) -> npt.NDArray[Any]:
    """Kept for the next one who asks for the same: to decode them takes longer than everything else."""
    pixels: npt.NDArray[Any] = read_whole(shipped).pixel_array
    return pixels


def problem_with(shipped: DicomObject, data: bytes, target: str) -> str | None:
    """What is wrong with this conversion of a shipped object."""
    before, after = read_whole(shipped), read(data, target)
    if "PixelData" in before and not shipped.name.endswith(TWELVE_BITS):
        expected, got = pixels_of(shipped), after.pixel_array
        if expected.dtype.newbyteorder("<") != got.dtype or not np.array_equal(expected, got):
            return "other pixels"
    for tag in {*before.keys(), *after.keys()} - CHANGED:
        if tag.element and (tag not in before or tag not in after):
            return f"{tag} is only in one of them"
        if tag.element and target == EXPLICIT and before[tag] != after[tag]:
            return f"another {tag}"
    if after.get("PhotometricInterpretation") in ("YBR_FULL_422", "YBR_ICT", "YBR_RCT"):
        return "an interpretation of compressed pixels"
    if after.get("SamplesPerPixel", 1) > 1 and after.PlanarConfiguration != 0:
        return "planes"
    return None


async def test_every_compressed_file_keeps_its_pixels(transcoder: Transcoder, tmp_path: Path) -> None:
    """All files that pydicom, pydicom-data and pynetdicom ship, and all elements in them."""
    problems: dict[str, str] = {}

    async def look(number: int, shipped: DicomObject) -> None:
        source = stored(tmp_path, shipped.data_set, shipped.transfer_syntax, name=str(number))
        try:
            results = {target: await converted(transcoder, source, target) for target in (EXPLICIT, IMPLICIT)}
        except CannotConvert as error:
            problems[shipped.name.rpartition("/")[2]] = str(error)
            return
        for target, data in results.items():
            if problem := problem_with(shipped, data, target):
                problems[shipped.name.rpartition("/")[2]] = problem

    assert len(COMPRESSED) >= 58
    await asyncio.gather(*(look(number, shipped) for number, shipped in enumerate(COMPRESSED)))
    assert problems.pop(UNDECODABLE).startswith("it cannot be decoded")
    assert problems == {}


@pytest.mark.parametrize("name", TWELVE_BITS)
async def test_lossy_jpeg_of_12_bits_is_decoded_as_dcmtk_does(
    transcoder: Transcoder, tmp_path: Path, name: str
) -> None:
    (shipped,) = (shipped for shipped in COMPRESSED if shipped.name.endswith(name))
    data = await converted(transcoder, stored(tmp_path, shipped.data_set, shipped.transfer_syntax), EXPLICIT)
    assert shipped.path is not None
    process = await asyncio.create_subprocess_exec("dcmdjpeg", shipped.path, tmp_path / "dcmtk.dcm")
    assert await process.wait() == 0
    assert read(data, EXPLICIT).PixelData == dcmread(tmp_path / "dcmtk.dcm").PixelData


ROUND_TRIPS = [
    "CT_small.dcm", "MR_small.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm", "OBXXXX1A.dcm", "emri_small_big_endian.dcm",
    "SC_rgb.dcm", "SC_rgb_16bit_2frame.dcm", "MR_small_RLE.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "693_UNCI.dcm",
    "emri_small_jpeg_2k_lossless.dcm", "SC_ybr_full_uncompressed.dcm", "JPEG-LL.dcm", "color-pl.dcm", "MR2_UNCI.dcm",
]  # fmt: skip


@pytest.mark.parametrize("compressed", [JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, RLE_LOSSLESS])
async def test_compressing_loses_nothing(transcoder: Transcoder, tmp_path: Path, compressed: str) -> None:
    chosen = {name: s for s in shipped_objects() for name in ROUND_TRIPS if s.name.rpartition("/")[2] == name}
    assert chosen.keys() == set(ROUND_TRIPS)
    for name, shipped in chosen.items():
        if shipped.transfer_syntax == compressed:
            continue
        source = stored(tmp_path, shipped.data_set, shipped.transfer_syntax, name="source")
        there = await converted(transcoder, source, compressed)
        assert problem_with(shipped, there, compressed) is None, name
        frames = read(there, compressed).get("NumberOfFrames", 1)
        offsets = parse_basic_offsets(read(there, compressed).PixelData)
        assert len(offsets) == frames, name
        assert len(list(generate_frames(read(there, compressed).PixelData, number_of_frames=frames))) == frames
        back = await converted(transcoder, stored(tmp_path, there, compressed, name="there"), EXPLICIT)
        native = await converted(transcoder, source, EXPLICIT)
        expected, got = read(native, EXPLICIT), read(back, EXPLICIT)
        assert np.array_equal(expected.pixel_array, got.pixel_array), name
        if expected.get("PlanarConfiguration", 0) == got.get("PlanarConfiguration", 0):
            assert expected.PixelData == got.PixelData, name


async def test_uncompressed_files_do_not_need_a_process(transcoder: Transcoder, tmp_path: Path) -> None:
    for shipped in shipped_objects():
        if shipped.transfer_syntax not in NATIVE or "truncated" in shipped.name or len(shipped.data_set) > 1 << 20:
            continue
        source = stored(tmp_path, shipped.data_set, shipped.transfer_syntax)
        explicit = await converted(transcoder, source, EXPLICIT)
        before = read(shipped.data_set, shipped.transfer_syntax)
        if "PixelData" in before and before.BitsAllocated <= 16:
            assert np.array_equal(before.pixel_array, read(explicit, EXPLICIT).pixel_array), shipped.name
        for target in (IMPLICIT, BIG, DEFLATED):
            there = await converted(transcoder, source, target)
            assert "PixelData" not in before or "PixelData" in read(there, target)
    assert transcoder.process_ids == ()


# --- Made images -----------------------------------------------------------------------------------------------------


def image(
    *,
    rows: int = 16,
    columns: int = 16,
    bits: int = 16,
    stored_bits: int | None = None,
    samples: int = 1,
    signed: bool = False,
    frames: int = 1,
    interpretation: str = "MONOCHROME2",
    pixels: bytes,
    planar: int = 0,
    before: bytes = b"",
    after: bytes = b"",
    encoding: Encoding = LITTLE,
) -> bytes:
    """A data set with an image; `pixels` is the whole element, `before` and `after` are elements around it."""
    us = encoding.us
    attributes: list[tuple[int, str, bytes | str]] = [
        (0x00280002, "US", us(samples)),
        (0x00280004, "CS", interpretation),
        *([(0x00280006, "US", us(planar))] if samples > 1 else []),
        (0x00280008, "IS", str(frames)),
        (0x00280010, "US", us(rows)),
        (0x00280011, "US", us(columns)),
        (0x00280100, "US", us(bits)),
        (0x00280101, "US", us(stored_bits or bits)),
        (0x00280102, "US", us((stored_bits or bits) - 1)),
        (0x00280103, "US", us(int(signed))),
    ]
    head = encoding.element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7")
    return head + before + b"".join(encoding.element(*attribute) for attribute in attributes) + pixels + after


def ramp(*, rows: int = 16, columns: int = 16, modulus: int = 4096) -> npt.NDArray[np.uint16]:
    y, x = np.mgrid[0:rows, 0:columns]
    return np.asarray((x * 37 + y * 91 + x * y * 5) % modulus, "<u2")


def rle(frame: bytes, *, rows: int = 16, columns: int = 16) -> bytes:
    """A frame of 16-bit words, compressed by pydicom itself."""
    data = get_encoder(UID(RLE_LOSSLESS)).encode(
        frame,
        encoding_plugin="pydicom",
        rows=rows,
        columns=columns,
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=0,
        number_of_frames=1,
        photometric_interpretation="MONOCHROME2",
    )
    return data + b"\0" * (len(data) % 2)


HTJ2K_12_BITS = base64.b85decode(
    "|4;u>04YEK0000G0000G00000000000000G0000G0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmwh="
    "~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000r~m=~lfVEboB9O@bN~Rr024p}6F>kGfJFQPhjaiS_yY%Y073!>bO68r6TkoyzyK2fP~rU"
    "mf>Z!L^X34fQ~&_X07Fy&zyK9600mqC0XU`rTEL>5VpRZ`<(bI(z(IlRwg3S5pa75M0Kfn(7yt#O005K-2Pa@y0AlAtT&0xsaDsXOv`8+T0E0#7{"
    "fuCH_8|f6x&Zk8h*SXo*#"
)
"""The ramp, by OpenJPH through imagecodecs."""


async def test_high_throughput_jpeg_2000(transcoder: Transcoder, tmp_path: Path) -> None:
    data = image(stored_bits=12, pixels=LITTLE.encapsulated(HTJ2K_12_BITS))
    got = await converted(transcoder, stored(tmp_path, data, HTJ2K_LOSSLESS), EXPLICIT)
    assert got == image(stored_bits=12, pixels=LITTLE.element(PIXELS, "OW", ramp().tobytes()))


@pytest.mark.parametrize("syntax", [ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME])
async def test_frames_that_are_encapsulated_but_not_coded(transcoder: Transcoder, tmp_path: Path, syntax: str) -> None:
    frames = [ramp(rows=5, columns=5, modulus=m).astype("u1").tobytes() for m in (250, 130)]
    coded = frames
    if syntax == DEFLATED_IMAGE_FRAME:
        packers = [zlib.compressobj(wbits=-zlib.MAX_WBITS) for _ in frames]
        coded = [packer.compress(frame) + packer.flush() for packer, frame in zip(packers, frames, strict=True)]
    fragments = [frame + b"\0" * (len(frame) % 2) for frame in coded]
    data = image(rows=5, columns=5, bits=8, frames=2, pixels=LITTLE.encapsulated(*fragments))
    got = await converted(transcoder, stored(tmp_path, data, syntax), EXPLICIT)
    assert got == image(rows=5, columns=5, bits=8, frames=2, pixels=LITTLE.element(PIXELS, "OB", b"".join(frames)))


async def test_only_what_describes_the_pixels_is_changed(transcoder: Transcoder, tmp_path: Path) -> None:
    """The same bytes before and behind: sequences of defined length, private elements, Lossy Image Compression."""
    before = LITTLE.sequence(0x00081115, LITTLE.element(0x00081155, "UI", "1.2"), undefined=False)
    before += LITTLE.sequence(0x00081140, LITTLE.element(0x00081155, "UI", "1.3"), undefined=True)
    before += LITTLE.element(0x00090010, "LO", "SOMEBODY") + LITTLE.element(0x00091001, "UN", b"\1\2\3\4")
    after = LITTLE.element(0xFFFCFFFC, "OB", bytes(1000))
    tables = LITTLE.element(0x7FE00001, "OV", struct.pack("<2Q", 0, 8 + len(rle(ramp().tobytes()))))
    tables += LITTLE.element(0x7FE00002, "OV", struct.pack("<2Q", *[len(rle(ramp().tobytes()))] * 2))
    tables += LITTLE.element(0x7FE00003, "UV", struct.pack("<Q", 999))
    frame = ramp().tobytes()
    data = image(frames=2, before=before, after=after, pixels=tables + LITTLE.encapsulated(*[rle(frame)] * 2))
    native = LITTLE.element(PIXELS, "OW", frame * 2)
    source = stored(tmp_path, data, RLE_LOSSLESS)
    assert await converted(transcoder, source, EXPLICIT) == image(frames=2, before=before, after=after, pixels=native)


async def test_bits_that_are_not_stored_are_kept(transcoder: Transcoder, tmp_path: Path) -> None:
    """Overlays may be in them (retired, but PS3.5 8.1.2 still tells where)."""
    pixels = (ramp(rows=40, columns=40) | 0x5000).astype("<u2").tobytes()
    data = image(rows=40, columns=40, stored_bits=12, pixels=LITTLE.encapsulated(rle(pixels, rows=40, columns=40)))
    expected = image(rows=40, columns=40, stored_bits=12, pixels=LITTLE.element(PIXELS, "OW", pixels))
    native = await converted(transcoder, stored(tmp_path, data, RLE_LOSSLESS), EXPLICIT)
    assert native == expected
    source = stored(tmp_path, native, EXPLICIT)
    for target in (JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS):
        assert "12 of 16 bits" in await refusal(transcoder, source, target)
    again = await converted(transcoder, source, RLE_LOSSLESS)
    assert await converted(transcoder, stored(tmp_path, again, RLE_LOSSLESS), EXPLICIT) == expected


async def test_planes_are_interleaved(transcoder: Transcoder, tmp_path: Path) -> None:
    planes = np.stack([ramp(rows=40, columns=40, modulus=m).astype("u1") for m in (251, 127, 63)])
    native = LITTLE.element(PIXELS, "OB", planes.tobytes())
    data = image(rows=40, columns=40, bits=8, samples=3, interpretation="RGB", planar=1, pixels=native)
    interleaved = LITTLE.element(PIXELS, "OB", planes.transpose(1, 2, 0).tobytes())
    expected = image(rows=40, columns=40, bits=8, samples=3, interpretation="RGB", planar=0, pixels=interleaved)
    for target in (RLE_LOSSLESS, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS):
        there = await converted(transcoder, stored(tmp_path, data, EXPLICIT), target)
        assert await converted(transcoder, stored(tmp_path, there, target), EXPLICIT) == expected
    # Re-encoding touches no pixels, so they stay in planes.
    assert await converted(transcoder, stored(tmp_path, data, EXPLICIT), EXPLICIT) == data


async def test_compressed_icons_are_decoded_too(transcoder: Transcoder, tmp_path: Path) -> None:
    """PS3.5 A.4: in a native transfer syntax no Pixel Data may be compressed, and that of items neither."""
    frame, small = ramp().tobytes(), ramp(modulus=77).tobytes()
    for undefined in (True, False):

        def whole(icon: bytes, pixels: bytes, *, undefined: bool) -> bytes:
            item = image(pixels=icon)
            return image(before=LITTLE.sequence(0x00880200, item, undefined=undefined), pixels=pixels)

        data = whole(LITTLE.encapsulated(rle(small)), LITTLE.encapsulated(rle(frame)), undefined=undefined)
        native = LITTLE.element(PIXELS, "OW", small)
        source = stored(tmp_path, data, RLE_LOSSLESS)
        expected = whole(native, LITTLE.element(PIXELS, "OW", frame), undefined=True)
        assert await converted(transcoder, source, EXPLICIT) == expected
        there = await converted(transcoder, source, JPEG_LS_LOSSLESS)
        assert await converted(transcoder, stored(tmp_path, there, JPEG_LS_LOSSLESS), EXPLICIT) == expected


async def test_objects_without_pixels_are_only_relabelled(transcoder: Transcoder, tmp_path: Path) -> None:
    data = LITTLE.element(0x00080016, "UI", "1.2") + LITTLE.element(0x00420011, "OB", b"%PDF")
    for target in (EXPLICIT, RLE_LOSSLESS):
        assert await converted(transcoder, stored(tmp_path, data, JPEG_BASELINE), target) == data
    assert transcoder.process_ids == ()


async def test_pixels_that_are_not_compressed_although_their_syntax_is(transcoder: Transcoder, tmp_path: Path) -> None:
    data = image(pixels=LITTLE.element(PIXELS, "OW", ramp().tobytes()))
    assert await converted(transcoder, stored(tmp_path, data, JPEG_BASELINE), EXPLICIT) == data


# --- What cannot be converted ----------------------------------------------------------------------------------------

FRAME = ramp().tobytes()
NATIVE_PIXELS = LITTLE.element(PIXELS, "OW", FRAME)
RLE_PIXELS = LITTLE.encapsulated(rle(FRAME))


@pytest.mark.parametrize(
    ("data", "source", "target", "reason"),
    [
        (image(pixels=RLE_PIXELS), MPEG2, EXPLICIT, "no decoder for MPEG2"),
        (image(pixels=NATIVE_PIXELS), EXPLICIT, JPEG_BASELINE, "nothing is converted to JPEG Baseline"),
        (image(pixels=NATIVE_PIXELS), EXPLICIT, JPEG_LS_NEAR_LOSSLESS, "nothing is converted to JPEG-LS Lossy"),
        (image(pixels=LITTLE.encapsulated(b"no codestream")), JPEG_BASELINE, EXPLICIT, "cannot be decoded"),
        (image(pixels=LITTLE.encapsulated(rle(FRAME)[:200])), RLE_LOSSLESS, EXPLICIT, "cannot be decoded"),
        (image(frames=2, pixels=RLE_PIXELS), RLE_LOSSLESS, EXPLICIT, "frames"),
        (image(pixels=LITTLE.encapsulated()), RLE_LOSSLESS, EXPLICIT, "cannot be decoded"),
        (image(rows=17, pixels=RLE_PIXELS), RLE_LOSSLESS, EXPLICIT, "cannot be decoded"),
        (image(bits=12, pixels=RLE_PIXELS), RLE_LOSSLESS, EXPLICIT, "12 bits allocated"),
        (RLE_PIXELS, RLE_LOSSLESS, EXPLICIT, "no Bits Allocated"),
        (image(rows=0, frames=10**12, pixels=RLE_PIXELS), RLE_LOSSLESS, EXPLICIT, "no pixels"),
        (
            LITTLE.sequence(0x00880200, *[LITTLE.element(PIXELS, "OB", b"")] * 1001),
            EXPLICIT,
            IMPLICIT,
            "more than 1000 images",
        ),
        (image(rows=17, pixels=NATIVE_PIXELS), EXPLICIT, RLE_LOSSLESS, "512 bytes, not 1 frames of 544"),
        (image(bits=1, pixels=NATIVE_PIXELS), EXPLICIT, RLE_LOSSLESS, "1 bits allocated"),
        (
            image(bits=8, samples=3, interpretation="YBR_FULL_422", pixels=NATIVE_PIXELS),
            EXPLICIT,
            RLE_LOSSLESS,
            "YBR_FULL_422",
        ),
        (
            image(bits=32, pixels=LITTLE.element(0x7FE00008, "OF", bytes(1024))),
            EXPLICIT,
            JPEG_2000_LOSSLESS,
            "floating point",
        ),
        (image(pixels=NATIVE_PIXELS)[:-1], EXPLICIT, IMPLICIT, "damaged: the data set ends"),
        (image(pixels=NATIVE_PIXELS)[:-1], EXPLICIT, RLE_LOSSLESS, "damaged: the data set ends"),
        (b"This is not a data set, and it is long enough to be one.", EXPLICIT, IMPLICIT, "damaged"),
    ],
)
async def test_what_cannot_be_converted_and_why(
    transcoder: Transcoder, tmp_path: Path, data: bytes, source: str, target: str, reason: str
) -> None:
    assert reason in await refusal(transcoder, stored(tmp_path, data, source), target)


async def test_files_that_are_gone_or_cut(transcoder: Transcoder, tmp_path: Path) -> None:
    source = stored(tmp_path, image(pixels=NATIVE_PIXELS), EXPLICIT)
    assert "bytes short" in await refusal(transcoder, replace(source, size=source.size + 100), IMPLICIT)
    assert "cannot be read" in await refusal(transcoder, replace(source, path=tmp_path / "none"), IMPLICIT)


async def test_too_much_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    data = image(rows=2000, columns=2000, frames=3, pixels=RLE_PIXELS)
    async with Transcoder(processes=1, max_bytes=20_000_000) as transcoder:
        source = stored(tmp_path, data, RLE_LOSSLESS)
        assert "24000000 bytes, and 20000000 are allowed" in await refusal(transcoder, source, EXPLICIT)
        huge = b"\xff\x4f\xff\x51" + struct.pack(">HHIIIIIIII", 47, 0, 50000, 50000, 0, 0, 50000, 50000, 0, 0)
        huge += struct.pack(">HBBBBBBBBB", 3, 15, 1, 1, 15, 1, 1, 15, 1, 1) + b"\xff\x52\0\x0c\0\0\0\1\0\1\4\4\0\1"
        bomb = image(
            pixels=LITTLE.encapsulated(huge + b"\xff\x5c\0\4\x40\x40\xff\x90\0\x0a\0\0\0\0\0\0\0\1\xff\x93\xff\xd9")
        )
        assert await refusal(transcoder, stored(tmp_path, bomb, JPEG_2000_LOSSLESS), EXPLICIT)


# --- Processes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Stored:
    return stored(tmp_path, image(pixels=RLE_PIXELS), RLE_LOSSLESS)


async def with_idle_worker(transcoder: Transcoder, source: Stored) -> int:
    """The process that has just converted something."""
    await converted(transcoder, source, EXPLICIT)
    (process,) = transcoder.process_ids
    return process


def is_alive(process: int) -> bool:
    """Whether anything of it is left but its exit code: a zombie whose threads still end cannot be waited for yet."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(os.listdir(f"/proc/{process}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_process_is_used_again(transcoder: Transcoder, source: Stored) -> None:
    first = await with_idle_worker(transcoder, source)
    assert await with_idle_worker(transcoder, source) == first


async def test_a_process_that_dies_fails_one_conversion(transcoder: Transcoder, source: Stored) -> None:
    process = await with_idle_worker(transcoder, source)
    os.kill(process, signal.SIGSTOP)
    conversion = asyncio.create_task(refusal(transcoder, source, EXPLICIT))
    await asyncio.to_thread(os.kill, process, signal.SIGSEGV)
    os.kill(process, signal.SIGCONT)
    assert await conversion == "its conversion ended unexpectedly: signal 11"
    assert await with_idle_worker(transcoder, source) != process


async def test_a_process_that_dies_while_idle_fails_nothing(transcoder: Transcoder, source: Stored) -> None:
    process = await with_idle_worker(transcoder, source)
    os.kill(process, signal.SIGKILL)
    await asyncio.to_thread(eventually, lambda: not is_alive(process), "the worker has ended")
    assert await with_idle_worker(transcoder, source) != process


async def test_a_conversion_that_takes_too_long(tmp_path: Path, source: Stored) -> None:
    async with Transcoder(processes=1, max_bytes=1 << 20, max_seconds=20) as patient:
        process = await with_idle_worker(patient, source)
        assert is_alive(process)
    assert not is_alive(process)
    async with Transcoder(processes=1, max_bytes=1 << 20, max_seconds=0.001) as hasty:
        assert await refusal(hasty, source, EXPLICIT) == "it takes longer than 0.001 s"
        assert hasty.process_ids == ()


async def test_a_conversion_that_nobody_waits_for(transcoder: Transcoder, source: Stored) -> None:
    process = await with_idle_worker(transcoder, source)
    os.kill(process, signal.SIGSTOP)
    # Two processes may be there: the other conversion gets one that is not stopped.
    tasks = {asyncio.create_task(converted(transcoder, source, EXPLICIT)) for _ in range(2)}
    _, (conversion,) = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    conversion.cancel()
    with pytest.raises(asyncio.CancelledError):
        await conversion
    assert not is_alive(process)


async def test_as_many_wait_as_may(source: Stored) -> None:
    async with Transcoder(processes=1, max_bytes=1 << 20, max_waiting=1) as transcoder:
        process = await with_idle_worker(transcoder, source)
        os.kill(process, signal.SIGSTOP)
        tasks = [asyncio.create_task(converted(transcoder, source, EXPLICIT)) for _ in range(3)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        assert str(refused.exception()) == "1 other conversions are waiting already"
        os.kill(process, signal.SIGCONT)
        assert len(await asyncio.gather(*(task for task in tasks if task is not refused))) == 2


async def test_closing_fails_what_is_being_converted(source: Stored) -> None:
    async with Transcoder(processes=1, max_bytes=1 << 20) as transcoder:
        process = await with_idle_worker(transcoder, source)
        os.kill(process, signal.SIGSTOP)
        conversions = [asyncio.create_task(refusal(transcoder, source, EXPLICIT)) for _ in range(3)]
        stream = asyncio.create_task(
            converted(transcoder, stored(source.path.parent, b"", EXPLICIT, name="b"), EXPLICIT)
        )
        assert await stream == b"", "the event loop goes on"
    assert transcoder.process_ids == ()
    assert not is_alive(process)
    assert set(await asyncio.gather(*conversions)) <= {
        "its conversion ended unexpectedly: signal 9",
        "the server is stopping",
    }


async def test_a_process_inherits_no_sockets(transcoder: Transcoder, source: Stored) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        ours = os.readlink(f"/proc/self/fd/{listening.fileno()}")
        process = await with_idle_worker(transcoder, source)
        theirs = [os.readlink(f"/proc/{process}/fd/{number}") for number in os.listdir(f"/proc/{process}/fd")]
        assert ours not in theirs
        assert sum(link.startswith("socket:") for link in theirs) == 1


SERVER = """
import asyncio, pathlib, sys
from pacslite.transcode.transcoder import Transcoder

async def main() -> None:
    async with Transcoder(processes=1, max_bytes=1 << 20) as transcoder:
        stream = transcoder.convert(
            path=pathlib.Path(sys.argv[1]), data_set_offset=int(sys.argv[2]), size=int(sys.argv[3]),
            source=sys.argv[4], target=sys.argv[5],
        )
        async for _ in stream:
            pass
        print(*transcoder.process_ids, "numpy" in sys.modules, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_server(source: Stored, number: signal.Signals) -> None:
    arguments = [str(source.path), str(source.offset), str(source.size), source.syntax, EXPLICIT]
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        process, has_numpy = server.stdout.readline().split()
        assert is_alive(int(process))
        assert has_numpy == "False"
        server.send_signal(number)
    eventually(lambda: not is_alive(int(process)), "the worker has ended")


def test_the_server_imports_nothing_heavy() -> None:
    code = (
        "import sys, pacslite.cli.main, pacslite.server.application, pacslite.transcode.transcoder; print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert {"numpy", "pydicom", "PIL", "gdcm", "openjpeg", "jpeg_ls"}.isdisjoint(modules.stdout.split())


# --- The choice of a transfer syntax ---------------------------------------------------------------------------------


def test_what_is_offered_is_chosen_from() -> None:
    choose = Transcoder.target_for
    for source_syntax in (*NATIVE, *DECODABLE):
        assert choose(source_syntax, [IMPLICIT, JPEG_BASELINE]) in (IMPLICIT, source_syntax)
        assert choose(source_syntax, [BIG, RLE_LOSSLESS, IMPLICIT, EXPLICIT]) in (EXPLICIT, source_syntax)
        assert choose(source_syntax, []) is None
        assert choose(source_syntax, [source_syntax, EXPLICIT]) == source_syntax
        assert choose(source_syntax, [MPEG2]) is None
    assert choose(EXPLICIT, [RLE_LOSSLESS, JPEG_2000_LOSSLESS]) == JPEG_2000_LOSSLESS
    for video in (uid for uid, syntax in TRANSFER_SYNTAXES.items() if "MPEG" in syntax.name or "HEVC" in syntax.name):
        assert choose(video, PRODUCIBLE) is None


def test_nothing_lossy_is_produced() -> None:
    assert all(transfer_syntax(uid).lossless for uid in PRODUCIBLE)
