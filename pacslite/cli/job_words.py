"""Jobs and their lanes as `pacslite jobs` shows them: for people in rows and lines, for programs as values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pacslite.archive.job import Job, JobStanding
from pacslite.cli.screen import printable

if TYPE_CHECKING:
    from pacslite.archive.jobs import LaneSummary

LANE_HEADINGS = (
    *("destination", "kind", "rule", "waiting", "held", "running", "dead", "oldest", "next due", "last error"),
)
JOB_HEADINGS = ("job", "destination", "kind", "rule", "subject", "state", "attempts", "due", "last error")


def lane_row(lane: LaneSummary) -> Sequence[str]:
    return (
        lane.lane.destination,
        lane.lane.kind.value,
        lane.lane.rule,
        *map(str, (lane.waiting, lane.held, lane.running, lane.dead)),
        _time(lane.oldest_at),
        _time(lane.next_due_at),
        lane.last_error,
    )


def lane_values(lane: LaneSummary) -> dict[str, object]:
    return {
        "destination": lane.lane.destination,
        "kind": lane.lane.kind.value,
        "rule": lane.lane.rule,
        "waiting": lane.waiting,
        "held": lane.held,
        "running": lane.running,
        "dead": lane.dead,
        "oldest_at": lane.oldest_at,
        "next_due_at": lane.next_due_at,
        "last_error": lane.last_error,
    }


def job_row(job: Job) -> Sequence[str]:
    return (
        str(job.id),
        job.lane.destination,
        job.lane.kind.value,
        job.lane.rule,
        job.subject,
        job.standing.value,
        str(job.attempts),
        _due(job),
        job.last_error,
    )


def job_values(job: Job) -> dict[str, object]:
    return {
        "job": job.id,
        "destination": job.lane.destination,
        "kind": job.lane.kind.value,
        "rule": job.lane.rule,
        "subject": job.subject,
        "study": job.study_uid,
        "state": job.standing.value,
        "priority": job.priority.name.lower(),
        "window": job.time_window,
        "commit": job.wants_commitment,
        "owed_since": job.created_at,
        "due_at": job.due_at,
        "held_until": job.held_until,
        "attempts": job.attempts,
        "failing_since": job.failing_since,
        "last_error": job.last_error,
    }


def job_lines(job: Job) -> Iterator[str]:
    yield f"job            {job.id}"
    yield f"kind           {job.lane.kind.value}"
    yield f"destination    {printable(job.lane.destination) or '(this server)'}"
    yield f"rule           {printable(job.lane.rule) or '(none)'}"
    yield f"subject        {printable(job.subject)}"
    yield f"study          {printable(job.study_uid) or '(none)'}"
    yield f"state          {job.standing.value}"
    yield f"priority       {job.priority.name.lower()}"
    yield f"window         {job.time_window or 'always'}"
    yield f"commitment     {'to be asked for' if job.wants_commitment else 'not asked for'}"
    yield f"owed since     {_time(job.created_at)}"
    yield f"due            {_due(job) or '(never)'}"
    yield f"attempts       {job.attempts}"
    yield f"failing since  {_time(job.failing_since) or '(does not fail)'}"
    yield f"last error     {printable(job.last_error) or '(none)'}"


def _due(job: Job) -> str:
    """What is held is due when its study has been quiet, what is dead never."""
    if job.standing is JobStanding.DEAD:
        return ""
    return _time(job.due_at if job.held_until is None else max(job.held_until, job.due_at))


def _time(seconds: float | None) -> str:
    """On this machine's clock."""
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
