"""Every object of the corpus goes in over the network and lies in the store with the same bytes (ST-02, ST-04)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.odd import OddObject, odd_objects
from kit.peers import run
from kit.rawpeer import association, contexts_for
from kit.server import RunningServer
from kit.shipped import DicomObject, decoded_header, read_meta, shipped_objects
from kit.store import Store
from pacslite.dicom.uids import IMPLEMENTATION_CLASS_UID
from pacslite.dimse.command import CommandSet, Tag

ODD = {odd.object.name: odd for odd in odd_objects()}
SHIPPED = {one.name: one for one in shipped_objects()}


def send(port: int, sent: DicomObject, message_id: int = 1) -> CommandSet:
    with association(port, contexts_for((sent.sop_class, sent.transfer_syntax))) as peer:
        return peer.store(1, sent.sop_class, sent.sop_instance, sent.data_set, message_id=message_id)


def has_study_and_series(sent: DicomObject) -> bool:
    assert sent.path is not None
    header = decoded_header(sent.path.read_bytes())
    return bool(header.get("StudyInstanceUID") and header.get("SeriesInstanceUID"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_comes_out_as_it_went_in(server: RunningServer, store: Store, name: str) -> None:
    sent = SHIPPED[name]
    response = send(server.port, sent)
    if has_study_and_series(sent):
        assert response.status == 0, response.text(Tag.ERROR_COMMENT)
        store.copy_of(sent)
    else:
        assert response.status == 0xC000
        assert "Study Instance UID" in response.text(Tag.ERROR_COMMENT)


@pytest.mark.parametrize("name", [name for name, odd in ODD.items() if odd.kept])
def test_an_odd_object_is_kept_as_it_came(server: RunningServer, store: Store, name: str) -> None:
    sent = ODD[name].object
    response = send(server.port, sent)
    assert response.status == 0, response.text(Tag.ERROR_COMMENT)
    store.copy_of(sent)


@pytest.mark.parametrize("name", [name for name, odd in ODD.items() if not odd.kept])
def test_what_cannot_be_identified_is_refused_with_the_reason(server: RunningServer, store: Store, name: str) -> None:
    sent = ODD[name].object
    response = send(server.port, sent)
    assert response.status >> 12 in (0xA, 0xC)
    assert response.text(Tag.ERROR_COMMENT)
    assert response.elements.get(Tag.OFFENDING_ELEMENT)
    assert store.copies(sent.sop_instance) == []


def test_nothing_is_written_outside_the_data_folder(tmp_path: Path) -> None:
    """UIDs that are paths stay below blobs/, whatever they climb to."""
    folder = tmp_path / "a" / "b" / "c" / "data"
    with RunningServer(folder) as server:
        for odd in _with_paths():
            assert send(server.port, odd.object).status == 0
        store = Store(folder)
        assert len(store.files()) == len(list(_with_paths()))
    for path in (tmp_path, *tmp_path.rglob("*")):
        assert path.is_relative_to(folder) or path in folder.parents or path == folder.with_name("data.log"), path
    for stored in store.files():
        assert "/blobs/" in str(stored.path)
        assert stored.path.resolve() == stored.path
    shutil.rmtree(folder)


def _with_paths() -> Iterator[OddObject]:
    for name, odd in ODD.items():
        if any(word in name for word in ("traversal", "absolute", "dot")):
            yield odd


def test_what_is_stored_are_files_to_other_programs(server: RunningServer, store: Store) -> None:
    """PS3.10 7.1: whatever the UIDs and the data set are, the file's own part is right."""
    for odd in ODD.values():
        send(server.port, odd.object)
    files = [stored.path for stored in store.files()]
    ran = run("dcmftest", *files)
    assert [line for line in ran.output.splitlines() if not line.startswith("yes: ")] == []
    for path in files:
        file = path.read_bytes()
        meta = read_meta(file, trusted=True)
        group_length = int.from_bytes(meta.elements[0x0000], "little")
        assert meta.data_set_offset == 128 + 4 + 12 + group_length
        assert meta.elements[0x0001] == b"\0\1"
        assert meta.uid(0x0012) == IMPLEMENTATION_CLASS_UID
        assert list(meta.elements) == sorted(meta.elements)
        assert all(len(value) % 2 == 0 for value in meta.elements.values())


def test_uids_that_differ_in_case_only_are_two_objects(server: RunningServer, store: Store) -> None:
    paths = set()
    for name in ("instance-uid-with-case-a", "instance-uid-with-case-b"):
        assert send(server.port, ODD[name].object).status == 0
        paths.add(str(store.copy_of(ODD[name].object).path).casefold())
    assert len(paths) == 2


def test_the_same_object_again_changes_nothing(server: RunningServer, store: Store) -> None:
    sent = SHIPPED["pydicom/CT_small.dcm"]
    send(server.port, sent)
    before = store.copies(sent.sop_instance)
    assert send(server.port, sent).status == 0
    assert store.copies(sent.sop_instance) == before


def test_the_same_uid_with_other_bytes_is_kept_aside(tmp_path: Path) -> None:
    first = SHIPPED["pydicom/MR_small.dcm"]
    second = SHIPPED["pydicom/MR_small_RLE.dcm"]
    assert first.sop_instance == second.sop_instance
    with RunningServer(tmp_path / "data") as server:
        store = Store(server.data)
        assert send(server.port, first).status == 0
        assert send(server.port, second).status == 0
        assert not store.copy_of(first).kept_aside
        assert store.copy_of(second).kept_aside


def test_with_replace_the_newer_bytes_take_the_place(tmp_path: Path) -> None:
    first = SHIPPED["pydicom/MR_small.dcm"]
    second = SHIPPED["pydicom/MR_small_RLE.dcm"]
    with RunningServer(tmp_path / "data", settings={"storage.duplicates": "replace"}) as server:
        store = Store(server.data)
        assert send(server.port, first).status == 0
        assert send(server.port, second).status == 0
        assert not store.copy_of(second).kept_aside
        assert len(store.copies(first.sop_instance)) == 1
