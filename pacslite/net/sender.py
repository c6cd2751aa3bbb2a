"""Messages out, over one association.

Theory of operation. They leave one at a time, because fragments of two must not mix (PS3.8 Annex E.2). A message whose
data set is there whole is put into the upper layer in one go; one that comes in pieces has the turn until its last
piece, and others wait. ``send`` writes at once. ``send_soon`` is for the many small answers of a query: what comes
before the event loop's next turn leaves in one write, and that turn comes as soon as their maker waits for anything, or
has made enough of them. A maker that never waits is so made to: the loop must see what else happens, a C-CANCEL above
all (QF-24). Enough is little at first, so that the first answers do not wait for many.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

from pacslite.dimse.command import Value, encode_command
from pacslite.dimse.service import OutgoingDataSet
from pacslite.errors import ConnectionLost
from pacslite.net.protocol import AssociationProtocol
from pacslite.ul.fsm import State
from pacslite.ul.pdu import ABORT_BY_USER

FIRST_MESSAGES = 4
MOST_MESSAGES = 48
MOST_BYTES = 64 * 1024
MOST_S = 0.02
"""What ``send_soon`` gathers between two turns of the event loop: the number grows while they follow on each other."""


class Sender:
    """Sends whole messages over ``protocol``."""

    def __init__(self, protocol: AssociationProtocol) -> None:
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._gathering = False
        self._messages = 0
        self._bytes = 0
        self._enough = FIRST_MESSAGES
        self._gather_until = 0.0

    @property
    def may_send(self) -> bool:
        """P-DATA may follow the peer's A-RELEASE-RQ until it is answered (PS3.8 Table 9-10, Sta8)."""
        return self._protocol.is_open and self._protocol.upper_layer.state in (State.STA6, State.STA8)

    async def send(self, context_id: int, elements: Mapping[int, Value], data_set: OutgoingDataSet | None) -> None:
        """Send one message; raises :class:`ConnectionLost` if the association is gone."""
        command = encode_command(elements)
        if data_set is None or isinstance(data_set, bytes | memoryview):
            await self._put_in_turn(context_id, command, data_set)
        else:
            async with self._turn:
                self._put(context_id, command, None)
                try:
                    await self._put_pieces(context_id, data_set)
                except BaseException:  # half a message cannot be taken back, and nothing may follow it
                    self._protocol.abort("a message was broken off", source=ABORT_BY_USER)
                    raise
        self._protocol.transmit()
        if not self._protocol.is_writable:
            await self._protocol.drain()

    async def send_soon(self, context_id: int, command: bytes, data_set: bytes | None) -> None:
        """Send one small message, whose command is encoded, together with those that follow directly on it.

        Raises :class:`ConnectionLost` if the association is gone.
        """
        await self._put_in_turn(context_id, command, data_set)
        if not self._gathering:
            self._gathering = True
            self._messages = self._bytes = 0
            self._gather_until = time.monotonic() + MOST_S
            self._loop.call_soon(self._transmit_gathered)
        self._messages += 1
        if data_set is not None:
            self._bytes += len(data_set)
        if self._messages >= self._enough or self._bytes >= MOST_BYTES or time.monotonic() >= self._gather_until:
            self._enough = min(2 * self._enough, MOST_MESSAGES)
            await asyncio.sleep(0)
        if not self._protocol.is_writable:
            await self._protocol.drain()

    def _transmit_gathered(self) -> None:
        self._gathering = False
        if self._messages < self._enough // 2:  # their maker waited for something: it begins anew
            self._enough = FIRST_MESSAGES
        self._protocol.transmit()

    async def _put_in_turn(self, context_id: int, command: bytes, data_set: bytes | memoryview | None) -> None:
        if self._turn.locked():
            async with self._turn:
                self._put(context_id, command, data_set)
        else:
            self._put(context_id, command, data_set)

    def _put(self, context_id: int, command: bytes, data_set: bytes | memoryview | None) -> None:
        if not self.may_send:
            raise ConnectionLost("association ended before the message was sent")
        upper_layer = self._protocol.upper_layer
        upper_layer.send_data(context_id, command, command=True, last=True)
        if data_set is not None:
            upper_layer.send_data(context_id, data_set, command=False, last=True)

    async def _put_pieces(self, context_id: int, data_set: AsyncIterator[bytes | memoryview]) -> None:
        held: bytes | memoryview = b""
        async for piece in data_set:
            if held:
                self._protocol.upper_layer.send_data(context_id, held, command=False, last=False)
                self._protocol.transmit()
                if not self._protocol.is_writable:
                    await self._protocol.drain()
                if not self.may_send:
                    raise ConnectionLost("association ended while a data set was sent")
            held = piece
        self._protocol.upper_layer.send_data(context_id, held, command=False, last=True)
