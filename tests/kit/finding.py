"""C-FIND by a raw peer: any bytes as an identifier, and every response that comes back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from kit.identifiers import EXPLICIT, decoded, encoded
from kit.message import ONE_PDV_EACH, Packing, c_cancel_rq, command_set, ui, us
from kit.rawpeer import RawPeer, association, contexts_for, user_information
from pacslite.dimse.command import CommandSet, decode_command
from pacslite.ul.items import SOPClassExtendedNegotiation
from pacslite.ul.pdu import PDataTF, PresentationDataValue

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.3.1"
C_FIND_RQ = 0x0020
PENDING = 0xFF00
PENDING_WITH_WARNING = 0xFF01
CANCELLED = 0xFE00


@dataclass(frozen=True, slots=True)
class Answered:
    """All responses to one C-FIND."""

    final: CommandSet
    statuses: list[int]
    raw: list[bytes]
    syntax: str = EXPLICIT

    @property
    def answers(self) -> list[Dataset]:
        return [decoded(one, self.syntax) for one in self.raw]

    def values(self, keyword: str) -> list[str]:
        """Of one attribute in every answer, in no order."""
        return sorted(str(answer.get(keyword)) for answer in self.answers)


def c_find_rq(sop_class: str, message_id: int = 1) -> bytes:
    return command_set(
        {0x0002: ui(sop_class), 0x0100: us(C_FIND_RQ), 0x0110: us(message_id), 0x0700: us(0), 0x0800: us(1)}
    )


class FindPeer:
    """One association with one context for queries, with ID 1."""

    def __init__(self, peer: RawPeer, sop_class: str, syntax: str) -> None:
        self.peer = peer
        self.sop_class = sop_class
        self.syntax = syntax
        self._values: deque[PresentationDataValue] = deque()

    def ask(self, identifier: Dataset | bytes, *, message_id: int = 1, packing: Packing = ONE_PDV_EACH) -> None:
        data = identifier if isinstance(identifier, bytes) else encoded(identifier, self.syntax)
        self.peer.send_message(1, c_find_rq(self.sop_class, message_id), data, packing)

    def cancel(self, message_id: int = 1) -> None:
        self.peer.send_message(1, c_cancel_rq(message_id))

    def response(self) -> tuple[CommandSet, bytes | None]:
        """The next response and its data set."""
        command = self._message(command=True)
        answer = decode_command(command)
        return answer, self._message(command=False) if answer.has_data_set else None

    def rest(self) -> Answered:
        """Everything up to the final response."""
        statuses: list[int] = []
        raw: list[bytes] = []
        while True:
            command, data_set = self.response()
            if data_set is None:
                return Answered(command, statuses, raw, self.syntax)
            statuses.append(command.status)
            raw.append(data_set)

    def find(self, identifier: Dataset | bytes, *, message_id: int = 1, packing: Packing = ONE_PDV_EACH) -> Answered:
        self.ask(identifier, message_id=message_id, packing=packing)
        return self.rest()

    def _message(self, *, command: bool) -> bytes:
        """The fragments of a command set, or of a data set."""
        collected = b""
        while True:
            value = self._next_value()
            assert value.command is command
            collected += value.data
            if value.last:
                return collected

    def _next_value(self) -> PresentationDataValue:
        while not self._values:
            answer = self.peer.read_pdu()
            assert isinstance(answer, PDataTF), answer
            self._values.extend(answer.pdvs)
        return self._values.popleft()


@contextmanager
def finding(
    port: int,
    sop_class: str = STUDY_ROOT,
    *,
    extended: bytes | None = None,
    syntax: str = EXPLICIT,
    calling: str = "RAWPEER",
    timeout_s: float = 10.0,
) -> Iterator[FindPeer]:
    """An association for queries, released at the end; ``extended`` offers SOP Class Extended Negotiation."""
    offered = () if extended is None else (SOPClassExtendedNegotiation(sop_class, extended),)
    with association(
        port,
        contexts_for((sop_class, syntax)),
        calling=calling,
        information=replace(user_information(), extended=offered),
        timeout_s=timeout_s,
    ) as peer:
        yield FindPeer(peer, sop_class, syntax)
