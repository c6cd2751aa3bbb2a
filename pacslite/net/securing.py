"""TLS on an accepted connection, before anything of DICOM: a handshake that fails is told, not swallowed.

asyncio's own TLS servers say nothing about callers that fail. Only a connection that is handed to the event loop one by
one has somebody waiting for its handshake, and so somebody who learns why there was none.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from typing import cast

from pacslite.facts import HandshakeFailed, Observe

_SUPPORT = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the caller showed no certificate",
    "CERTIFICATE_VERIFY_FAILED": "the caller's certificate is not signed by our ca, or not valid",
    "HTTP_REQUEST": "the caller speaks HTTP",
    "WRONG_VERSION_NUMBER": "the caller does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "the caller's TLS is older than listeners.tls.minimum_version",
    "NO_SHARED_CIPHER": "the caller knows no cipher that is safe today",
    "TLSV1_ALERT_UNKNOWN_CA": "the caller does not trust our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the caller does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the caller does not accept our certificate",
}
"""OpenSSL's reasons, in words for somebody who stands next to the caller."""


class Securing(asyncio.Protocol):
    """Holds a plain connection until it is a secured one, then hands it to the protocol that ``make`` makes."""

    def __init__(
        self,
        context: ssl.SSLContext,
        make: Callable[[], asyncio.Protocol],
        *,
        handshake_s: float,
        observe: Observe,
    ) -> None:
        self._context = context
        self._make = make
        self._handshake_s = handshake_s
        self._observe = observe
        self._securing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        plain.pause_reading()  # the handshake's first bytes are for TLS, not for us
        peer = plain.get_extra_info("peername", ("", 0))
        try:
            connection = socket.socket(fileno=os.dup(plain.get_extra_info("socket").fileno()))
        except OSError as error:  # no descriptor left
            plain.abort()
            self._observe(HandshakeFailed(address=peer[0], port=peer[1], why=str(error)))
            return
        plain.abort()  # closes its own descriptor; the connection lives on in ours
        self._securing = asyncio.create_task(self._secure(connection, *peer[:2]))

    async def _secure(self, connection: socket.socket, address: str, port: int) -> None:
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, connection, ssl=self._context, ssl_handshake_timeout=self._handshake_s
            )
        except OSError as error:  # ssl.SSLError, ConnectionError and TimeoutError are all of this family
            connection.close()
            self._observe(HandshakeFailed(address=address, port=port, why=_words(error)))


def _words(error: OSError) -> str:
    reason = getattr(error, "reason", "") or ""
    known = _SUPPORT.get(reason)
    if known is not None:
        return known
    if isinstance(error, ConnectionError):
        return "the caller hung up"
    return reason.replace("_", " ").lower() or str(error) or type(error).__name__
