"""``pacslite echo`` against DCMTK and pynetdicom."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification

from kit.commandline import RunCommand
from kit.peers import DCMTK, program, storescp
from kit.server import HOST, free_port
from kit.tls import Authority
from kit.wait import eventually
from pacslite.cli.calling import PASSCODE_VARIABLE
from pacslite.cli.exits import Exit


@contextmanager
def pynetdicom_scp(
    *,
    abstract_syntax: str = Verification,
    called_ae: bool = False,
    echo: Callable[[evt.Event], int] = lambda event: 0x0000,
    user: Callable[[evt.Event], tuple[bool, bytes | None]] | None = None,
) -> Iterator[int]:
    ae = AE(ae_title="PEER")
    ae.require_called_aet = called_ae
    ae.add_supported_context(abstract_syntax)
    handlers = [(evt.EVT_C_ECHO, echo)] + ([] if user is None else [(evt.EVT_USER_ID, user)])
    port = free_port()
    server = ae.start_server((HOST, port), block=False, evt_handlers=handlers)
    try:
        yield port
    finally:
        server.shutdown()


def test_storescp_answers(pacslite: RunCommand, tmp_path: Path) -> None:
    with storescp(tmp_path / "received") as peer:
        ended = pacslite("echo", f"{HOST}:{peer.port}", "-n", 3, "-v", "--called", "STORESCP")
    assert ended.code == Exit.OK
    assert [line.endswith(f"({n})") for n, line in enumerate(ended.lines[3:6], start=1)] == [True] * 3
    assert "OFFIS_DCMTK" in ended.out
    assert ended.lines[-1].startswith("3 of 3 succeeded, min/mean/max ")


def test_a_peer_of_the_configuration(pacslite: RunCommand, tmp_path: Path) -> None:
    with pynetdicom_scp(called_ae=True) as port:
        (tmp_path / "pacslite.toml").write_text(f'[[peers]]\nae_title = "PEER"\naddress = "{HOST}"\nport = {port}\n')
        ended = pacslite("echo", "PEER")
    assert (ended.code, ended.err) == (Exit.OK, "")
    assert ended.out.startswith(f"PEER at {HOST}:{port}: answered, ")


def test_nobody_there(pacslite: RunCommand) -> None:
    port = free_port()
    ended = pacslite("echo", f"{HOST}:{port}")
    assert ended.code == Exit.UNREACHABLE
    assert ended.err.splitlines() == [f"pacslite: cannot connect to {HOST}:{port}: Connection refused"]


def test_a_peer_that_knows_another_title_for_itself(pacslite: RunCommand) -> None:
    with pynetdicom_scp(called_ae=True) as port:
        ended = pacslite("echo", f"{HOST}:{port}", "--called", "OTHER")
    assert ended.code == Exit.UNREACHABLE
    assert "called AE title not recognized" in ended.err


def test_a_peer_without_verification(pacslite: RunCommand) -> None:
    with pynetdicom_scp(abstract_syntax=CTImageStorage) as port:
        ended = pacslite("echo", f"{HOST}:{port}")
    assert ended.code == Exit.FAILED
    assert "the peer refuses Verification SOP Class" in ended.err


def test_a_peer_that_answers_with_a_failure(pacslite: RunCommand) -> None:
    with pynetdicom_scp(echo=lambda event: 0x0122) as port:
        ended = pacslite("echo", f"{HOST}:{port}")
    assert ended.code == Exit.FAILED
    assert "status 0122H, SOP class not supported" in ended.out


def test_user_identity(pacslite: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-05: kind 1 with a name alone, kind 2 with name and passcode."""
    seen: list[tuple[int, bytes, bytes]] = []

    def check(event: evt.Event) -> tuple[bool, bytes | None]:
        seen.append((event.user_id_type, event.primary_field, event.secondary_field or b""))
        return event.secondary_field == b"geheim", None

    monkeypatch.delenv(PASSCODE_VARIABLE, raising=False)
    with pynetdicom_scp(user=check) as port:
        assert pacslite("echo", f"{HOST}:{port}", "--user", "ann").code == Exit.UNREACHABLE
        monkeypatch.setenv(PASSCODE_VARIABLE, "geheim")
        assert pacslite("echo", f"{HOST}:{port}", "--user", "ann").code == Exit.OK
    assert seen == [(1, b"ann", b""), (2, b"ann", b"geheim")]


def test_tls(pacslite: RunCommand, tmp_path: Path) -> None:
    """SE-01, against DCMTK, which asks for our certificate too."""
    authority = Authority(tmp_path / "ca", "authority")
    theirs, ours = authority.issue("peer"), authority.issue("us")
    stranger = Authority(tmp_path / "other", "stranger")
    port = free_port()
    tls = ("--ca", authority.file)
    with tls_storescp(tmp_path, port, theirs.key_file, theirs.certificate_file, authority.file):
        with_certificate = pacslite(
            "echo", f"{HOST}:{port}", *tls, "--cert", ours.certificate_file, "--key", ours.key_file, "-v"
        )
        without = pacslite("echo", f"{HOST}:{port}", *tls)
        mistrusted = pacslite("echo", f"{HOST}:{port}", "--ca", stranger.file)
        plain = pacslite("echo", f"{HOST}:{port}")
    assert with_certificate.code == Exit.OK, with_certificate
    assert "over TLS" in with_certificate.out
    for refused in (without, mistrusted, plain):
        assert refused.code == Exit.UNREACHABLE, refused
        assert len(refused.err.splitlines()) == 1
    assert "certificate verify failed" in mistrusted.err


@contextmanager
def tls_storescp(folder: Path, port: int, key: Path, certificate: Path, ca: Path) -> Iterator[None]:

    def takes_connections() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    command = [program("storescp", DCMTK), "+tls", key, certificate, "+cf", ca, "-rc", "-od", folder, port]
    with (folder / "tls.log").open("wb") as log:
        process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: process.poll() is not None or takes_connections(), "storescp listening with TLS")
        assert process.poll() is None, (folder / "tls.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("localhost:104", "--calling", "A" * 17), "--calling"),
        (("localhost:104", "--cert", "missing.pem"), "missing.pem"),
        (("localhost:104", "--passcode"), "needs --user"),
        (("UNKNOWN",), "neither HOST:PORT"),
        (("localhost:104", "-n", "0"), "-n"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_opened(
    pacslite: RunCommand, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr("typer.prompt", lambda *_, **__: "typed")
    ended = pacslite("echo", *arguments)
    assert ended.code == Exit.USAGE
    assert words in ended.err
