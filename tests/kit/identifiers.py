"""Identifiers as bytes, written and read by pydicom, so that a mistake of our codec is not repeated here."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
SYNTAXES = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED)


def identifier(level: str | None = None, /, **attributes: object) -> Dataset:
    """By keyword; None is a zero-length value. A sequence is a list of mappings."""
    data_set = Dataset()
    if level is not None:
        data_set.QueryRetrieveLevel = level
    for keyword, value in attributes.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            setattr(data_set, keyword, [identifier(**item) for item in value])
        else:
            setattr(data_set, keyword, value)
    return data_set


def encoded(data_set: Dataset, syntax: str = EXPLICIT) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG_ENDIAN
    # A value that its VR does not allow is written all the same: that is what some of the tests are about.
    data_set.ensure_file_meta()
    write_dataset(buffer, data_set, data_set.get("SpecificCharacterSet") or "ISO_IR 6")
    raw = buffer.getvalue()
    if syntax != DEFLATED:
        return raw
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(raw) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def decoded(raw: bytes, syntax: str = EXPLICIT) -> Dataset:
    """What was read; text is decoded when it is looked at."""
    if syntax == DEFLATED:
        raw = zlib.decompress(raw, wbits=-zlib.MAX_WBITS)
    return read_dataset(BytesIO(raw), syntax == IMPLICIT, syntax != BIG_ENDIAN)
