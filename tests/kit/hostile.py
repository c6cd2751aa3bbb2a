"""What the hostile peers have in common, beyond :mod:`kit.rawpeer`."""

from __future__ import annotations

import socket
from contextlib import suppress

from kit.rawpeer import PeerClosed, RawPeer
from pacslite.ul.pdu import Abort


class RawPeerOver(RawPeer):
    """A raw peer over a connection that was made elsewhere."""

    def __init__(self, connection: socket.socket, *, timeout_s: float = 10.0) -> None:
        self.timeout_s = timeout_s
        self._buffer = bytearray()
        self.socket = connection


def calling_from(address: str, port: int) -> RawPeer:
    """A peer with another address; loopback has 16 million of them."""
    return RawPeerOver(socket.create_connection(("127.0.0.1", port), 10.0, source_address=(address, 0)))


def write_boldly(peer: RawPeer, data: bytes) -> None:
    """Write; the server may be gone before everything is written."""
    try:
        peer.send(data)
    except (BrokenPipeError, ConnectionResetError):
        return


def how_it_ended(peer: RawPeer) -> tuple[int, int] | None:
    """Read to the end of the association: source and reason of its A-ABORT, None if the connection just closed.

    The server then waits for the peer to close (UL-03), so what is to be asked of it comes after closing.
    """
    with suppress(PeerClosed, ConnectionResetError):
        while True:
            answer = peer.read_pdu()
            if isinstance(answer, Abort):
                return answer.source, answer.reason
    return None
