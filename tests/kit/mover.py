"""C-MOVE and C-GET by a raw peer, so that it can misbehave at any point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.dataset import Dataset

from kit.identifiers import EXPLICIT, decoded, encoded
from kit.message import c_cancel_rq, command_set, pack_message, ui, us
from kit.rawpeer import RawPeer, contexts_for, user_information
from pacslite.dimse.command import CommandSet, decode_command
from pacslite.ul.items import RoleSelection
from pacslite.ul.pdu import PDataTF

MOVE, GET = "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3"
C_MOVE_RSP, C_GET_RSP, C_STORE_RQ = 0x8021, 0x8010, 0x0001
PENDING, CANCELLED = 0xFF00, 0xFE00


class Mover:
    """An association with a context for C-MOVE (ID 1), for C-GET (ID 3), and one each for ``storage``, as their SCP."""

    def __init__(self, peer: RawPeer) -> None:
        self.peer = peer
        self.stored: list[str] = []

    def move(self, asked: Dataset, to: str, *, message_id: int = 1) -> None:
        elements = {0x0002: ui(MOVE), 0x0100: us(0x0021), 0x0110: us(message_id), 0x0600: to.encode().ljust(16)}
        self.peer.send_message(1, command_set({**elements, 0x0700: us(0), 0x0800: us(1)}), encoded(asked, EXPLICIT))

    def get(self, asked: Dataset, *, message_id: int = 1) -> None:
        elements = {0x0002: ui(GET), 0x0100: us(0x0010), 0x0110: us(message_id), 0x0700: us(0), 0x0800: us(1)}
        self.peer.send_message(3, command_set(elements), encoded(asked, EXPLICIT))

    def cancel(self, message_id: int = 1, *, context_id: int = 1) -> None:
        self.peer.send_message(context_id, c_cancel_rq(message_id))

    def answer_store(self, command: CommandSet, context_id: int, status: int = 0x0000) -> None:
        answer = {0x0002: ui(command.sop_class), 0x0100: us(0x8001), 0x0120: us(command.message_id)}
        answer |= {0x0800: us(0x0101), 0x0900: us(status), 0x1000: ui(command.sop_instance)}
        self.peer.send(*pack_message(context_id, command_set(answer), None))

    def message(self) -> tuple[int, CommandSet, bytes]:
        """The next message: its context, command and data set."""
        context_id, raw = self._part(command=True)
        command = decode_command(raw)
        return context_id, command, self._part(command=False)[1] if command.has_data_set else b""

    def final(self, *, store: bool = True) -> tuple[CommandSet, Dataset]:
        """The final response; what comes before is stored or pending."""
        while True:
            context_id, command, data_set = self.message()
            if command.field == C_STORE_RQ:
                self.stored.append(command.sop_instance)
                if store:
                    self.answer_store(command, context_id)
            elif command.status != PENDING:
                return command, decoded(data_set) if data_set else Dataset()

    def _part(self, *, command: bool) -> tuple[int, bytes]:
        data = bytearray()
        while True:
            pdu = self.peer.read_pdu()
            assert isinstance(pdu, PDataTF), pdu
            (value,) = pdu.pdvs
            assert value.command is command
            data += value.data
            if value.last:
                return value.context_id, bytes(data)


@contextmanager
def mover(port: int, *storage: tuple[str, str], timeout_s: float = 20.0) -> Iterator[Mover]:
    """The connection is closed at the end, without a word if the block did not release."""
    with RawPeer(port, timeout_s=timeout_s) as peer:
        contexts = contexts_for((MOVE, EXPLICIT), (GET, EXPLICIT), *storage)
        classes = dict.fromkeys(sop_class for sop_class, _ in storage)
        roles = [RoleSelection(sop_class=one, scu=False, scp=True) for one in classes]
        peer.associate(contexts, information=user_information(roles=roles))
        yield Mover(peer)


def uids_of(answer: Dataset) -> Sequence[str]:
    """Failed SOP Instance UID List."""
    found = answer.get("FailedSOPInstanceUIDList") or []
    return [found] if isinstance(found, str) else [str(one) for one in found]
