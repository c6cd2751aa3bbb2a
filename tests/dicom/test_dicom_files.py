"""Every file that pydicom ships and that is on this disk: File Meta and header say what pydicom says."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import data_store
import pydicom
import pytest
from pydicom.charset import default_encoding
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from pacslite.dicom import tags
from pacslite.dicom.header import Header, HeaderReader
from pacslite.dicom.part10 import NotPart10Error, file_meta, read_file_meta
from pacslite.dicom.transfer_syntax import transfer_syntax

ROOTS = (Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data")
NO_DATA_SETS = frozenset({".py", ".pyc", ".txt", ".md", ".json", ".dump", ".icc", ".gz"})


def _files() -> Iterator[Path]:
    for root in ROOTS:
        yield from sorted(path for path in root.rglob("*") if path.is_file() and path.suffix not in NO_DATA_SETS)


FILES = [path for path in _files() if path.name not in ("README", "no_meta.dcm")]
"""no_meta.dcm begins with a stray byte before its first tag; pydicom reads nothing sensible from it either."""


def _name(path: Path) -> str:
    return path.name


def _read(path: Path) -> tuple[Header, bool]:
    raw = path.read_bytes()
    meta = read_file_meta(raw[:65536])
    reader = HeaderReader(transfer_syntax(meta.transfer_syntax_uid))
    done = reader.feed(raw[meta.data_set_offset :])
    return reader.finish(), done


def _pydicom(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True, stop_before_pixels=True)


def _text(data_set: Dataset, tag: int) -> str:
    value = data_set[tag].value
    if isinstance(value, bytes):
        return value.decode(default_encoding)
    values = value if isinstance(value, MultiValue | list) else [value]
    return "\\".join(_as_written(one) for one in values).strip(" \0")


def _as_written(value: object) -> str:
    """Numbers keep the string they came as; a name's original string is bytes."""
    original = getattr(value, "original_string", None)
    return original if isinstance(original, str) else "" if value is None else str(value)


def test_there_are_files() -> None:
    assert len(FILES) > 150


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_header_agrees_with_pydicom(path: Path) -> None:
    header, _ = _read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = _pydicom(path)
        expected = {tag for tag in tags.WANTED if tag in data_set}
        assert set(header.elements) == expected
        for tag in expected:
            if tags.VR_OF[tag] == "US":
                assert header.integer(tag) == data_set[tag].value
            else:
                assert _bare(header.text(tag)) == _bare(_text(data_set, tag)), tags.keyword_of(tag)


def _bare(text: str) -> list[str]:
    return [value.strip(" \0") for value in text.rstrip("=^").split("\\")]


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_request_attributes_agree_with_pydicom(path: Path) -> None:
    header, _ = _read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set = _pydicom(path)
        present = tags.REQUEST_ATTRIBUTES_SEQUENCE in data_set
        items = data_set[tags.REQUEST_ATTRIBUTES_SEQUENCE].value if present else []
        expected = [{tag: _text(item, tag) for tag in tags.WANTED_OF_REQUEST if tag in item} for item in items]
    found = [
        {tag: header.request_text(number, tag) for tag in item} for number, item in enumerate(header.request_attributes)
    ]
    assert found == expected


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_meta_agrees_with_pydicom(path: Path) -> None:
    raw = path.read_bytes()
    meta = read_file_meta(raw[:65536])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = _pydicom(path).file_meta
    assert meta.sop_class_uid == expected.get("MediaStorageSOPClassUID", "")
    assert meta.sop_instance_uid == expected.get("MediaStorageSOPInstanceUID", "")
    if "TransferSyntaxUID" in expected:
        assert meta.transfer_syntax_uid == expected.TransferSyntaxUID


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_pieces_make_no_difference(path: Path) -> None:
    """UL-23: heads and values straddle pieces of any size."""
    raw = path.read_bytes()
    meta = read_file_meta(raw[:65536])
    syntax = transfer_syntax(meta.transfer_syntax_uid)
    data_set = memoryview(raw)[meta.data_set_offset :]
    whole, _ = _read(path)
    for size in (7, 1000):
        reader = HeaderReader(syntax)
        any(reader.feed(data_set[start : start + size]) for start in range(0, len(data_set), size))
        assert reader.finish() == whole


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".dcm"], ids=_name)
def test_meta_in_front_of_a_stored_data_set_makes_the_same_file(path: Path) -> None:
    """ST-04: the data set's bytes are untouched and the File Meta names its transfer syntax."""
    raw = path.read_bytes()
    meta = read_file_meta(raw[:65536])
    written = file_meta(
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = pydicom.dcmread(io.BytesIO(written + raw[meta.data_set_offset :]), stop_before_pixels=True)
        assert stored.file_meta.TransferSyntaxUID == meta.transfer_syntax_uid
        assert stored == _pydicom(path)


def test_other_files_are_refused_in_words() -> None:
    refused = [path for root in ROOTS for path in root.rglob("*.txt")]
    for path in refused:
        with pytest.raises(NotPart10Error, match="does not begin like"):
            read_file_meta(path.read_bytes())
