"""Whatever several holders do with an outbox, crash, and do to its clock: nothing is lost, each job is one holder's."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kit.outboxes import LEASE_S, OutboxFile, forwards, new, outbox_file
from pacslite.archive.index import job_rows
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job, JobKind, Lane, Priority
from pacslite.archive.jobs import Change, Choice, Outbox, Settled

FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None
HOLDERS = 2
RETRY_S = 30.0
QUIET_S = 60.0
LANES = (forwards("A"), forwards("A", "other"))
DONE = Lane("C", JobKind.REPORT)
"""What follows from each job that is done."""

subjects = st.sampled_from(["1.1", "1.2"])
lanes = st.sampled_from(LANES)
holders = st.integers(0, HOLDERS - 1)


@dataclass
class Owed:
    """A job in the model. ``holder`` has it; without one it waits, or is dead."""

    lane: Lane
    priority: Priority
    due_at: float
    study: str
    held: str = ""
    """The rule whose hold it waits for."""
    attempts: int = 0
    job: Job | None = None
    until: float = 0.0
    dead: bool = False

    @property
    def is_waiting(self) -> bool:
        return self.job is None and not self.dead


class OutboxMachine(RuleBasedStateMachine):
    """The model: jobs by lane and subject, holds by rule and study, and what each holder believes to have."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pacslite-", dir=FOLDER))
        self.runner = asyncio.Runner()
        self.file: OutboxFile = outbox_file(self.folder)
        self.stacks: list[AsyncExitStack] = []
        self.outboxes: list[Outbox] = []
        self.jobs: dict[tuple[str, JobKind, str], Owed] = {}
        self.holds: dict[tuple[str, str], float] = {}
        self.believed: list[list[Job]] = [[] for _ in range(HOLDERS)]

    @property
    def now(self) -> float:
        return self.file.clock.now

    @initialize()
    def open(self) -> None:
        for _ in range(HOLDERS):
            self.stacks.append(AsyncExitStack())
            self.outboxes.append(self.runner.run(self.stacks[-1].enter_async_context(self.file.opened())))

    # --- Owing ---

    @precondition(lambda self: sum(owed.is_waiting for owed in self.jobs.values()) < 2)
    @rule(
        holder=holders,
        lane=lanes,
        subject=subjects,
        priority=st.sampled_from(Priority),
        quiet=st.sampled_from([False, False, True]),
        study=st.sampled_from(["1", "2"]),
    )
    def owe(self, holder: int, lane: Lane, subject: str, priority: Priority, quiet: bool, study: str) -> None:
        owed = new(subject, lane=lane, priority=priority, study_uid=study, quiet_s=QUIET_S if quiet else 0.0)
        self.runner.run(self.outboxes[holder].owe([owed]))
        if quiet:
            self.holds[lane.rule, study] = self.now + QUIET_S
        key = lane.destination, lane.kind, subject
        old = self.jobs.get(key)
        made = Owed(lane, priority, self.now, study, held=lane.rule if quiet else "")
        if old is not None and old.is_waiting:
            made.priority = min(priority, old.priority)
            if not old.held:
                made.held = ""
        self.jobs[key] = made

    # --- Working ---

    @precondition(lambda self: any(owed.is_waiting for owed in self.jobs.values()))
    @rule(holder=holders, most=st.integers(1, 3), data=st.data())
    def take(self, holder: int, most: int, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(sorted({owed.lane for owed in self.jobs.values() if owed.is_waiting})))
        taken = self.runner.run(self.outboxes[holder].take(lane, most=most, lease_s=LEASE_S))
        ready = [owed for owed in self.jobs.values() if owed.lane == lane and self._may_begin(owed)]
        expected = sorted(ready, key=lambda owed: (owed.priority, owed.due_at))[:most]
        assert [(job.priority, job.due_at) for job in taken] == [(owed.priority, owed.due_at) for owed in expected]
        for job in taken:
            owed = self.jobs[job.lane.destination, job.lane.kind, job.subject]
            assert owed in ready
            assert job.attempts == owed.attempts
            owed.job, owed.until = job, self.now + LEASE_S
        self.believed[holder] += taken

    @precondition(lambda self: any(self.believed))
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        holder, some = self._some(data)
        changed: list[Job] = []
        done = [Settled(job=job, change=_consequence(job, changed, self.now)) for job in some]
        lost = self.runner.run(self.outboxes[holder].settle(done))
        kept = [job for job in some if self._owed_by(job) is not None]
        assert lost == [job for job in some if job not in kept]
        assert changed == kept
        for job in kept:
            del self.jobs[_key(job)]
            self.jobs[DONE.destination, DONE.kind, job.subject] = Owed(DONE, Priority.MEDIUM, self.now, job.study_uid)

    @precondition(lambda self: any(self.believed))
    @rule(give_up=st.booleans(), data=st.data())
    def fail(self, give_up: bool, data: st.DataObject) -> None:
        holder, some = self._some(data)
        for job in some:
            failing = self.outboxes[holder].fail(job, reason="no", due_at=self.now + RETRY_S, give_up=give_up)
            self.runner.run(failing)
            if owed := self._owed_by(job):
                owed.job, owed.dead, owed.due_at = None, give_up, self.now + RETRY_S
                owed.attempts += 1

    @precondition(lambda self: any(self.believed))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        holder, some = self._some(data)
        self.runner.run(self.outboxes[holder].give_back(some))
        for job in some:
            if owed := self._owed_by(job):
                owed.job = None

    @precondition(lambda self: any(self.believed))
    @rule(holder=holders)
    def renew(self, holder: int) -> None:
        lost = self.runner.run(self.outboxes[holder].renew(self.believed[holder], lease_s=LEASE_S))
        assert lost == [job for job in self.believed[holder] if self._owed_by(job) is None]
        for job in self.believed[holder]:
            if owed := self._owed_by(job):
                owed.until = self.now + LEASE_S
        self.believed[holder] = [job for job in self.believed[holder] if job not in lost]

    @precondition(lambda self: any(self.believed))
    @rule(holder=holders)
    def crash(self, holder: int) -> None:
        """It forgets everything; its leases run out by themselves."""
        self.runner.run(self.stacks[holder].aclose())
        self.outboxes[holder] = self.runner.run(self.stacks[holder].enter_async_context(self.file.opened()))
        self.believed[holder].clear()

    @precondition(lambda self: any(self.believed))
    @rule()
    def start_anew(self) -> None:
        """All crash, and the first to come knows that it is the only one."""
        for holder in range(HOLDERS):
            self.crash(holder)
        running = [owed for owed in self.jobs.values() if owed.job is not None]
        assert self.runner.run(self.outboxes[0].release_all()) == len(running)
        for owed in running:
            owed.job = None

    # --- Time and people ---

    @rule(seconds=st.sampled_from([1.0, RETRY_S, QUIET_S, LEASE_S, -50.0, -86400.0, 86400.0]))
    def pass_time(self, seconds: float) -> None:
        self.file.clock.now += seconds
        if seconds < 0:
            latest = self.now + LEASE_S
            self.runner.run(self.outboxes[0].bring_forward(latest_s=LEASE_S))
            for owed in self.jobs.values():
                if owed.is_waiting and not owed.held and owed.due_at > latest:
                    owed.due_at = self.now
            self.holds = {key: self.now if until > latest else until for key, until in self.holds.items()}

    @rule(holder=holders)
    def look(self, holder: int) -> None:
        """Which also ends what is over: as one step, for the model, for whoever looks first."""
        seen = self.runner.run(self.outboxes[holder].open_lanes())
        for owed in self.jobs.values():
            if owed.job is not None and not self.now < owed.until <= self.now + 2 * 120.0:
                owed.job = None
        for (name, study), until in list(self.holds.items()):
            if until <= self.now:
                del self.holds[name, study]
                for owed in self.jobs.values():
                    if owed.held == name and owed.study == study:
                        owed.held, owed.due_at = "", min(owed.due_at, self.now)
        expected: dict[Lane, list[float]] = {}
        for owed in self.jobs.values():
            if owed.is_waiting and not owed.held:
                dues = expected.setdefault(owed.lane, [math.inf] * len(Priority))
                dues[owed.priority] = min(dues[owed.priority], owed.due_at)
        assert {lane.lane: list(lane.dues) for lane in seen} == expected

    @precondition(lambda self: any(owed.dead or owed.held for owed in self.jobs.values()))
    @rule(holder=holders, subject=subjects)
    def retry(self, holder: int, subject: str) -> None:
        ids = {job.id: _key(job) for job in self._listed() if job.subject == subject}
        retried = self.runner.run(self.outboxes[holder].retry(list(ids)))
        for number, key in ids.items():
            owed = self.jobs[key]
            assert (number in retried) == (owed.job is None)
            if owed.job is None:
                owed.held, owed.dead, owed.due_at, owed.attempts = "", False, self.now, 0

    @precondition(lambda self: self.jobs)
    @rule(holder=holders, subject=subjects)
    def cancel(self, holder: int, subject: str) -> None:
        ids = {job.id: _key(job) for job in self._listed() if job.subject == subject}
        assert self.runner.run(self.outboxes[holder].cancel(list(ids))) == list(ids)
        for key in ids.values():
            del self.jobs[key]

    @invariant()
    def the_outbox_is_as_the_model_says(self) -> None:
        if not self.outboxes:
            return
        stands = {
            _key(job): (job.state.value, job.held_until is not None, job.priority, job.attempts)
            for job in self._listed()
        }
        assert stands == {
            key: (
                "dead" if owed.dead else "waiting" if owed.job is None else "running",
                bool(owed.held),
                owed.priority,
                owed.attempts,
            )
            for key, owed in self.jobs.items()
        }

    def teardown(self) -> None:
        for stack in self.stacks:
            self.runner.run(stack.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    # --- The model ---

    def _may_begin(self, owed: Owed) -> bool:
        return owed.is_waiting and not owed.held and owed.due_at <= self.now

    def _owed_by(self, job: Job) -> Owed | None:
        """What the job is in the model, if its lease still holds."""
        owed = self.jobs.get(_key(job))
        return owed if owed is not None and owed.job is not None and owed.job.lease == job.lease else None

    def _some(self, data: st.DataObject) -> tuple[int, list[Job]]:
        """A holder, and some of what it believes to have: it is done with those."""
        holder = data.draw(st.sampled_from([one for one in range(HOLDERS) if self.believed[one]]))
        believed = self.believed[holder]
        chosen = data.draw(st.lists(st.sampled_from(believed), min_size=1, unique_by=id))
        for job in chosen:
            believed.remove(job)
        return holder, chosen

    def _listed(self) -> list[Job]:
        async def run() -> list[Job]:
            return [job async for job in self.outboxes[0].list(Choice())]

        return self.runner.run(run())


def _key(job: Job) -> tuple[str, JobKind, str]:
    return job.lane.destination, job.lane.kind, job.subject


def _consequence(job: Job, changed: list[Job], now: float) -> Change:
    def change(writer: IndexWriter) -> None:
        changed.append(job)
        job_rows.owe(writer, [new(job.subject, lane=DONE, study_uid=job.study_uid)], now)

    return change


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(
    max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
