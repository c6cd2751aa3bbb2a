"""The first lines of the server: where it listens, who it is, and a line that works when pasted."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest

from kit.commandline import RunCommand
from pacslite.cli.exits import Exit
from pacslite.cli.serve import first_lines
from pacslite.net.tls import ClientCertificates, ServerCertificate
from pacslite.server.application import Listening
from pacslite.server.config_sources import load_config, parse_setting

PLAIN = Listening("0.0.0.0", 11112, None, None)


def certificate(client_certificates: ClientCertificates) -> ServerCertificate:
    return ServerCertificate(
        certificate=Path("c"), key=Path("k"), client_certificates=client_certificates, ca=Path("a")
    )


def lines(*listening: Listening, sets: tuple[str, ...] = ()) -> dict[str, str]:
    loaded = load_config(settings=[parse_setting(argument) for argument in sets], environment={})
    first, *rest = first_lines(loaded, listening or (PLAIN,))
    assert first.startswith("pacslite ")
    return {line[2:16].strip(): line[16:] for line in rest}


def test_they_say_where_and_who_and_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lines() == {
        "listening on": "0.0.0.0:11112",
        "AE title": "PACSLITE",
        "data folder": str(tmp_path / "pacslite-data"),
        "settings": "built-in defaults",
        "callers": "programs on this machine; add others under [[peers]]",
        "try": "storescu -aec PACSLITE localhost 11112 FILE.dcm",
    }


def test_they_say_where_is_forwarded() -> None:
    peer = ("peers.0.ae_title=ARCHIVE", "peers.0.address=10.1.2.50", "peers.0.port=104")
    rules = tuple(f"forward.{number}.{rest}" for number in (0, 1) for rest in (f"name=rule{number}", 'to=["ARCHIVE"]'))
    assert lines(sets=peer + rules)["forwarding"] == "by 2 rules to ARCHIVE"


def test_they_name_every_listener_and_prefer_a_plain_one_to_try() -> None:
    secured = Listening("::1", 2762, certificate(ClientCertificates.NONE), None)
    said = lines(secured, Listening("127.0.0.1", 104, None, None))
    assert said["listening on"] == "[::1]:2762 (TLS), 127.0.0.1:104"
    assert said["try"] == "storescu -aec PACSLITE 127.0.0.1 104 FILE.dcm"


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (ClientCertificates.NONE, "+tla -ic"),
        (ClientCertificates.OPTIONAL, "+tla -ic"),
        (ClientCertificates.REQUIRED, "+tls KEY.pem CERTIFICATE.pem -ic"),
    ],
)
def test_with_tls_alone_the_line_to_try_speaks_it(wanted: ClientCertificates, options: str) -> None:
    said = lines(Listening("::", 2762, certificate(wanted), None))
    assert said["try"] == f"storescu {options} -aec PACSLITE localhost 2762 FILE.dcm"


def test_a_title_with_spaces_is_quoted_for_the_shell() -> None:
    said = lines(sets=("server.ae_title=MAIN PACS", 'server.ae_title_aliases=["OLD"]'))
    assert said["AE title"] == "MAIN PACS, OLD"
    assert shlex.split(said["try"])[2] == "MAIN PACS"


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (("access.unknown=all",), "anybody"),
        (("access.unknown=none",), "nobody; add some under [[peers]]"),
        (("access.unknown=none", "peers.0.ae_title=A", "peers.0.address=10.0.0.1"), "1 known peer"),
        (("access.unknown=all", "peers.0.ae_title=A", "peers.0.address=10.0.0.1"), "1 known peer and anybody else"),
    ],
)
def test_they_say_who_may_call(sets: tuple[str, ...], words: str) -> None:
    assert lines(sets=sets)["callers"] == words


def test_a_port_in_use_is_told_in_one_line(pacslite: RunCommand, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = pacslite("serve", "--data", tmp_path / "data", "--port", port, "--set", "listeners.0.host=127.0.0.1")
    assert ended.code == Exit.USAGE
    assert ended.err == f"pacslite: cannot listen on 127.0.0.1:{port}: Address already in use\n"
