"""``pacslite get``: what is proposed, what is saved, what is told. STANDARD 5."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    MRImageStorage,
    StudyRootQueryRetrieveInformationModelGet,
)

from kit.commandline import RunCommand
from kit.server import HOST, free_port
from pacslite.cli.exits import Exit

PENDING = 0xFF00
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG_LS = "1.2.840.10008.1.2.4.80"
Get = Callable[[evt.Event], Iterator[object]]


def image(uid: str, *, sop_class: str = CTImageStorage) -> Dataset:
    data_set = Dataset()
    data_set.SOPClassUID = sop_class
    data_set.SOPInstanceUID = uid
    data_set.PatientName = "Doe^Jane"
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    return data_set


def sending(*images: Dataset) -> Get:
    def get(event: evt.Event) -> Iterator[object]:
        yield len(images)
        for one in images:
            yield PENDING, one

    return get


@contextmanager
def peer(get: Get, proposed: list[Sequence[tuple[str, list[str]]]] | None = None) -> Iterator[str]:
    """A C-GET SCP for CT and MR; the address to call it by. ``proposed`` hears of the contexts of each request."""
    ae = AE(ae_title="PEER")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    for sop_class in (CTImageStorage, MRImageStorage):
        ae.add_supported_context(sop_class, [EXPLICIT, IMPLICIT, JPEG_LS], scu_role=True, scp_role=True)

    def requested(event: evt.Event) -> None:
        if proposed is not None:
            contexts = event.assoc.requestor.requested_contexts
            proposed.append([(str(one.abstract_syntax), list(map(str, one.transfer_syntax))) for one in contexts])

    port = free_port()
    handlers = [(evt.EVT_C_GET, get), (evt.EVT_REQUESTED, requested)]
    server = ae.start_server((HOST, port), block=False, evt_handlers=handlers)
    try:
        yield f"{HOST}:{port}"
    finally:
        server.shutdown()


def test_get(pacslite: RunCommand, tmp_path: Path) -> None:
    """QR-07."""
    with peer(sending(image("1.2.1"), image("1.2.2", sop_class=MRImageStorage))) as address:
        ended = pacslite("get", address, "--out", "a/b", "--study", "1.2", "-v")
    assert ended.code == Exit.OK, ended
    assert sorted(os.listdir(tmp_path / "a/b")) == ["1.2.1.dcm", "1.2.2.dcm"]
    assert ended.lines[:2] == ["saved   a/b/1.2.1.dcm", "saved   a/b/1.2.2.dcm"]
    assert any(line.startswith("saved 2 objects, ") for line in ended.lines)


def test_what_cannot_be_saved_fails_and_the_rest_goes_on(pacslite: RunCommand, tmp_path: Path) -> None:
    """QR-04, QR-06."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.2.1.dcm").write_bytes(b"mine")
    with peer(sending(image("1.2.1"), image("1.2.2"))) as address:
        ended = pacslite("get", address, "--out", "out", "--study", "1.2")
    assert ended.code == Exit.FAILED
    assert "failed  1.2.1: another file of this name is there" in ended.lines
    assert "--transfer-syntax" not in ended.err
    assert "saved 1 object, " in ended.out
    assert "status B000H" in ended.err
    assert (tmp_path / "out" / "1.2.1.dcm").read_bytes() == b"mine"
    assert sorted(os.listdir(tmp_path / "out")) == ["1.2.1.dcm", "1.2.2.dcm"]


def test_nothing_there(pacslite: RunCommand) -> None:
    """QR-09."""
    with peer(sending()) as address:
        ended = pacslite("get", address, "--out", "out", "--study", "1.2")
    assert ended.code == Exit.FAILED
    assert "the peer has nothing of that" in ended.err


def test_what_is_proposed(pacslite: RunCommand) -> None:
    """The usual SOP classes in as many contexts as there are; those that are named with each syntax that is named."""
    proposed: list[Sequence[tuple[str, list[str]]]] = []
    with peer(sending(), proposed) as address:
        pacslite("get", address, "--out", "out", "--study", "1.2")
        names = ("--sop-class", "MRImageStorage", "--sop-class", "1.2.3.4", "-t", "jpeglslossless")
        pacslite("get", address, "--out", "out", "--study", "1.2", *names)
        pacslite("get", address, "--out", "out", "--study", "1.2", *names[:2], "-t", IMPLICIT)
    usual, named, implicit = proposed
    assert len(usual) == 128
    assert usual[0] == (StudyRootQueryRetrieveInformationModelGet, [EXPLICIT, IMPLICIT])
    assert usual[1] == (CTImageStorage, [EXPLICIT, IMPLICIT])
    assert named[1:] == [
        (MRImageStorage, [JPEG_LS]),
        (MRImageStorage, [EXPLICIT, IMPLICIT]),
        ("1.2.3.4", [JPEG_LS]),
        ("1.2.3.4", [EXPLICIT, IMPLICIT]),
    ]
    assert implicit[1:] == [(MRImageStorage, [IMPLICIT])]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--study", "1.2"), "--out"),
        (("--out", "out"), "name what to retrieve"),
        (("--out", "out", "--study", "1.2", "-t", "JPEGLSLosless"), "the nearest is JPEGLSLossless"),
        (("--out", "out", "--study", "1.2", "--sop-class", "CTImage"), "is no sop class"),
        (("--out", "taken", "--study", "1.2"), "taken"),
        (("--out", "taken/below", "--study", "1.2"), "--out taken/below: Not a directory"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_opened(
    pacslite: RunCommand, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "taken").write_bytes(b"")
    ended = pacslite("get", "localhost:104", *arguments)
    assert ended.code == Exit.USAGE
    assert words in ended.err


def test_a_peer_that_vanishes(pacslite: RunCommand, tmp_path: Path) -> None:
    """What came before is kept and told."""

    def get(event: evt.Event) -> Iterator[object]:
        yield 2
        yield PENDING, image("1.2.1")
        event.assoc.abort()
        yield PENDING, image("1.2.2")

    with peer(get) as address:
        ended = pacslite("get", address, "--out", "out", "--study", "1.2")
    assert ended.code == Exit.UNREACHABLE
    assert "saved 1 object, " in ended.out
    assert os.listdir(tmp_path / "out") == ["1.2.1.dcm"]
