"""A decoder for pydicom: JPEG Extended with samples of 12 bits (process 4), by GDCM's copy of the IJG library.

pydicom's own use of GDCM declines these; its only other decoder for them comes under the GPL (docs/decisions/0006).
"""

from __future__ import annotations

from typing import Any

import gdcm

DECODER_DEPENDENCIES = {"1.2.840.10008.1.2.4.51": ("gdcm>=3.0.10",)}


def is_available(uid: str) -> bool:
    return uid in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: Any) -> bytes:
    """One grey frame; whatever the attributes say, its precision must be 12."""
    if runner.samples_per_pixel != 1 or runner.bits_allocated != 16 or _precision(source) != 12:
        raise ValueError("it is no grey image of 12 bits")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(source)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(str(runner.photometric_interpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, runner.pixel_representation))
    pixels = image.GetBuffer()
    if pixels is None:
        raise ValueError("GDCM cannot decode it")
    return bytes(pixels.encode("utf-8", "surrogateescape"))


def _precision(source: bytes) -> int:
    """Of the samples, from the frame header (ISO 10918-1 B.2.2)."""
    position = source.find(b"\xff\xc1")
    return source[position + 4] if 0 <= position < len(source) - 4 else 0
