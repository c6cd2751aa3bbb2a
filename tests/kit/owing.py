"""What a server owes to others, looked at from outside, and senders that go on until each object is acknowledged."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from kit.identifiers import decoded, encoded
from kit.message import NO_DATA_SET, command_set, pack_message, ui, us
from kit.rawpeer import EXPLICIT, PeerClosed, RawPeer, contexts_for
from kit.server import HOST
from kit.sink import Sink
from kit.storm import Sender, SenderEnded, StormObject
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import CommandSet, Tag, decode_command
from pacslite.ul.pdu import PDataTF

Reference = tuple[str, str]
"""SOP Class UID, SOP Instance UID."""


def rows(data: Path, question: str, *values: object) -> list[tuple[object, ...]]:
    """From the index of a data folder. Read-only: whoever closes a database last tidies it up, and it must be the
    server that finds it as its death left it."""
    with closing(sqlite3.connect(f"file:{data / 'index.sqlite'}?mode=ro", uri=True, timeout=30)) as index:
        return index.execute(question, values).fetchall()


def owes(data: Path) -> bool:
    """Whether anything is in the outbox."""
    return rows(data, "SELECT EXISTS (SELECT * FROM jobs)") != [(0,)]


def delivered(data: Path) -> set[tuple[object, ...]]:
    """SOP Instance UID and destination of what was forwarded."""
    return set(rows(data, "SELECT sop_instance_uid, destination FROM deliveries"))


@dataclass
class Persistent:
    """A modality that sends each object until it is acknowledged, and then not again."""

    title: str
    acknowledged: list[StormObject] = field(default_factory=list)
    waiting: list[StormObject] = field(default_factory=list)

    def add(self, objects: Iterable[StormObject]) -> None:
        self.waiting += objects

    async def send(self, port: int) -> None:
        """Until everything is acknowledged, or the server is dead."""
        try:
            sender = await Sender.connect(port, calling=self.title)
        except SenderEnded:
            return
        try:
            while self.waiting:
                answer = await sender.store(self.waiting[0])
                assert answer.status == 0x0000, answer
                self.acknowledged.append(self.waiting.pop(0))
            await sender.release()
        except SenderEnded:
            pass  # what is left is sent again
        finally:
            await sender.close()


@dataclass(frozen=True, slots=True)
class Report:
    """What an N-EVENT-REPORT says."""

    event_type: int
    transaction: str
    committed: list[Reference]
    failed: list[tuple[Reference, int]]


@dataclass
class Requester(Sink):
    """Asks for storage commitment, and takes reports over its own association or a new one. Bytes by hand: libraries
    leave threads and sockets behind when their peer dies."""

    title: str = "MODALITY"
    keeps: bool = True
    reports: list[Report] = field(default_factory=list)

    def ask(self, port: int, transaction: str, references: Sequence[Reference], *, stays: bool) -> bool:
        """N-ACTION; whether it was answered 0000. With ``stays`` the association is kept until there was a report on
        it, or the server is dead."""
        data_set = Dataset()
        data_set.TransactionUID = transaction
        data_set.ReferencedSOPSequence = [_item(*reference) for reference in references]
        is_accepted = False
        with suppress(OSError, PeerClosed), RawPeer(port, timeout_s=30.0) as peer:
            peer.associate(_CONTEXTS, calling=self.title)
            peer.send_message(1, _N_ACTION, encoded(data_set))
            answer = peer.read_response()
            assert answer.status == 0x0000, answer
            is_accepted = True
            if stays:
                command, data = _message(peer)
                peer.send_message(1, self._taken(command, data))
            peer.release()
        return is_accepted

    def _answer(self, connection: socket.socket, context_id: int, command: CommandSet, data: bytes) -> None:
        connection.sendall(b"".join(pack_message(context_id, self._taken(command, data), None)))

    def _taken(self, command: CommandSet, data: bytes) -> bytes:
        """The report is kept before it is answered."""
        assert command.name == "N-EVENT-REPORT-RQ", command
        information = decoded(data)
        self.reports.append(
            Report(
                event_type=command.integer(Tag.EVENT_TYPE_ID),
                transaction=information.TransactionUID,
                committed=[_reference(item) for item in information.get("ReferencedSOPSequence", ())],
                failed=[(_reference(item), item.FailureReason) for item in information.get("FailedSOPSequence", ())],
            )
        )
        return command_set(
            {
                0x0002: ui(STORAGE_COMMITMENT_PUSH_MODEL),
                0x0100: us(0x8100),
                0x0120: us(command.message_id),
                0x0800: us(NO_DATA_SET),
                0x0900: us(0x0000),
                0x1000: ui(STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE),
            }
        )


_CONTEXTS = contexts_for((STORAGE_COMMITMENT_PUSH_MODEL, EXPLICIT))
_N_ACTION = command_set(
    {
        0x0003: ui(STORAGE_COMMITMENT_PUSH_MODEL),
        0x0100: us(0x0130),
        0x0110: us(1),
        0x0800: us(1),
        0x1001: ui(STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE),
        0x1008: us(1),
    }
)


def _item(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def _reference(item: Dataset) -> Reference:
    return item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID


def _message(peer: RawPeer) -> tuple[CommandSet, bytes]:
    """The next message that has a data set."""
    command, data = b"", b""
    while True:
        received = peer.read_pdu()
        assert isinstance(received, PDataTF), received
        for value in received.pdvs:
            if value.command:
                command += value.data
            else:
                data += value.data
                if value.last:
                    return decode_command(command), data


def peers(*titles: str, ports: Iterable[int]) -> dict[str, object]:
    """Settings for peers that we may call, and that may do everything."""
    return dict(_settings(zip(titles, ports, strict=True)))


def _settings(peers: Iterable[tuple[str, int]]) -> Iterator[tuple[str, object]]:
    for number, (title, port) in enumerate(peers):
        yield f"peers.{number}.ae_title", title
        yield f"peers.{number}.address", HOST
        yield f"peers.{number}.port", port
        yield f"peers.{number}.permissions", ["echo", "store", "query", "retrieve", "commit"]
