"""Frames of pixels, compressed and not: pydicom and the codecs it knows. Only worker processes import this.

Compressing is checked frame by frame: what was compressed is decompressed again and compared, byte for byte. So nothing
that a codec does not keep (bits beyond Bits Stored, a sign that is not extended) can be lost unnoticed.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID

from pacslite.dicom.representation import PIXEL_REPRESENTATION
from pacslite.dicom.tags import BITS_ALLOCATED, COLUMNS, ROWS
from pacslite.dicom.transfer_syntax import (
    ENCAPSULATED_UNCOMPRESSED,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE_LOSSLESS,
)
from pacslite.errors import CannotConvert
from pacslite.transcode.survey import (
    BITS_STORED,
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    HIGH_BIT,
    PLANAR_CONFIGURATION,
    SAMPLES_PER_PIXEL,
    Image,
)
from pacslite.transcode.syntaxes import DEFLATED_IMAGE_FRAME

_EXTENDED_12_BIT: Final = "gdcm12"
get_decoder(UID(JPEG_EXTENDED)).add_plugin(_EXTENDED_12_BIT, ("pacslite.transcode.gdcm12", "decode_frame"))

# The fastest of the decoders that give the same pixels; where nothing is said, pydicom tries what there is.
_PREFERRED: Final = {
    RLE_LOSSLESS: ("pylibjpeg",),
    JPEG_BASELINE: ("pillow", "gdcm"),
    JPEG_EXTENDED: ("pillow", _EXTENDED_12_BIT),
    JPEG_LS_LOSSLESS: ("pyjpegls",),
    JPEG_LS_NEAR_LOSSLESS: ("pyjpegls",),
}
_DEFAULT: Final = ("pylibjpeg", "gdcm")
# GDCM is not among them: it ends the whole process where an image is not what it expects.
_ENCODERS: Final = {RLE_LOSSLESS: "pylibjpeg", JPEG_LS_LOSSLESS: "pyjpegls", JPEG_2000_LOSSLESS: "pylibjpeg"}
_RAW: Final = frozenset({ENCAPSULATED_UNCOMPRESSED, DEFLATED_IMAGE_FRAME})
_SUBSAMPLED: Final = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"})


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as native Pixel Data has it, Planar Configuration 0, and its Photometric Interpretation then."""

    data: bytes
    photometric_interpretation: str


def decoded_frames(image: Image, file: BinaryIO, syntax: str) -> Iterator[Frame]:
    """All frames of an image whose fragments begin at the file's position."""
    if syntax in _RAW:
        frames = _raw_frames(image, file, syntax)
    else:
        frames = _decoded(image, file, syntax, _options(image) | {"extended_offsets": _extended_offsets(image)})
    count = 0
    for count, frame in enumerate(frames, 1):
        if count > image.frames:
            raise CannotConvert(f"it has more frames than the {image.frames} that its Number of Frames says")
        if len(frame.data) != image.sample_bytes:
            raise CannotConvert(f"frame {count} has {len(frame.data)} bytes of pixels instead of {image.sample_bytes}")
        yield frame
    if count < image.frames:
        raise CannotConvert(f"it has {count} frames and not the {image.frames} that its Number of Frames says")


def native_frames(image: Image, file: BinaryIO) -> Iterator[Frame]:
    """All frames of an image whose native little endian value begins at the file's position."""
    size, interpretation = image.sample_bytes, image.photometric_interpretation
    if interpretation in _SUBSAMPLED:
        raise CannotConvert(f"its pixels are {interpretation}, which no compression here keeps")
    if image.length is None or not 0 <= image.length - size * image.frames <= 1:
        raise CannotConvert(f"its Pixel Data has {image.length} bytes, not {image.frames} frames of {size}")
    for _ in range(image.frames):
        data = file.read(size)
        if image.number(PLANAR_CONFIGURATION) == 1 and image.number(SAMPLES_PER_PIXEL) == 3:
            planes = np.frombuffer(data, _dtype(image)).reshape(3, -1)
            data = np.ascontiguousarray(planes.T).tobytes()
        yield Frame(data, interpretation)


def encoded(frame: Frame, image: Image, syntax: str) -> bytes:
    """The frame, compressed."""
    options = _options(image) | {
        "number_of_frames": 1,
        "planar_configuration": 0,
        "photometric_interpretation": frame.photometric_interpretation,
    }
    bits, stored = image.required(BITS_ALLOCATED, "Bits Allocated"), image.required(BITS_STORED, "Bits Stored")
    if image.number(HIGH_BIT) not in (None, stored - 1):
        raise CannotConvert(f"its samples of {stored} bits end at bit {image.number(HIGH_BIT)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            plugin = _ENCODERS[syntax]
            data = get_encoder(UID(syntax)).encode(frame.data, index=None, encoding_plugin=plugin, **options)
        except Exception as error:  # whatever a codec raises means that it cannot do it
            raise CannotConvert(f"its frames cannot be compressed: {_reason(error)}") from error
    (again,) = _decoded(image, io.BytesIO(encapsulate([data], has_bot=False)), syntax, options)
    if again.data != frame.data:
        raise CannotConvert(f"its samples do not keep to the {stored} of {bits} bits that are compressed")
    return data


# --- Decoding --------------------------------------------------------------------------------------------------------


def _raw_frames(image: Image, file: BinaryIO, syntax: str) -> Iterator[Frame]:
    """Fragments that are native frames, deflated or not."""
    size = image.sample_bytes
    for data in generate_frames(file, number_of_frames=image.frames, extended_offsets=_extended_offsets(image)):
        if syntax == DEFLATED_IMAGE_FRAME:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 2)
        yield Frame(data[:size] if len(data) <= size + 1 else data, image.photometric_interpretation)


def _decoded(image: Image, file: BinaryIO, syntax: str, options: dict[str, Any]) -> Iterator[Frame]:
    """By the first decoder that can decode the first frame."""
    start, reasons = file.tell(), []
    for plugin in _PREFERRED.get(syntax, _DEFAULT):
        if plugin not in get_decoder(UID(syntax)).available_plugins:
            continue
        file.seek(start)
        frames = _decoded_by_pydicom(file, image, syntax, options, plugin)
        try:
            first = next(frames)
        except StopIteration:
            return
        except Exception as error:  # whatever a codec raises means that it cannot do it
            reasons.append(_reason(error))
            continue
        yield first
        try:
            yield from frames
        except Exception as error:
            raise CannotConvert(f"a frame cannot be decoded: {_reason(error)}") from error
        return
    raise CannotConvert(f"it cannot be decoded: {'; '.join(reasons) or 'there is no decoder'}")


def _decoded_by_pydicom(
    file: BinaryIO, image: Image, syntax: str, options: dict[str, Any], plugin: str
) -> Iterator[Frame]:
    dtype = _dtype(image)
    frames = get_decoder(UID(syntax)).iter_array(file, raw=True, decoding_plugin=plugin, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for pixels, said in frames:
            # A codec may use fewer bytes for a sample than are allocated.
            data = pixels.tobytes() if pixels.dtype == dtype else pixels.astype(dtype).tobytes()
            interpretation = str(said["photometric_interpretation"])
            # Codecs give all of the chroma samples; who reads 422 natively expects half of them.
            yield Frame(data, "YBR_FULL" if interpretation == "YBR_FULL_422" else interpretation)


def _dtype(image: Image) -> np.dtype[Any]:
    kind = "i" if image.number(PIXEL_REPRESENTATION) == 1 else "u"
    return np.dtype(f"<{kind}{image.required(BITS_ALLOCATED, 'Bits Allocated') // 8}")


def _options(image: Image) -> dict[str, Any]:
    """The image as pydicom's codecs are told of it. Unused bits are left as they are: overlays may be in them."""
    return {
        "rows": image.required(ROWS, "Rows"),
        "columns": image.required(COLUMNS, "Columns"),
        "samples_per_pixel": image.number(SAMPLES_PER_PIXEL) or 1,
        "bits_allocated": image.required(BITS_ALLOCATED, "Bits Allocated"),
        "bits_stored": image.required(BITS_STORED, "Bits Stored"),
        "pixel_representation": image.number(PIXEL_REPRESENTATION) or 0,
        "planar_configuration": image.number(PLANAR_CONFIGURATION) or 0,
        "photometric_interpretation": image.photometric_interpretation,
        "number_of_frames": image.frames,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
    }


def _extended_offsets(image: Image) -> tuple[bytes, bytes] | None:
    offsets = image.attributes.get(EXTENDED_OFFSET_TABLE)
    lengths = image.attributes.get(EXTENDED_OFFSET_TABLE_LENGTHS)
    return (offsets, lengths) if offsets and lengths else None


def _reason(error: Exception) -> str:
    """What a codec says, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
