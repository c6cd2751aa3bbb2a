"""What every blob store does. A second one (object storage) would be one more parameter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from blake3 import blake3

from pacslite.archive.blobs.disk import Buffer, Disk
from pacslite.archive.blobs.filesystem import FilesystemBlobs
from pacslite.archive.blobs.layout import open_layout
from pacslite.archive.blobs.paths import conflict_path
from pacslite.archive.settings import StoreMode

PLACE = "blobs/ab/1.2/1.2.3/1.2.3.4.dcm"
BYTES: list[Buffer] = [b"meta", b"data ", memoryview(b"set")]
DIGEST = blake3(b"data set").digest()
ASIDE = conflict_path(sop_instance_uid="1.2.3.4", digest=DIGEST, transfer_syntax_uid="1.2.840.10008.1.2")


@pytest.fixture(params=["filesystem"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FilesystemBlobs]:
    assert request.param == "filesystem"
    with ExitStack() as stack:
        layout = stack.enter_context(open_layout(tmp_path / "data", StoreMode.BESIDE))
        yield FilesystemBlobs(layout, Disk())


def in_flight(blobs: FilesystemBlobs) -> list[str]:
    return [path.name for path in Path(blobs.incoming).iterdir()]


@pytest.mark.parametrize("known", [PLACE, "", "blobs/elsewhere.dcm"], ids=["place known", "not known", "other"])
def test_a_placed_blob_is_there_in_full(blobs: FilesystemBlobs, known: str) -> None:
    blob = blobs.create(known)
    blob.write(BYTES[:1])
    blob.write(BYTES[1:])
    assert blobs.size(PLACE) is None
    assert blob.place(PLACE)
    assert (blob.size, blobs.size(PLACE)) == (12, 12)
    assert blobs.path(PLACE).read_bytes() == b"metadata set"
    assert blobs.digest(PLACE, 4) == DIGEST
    blobs.sweep([blob.release()])
    assert in_flight(blobs) == []
    assert blobs.path(PLACE).read_bytes() == b"metadata set"


def test_a_place_is_never_taken_over(blobs: FilesystemBlobs) -> None:
    first, second = blobs.create(PLACE), blobs.create(PLACE)
    first.write([b"first"])
    second.write([b"second"])
    assert first.place(PLACE)
    assert not second.place(PLACE)
    assert second.placed == ""
    assert second.place_beside(PLACE) == PLACE.replace(".dcm", "~2.dcm")
    assert blobs.path(PLACE).read_bytes() == b"first"


@pytest.mark.parametrize("placed", [True, False])
def test_a_discarded_blob_leaves_nothing(blobs: FilesystemBlobs, *, placed: bool) -> None:
    blob = blobs.create(PLACE)
    blob.write(BYTES)
    if placed:
        blob.place(PLACE)
    blob.discard()
    blob.discard()
    assert blobs.size(PLACE) is None
    assert in_flight(blobs) == []


def test_discarding_spares_who_came_first(blobs: FilesystemBlobs) -> None:
    first, second = blobs.create(PLACE), blobs.create(PLACE)
    first.place(PLACE)
    second.place(PLACE)
    second.discard()
    assert blobs.size(PLACE) == 0


@pytest.mark.parametrize("placed", [True, False])
def test_setting_aside_moves_the_blob_and_finds_itself_there_again(blobs: FilesystemBlobs, *, placed: bool) -> None:
    for _ in range(2):
        blob = blobs.create(PLACE)
        blob.write(BYTES)
        if placed:
            assert blob.place(PLACE)
        assert blob.set_aside(ASIDE, DIGEST, size=8, offset=4, is_known=True) == 4
        blobs.sweep([blob.release()])
        assert blobs.size(PLACE) is None
        assert blobs.digest(ASIDE, 4) == DIGEST
    assert len(list(Path(blobs.folder, "conflicts").rglob("*.dcm"))) == 1


def test_what_another_sender_has_set_aside_is_known_by_its_data_set_alone(blobs: FilesystemBlobs) -> None:
    first = blobs.create(PLACE)
    first.write([b"longer meta", b"data set"])
    assert first.set_aside(ASIDE, DIGEST, size=8, offset=11, is_known=True) == 11
    second = blobs.create(PLACE)
    second.write(BYTES)
    assert second.set_aside(ASIDE, DIGEST, size=8, offset=4, is_known=True) == 11
    assert blobs.digest(ASIDE, 11) == DIGEST
    assert list(Path(blobs.folder, "quarantine").rglob("*.dcm")) == []


def test_what_is_wrong_under_its_own_digest_is_not_believed(blobs: FilesystemBlobs) -> None:
    torn = blobs.create(ASIDE)
    torn.write([b"metada"])
    torn.place(ASIDE)
    blob = blobs.create(PLACE)
    blob.write(BYTES)
    assert blob.set_aside(ASIDE, DIGEST, size=8, offset=4, is_known=True) == 4
    assert blobs.digest(ASIDE, 4) == DIGEST
    assert len(list(Path(blobs.folder, "quarantine").rglob("*.dcm"))) == 1


def test_what_is_set_aside_beside_what_nobody_knows_does_not_rely_on_that(blobs: FilesystemBlobs) -> None:
    """It may be about to be deleted."""
    for count in (1, 2):
        blob = blobs.create(PLACE)
        blob.write(BYTES)
        assert blob.set_aside(ASIDE, DIGEST, size=8, offset=4, is_known=False) == 4
        assert len(list(Path(blobs.folder, "conflicts").rglob("*.dcm"))) == count
        blobs.sweep([blob.release()])
    assert list(Path(blobs.folder, "quarantine").rglob("*.dcm")) == []


def test_quarantine_keeps_everything(blobs: FilesystemBlobs) -> None:
    for content in (b"one", b"two"):
        blob = blobs.create(PLACE)
        blob.write([content])
        blob.place(PLACE)
        blobs.sweep([blob.release()])
        assert blobs.path(blobs.quarantine(PLACE)).read_bytes() == content
        assert blobs.size(PLACE) is None
    blobs.quarantine_if_there(PLACE)
    assert {path.read_bytes() for path in Path(blobs.folder, "quarantine").rglob("*.dcm")} == {b"one", b"two"}


def test_removing_what_is_not_there_is_no_error(blobs: FilesystemBlobs) -> None:
    blobs.remove(PLACE)
    assert blobs.size(PLACE) is None


def test_a_folder_removed_behind_our_back_is_made_again(blobs: FilesystemBlobs) -> None:
    first = blobs.create(PLACE)
    first.place(PLACE)
    first.discard()
    for folder in (PLACE.rpartition("/")[0], "blobs/ab/1.2", "blobs/ab"):
        blobs.path(folder).rmdir()
    second = blobs.create(PLACE)
    second.write(BYTES)
    assert second.place(PLACE)
    assert blobs.size(PLACE) == 12


def test_many_small_buffers_are_one_file(blobs: FilesystemBlobs) -> None:
    blob = blobs.create(PLACE)
    blob.write([bytes([number % 256]) for number in range(5000)])  # more than one system call takes
    blob.place(PLACE)
    assert blobs.path(PLACE).read_bytes() == bytes(number % 256 for number in range(5000))
