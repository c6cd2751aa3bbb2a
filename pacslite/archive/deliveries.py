"""What destinations have taken, and whether they have committed to it.

Theory of operation. A delivery that wants commitment owes a question: one job for a destination and a rule, however
many objects it is about. Whoever performs that job opens transactions for what is to be asked about, each durable
before it is sent, and notes which ones the destination has accepted. Then the job waits for the results, which may come
at any time, on any association, and more than once; what an answer changes and what follows from it (an object that is
sent again, the end of the job) is one transaction. A question that may never have arrived, or has no result for too
long, is put anew with another Transaction UID; the result of the earlier one still counts if it comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pacslite.archive.index import asking_rows, delivery_rows, job_rows
from pacslite.archive.index.asking_rows import Asker
from pacslite.archive.index.commit import GroupCommit
from pacslite.archive.index.delivery_rows import Refusal, Transaction
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job, JobKind, Lane, NewJob, Priority
from pacslite.archive.jobs import Change
from pacslite.archive.model import StoredObject
from pacslite.archive.rules import ForwardRule
from pacslite.dicom.uids import new_uid

__all__ = ["Answer", "Answered", "AskManner", "Deliveries", "Question", "Refusal", "Silence", "record"]


def record(job: Job, stored: StoredObject, *, now: float, ask_after_s: float) -> Change:
    """The destination of ``job`` has taken the object: for the settlement of the job.

    If the job wants commitment, the destination is asked for it once nothing more has been delivered to it by the same
    rule for ``ask_after_s`` seconds, or ten times as long after the first.
    """

    def change(writer: IndexWriter) -> None:
        delivery_rows.deliver(
            writer,
            job.lane,
            sop_class_uid=stored.sop_class_uid,
            sop_instance_uid=stored.sop_instance_uid,
            wants_commitment=job.wants_commitment,
            now=now,
            ask_after_s=ask_after_s,
        )

    return change


@dataclass(frozen=True, slots=True, kw_only=True)
class AskManner:
    """``ask_after_s`` from the last delivery to the question, ``ask_again_s`` from a question until it is put anew,
    ``give_up_s`` until a silent destination is asked no more (0: never); how many objects a transaction has, and how
    often an object is sent again that was refused."""

    ask_after_s: float = 10.0
    ask_again_s: float = 3600.0
    give_up_s: float = 0.0
    most: int = 1000
    max_resends: int = 3


@dataclass(frozen=True, slots=True)
class Silence:
    """Of so many objects a destination should have told a result long ago; whether it is asked no more."""

    objects: int
    given_up: bool


@dataclass(frozen=True, slots=True)
class Question:
    """What a destination is to be asked: SOP classes and instances."""

    transaction_uid: str
    references: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a destination says: SOP Instance UIDs, and with those that failed the Failure Reason."""

    transaction_uid: str
    committed: Sequence[str]
    failed: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What was new in an answer: how many objects are committed to, which are sent again, which are not."""

    destination: str
    asked_at: float
    committed: int
    resent: Sequence[Refusal]
    refused: Sequence[Refusal]


class Deliveries:
    """Of an archive. ``rules`` say how what was refused is sent again; ``heard`` is called with a destination that has
    answered, when jobs may have come of it. Times are seconds since 1970-01-01 UTC."""

    def __init__(
        self,
        index: GroupCommit,
        *,
        heard: Callable[[str], None],
        rules: Mapping[str, ForwardRule],
        manner: AskManner,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._heard = heard
        self._rules = rules
        self._manner = manner
        self._clock = clock

    async def begin(self, job: Job) -> Silence | None:
        """The job that asks is going to be performed, question by question. If silence has lasted for too long nothing
        more is asked: the job is to be settled by :meth:`gave_up`."""
        now = self._clock()
        overdue = now - self._manner.ask_again_s
        # One that was retried by hand, or has something new to ask, has no such words.
        is_late = bool(self._manner.give_up_s and job.last_error) and now - job.created_at >= self._manner.give_up_s

        def change(writer: IndexWriter) -> Silence | None:
            silent = delivery_rows.count_overdue(writer, job.lane, overdue=overdue)
            silence = Silence(silent, is_late) if silent else None
            if silence is None or not silence.given_up:
                delivery_rows.begin_asking(writer, job.lane, overdue=overdue)
            return silence

        return await self._index.run(change)

    def gave_up(self, job: Job, silence: Silence) -> Change:
        """For the settlement of the job that asks: it is dead."""
        why = f"no result for {asking_rows.counted_objects(silence.objects)}"
        asker = Asker(job.id, job.created_at)
        return lambda writer: asking_rows.give_up_asking(writer, job.lane, asker, why=why, now=self._clock())

    async def question(self, lane: Lane) -> Question | None:
        """What to ask next, in a transaction of its own; None if there is nothing more to be asked."""
        uid, now = new_uid(), self._clock()
        references = await self._index.run(
            lambda writer: delivery_rows.ask(writer, lane, uid, most=self._manner.most, now=now)
        )
        return Question(uid, references) if references else None

    async def accepted(self, question: Question) -> None:
        """The destination has taken the question: it is not put again before long."""
        now = self._clock()
        await self._index.run(lambda writer: delivery_rows.accept(writer, question.transaction_uid, now=now))

    def asked(self, job: Job, *, all_of_it: bool = True) -> Change:
        """The job that asks has been performed: for its settlement, which keeps it for as long as it is needed.

        Without ``all_of_it`` the rest is to be asked at once.
        """
        manner = self._manner

        def change(writer: IndexWriter) -> None:
            now = self._clock()
            asking_rows.settle_asking(
                writer,
                job.lane,
                after_s=manner.ask_after_s if all_of_it else 0.0,
                again_s=manner.ask_again_s,
                now=now,
                asker=Asker(job.id, job.created_at if job.last_error else now),
            )

        return change

    async def asked_of(self, transaction_uid: str) -> str | None:
        """The AE title that a transaction was opened with; None if it is none of ours."""
        transaction = await self._index.run(lambda writer: delivery_rows.find_transaction(writer, transaction_uid))
        return None if transaction is None else transaction.destination

    async def answer(self, answer: Answer) -> Answered | None:
        """Take an answer in, and what follows from it; None if the transaction is none of ours.

        The same answer again changes nothing. What is said of one object twice is believed for the worse.
        """
        answered = await self._index.run(lambda writer: self._answer(writer, answer))
        if answered is not None:
            self._heard(answered.destination)
        return answered

    def _answer(self, writer: IndexWriter, answer: Answer) -> Answered | None:
        transaction = delivery_rows.find_transaction(writer, answer.transaction_uid)
        if transaction is None:
            return None
        now = self._clock()
        bad = {uid for uid, _ in answer.failed}
        good = (uid for uid in answer.committed if uid not in bad)
        refusals = delivery_rows.refuse(writer, transaction, answer.failed)
        rules_committed = delivery_rows.commit(writer, transaction, good, now=now)
        resent = [refusal for refusal in refusals if self._send_again(writer, refusal, transaction, now)]
        delivery_rows.answered(writer, transaction, committed=len(rules_committed), failed=len(refusals), now=now)
        for rule in {*rules_committed, *(refusal.rule for refusal in refusals)}:
            lane, manner = Lane(transaction.destination, JobKind.ASK, rule), self._manner
            asking_rows.settle_asking(writer, lane, after_s=manner.ask_after_s, again_s=manner.ask_again_s, now=now)
        return Answered(
            destination=transaction.destination,
            asked_at=transaction.asked_at,
            committed=len(rules_committed),
            resent=resent,
            refused=[refusal for refusal in refusals if refusal not in resent],
        )

    def _send_again(self, writer: IndexWriter, refusal: Refusal, transaction: Transaction, now: float) -> bool:
        """Unless that was done often enough, or there is nothing left to send."""
        if refusal.resent >= self._manner.max_resends:
            return False
        existing = writer.find(refusal.sop_instance_uid)
        if existing is None:
            return False
        rule = self._rules.get(refusal.rule)
        job = NewJob(
            lane=Lane(transaction.destination, JobKind.FORWARD, refusal.rule),
            subject=refusal.sop_instance_uid,
            study_uid=existing.study_uid,
            priority=Priority.MEDIUM if rule is None else rule.priority,
            time_window="" if rule is None else rule.time_window,
            wants_commitment=True,
        )
        job_rows.owe(writer, [job], now)
        delivery_rows.count_resend(writer, refusal.sop_instance_uid, transaction.destination)
        return True
