"""Which transfer syntaxes objects can be converted from, and to: to none that loses anything."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pacslite.dicom.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE_LOSSLESS,
)

DEFLATED_IMAGE_FRAME: Final = "1.2.840.10008.1.2.8.1"

NATIVE: Final = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
)
"""Any object that can be converted at all can be converted to any of these."""

COMPRESSIBLE: Final = (JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, RLE_LOSSLESS)
"""Only images of integers can be compressed to these, RGB, YBR_FULL, grey or palette colour."""

PRODUCIBLE: Final[tuple[str, ...]] = (*NATIVE, *COMPRESSIBLE)
"""What objects can be converted to, the preferred first: any reader has no codec for it, and it costs us the least."""

DECODABLE: Final = frozenset(
    {
        ENCAPSULATED_UNCOMPRESSED,
        DEFLATED_IMAGE_FRAME,
        RLE_LOSSLESS,
        JPEG_BASELINE,
        JPEG_EXTENDED,
        JPEG_LOSSLESS,
        JPEG_LOSSLESS_SV1,
        JPEG_LS_LOSSLESS,
        JPEG_LS_NEAR_LOSSLESS,
        JPEG_2000_LOSSLESS,
        JPEG_2000,
        HTJ2K_LOSSLESS,
        HTJ2K_LOSSLESS_RPCL,
        HTJ2K,
    }
)
"""Compressed syntaxes that there is a decoder for. Video is not among them: it cannot be delivered uncompressed."""


def target_for(source: str, offered: Collection[str]) -> str | None:
    """Which of the `offered` transfer syntaxes an object of the `source` one is best converted to; None: to none."""
    if source in offered:
        return source
    if source not in DECODABLE and source not in NATIVE:
        return None
    return next((target for target in PRODUCIBLE if target in offered), None)
