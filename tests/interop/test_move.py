"""C-MOVE: DCMTK, pynetdicom and GDCM ask, DCMTK's storescp and pynetdicom take. STANDARD §5, ST-05."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelMove,
)

from kit.identifiers import identifier
from kit.peers import DCMTK, Ran, ReceivingPeer, gdcmscu, run, storescp
from kit.retrievable import Kept, archive_with, assert_identical, peer, received, retrievable
from kit.server import HOST, RunningServer, free_port

SOME = tuple(one for one in retrievable() if one.patient)[:40]
"""Of many SOP classes and transfer syntaxes, and of patients who have an ID."""


@dataclass
class Taken:
    """What the pynetdicom SCP has seen of each C-STORE."""

    uids: list[str] = field(default_factory=list)
    originators: set[tuple[str, int]] = field(default_factory=set)
    priorities: set[int] = field(default_factory=set)
    data_sets: dict[str, bytes] = field(default_factory=dict)

    def store(self, event: Any) -> int:
        request = event.request
        self.uids.append(str(request.AffectedSOPInstanceUID))
        self.originators.add((str(request.MoveOriginatorApplicationEntityTitle), request.MoveOriginatorMessageID))
        self.priorities.add(request.Priority)
        self.data_sets[self.uids[-1]] = request.DataSet.getvalue()
        return 0x0000


@contextmanager
def pynetdicom_scp(contexts: Sequence[tuple[str, Sequence[str]]], taken: Taken, port: int) -> Iterator[None]:
    ae = AE(ae_title="PYSCP")
    for abstract_syntax, syntaxes in contexts:
        ae.add_supported_context(abstract_syntax, [UID(one) for one in syntaxes])
    scp = ae.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, taken.store)])
    try:
        yield
    finally:
        scp.shutdown()


@dataclass
class Site:
    server: RunningServer
    storescp: ReceivingPeer
    pynetdicom_port: int

    def emptied(self) -> Path:
        for path in self.storescp.files():
            path.unlink()
        return self.storescp.folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("move")
    pynetdicom_port = free_port()
    with storescp(folder / "received") as dcmtk:
        peers = {
            **peer(0, "STORESCP", dcmtk.port),
            **peer(1, "PYSCP", pynetdicom_port),
            **peer(2, "NOBODY", free_port()),
            **peer(3, "TWICE", dcmtk.port, associations=2),
        }
        with archive_with(folder, SOME, peers) as (server, _):
            yield Site(server, dcmtk, pynetdicom_port)


def movescu(
    site: Site, level: str, *keys: str, to: str = "STORESCP", model: str = "-S", options: Sequence[str] = ()
) -> Ran:
    arguments = ["-v", model, "-aec", "PACSLITE", "-aem", to, *options, "-k", f"0008,0052={level}"]
    for key in keys:
        arguments += ["-k", key]
    return run("movescu", *arguments, HOST, str(site.server.port), package=DCMTK)


def values(kept: Sequence[Kept], name: str) -> str:
    return "\\".join(dict.fromkeys(getattr(one, name) for one in kept))


# --- DCMTK asks ------------------------------------------------------------------------------------------------------


def test_everything_arrives_byte_for_byte(site: Site) -> None:
    folder = site.emptied()
    ran = movescu(site, "STUDY", f"0020,000d={values(SOME, 'study')}")
    assert "Received Final Move Response (Success)" in ran.output
    assert_identical(received(folder), SOME)


@pytest.mark.parametrize("to", ["STORESCP", "TWICE"])
@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_every_level_of_patient_root(site: Site, level: str, to: str) -> None:
    folder = site.emptied()
    one = SOME[5]
    keys = {
        "PATIENT": (f"0010,0020={one.patient}",),
        "STUDY": (f"0010,0020={one.patient}", f"0020,000d={one.study}"),
        "SERIES": (f"0010,0020={one.patient}", f"0020,000d={one.study}", f"0020,000e={one.series}"),
        "IMAGE": (
            f"0010,0020={one.patient}",
            f"0020,000d={one.study}",
            f"0020,000e={one.series}",
            f"0008,0018={one.uid}",
        ),
    }[level]
    same = {
        "PATIENT": lambda other: other.patient == one.patient,
        "STUDY": lambda other: other.study == one.study,
        "SERIES": lambda other: other.series == one.series,
        "IMAGE": lambda other: other.uid == one.uid,
    }[level]
    assert "(Success)" in movescu(site, level, *keys, model="-P", to=to).output
    assert_identical(received(folder), filter(same, SOME))


def test_patient_study_only_and_a_study_without_a_patient_id(site: Site) -> None:
    folder = site.emptied()
    assert "(Success)" in movescu(site, "STUDY", f"0020,000d={SOME[0].study}", model="-O").output
    assert_identical(received(folder), (one for one in SOME if one.study == SOME[0].study))


def test_qr_01_an_unknown_destination_is_refused_whatever_is_asked_for(site: Site) -> None:
    for study in (SOME[0].study, "1.2.3.99"):
        ran = movescu(site, "STUDY", f"0020,000d={study}", to="ELSEWHERE", options=["-d"])
        assert "0xa801" in ran.output.lower()
        assert "ELSEWHERE" in ran.output


def test_qr_12_a_destination_that_cannot_be_reached(site: Site) -> None:
    ran = movescu(site, "STUDY", f"0020,000d={SOME[0].study}", to="NOBODY", options=["-d"])
    assert "0xa702" in ran.output.lower()
    assert SOME[0].uid in ran.output
    site.server.wait_for_log("cannot connect")


def test_qr_09_nothing_to_send_needs_no_destination(site: Site) -> None:
    ran = movescu(site, "STUDY", "0020,000d=1.2.3.99", to="NOBODY", options=["-d"])
    assert "Completed Suboperations" in ran.output
    assert "DIMSE Status                  : 0x0000" in ran.output


@pytest.mark.parametrize("level", ["PATIENT", "FRAME"])
def test_qr_08_what_the_model_does_not_have_is_refused_with_words(site: Site, level: str) -> None:
    ran = movescu(site, level, "0010,0020=X", options=["-d"])
    assert "0xa900" in ran.output.lower()
    assert "use STUDY, SERIES, IMAGE" in ran.output


def test_qr_11_cancelled_by_movescu(site: Site) -> None:
    """It cancels after the first pending answer, and there is none when all is done within a second."""
    ran = movescu(site, "STUDY", f"0020,000d={values(SOME, 'study')}", options=["--cancel", "1"])
    assert "(Success)" in ran.output or "Canceled" in ran.output


def test_a_refusal_of_everything_comes_with_its_list(site: Site, tmp_path: Path) -> None:
    """storescp that takes uncompressed transfer syntaxes only, and a server that converts nothing."""
    compressed = [one for one in SOME if one.object.transfer_syntax.startswith("1.2.840.10008.1.2.4")][:3]
    assert compressed
    with storescp(tmp_path / "picky", "+xi") as picky:
        settings = {**peer(0, "PICKY", picky.port), "retrieve.convert": False}
        with archive_with(tmp_path, compressed, settings) as (server, _):
            other = Site(server, picky, 0)
            ran = movescu(other, "STUDY", f"0020,000d={values(compressed, 'study')}", to="PICKY", options=["-d"])
            assert "0xa702" in ran.output.lower()
            for one in compressed:
                assert one.uid in ran.output


# --- pynetdicom takes, pynetdicom and GDCM ask -----------------------------------------------------------------------


def scp_contexts(kept: Sequence[Kept]) -> list[tuple[str, list[str]]]:
    classes: dict[str, set[str]] = {}
    for one in kept:
        classes.setdefault(one.object.sop_class, {"1.2.840.10008.1.2"}).add(one.object.transfer_syntax)
    return [(sop_class, sorted(syntaxes)) for sop_class, syntaxes in classes.items()]


def test_st_05_qr_07_pynetdicom_sees_the_originator_and_the_priority(site: Site) -> None:
    taken = Taken()
    with pynetdicom_scp(scp_contexts(SOME), taken, site.pynetdicom_port):
        asked = identifier("STUDY", StudyInstanceUID=[one.study for one in SOME[:6]])
        final = moved(site, asked, "PYSCP", msg_id=77, priority=1)
    expected = {one.uid: one.object.data_set for one in SOME if one.study in {other.study for other in SOME[:6]}}
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0x0000, len(expected))
    assert "NumberOfRemainingSuboperations" not in final
    assert taken.originators == {("PYSCU", 77)}
    assert taken.priorities == {1}
    assert taken.data_sets == expected


def moved(site: Site, asked: Dataset, to: str, **options: int) -> Dataset:
    """The final response to a C-MOVE of pynetdicom's; those before it must be pending."""
    ae = AE(ae_title="PYSCU")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
    ae.add_requested_context(PatientRootQueryRetrieveInformationModelMove)
    association = ae.associate(HOST, site.server.port, ae_title="PACSLITE")
    assert association.is_established
    *pending, (final, _) = list(
        association.send_c_move(asked, to, StudyRootQueryRetrieveInformationModelMove, **options)
    )
    assert all(status.Status == 0xFF00 for status, _ in pending)
    association.release()
    assert isinstance(final, Dataset)
    return final


def test_qr_06_a_context_that_is_refused_costs_its_objects_only(site: Site) -> None:
    """The SCP does not know one of the SOP classes."""
    classes = {one.object.sop_class for one in SOME}
    unknown = SOME[0].object.sop_class
    assert len(classes) > 3
    taken = Taken()
    contexts = [(sop_class, syntaxes) for sop_class, syntaxes in scp_contexts(SOME) if sop_class != unknown]
    with pynetdicom_scp(contexts, taken, site.pynetdicom_port):
        final = moved(site, identifier("STUDY", StudyInstanceUID=[one.study for one in SOME]), "PYSCP")
    failed = {one.uid for one in SOME if one.object.sop_class == unknown}
    assert final.Status == 0xB000
    assert final.NumberOfFailedSuboperations == len(failed)
    assert final.NumberOfCompletedSuboperations == len(SOME) - len(failed)
    assert set(taken.uids) == {one.uid for one in SOME} - failed


def test_pynetdicoms_movescu(site: Site) -> None:
    folder = site.emptied()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pynetdicom", "movescu", HOST, str(site.server.port), "-v", "-S"),
            *("-aec", "PACSLITE", "-aem", "STORESCP"),
            *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={SOME[3].study}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_identical(received(folder), (one for one in SOME if one.study == SOME[3].study))


def test_gdcmscu_moves_to_itself(site: Site, tmp_path: Path) -> None:
    """It takes implicit VR, and that is how this one is stored."""
    kept = [one for one in retrievable() if one.object.transfer_syntax == "1.2.840.10008.1.2" and one.patient][:1]
    port = free_port()
    with archive_with(tmp_path, kept, peer(0, "GDCMSCU", port, permissions=["query", "retrieve"])) as (server, _):
        (tmp_path / "out").mkdir()
        gdcmscu(
            server.port,
            *("--move", "--patientroot", "--patient", "--aetitle", "GDCMSCU", "--call", "PACSLITE"),
            *("--port-scp", str(port), "--key", f"10,20={kept[0].patient}", "-o", tmp_path / "out"),
        )
        server.wait_for_log("C-MOVE")
        assert received(tmp_path / "out").keys() == {kept[0].uid}
