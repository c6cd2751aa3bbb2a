"""An archive that has forwarded: what was delivered, what is asked and answered, at times that the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kit.samples import CT, Sample, put, rows, settings_for
from pacslite.archive import deliveries
from pacslite.archive.archive import Archive
from pacslite.archive.deliveries import Answer, Answered, AskManner, Deliveries, Question, Silence
from pacslite.archive.index import job_rows
from pacslite.archive.job import Job, JobKind, JobState, Lane, Priority
from pacslite.archive.jobs import Change, Settled
from pacslite.archive.model import StoredObject
from pacslite.archive.rules import ForwardRule
from pacslite.facts import ignore

ARCHIVE = "ARCHIVE"
RULE = "all"
ASK = Lane(ARCHIVE, JobKind.ASK, RULE)
MANNER = AskManner(ask_after_s=10.0, ask_again_s=1000.0, give_up_s=5000.0, most=1000, max_resends=2)


def forward(uid: str, *, rule: str = RULE, commit: bool = True, destination: str = ARCHIVE) -> Job:
    return Job(
        id=1,
        lane=Lane(destination, JobKind.FORWARD, rule),
        subject=uid,
        study_uid="1.2.3",
        priority=Priority.MEDIUM,
        time_window="",
        wants_commitment=commit,
        state=JobState.RUNNING,
        created_at=0.0,
        due_at=0.0,
        attempts=0,
        last_error="",
        lease="mine",
    )


def stored(uid: str) -> StoredObject:
    return StoredObject(
        path=Path("nowhere"),
        data_set_offset=0,
        size=1,
        digest="",
        sop_class_uid=CT,
        sop_instance_uid=uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        study_uid="1.2.3",
        series_uid="1.2.4",
        stored_at=0.0,
    )


@dataclass(slots=True)
class Delivering:
    """``now`` is what its clock says."""

    archive: Archive
    folder: Path
    manner: AskManner
    rules: Mapping[str, ForwardRule]
    now: float = 1000.0
    silence: Silence | None = None
    """What it was told when it was last asked."""
    heard: list[str] = field(default_factory=list)
    """What whoever works was told: destinations that have answered."""

    @property
    def deliveries(self) -> Deliveries:
        return Deliveries(
            self.archive.workshop.index,
            heard=self.heard.append,
            rules=self.rules,
            manner=self.manner,
            clock=lambda: self.now,
        )

    async def store(self, *uids: str) -> None:
        for uid in uids:
            await put(self.archive, Sample(instance=uid))

    async def deliver(self, *uids: str, rule: str = RULE, commit: bool = True, destination: str = ARCHIVE) -> None:
        """What a forward does when it is done; a job that was to send the object is done with."""
        for uid in uids:
            job = forward(uid, rule=rule, commit=commit, destination=destination)
            record = deliveries.record(job, stored(uid), now=self.now, ask_after_s=self.manner.ask_after_s)
            await self.change(f"DELETE FROM jobs WHERE kind = 'forward' AND subject = '{uid}'")
            await self.archive.workshop.index.run(record)

    async def change(self, sql: str) -> None:
        await self.archive.workshop.index.run(lambda writer: writer.connection.execute(sql))

    async def take(self, lane: Lane = ASK) -> list[Job]:
        """The job that asks, if it is due."""
        now = self.now
        return await self.archive.workshop.index.run(
            lambda writer: job_rows.take(writer, lane, most=1, lease="me", now=now, until=now + 100)
        )

    async def settle(self, job: Job, change: Change) -> None:
        await self.archive.outbox.settle([Settled(job=job, change=change)])

    async def ask(self, *, accepted: bool = True) -> list[Question]:
        """All that is due, as whoever performs the job does it."""
        jobs = await self.take()
        assert jobs, "the job that asks is not due"
        questions: list[Question] = []
        self.silence = await self.deliveries.begin(jobs[0])
        if self.silence is not None and self.silence.given_up:
            await self.settle(jobs[0], self.deliveries.gave_up(jobs[0], self.silence))
            return []
        while question := await self.deliveries.question(ASK):
            questions.append(question)
            if accepted:
                await self.deliveries.accepted(question)
        await self.settle(jobs[0], self.deliveries.asked(jobs[0]))
        return questions

    async def answer(
        self, question: Question, *, committed: Sequence[str] = (), failed: Mapping[str, int] | None = None
    ) -> Answered:
        answer = Answer(
            transaction_uid=question.transaction_uid, committed=committed, failed=tuple((failed or {}).items())
        )
        answered = await self.deliveries.answer(answer)
        assert answered is not None
        return answered

    def asking(self) -> list[tuple[object, ...]]:
        """The jobs that ask: state, since when, when, how often it was tried, and why not."""
        return rows(self.folder, "SELECT state, created_at, due_at, attempts, last_error FROM jobs WHERE kind = 'ask'")

    def forwards(self) -> list[tuple[object, ...]]:
        columns = "subject, study_uid, destination, rule, priority, time_window, wants_commitment"
        return rows(self.folder, f"SELECT {columns} FROM jobs WHERE kind = 'forward' ORDER BY subject")

    def states(self) -> dict[object, str]:
        """What has become of each delivery, by its SOP Instance UID."""
        sql = """
            SELECT sop_instance_uid, CASE WHEN committed_at IS NOT NULL THEN 'committed'
                WHEN failure_reason IS NOT NULL THEN 'refused' WHEN asked IS NOT NULL THEN 'asked' ELSE 'to ask' END
            FROM deliveries
        """
        return {uid: str(state) for uid, state in rows(self.folder, sql)}


@asynccontextmanager
async def delivering(
    folder: Path, *, rules: tuple[ForwardRule, ...] = (), **changes: object
) -> AsyncIterator[Delivering]:
    manner = replace(MANNER, **changes)  # type: ignore[arg-type]  # names and types are checked where it matters: at run time
    async with Archive.open(settings_for(folder), observe=ignore) as archive:
        yield Delivering(archive, folder, manner, {rule.name: rule for rule in rules})
