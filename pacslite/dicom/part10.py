"""File Meta Information (PS3.10 7.1): written in front of a data set that stays as it is, and read from any file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pacslite.dicom.element import encoding_for, has_known_vr, recognize
from pacslite.dicom.transfer_syntax import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacslite.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, clean_uid
from pacslite.dicom.values import MAX_AE_TITLE_LENGTH, normalise_ae_title
from pacslite.errors import PacsliteError

PREAMBLE_LENGTH: Final = 128
PREFIX: Final = b"DICM"

_GROUP: Final = 0x0002
_MEDIA_STORAGE_SOP_CLASS: Final = 0x0002
_MEDIA_STORAGE_SOP_INSTANCE: Final = 0x0003
_TRANSFER_SYNTAX: Final = 0x0010
_IMPLEMENTATION_CLASS: Final = 0x0012
_IMPLEMENTATION_VERSION: Final = 0x0013
_SOURCE_AE: Final = 0x0016
_SENDING_AE: Final = 0x0017
_RECEIVING_AE: Final = 0x0018
_LAST_FIRST_GROUP: Final = 0x0010  # a data set without File Meta begins at the latest with the patient


class NotPart10Error(PacsliteError):
    """These bytes are no DICOM file, or not enough of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What a file says about its data set, which begins at `data_set_offset`.

    UIDs and AE titles that the file does not give are empty; the transfer syntax is then told from the data set.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int
    source_ae: str = ""
    sending_ae: str = ""
    receiving_ae: str = ""
    implementation_class_uid: str = ""
    implementation_version_name: str = ""


def file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae: str = "",
    receiving_ae: str = "",
    sending_ae: str = "",
) -> bytes:
    """Preamble, prefix and File Meta Information: put the data set's bytes behind it and it is a DICOM file (ST-04)."""
    elements = (
        _VERSION
        + _uid(_MEDIA_STORAGE_SOP_CLASS, sop_class_uid)
        + _uid(_MEDIA_STORAGE_SOP_INSTANCE, sop_instance_uid)
        + _uid(_TRANSFER_SYNTAX, transfer_syntax_uid)
        + _IMPLEMENTATION
        + _ae_title(_SOURCE_AE, source_ae)
        + _ae_title(_SENDING_AE, sending_ae)
        + _ae_title(_RECEIVING_AE, receiving_ae)
    )
    return _START + struct.pack("<HH2sHI", _GROUP, 0, b"UL", 4, len(elements)) + elements


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", _GROUP, element, vr, len(value)) + value


def _uid(element: int, uid: str) -> bytes:
    raw = uid.encode("latin-1", "replace")
    return _element(element, b"UI", raw + b"\0" * (len(raw) % 2))


def _ae_title(element: int, title: str) -> bytes:
    """Optional elements: none at all for no title."""
    raw = normalise_ae_title(title).encode("latin-1", "replace")[:MAX_AE_TITLE_LENGTH]
    return _element(element, b"AE", raw + b" " * (len(raw) % 2)) if raw else b""


_START: Final = bytes(PREAMBLE_LENGTH) + PREFIX
_VERSION: Final = struct.pack("<HH2sHI", _GROUP, 1, b"OB", 0, 2) + b"\0\1"
_VERSION_NAME: Final = IMPLEMENTATION_VERSION_NAME.encode()
_IMPLEMENTATION: Final = _uid(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID) + _element(
    _IMPLEMENTATION_VERSION, b"SH", _VERSION_NAME + b" " * (len(_VERSION_NAME) % 2)
)


def read_file_meta(head: bytes) -> FileMeta:
    """The File Meta Information at the beginning of a file; `head` must hold all of it and the first element behind it.

    Preamble and prefix may be missing, the group length may be missing or wrong (it is not used), the elements may be
    implicit VR or big endian, and there may be none at all. :class:`NotPart10Error` for what cannot be DICOM.
    """
    start = _start(head)
    elements, offset = _meta_elements(head, start)
    uid = clean_uid(elements.get(_TRANSFER_SYNTAX, b""))
    if not uid:
        uid = _guess(head, offset, anywhere=bool(elements) or start > 0)
    return FileMeta(
        sop_class_uid=clean_uid(elements.get(_MEDIA_STORAGE_SOP_CLASS, b"")),
        sop_instance_uid=clean_uid(elements.get(_MEDIA_STORAGE_SOP_INSTANCE, b"")),
        transfer_syntax_uid=uid,
        data_set_offset=offset,
        source_ae=normalise_ae_title(elements.get(_SOURCE_AE, b"")),
        sending_ae=normalise_ae_title(elements.get(_SENDING_AE, b"")),
        receiving_ae=normalise_ae_title(elements.get(_RECEIVING_AE, b"")),
        implementation_class_uid=clean_uid(elements.get(_IMPLEMENTATION_CLASS, b"")),
        implementation_version_name=elements.get(_IMPLEMENTATION_VERSION, b"").decode("latin-1").strip(" \0"),
    )


def _start(head: bytes) -> int:
    """Where the first element is."""
    if head[PREAMBLE_LENGTH : PREAMBLE_LENGTH + len(PREFIX)] == PREFIX:
        return PREAMBLE_LENGTH + len(PREFIX)
    return len(PREFIX) if head.startswith(PREFIX) else 0


def _meta_elements(head: bytes, position: int) -> tuple[dict[int, bytes], int]:
    """The values of group 0002 by element, and where the group ends."""
    elements: dict[int, bytes] = {}
    while head[position : position + 2] in (b"\x02\0", b"\0\x02"):
        start = head[position : position + 12]
        if len(start) < 8:
            raise NotPart10Error(f"the file ends, or is cut, inside its File Meta Information at {position}")
        encoding = encoding_for(explicit=has_known_vr(start), big_endian=start[0] == 0)
        native, *rest = encoding.unpack(start, 0)
        element = encoding.native(native) & 0xFFFF
        value, length = position + 8, rest[-1]
        if encoding.explicit and rest[0] in encoding.long and len(start) == 12:
            value, length = position + 12, encoding.unpack_length(start, 8)[0]
        if value + length > len(head):
            raise NotPart10Error(f"the file ends, or is cut, inside (0002,{element:04X}) of its File Meta Information")
        elements[element] = head[value : value + length]
        position = value + length
    return elements, position


def _guess(head: bytes, offset: int, *, anywhere: bool) -> str:
    """The transfer syntax by the look of the first element. Without prefix and File Meta that must be convincing."""
    first = head[offset : offset + 8]
    if len(first) < 8:
        raise NotPart10Error("there is no DICOM data set in the file")
    encoding = recognize(first, encoding_for(explicit=False, big_endian=False))
    group = encoding.native(encoding.unpack(first, 0)[0]) >> 16
    if not anywhere:
        plausible = encoding.explicit or encoding.unpack_length(first, 4)[0] < 1 << 16
        if group > _LAST_FIRST_GROUP or group % 2 or not plausible:
            raise NotPart10Error("the file has no DICM prefix and does not begin like a DICOM data set")
    if not encoding.explicit:
        return IMPLICIT_VR_LITTLE_ENDIAN
    return EXPLICIT_VR_BIG_ENDIAN if encoding.big_endian else EXPLICIT_VR_LITTLE_ENDIAN
