"""Storage commitment as SCU, the question (PS3.4 J.3.2): asking a destination to commit to what it was sent.

Theory of operation. The job of a destination and a rule is performed on an association of its own. Every transaction is
on stable storage before its N-ACTION is sent, and noted as accepted when that was answered with success; whatever
happens in between, it is put anew with the next attempt. Once all is asked the job is settled, and what follows is for
the results, which may come at any time (:mod:`~pacslite.services.events`). For a while the association is kept open for
them: many archives report on it if they can, and some have no other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from pacslite.archive.deliveries import Deliveries, Question
from pacslite.archive.job import Job
from pacslite.archive.jobs import Change
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, CommandSet, Tag
from pacslite.dimse.service import Context
from pacslite.dimse.status import Kind, kind_of
from pacslite.facts import CommitmentAsked, CommitmentOverdue, Observe
from pacslite.net.association import Association, Perform
from pacslite.net.requestor import Proposal, associate
from pacslite.services.commitment_data_set import CommitmentRequest, Reference, write_request
from pacslite.services.conversations import Conversation, Conversations
from pacslite.services.destinations import Call, Callee, release
from pacslite.ul.items import PresentationContext

REQUEST_STORAGE_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 Table J.3.2.1.1)."""

_CONTEXT: Final = PresentationContext(
    1, STORAGE_COMMITMENT_PUSH_MODEL, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
)
_LOOK_S: Final = 0.2
"""How often is looked whether the round is over, while nothing else happens."""
_ACCEPTED: Final = frozenset({Kind.SUCCESS, Kind.WARNING})


class AskRound(Protocol):
    """What a round of the outbox is to those who ask (:class:`~pacslite.services.rounds.Round`)."""

    @property
    def is_over(self) -> bool: ...

    async def take(self, most: int) -> Sequence[Job]: ...

    def done(self, job: Job, change: Change | None = None) -> None: ...

    def failed(self, job: Job, reason: str) -> None: ...


class AskPerformer:
    """Asks ``callees``, looked at anew each time. ``perform`` serves the results that come while the association is
    kept open for them, ``answer_wait_s`` after the last question at most."""

    def __init__(
        self,
        deliveries: Deliveries,
        conversations: Conversations,
        *,
        callees: Mapping[str, Callee],
        call: Call,
        perform: Perform,
        answer_wait_s: float,
        observe: Observe,
    ) -> None:
        self._deliveries = deliveries
        self._conversations = conversations
        self._callees = callees
        self._call = call
        self._perform = perform
        self._answer_wait_s = answer_wait_s
        self._observe = observe

    async def perform(self, round: AskRound) -> None:
        for job in await round.take(1):
            callee = self._callees.get(job.lane.destination)
            if callee is None:
                round.failed(job, f"{job.lane.destination} is no peer with a port")
                continue
            silence = await self._deliveries.begin(job)
            if silence is not None:
                self._observe(
                    CommitmentOverdue(
                        destination=job.lane.destination,
                        rule=job.lane.rule,
                        instances=silence.objects,
                        given_up=silence.given_up,
                    )
                )
                if silence.given_up:
                    round.done(job, self._deliveries.gave_up(job, silence))
                    continue
            question = await self._deliveries.question(job.lane)
            if question is None:
                round.done(job, self._deliveries.asked(job))
            else:
                await self._converse(round, job, callee, question)

    async def _converse(self, round: AskRound, job: Job, callee: Callee, first: Question) -> None:
        call = self._call
        proposal = Proposal(calling_ae=call.calling_ae, contexts=(_CONTEXT,))
        async with associate(
            callee.remote,
            proposal,
            limits=call.limits,
            perform=self._perform,
            connect_s=call.connect_s,
            answer_s=call.answer_s,
        ) as requested:
            association = requested.association
            contexts = requested.contexts_for(STORAGE_COMMITMENT_PUSH_MODEL)
            if not contexts:
                round.failed(job, f"{job.lane.destination} does not accept storage commitment")
            else:
                with self._conversations.over(association, job.lane.destination) as conversation:
                    await self._ask(round, job, first, association, contexts[0], conversation)
                    await _wait(round, association, conversation, self._answer_wait_s)
            await release(requested)

    async def _ask(
        self,
        round: AskRound,
        job: Job,
        first: Question,
        association: Association,
        context: Context,
        conversation: Conversation,
    ) -> None:
        """Put every question there is, as long as the destination accepts them."""
        question: Question | None = first
        while question is not None:
            conversation.expect(question.transaction_uid)
            answer = await association.call(
                context.context_id,
                {
                    Tag.REQUESTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
                    Tag.COMMAND_FIELD: CommandField.N_ACTION_RQ,
                    Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
                    Tag.REQUESTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
                    Tag.ACTION_TYPE_ID: REQUEST_STORAGE_COMMITMENT,
                },
                _encoded(question, context),
                answer_s=self._call.answer_s,
            )
            if kind_of(answer.status) not in _ACCEPTED:
                conversation.told(question.transaction_uid)  # nothing will come
                round.failed(job, f"{job.lane.destination} answered N-ACTION with {_words(answer)}")
                return
            await self._deliveries.accepted(question)
            self._observe(
                CommitmentAsked(
                    destination=job.lane.destination,
                    rule=job.lane.rule,
                    transaction=question.transaction_uid,
                    instances=len(question.references),
                )
            )
            if round.is_over:
                break
            question = await self._deliveries.question(job.lane)
        round.done(job, self._deliveries.asked(job, all_of_it=question is None))


async def _wait(round: AskRound, association: Association, conversation: Conversation, wait_s: float) -> None:
    """For all answers, but no longer than the destination keeps the association, nor than ``wait_s``."""
    waiting = [
        asyncio.ensure_future(conversation.wait_complete()),
        asyncio.ensure_future(association.wait_closed()),
    ]
    try:
        async with asyncio.timeout(wait_s):
            while not round.is_over and not any(one.done() for one in waiting):
                await asyncio.wait(waiting, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        pass  # they may still come, on an association of the destination's own
    finally:
        for one in waiting:
            one.cancel()


def _encoded(question: Question, context: Context) -> bytes:
    references = [Reference(*reference) for reference in question.references]
    request = CommitmentRequest(question.transaction_uid, references)
    return write_request(request, transfer_syntax(context.transfer_syntax))


def _words(answer: CommandSet) -> str:
    comment = answer.text(Tag.ERROR_COMMENT)
    return f"{answer.status:04X}H" + (f" ({comment})" if comment else "")
