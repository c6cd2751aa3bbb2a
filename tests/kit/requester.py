"""A requester of storage commitment that behaves as the test says, and an archive that owes it reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pacslite.archive.archive import Archive
from pacslite.archive.commitment import Reference, RequestState, RequestSummary
from pacslite.archive.job import JobKind
from pacslite.archive.settings import ArchiveSettings
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL
from pacslite.dimse.command import CommandField, Tag
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.facts import Fact, Peer, ignore
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy, UnknownCallers
from pacslite.net.association import Association
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Remote
from pacslite.services.commitment_data_set import CommitmentResult, read_result
from pacslite.services.destinations import Call, Callee
from pacslite.services.open_lines import OpenLines
from pacslite.services.outbox import OutboxManner, OutboxWorker, Round
from pacslite.services.reporting import ReportPerformer
from pacslite.ul.negotiation import Order

TITLE = "CT1"
Behaviour = Callable[[Association, int], Awaitable[Response]]
"""What it does with the report of that number, from 1 on."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One report: on which of its associations, by whom, and what it says."""

    association: int
    by: str
    event_type: int
    result: CommitmentResult


@dataclass
class Requester:
    """It listens. Without ``takes_role`` it refuses the context to one who wants to be SCP; ``serves`` is whether it
    knows storage commitment at all; ``admits`` whether it takes calls."""

    behaves: Behaviour
    takes_role: bool = True
    serves: bool = True
    admits: bool = True
    heard: list[Heard] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        assert request.data_set is not None
        data = await request.data_set.read(1 << 24)
        result = read_result(data, transfer_syntax(request.context.transfer_syntax))
        event_type = request.command.integer(Tag.EVENT_TYPE_ID)
        self.heard.append(Heard(request.peer.association, request.peer.calling_ae, event_type, result))
        self.changed.set()
        association = request.invoker
        assert isinstance(association, Association)
        yield await self.behaves(association, len(self.heard))

    async def wait(self, count: int) -> list[Heard]:
        """What it has heard, as soon as it is so much."""
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.heard


@asynccontextmanager
async def listening(requester: Requester, port: int = 0) -> AsyncIterator[Remote]:
    registration = Registration(
        name="Events",
        abstract_syntaxes=(STORAGE_COMMITMENT_PUSH_MODEL,),
        serves=lambda uid, _: requester.serves and uid == STORAGE_COMMITMENT_PUSH_MODEL,
        transfer_syntaxes=(EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN),
        permission=Permission.COMMIT,
        operations={CommandField.N_EVENT_REPORT_RQ: requester},
        sends_to=Permission.COMMIT if requester.takes_role else None,
    )
    registry = ServiceRegistry([registration])
    acceptor = Acceptor(
        registry=registry,
        perform=Dispatcher(registry, ignore).perform,
        access=AccessPolicy(
            (), ae_titles=[TITLE], unknown=UnknownCallers.ALL if requester.admits else UnknownCallers.NONE
        ),
        limits=AcceptorLimits(),
        connection_limits=ConnectionLimits(),
        order=Order.SENDER,
        observe=ignore,
    )
    bound = await acceptor.listen("127.0.0.1", port)
    try:
        yield Remote(host="127.0.0.1", port=bound, ae_title=TITLE)
    finally:
        await acceptor.close(0)


@dataclass
class Reporting:
    """An archive whose outbox is worked off, with ``lines`` and ``callees`` as the test fills them."""

    archive: Archive
    lines: OpenLines
    callees: dict[str, Callee]
    facts: list[Fact]
    told: asyncio.Event

    async def owe(self, transaction_uid: str, references: Sequence[Reference], *, called_ae: str = "PACSLITE") -> int:
        """A request of the requester's, received; its verification and its report follow."""
        number = await self.archive.commitments.receive(
            transaction_uid=transaction_uid,
            calling_ae=TITLE,
            called_ae=called_ae,
            address="127.0.0.1",
            references=references,
            now=1000.0,
        )
        self.archive.outbox.added()
        return number

    async def fact(self, kind: type[Fact], count: int = 1) -> list[Fact]:
        """So many facts of this kind, as soon as they are there."""
        async with asyncio.timeout(20):
            while len(found := [one for one in self.facts if isinstance(one, kind)]) < count:
                self.told.clear()
                await self.told.wait()
        return found

    async def settled(self, number: int) -> RequestSummary:
        """The request, once its report is no more in the outbox."""
        async with asyncio.timeout(20):
            while True:
                request = await self.archive.commitments.request(number)
                if request is not None and request.state is RequestState.REPORTED:
                    return request
                await asyncio.sleep(0.01)


class Verifies:
    """Verifies at once, as the server's own performer does in its time."""

    def __init__(self, archive: Archive) -> None:
        self._commitments = archive.commitments

    async def perform(self, round: Round) -> None:
        for job in await round.take(100):
            await self._commitments.verify(int(job.subject), digest=False, stores=lambda sop_class_uid: True)
            round.done(job, self._commitments.verified(int(job.subject)))


@asynccontextmanager
async def reporting(
    folder: Path, *, answer_s: float = 5.0, wait_s: float = 60.0, retry_s: float = 0.05, retry_most_s: float = 0.0
) -> AsyncIterator[Reporting]:
    facts: list[Fact] = []
    told = asyncio.Event()

    def observe(fact: Fact) -> None:
        facts.append(fact)
        told.set()

    call = Call(calling_ae="NOBODY", limits=ConnectionLimits(), connect_s=5.0, answer_s=answer_s)
    async with Archive.open(ArchiveSettings(folder=folder / "data", min_free_bytes=0), observe=observe) as archive:
        lines, callees = OpenLines(lambda calling_ae: wait_s), dict[str, Callee]()
        performer = ReportPerformer(archive, lines, callees=callees, call=call, observe=observe)
        async with OutboxWorker(
            archive.outbox,
            {JobKind.VERIFY: Verifies(archive), JobKind.REPORT: performer},
            manner=OutboxManner(retry_first_s=retry_s, retry_most_s=retry_most_s or 2 * retry_s, poll_s=0.05),
            places=lambda destination: 1,
            observe=observe,
            urgent=lambda lane: lane.kind is JobKind.REPORT and lines.any_to(lane.destination),
        ):
            yield Reporting(archive, lines, callees, facts, told)


PEER = Peer(association=1, address="127.0.0.1", port=1, calling_ae=TITLE, called_ae="PACSLITE")
