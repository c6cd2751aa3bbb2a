"""An association of ours whose transport is the test: what it writes is kept, and read by the peer when the test says.

No sockets and no peer that has a will of its own, so that what happens between two turns of the event loop can be told.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Sequence

from kit.message import pack_message
from kit.rawpeer import associate_rq, user_information
from pacslite.dimse.command import CommandSet, decode_command
from pacslite.net.association import Association, Perform
from pacslite.net.limits import ConnectionLimits
from pacslite.ul.codec import encode_pdu
from pacslite.ul.connection import Role
from pacslite.ul.items import PresentationContext
from pacslite.ul.negotiation import AbstractSyntaxPolicy, Policy, negotiate
from pacslite.ul.pdu import AssociateAC, AssociateRQ

HIGH_WATER_BYTES = 64 * 1024


class Wire(asyncio.Transport):
    """The transport of ``association``, an acceptor that takes every context. With ``stuck`` set the peer reads
    nothing until :meth:`take`, but for one byte each of the first ``drips`` times that somebody looks."""

    def __init__(
        self,
        contexts: Sequence[PresentationContext],
        perform: Perform,
        *,
        limits: ConnectionLimits | None = None,
        max_length: int = 16384,
    ) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stuck = False
        self.unread = 0
        self.drips = 0
        self.looks = 0
        self.closing = False
        self.paused = False
        self.aborted = asyncio.Event()
        self.association = Association(
            Role.ACCEPTOR, limits or ConnectionLimits(), number=1, greet=_accept, perform=perform
        )
        self.protocol = self.association.protocol
        self.protocol.connection_made(self)
        rq = associate_rq(contexts, information=user_information(max_length=max_length))
        self.protocol.data_received(encode_pdu(rq))
        self.writes.clear()

    # --- The peer -----------------------------------------------------------------------------------------------------

    def send_message(self, context_id: int, command: bytes, data_set: bytes | None = None) -> None:
        self.protocol.data_received(b"".join(pack_message(context_id, command, data_set)))

    def take(self, size: int) -> None:
        """Read so many of the bytes that are stuck."""
        self.unread -= size
        if self.paused and self.unread <= HIGH_WATER_BYTES // 4:
            self.paused = False
            self.protocol.resume_writing()

    def vanish(self) -> None:
        self.closing = True
        self.protocol.connection_lost(None)

    @property
    def messages(self) -> list[tuple[CommandSet, bytes]]:
        """The whole messages that were written; their data sets are empty where there is none."""
        messages: list[tuple[CommandSet, bytes]] = []
        command, data = b"", b""
        for value, is_command, last in _pdvs(b"".join(self.writes)):
            if is_command:
                command += value
            else:
                data += value
            if last and (not is_command or not decode_command(command).has_data_set):
                messages.append((decode_command(command), data))
                command, data = b"", b""
        return messages

    # --- What the protocol calls --------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True
        self.aborted.set()

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        if self.unread and self.drips:
            self.drips -= 1
            self.take(1)
        return self.unread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writelines([data])

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append(b"".join(list_of_data))
        if self.stuck:
            self.unread += len(self.writes[-1])
            if not self.paused and self.unread > HIGH_WATER_BYTES:
                self.paused = True
                self.protocol.pause_writing()


def _accept(association: Association, rq: AssociateRQ) -> None:
    syntaxes = tuple(uid for context in rq.contexts for uid in context.transfer_syntaxes)
    policy = AbstractSyntaxPolicy(transfer_syntaxes=syntaxes)
    ac = negotiate(rq, Policy(accepts=lambda uid, related: policy, max_pdu_length=16384))
    assert isinstance(ac, AssociateAC)
    association.accept(rq, ac)


def _pdvs(stream: bytes) -> list[tuple[bytes, bool, bool]]:
    """Value, whether it is of a command, whether it is the last of that; ``stream`` is whole P-DATA-TF."""
    pdvs: list[tuple[bytes, bool, bool]] = []
    at = 0
    while at < len(stream):
        pdu_type, pdu_length, pdv_length, _, control = struct.unpack_from(">BxIIBB", stream, at)
        assert (pdu_type, pdu_length) == (4, pdv_length + 4), "one PDV each is what we send"
        pdvs.append((stream[at + 12 : at + 6 + pdu_length], bool(control & 1), bool(control & 2)))
        at += 6 + pdu_length
    return pdvs
