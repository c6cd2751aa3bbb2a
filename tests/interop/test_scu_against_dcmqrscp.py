"""Our query and retrieve SCUs against DCMTK's archive server, as the command line runs them. STANDARD 4 and 5."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from kit.dcmqrscp import AE_TITLE, Dcmqrscp, dcmqrscp
from kit.hospital import EVERY_STUDY, EVERYTHING_STORED, JANE_OLD, files
from kit.peers import ReceivingPeer, storescp
from kit.server import HOST, RunningServer
from kit.store import Store
from kit.wait import eventually

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        """The tab-separated lines by heading."""
        headings, *rows = (line.split("\t") for line in self.out.splitlines())
        return [dict(zip(headings, row, strict=True)) for row in rows]


Command = Callable[..., Ran]


@dataclass(frozen=True, slots=True)
class Hospital:
    """DCMTK's server with some patients, the storage SCP that it knows as SINK, and ours that it knows as PACS2."""

    peer: Dcmqrscp
    sink: ReceivingPeer
    server: RunningServer


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("dcmqrscp")
    with (
        RunningServer(folder / "data") as server,
        storescp(folder / "sink") as sink,
        dcmqrscp(folder / "peer", destinations={"SINK": sink.port, "PACSLITE": server.port}) as peer,
    ):
        peer.take(files(folder / "files"))
        yield Hospital(peer, sink, server)


@pytest.fixture
def run(hospital: Hospital, tmp_path: Path) -> Command:
    """Run a command against DCMTK's server, in a process of its own."""

    def run(verb: str, *arguments: str | Path | int) -> Ran:
        command = [str(Path(sys.executable).with_name("pacslite")), verb, f"{HOST}:{hospital.peer.port}"]
        done = subprocess.run(
            [*command, "--called", AE_TITLE, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


# --- C-FIND -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "unique", "found"),
    [
        (("-l", "patient"), "PatientID", ["P1", "P4", "p2"]),
        (("-l", "study"), "StudyInstanceUID", EVERY_STUDY),
        (("-l", "study", "-k", "StudyDate=20240102-"), "StudyInstanceUID", ["1.2", "1.3"]),
        (("-l", "study", "-k", "00100010=Doe*"), "StudyInstanceUID", ["1.1", "1.2"]),
        (("-l", "study", "--model", "patient-root", "-k", "PatientID=P1"), "StudyInstanceUID", ["1.1", "1.2"]),
        (("-l", "study", "-k", "StudyInstanceUID=1.1\\1.3"), "StudyInstanceUID", ["1.1", "1.3"]),
        (("-l", "series", "-k", "StudyInstanceUID=1.1"), "SeriesInstanceUID", ["1.1.1", "1.1.2"]),
        (
            ("-l", "image", "-k", "StudyInstanceUID=1.1", "-k", "(0020,000e)=1.1.1"),
            "SOPInstanceUID",
            ["1.1.1.1", "1.1.1.2"],
        ),
    ],
)
def test_find_at_every_level(run: Command, arguments: tuple[str, ...], unique: str, found: list[str]) -> None:
    """QF-01, QF-06."""
    ended = run("find", *arguments)
    assert ended.code == 0, ended
    assert sorted(row[unique] for row in ended.rows) == found
    assert ended.err.startswith(f"{len(found)} answer")


def test_find_as_json(run: Command) -> None:
    ended = run("find", "--json", "-k", "PatientName=SMITH^John*", "--bare")
    assert ended.code == 0, ended
    [answer] = map(json.loads, ended.out.splitlines())
    assert answer["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "SMITH^John^^Dr"}]}
    assert answer["0020000D"]["Value"] == ["1.3"]
    assert "00080020" not in answer


def test_nothing_found(run: Command) -> None:
    """QF-02."""
    ended = run("find", "-k", "PatientName=NOBODY")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("0 answers in ")


def test_limit(run: Command, hospital: Hospital) -> None:
    """QF-24: after N answers the peer is told to stop; with so few it is often done before we have read the first."""
    before = len(hospital.peer.log)

    def is_cancelled() -> bool:
        ended = run("find", "--limit", 1)
        assert ended.code == 0, ended
        assert len(ended.rows) == 1
        assert "stopped by --limit" in ended.err
        return "CANCEL" in hospital.peer.log[before:].upper()

    eventually(is_cancelled, "a C-CANCEL in dcmqrscp's log", within_s=60)
    everything = run("find", "--limit", 4)
    assert len(everything.rows) == 4


def test_what_the_peer_does_not_do_is_said(run: Command) -> None:
    """QF-06, QF-15: DCMTK's server knows no extended negotiation."""
    ended = run("find", "--relational", "--fuzzy", "--combined", "--empty-value", "--multiple-values")
    assert ended.code == 0
    for words in ("relational queries", "fuzzy matching", "combined date", "empty value", "multiple value"):
        assert f"the peer does not do {words}" in ended.err


# --- C-MOVE -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "moved"),
    [
        (("--study", "1.2"), ["1.2.1.1"]),
        (("--study", "1.1", "--series", "1.1.1"), ["1.1.1.1", "1.1.1.2"]),
        (("--study", "1.1", "--series", "1.1.2", "--image", "1.1.2.1"), ["1.1.2.1"]),
        (("--patient", "p2"), ["1.3.1.1"]),
        (("--study", "1.3", "--study", "1.4"), ["1.3.1.1", "1.4.1.1"]),
    ],
)
def test_move_to_storescp(run: Command, hospital: Hospital, keys: tuple[str, ...], moved: list[str]) -> None:
    """QR-08."""
    for path in hospital.sink.files():
        path.unlink()
    ended = run("move", "--to", "SINK", *keys)
    assert ended.code == 0, ended
    assert ended.out.startswith(f"SINK was sent {len(moved)} object")
    received = sorted(path.name.partition(".")[2] for path in hospital.sink.files())
    assert received == moved


def test_move_to_our_server(run: Command, hospital: Hospital) -> None:
    ended = run("move", "--to", "PACSLITE", "--patient", "P1")
    assert ended.code == 0, ended
    expected = sorted(sample.instance for sample in EVERYTHING_STORED if sample.patient_id == "P1")
    assert sorted(one.sop_instance for one in Store(hospital.server.data).files()) == expected


def test_an_unknown_destination(run: Command) -> None:
    """QR-01."""
    ended = run("move", "--to", "NOBODY", "--study", "1.1")
    assert ended.code == 1
    assert "status A801H, move destination unknown" in ended.err


@pytest.mark.parametrize("arguments", [("move", "--to", "SINK"), ("get", "--out", "got")])
def test_nothing_to_retrieve(run: Command, arguments: tuple[str, ...]) -> None:
    """QR-09."""
    ended = run(*arguments, "--study", "9.9")
    assert ended.code == 1
    assert "the peer has nothing of that" in ended.err


# --- C-GET ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preferred", ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian", IMPLICIT])
def test_get(run: Command, tmp_path: Path, preferred: str) -> None:
    """QR-07: on the same association; the files are what was stored."""
    out = tmp_path / "out"
    ended = run("get", "--out", out, "--study", "1.1", "-t", preferred)
    assert ended.code == 0, ended
    assert ended.out.startswith("saved 3 objects")
    assert sorted(path.name for path in out.iterdir()) == ["1.1.1.1.dcm", "1.1.1.2.dcm", "1.1.2.1.dcm"]
    saved = dcmread(out / "1.1.1.1.dcm")
    assert saved.file_meta.TransferSyntaxUID == (EXPLICIT if preferred.startswith("Explicit") else IMPLICIT)
    assert saved.file_meta.SourceApplicationEntityTitle == AE_TITLE
    assert saved.PatientName == JANE_OLD.patient_name
    assert saved.PixelData == JANE_OLD.pixels


def test_get_again(run: Command, tmp_path: Path) -> None:
    """What is there stays; another object of the same name is not overwritten, unless that is asked for."""
    out = tmp_path / "out"
    assert run("get", "--out", out, "--study", "1.1").code == 0
    again = run("get", "--out", out, "--study", "1.1")
    assert again.code == 0
    assert "3 were there already" in again.out
    (out / "1.1.1.1.dcm").write_bytes(b"something else")
    refused = run("get", "--out", out, "--study", "1.1")
    assert refused.code == 1
    assert (out / "1.1.1.1.dcm").read_bytes() == b"something else"
    replaced = run("get", "--out", out, "--study", "1.1", "--replace", "--sync")
    assert replaced.code == 0
    assert dcmread(out / "1.1.1.1.dcm").SOPInstanceUID == "1.1.1.1"
    assert len(list(out.iterdir())) == 3, "no temporary files stay behind"


def test_get_compressed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """QR-06: as it is stored where that syntax is asked for; elsewhere the sub-operation fails and that is told."""
    folder = tmp_path_factory.mktemp("compressed")
    source = get_testdata_file("JPGLosslessP14SV1_1s_1f_8b.dcm")
    assert isinstance(source, str)
    stored = dcmread(source)
    with dcmqrscp(folder / "peer", "--prefer-lossless") as peer:
        peer.take([Path(source)])

        def get(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [str(Path(sys.executable).with_name("pacslite")), "get", f"{HOST}:{peer.port}"]
            return subprocess.run(
                [*command, "--called", AE_TITLE, "--study", stored.StudyInstanceUID, *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                cwd=folder,
            )

        compressed = get("--out", "compressed", "-t", "JPEGLosslessSV1")
        assert compressed.returncode == 0, compressed
        [path] = (folder / "compressed").iterdir()
        saved = dcmread(path)
        assert saved.file_meta.TransferSyntaxUID == JPEG_LOSSLESS
        assert saved.PixelData == stored.PixelData

        plain = get("--out", "plain")
        assert plain.returncode == 1, plain
        assert "see --transfer-syntax, --sop-class" in plain.stderr
        assert list((folder / "plain").iterdir()) == []
