"""What becomes of jobs is told without a flood."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kit.outboxes import LANE, OutboxFile, forwards, new, outbox_file, take
from pacslite.archive.job import Job
from pacslite.archive.jobs import Failure, Outbox
from pacslite.facts import Fact, JobFailed, JobGivenUp, JobsGivenUp
from pacslite.services.settling import Settling


@pytest.fixture
def file(tmp_path: Path) -> OutboxFile:
    return outbox_file(tmp_path)


@asynccontextmanager
async def settling(outbox: Outbox, facts: list[Fact]) -> AsyncIterator[Settling]:
    settling = Settling(outbox, decide=given_up, observe=facts.append, wrote=lambda: None)
    task = asyncio.create_task(settling.run())
    try:
        yield settling
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def given_up(job: Job, reason: str) -> Failure:
    return Failure(job=job, reason=reason, due_at=0.0, give_up=True)


async def test_what_is_given_up_together_for_one_reason_is_told_once(file: OutboxFile) -> None:
    facts: list[Fact] = []
    other = forwards("OTHER")
    async with file.opened() as outbox, settling(outbox, facts) as written:
        await outbox.owe([new(f"gone-{number}") for number in range(200)])
        await outbox.owe([new("refused"), new("later"), new("elsewhere", lane=other)])
        jobs = await take(outbox, most=300) | await take(outbox, other)
        for subject, job in jobs.items():
            match subject:
                case "refused":
                    written.put(given_up(job, "refused"))
                case "later":
                    written.put(Failure(job=job, reason="nobody there", due_at=5.0))
                case _:
                    written.put(given_up(job, "nobody there"))
        await written.flush(20.0)
    assert sum(isinstance(fact, JobFailed) and fact.subject == "later" for fact in facts) == 1
    assert {fact.subject for fact in facts if isinstance(fact, JobGivenUp)} == {"refused", "elsewhere"}
    told = [fact for fact in facts if isinstance(fact, JobsGivenUp)]
    assert told == [
        JobsGivenUp(kind="forward", destination=LANE.destination, rule=LANE.rule, jobs=200, reason="nobody there")
    ]
    assert len(facts) == 4
