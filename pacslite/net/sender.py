"""Messages out, over one association.

They leave one at a time, because fragments of two must not mix (PS3.8 Annex E.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from pacslite.dimse.command import Value, encode_command
from pacslite.dimse.service import OutgoingDataSet
from pacslite.errors import ConnectionLost
from pacslite.net.protocol import AssociationProtocol
from pacslite.ul.fsm import State
from pacslite.ul.pdu import ABORT_BY_USER


class Sender:
    """Sends whole messages over ``protocol``."""

    def __init__(self, protocol: AssociationProtocol) -> None:
        self._protocol = protocol
        self._turn = asyncio.Lock()

    async def send(self, context_id: int, elements: Mapping[int, Value], data_set: OutgoingDataSet | None) -> None:
        """Send one message; raises :class:`ConnectionLost` if the association is gone."""
        command = encode_command(elements)
        async with self._turn:
            if not self._may_send:
                raise ConnectionLost("association ended before the message was sent")
            upper_layer = self._protocol.upper_layer
            upper_layer.send_data(context_id, command, command=True, last=True)
            if isinstance(data_set, bytes | memoryview):
                upper_layer.send_data(context_id, data_set, command=False, last=True)
            elif data_set is not None:
                try:
                    await self._send_pieces(context_id, data_set)
                except BaseException:  # half a message cannot be taken back, and nothing may follow it
                    self._protocol.abort("a message was broken off", source=ABORT_BY_USER)
                    raise
            self._protocol.transmit()
            await self._protocol.drain()

    @property
    def _may_send(self) -> bool:
        """P-DATA may follow the peer's A-RELEASE-RQ until it is answered (PS3.8 Table 9-10, Sta8)."""
        return self._protocol.is_open and self._protocol.upper_layer.state in (State.STA6, State.STA8)

    async def _send_pieces(self, context_id: int, data_set: AsyncIterator[bytes | memoryview]) -> None:
        held: bytes | memoryview = b""
        async for piece in data_set:
            if held:
                self._protocol.upper_layer.send_data(context_id, held, command=False, last=False)
                self._protocol.transmit()
                await self._protocol.drain()
                if not self._may_send:
                    raise ConnectionLost("association ended while a data set was sent")
            held = piece
        self._protocol.upper_layer.send_data(context_id, held, command=False, last=True)
