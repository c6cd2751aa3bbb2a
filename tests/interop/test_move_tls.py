"""C-MOVE to a destination that speaks TLS only, and new certificates by SIGHUP (PS3.15 B.12)."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from kit.identifiers import identifier
from kit.mover import mover
from kit.peers import storescp
from kit.rawpeer import EXPLICIT, RawPeer, association, contexts_for
from kit.retrievable import peer
from kit.server import RunningServer
from kit.storm import CT_IMAGE_STORAGE, objects
from kit.tls import Authority

OBJECTS = list(objects("9", [20_000] * 3))
STUDY = identifier("STUDY", StudyInstanceUID=OBJECTS[0].study)


def moved(server: RunningServer) -> tuple[int, str]:
    """Status and Error Comment of the final response."""
    with mover(server.port) as asking:
        asking.move(STUDY, "SECURE")
        final, _ = asking.final()
        asking.peer.release()
        return final.status, final.text(0x0902)


def test_a_destination_with_tls_and_certificates_that_change(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "theirs", "theirs")
    scp, right, wrong = ours.issue("scp"), ours.issue("right"), theirs.issue("wrong")
    certificate, key = tmp_path / "client.crt", tmp_path / "client.key"
    shutil.copy(wrong.certificate_file, certificate)
    shutil.copy(wrong.key_file, key)
    options = ("+tls", scp.key_file, scp.certificate_file, "+cf", ours.file)

    def answers(port: int) -> bool:
        context = ssl.create_default_context(cafile=str(ours.file))
        context.load_cert_chain(right.certificate_file, right.key_file)
        try:
            with RawPeer(port, tls=context) as calling:
                calling.associate()
                return calling.echo() == 0
        except OSError:
            return False

    with storescp(tmp_path / "received", *options, answers=answers) as secure:
        settings = {
            **peer(0, "SECURE", secure.port, tls=True),
            "calling.ca": str(ours.file),
            "calling.certificate": str(certificate),
            "calling.key": str(key),
        }
        with RunningServer(tmp_path / "data", settings=settings) as server:
            with association(server.port, contexts_for((CT_IMAGE_STORAGE, EXPLICIT))) as storing:
                for one in OBJECTS:
                    assert storing.store(1, CT_IMAGE_STORAGE, one.sop_instance, one.data_set()).status == 0x0000
            assert moved(server)[0] == 0xA702
            shutil.copy(right.certificate_file, certificate)
            shutil.copy(right.key_file, key)
            server.hang_up()
            server.wait_for_log("reloaded")
            assert moved(server) == (0x0000, "")
            assert len(secure.files()) == 3


def test_certificates_for_calling_are_checked_before_anything_is_opened(tmp_path: Path) -> None:
    settings = {**peer(0, "SECURE", 1, tls=True), "calling.ca": str(tmp_path / "nothing.crt")}
    with pytest.raises(AssertionError, match=r"cannot use certificate authority .*nothing\.crt"):
        RunningServer(tmp_path / "data", settings=settings).start()
