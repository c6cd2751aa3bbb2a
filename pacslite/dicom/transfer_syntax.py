"""Transfer syntaxes (PS3.5 section 10, Annex A): how a data set is encoded, and which ones we take first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pacslite.dicom.dictionary import UID_REGISTRY

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"

_JPIP_REFERENCED: Final = "1.2.840.10008.1.2.4.94"
_JPIP_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.95"
_JPIP_HTJ2K_REFERENCED: Final = "1.2.840.10008.1.2.4.204"
_JPIP_HTJ2K_REFERENCED_DEFLATE: Final = "1.2.840.10008.1.2.4.205"
_PAPYRUS_3: Final = "1.2.840.10008.1.20"  # a container of its own, never negotiated, and it breaks this file's rules

# Newer than the dictionary we build on (CP-2301 and Supplement 232).
_NEWER: Final = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}

_NATIVE: Final = frozenset(
    {IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN}
)
# Pixel Data is somewhere else: a provider URL (JPIP), an RTP session (SMPTE ST 2110), or the syntax is no encoding of
# a data set at all (MIME, XML).
_NO_PIXEL_DATA: Final = frozenset(
    {
        _JPIP_REFERENCED,
        _JPIP_REFERENCED_DEFLATE,
        _JPIP_HTJ2K_REFERENCED,
        _JPIP_HTJ2K_REFERENCED_DEFLATE,
        "1.2.840.10008.1.2.6.1",
        "1.2.840.10008.1.2.6.2",
        "1.2.840.10008.1.2.7.1",
        "1.2.840.10008.1.2.7.2",
        "1.2.840.10008.1.2.7.3",
    }
)
_DEFLATED: Final = frozenset(
    {DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, _JPIP_REFERENCED_DEFLATE, _JPIP_HTJ2K_REFERENCED_DEFLATE}
)
_LOSSLESS_COMPRESSION: Final = frozenset(
    {
        ENCAPSULATED_UNCOMPRESSED,
        JPEG_LOSSLESS,
        "1.2.840.10008.1.2.4.58",
        "1.2.840.10008.1.2.4.65",
        "1.2.840.10008.1.2.4.66",
        JPEG_LOSSLESS_SV1,
        JPEG_LS_LOSSLESS,
        JPEG_2000_LOSSLESS,
        "1.2.840.10008.1.2.4.92",
        HTJ2K_LOSSLESS,
        HTJ2K_LOSSLESS_RPCL,
        "1.2.840.10008.1.2.4.110",
        "1.2.840.10008.1.2.8.1",
        RLE_LOSSLESS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferSyntax:
    """What one transfer syntax means for a reader; `lossless` says that storing in it cannot have cost pixel values."""

    uid: str
    name: str
    implicit_vr: bool = False
    big_endian: bool = False
    deflated: bool = False
    encapsulated: bool = False
    lossless: bool = True


def _describe(uid: str, name: str) -> TransferSyntax:
    return TransferSyntax(
        uid=uid,
        name=name,
        implicit_vr=uid == IMPLICIT_VR_LITTLE_ENDIAN,
        big_endian=uid == EXPLICIT_VR_BIG_ENDIAN,
        deflated=uid in _DEFLATED,
        encapsulated=uid not in _NATIVE and uid not in _NO_PIXEL_DATA,
        lossless=uid in _NATIVE or uid in _LOSSLESS_COMPRESSION,
    )


TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = MappingProxyType(
    {
        uid: _describe(uid, name)
        for uid, name in {
            **_NEWER,
            **{uid: name for uid, (name, kind, *_) in UID_REGISTRY.items() if kind == "Transfer Syntax"},
        }.items()
        if uid != _PAPYRUS_3
    }
)

# Where a sender leaves the choice to us we take what any other system can read without a codec, then what loses
# nothing, then the rest. Big endian is last of the native ones: it is retired and few still write it.
_FIRST: Final = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    JPEG_LOSSLESS_SV1,
    JPEG_LOSSLESS,
    JPEG_LS_LOSSLESS,
    JPEG_2000_LOSSLESS,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    RLE_LOSSLESS,
)
_NEVER_NEGOTIATED: Final = frozenset({"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"})  # for PS3.10 media only

DEFAULT_PREFERENCE: Final[tuple[str, ...]] = (
    *_FIRST,
    *sorted(
        (uid for uid in TRANSFER_SYNTAXES if uid not in _FIRST and uid not in _NEVER_NEGOTIATED),
        key=lambda uid: (not TRANSFER_SYNTAXES[uid].lossless, [int(part) for part in uid.split(".")]),
    ),
)
"""All transfer syntaxes accepted for storage, the preferred first."""


def transfer_syntax(uid: str) -> TransferSyntax:
    """The transfer syntax with this UID. One we do not know is taken for Explicit VR Little Endian with encapsulated
    pixel data: every syntax since 1996 but the retired big endian one is that (PS3.5 A.4)."""
    return TRANSFER_SYNTAXES.get(uid) or TransferSyntax(uid=uid, name=uid, encapsulated=True, lossless=False)
