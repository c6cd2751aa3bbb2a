"""Bytes and time between one TCP connection and its :class:`~pacslite.ul.connection.UpperLayer`.

Theory of operation. Everything that happens to the connection (bytes, end of file, a timer) is handed to the upper
layer; then its events go to the user, then what it wants sent goes to the transport, then, if it says so, the transport
is closed. One timer serves all deadlines. It is armed for the earliest, or the shortest limit if that is sooner, and
when it fires looks which deadlines stand: moving one on every read then costs an attribute, not a timer. A peer that
takes what we send, however slowly, is neither idle nor stalled: that too is looked at only when a deadline has come.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from typing import Protocol, cast

from pacslite.errors import AssociationError, ConnectionLost, RemoteProtocolError
from pacslite.net.limits import ConnectionLimits
from pacslite.net.transport import acknowledge_at_once, acknowledged_bytes, borrow_socket
from pacslite.ul.connection import Limits, Role, UpperLayer, UpperLayerEvent
from pacslite.ul.pdu import ABORT_BY_PROVIDER

_JOIN_BELOW_BYTES = 64 * 1024
"""Writes below this leave as one buffer: one segment, one system call."""


class ConnectionUser(Protocol):
    """Whoever lives on top of a connection."""

    def connected(self, address: str, port: int, *, tls: bool) -> None:
        """The transport is open."""

    def received(self, event: UpperLayerEvent) -> None:
        """The upper layer has something to say; raises :class:`RemoteProtocolError` to have the peer aborted."""

    def is_waiting_for_peer(self) -> bool:
        """Whether it is the peer's turn, so that its silence counts as idleness."""

    def aborting(self, why: str) -> None:
        """We abort the association: what the peer still sends is not looked at, though it has yet to close."""

    def closed(self, error: AssociationError | None) -> None:
        """The transport is closed; nothing comes after this."""


class AssociationProtocol(asyncio.Protocol):
    """One TCP connection of either role; ``user`` is told what happens on it."""

    def __init__(self, role: Role, limits: ConnectionLimits, user: ConnectionUser) -> None:
        self._role = role
        self._limits = limits
        self._user = user
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._shortest_s = min(limits.artim_s, limits.idle_s, limits.write_stall_s)
        self._active_at = self._loop.time()
        self._stalled_at: float | None = None
        self._taken = 0
        self._seen_closing_at: float | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.upper_layer: UpperLayer
        self.bytes_received = 0
        self.bytes_sent = 0
        self.closed_because = ""

    # --- asyncio's calls ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but ancestry
        self._socket = borrow_socket(transport)
        now = self._loop.time()
        self._active_at = now
        limits = Limits(
            max_pdu_length=self._limits.max_pdu_bytes,
            max_associate_length=self._limits.max_associate_bytes,
            artim_s=self._limits.artim_s,
        )
        self.upper_layer = UpperLayer(self._role, limits, now)
        address, port = transport.get_extra_info("peername", ("", 0))[:2]
        self._user.connected(address, port, tls=transport.get_extra_info("ssl_object") is not None)
        self._arm(now)

    def data_received(self, data: bytes) -> None:
        acknowledge_at_once(self._socket)
        now = self._loop.time()
        self._active_at = now
        self.bytes_received += len(data)
        self.upper_layer.receive_data(data, now)
        self._settle(now)

    def eof_received(self) -> bool:
        return False  # asyncio closes the transport: a half-open association is of no use to anyone

    def connection_lost(self, exc: Exception | None) -> None:
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.upper_layer.connection_closed(self._loop.time())
        self._deliver()
        self._writable.set()
        self._transport = None
        self._user.closed(ConnectionLost(str(exc)) if exc else None)

    def pause_writing(self) -> None:
        self._writable.clear()
        self._stalled_at = self._loop.time()

    def resume_writing(self) -> None:
        self._writable.set()
        self._stalled_at = None

    # --- The user's calls ---------------------------------------------------------------------------------------------

    @property
    def active_at(self) -> float:
        """When something last passed, in either direction."""
        self._look_for_progress(self._loop.time())
        return self._active_at

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_writable(self) -> bool:
        """Whether the transport takes more at once: if not, :meth:`drain`."""
        return self._writable.is_set() and self.is_open

    def transmit(self) -> None:
        """Send what the user has just asked the upper layer to send."""
        now = self._loop.time()
        self._active_at = now
        self._settle(now)

    async def drain(self) -> None:
        """Wait until the transport takes more; raises :class:`ConnectionLost` if it is gone."""
        await self._writable.wait()
        if not self.is_open:
            raise ConnectionLost("connection closed while sending")

    def pause_reading(self) -> None:
        if self.is_open and self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._active_at = self._loop.time()
        if self.is_open and self._transport is not None:
            self._transport.resume_reading()

    def abort(self, why: str, *, source: int = ABORT_BY_PROVIDER, reason: int = 0) -> None:
        """Send A-ABORT (or nothing, where no association exists) and see the connection closed."""
        self.closed_because = self.closed_because or why
        now = self._loop.time()
        self.upper_layer.abort(now, source=source, reason=reason)
        self._settle(now)
        self._user.aborting(why)

    def hang_up(self, why: str, *, source: int = ABORT_BY_PROVIDER) -> None:
        """Send A-ABORT and close, without leaving that to the peer (PS3.8 9.1.4 would wait): there is no time left."""
        self.abort(why, source=source)
        if self._transport is not None:
            self._transport.close()

    def cut(self, why: str) -> None:
        """Close the connection at once, with nothing more sent."""
        self.closed_because = self.closed_because or why
        if self._transport is not None:
            self._transport.abort()

    # --- Inside -------------------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        self._deliver()
        self._write()
        if self.upper_layer.close_transport and self._transport is not None:
            self._transport.close()

    def _deliver(self) -> None:
        try:
            for event in self.upper_layer.events():
                self._user.received(event)
        except RemoteProtocolError as error:
            self.closed_because = self.closed_because or str(error)
            self.upper_layer.abort(self._loop.time(), source=ABORT_BY_PROVIDER, reason=error.reason)
            self._user.aborting(str(error))

    def _write(self) -> None:
        pieces = self.upper_layer.data_to_send()
        if not pieces or not self.is_open or self._transport is None:
            return
        size = sum(map(len, pieces))
        self.bytes_sent += size
        if size < _JOIN_BELOW_BYTES:
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        else:
            self._transport.writelines(pieces)

    def _deadlines(self) -> list[tuple[float, Callable[[float], None]]]:
        deadlines: list[tuple[float, Callable[[float], None]]] = []
        if not self.is_open:
            return deadlines
        if self.upper_layer.deadline is not None:
            deadlines.append((self.upper_layer.deadline, self._artim_expired))
        if self._stalled_at is not None:
            deadlines.append((self._stalled_at + self._limits.write_stall_s, self._write_stalled))
        if self.upper_layer.established:
            deadlines.append((self._active_at + self._limits.idle_s, self._idle))
        return deadlines

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = min((when for when, _ in self._deadlines()), default=math.inf)
        when = min(when, now + self._shortest_s)  # a deadline that begins later is never seen later than that
        self._timer = self._loop.call_at(max(when, now), self._look_at_deadlines)

    def _look_for_progress(self, now: float) -> None:
        """Whether the peer has taken anything since this was last looked at."""
        if self._transport is None:
            return
        taken = self.bytes_sent - self._transport.get_write_buffer_size() + acknowledged_bytes(self._socket)
        if taken > self._taken:
            self._taken = taken
            self._active_at = now
            if self._stalled_at is not None:
                self._stalled_at = now
            if self._seen_closing_at is not None:
                self._seen_closing_at = now

    def _look_at_deadlines(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._look_for_progress(now)
        for when, expired in self._deadlines():
            if when <= now and self.is_open:
                expired(now)
        if self._transport is None:
            return
        if self._transport.is_closing():
            self._look_at_closing(now)
        self._arm(now)

    def _look_at_closing(self, now: float) -> None:
        """A transport that is closed waits, for ever if need be, for the peer to take what is still unsent."""
        if self._seen_closing_at is None:
            self._seen_closing_at = now
        elif now - self._seen_closing_at >= self._limits.write_stall_s:
            self._write_stalled(now)

    def _artim_expired(self, now: float) -> None:
        self.closed_because = self.closed_because or "ARTIM timer expired"
        self.upper_layer.tick(now)
        self._settle(now)
        if self._transport is not None:
            self._transport.abort()  # what is still unsent had its time

    def _write_stalled(self, now: float) -> None:
        self.cut(f"peer took no data for {self._limits.write_stall_s:g} s")

    def _idle(self, now: float) -> None:
        if self._user.is_waiting_for_peer():
            self.abort(f"idle for {self._limits.idle_s:g} s")
        else:
            self._active_at = now
