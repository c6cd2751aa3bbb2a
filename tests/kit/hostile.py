"""What the hostile peers have in common, beyond :mod:`kit.rawpeer`."""

from __future__ import annotations

import socket
import struct

from kit.rawpeer import RawPeer

_A_ABORT = struct.pack(">BxI", 7, 4)


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


def abort_in(answer: bytes) -> tuple[int, int] | None:
    """Source and reason of the A-ABORT that ``answer`` ends with."""
    return (answer[-2], answer[-1]) if answer[-10:-4] == _A_ABORT else None
