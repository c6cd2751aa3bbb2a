"""pynetdicom as a query client: its SCU, its findscu, and SOP Class Extended Negotiation. STANDARD 4, DM-04."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from kit.finding import CANCELLED, PATIENT_ROOT, PATIENT_STUDY_ONLY, PENDING, PENDING_WITH_WARNING, STUDY_ROOT
from kit.hospital import EVERY_STUDY, files
from kit.identifiers import SYNTAXES, identifier
from kit.peers import storescu
from kit.population import fill, studies
from kit.server import RunningServer

EVERYTHING = b"\1\1\1\1\1\1\1"
MANY = 4000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("find")
    with RunningServer(folder / "data") as running:
        sent = storescu(running.port, files(folder / "files"), "-aec", "PACSLITE")
        assert sent.code == 0, sent.output
        yield running


@contextmanager
def associated(
    server: RunningServer, sop_class: str = STUDY_ROOT, *, syntax: str | None = None, extended: bytes = b""
) -> Iterator[Association]:
    offered = []
    if extended:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = UID(sop_class)
        item.service_class_application_information = extended
        offered.append(item)
    ae = AE(ae_title="PYNETDICOM")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    association = ae.associate(
        "127.0.0.1",
        server.port,
        contexts=[build_context(sop_class, syntax)],
        ae_title="PACSLITE",
        ext_neg=offered or None,
    )
    assert association.is_established
    yield association
    association.release()
    assert association.is_released


def ask(
    association: Association, asked: Dataset, sop_class: str = STUDY_ROOT
) -> tuple[Dataset, list[Dataset], set[int]]:
    """The final status, the answers, and the statuses that they came with."""
    responses = list(association.send_c_find(asked, UID(sop_class)))
    *pending, (final, nothing) = responses
    assert nothing is None  # QF-02
    answers = [answer for _, answer in pending if answer is not None]
    assert len(answers) == len(pending)
    return final, answers, {status.Status for status, _ in pending}


@pytest.mark.parametrize(
    ("sop_class", "level", "given", "unique", "found"),
    [
        (PATIENT_ROOT, "PATIENT", {}, "PatientID", ["P1", "P4", "p2"]),
        (PATIENT_ROOT, "STUDY", {"PatientID": "P1"}, "StudyInstanceUID", ["1.1", "1.2"]),
        (STUDY_ROOT, "STUDY", {}, "StudyInstanceUID", EVERY_STUDY),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.1"}, "SeriesInstanceUID", ["1.1.1", "1.1.2"]),
        (
            STUDY_ROOT,
            "IMAGE",
            {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"},
            "SOPInstanceUID",
            ["1.1.1.1", "1.1.1.2"],
        ),
        (PATIENT_STUDY_ONLY, "STUDY", {"PatientID": "p2"}, "StudyInstanceUID", ["1.3"]),
    ],
)
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_model_level_and_syntax(
    server: RunningServer, syntax: str, sop_class: str, level: str, given: dict[str, str], unique: str, found: list[str]
) -> None:
    with associated(server, sop_class, syntax=syntax) as association:
        final, answers, statuses = ask(association, identifier(level, **given, **{unique: ""}), sop_class)
    assert (final.Status, statuses) == (0, {PENDING})
    assert sorted(answer[unique].value for answer in answers) == found
    assert {(answer.QueryRetrieveLevel, answer.RetrieveAETitle) for answer in answers} == {(level, "PACSLITE")}


@pytest.mark.parametrize(
    ("offered", "answered"),
    [(b"\1", b"\1"), (b"\1\1\1\1", b"\1\1\1\1"), (b"\0\0\1", b"\0\0\1"), (EVERYTHING, b"\1\1\1\1\0\1\1")],
)
def test_dm_04_extended_negotiation_is_answered_once_for_each_class(
    server: RunningServer, offered: bytes, answered: bytes
) -> None:
    with associated(server, extended=offered) as association:
        assert association.acceptor.sop_class_extended == {STUDY_ROOT: answered}
    with associated(server) as association:
        assert association.acceptor.sop_class_extended == {}


def test_qf_06_relational_queries(server: RunningServer) -> None:
    asked = identifier("SERIES", PatientName="doe*", Modality="", StudyDate="")
    with associated(server) as association:
        final, answers, _ = ask(association, asked)
    assert (final.Status, answers) == (0xA900, [])
    assert "StudyInstanceUID" in final.ErrorComment
    assert final.OffendingElement == 0x0020000D
    with associated(server, extended=b"\1") as association:
        final, answers, statuses = ask(association, asked)
    assert (final.Status, statuses) == (0, {PENDING})
    assert sorted(answer.Modality for answer in answers) == ["CT", "MR", "SR"]


def test_qf_15_combined_date_and_time(server: RunningServer) -> None:
    asked = identifier("STUDY", StudyDate="20240101-20240103", StudyTime="2315-0600", StudyInstanceUID="")
    with associated(server, extended=b"\0\1") as association:
        _, answers, _ = ask(association, asked)
    assert [answer.StudyInstanceUID for answer in answers] == ["1.1"]
    with associated(server, extended=b"\0\0") as association:
        final, _, _ = ask(association, asked)
    assert final.Status == 0xA900


def test_qf_09_fuzzy_names(server: RunningServer) -> None:
    asked = identifier("STUDY", PatientName="john smyth", StudyInstanceUID="")
    for offered, found in ((b"\0\0\1", ["1.3"]), (b"\0\0\0", [])):
        with associated(server, extended=offered) as association:
            _, answers, _ = ask(association, asked)
        assert [answer.StudyInstanceUID for answer in answers] == found


def test_qf_23_empty_and_multiple_values(server: RunningServer) -> None:
    with associated(server, extended=b"\0\0\0\0\0\1\1") as association:
        _, answers, _ = ask(association, identifier("STUDY", AccessionNumber='""', StudyInstanceUID=""))
        assert [answer.StudyInstanceUID for answer in answers] == ["1.4"]
        _, answers, _ = ask(association, identifier("STUDY", OtherPatientIDs=["X2", "X1"], StudyInstanceUID=""))
        assert sorted(answer.StudyInstanceUID for answer in answers) == ["1.1", "1.2"]
    with associated(server) as association:
        final, _, _ = ask(association, identifier("STUDY", OtherPatientIDs=["X2", "X1"]))
        assert final.Status == 0xA900


def test_qf_01_and_qf_03_what_is_not_supported_is_left_out_with_ff01(server: RunningServer) -> None:
    with associated(server) as association:
        _, answers, statuses = ask(association, identifier("STUDY", PatientID="P1", RetrieveURL=""))
    assert statuses == {PENDING_WITH_WARNING}
    assert len(answers) == 2
    assert not any("RetrieveURL" in answer for answer in answers)


def test_qf_02_no_match(server: RunningServer) -> None:
    with associated(server) as association:
        final, answers, _ = ask(association, identifier("STUDY", PatientID="NOBODY"))
    assert (final.Status, answers) == (0, [])


def test_many_queries_on_one_association(server: RunningServer) -> None:
    with associated(server) as association:
        for _ in range(100):
            _, answers, _ = ask(association, identifier("STUDY", StudyInstanceUID="1.2", PatientName=""))
            assert [str(answer.PatientName) for answer in answers] == ["Doe^Jane"]


def test_qf_24_a_cancelled_query_ends_with_fe00_or_had_ended_before(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    data = tmp_path_factory.mktemp("crowded") / "data"
    fill(data, studies(MANY))
    with RunningServer(data) as crowded, associated(crowded) as association:
        statuses = []
        for status, _ in association.send_c_find(identifier("STUDY", StudyInstanceUID=""), UID(STUDY_ROOT), msg_id=7):
            statuses.append(status.Status)
            if len(statuses) == 3:
                association.send_c_cancel(7, association.accepted_contexts[0].context_id)
        *pending, final = statuses
        assert set(pending) == {PENDING}
        assert (final == CANCELLED and len(pending) < MANY) or (final == 0 and len(pending) == MANY)
        final_status, answers, _ = ask(association, identifier("STUDY", StudyInstanceUID="1.2.9.5"))
        assert (final_status.Status, len(answers)) == (0, 1)


def test_its_findscu(server: RunningServer, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pynetdicom", "findscu", "127.0.0.1", str(server.port), "-aec", "PACSLITE", "-S"]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=smith*", "-k", "StudyInstanceUID="]
    ran = subprocess.run([*command, *keys, "-w"], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = ran.stdout + ran.stderr
    assert "Find SCP Response: 1 - 0xFF00 (Pending)" in said
    assert "Find SCP Result: 0x0000 (Success)" in said
    assert "SMITH^John^^Dr" in said
