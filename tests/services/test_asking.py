"""Asking destinations to commit (PS3.4 J.3.2), against peers on loopback that do as the test says.

STANDARD SC-01, SC-02, SC-04.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from kit.delivering import ARCHIVE, ASK, Delivering, delivering
from kit.samples import CT
from kit.scripted import Scripted, Serve
from pacslite.archive.job import Job, NewJob
from pacslite.archive.jobs import Change, Outbox, Settled
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    VERIFICATION,
    is_conformant_uid,
)
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, Tag
from pacslite.dimse.permission import Permission
from pacslite.dimse.registry import Registration, ServiceRegistry
from pacslite.dimse.service import Request, Response
from pacslite.errors import AssociationError
from pacslite.facts import CommitmentAsked, CommitmentOverdue, Fact, ignore
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy, UnknownCallers
from pacslite.net.association import Association
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Remote
from pacslite.services.asking import AskPerformer
from pacslite.services.commitment_data_set import CommitmentRequest, CommitmentResult, read_request, write_result
from pacslite.services.conversations import Conversations
from pacslite.services.destinations import Call, Callee
from pacslite.services.events import EventService
from pacslite.services.held_bytes import HeldBytes
from pacslite.ul.negotiation import Order

SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)


async def asked_in(request: Request) -> CommitmentRequest:
    assert request.data_set is not None
    return read_request(await request.data_set.read(1 << 20), transfer_syntax(request.context.transfer_syntax))


async def accepts(request: Request) -> AsyncGenerator[Response, None]:
    yield Response()


async def refuses(request: Request) -> AsyncGenerator[Response, None]:
    yield Response(status=0x0213, comment="too busy")


async def tell(request: Request, asked: CommitmentRequest) -> int:
    """A result: all is committed to."""
    result = CommitmentResult(asked.transaction_uid, asked.references, [])
    answer = await request.invoker.call(
        request.context.context_id,
        {
            Tag.AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
            Tag.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
            Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
            Tag.AFFECTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
            Tag.EVENT_TYPE_ID: 1,
        },
        write_result(result, transfer_syntax(request.context.transfer_syntax), retrieve_ae=ARCHIVE),
    )
    return answer.status


@asynccontextmanager
async def archive(
    script: Serve, *, abstract_syntax: str = STORAGE_COMMITMENT_PUSH_MODEL
) -> AsyncIterator[tuple[Remote, list[Request]]]:
    """One that does ``script`` when it is asked to commit."""
    service = Scripted(script)
    registry = ServiceRegistry(
        [
            Registration(
                name="Archive",
                abstract_syntaxes=(abstract_syntax,),
                serves=lambda uid, _: uid == abstract_syntax,
                transfer_syntaxes=SYNTAXES,
                permission=Permission.COMMIT,
                operations={CommandField.N_ACTION_RQ: service},
                sends_to=Permission.COMMIT,
            )
        ]
    )
    acceptor = Acceptor(
        registry=registry,
        perform=Dispatcher(registry, ignore).perform,
        access=AccessPolicy((), ae_titles=[ARCHIVE], unknown=UnknownCallers.ALL),
        limits=AcceptorLimits(),
        connection_limits=ConnectionLimits(),
        order=Order.SENDER,
        observe=ignore,
    )
    port = await acceptor.listen("127.0.0.1", 0)
    try:
        yield Remote(host="127.0.0.1", port=port, ae_title=ARCHIVE), service.requests
    finally:
        await acceptor.close(0)


@dataclass(slots=True)
class OneRound:
    """A turn of the lane that asks, and what became of its job."""

    outbox: Outbox
    is_over: bool = False
    settled: list[Settled] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def take(self, most: int) -> Sequence[Job]:
        return await self.outbox.take(ASK, most=most, lease_s=60.0)

    def done(self, job: Job, change: Change | None = None) -> None:
        self.settled.append(Settled(job=job, change=change))

    def failed(self, job: Job, reason: str) -> None:
        self.failures.append(reason)


@dataclass(slots=True)
class Asking:
    """``perform`` performs what is due as the worker of the outbox would, and answers why that failed."""

    sent: Delivering
    facts: list[Fact] = field(default_factory=list)

    async def perform(
        self, *remotes: Remote, answer_wait_s: float = 0.0, ends_after_s: float | None = None
    ) -> list[str]:
        round = OneRound(self.sent.archive.outbox)
        if ends_after_s is not None:
            asyncio.get_running_loop().call_later(ends_after_s, setattr, round, "is_over", True)
        await self.performer(remotes, answer_wait_s).perform(round)
        await self.sent.archive.outbox.settle(round.settled)
        return round.failures

    async def begin_again(self) -> None:
        """After the job has failed."""
        await self.sent.archive.outbox.release_all()
        (job,) = await self.sent.take()
        await self.sent.deliveries.begin(job)

    def performer(self, remotes: Sequence[Remote], answer_wait_s: float) -> AskPerformer:
        sent, conversations = self.sent, Conversations()
        callees = {remote.ae_title: Callee(remote=remote) for remote in remotes}
        events = EventService(
            sent.deliveries,
            conversations,
            callees=callees,
            max_bytes=1 << 20,
            max_instances=1000,
            held=HeldBytes(1 << 20),
            observe=ignore,
            clock=lambda: sent.now,
        )
        registry = ServiceRegistry(
            [
                Registration(
                    name="Storage Commitment",
                    abstract_syntaxes=(STORAGE_COMMITMENT_PUSH_MODEL,),
                    serves=lambda uid, _: uid == STORAGE_COMMITMENT_PUSH_MODEL,
                    transfer_syntaxes=SYNTAXES,
                    permission=Permission.COMMIT,
                    operations={CommandField.N_EVENT_REPORT_RQ: events},
                )
            ]
        )
        return AskPerformer(
            sent.deliveries,
            conversations,
            callees=callees,
            call=Call(calling_ae="PACSLITE", limits=ConnectionLimits(), connect_s=5.0, answer_s=5.0),
            perform=Dispatcher(registry, ignore).perform,
            answer_wait_s=answer_wait_s,
            observe=self.facts.append,
        )


@pytest_asyncio.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    """Two objects were delivered, and it is time to ask."""
    async with delivering(tmp_path) as sent:
        await sent.deliver("1", "2")
        sent.now += 10
        yield Asking(sent)


async def test_the_question_is_an_n_action_on_the_well_known_instance(asking: Asking) -> None:
    """SC-01, and SC-02: success means no more than that it was received."""
    questions: list[CommitmentRequest] = []

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        questions.append(await asked_in(request))
        yield Response()

    async with archive(script) as (remote, requests):
        await asking.perform(remote)
    (request,) = requests
    assert (request.peer.calling_ae, request.peer.called_ae) == ("PACSLITE", ARCHIVE)
    command = request.command
    assert command.field == CommandField.N_ACTION_RQ
    assert command.text(Tag.REQUESTED_SOP_CLASS_UID) == STORAGE_COMMITMENT_PUSH_MODEL
    assert command.text(Tag.REQUESTED_SOP_INSTANCE_UID) == STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
    assert command.integer(Tag.ACTION_TYPE_ID) == 1
    (question,) = questions
    assert set(question.references) == {(CT, "1"), (CT, "2")}
    assert is_conformant_uid(question.transaction_uid)
    assert asking.sent.states() == {"1": "asked", "2": "asked"}
    assert [job[4] for job in asking.sent.asking()] == ["no result yet"]
    assert asking.facts == [
        CommitmentAsked(destination=ARCHIVE, rule="all", transaction=question.transaction_uid, instances=2)
    ]


async def test_a_transaction_is_durable_before_it_is_asked(asking: Asking) -> None:
    async def script(request: Request) -> AsyncGenerator[Response, None]:
        asked = await asked_in(request)
        assert await asking.sent.deliveries.asked_of(asked.transaction_uid) == ARCHIVE
        yield Response()

    async with archive(script) as (remote, _):
        assert await asking.perform(remote) == []


async def test_many_objects_are_several_questions_on_one_association(tmp_path: Path) -> None:
    async with delivering(tmp_path, most=2) as sent, archive(accepts) as (remote, requests):
        await sent.deliver("1", "2", "3")
        await Asking(sent).perform(remote)
        assert len(requests) == 2
        assert len({request.peer.port for request in requests}) == 1
        assert set(sent.states().values()) == {"asked"}


async def test_a_result_on_the_same_association_is_taken(asking: Asking) -> None:
    """SC-04."""
    statuses: list[int] = []

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        asked = await asked_in(request)
        tasks.append(asyncio.create_task(report(request, asked)))
        yield Response()

    async def report(request: Request, asked: CommitmentRequest) -> None:
        statuses.append(await tell(request, asked))

    tasks: list[asyncio.Task[None]] = []
    async with archive(script) as (remote, _):
        await asking.perform(remote, answer_wait_s=30.0)
        await asyncio.gather(*tasks)
    assert statuses == [0x0000]
    assert asking.sent.states() == {"1": "committed", "2": "committed"}
    assert asking.sent.asking() == []


async def test_a_result_before_the_question_is_confirmed_is_taken_too(asking: Asking) -> None:
    async def script(request: Request) -> AsyncGenerator[Response, None]:
        assert await tell(request, await asked_in(request)) == 0x0000
        yield Response()

    async with archive(script) as (remote, _):
        await asking.perform(remote, answer_wait_s=30.0)
    assert asking.sent.asking() == []


async def test_a_question_that_is_refused_fails_with_its_status_and_is_put_again(asking: Asking) -> None:
    async with archive(refuses) as (remote, _):
        failures = await asking.perform(remote, answer_wait_s=30.0)
    assert failures == [f"{ARCHIVE} answered N-ACTION with 0213H (too busy)"]
    await asking.begin_again()
    assert asking.sent.states() == {"1": "to ask", "2": "to ask"}


async def test_a_destination_without_storage_commitment_fails_the_job_and_not_itself(asking: Asking) -> None:
    """Forwards to it go on."""
    async with archive(accepts, abstract_syntax=VERIFICATION) as (remote, _):
        failures = await asking.perform(remote)
    assert failures == [f"{ARCHIVE} does not accept storage commitment"]


async def test_a_destination_that_is_no_peer_any_more_fails_the_job(asking: Asking) -> None:
    assert await asking.perform() == [f"{ARCHIVE} is no peer with a port"]


async def test_a_destination_that_cannot_be_reached_is_left_alone(asking: Asking) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        remote = Remote(host="127.0.0.1", port=closed.getsockname()[1], ae_title=ARCHIVE)
        with pytest.raises(AssociationError):
            await asking.perform(remote)


async def test_a_destination_that_is_lost_in_the_middle_is_asked_again(asking: Asking) -> None:
    async def script(request: Request) -> AsyncGenerator[Response, None]:
        invoker = request.invoker
        assert isinstance(invoker, Association)
        invoker.protocol.hang_up("gone")
        yield Response()

    async with archive(script) as (remote, _):
        with pytest.raises(AssociationError):
            await asking.perform(remote)
    await asking.begin_again()
    assert asking.sent.states() == {"1": "to ask", "2": "to ask"}


async def test_nobody_waits_on_an_association_that_the_destination_has_left(asking: Asking) -> None:
    async def script(request: Request) -> AsyncGenerator[Response, None]:
        invoker = request.invoker
        assert isinstance(invoker, Association)
        yield Response(sent=lambda: invoker.protocol.hang_up("that was it"))

    async with archive(script) as (remote, _):
        await asking.perform(remote, answer_wait_s=3600.0)
    assert [job[4] for job in asking.sent.asking()] == ["no result yet"]


async def test_nobody_waits_when_the_server_stops(asking: Asking) -> None:
    async with archive(accepts) as (remote, _):
        await asking.perform(remote, answer_wait_s=3600.0, ends_after_s=0.1)
    assert [job[4] for job in asking.sent.asking()] == ["no result yet"]


async def test_a_job_with_nothing_left_to_ask_is_done(asking: Asking) -> None:
    """Everything was answered since; nobody is called for it."""
    (question,) = await asking.sent.ask()
    await asking.sent.answer(question, committed=("1", "2"))
    await asking.sent.archive.outbox.owe([NewJob(lane=ASK, subject="all")])
    await asking.perform(Remote(host="127.0.0.1", port=1, ae_title=ARCHIVE))
    assert asking.sent.asking() == []


async def test_silence_is_told_and_given_up_in_the_end(tmp_path: Path) -> None:
    async with delivering(tmp_path, give_up_s=2000.0) as sent, archive(accepts) as (remote, requests):
        await sent.deliver("1")
        asking = Asking(sent)
        for _ in range(3):
            await asking.perform(remote)
            sent.now += 1000.0
        assert len(requests) == 2
        assert [fact for fact in asking.facts if isinstance(fact, CommitmentOverdue)] == [
            CommitmentOverdue(destination=ARCHIVE, rule="all", instances=1, given_up=given_up)
            for given_up in (False, True)
        ]
        assert [(job[0], job[4]) for job in sent.asking()] == [("dead", "no result for 1 object")]
