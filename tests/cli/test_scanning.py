"""Finding DICOM files in folders, reading only their beginnings."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

from pydicom.data import get_testdata_file

from pacslite.cli.scanning import Scanned, Skipped, Why, look_at, scan
from pacslite.cli.sending_plan import SendableFile
from pacslite.dicom.part10 import file_meta
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"


def shipped(name: str) -> Path:
    found = get_testdata_file(name)
    assert isinstance(found, str)
    return Path(found)


def element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return b"".join(number.to_bytes(2, "little") for number in tag) + vr + len(value).to_bytes(2, "little") + value


async def scan_all(*paths: Path) -> list[Scanned]:
    return [scanned async for scanned in scan(paths)]


def test_a_dicom_file() -> None:
    path = shipped("MR_small.dcm")
    found = look_at(path)
    assert isinstance(found, SendableFile)
    assert found.sop_class_uid == MR
    assert found.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
    assert found.data_set_offset + found.data_set_bytes == path.stat().st_size


def test_a_file_without_meta_information() -> None:
    found = look_at(shipped("ExplVR_LitEndNoMeta.dcm"))
    assert isinstance(found, SendableFile)
    assert (found.data_set_offset, found.transfer_syntax_uid) == (0, EXPLICIT_VR_LITTLE_ENDIAN)


def test_the_data_set_is_believed_where_the_meta_information_contradicts_it(tmp_path: Path) -> None:
    """ST-03: the command must say what the data set says."""
    path = tmp_path / "wrong.dcm"
    meta = file_meta(sop_class_uid=MR, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN)
    path.write_bytes(
        meta + element((8, 0x16), b"UI", CT.encode()) + element((8, 0x18), b"UI", b"1.2.4") + bytes([0x10, 0, 0x10, 0])
    )
    found = look_at(path)
    assert isinstance(found, SendableFile)
    assert (found.sop_class_uid, found.sop_instance_uid) == (CT, "1.2.4")


def test_what_is_not_taken_and_why(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "notes.txt").write_text("These are the notes of a radiologist. " * 20)
    shutil.copy(shipped("DICOMDIR"), tmp_path / "DICOMDIR")
    (tmp_path / "cut.dcm").write_bytes(
        file_meta(sop_class_uid=CT, sop_instance_uid="1.2.3", transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN)
    )
    (tmp_path / "nameless.dcm").write_bytes(
        file_meta(sop_class_uid=CT, sop_instance_uid="", transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN)
        + element((8, 0x60), b"CS", b"CT")
    )
    os.mkfifo(tmp_path / "pipe")
    whys = {}
    for path in tmp_path.iterdir():
        found = look_at(path)
        assert isinstance(found, Skipped), path
        assert found.reason
        whys[path.name] = found.why
    assert whys == {
        "empty": Why.NOT_DICOM,
        "notes.txt": Why.NOT_DICOM,
        "DICOMDIR": Why.DICOMDIR,
        "cut.dcm": Why.BROKEN,
        "nameless.dcm": Why.BROKEN,
        "pipe": Why.BROKEN,
    }


async def test_folders_are_searched_in_order_and_links_do_not_loop(tmp_path: Path) -> None:
    source = shipped("MR_small.dcm")
    expected = []
    for folder in ("a", "b/c", "b/d"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(100):
            path = tmp_path / folder / f"{number:03}.dcm"
            path.symlink_to(source)
            expected.append(path)
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    found = await scan_all(tmp_path)
    assert [item.path for item in found] == expected
    assert all(isinstance(item, SendableFile) for item in found)


async def test_what_was_named_is_told_from_what_was_found(tmp_path: Path) -> None:
    named, folder = tmp_path / "named.txt", tmp_path / "folder"
    folder.mkdir()
    for path in (named, folder / "found.txt"):
        path.write_text("nothing")
    found = await scan_all(named, folder, tmp_path / "missing.dcm")
    assert [(item.path.name, isinstance(item, Skipped) and item.named) for item in found] == [
        ("named.txt", True),
        ("found.txt", False),
        ("missing.dcm", True),
    ]


async def test_every_shipped_file_is_told_apart_without_an_error() -> None:
    folder = shipped("MR_small.dcm").parent
    found = await scan_all(folder)
    kinds = Counter(item.why if isinstance(item, Skipped) else "sendable" for item in found)
    assert kinds["sendable"] > 60
    assert kinds[Why.DICOMDIR] > 0
