"""A peer that writes the bytes it is told to write, and reads what comes back PDU by PDU.

Blocking and bounded: every read has a timeout. What it sends is made in :mod:`kit.message` or given as bytes; only the
A-ASSOCIATE-RQ and the reading of answers use the package's codec, which has tests of its own.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from kit.message import ONE_PDV_EACH, Packing, c_echo_rq, c_store_rq, pack_message, pdu
from pacslite.dicom.uids import VERIFICATION
from pacslite.dimse.command import CommandSet, decode_command
from pacslite.ul.codec import decode_pdu, encode_pdu
from pacslite.ul.items import AsyncOperationsWindow, PresentationContext, RoleSelection, UserIdentity, UserInformation
from pacslite.ul.pdu import PDU, Abort, AssociateAC, AssociateRJ, AssociateRQ, PDataTF, ReleaseRP, ae_title_field

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
RELEASE_RQ = pdu(5, bytes(4))
A_ABORT = pdu(7, bytes(4))
IMPLEMENTATION = "1.2.826.0.1.3680043.9.9999.1"


class PeerClosed(Exception):
    """The server closed the connection where a PDU was expected."""


def associate_rq(
    contexts: Sequence[PresentationContext],
    *,
    calling: str = "RAWPEER",
    called: str = "PACSLITE",
    information: UserInformation | None = None,
    protocol_version: int = 1,
) -> AssociateRQ:
    return AssociateRQ(
        called_ae_title=ae_title_field(called),
        calling_ae_title=ae_title_field(calling),
        contexts=tuple(contexts),
        user_information=information or user_information(),
        protocol_version=protocol_version,
    )


def user_information(
    *,
    max_length: int = 16384,
    window: tuple[int, int] | None = None,
    identity: UserIdentity | None = None,
    roles: Sequence[RoleSelection] = (),
) -> UserInformation:
    return UserInformation(
        max_length=max_length,
        implementation_class_uid=IMPLEMENTATION,
        implementation_version_name="RAWPEER",
        async_window=AsyncOperationsWindow(*window) if window is not None else None,
        user_identity=identity,
        roles=tuple(roles),
    )


def contexts_for(*pairs: tuple[str, str]) -> list[PresentationContext]:
    """One context for each pair of abstract and transfer syntax, with IDs 1, 3, 5 …"""
    return [PresentationContext(2 * at + 1, sop_class, (syntax,)) for at, (sop_class, syntax) in enumerate(pairs)]


VERIFICATION_CONTEXT = contexts_for((VERIFICATION, IMPLICIT))


class RawPeer:
    """One TCP (or TLS) connection to the server."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        source: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self.timeout_s = timeout_s
        self._buffer = bytearray()
        self.socket: socket.socket = socket.create_connection((host, port), timeout_s, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            try:
                self.socket = tls.wrap_socket(self.socket, server_hostname=host)
            except BaseException:
                self.socket.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close in good order (FIN)."""
        self.socket.close()

    def reset(self) -> None:
        """Close with a TCP reset, as a machine does that was switched off and on."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # --- Writing ----------------------------------------------------------------------------------------------------

    def send(self, *data: bytes) -> None:
        self.socket.settimeout(self.timeout_s)
        self.socket.sendall(b"".join(data))

    def send_in_pieces(self, data: bytes, sizes: Iterable[int]) -> None:
        """One write for each of ``sizes``, then the rest; the sizes need not respect anything."""
        at = 0
        for size in sizes:
            self.send(data[at : at + size])
            at += size
        if at < len(data):
            self.send(data[at:])

    def send_message(
        self, context_id: int, command: bytes, data_set: bytes | None = None, packing: Packing = ONE_PDV_EACH
    ) -> None:
        self.send(*pack_message(context_id, command, data_set, packing))

    # --- Reading ----------------------------------------------------------------------------------------------------

    def read_pdu(self, timeout_s: float | None = None) -> PDU:
        """The next PDU; :class:`PeerClosed` at the end of the stream, :class:`TimeoutError` if nothing comes."""
        deadline = time.monotonic() + (timeout_s or self.timeout_s)
        pdu_type, length = struct.unpack(">BxI", self._take(6, deadline))
        return decode_pdu(pdu_type, self._take(length, deadline))

    def read_response(self, timeout_s: float | None = None) -> CommandSet:
        """The next message's command set (responses to C-ECHO and C-STORE have no data set)."""
        command = b""
        while True:
            answer = self.read_pdu(timeout_s)
            if not isinstance(answer, PDataTF):
                raise AssertionError(f"expected a response, got {answer}")
            for value in answer.pdvs:
                assert value.command, "a data set where a response was expected (ST-06)"
                command += value.data
            if answer.pdvs[-1].last:
                return decode_command(command)

    def read_to_end(self, timeout_s: float | None = None) -> bytes:
        """Whatever comes until the server closes; :class:`TimeoutError` if it does not."""
        deadline = time.monotonic() + (timeout_s or self.timeout_s)
        with suppress(PeerClosed, ConnectionResetError):
            while True:
                self._receive(deadline)
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def is_closed(self) -> bool:
        """Whether the server has closed; bytes that came before are kept for reading."""
        try:
            self._receive(time.monotonic() + 0.001)
        except TimeoutError:
            return False
        except (PeerClosed, ConnectionResetError):
            return True
        return False

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            self._receive(deadline)
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _receive(self, deadline: float) -> None:
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        data = self.socket.recv(1 << 16)
        if not data:
            raise PeerClosed(f"closed by the server with {len(self._buffer)} bytes of a PDU sent")
        self._buffer += data

    # --- Whole exchanges --------------------------------------------------------------------------------------------

    def request(self, rq: AssociateRQ) -> AssociateAC | AssociateRJ | Abort:
        self.send(encode_pdu(rq))
        answer = self.read_pdu()
        assert isinstance(answer, AssociateAC | AssociateRJ | Abort), answer
        return answer

    def associate(
        self,
        contexts: Sequence[PresentationContext] = VERIFICATION_CONTEXT,
        *,
        calling: str = "RAWPEER",
        called: str = "PACSLITE",
        information: UserInformation | None = None,
    ) -> AssociateAC:
        """Ask for an association that the server is expected to accept."""
        answer = self.request(associate_rq(contexts, calling=calling, called=called, information=information))
        assert isinstance(answer, AssociateAC), answer
        return answer

    def echo(self, context_id: int = 1, message_id: int = 1) -> int:
        """C-ECHO; returns the status."""
        self.send_message(context_id, c_echo_rq(message_id))
        return self.read_response().status

    def store(
        self,
        context_id: int,
        sop_class: str,
        sop_instance: str,
        data_set: bytes,
        *,
        message_id: int = 1,
        packing: Packing = ONE_PDV_EACH,
    ) -> CommandSet:
        """C-STORE; returns the response."""
        self.send_message(context_id, c_store_rq(sop_class, sop_instance, message_id), data_set, packing)
        return self.read_response()

    def release(self) -> None:
        """Release, check the answer and close."""
        self.send(RELEASE_RQ)
        answer = self.read_pdu()
        assert isinstance(answer, ReleaseRP), answer
        self.close()


@contextmanager
def association(
    port: int,
    contexts: Sequence[PresentationContext] = VERIFICATION_CONTEXT,
    *,
    calling: str = "RAWPEER",
    information: UserInformation | None = None,
    timeout_s: float = 10.0,
) -> Iterator[RawPeer]:
    """An association that is released at the end of the block, unless the block raised."""
    with RawPeer(port, timeout_s=timeout_s) as peer:
        peer.associate(contexts, calling=calling, information=information)
        yield peer
        peer.release()


def is_answering(port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether a C-ECHO succeeds."""
    try:
        with association(port, timeout_s=timeout_s) as peer:
            return peer.echo() == 0
    except (OSError, PeerClosed, AssertionError):
        return False
