"""gdcmscu's queries. It dies after the release is answered, with any server (see test_gdcm_client.py), before it prints
what it got; so the server's log says what was achieved."""

from __future__ import annotations

from pathlib import Path

from kit.hospital import files
from kit.peers import gdcmscu, storescu
from kit.server import RunningServer


def test_find_at_three_levels(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data", settings={"logging.level": "debug"}) as server:
        assert storescu(server.port, files(tmp_path / "files"), "-aec", "PACSLITE").code == 0
        for options, said in (
            (("--studyroot", "--study"), "Study Root, STUDY level without a key: 4 answers"),
            (("--patientroot", "--patient"), "Patient Root, PATIENT level without a key: 3 answers"),
            (
                ("--studyroot", "--series", "--key", "20,d=1.1"),
                "Study Root, SERIES level by StudyInstanceUID: 2 answers",
            ),
        ):
            before = len(server.log)
            gdcmscu(server.port, "--find", "--call", "PACSLITE", *options, "--key", "10,10=*", "--key", "10,20")
            server.wait_for_log(" released after ", after=before)
            assert said in server.log[before:]
            assert "failure" not in server.log[before:]
