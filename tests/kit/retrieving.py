"""Retrievals on a real archive, without a network: requests, and peers that take objects as they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from kit.identifiers import EXPLICIT, decoded, encoded, identifier
from kit.operation import Bytes
from kit.samples import CT, Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.selection import Kind
from pacslite.dimse.command import CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import Cancellation, Context, Invoker, OutgoingDataSet, Request, Response
from pacslite.errors import AssociationError, CannotConvert
from pacslite.facts import Fact, Peer
from pacslite.net.cancellation import Cancellation as Cancelled
from pacslite.services.conveyor import Manner
from pacslite.services.retrieve import GetService, Retrieval, RetrieveLimits

STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
IMPLICIT = "1.2.840.10008.1.2"
PEER = Peer(association=1, address="127.0.0.1", port=1, calling_ae="WS1", called_ae="PACSLITE")
SUCCESS, PENDING, CANCELLED, SOME_FAILED, ALL_FAILED = 0x0000, 0xFF00, 0xFE00, 0xB000, 0xA702


@dataclass(frozen=True, slots=True)
class Sent:
    """One C-STORE as the peer saw it."""

    context_id: int
    elements: Mapping[int, Value]
    data_set: bytes

    @property
    def uid(self) -> str:
        return str(self.elements[Tag.AFFECTED_SOP_INSTANCE_UID])


@dataclass(slots=True)
class Taker:
    """A peer that we store to. ``replies`` are its statuses by SOP Instance UID, 0000 for all others; an error is the
    end of the association. While ``gate`` is closed it answers nothing of what is ``held``, which may be everything."""

    contexts: Mapping[int, Context]
    window: int = 1
    replies: dict[str, int | AssociationError] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Sent] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    lost: AssociationError | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        if self.lost is not None:
            raise self.lost
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if isinstance(data_set, bytes | memoryview):
                data = bytes(data_set)
            else:
                assert data_set is not None
                data = b"".join([bytes(piece) async for piece in data_set])
            sent = Sent(context_id, dict(elements), data)
            self.sent.append(sent)
            self.arrived.set()
            if not self.held or sent.uid in self.held:
                await self.gate.wait()
            reply = self.replies.get(sent.uid, SUCCESS)
            if isinstance(reply, AssociationError):
                self.lost = reply
            if self.lost is not None:
                raise self.lost
            assert isinstance(reply, int)
            return CommandSet({Tag.STATUS: reply})
        finally:
            self.in_flight -= 1

    @property
    def uids(self) -> list[str]:
        return [one.uid for one in self.sent]


def contexts(*syntaxes: str, sop_class: str = CT, scu: bool = True) -> dict[int, Context]:
    """One context for each transfer syntax, with IDs 1, 3, 5 …"""
    ids = range(1, 2 * len(syntaxes), 2)
    return {
        number: Context(number, sop_class, syntax, scu=scu, scp=not scu)
        for number, syntax in zip(ids, syntaxes, strict=True)
    }


class Calls:
    """A destination made of ``takers``: each connection is the next of them, or the error that it is."""

    elements: Mapping[int, Value] = {}
    is_requester = False

    def __init__(self, *takers: Taker | AssociationError, associations: int = 1, may_reconnect: bool = True) -> None:
        self.associations = associations
        self.may_reconnect = may_reconnect
        self.connections = 0
        self.open = 0
        self._takers = list(takers)

    def portions(self, kinds: Iterable[Kind]) -> list[Collection[Kind]]:
        return [frozenset(kinds)]

    @asynccontextmanager
    async def connect(self, kinds: Collection[Kind]) -> AsyncIterator[Invoker]:
        self.connections += 1
        taker = self._takers.pop(0)
        if isinstance(taker, AssociationError):
            raise taker
        self.open += 1
        try:
            yield taker
        finally:
            self.open -= 1


class Shouting:
    """A converter for tests: from any transfer syntax to implicit VR, with every byte inverted and in small pieces.

    It cannot convert what is stored under the names ``fails``. ``open`` is how many conversions have not been closed.
    """

    def __init__(self, *, fails: Collection[str] = ()) -> None:
        self.fails = fails
        self.open = 0

    def target_for(self, source_syntax: str, offered: Collection[str]) -> str | None:
        return IMPLICIT if IMPLICIT in offered else None

    async def convert(
        self, *, path: Path, data_set_offset: int, size: int, source: str, target: str
    ) -> AsyncGenerator[bytes, None]:
        self.open += 1
        try:
            if path.stem in self.fails:
                raise CannotConvert("its pixel data are damaged")
            data = inverted(stored_bytes(path, data_set_offset, size))
            for at in range(0, size, 100):
                await asyncio.sleep(0)
                yield data[at : at + 100]
        finally:
            self.open -= 1


def stored_bytes(path: Path, offset: int, size: int) -> bytes:
    return path.read_bytes()[offset : offset + size]


def inverted(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)


@dataclass(slots=True)
class Retrieved:
    """All responses to one request."""

    pending: list[Response]
    final: Response
    syntax: str

    @property
    def failed(self) -> list[str]:
        """Failed SOP Instance UID List; nothing else may be there."""
        if self.final.data_set is None:
            return []
        answer = decoded(self.final.data_set, self.syntax)
        assert list(answer.keys()) == [0x00080058]
        found = answer.FailedSOPInstanceUIDList
        return [found] if isinstance(found, str) else [str(one) for one in found]

    @property
    def counters(self) -> tuple[object, object, object, object]:
        """Remaining, completed, failed and warning."""
        return counters(self.final)


def counters(response: Response) -> tuple[object, object, object, object]:
    remaining, completed, failed, warning = (response.elements.get(0x1020 + at) for at in range(4))
    return remaining, completed, failed, warning


@dataclass(slots=True)
class Retrieving:
    """Retrieves from ``archive`` with services made for each request."""

    archive: Archive
    facts: list[Fact] = field(default_factory=list)
    manner: Manner = field(default_factory=Manner)
    limits: RetrieveLimits = field(default_factory=RetrieveLimits)

    def retrieval(self) -> Retrieval:
        return Retrieval(self.archive, manner=self.manner, limits=self.limits, observe=self.facts.append)

    async def get(
        self, identifier: Dataset | bytes, taker: Invoker, sop_class: str = STUDY_ROOT_GET, **more: object
    ) -> Retrieved:
        asked = request(identifier, taker, sop_class, **more)  # type: ignore[arg-type] # checked where it matters
        return await collected(GetService(self.retrieval()).serve(asked), asked)


async def collected(responses: AsyncGenerator[Response, None], asked: Request) -> Retrieved:
    async with aclosing(responses):
        received = [response async for response in responses]
    *pending, final = received
    assert final.is_final
    assert not any(response.is_final for response in pending)
    return Retrieved(pending, final, asked.context.transfer_syntax)


def request(
    identifier: Dataset | bytes | None,
    taker: Invoker,
    sop_class: str = STUDY_ROOT_GET,
    *,
    extended: bytes = b"",
    syntax: str = EXPLICIT,
    priority: int = 0,
    cancellation: Cancellation | None = None,
    more: Mapping[int, Value] | None = None,
) -> Request:
    data = encoded(identifier, syntax) if isinstance(identifier, Dataset) else identifier
    return Request(
        peer=PEER,
        context=Context(99, sop_class, syntax, extended=extended),
        command=CommandSet(
            {
                Tag.COMMAND_FIELD: CommandField.C_GET_RQ,
                Tag.AFFECTED_SOP_CLASS_UID: sop_class,
                Tag.MESSAGE_ID: 7,
                Tag.PRIORITY: priority,
                **(more or {}),
            }
        ),
        data_set=None if data is None else Bytes(data),
        cancellation=cancellation or Cancelled(),
        invoker=taker,
    )


@asynccontextmanager
async def retrieving(folder: Path, samples: Sequence[Sample] = (), **manner: object) -> AsyncIterator[Retrieving]:
    """With an archive that holds ``samples``; ``manner`` is that of the sub-operations."""
    facts: list[Fact] = []
    async with Archive.open(settings_for(folder / "data"), observe=facts.append) as archive:
        for sample in samples:
            await put(archive, sample)
        yield Retrieving(archive, facts, Manner(**manner))  # type: ignore[arg-type] # checked where it matters


def study(count: int, *, uid: str = "1.2.3.1", **changes: object) -> list[Sample]:
    """So many images of one study and series; the UIDs of the images end in their numbers."""
    one = Sample(study=uid, series=f"{uid}.1").but(**changes)
    return [one.but(instance=f"{uid}.1.{number}", number=number) for number in range(1, count + 1)]


STUDY = identifier("STUDY", StudyInstanceUID="1.2.3.1")
