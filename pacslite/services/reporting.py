"""Reports of storage commitment (PS3.4 J.3.3): the result of a request, told to whoever made it, until it answers.

Theory of operation. A report goes over the association on which the request came, if that may still be used
(:mod:`~pacslite.services.open_lines`). Otherwise, and if the requester did not take it there, the requester is called:
by the address in the configuration, from the title that it had called (STANDARD SC-04), proposing that we are the SCP.
Some refuse the presentation context for that proposal, and get it once more without; some do not answer it, and take
reports all the same. Some do not want the association at all, and nobody knows whether that is why: so the next one is
proposed without, and the one after that with it again, until one is good for a report. Reports that wait for the same
requester share an association. While it is called, reports that have a line go on: that of a requester that cannot be
called must not be over when its turn comes.

A report is done with when it was answered with success or a warning. Anything else is tried again by the outbox, across
restarts (SC-06), so a requester may be told a result twice: it knows by the Transaction UID.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from pacslite.archive.archive import Archive
from pacslite.archive.commitment import Verdict
from pacslite.archive.job import Job
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, Tag, Value
from pacslite.dimse.service import Context, Invoker
from pacslite.dimse.status import Kind, kind_of
from pacslite.errors import AssociationError, PacsliteError, Unreachable
from pacslite.facts import CommitmentReported, Observe
from pacslite.net.requestor import Proposal, associate
from pacslite.services.commitment_data_set import CommitmentResult, write_result_in_slices
from pacslite.services.destinations import Call, Callee, release
from pacslite.services.open_lines import OpenLines
from pacslite.services.outbox import Round
from pacslite.ul.items import PresentationContext, RoleSelection

T = TypeVar("T")

REQUEST_SUCCESSFUL: Final = 1
FAILURES_EXIST: Final = 2
"""Event Type IDs (PS3.4 Table J.3.3.1.1)."""

SAME_ASSOCIATION: Final = "same association"
NEW_ASSOCIATION: Final = "new association"

_AT_A_TIME: Final = 64
"""Jobs taken at once. What they tell may be many megabytes each: that is read when their turn comes."""
_ON_ITS_LINE_S: Final = 10.0
"""A requester that does not answer on its own association, as some do not, is called soon."""
_PATIENCE_S: Final = 3600.0
_EVENT: Final[Mapping[int, Value]] = {
    Tag.AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
    Tag.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
    Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
    Tag.AFFECTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
}
_CONTEXT: Final = PresentationContext(
    1, STORAGE_COMMITMENT_PUSH_MODEL, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
)
_WE_ARE_SCP: Final = RoleSelection(sop_class=STORAGE_COMMITMENT_PUSH_MODEL, scu=False, scp=True)


class NotTaken(PacsliteError):
    """The requester has answered that it does not take the report."""


@dataclass(frozen=True, slots=True)
class _Way:
    """An association to the requester, and the context for reports on it."""

    invoker: Invoker
    context: Context
    name: str
    answer_s: float


class ReportPerformer:
    """Reports what ``archive`` owes: over ``lines``, else by a call to one of ``callees``, looked at anew each time."""

    def __init__(
        self,
        archive: Archive,
        lines: OpenLines,
        *,
        callees: Mapping[str, Callee],
        call: Call,
        observe: Observe,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._lines = lines
        self._callees = callees
        self._call = call
        self._observe = observe
        self._clock = clock
        self._without_role: set[str] = set()

    async def perform(self, round: Round) -> None:
        left: deque[Job] = deque()
        calling: asyncio.Task[None] | None = None
        try:
            while True:
                jobs = await round.take(_AT_A_TIME)
                left.extend([job for job in jobs if not await self._over_its_line(round, job)])
                if left and calling is None:
                    calling = asyncio.create_task(self._by_call(round, left))
                if calling is not None and await self._is_over(calling, round):
                    calling = None
                elif calling is None and not jobs:
                    return
        finally:
            if calling is not None:
                await _given_up(calling)

    async def _is_over(self, calling: asyncio.Task[None], round: Round) -> bool:
        """Waits for the call to end, which may take its time, or for more jobs: they may have lines that do not wait.

        Raises what ended the call.
        """
        if round.is_over:
            await asyncio.wait((calling,))
        else:
            news = asyncio.create_task(round.wait(_PATIENCE_S))
            await asyncio.wait((calling, news), return_when=asyncio.FIRST_COMPLETED)
            await _given_up(news)
        if calling.done():
            calling.result()
        return calling.done()

    async def _over_its_line(self, round: Round, job: Job) -> bool:
        """Whether the requester took it on the association on which it had asked."""
        if int(job.subject) not in self._lines or (verdict := await self._verdict(job)) is None:
            return False
        line = await self._lines.take(int(job.subject))
        if line is None:
            return False
        way = _Way(line.invoker, line.context, SAME_ASSOCIATION, min(self._call.answer_s, _ON_ITS_LINE_S))
        try:
            await self._tell(round, job, verdict, way)
        except (AssociationError, NotTaken) as error:
            if round.lane.destination in self._callees:
                return False  # it has another chance
            round.failed(job, f"{error}, and {round.lane.destination} is no peer with a port")
        return True

    async def _by_call(self, round: Round, jobs: deque[Job]) -> None:
        """Over as few associations as can be: one for each title that we were called by."""
        verdict = await self._next(round, jobs)
        while verdict is not None:
            title = verdict.request.called_ae
            async with self._called(round.lane.destination, title) as way:
                while verdict is not None and verdict.request.called_ae == title:
                    await self._tell_or_fail(round, jobs.popleft(), verdict, way)
                    verdict = await self._next(round, jobs)

    async def _next(self, round: Round, jobs: deque[Job]) -> Verdict | None:
        """What the first of ``jobs`` is to tell; None if nothing is left to be told in this round."""
        while jobs:
            if round.is_over:
                round.give_back(jobs.popleft())
            elif not round.has(jobs[0]):
                jobs.popleft()
            elif verdict := await self._verdict(jobs[0]):
                return verdict
            else:
                round.done(jobs.popleft())
        return None

    async def _verdict(self, job: Job) -> Verdict | None:
        """None while it is verified again, since it was asked for again: then another report will be owed."""
        return await self._archive.commitments.result(int(job.subject))

    async def _tell_or_fail(self, round: Round, job: Job, verdict: Verdict, way: _Way) -> None:
        try:
            await self._tell(round, job, verdict, way)
        except NotTaken as error:
            self._without_role.discard(round.lane.destination)
            round.failed(job, str(error))

    async def _tell(self, round: Round, job: Job, verdict: Verdict, way: _Way) -> None:
        """Raises :class:`NotTaken`, or :class:`AssociationError` if there is no answer."""
        request = verdict.request
        result = CommitmentResult(request.transaction_uid, verdict.committed, verdict.failed)
        syntax = transfer_syntax(way.context.transfer_syntax)
        answer = await way.invoker.call(
            way.context.context_id,
            {**_EVENT, Tag.EVENT_TYPE_ID: FAILURES_EXIST if verdict.failed else REQUEST_SUCCESSFUL},
            await write_result_in_slices(result, syntax, retrieve_ae=request.called_ae),
            answer_s=way.answer_s,
        )
        if kind_of(answer.status) not in (Kind.SUCCESS, Kind.WARNING):
            comment = answer.text(Tag.ERROR_COMMENT)
            raise NotTaken(f"answered {answer.status:04X}{f' ({comment})' if comment else ''}")
        round.done(job, self._archive.commitments.reported(request.id, way.name))
        self._observe(
            CommitmentReported(
                destination=request.calling_ae,
                request=request.id,
                transaction=request.transaction_uid,
                committed=len(verdict.committed),
                failed=len(verdict.failed),
                over=way.name,
                seconds=max(0.0, self._clock() - request.received_at),
            )
        )

    @asynccontextmanager
    async def _called(self, destination: str, calling_ae: str) -> AsyncIterator[_Way]:
        """Raises :class:`AssociationError` if the requester cannot be called, or does not want."""
        call, callee = self._call, self._callees.get(destination)
        if callee is None:
            raise AssociationError(f"its association is over, and {destination} is no peer with a port")
        for roles in ((),) if destination in self._without_role else ((_WE_ARE_SCP,), ()):
            proposal = Proposal(calling_ae=calling_ae, contexts=(_CONTEXT,), roles=roles)
            is_agreed = False
            try:
                async with associate(
                    callee.remote, proposal, limits=call.limits, connect_s=call.connect_s, answer_s=call.answer_s
                ) as requested:
                    contexts = requested.contexts_for(STORAGE_COMMITMENT_PUSH_MODEL)
                    is_agreed = bool(contexts)
                    if is_agreed:
                        yield _Way(requested.association, contexts[0], NEW_ASSOCIATION, call.answer_s)
                        await release(requested)
                        return
            except Unreachable:
                raise
            except AssociationError:
                self._otherwise_next(destination, might_be_role=bool(roles) and not is_agreed)
                raise
        self._otherwise_next(destination, might_be_role=False)
        raise AssociationError(f"{destination} refused the presentation context for storage commitment")

    def _otherwise_next(self, destination: str, *, might_be_role: bool) -> None:
        if might_be_role:
            self._without_role.add(destination)
        else:
            self._without_role.discard(destination)


async def _given_up(task: asyncio.Task[T]) -> None:
    """Break it off, whatever it may have come to."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # told elsewhere, or of no interest any more
