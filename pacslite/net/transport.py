"""What we ask of the TCP sockets under our associations."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_BYTES_ACKED = struct.Struct("120xQ")
"""Where struct tcp_info of Linux 4.1 and newer has tcpi_bytes_acked."""


def borrow_socket(transport: asyncio.BaseTransport) -> socket.socket | None:
    """The transport's socket, with Nagle's algorithm off on our side and keep-alive on.

    It shares the transport's descriptor: ``detach`` it in ``connection_lost``, before the transport closes that. What
    the transport itself offers makes a new socket object for every option that is set, at three times the cost.
    """
    shown = transport.get_extra_info("socket")
    if shown is None:
        return None
    borrowed = socket.socket(fileno=shown.fileno())
    try:
        borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError:  # the peer has gone again already; the transport will find out
        borrowed.detach()
        return None
    return borrowed


def acknowledge_at_once(connection: socket.socket | None) -> None:
    """Have the kernel acknowledge what was just read now, not up to 40 ms later.

    DCMTK's senders, and with them many modalities, leave Nagle's algorithm on: the last, short segment of every object
    waits until the one before it is acknowledged, while our kernel delays that acknowledgement in the hope of a reply
    to send with it, which cannot come before the last segment has. Every object then stalls some 40 ms. Linux forgets
    the option whenever it sees fit, so it is set anew after each read; elsewhere there is no such option.
    """
    if connection is not None and _QUICKACK is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def acknowledged_bytes(connection: socket.socket | None) -> int:
    """How many bytes the peer's TCP has acknowledged in all; 0 where that cannot be learnt.

    Under TLS only this tells a slow peer from a dead one: there the transport knows no more than what it has encrypted.
    """
    if connection is None or _TCP_INFO is None:
        return 0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_ACKED.size)
    except OSError:  # the connection has just ended; the transport will find out
        return 0
    return int(_BYTES_ACKED.unpack(info)[0]) if len(info) == _BYTES_ACKED.size else 0
