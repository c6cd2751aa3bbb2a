"""Names of blobs: readable for what is conformant, safe and different for everything else."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.archive.blobs.paths import (
    blob_path,
    component,
    conflict_path,
    decode_destination,
    encode_destination,
    stem_of,
    uid_of,
    versioned,
)

uids = st.text(max_size=100) | st.text(alphabet="0123456789.", min_size=1, max_size=70)
ALLOWED = set(string.digits + "abcdefh.%")


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008.1.2", "9" * 64, "1..2", "0.1."])
def test_a_plain_uid_is_its_own_name(uid: str) -> None:
    assert component(uid) == uid


@pytest.mark.parametrize(
    "uid", ["", ".", "..", ".1", "/", "../x", "1/2", "a", "A", "1.2 ", "1\0", "9" * 65, "~", "1,2", "ü"]
)
def test_anything_else_is_escaped(uid: str) -> None:
    assert component(uid).startswith("%") or "%" in component(uid)
    assert set(component(uid)) <= ALLOWED


@given(uids)
def test_a_name_is_short_safe_and_tells_its_uid_if_it_can(uid: str) -> None:
    name = component(uid)
    assert 0 < len(name) <= 64
    assert name[0] != "."
    assert set(name) <= ALLOWED
    assert uid_of(name) in (uid, None)
    if uid and len(uid.encode()) <= 20:
        assert uid_of(name) == uid


@given(uids, uids)
def test_different_uids_have_different_names(one: str, other: str) -> None:
    assert (component(one).lower() == component(other).lower()) == (one == other)


@given(uids, uids, uids, uids, st.integers(2, 10**8))
def test_paths_fit_into_file_names_and_back(
    study: str, series: str, sop_class: str, instance: str, version: int
) -> None:
    path = blob_path(study_uid=study, series_uid=series, sop_class_uid=sop_class, sop_instance_uid=instance)
    aside = conflict_path(sop_instance_uid=instance, digest=bytes(32), transfer_syntax_uid=sop_class)
    for place in (path, versioned(path, version), aside):
        assert len(encode_destination(place)) <= 255 - 20, "the number in front needs room"
        assert decode_destination(encode_destination(place)) == place
        assert ".." not in place.split("/")
    assert stem_of(versioned(path, version).rpartition("/")[2]) == component(instance)


@pytest.mark.parametrize("name", ["x.txt", "Thumbs.db", ".dcm.swp", "1.2.3"])
def test_other_files_are_no_blobs(name: str) -> None:
    assert stem_of(name) is None


@pytest.mark.parametrize("name", ["%zz", "%4", "a", "%31", "%", "%h0011"])
def test_a_name_that_we_never_made_tells_nothing(name: str) -> None:
    assert uid_of(name) is None
