"""A storm: many associations that store at once, and a book of what was acknowledged.

The wire is written here by hand, so that nothing of the server under test is believed. Objects are small CT images
whose bytes follow from their UID, so that a book of 10,000 of them costs nothing to keep and each can be compared with
what the archive holds. A sender with a window sends its next object before the last one is answered (PS3.7 D.3.3.3).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
ROOT = "2.25.7777"

ECHO_CONTEXT = 1
STORE_CONTEXT = 3
PIECE_BYTES = 128 * 1024
_LONG_VRS = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR"})


# --- Objects ---------------------------------------------------------------------------------------------------------


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One data element in Explicit VR Little Endian."""
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


@dataclass(frozen=True, slots=True, kw_only=True)
class StormObject:
    """A CT image of about ``pixel_bytes``; another ``variant`` is another content under the same UIDs."""

    sop_instance: str
    study: str = f"{ROOT}.1"
    series: str = f"{ROOT}.1.1"
    patient: str = "STORM"
    pixel_bytes: int = 2048
    variant: int = 0
    extra: bytes = b""
    """Encoded elements that go before the pixel data."""

    @property
    def head(self) -> bytes:
        """Everything before the value of Pixel Data."""
        return b"".join(
            (
                element(0x00080016, b"UI", CT_IMAGE_STORAGE.encode()),
                element(0x00080018, b"UI", self.sop_instance.encode()),
                element(0x00080020, b"DA", b"20260102"),
                element(0x00080060, b"CS", b"CT"),
                element(0x00100010, b"PN", f"Storm^{self.patient}".encode()),
                element(0x00100020, b"LO", self.patient.encode()),
                element(0x0020000D, b"UI", self.study.encode()),
                element(0x0020000E, b"UI", self.series.encode()),
                element(0x00200013, b"IS", str(self.variant).encode()),
                self.extra,
                struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, self.pixel_bytes),
            )
        )

    def pieces(self) -> Iterator[bytes]:
        """The data set, in pieces of even length that fit any P-DATA-TF this server takes."""
        assert self.pixel_bytes % 2 == 0
        grain = hashlib.sha256(f"{self.sop_instance}/{self.variant}".encode()).digest()
        block = grain * (min(self.pixel_bytes, PIECE_BYTES) // len(grain) + 1)
        left = self.pixel_bytes
        first = self.head
        while True:
            take = min(left, PIECE_BYTES - len(first) if first else PIECE_BYTES)
            yield first + block[:take]
            first = b""
            left -= take
            if not left:
                return

    def data_set(self) -> bytes:
        """All of it; not for the large ones."""
        return b"".join(self.pieces())

    def size(self) -> int:
        return len(self.head) + self.pixel_bytes


def objects(
    prefix: str, sizes: Iterable[int], *, per_series: int = 20, per_study: int = 60, patient: str = "STORM"
) -> Iterator[StormObject]:
    """Objects with UIDs under ``prefix``, spread over series and studies as a scanner would."""
    for number, pixel_bytes in enumerate(sizes):
        study = f"{ROOT}.{prefix}.{number // per_study}"
        series = f"{study}.{number // per_series}"
        yield StormObject(
            sop_instance=f"{series}.{number}",
            study=study,
            series=series,
            patient=f"{patient}{prefix}",
            pixel_bytes=pixel_bytes,
        )


# --- The wire --------------------------------------------------------------------------------------------------------


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _context(context_id: int, abstract_syntax: str, transfer_syntax: str) -> bytes:
    syntaxes = _item(0x30, abstract_syntax.encode()) + _item(0x40, transfer_syntax.encode())
    return _item(0x20, struct.pack(">Bxxx", context_id) + syntaxes)


def associate_rq(*, calling: str, called: str, window: int) -> bytes:
    """An A-ASSOCIATE-RQ for echo (context 1) and CT (context 3)."""
    user = _item(0x51, struct.pack(">I", 65536)) + _item(0x52, b"2.25.99")
    if window > 1:
        user += _item(0x53, struct.pack(">HH", window, 1))
    body = (
        struct.pack(">Hxx16s16s32x", 1, called.ljust(16).encode(), calling.ljust(16).encode())
        + _item(0x10, b"1.2.840.10008.3.1.1.1")
        + _context(ECHO_CONTEXT, VERIFICATION, IMPLICIT_VR_LITTLE_ENDIAN)
        + _context(STORE_CONTEXT, CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN)
        + _item(0x50, user)
    )
    return struct.pack(">BxI", 1, len(body)) + body


def p_data(context_id: int, data: bytes, *, command: bool, last: bool) -> bytes:
    """One P-DATA-TF with one PDV."""
    control = (1 if command else 0) | (2 if last else 0)
    return struct.pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, context_id, control) + data


def command_set(elements: dict[int, int | str]) -> bytes:
    """A command set in Implicit VR Little Endian with its Group Length."""
    body = b""
    for number, value in sorted(elements.items()):
        raw = struct.pack("<H", value) if isinstance(value, int) else value.encode()
        raw += b"\0" * (len(raw) % 2)
        body += struct.pack("<HHI", 0, number, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def store_command(message_id: int, sop_instance: str, *, sop_class: str = CT_IMAGE_STORAGE) -> bytes:
    elements: dict[int, int | str] = {0x0002: sop_class, 0x0100: 1, 0x0110: message_id, 0x0700: 0, 0x0800: 1}
    return command_set({**elements, 0x1000: sop_instance})


def echo_command(message_id: int) -> bytes:
    return command_set({0x0002: VERIFICATION, 0x0100: 0x30, 0x0110: message_id, 0x0800: 0x0101})


def store_message(message_id: int, obj: StormObject) -> Iterator[bytes]:
    """The P-DATA-TFs of one C-STORE-RQ; the command and the first piece come joined, as real senders write them."""
    held = p_data(STORE_CONTEXT, store_command(message_id, obj.sop_instance), command=True, last=True)
    sent, size = 0, obj.size()
    for piece in obj.pieces():
        sent += len(piece)
        yield held + p_data(STORE_CONTEXT, piece, command=False, last=sent == size)
        held = b""


def decode_elements(data: bytes) -> dict[int, bytes]:
    """A command set's raw values by element number."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(data):
        number, length = struct.unpack_from("<HI", data, at + 2)
        found[number] = data[at + 8 : at + 8 + length]
        at += 8 + length
    return found


# --- Senders ---------------------------------------------------------------------------------------------------------


class SenderEnded(Exception):
    """The association ended before the answer came: cut, aborted, or never accepted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, fully received."""

    status: int
    comment: str


class Sender:
    """One association as SCU; any number of operations may be outstanding, up to what the server agreed to.

    ``ended`` is empty while it lasts, then says how it ended: released, cut or aborted.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._last_message_id = 0
        self._released = asyncio.get_running_loop().create_future()
        self._sending = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None
        self.ended = ""

    @classmethod
    async def connect(
        cls, port: int, *, host: str = "127.0.0.1", calling: str = "STORM", called: str = "PACSLITE", window: int = 1
    ) -> Sender:
        """Associate; raises :class:`SenderEnded` if that is refused."""
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise SenderEnded(f"not connected: {error}") from error
        sender = cls(reader, writer)
        try:
            writer.write(associate_rq(calling=calling, called=called, window=window))
            kind, body = await sender._pdu()
            if kind == 3:
                raise SenderEnded(f"rejected: result {body[1]} source {body[2]} reason {body[3]}")
            if kind != 2:
                raise SenderEnded(f"PDU {kind:02X}H instead of A-ASSOCIATE-AC")
        except SenderEnded:
            sender.cut()
            raise
        sender._listener = asyncio.create_task(sender._listen())
        return sender

    async def store(self, obj: StormObject) -> Answer:
        """Send one object and wait for its answer; raises :class:`SenderEnded` if none comes."""
        message_id, future = self._begin()
        async with self._sending:
            for data in store_message(message_id, obj):
                await self._write(data)
        return await future

    async def echo(self) -> Answer:
        message_id, future = self._begin()
        async with self._sending:
            await self._write(p_data(ECHO_CONTEXT, echo_command(message_id), command=True, last=True))
        return await future

    async def send_raw(self, data: bytes) -> None:
        """Anything at all."""
        await self._write(data)

    async def release(self) -> None:
        """Release in good order and close."""
        await self._write(struct.pack(">BxIxxxx", 5, 4))
        await self._released
        self._writer.close()
        await self._stop()

    async def wait_ended(self) -> str:
        """Wait until the server ends the association; returns how."""
        assert self._listener is not None
        await asyncio.wait([self._listener])
        self.cut()
        return self.ended

    def cut(self) -> None:
        """Reset the connection (RST)."""
        connection = self._writer.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Reset the connection and wait for the reader's end."""
        self.cut()
        await self._stop()

    async def _stop(self) -> None:
        if self._listener is not None:
            await asyncio.wait([self._listener])

    def _begin(self) -> tuple[int, asyncio.Future[Answer]]:
        if self.ended:
            raise SenderEnded(self.ended)
        self._last_message_id = self._last_message_id % 0xFFFF + 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[self._last_message_id] = future
        return self._last_message_id, future

    async def _write(self, data: bytes) -> None:
        if self.ended:
            raise SenderEnded(self.ended)
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise SenderEnded(f"cut: {error}") from error

    async def _pdu(self) -> tuple[int, bytes]:
        try:
            kind, length = struct.unpack(">BxI", await self._reader.readexactly(6))
            return kind, await self._reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise SenderEnded(f"cut: {error}") from error

    async def _listen(self) -> None:
        try:
            while not self._released.done():
                self._receive(*await self._pdu())
            self.ended = "released"
        except SenderEnded as ended:
            self.ended = str(ended)
        for future in (*self._waiting.values(), self._released):
            if not future.done():
                future.set_exception(SenderEnded(self.ended))
                future.exception()  # nobody has to be waiting

    def _receive(self, kind: int, body: bytes) -> None:
        if kind == 4:
            elements = decode_elements(body[6:])
            (message_id,) = struct.unpack("<H", elements[0x0120])
            (status,) = struct.unpack("<H", elements[0x0900])
            comment = elements.get(0x0902, b"").decode("latin-1").strip()
            future = self._waiting.pop(message_id)
            if not future.done():
                future.set_result(Answer(status, comment))
        elif kind == 6:
            self._released.set_result(None)
        elif kind == 7:
            raise SenderEnded(f"aborted: source {body[2]} reason {body[3]}")
        else:
            raise SenderEnded(f"PDU {kind:02X}H where a response was expected")


# --- The storm -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Book:
    """What became of the objects: acknowledged (0000 received), refused (any other answer), or never answered."""

    acknowledged: list[StormObject] = field(default_factory=list)
    refused: list[tuple[StormObject, Answer]] = field(default_factory=list)
    unanswered: list[StormObject] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    async def store(self, sender: Sender, obj: StormObject) -> Answer:
        """Store and write down."""
        try:
            answer = await sender.store(obj)
        except SenderEnded:
            self.unanswered.append(obj)
            raise
        if answer.status == 0x0000:
            self.acknowledged.append(obj)
        else:
            self.refused.append((obj, answer))
        return answer


async def storm(
    port: int, supplies: Sequence[Iterator[StormObject]], book: Book, *, window: int = 1, within_s: float = 100.0
) -> None:
    """One association for each supply, all at once, each until its supply or its connection ends.

    A :class:`TimeoutError` after ``within_s``: no answer came, and nothing ended.
    """

    async def one(supply: Iterator[StormObject]) -> None:
        try:
            sender = await Sender.connect(port, window=window)
        except SenderEnded as ended:
            book.ended.append(str(ended))
            return
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(window):
                    workers.create_task(_worker(sender, supply, book))
            if not sender.ended:
                await sender.release()
        except SenderEnded:
            pass  # what it was is in sender.ended
        finally:
            await sender.close()
            book.ended.append(sender.ended)

    async with asyncio.timeout(within_s):
        await asyncio.gather(*map(one, supplies))


async def _worker(sender: Sender, supply: Iterator[StormObject], book: Book) -> None:
    with contextlib.suppress(SenderEnded):
        for obj in supply:
            await book.store(sender, obj)
