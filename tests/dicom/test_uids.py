"""UIDs, transfer syntaxes and tags: what the tables must and must not hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dicom import tags, uids
from pacslite.dicom.transfer_syntax import (
    DEFAULT_PREFERENCE,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    TRANSFER_SYNTAXES,
    transfer_syntax,
)


@pytest.mark.parametrize(
    ("uid", "conformant"),
    [
        ("1.2.840.10008.1.1", True),
        ("2.25.0", True),
        ("1." + "2" * 62, True),
        ("1." + "2" * 63, False),
        ("1.02", False),
        ("1..2", False),
        (".1", False),
        ("1.", False),
        ("1.2\n", False),
        ("1.2 ", False),
        ("1.a", False),
        ("١.٢", False),
        ("", False),
    ],
)
def test_conformant_uids(uid: str, conformant: bool) -> None:
    assert uids.is_conformant_uid(uid) is conformant


def test_padding_is_taken_off() -> None:
    assert uids.clean_uid(b"1.2.3\0") == "1.2.3"
    assert uids.clean_uid(b" 1.2.3 \0\0") == "1.2.3"
    assert uids.clean_uid(b"") == ""


@given(st.binary(max_size=80))
def test_cleaning_never_fails(raw: bytes) -> None:
    uids.clean_uid(raw)


def test_own_uids() -> None:
    assert uids.is_conformant_uid(uids.IMPLEMENTATION_CLASS_UID)
    assert len(uids.IMPLEMENTATION_VERSION_NAME) <= 16
    assert uids.is_conformant_uid(uids.new_uid())
    assert uids.new_uid() != uids.new_uid()


def test_names() -> None:
    assert uids.name_of("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert uids.name_of("1.2.3") == "1.2.3"
    assert uids.name_of("1.2.840.10008.5.1.4.1.1.40") == "1.2.840.10008.5.1.4.1.1.40"  # retired without a name


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.5.1.4.1.1.2",  # CT
        "1.2.840.10008.5.1.4.1.1.5",  # Nuclear Medicine, retired
        "1.2.840.10008.5.1.4.1.1.88.11",  # Basic Text SR
        "1.2.840.10008.5.1.4.1.1.481.25",
        "1.2.840.10008.5.1.4.34.7",  # RT Beams Delivery Instruction
        "1.2.840.10008.5.1.1.29",  # Hardcopy Grayscale Image, retired
        *sorted(uids.NON_PATIENT_STORAGE),
    ],
)
def test_storage_classes(uid: str) -> None:
    assert uid in uids.STORAGE_SOP_CLASSES


def test_what_is_no_storage_class() -> None:
    assert len(uids.STORAGE_SOP_CLASSES) > 200
    for uid in (
        uids.VERIFICATION,
        uids.STORAGE_COMMITMENT_PUSH_MODEL,
        "1.2.840.10008.1.20.2",
        uids.MEDIA_STORAGE_DIRECTORY,
        uids.STUDY_ROOT_FIND,
        "1.2.840.10008.5.1.4.38.2",
    ):
        assert uid not in uids.STORAGE_SOP_CLASSES
    assert all("Storage" in uids.name_of(uid) for uid in uids.STORAGE_SOP_CLASSES)


def test_transfer_syntaxes() -> None:
    explicit = TRANSFER_SYNTAXES[EXPLICIT_VR_LITTLE_ENDIAN]
    assert not any((explicit.implicit_vr, explicit.big_endian, explicit.deflated, explicit.encapsulated))
    assert TRANSFER_SYNTAXES[IMPLICIT_VR_LITTLE_ENDIAN].implicit_vr
    assert TRANSFER_SYNTAXES[EXPLICIT_VR_BIG_ENDIAN].big_endian
    assert {uid for uid, syntax in TRANSFER_SYNTAXES.items() if syntax.deflated} == {
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.4.95",
        "1.2.840.10008.1.2.4.205",
    }
    assert TRANSFER_SYNTAXES[JPEG_BASELINE].encapsulated
    assert not TRANSFER_SYNTAXES[JPEG_BASELINE].lossless
    assert TRANSFER_SYNTAXES[JPEG_2000_LOSSLESS].lossless
    for uid in (
        "1.2.840.10008.1.2.4.110",
        "1.2.840.10008.1.2.4.201",
        "1.2.840.10008.1.2.4.108",
        "1.2.840.10008.1.2.8.1",
    ):
        assert TRANSFER_SYNTAXES[uid].encapsulated
    assert not TRANSFER_SYNTAXES["1.2.840.10008.1.2.7.1"].encapsulated


def test_an_unknown_transfer_syntax_is_explicit_little_endian_and_encapsulated() -> None:
    syntax = transfer_syntax("1.2.3.4")
    assert syntax.uid == "1.2.3.4"
    assert syntax.encapsulated
    assert not any((syntax.implicit_vr, syntax.big_endian, syntax.deflated, syntax.lossless))


def test_default_preference() -> None:
    assert DEFAULT_PREFERENCE[0] == EXPLICIT_VR_LITTLE_ENDIAN
    assert len(set(DEFAULT_PREFERENCE)) == len(DEFAULT_PREFERENCE)
    assert set(DEFAULT_PREFERENCE) == set(TRANSFER_SYNTAXES) - {"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"}
    lossless = [TRANSFER_SYNTAXES[uid].lossless for uid in DEFAULT_PREFERENCE]
    assert lossless == sorted(lossless, reverse=True)


def test_tags() -> None:
    assert tags.keyword_of(tags.PATIENT_NAME) == "PatientName"
    assert tags.keyword_of(0x00091001) == "(0009,1001)"
    assert tags.tag_text(0x7FE00010) == "(7FE0,0010)"
    constants = {name: value for name, value in vars(tags).items() if name.isupper() and isinstance(value, int)}
    assert len(constants) == len(set(constants.values()))
    for name, tag in constants.items():
        assert tags.keyword_of(tag).upper() == name.replace("_", ""), name
    assert tags.VR_OF.keys() == tags.WANTED | tags.WANTED_OF_REQUEST | tags.OF_QUERIES
    assert set(constants.values()) >= tags.WANTED
