"""A storage SCP that behaves as badly as it is told to: one thread each connection, bytes by hand."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from kit.message import command_set, pack_message, ui, us
from kit.rawpeer import IMPLEMENTATION
from kit.server import HOST
from pacslite.dimse.command import CommandSet, decode_command
from pacslite.ul.codec import decode_pdu, encode_pdu
from pacslite.ul.items import (
    AsyncOperationsWindow,
    PresentationContext,
    PresentationContextAnswer,
    UserInformation,
)
from pacslite.ul.pdu import Abort, AssociateAC, AssociateRJ, AssociateRQ, PDataTF, ReleaseRP, ReleaseRQ

Refuses = Callable[[str, tuple[str, ...]], bool]


class Stop(Exception):
    """The sink ends this connection here."""


class StopWithAbort(Stop):
    """It ends it by A-ABORT."""


@dataclass
class Sink:
    """``answers`` is given the number of the object, from 1 on over all connections, and its command; it returns the
    status, or raises :class:`Stop` to end the connection, and may wait. ``begins`` may do so when the command is there
    and its data set is not. It takes the transfer syntax that it ``prefers``, else the first
    one. ``rejects`` answers A-ASSOCIATE-RJ. What was answered with success or a warning is in
    ``taken``, as often as that happened, if it ``keeps`` data sets."""

    answers: Callable[[int, CommandSet], int] = lambda number, command: 0x0000
    begins: Callable[[CommandSet], None] = lambda command: None
    comment: str = ""
    refuses: Refuses = lambda abstract_syntax, syntaxes: False
    prefers: str = ""
    rejects: bool = False
    answers_release: bool = True
    window: int = 1
    port: int = 0
    uids: list[str] = field(default_factory=list)
    keeps: bool = False
    taken: list[tuple[CommandSet, bytes]] = field(default_factory=list)
    proposals: list[tuple[PresentationContext, ...]] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    _listener: socket.socket | None = None
    _sockets: list[socket.socket] = field(default_factory=list)

    def listen(self) -> None:
        """On the port it had, if it had one."""
        self._listener = socket.create_server((HOST, self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """No further calls; open connections are cut."""
        if self._listener is not None:
            # A thread in accept keeps a closed listener alive; this wakes it.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._sockets.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self.lock:
            self.connections += 1
            self.open += 1
        try:
            with connection, suppress(OSError, Stop, EOFError):
                try:
                    self._converse(connection)
                except StopWithAbort:
                    connection.sendall(encode_pdu(Abort(source=2, reason=0)))
        finally:
            with self.lock:
                self.open -= 1

    def _converse(self, connection: socket.socket) -> None:
        rq = _read(connection)
        assert isinstance(rq, AssociateRQ)
        self.proposals.append(rq.contexts)
        if self.rejects:
            connection.sendall(encode_pdu(AssociateRJ(result=1, source=1, reason=7)))
            return
        connection.sendall(encode_pdu(self._accepted(rq)))
        command = bytearray()
        data = bytearray()
        current: tuple[int, CommandSet] | None = None
        while True:
            pdu = _read(connection)
            if isinstance(pdu, ReleaseRQ) and not self.answers_release:
                continue
            if isinstance(pdu, ReleaseRQ):
                connection.sendall(encode_pdu(ReleaseRP()))
                return
            if not isinstance(pdu, PDataTF):
                return
            for value in pdu.pdvs:
                if value.command:
                    command += value.data
                    if value.last:
                        current = value.context_id, decode_command(bytes(command))
                        command.clear()
                        self.begins(current[1])
                    continue
                if self.keeps:
                    data += value.data
                if value.last and current is not None:
                    self._answer(connection, *current, bytes(data))
                    data.clear()

    def _answer(self, connection: socket.socket, context_id: int, command: CommandSet, data: bytes) -> None:
        with self.lock:
            self.uids.append(command.sop_instance)
            number = len(self.uids)
        status = self.answers(number, command)
        if self.keeps and (status == 0 or status >> 12 == 0xB):
            with self.lock:
                self.taken.append((command, data))
        comment = self.comment.encode() + b" " * (len(self.comment) % 2)
        answer = command_set(
            {
                0x0002: ui(command.sop_class),
                0x0100: us(0x8001),
                0x0120: us(command.message_id),
                0x0800: us(0x0101),
                0x0900: us(status),
                **({0x0902: comment} if comment and status else {}),
                0x1000: ui(command.sop_instance),
            }
        )
        connection.sendall(b"".join(pack_message(context_id, answer, None)))

    def _accepted(self, rq: AssociateRQ) -> AssociateAC:
        answers = tuple(
            PresentationContextAnswer(
                context.context_id,
                3 if self.refuses(context.abstract_syntax, context.transfer_syntaxes) else 0,
                self.prefers if self.prefers in context.transfer_syntaxes else context.transfer_syntaxes[0],
            )
            for context in rq.contexts
        )
        offered = rq.user_information.async_window
        window = AsyncOperationsWindow(self.window, 1) if offered is not None and self.window != 1 else None
        return AssociateAC(
            called_ae_title=rq.called_ae_title,
            calling_ae_title=rq.calling_ae_title,
            contexts=answers,
            user_information=UserInformation(
                max_length=65536, implementation_class_uid=IMPLEMENTATION, async_window=window
            ),
        )


def _read(connection: socket.socket) -> object:
    pdu_type, length = struct.unpack(">BxI", _exactly(connection, 6))
    return decode_pdu(pdu_type, _exactly(connection, length))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


@contextmanager
def listening(sink: Sink) -> Iterator[Sink]:
    sink.listen()
    try:
        yield sink
    finally:
        sink.close()
