"""The sender against peers in the same process that do what each case needs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kit.odd import EXPLICIT, IMPLICIT, SECONDARY_CAPTURE, make
from kit.server import HOST, free_port
from pacslite.cli import sending as sending_module
from pacslite.cli.scanning import scan
from pacslite.cli.sending import FileResult, Outcome, Sender, Sending
from pacslite.cli.sending_plan import SendableFile
from pacslite.dicom.part10 import file_meta
from pacslite.dimse.command import CommandField
from pacslite.dimse.permission import EVERYTHING, Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.errors import AssociationRejected, ConnectionLost, OutOfResources
from pacslite.facts import AssociationAccepted, Fact
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy, UnknownCallers
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Remote
from pacslite.ul.negotiation import Order

Behave = Callable[[int, str, bytes], Response | None]
"""What a peer answers to its n-th object; None: it is gone before it can."""


@dataclass
class Peer:
    """A storage SCP. ``behave`` is asked once the data set has arrived; ``together`` answers wait for each other."""

    behave: Behave = lambda number, sop_instance, data_set: Response()
    takes: Callable[[str], bool] = lambda sop_class: True
    together: int = 1
    transfer_syntaxes: tuple[str, ...] = (EXPLICIT, IMPLICIT)
    window: int = 1
    max_associations: int = 10
    port: int = 0
    facts: list[Fact] = field(default_factory=list)
    received: dict[str, bytes] = field(default_factory=dict)
    count: int = 0
    waiting: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    lose: Callable[[], None] = lambda: None
    vanish: Callable[[], None] = lambda: None
    for_good: bool = False

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        assert request.data_set is not None
        data_set = await request.data_set.read(1 << 30)
        number, self.count = self.count, self.count + 1
        self.waiting += 1
        if self.waiting >= self.together:
            self.enough.set()
        await self.enough.wait()
        answer = self.behave(number, request.command.sop_instance, data_set)
        if answer is None:
            (self.vanish if self.for_good else self.lose)()
            await asyncio.Event().wait()
        else:
            self.received[request.command.sop_instance] = data_set
            yield answer

    @property
    def associations(self) -> list[AssociationAccepted]:
        return [fact for fact in self.facts if isinstance(fact, AssociationAccepted)]


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[Peer]:
    registry = ServiceRegistry(
        [
            Registration(
                name="Storage",
                abstract_syntaxes=(),
                serves=lambda abstract_syntax, _: peer.takes(abstract_syntax),
                transfer_syntaxes=peer.transfer_syntaxes,
                permission=Permission.STORE,
                operations={CommandField.C_STORE_RQ: peer},
            )
        ]
    )
    acceptor = Acceptor(
        access=AccessPolicy([], ae_titles=("PEER",), unknown=UnknownCallers.LOOPBACK, unknown_permissions=EVERYTHING),
        registry=registry,
        perform=Dispatcher(registry, peer.facts.append).perform,
        limits=AcceptorLimits(max_associations=peer.max_associations, async_window=peer.window),
        connection_limits=ConnectionLimits(),
        order=Order.SENDER,
        observe=peer.facts.append,
    )
    relay = Relay(await acceptor.listen(HOST, 0))
    peer.port = await relay.listen()
    peer.lose, peer.vanish = relay.cut, relay.close
    try:
        yield peer
    finally:
        relay.close()
        await acceptor.close(0)


@dataclass
class Relay:
    """A wire to the peer that can be cut."""

    to_port: int
    server: asyncio.Server | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def listen(self) -> int:
        self.server = await asyncio.start_server(self._connected, HOST, 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    def close(self) -> None:
        assert self.server is not None
        self.server.close()
        self.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer_reader, peer_writer = await asyncio.open_connection(HOST, self.to_port)
        self.writers |= {writer, peer_writer}
        with suppress(ConnectionError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, peer_writer))
                group.create_task(self._copy(peer_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()


@dataclass
class Told:
    results: list[FileResult] = field(default_factory=list)
    moved: int = 0
    complete: bool = False
    associations: int = 0

    def count(self, size: int) -> None:
        self.moved += size

    @property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(result.outcome for result in self.results)

    @property
    def reasons(self) -> set[str]:
        return {result.reason for result in self.results if result.reason}


async def stream(files: Iterable[SendableFile]) -> AsyncGenerator[SendableFile, None]:
    for file in files:
        yield file


async def files_in(folder: Path) -> list[SendableFile]:
    found = [scanned async for scanned in scan([folder])]
    assert all(isinstance(scanned, SendableFile) for scanned in found), found
    return [scanned for scanned in found if isinstance(scanned, SendableFile)]


async def send(
    port: int, files: Iterable[SendableFile], *, associations: int = 1, window: int = 1, answer_s: float = 20.0
) -> Told:
    told = Told()
    sending = Sending(
        remote=Remote(host=HOST, port=port, ae_title="PEER"),
        calling_ae="SENDER",
        associations=associations,
        window=window,
        answer_s=answer_s,
    )
    sender = Sender(sending, tell=told.results.append, moved=told.count)
    async with asyncio.timeout(30):
        told.complete = await sender.run(stream(files))
    told.associations = sender.associations
    return told


def write_object(
    folder: Path, name: str, *, sop_class: str = SECONDARY_CAPTURE, syntax: str = EXPLICIT, rest: bytes = b""
) -> Path:
    made = make(name, syntax=syntax, rest=rest)
    data_set = made.data_set.replace(
        len(SECONDARY_CAPTURE + "\0").to_bytes(2, "little") + SECONDARY_CAPTURE.encode() + b"\0",
        (len(sop_class) + len(sop_class) % 2).to_bytes(2, "little") + sop_class.encode() + b"\0" * (len(sop_class) % 2),
    )
    path = folder / f"{name}.dcm"
    path.write_bytes(
        file_meta(sop_class_uid=sop_class, sop_instance_uid=made.sop_instance, transfer_syntax_uid=syntax) + data_set
    )
    return path


def data_set_of(file: SendableFile) -> bytes:
    return file.path.read_bytes()[file.data_set_offset :]


@pytest.fixture
async def ten(tmp_path: Path) -> list[SendableFile]:
    for number in range(10):
        write_object(tmp_path, f"object-{number}")
    return await files_in(tmp_path)


@pytest.mark.parametrize("window", [1, 4])
async def test_data_sets_arrive_as_they_are_in_the_files(ten: list[SendableFile], window: int) -> None:
    async with listening(Peer(window=window)) as peer:
        told = await send(peer.port, ten, window=window)
    assert peer.received == {file.sop_instance_uid: data_set_of(file) for file in ten}
    assert told.outcomes == {Outcome.SENT: 10}
    assert told.moved == sum(file.data_set_bytes for file in ten)
    assert told.complete
    assert len(peer.associations) == 1


async def test_the_window_lets_several_objects_be_outstanding(ten: list[SendableFile]) -> None:
    """DM-02: the peer answers none before five have arrived, which without a window would be never."""
    async with listening(Peer(window=5, together=5)) as peer:
        told = await send(peer.port, ten, window=8)
    assert peer.associations[0].async_window == 5
    assert told.outcomes == {Outcome.SENT: 10}


async def test_associations_run_at_the_same_time(ten: list[SendableFile]) -> None:
    async with listening(Peer(together=3)) as peer:
        told = await send(peer.port, ten, associations=3)
    assert told.outcomes == {Outcome.SENT: 10}
    assert len(peer.associations) == 3


async def test_no_more_associations_than_files(ten: list[SendableFile]) -> None:
    async with listening(Peer()) as peer:
        told = await send(peer.port, ten[:2], associations=8)
    assert told.outcomes == {Outcome.SENT: 2}
    assert len(peer.associations) <= 2


async def test_more_than_128_contexts_are_spread_over_associations(tmp_path: Path) -> None:
    for number in range(150):
        write_object(tmp_path, f"object-{number}", sop_class=f"1.2.3.{number}")
    files = await files_in(tmp_path)
    assert len({file.context for file in files}) == 150
    async with listening(Peer()) as peer:
        told = await send(peer.port, files)
    assert told.outcomes == {Outcome.SENT: 150}
    assert [len(fact.contexts) for fact in peer.associations] == [128, 128]


async def test_finding_files_pauses_while_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order of the contexts, the pause never ends in everybody waiting for everybody."""
    monkeypatch.setattr(sending_module, "MOST_WAITING_FILES", 4)
    monkeypatch.setattr(sending_module, "_FIRST_FILES", 2)
    for number in range(30):
        write_object(tmp_path, f"object-{number:02}", sop_class=f"1.2.3.{number % 7}")
    files = await files_in(tmp_path)
    async with listening(Peer(window=3)) as peer:
        told = await send(peer.port, files, associations=2, window=3)
    assert told.outcomes == {Outcome.SENT: 30}
    assert told.complete
    assert len(peer.received) == 30


async def test_a_refused_context_fails_its_files_and_no_others(tmp_path: Path) -> None:
    write_object(tmp_path, "a", sop_class="1.2.3.4")
    write_object(tmp_path, "b", syntax=IMPLICIT)
    write_object(tmp_path, "c")
    async with listening(Peer(takes=lambda uid: uid == SECONDARY_CAPTURE, transfer_syntaxes=(EXPLICIT,))) as peer:
        told = await send(peer.port, await files_in(tmp_path))
    reasons = {result.path.stem: result.reason for result in told.results}
    assert reasons == {
        "a": "the peer refuses 1.2.3.4 in Explicit VR Little Endian: SOP class not supported",
        "b": "the peer refuses Secondary Capture Image Storage in Implicit VR Little Endian: "
        "transfer syntax not supported",
        "c": "",
    }


async def test_failures_and_warnings_are_told_with_the_peers_words(ten: list[SendableFile]) -> None:
    def behave(number: int, sop_instance: str, data_set: bytes) -> Response:
        if number == 0:
            raise OutOfResources("the disk is full")
        return Response(status=0xB007 if number == 1 else 0)

    async with listening(Peer(behave=behave)) as peer:
        told = await send(peer.port, ten)
    assert told.outcomes == {Outcome.SENT: 8, Outcome.WARNING: 1, Outcome.FAILED: 1}
    assert told.reasons == {
        "status A700H, out of resources: the disk is full",
        "status B007H, data set does not match SOP class",
    }


@pytest.mark.parametrize("window", [1, 4])
async def test_a_lost_association_is_opened_again_and_what_was_not_answered_goes_again(
    ten: list[SendableFile], window: int
) -> None:
    async with listening(Peer(behave=lambda n, *_: None if n == 4 else Response(), window=window)) as peer:
        told = await send(peer.port, ten, window=window)
    assert told.outcomes == {Outcome.SENT: 10}
    assert told.associations == 2
    assert told.moved == sum(file.data_set_bytes for file in ten)
    assert peer.received == {file.sop_instance_uid: data_set_of(file) for file in ten}


async def test_one_object_that_kills_the_peer_does_not_stop_the_others(ten: list[SendableFile]) -> None:
    poison = ten[0].sop_instance_uid

    def behave(number: int, sop_instance: str, data_set: bytes) -> Response | None:
        return None if sop_instance == poison else Response()

    async with listening(Peer(behave=behave)) as peer:
        told = await send(peer.port, ten)
    assert told.outcomes == {Outcome.SENT: 9, Outcome.FAILED: 1}
    assert told.complete
    (failed,) = (result for result in told.results if result.outcome is Outcome.FAILED)
    assert failed.file.sop_instance_uid == poison
    assert "not answered twice" in failed.reason


async def test_a_peer_that_is_lost_again_and_again_ends_the_sending(ten: list[SendableFile]) -> None:
    async with listening(Peer(behave=lambda *_: None)) as peer:
        told = await send(peer.port, ten)
    assert told.outcomes == {Outcome.FAILED: 10}
    assert told.associations == 2


async def test_a_peer_that_vanishes_for_good(ten: list[SendableFile]) -> None:
    async with listening(Peer(behave=lambda n, *_: Response() if n < 3 else None, for_good=True)) as peer:
        told = await send(peer.port, ten)
    assert told.outcomes == {Outcome.SENT: 3, Outcome.FAILED: 7}
    (reason,) = told.reasons
    assert reason.startswith("not sent: cannot connect to")


async def test_nobody_there() -> None:
    file = SendableFile(
        path=Path("nothing.dcm"),
        sop_class_uid="1.2",
        sop_instance_uid="1.2",
        transfer_syntax_uid="1.2",
        data_set_offset=0,
        data_set_bytes=10,
    )
    with pytest.raises(ConnectionLost, match="cannot connect"):
        await send(free_port(), [file])


async def test_a_peer_with_few_places_gets_all_the_same(ten: list[SendableFile]) -> None:
    async with listening(Peer(max_associations=1)) as peer:
        told = await send(peer.port, ten, associations=4)
    assert told.outcomes == {Outcome.SENT: 10}


async def test_a_peer_that_rejects(ten: list[SendableFile]) -> None:
    async with listening(Peer(max_associations=0)) as peer:
        with pytest.raises(AssociationRejected, match="local limit exceeded"):
            await send(peer.port, ten)


async def test_large_and_odd_data_sets_arrive_unchanged(tmp_path: Path) -> None:
    """UL-20: all fragments but the last are even; what is odd in the file is neither padded nor cut."""
    pixels = bytes(range(256)) * 4096 * 3
    path = write_object(tmp_path, "large", rest=b"\xe0\x7f\x10\x00OB\0\0" + len(pixels).to_bytes(4, "little") + pixels)
    path.write_bytes(path.read_bytes() + b"\0")
    write_object(tmp_path, "odd", rest=b"\0")
    files = await files_in(tmp_path)
    assert {file.data_set_bytes % 2 for file in files} == {1}
    async with listening(Peer()) as peer:
        told = await send(peer.port, files)
    assert told.outcomes == {Outcome.SENT: 2}
    assert peer.received == {file.sop_instance_uid: data_set_of(file) for file in files}
    assert told.moved == sum(file.data_set_bytes for file in files)


async def test_a_file_that_changes_while_it_is_sent_fails_alone(tmp_path: Path) -> None:
    pixels = bytes(5 << 20)
    path = write_object(tmp_path, "a", rest=b"\xe0\x7f\x10\x00OB\0\0" + len(pixels).to_bytes(4, "little") + pixels)
    for name in ("b", "c"):
        write_object(tmp_path, name)
    gone, cut, good = await files_in(tmp_path)
    gone, cut = cut, gone
    gone.path.unlink()
    with path.open("r+b") as file:
        file.truncate(3 << 20)
    async with listening(Peer()) as peer:
        told = await send(peer.port, [gone, cut, good])
    reasons = {result.path.stem: result.reason for result in told.results}
    assert reasons == {
        "a": "cannot be read: the file has become shorter since it was looked at",
        "b": "cannot be read: No such file or directory",
        "c": "",
    }
    assert list(peer.received) == [good.sop_instance_uid]
    assert told.moved == good.data_set_bytes
