"""Rounds of forwarding on a real archive: jobs from a list instead of the outbox, over TCP to whoever listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kit.retrieving import Shouting
from kit.samples import Sample, put, settings_for
from kit.server import HOST
from pacslite.archive.archive import Archive
from pacslite.archive.job import Job, JobKind, JobState, Lane, Priority
from pacslite.archive.jobs import Change
from pacslite.archive.rules import ForwardRule
from pacslite.facts import Fact
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Remote
from pacslite.services.conveyor import Manner
from pacslite.services.destinations import Call, Callee
from pacslite.services.forwarding import ForwardManner, ForwardPerformer

LANE = Lane("DEST", JobKind.FORWARD, "all")


def job(number: int, uid: str, **changes: object) -> Job:
    usual = Job(
        id=number,
        lane=LANE,
        subject=uid,
        study_uid="1.2.3.1",
        priority=Priority.MEDIUM,
        time_window="",
        wants_commitment=False,
        state=JobState.RUNNING,
        created_at=1.0,
        due_at=1.0,
        attempts=0,
        last_error="",
        lease="mine",
    )
    return replace(usual, **changes)  # type: ignore[arg-type] # checked where it matters: at run time


@dataclass
class ListedRound:
    """What is owed is a list; what becomes of each is kept by SOP Instance UID. ``over_after`` so many are settled the
    round is over."""

    waiting: list[Job] = field(default_factory=list)
    lane: Lane = LANE
    associations: int = 1
    over_after: int = 1 << 30
    delivered: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    given_back: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    taken: int = 0
    takings: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_settled(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.settled < count:
                self._settled.clear()
                await self._settled.wait()

    @property
    def is_over(self) -> bool:
        return self.settled >= self.over_after

    @property
    def settled(self) -> int:
        return len(self.delivered) + len(self.dropped) + len(self.failures)

    @property
    def unsettled(self) -> int:
        return self.taken - self.settled - len(self.given_back)

    def use(self, associations: int) -> None:
        self.associations = min(associations, self.associations)

    def has(self, job: Job) -> bool:
        return job.subject not in self.cancelled

    async def wait(self, within_s: float) -> bool:
        """As often as it is asked, since nobody tells it."""
        await asyncio.sleep(min(within_s, 0.01))
        return not self.is_over

    async def take(self, most: int) -> Sequence[Job]:
        await asyncio.sleep(0)
        self.takings += 1
        jobs, self.waiting[:most] = self.waiting[:most], []
        self.taken += len(jobs)
        return jobs

    def done(self, job: Job, change: Change | None = None) -> None:
        if change is None:
            self.dropped.append(job.subject)
        else:
            self.delivered.append(job.subject)
            self.changes.append(change)
        self._settled.set()

    def failed(self, job: Job, reason: str) -> None:
        assert job.subject not in self.failures
        self.failures[job.subject] = reason
        self._settled.set()

    def give_back(self, job: Job) -> None:
        self.given_back.append(job.subject)

    def owe(self, uids: Iterable[str], **changes: object) -> None:
        self.waiting += [job(number, uid, **changes) for number, uid in enumerate(uids, start=self.taken + 1)]


@dataclass
class Forwarding:
    archive: Archive
    performer: ForwardPerformer
    facts: list[Fact]
    callees: dict[str, Callee]

    async def round(self, samples: Sequence[Sample], **changes: object) -> ListedRound:
        """One in which these objects are owed, from beginning to end."""
        owed = ListedRound(**changes)  # type: ignore[arg-type] # checked where it matters
        owed.owe(sample.instance for sample in samples)
        await self.performer.perform(owed)
        return owed


@asynccontextmanager
async def forwarding(
    folder: Path,
    port: int,
    samples: Sequence[Sample] = (),
    *,
    window: int = 1,
    answer_s: float = 10.0,
    rule: ForwardRule | None = None,
    converter: Shouting | None = None,
    linger_s: float = 0.0,
    archive_settings: Mapping[str, object] | None = None,
) -> AsyncIterator[Forwarding]:
    facts: list[Fact] = []
    callees = {"DEST": Callee(remote=Remote(host=HOST, port=port, ae_title="DEST"), async_window=window)}
    async with Archive.open(settings_for(folder / "data", **(archive_settings or {})), observe=facts.append) as archive:
        for sample in samples:
            await put(archive, sample)
        performer = ForwardPerformer(
            archive,
            callees=callees,
            call=Call(calling_ae="PACSLITE", limits=ConnectionLimits(), connect_s=5.0, answer_s=answer_s),
            rules={} if rule is None else {rule.name: rule},
            manner=ForwardManner(
                sending=Manner(converter=converter, answer_s=answer_s), ask_after_s=10.0, linger_s=linger_s
            ),
            observe=facts.append,
        )
        yield Forwarding(archive, performer, facts, callees)
        assert len(asyncio.all_tasks()) == 1
