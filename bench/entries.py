"""Rows for pacslite's index without files: what is told of an object that was never sent."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import Final

from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.index.entry import Entry, instance_values, upper_key
from pacslite.archive.model import Origin
from pacslite.dicom.header import Header, HeaderReader
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax

Elements = tuple[tuple[int, bytes, bytes], ...]
"""Tag, VR and value, ascending."""

OBJECT_BYTES: Final = 524_288
_STORED_AT: Final = 1.7e9


def header(elements: Elements) -> Header:
    """As the archive reads it from a data set in explicit VR little endian."""
    reader = HeaderReader(transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN))
    reader.feed(encoded(elements))
    return reader.finish()


def encoded(elements: Elements) -> bytes:
    """In explicit VR little endian; for VRs with a short length only."""
    return b"".join(
        struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value) + len(value) % 2)
        + value
        + (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        for tag, vr, value in elements
    )


def entry(its_header: Header, *, study_uid: str, series_uid: str, sop_class_uid: str, sop_instance_uid: str) -> Entry:
    path = blob_path(
        study_uid=study_uid, series_uid=series_uid, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid
    )
    return Entry(
        origin=Origin(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
            calling_ae="CT1",
            called_ae="PACSLITE",
            address="192.0.2.1",
        ),
        header=its_header,
        study_uid=study_uid,
        series_uid=series_uid,
        path=path,
        usual_path=path,
        size=OBJECT_BYTES,
        data_set_offset=380,
        digest=hashlib.blake2b(sop_instance_uid.encode(), digest_size=32).digest(),
        stored_at=_STORED_AT,
        upper=upper_key(its_header),
        attributes=instance_values(its_header),
    )


def sibling(first: Entry, *, sop_instance_uid: str, instance_number: int) -> Entry:
    """Another object of the same series; only its UID and its Instance Number differ."""
    origin = replace(first.origin, sop_instance_uid=sop_instance_uid)
    path = blob_path(
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        sop_class_uid=origin.sop_class_uid,
        sop_instance_uid=sop_instance_uid,
    )
    return replace(
        first,
        origin=origin,
        path=path,
        usual_path=path,
        digest=hashlib.blake2b(sop_instance_uid.encode(), digest_size=32).digest(),
        attributes=(instance_number, *first.attributes[1:]),  # Instance Number is the first of them
    )
