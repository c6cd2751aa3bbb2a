"""Whom a command calls, and as whom: a peer of the configuration by its AE title, or ``HOST:PORT`` and options."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pacslite.dicom.values import is_valid_ae_title
from pacslite.errors import ConfigurationError
from pacslite.net.requestor import Remote
from pacslite.net.tls import client_context
from pacslite.server.config import Config
from pacslite.ul.items import UserIdentity, UserIdentityType

PASSCODE_VARIABLE: Final = "PACSLITE_PASSCODE"
ANY_SCP: Final = "ANY-SCP"
"""The called AE title where none is given: what every test tool calls its peers."""

_HOST_AND_PORT: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """What the command line says about TLS. A file that is named asks for TLS as well as ``wanted`` does."""

    wanted: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    check_host_name: bool = True

    @property
    def asked_for(self) -> bool:
        return self.wanted or self.ca is not None or self.certificate is not None or not self.check_host_name


def find_remote(peer: str, config: Config, *, called: str = "", tls: TLSOptions | None = None) -> Remote:
    """The remote that ``peer`` names; raises :class:`ConfigurationError` with a line that says what to write."""
    tls = tls or TLSOptions()
    if tls.key is not None and tls.certificate is None:
        raise ConfigurationError("--key needs --cert, the certificate that it belongs to")
    host, port, ae_title, always_tls = _address(peer, config)
    ae_title = called or ae_title
    _check_ae_title("--called", ae_title)
    context = None
    if always_tls or tls.asked_for:
        context = client_context(
            ca=tls.ca, certificate=tls.certificate, key=tls.key, check_host_name=tls.check_host_name
        )
    return Remote(host=host, port=port, ae_title=ae_title, tls=context)


def calling_ae_title(config: Config, calling: str) -> str:
    """The title to call as: the one given, else the server's own."""
    ae_title = calling or config.server.ae_title
    _check_ae_title("--calling", ae_title)
    return ae_title


def user_identity(user: str, passcode: str) -> UserIdentity | None:
    """The user to present (PS3.7 D.3.3.7), None without a name; the passcode may be empty."""
    passcode = passcode or (os.environ.get(PASSCODE_VARIABLE, "") if user else "")
    if not user:
        if passcode:
            raise ConfigurationError("--passcode needs --user")
        return None
    kind = UserIdentityType.USERNAME_AND_PASSCODE if passcode else UserIdentityType.USERNAME
    return UserIdentity(kind=kind, primary=user.encode(), secondary=passcode.encode())


def _address(peer: str, config: Config) -> tuple[str, int, str, bool]:
    match = _HOST_AND_PORT.fullmatch(peer)
    if match is not None:
        port = int(match["port"])
        if not 0 < port < 65536:
            raise ConfigurationError(f'"{peer}": a port is a number from 1 to 65535')
        return match["v6"] or match["host"], port, ANY_SCP, False
    namesakes = [candidate for candidate in config.peers if candidate.ae_title == peer]
    for known in namesakes:
        if known.port is not None:
            return known.address, known.port, known.ae_title, known.tls
    if namesakes:
        raise ConfigurationError(f'peer "{peer}" has no port in the configuration: add one, or call it as HOST:PORT')
    callable_peers = ", ".join(candidate.ae_title for candidate in config.peers if candidate.port is not None)
    known_ones = f"it names {callable_peers}" if callable_peers else "it names none that can be called"
    raise ConfigurationError(f'"{peer}" is neither HOST:PORT nor a peer of the configuration ({known_ones})')


def _check_ae_title(option: str, ae_title: str) -> None:
    if not is_valid_ae_title(ae_title):
        raise ConfigurationError(f'{option} "{ae_title}": an AE title has 1 to 16 ASCII characters, no backslash')
