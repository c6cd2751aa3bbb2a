"""File Meta Information: byte-exact when written, forgiving when read."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.peers import run
from pacslite.dicom.part10 import FileMeta, NotPart10Error, file_meta, read_file_meta
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacslite.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

CT = "1.2.840.10008.5.1.4.1.1.2"
PREAMBLE = bytes(128) + b"DICM"


def written(**ae_titles: str) -> bytes:
    return file_meta(
        sop_class_uid=CT, sop_instance_uid="1.2.3.45", transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN, **ae_titles
    )


def element(tag: int, vr: str, value: bytes, *, order: str = "<") -> bytes:
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not vr:
        return head + struct.pack(order + "I", len(value)) + value
    return head + vr.encode() + struct.pack(order + "H", len(value)) + value


def test_every_byte_is_as_ps3_10_has_it() -> None:
    """ST-04."""
    expected = (
        element(0x00020002, "UI", CT.encode() + b"\0")
        + element(0x00020003, "UI", b"1.2.3.45")
        + element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
        + element(0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode())
        + element(0x00020013, "SH", IMPLEMENTATION_VERSION_NAME.encode())
        + element(0x00020016, "AE", b"SCANNER ")
        + element(0x00020017, "AE", b"SCANNER ")
        + element(0x00020018, "AE", b"PACSLITE")
    )
    expected = b"\x02\0\1\0OB\0\0\2\0\0\0\0\1" + expected
    expected = PREAMBLE + element(0x00020000, "UL", struct.pack("<I", len(expected))) + expected
    assert written(source_ae=" SCANNER", sending_ae="SCANNER", receiving_ae="PACSLITE") == expected


def test_pydicom_reads_it() -> None:
    data_set = element(0x00080018, "UI", b"1.2.3.45")
    read = pydicom.dcmread(io.BytesIO(written(source_ae="SCANNER") + data_set))
    assert read.file_meta.FileMetaInformationGroupLength == len(written(source_ae="SCANNER")) - 144
    assert read.file_meta.FileMetaInformationVersion == b"\0\1"
    assert read.file_meta.MediaStorageSOPClassUID == CT
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3.45"
    assert read.file_meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN
    assert read.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.SourceApplicationEntityTitle == "SCANNER"
    assert "SendingApplicationEntityTitle" not in read.file_meta
    assert read.SOPInstanceUID == "1.2.3.45"


def test_dcmtk_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "object.dcm"
    file.write_bytes(written(source_ae="SCANNER") + element(0x00080018, "UI", b"1.2.3.45"))
    assert run("dcmftest", file).output.startswith("yes")
    dump = run("dcmdump", "+E", file)
    assert dump.code == 0
    assert "[SCANNER]" in dump.output
    assert not any(line.startswith(("W:", "E:")) for line in dump.output.splitlines())


def test_it_is_read_back() -> None:
    raw = written(source_ae="A", sending_ae="B", receiving_ae="C")
    assert read_file_meta(raw + b"data set") == FileMeta(
        sop_class_uid=CT,
        sop_instance_uid="1.2.3.45",
        transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
        data_set_offset=len(raw),
        source_ae="A",
        sending_ae="B",
        receiving_ae="C",
        implementation_class_uid=IMPLEMENTATION_CLASS_UID,
        implementation_version_name=IMPLEMENTATION_VERSION_NAME,
    )


@given(uid=st.text(max_size=70), title=st.text(max_size=20))
def test_nothing_from_the_wire_breaks_writing(uid: str, title: str) -> None:
    raw = file_meta(sop_class_uid=uid, sop_instance_uid=uid, transfer_syntax_uid="1.2.3", source_ae=title)
    assert len(raw) % 2 == 0
    assert read_file_meta(raw).data_set_offset == len(raw)


@pytest.mark.parametrize("length", [None, 0, 1, 0xFFFFFFFF])
@pytest.mark.parametrize("prefix", [PREAMBLE, b"DICM", b""])
def test_a_wrong_group_length_and_a_missing_preamble(length: int | None, prefix: bytes) -> None:
    group_length = b"" if length is None else element(0x00020000, "UL", struct.pack("<I", length))
    meta = group_length + element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
    data_set = element(0x00080018, "UI", b"1.2.3.45")
    read = read_file_meta(prefix + meta + data_set)
    assert read.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
    assert read.data_set_offset == len(prefix + meta)
    assert read.sop_instance_uid == ""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("vr", ["", "UI"])
def test_meta_in_another_encoding(vr: str, order: str) -> None:
    meta = element(0x00020003, vr, b"1.2.3.45", order=order) + element(
        0x00020010, vr, b"1.2.840.10008.1.2\0", order=order
    )
    read = read_file_meta(PREAMBLE + meta + element(0x00080018, "", b"1.2.3.45"))
    assert (read.sop_instance_uid, read.transfer_syntax_uid) == ("1.2.3.45", IMPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    ("data_set", "syntax"),
    [
        (element(0x00080018, "UI", b"1.2.3.45"), EXPLICIT_VR_LITTLE_ENDIAN),
        (element(0x00080018, "", b"1.2.3.45"), IMPLICIT_VR_LITTLE_ENDIAN),
        (element(0x00080018, "UI", b"1.2.3.45", order=">"), EXPLICIT_VR_BIG_ENDIAN),
    ],
)
@pytest.mark.parametrize("front", [b"", PREAMBLE, PREAMBLE + element(0x00020003, "UI", b"1.2.3.45")])
def test_the_transfer_syntax_is_told_from_the_data_set(front: bytes, data_set: bytes, syntax: str) -> None:
    read = read_file_meta(front + data_set)
    assert (read.transfer_syntax_uid, read.data_set_offset) == (syntax, len(front))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"DICM",
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"%PDF-1.7\n" + bytes(200),
        b"PK\x03\x04" + bytes(200),
        b"\x1f\x8b\x08" + bytes(200),
        b"some text that is no DICOM file at all",
        written()[:150],
        PREAMBLE + element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")[:-4],
    ],
)
def test_what_is_no_dicom_file_is_refused(raw: bytes) -> None:
    with pytest.raises(NotPart10Error):
        read_file_meta(raw)


@given(st.binary(max_size=200), st.sampled_from([b"", b"DICM", PREAMBLE, PREAMBLE + b"\x02\0"]))
def test_random_bytes_are_read_or_refused(raw: bytes, front: bytes) -> None:
    with contextlib.suppress(NotPart10Error):
        assert read_file_meta(front + raw).data_set_offset <= len(front + raw)
