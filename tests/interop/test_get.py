"""C-GET: DCMTK's getscu with every preference it has, and pynetdicom. STANDARD §5."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from kit.identifiers import identifier
from kit.peers import DCMTK, Ran, run
from kit.retrievable import Kept, archive_with, assert_identical, received, retrievable
from kit.server import HOST, RunningServer
from kit.shipped import DicomObject, part10

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
ALL = retrievable()
AS_THEY_ARE = [one for one in ALL if one.object.transfer_syntax == EXPLICIT][:12]
SYNTAXES = sorted({one.object.transfer_syntax for one in ALL})
ONE_OF_EACH = [next(one for one in ALL if one.object.transfer_syntax == syntax) for syntax in SYNTAXES]
PREFERENCES = (
    *("+x=", "+xe", "+xb", "+xs", "+xy", "+xx", "+xv", "+xw", "+xt", "+xu", "+xm", "+xh"),
    *("+xn", "+xl", "+x2", "+x3", "+xo", "+x4", "+x5", "+xr", "+xd", "+xi"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with archive_with(tmp_path_factory.mktemp("get"), [*AS_THEY_ARE, *ONE_OF_EACH], {}) as (running, _):
        yield running


def getscu(server: RunningServer, folder: Path, kept: Sequence[Kept], *options: str) -> Ran:
    folder.mkdir(exist_ok=True)
    studies = "\\".join(dict.fromkeys(one.study for one in kept))
    return run(
        "getscu",
        *("-v", "-S", "-aec", "PACSLITE", "+B", "-od", str(folder), *options),
        *("-k", "0008,0052=STUDY", "-k", f"0020,000d={studies}", HOST, str(server.port)),
        package=DCMTK,
    )


def of_the_studies(kept: Sequence[Kept]) -> list[Kept]:
    """What the server has of these studies."""
    there = {one.uid: one for one in (*AS_THEY_ARE, *ONE_OF_EACH)}
    studies = {one.study for one in kept}
    return [one for one in there.values() if one.study in studies]


def pixels(one: DicomObject | Path) -> Any:
    """Decoded; None if it has none."""
    data_set = dcmread(one if isinstance(one, Path) else BytesIO(part10(one)), force=True)
    return data_set.pixel_array if "PixelData" in data_set else None


def assert_same_pixels(got: dict[str, DicomObject], kept: Sequence[Kept]) -> None:
    assert got.keys() == {one.uid for one in kept}
    for one in kept:
        there = got[one.uid]
        if there.transfer_syntax == one.object.transfer_syntax:
            padding = b"\0" * (len(one.object.data_set) % 2)  # the shipped deflated one has none (PS3.5 A.5)
            assert there.data_set == one.object.data_set + padding, f"{one} was altered"
            continue
        if one.object.transfer_syntax == JPEG_EXTENDED:
            continue  # of 12 bits, which none of pydicom's plugins decodes: there is nothing to compare with
        expected = pixels(one.object)
        if expected is not None:
            assert there.path is not None
            assert np.array_equal(pixels(there.path), expected), f"{one} as {there.transfer_syntax}"


# --- getscu ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preference", PREFERENCES)
def test_getscu_gets_every_transfer_syntax_whatever_it_prefers(
    server: RunningServer, tmp_path: Path, preference: str
) -> None:
    kept = of_the_studies(ONE_OF_EACH)
    ran = getscu(server, tmp_path / "got", ONE_OF_EACH, preference)
    assert ran.code == 0, ran.output
    assert f"Completed Suboperations : {len(kept)}" in ran.output.replace("  ", " "), ran.output
    assert_same_pixels(received(tmp_path / "got"), kept)


@pytest.mark.parametrize("preference", ["+x=", "+xe", "+xv", "+xs"])
@pytest.mark.parametrize("proposed", ["-x=", "-xi", "-xb"])
def test_what_need_not_be_converted_arrives_byte_for_byte(
    server: RunningServer, tmp_path: Path, preference: str, proposed: str
) -> None:
    kept = of_the_studies(AS_THEY_ARE)
    getscu(server, tmp_path / "got", AS_THEY_ARE, preference, proposed)
    same = [one for one in kept if one.object.transfer_syntax == EXPLICIT]
    got = received(tmp_path / "got")
    assert_identical({one.uid: got[one.uid] for one in same}, same)


# --- pynetdicom ------------------------------------------------------------------------------------------------------


def test_qr_07_qr_13_pynetdicom_gets_what_it_has_roles_for(server: RunningServer) -> None:
    kept = of_the_studies(AS_THEY_ARE)
    classes = sorted({one.object.sop_class for one in kept})
    without_role, with_role = classes[0], classes[1:]
    got: dict[str, bytes] = {}

    def store(event: Any) -> int:
        got[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        assert event.request.MoveOriginatorApplicationEntityTitle is None
        return 0x0000

    final = gotten(
        server,
        identifier("STUDY", StudyInstanceUID=[one.study for one in AS_THEY_ARE]),
        contexts=classes,
        roles=with_role,
        handler=store,
    )
    expected = {one.uid: one.object for one in kept if one.object.sop_class != without_role}
    assert final.Status == 0xB000
    assert final.NumberOfCompletedSuboperations == len(expected)
    assert final.NumberOfFailedSuboperations == len(kept) - len(expected)
    assert "NumberOfRemainingSuboperations" not in final
    assert got.keys() == expected.keys()
    for uid, one in expected.items():
        assert one.transfer_syntax != EXPLICIT or got[uid] == one.data_set


def gotten(
    server: RunningServer, asked: Dataset, *, contexts: Sequence[str], roles: Sequence[str], handler: Any
) -> Dataset:
    """The final response to a C-GET of pynetdicom's."""
    ae = AE(ae_title="PYGET")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    for sop_class in contexts:
        ae.add_requested_context(sop_class, [UID(EXPLICIT), UID(IMPLICIT)])
    association = ae.associate(
        HOST,
        server.port,
        ae_title="PACSLITE",
        ext_neg=[build_role(sop_class, scp_role=True) for sop_class in roles],
        evt_handlers=[(evt.EVT_C_STORE, handler)],
    )
    assert association.is_established
    *_, (final, _) = list(association.send_c_get(asked, StudyRootQueryRetrieveInformationModelGet))
    association.release()
    assert isinstance(final, Dataset)
    return final


def test_failures_of_the_requester_are_counted(server: RunningServer) -> None:
    kept = of_the_studies(AS_THEY_ARE)
    classes = sorted({one.object.sop_class for one in kept})
    answers = iter([0xA700, 0xB000] + [0x0000] * len(kept))
    asked = identifier("STUDY", StudyInstanceUID=[one.study for one in AS_THEY_ARE])
    final = gotten(server, asked, contexts=classes, roles=classes, handler=lambda event: next(answers))
    assert final.Status == 0xB000
    assert final.NumberOfFailedSuboperations == 1
    assert final.NumberOfWarningSuboperations == 1
    assert final.NumberOfCompletedSuboperations == len(kept) - 2


def test_pynetdicoms_getscu(server: RunningServer, tmp_path: Path) -> None:
    one = AS_THEY_ARE[2]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pynetdicom", "getscu", HOST, str(server.port), "-v", "-S", "-aec", "PACSLITE"),
            *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={one.study}", "-od", str(tmp_path / "got")),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert received(tmp_path / "got").keys() == {other.uid for other in of_the_studies([one])}
