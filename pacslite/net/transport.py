"""What we ask of the TCP sockets under our associations."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol


class OptionSocket(Protocol):
    """The part of a socket that its options need; what a transport's ``socket`` extra offers."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None: ...


_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def send_without_delay(transport: asyncio.BaseTransport) -> OptionSocket | None:
    """Switch Nagle's algorithm off on our side and keep-alive on; the socket is for :func:`acknowledge_at_once`."""
    connection: OptionSocket | None = transport.get_extra_info("socket")
    if connection is None:
        return None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection


def acknowledge_at_once(connection: OptionSocket | None) -> None:
    """Have the kernel acknowledge what was just read now, not up to 40 ms later.

    DCMTK's senders, and with them many modalities, leave Nagle's algorithm on: the last, short segment of every object
    waits until the one before it is acknowledged, while our kernel delays that acknowledgement in the hope of a reply
    to send with it, which cannot come before the last segment has. Every object then stalls some 40 ms. Linux forgets
    the option whenever it sees fit, so it is set anew after each read; elsewhere there is no such option.
    """
    if connection is not None and _QUICKACK is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
