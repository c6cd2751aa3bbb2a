"""The DICOM files that come with pydicom, pydicom-data and pynetdicom, as data sets to send. On disk only."""

from __future__ import annotations

import importlib.util
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

_PREAMBLE = 128
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN", b"SV", b"UV")
_PLACES = (
    ("pydicom", "data/test_files"),
    ("pydicom", "data/charset_files"),
    ("data_store", "data"),
    ("pynetdicom", "tests/dicom_files"),
)
# Files without meta information; nothing but their names says how they are encoded.
_SYNTAX_OF = {
    "ExplVR_BigEndNoMeta.dcm": EXPLICIT_VR_BIG_ENDIAN,
    "ExplVR_LitEndNoMeta.dcm": EXPLICIT_VR_LITTLE_ENDIAN,
    "rtstruct.dcm": IMPLICIT_VR_LITTLE_ENDIAN,
    "OT-PAL-8-face.dcm": IMPLICIT_VR_LITTLE_ENDIAN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomObject:
    """One object as a C-STORE carries it; ``path`` is the file it comes from, None for a made one."""

    name: str
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    data_set: bytes
    path: Path | None = None

    def __repr__(self) -> str:
        return f"<{self.name}>"  # megabytes of pixels make no failure message clearer


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What the File Meta Information says, by element number of group 0002, and where the data set begins."""

    elements: dict[int, bytes]
    data_set_offset: int

    def uid(self, element: int) -> str:
        return self.elements.get(element, b"").decode("latin-1").strip("\0 ")


def read_meta(file: bytes, *, trusted: bool = False) -> Meta:
    """File Meta Information read by hand: not by the code under test, nor by a library that corrects what it reads.

    Where it is ``trusted`` its group length says where it ends, also if the data set begins with group 0002 again.
    """
    if file[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        return Meta(elements={}, data_set_offset=0)
    elements: dict[int, bytes] = {}
    at, end = _PREAMBLE + 4, len(file)
    while at < end and file[at : at + 2] == b"\x02\x00":
        element, vr = struct.unpack_from("<H2s", file, at + 2)
        if vr in _LONG_VRS:
            length, value_at = struct.unpack_from("<I", file, at + 8)[0], at + 12
        else:
            length, value_at = struct.unpack_from("<H", file, at + 6)[0], at + 8
        elements[element] = file[value_at : value_at + length]
        at = value_at + length
        if trusted and element == 0:
            end = at + int.from_bytes(elements[element], "little")
    return Meta(elements=elements, data_set_offset=at)


@cache
def shipped_objects() -> tuple[DicomObject, ...]:
    """Every shipped file that has a SOP Class and a SOP Instance UID in its data set, in a fixed order."""
    return tuple(_objects())


def _objects() -> Iterator[DicomObject]:
    for package, folder in _PLACES:
        spec = importlib.util.find_spec(package)
        assert spec is not None, f"the Python package that brings {package} is not installed"
        assert spec.origin is not None
        root = Path(spec.origin).parent / folder
        files = sorted(path for path in root.rglob("*") if path.is_file())
        assert files, f"{package} does not bring its files in {folder}"
        for path in files:
            found = _read(path, f"{package}/{path.relative_to(root)}")
            if found is not None:
                yield found


def _read(path: Path, name: str) -> DicomObject | None:
    file = path.read_bytes()
    meta = read_meta(file)
    if not meta.elements and path.name not in _SYNTAX_OF:
        return None
    header = decoded_header(file)
    sop_class, sop_instance = str(header.get("SOPClassUID") or ""), str(header.get("SOPInstanceUID") or "")
    if not sop_class or not sop_instance:
        return None
    return DicomObject(
        name=name,
        sop_class=sop_class,
        sop_instance=sop_instance,
        transfer_syntax=meta.uid(0x0010) or _SYNTAX_OF[path.name],
        data_set=file[meta.data_set_offset :],
        path=path,
    )


def decoded_header(file: bytes) -> Dataset:
    return dcmread(io.BytesIO(file), force=True, stop_before_pixels=True)


def part10(sent: DicomObject, *, meta_instance: str | None = None) -> bytes:
    """The object as a file, for senders that read files."""
    values = (
        (0x0001, b"OB", b"\0\1"),
        (0x0002, b"UI", _even(sent.sop_class)),
        (0x0003, b"UI", _even(meta_instance or sent.sop_instance)),
        (0x0010, b"UI", _even(sent.transfer_syntax)),
        (0x0012, b"UI", _even("1.2.826.0.1.3680043.10.9999.1")),
    )
    group = b"".join(
        struct.pack("<HH2s", 2, element, vr)
        + (struct.pack("<HI", 0, len(value)) if vr == b"OB" else struct.pack("<H", len(value)))
        + value
        for element, vr, value in values
    )
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group))
    return bytes(_PREAMBLE) + b"DICM" + length + group + sent.data_set


def _even(uid: str) -> bytes:
    raw = uid.encode("latin-1")
    return raw + b"\0" * (len(raw) % 2)
