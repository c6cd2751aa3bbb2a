"""Whom ``pacslite echo`` and ``send`` call."""

from __future__ import annotations

import pytest

from pacslite.cli.calling import ANY_SCP, PASSCODE_VARIABLE, TLSOptions, calling_ae_title, find_remote, user_identity
from pacslite.errors import ConfigurationError
from pacslite.server.config import Config
from pacslite.ul.items import UserIdentityType

CONFIG = Config.model_validate(
    {
        "server": {"ae_title": "US"},
        "peers": [
            {"ae_title": "CT1", "address": "10.0.0.1"},
            {"ae_title": "PACS2", "address": "10.0.0.2", "port": 104},
            {"ae_title": "SECURE", "address": "10.0.0.3", "port": 2762, "tls": True},
        ],
    }
)


@pytest.mark.parametrize(
    ("peer", "host", "port"),
    [
        ("localhost:104", "localhost", 104),
        ("10.1.2.3:11112", "10.1.2.3", 11112),
        ("[::1]:11112", "::1", 11112),
        ("[fe80::1%eth0]:104", "fe80::1%eth0", 104),
    ],
)
def test_host_and_port(peer: str, host: str, port: int) -> None:
    remote = find_remote(peer, CONFIG)
    assert (remote.host, remote.port, remote.ae_title, remote.tls) == (host, port, ANY_SCP, None)
    assert find_remote(peer, CONFIG, called="OTHER").ae_title == "OTHER"


def test_a_peer_of_the_configuration() -> None:
    remote = find_remote("PACS2", CONFIG)
    assert (remote.host, remote.port, remote.ae_title, remote.tls) == ("10.0.0.2", 104, "PACS2", None)


def test_a_peer_that_speaks_tls_is_called_over_tls() -> None:
    assert find_remote("SECURE", CONFIG).tls is not None


@pytest.mark.parametrize("tls", [TLSOptions(wanted=True), TLSOptions(check_host_name=False)])
def test_any_tls_option_asks_for_tls(tls: TLSOptions) -> None:
    assert find_remote("localhost:2762", CONFIG, tls=tls).tls is not None


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        ("CT1", "has no port"),
        ("PACS3", "it names PACS2, SECURE"),
        ("localhost:0", "1 to 65535"),
        ("localhost:70000", "1 to 65535"),
        ("::1:104", "neither HOST:PORT"),
        ("", "neither HOST:PORT"),
    ],
)
def test_nobody_to_call_is_one_line(peer: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        find_remote(peer, CONFIG)
    assert "\n" not in str(caught.value)


def test_ae_titles_are_checked() -> None:
    assert calling_ae_title(CONFIG, "") == "US"
    assert calling_ae_title(CONFIG, "WORKSTATION") == "WORKSTATION"
    with pytest.raises(ConfigurationError, match="1 to 16"):
        calling_ae_title(CONFIG, "A" * 17)
    with pytest.raises(ConfigurationError, match="1 to 16"):
        find_remote("localhost:104", CONFIG, called="back\\slash")


def test_user_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSCODE_VARIABLE, raising=False)
    assert user_identity("", "") is None
    name_only = user_identity("ann", "")
    assert name_only is not None
    assert (name_only.kind, name_only.primary, name_only.secondary) == (UserIdentityType.USERNAME, b"ann", b"")
    with pytest.raises(ConfigurationError, match="needs --user"):
        user_identity("", "secret")
    monkeypatch.setenv(PASSCODE_VARIABLE, "from outside")
    both = user_identity("ann", "")
    assert both is not None
    assert (both.kind, both.secondary) == (UserIdentityType.USERNAME_AND_PASSCODE, b"from outside")
    assert user_identity("", "") is None
