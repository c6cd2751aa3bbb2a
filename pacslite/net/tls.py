"""TLS for listeners and requestors, after BCP 195 as PS3.15 B.12 asks: TLS 1.2 or newer, forward secrecy, AEAD."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pacslite.errors import ConfigurationError

# PS3.15 B.12 refers to BCP 195; RFC 9325 4.2 names these for TLS 1.2. TLS 1.3 brings its own.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL"


class ClientCertificates(StrEnum):
    """Whether a listener asks its callers for a certificate."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


class TLSVersion(StrEnum):
    """The oldest version a listener speaks; BCP 195 allows no older ones."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


_VERSIONS = {TLSVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2, TLSVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3}
_VERIFY = {
    ClientCertificates.NONE: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """What a TLS listener shows and asks for; all files are PEM."""

    certificate: Path
    key: Path
    client_certificates: ClientCertificates = ClientCertificates.NONE
    ca: Path | None = None
    minimum_version: TLSVersion = TLSVersion.TLS_1_2

    def context(self) -> ssl.SSLContext:
        """A server context; raises :class:`ConfigurationError` if a file is missing, unreadable or does not fit."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        context.minimum_version = _VERSIONS[self.minimum_version]
        self.load_into(context)
        context.verify_mode = _VERIFY[self.client_certificates]
        return context

    def load_into(self, context: ssl.SSLContext) -> None:
        """Load the files anew; connections made from now on see them."""
        _load_chain(context, self.certificate, self.key)
        if self.ca is not None:
            _load_ca(context, self.ca)


def client_context(
    *, ca: Path | None, certificate: Path | None = None, key: Path | None = None, check_host_name: bool = True
) -> ssl.SSLContext:
    """A context for calling out; without ``ca`` the peer's certificate is checked against the system's authorities.

    DICOM peers are addressed by IP and share one certificate often enough that ``check_host_name`` can be switched off;
    the chain is verified in any case.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = check_host_name
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load_ca(context, ca)
    if certificate is not None:
        _load_chain(context, certificate, key)
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)


def _load_chain(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        # An encrypted key would make OpenSSL ask on the terminal, which a server has not: refuse it instead.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot use certificate {certificate} with key {key or certificate}: {error}"
        ) from None


def _load_ca(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except OSError as error:
        raise ConfigurationError(f"cannot use certificate authority {ca}: {error}") from None
