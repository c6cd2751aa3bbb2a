"""gdcmscu, the third stack: its network code is its own."""

from __future__ import annotations

from pathlib import Path

from kit.odd import IMPLICIT, make
from kit.peers import Ran, gdcmscu
from kit.server import RunningServer
from kit.shipped import part10
from kit.store import Store

_DIES = "ProtocolStream as nullptr is invalid"


def assert_well(ran: Ran) -> None:
    """Debian's gdcmscu 3.0.21 dies after the release is answered, with any server (storescp for one): only that is
    passed over, so the server's log and store say what was achieved before."""
    assert ran.code == 0 or _DIES in ran.output, ran.output


def test_echo(server: RunningServer) -> None:
    before = len(server.log)
    ran = gdcmscu(server.port, "--echo", "--aetitle", "GDCMSCU-ECHO", "--call", "PACSLITE")
    assert_well(ran)
    line = server.wait_for_log("GDCMSCU-ECHO@", after=before)
    assert "released" in line
    assert "1 operation" in line


def test_store(server: RunningServer, store: Store, tmp_path: Path) -> None:
    # gdcmscu proposes the transfer syntax of each file.
    sent = [
        make(f"gdcm-{syntax}-{at}", syntax=syntax) for at in range(3) for syntax in (IMPLICIT, "1.2.840.10008.1.2.1")
    ]
    for one in sent:
        path = tmp_path / f"{one.name}.dcm"
        path.write_bytes(part10(one))
        ran = gdcmscu(server.port, "--store", "--call", "PACSLITE", "-i", path)
        assert_well(ran)
    for one in sent:
        assert [found.transfer_syntax for found in store.copies(one.sop_instance)] == [one.transfer_syntax]
