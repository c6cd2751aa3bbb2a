"""Sending many files to one peer: the machine behind ``pacslite send``.

Theory of operation. A filler puts files into the :class:`~pacslite.cli.sending_plan.SendingPlan` and pauses when enough
wait. Each worker has one association at a time, a :class:`_Lane`: slots take the files that its contexts cover, as many
at once as the agreed window lets be outstanding, and one more that reads its file meanwhile. A lane ends when nothing
it covers is waiting; the worker then asks for another with other contexts. When an association is lost, the files that
were not answered go back into the plan, once, and the worker opens it again. It gives up when it cannot, or when the
new one is lost too before any answer came. The filler stops when the last worker has given up.

Data sets leave as they are in the file, in pieces that are even but for an odd end: an object of odd length breaks
PS3.5 7.1.1, but padding it would alter it, so its last fragment is odd and the peer decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from pacslite.cli.data_sets import WHOLE_BYTES, pieces_of, read_whole
from pacslite.cli.sending_plan import ContextKey, SendableFile, SendingPlan, presentation_contexts
from pacslite.cli.words import refusal_words, status_words
from pacslite.dimse.command import CommandSet
from pacslite.dimse.service import Context
from pacslite.dimse.status import Kind, kind_of
from pacslite.errors import AssociationAborted, AssociationError
from pacslite.net.requestor import Proposal, Remote, Requested, associate
from pacslite.services.storage import store
from pacslite.ul.items import UserIdentity
from pacslite.ul.pdu import ABORT_BY_USER

MOST_WAITING_FILES: Final = 4096
"""Files that wait to be sent; then looking for more of them pauses."""

_FIRST_FILES: Final = 256  # known before the first association is asked for, so that it gets the right contexts
_FIRST_FILES_S: Final = 1.0
_IDLE_S: Final = 10.0  # without anything to send for so long, an association is released before the peer aborts it


class Outcome(StrEnum):
    SENT = "sent"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What became of one file; ``status`` is None when the peer did not answer for it."""

    file: SendableFile
    outcome: Outcome
    status: int | None
    reason: str

    @property
    def path(self) -> Path:
        return self.file.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Whom to send to and how."""

    remote: Remote
    calling_ae: str
    user_identity: UserIdentity | None = None
    associations: int = 1
    window: int = 1
    connect_s: float = 10.0
    answer_s: float = 60.0


@dataclass(slots=True)
class _Lane:
    """One association and the files under way on it."""

    keys: Collection[ContextKey]
    requested: Requested | None = None
    accepted: dict[ContextKey, Context] = field(default_factory=dict)
    refused: dict[ContextKey, int] = field(default_factory=dict)
    answers: int = 0
    lost: AssociationError | None = None

    def open(self, requested: Requested) -> None:
        self.requested = requested
        self.accepted = {
            ContextKey(context.abstract_syntax, context.transfer_syntax): context
            for context in requested.association.contexts.values()
        }
        results = {answer.context_id: answer.result for answer in requested.answer.contexts}
        for context in presentation_contexts(self.keys):
            key = ContextKey(context.abstract_syntax, context.transfer_syntaxes[0])
            if key not in self.accepted:
                self.refused[key] = results.get(context.context_id, 0)


class Sender:
    """Sends what it is given; ``tell`` hears of every file, ``moved`` of bytes (negative: they have to go again)."""

    def __init__(self, sending: Sending, *, tell: Callable[[FileResult], None], moved: Callable[[int], None]) -> None:
        self._sending = sending
        self._tell = tell
        self._moved = moved
        self._plan = SendingPlan()
        self._filling = True
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._opening = 0
        self._working = sending.associations
        self._filler: asyncio.Task[None] | None = None
        self.associations = 0
        self.trouble: AssociationError | None = None
        """Why a worker gave up."""

    async def run(self, files: AsyncGenerator[SendableFile, None]) -> bool:
        """Send all ``files``; False if the peer was lost before all of them were even looked at.

        Raises :class:`AssociationError` if not a single association could be opened.
        """
        async with asyncio.TaskGroup() as group:
            self._filler = group.create_task(self._fill(files))
            for _ in range(self._sending.associations):
                group.create_task(self._work())
        if self.trouble is not None and not self.associations:
            raise self.trouble
        while (file := self._plan.take_any()) is not None:
            self._fail(file, f"not sent: {self.trouble}")
        return not self._filling

    async def _fill(self, files: AsyncGenerator[SendableFile, None]) -> None:
        async with aclosing(files):
            async for file in files:
                self._add(file)
                while len(self._plan) >= MOST_WAITING_FILES:
                    self._room.clear()
                    await self._room.wait()
        self._filling = False
        self._arrived.set()

    def _add(self, file: SendableFile) -> None:
        self._plan.add(file)
        self._arrived.set()

    # --- Workers ------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_FILES_S):
                while self._filling and len(self._plan) < _FIRST_FILES:
                    await self._wait_for_files()
        fruitless = 0
        while fruitless < 2 and await self._is_needed():
            lane = _Lane(self._plan.contexts_to_propose())
            try:
                await self._use(lane)
            except AssociationError as error:
                self.trouble = error
                if lane.requested is None:
                    break
                fruitless = 0 if lane.answers else fruitless + 1
        self._working -= 1
        if not self._working and self._filling and self._filler is not None:
            self._filler.cancel()

    async def _is_needed(self) -> bool:
        """Wait for more files than there are associations being opened for; False if there will be none."""
        while len(self._plan) <= self._opening:
            if not self._filling:
                return False
            await self._wait_for_files()
        return True

    async def _wait_for_files(self) -> None:
        self._arrived.clear()
        await self._arrived.wait()

    async def _use(self, lane: _Lane) -> None:
        sending = self._sending
        proposal = Proposal(
            calling_ae=sending.calling_ae,
            contexts=presentation_contexts(lane.keys),
            async_window=sending.window,
            user_identity=sending.user_identity,
        )
        self._opening += 1
        try:
            async with associate(sending.remote, proposal, connect_s=sending.connect_s) as requested:
                self._opening -= 1
                self.associations += 1
                lane.open(requested)
                window = asyncio.Semaphore(requested.window)
                async with asyncio.TaskGroup() as slots:
                    for _ in range(requested.window + 1):
                        slots.create_task(self._run_slot(lane, requested, window))
                if lane.lost is not None:
                    raise lane.lost  # associate() aborts what is left of the association
        finally:
            if lane.requested is None:
                self._opening -= 1

    # --- Slots --------------------------------------------------------------------------------------------------------

    async def _run_slot(self, lane: _Lane, requested: Requested, window: asyncio.Semaphore) -> None:
        while (file := await self._next(lane)) is not None:
            context = lane.accepted.get(file.context)
            if context is None:
                self._fail(file, refusal_words(file.context, lane.refused[file.context]))
                continue
            try:
                whole = await read_whole(file) if file.data_set_bytes <= WHOLE_BYTES else None
            except OSError as error:
                self._fail(file, f"cannot be read: {error.strerror or error}")
                continue
            async with window:
                if lane.lost is not None:
                    self._add(file)
                else:
                    await self._store(lane, requested, context, file, whole)

    async def _next(self, lane: _Lane) -> SendableFile | None:
        """The next file for this lane; None when it has no more to do."""
        while lane.lost is None:
            file = self._plan.take(lane.keys)
            if file is not None:
                if len(self._plan) < MOST_WAITING_FILES // 2:
                    self._room.set()
                return file
            if len(self._plan) or not self._filling:
                break
            try:
                async with asyncio.timeout(_IDLE_S):
                    await self._wait_for_files()
            except TimeoutError:
                break
        return None

    async def _store(
        self, lane: _Lane, requested: Requested, context: Context, file: SendableFile, whole: bytes | None
    ) -> None:
        moved = 0

        def count(size: int) -> None:
            nonlocal moved
            moved += size
            self._moved(size)

        try:
            async with aclosing(pieces_of(file, count)) as pieces:
                response = await store(
                    requested.association,
                    context,
                    pieces if whole is None else whole,
                    sop_class_uid=file.sop_class_uid,
                    sop_instance_uid=file.sop_instance_uid,
                    answer_s=self._sending.answer_s,
                )
            lane.answers += 1
            count(file.data_set_bytes - moved)
            self._answered(file, response)
        except OSError as error:
            # Half of the message is on its way and cannot be taken back: the association has to go with it.
            self._moved(-moved)
            lane.answers += 1
            lane.lost = AssociationAborted(f"{file.path} could not be read to its end", source=ABORT_BY_USER)
            self._fail(file, f"cannot be read: {error.strerror or error}")
        except AssociationError as error:
            self._moved(-moved)
            lane.lost = lane.lost or error
            self._unanswered(file, error)

    # --- Outcomes -----------------------------------------------------------------------------------------------------

    def _answered(self, file: SendableFile, response: CommandSet) -> None:
        match kind_of(response.status):
            case Kind.SUCCESS:
                outcome = Outcome.SENT
            case Kind.WARNING:
                outcome = Outcome.WARNING
            case _:
                outcome = Outcome.FAILED
        reason = "" if outcome is Outcome.SENT else status_words(response)
        self._tell(FileResult(file=file, outcome=outcome, status=response.status, reason=reason))

    def _unanswered(self, file: SendableFile, error: AssociationError) -> None:
        if file.attempts:
            odd = "; its data set has an odd length, which PS3.5 7.1.1 forbids" if file.data_set_bytes % 2 else ""
            self._fail(file, f"not answered twice: {error}{odd}")
        else:
            self._add(replace(file, attempts=1))

    def _fail(self, file: SendableFile, reason: str) -> None:
        self._tell(FileResult(file=file, outcome=Outcome.FAILED, status=None, reason=reason))
