"""What we ask of the TCP sockets under our associations."""

from __future__ import annotations

import asyncio
import socket

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


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
