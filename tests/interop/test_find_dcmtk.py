"""DCMTK's findscu against the running server: models, levels, transfer syntaxes, cancellation. STANDARD 4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from kit.hospital import EVERY_STUDY, files
from kit.peers import Ran, findscu, storescu
from kit.population import fill, studies
from kit.server import RunningServer

MANY = 3000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("find")
    with RunningServer(folder / "data") as running:
        sent = storescu(running.port, files(folder / "files"), "-aec", "PACSLITE")
        assert sent.code == 0, sent.output
        yield running


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with thousands of studies."""
    data = tmp_path_factory.mktemp("crowded") / "data"
    fill(data, studies(MANY))
    with RunningServer(data) as running:
        yield running


def keys(*pairs: str) -> list[str]:
    return [part for pair in pairs for part in ("-k", pair)]


def ask(server: RunningServer, folder: Path, *options: str) -> tuple[list[Dataset], Ran]:
    """The answers, and what findscu said."""
    folder.mkdir(exist_ok=True)
    ran = findscu(server.port, *options, "-X", "-od", folder)
    assert ran.code == 0, ran.output
    return [dcmread(path) for path in sorted(folder.glob("rsp*.dcm"))], ran


@pytest.mark.parametrize(
    ("model", "level", "given", "unique", "found"),
    [
        ("-P", "PATIENT", (), "PatientID", ["P1", "P4", "p2"]),
        ("-P", "STUDY", ("PatientID=P1",), "StudyInstanceUID", ["1.1", "1.2"]),
        ("-P", "SERIES", ("PatientID=P1", "StudyInstanceUID=1.1"), "SeriesInstanceUID", ["1.1.1", "1.1.2"]),
        (
            "-P",
            "IMAGE",
            ("PatientID=P1", "StudyInstanceUID=1.1", "SeriesInstanceUID=1.1.1"),
            "SOPInstanceUID",
            ["1.1.1.1", "1.1.1.2"],
        ),
        ("-S", "STUDY", (), "StudyInstanceUID", EVERY_STUDY),
        ("-S", "SERIES", ("StudyInstanceUID=1.1",), "SeriesInstanceUID", ["1.1.1", "1.1.2"]),
        (
            "-S",
            "IMAGE",
            ("StudyInstanceUID=1.1", "SeriesInstanceUID=1.1.1"),
            "SOPInstanceUID",
            ["1.1.1.1", "1.1.1.2"],
        ),
        ("-O", "PATIENT", (), "PatientID", ["P1", "P4", "p2"]),
        ("-O", "STUDY", ("PatientID=P1",), "StudyInstanceUID", ["1.1", "1.2"]),
    ],
)
def test_qf_04_every_model_and_level(
    server: RunningServer, tmp_path: Path, model: str, level: str, given: tuple[str, ...], unique: str, found: list[str]
) -> None:
    answers, ran = ask(server, tmp_path, model, *keys(f"QueryRetrieveLevel={level}", *given, f"{unique}="))
    assert sorted(answer[unique].value for answer in answers) == found
    assert {(answer.QueryRetrieveLevel, answer.RetrieveAETitle) for answer in answers} == {(level, "PACSLITE")}
    assert "Received Final Find Response (Success)" in ran.output


@pytest.mark.parametrize("syntax", ["-x=", "-xe", "-xb", "-xd", "-xi"])
def test_every_transfer_syntax(server: RunningServer, tmp_path: Path, syntax: str) -> None:
    asked = keys("QueryRetrieveLevel=STUDY", "PatientName=doe*", "StudyDate=", "NumberOfStudyRelatedInstances=")
    answers, ran = ask(server, tmp_path, "-S", syntax, *asked)
    assert sorted((answer.StudyDate, answer.NumberOfStudyRelatedInstances) for answer in answers) == [
        ("20240101", 3),
        ("20240103", 1),
    ]
    assert ran.output.count("(Pending)") == 2


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("PatientName=*mit*", ["1.3"]),
        ("PatientName=DOE^J?NE", ["1.1", "1.2"]),
        ("AccessionNumber=A_1%", ["1.1"]),
        ("AccessionNumber=a_1%", ["1.3"]),
        ("StudyDate=20240102-", ["1.2", "1.3"]),
        ("StudyTime=223000", ["1.2"]),
        ("ModalitiesInStudy=MR\\SR", ["1.1", "1.2"]),
        ("StudyInstanceUID=1.2\\1.4\\7.7", ["1.2", "1.4"]),
        ("PatientID=nobody", []),
    ],
)
def test_keys(server: RunningServer, tmp_path: Path, given: str, found: list[str]) -> None:
    wanted = () if given.startswith("StudyInstanceUID") else ("StudyInstanceUID=",)
    answers, _ = ask(server, tmp_path, "-S", *keys("QueryRetrieveLevel=STUDY", given, *wanted))
    assert sorted(answer.StudyInstanceUID for answer in answers) == found


def test_qf_17_a_key_within_a_sequence(server: RunningServer, tmp_path: Path) -> None:
    asked = ("QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.1", "Modality=")
    path = "RequestAttributesSequence[0].RequestedProcedureID"
    answers, _ = ask(server, tmp_path / "all", "-S", *keys(*asked, f"{path}="))
    assert sorted(answer.Modality for answer in answers) == ["CT", "SR"]
    none, _ = ask(server, tmp_path / "none", "-S", *keys(*asked, f"{path}=R9"))
    assert none == []


@pytest.mark.parametrize(
    ("given", "words", "offending"),
    [
        (("QueryRetrieveLevel=PATIENT",), "Study Root has no PATIENT level", "0008,0052"),
        (("QueryRetrieveLevel=WARD",), "no such Query/Retrieve Level", "0008,0052"),
        (("QueryRetrieveLevel=SERIES", "Modality=CT"), "SERIES level needs StudyInstanceUID", "0020,000d"),
        (("QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.*"), "StudyInstanceUID: no wild cards", "0020,000d"),
        (("QueryRetrieveLevel=STUDY", "StudyDate=soon"), "StudyDate: ", "0008,0020"),
    ],
)
def test_qf_04_qf_06_and_qf_10_a_refusal_says_why(
    server: RunningServer, given: tuple[str, ...], words: str, offending: str
) -> None:
    ran = findscu(server.port, "-d", "-S", *keys(*given))
    assert "DIMSE Status                  : 0xa900" in ran.output, ran.output
    assert words in ran.output
    assert offending in ran.output.lower()


def test_qf_24_cancel(crowded: RunningServer) -> None:
    before = len(crowded.log)
    ran = findscu(crowded.port, "-S", "--cancel", "5", *keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID="))
    assert ran.code == 0, ran.output
    received = len(re.findall(r"\(Pending\)", ran.output))
    final = re.search(r"Received Final Find Response \((.*?)\)", ran.output)
    assert final is not None, ran.output
    # The whole list may have left before the C-CANCEL arrived: then the answer is Success, and nothing is missing.
    if "Success" in final[1]:
        assert received == MANY
    else:
        assert "Cancel" in final[1]
        assert 5 <= received < MANY
    assert "defect" not in crowded.log[before:]


def test_a_long_list_arrives_whole(crowded: RunningServer, tmp_path: Path) -> None:
    answers, ran = ask(crowded, tmp_path, "-S", *keys("QueryRetrieveLevel=STUDY", "StudyInstanceUID=", "PatientName="))
    assert {answer.StudyInstanceUID for answer in answers} == {f"1.2.9.{number}" for number in range(MANY)}
    assert "Received Final Find Response (Success)" in ran.output
