"""Jobs as rows: what happens to them inside a transaction of the index's writer.

Which job is whose is decided here alone: whoever settles one names its lease, and a row that has another by now, or is
gone, is left as it is. Times are seconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pacslite.archive.index.lane_scan import WAITING, lanes_of
from pacslite.archive.job import Job, JobKind, JobState, Lane, NewJob, Priority
from pacslite.archive.time_window import time_window

if TYPE_CHECKING:  # the writer owes jobs with the objects that it adds
    from pacslite.archive.index.writer import IndexWriter

MOST_ERROR_CHARACTERS: Final = 500
CHUNK: Final = 500
"""Rows that are changed in one transaction at most, where nobody asked for a number: others write meanwhile."""

_LANE: Final = "destination = ? AND kind = ? AND rule = ?"
COLUMNS: Final = (
    "jobs.id, destination, kind, jobs.rule, subject, jobs.study_uid, priority, time_window, wants_commitment, state,"
    " created_at, due_at, attempts, last_error, lease, failing_since"
)

# A job that is waiting keeps what lets it go sooner. Whoever has it at the moment has it no more.
_OWE: Final = """
INSERT INTO jobs (kind, destination, rule, subject, study_uid, priority, time_window, wants_commitment, state, hold,
    created_at, due_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?, ?)
ON CONFLICT (subject, destination, kind) DO UPDATE SET
    rule = excluded.rule,
    study_uid = excluded.study_uid,
    priority = CASE state WHEN 'waiting' THEN min(priority, excluded.priority) ELSE excluded.priority END,
    time_window = CASE WHEN state = 'waiting' AND time_window = '' THEN '' ELSE excluded.time_window END,
    wants_commitment = excluded.wants_commitment OR (state = 'waiting' AND wants_commitment),
    hold = CASE WHEN state = 'waiting' AND hold IS NULL THEN NULL ELSE excluded.hold END,
    state = 'waiting',
    created_at = excluded.created_at,
    due_at = CASE WHEN state = 'waiting' AND time_window = '' AND excluded.time_window <> ''
        THEN min(excluded.due_at, excluded.created_at + ?) ELSE excluded.due_at END,
    attempts = 0,
    failing_since = NULL,
    last_error = '',
    lease = '',
    leased_until = NULL
"""
FIND_HOLD: Final = "SELECT id, until FROM job_holds WHERE rule = ? AND study_uid = ?"
_ADD_HOLD: Final = "INSERT INTO job_holds (until, rule, study_uid) VALUES (?, ?, ?)"
_SET_HOLD: Final = "UPDATE job_holds SET until = ? WHERE id = ?"
HOLDS_OVER: Final = "SELECT id FROM job_holds WHERE until <= ? ORDER BY until LIMIT ?"
# Nothing is due later than its hold is over, but for its window; unless the clock has been put back since.
LET_GO: Final = """
UPDATE jobs SET hold = NULL, due_at = CASE WHEN time_window = '' THEN min(due_at, ?) ELSE due_at END
WHERE id IN (SELECT id FROM jobs WHERE hold = ? LIMIT ?)
"""
_REMOVE_HOLD: Final = "DELETE FROM job_holds WHERE id = ? AND NOT EXISTS (SELECT 1 FROM jobs WHERE hold = job_holds.id)"

NEXT: Final = f"""
SELECT {COLUMNS} FROM jobs WHERE {WAITING} AND {_LANE} AND priority = ? AND due_at <= ?
ORDER BY due_at, id LIMIT ?
"""
_POSTPONE: Final = "UPDATE jobs SET due_at = ? WHERE id = ?"
_TAKE: Final = "UPDATE jobs SET state = 'running', lease = ?, leased_until = ? WHERE id = ?"
_RENEW: Final = "UPDATE jobs SET leased_until = ? WHERE id = ? AND lease = ?"
_SETTLE: Final = "DELETE FROM jobs WHERE id = ? AND lease = ?"
_FAIL: Final = """
UPDATE jobs SET state = ?, due_at = ?, attempts = attempts + 1, failing_since = coalesce(failing_since, ?),
    last_error = ?, lease = '', leased_until = NULL
WHERE id = ? AND lease = ?
"""
_RELEASED: Final = "state = 'waiting', lease = '', leased_until = NULL"
_GIVE_BACK: Final = f"UPDATE jobs SET {_RELEASED} WHERE id = ? AND lease = ?"
RELEASE_ALL: Final = f"UPDATE jobs SET {_RELEASED} WHERE state = 'running'"
RELEASE_EXPIRED: Final = (
    f"UPDATE jobs SET {_RELEASED} WHERE state = 'running' AND leased_until <= ?",
    f"UPDATE jobs SET {_RELEASED} WHERE state = 'running' AND leased_until > ?",
)
GIVE_UP: Final = f"""
UPDATE jobs SET state = 'dead', failing_since = coalesce(failing_since, ?), last_error = ?
WHERE id IN (
    SELECT id FROM jobs WHERE {WAITING} AND {_LANE} AND priority = ? AND due_at <= ? AND created_at <= ? LIMIT ?
)
"""
NOT_SO_LATE: Final = f"""
UPDATE jobs SET due_at = ?1, failing_since = min(failing_since, ?1)
WHERE {WAITING} AND destination = ?2 AND kind = ?3 AND rule = ?4 AND priority = ?5
    AND due_at > ?6 AND (time_window = '' OR due_at > ?7)
"""
_NOT_HELD_SO_LONG: Final = "UPDATE job_holds SET until = ?1 WHERE until > ?2 AND rule <> ''"  # salvage.py has no rule
_A_DAY_S: Final = 25 * 3600.0  # the longest one of a year

OF_SUBJECT: Final = f"SELECT {COLUMNS} FROM jobs WHERE subject = ?"
_CANCEL: Final = f"DELETE FROM jobs WHERE subject = ? AND kind = '{JobKind.FORWARD}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What becomes of a job that failed: it is due again, or given up. ``with_others``: its destination failed, which
    is told for all of its jobs at once."""

    job: Job
    reason: str
    due_at: float
    give_up: bool = False
    with_others: bool = False


# --- Owing -----------------------------------------------------------------------------------------------------------


def owe(writer: IndexWriter, jobs: Iterable[NewJob], now: float) -> None:
    """Put jobs into the outbox; one that is there already is made new, and done (again).

    This is called for every object that is stored, in its transaction.
    """
    execute = writer.connection.execute
    for job in jobs:
        lane, window = job.lane, job.time_window
        hold = _hold(writer, lane.rule, job.study_uid, job.quiet_s, now) if job.quiet_s > 0 else None
        due_at = now + job.delay_s
        execute(
            _OWE,
            (
                lane.kind.value,
                lane.destination,
                lane.rule,
                job.subject,
                job.study_uid,
                job.priority.value,
                window,
                job.wants_commitment,
                hold,
                now,
                _opening(window, due_at) if window else due_at,
                job.delay_s,
            ),
        )


def put_off(writer: IndexWriter, rule: str, study_uid: str, quiet_s: float, now: float) -> int | None:
    """The hold of a study, put off, as something has come of it; None if nothing is held.

    Objects of a burst put it off together: by a hundredth it may be over early.
    """
    row = writer.connection.execute(FIND_HOLD, (rule, study_uid)).fetchone()
    if row is None:
        return None
    key, old = row
    until = now + quiet_s
    if not until - min(0.1, quiet_s / 100) <= old <= until:
        writer.connection.execute(_SET_HOLD, (until, key))
    return int(key)


def _hold(writer: IndexWriter, rule: str, study_uid: str, quiet_s: float, now: float) -> int:
    there = put_off(writer, rule, study_uid, quiet_s, now)
    if there is None:
        there = writer.connection.execute(_ADD_HOLD, (now + quiet_s, rule, study_uid)).lastrowid
        assert there is not None
    return there


def _opening(window: str, now: float) -> float:
    """When the window is next open. What nobody can read is always open: to send late is better than never."""
    try:
        return time_window(window).next_opening(now)
    except ValueError:
        return now


def let_go(writer: IndexWriter, now: float) -> bool:
    """Let go what was held for studies that are quiet by now; whether there is more of it."""
    room = CHUNK
    for (key,) in writer.connection.execute(HOLDS_OVER, (now, CHUNK)).fetchall():
        room -= max(writer.connection.execute(LET_GO, (now, key, room)).rowcount, 1)
        if room <= 0:
            return True
        writer.connection.execute(_REMOVE_HOLD, (key,))
    return False


# --- Leases ----------------------------------------------------------------------------------------------------------


def take(writer: IndexWriter, lane: Lane, *, most: int, lease: str, now: float, until: float) -> list[Job]:
    """The next jobs of a lane, under ``lease``; those whose window is closed are put off to its next opening."""
    taken: list[Job] = []
    room = max(most, CHUNK)  # how many rows may be looked at
    for priority in Priority:
        while len(taken) < most and room > 0:
            wanted = min(most - len(taken), room)
            values = (lane.destination, lane.kind.value, lane.rule, priority.value, now, wanted)
            found = [job_of(row) for row in writer.connection.execute(NEXT, values).fetchall()]
            room -= len(found)
            for job in found:
                opening = _opening(job.time_window, now) if job.time_window else now
                if opening > now:
                    writer.connection.execute(_POSTPONE, (opening, job.id))
                else:
                    writer.connection.execute(_TAKE, (lease, until, job.id))
                    taken.append(_under(job, lease))
            if len(found) < wanted:
                break
    return taken


def renew(writer: IndexWriter, jobs: Iterable[Job], *, until: float) -> list[Job]:
    """Those that were lost."""
    execute = writer.connection.execute
    return [job for job in jobs if not execute(_RENEW, (until, job.id, job.lease)).rowcount]


def settle(writer: IndexWriter, job: Job) -> bool:
    """It is done; False if its lease was lost."""
    return bool(writer.connection.execute(_SETTLE, (job.id, job.lease)).rowcount)


def fail(writer: IndexWriter, failures: Iterable[Failure], now: float) -> list[Job]:
    """Those that were lost."""
    lost = []
    for failure in failures:
        job, state = failure.job, JobState.DEAD if failure.give_up else JobState.WAITING
        reason = failure.reason[:MOST_ERROR_CHARACTERS]
        values = (state.value, failure.due_at, now, reason, job.id, job.lease)
        if not writer.connection.execute(_FAIL, values).rowcount:
            lost.append(job)
    return lost


def give_back(writer: IndexWriter, jobs: Iterable[Job]) -> None:
    """As if they had never been taken."""
    writer.connection.executemany(_GIVE_BACK, [(job.id, job.lease) for job in jobs])


def release_all(writer: IndexWriter) -> int:
    return writer.connection.execute(RELEASE_ALL).rowcount


def release_expired(writer: IndexWriter, *, now: float, latest: float) -> int:
    """Leases that have run out, or that end after ``latest``, as none could if the clock had not been put back."""
    return sum(
        writer.connection.execute(statement, (when,)).rowcount
        for statement, when in zip(RELEASE_EXPIRED, (now, latest), strict=True)
    )


def give_up(writer: IndexWriter, lane: Lane, *, before: float, now: float, reason: str) -> int:
    """Give up jobs of a lane that have been owed, and have lain untouched, since ``before``; so many, and no more than
    a chunk of them."""
    count = 0
    for priority in Priority:
        values = (lane.destination, lane.kind.value, lane.rule, priority.value, before, before, CHUNK - count)
        reason = reason[:MOST_ERROR_CHARACTERS]
        count += writer.connection.execute(GIVE_UP, (now, reason, *values)).rowcount
    return count


def bring_forward(writer: IndexWriter, *, now: float, latest: float) -> int:
    """Have due now what is due, or held, until after ``latest``: the clock has been put back since. What has a time
    window may be put off for a day."""
    execute = writer.connection.execute
    day = max(latest, now + _A_DAY_S)
    count = execute(_NOT_HELD_SO_LONG, (now, latest)).rowcount
    for lane in list(lanes_of(writer.connection)):
        for priority in Priority:
            values = (now, lane.destination, lane.kind.value, lane.rule, priority.value, latest, day)
            count += execute(NOT_SO_LATE, values).rowcount
    return count


# --- Objects ---------------------------------------------------------------------------------------------------------


def outstanding(writer: IndexWriter, sop_instance_uid: str) -> list[Job]:
    """What is still owed for an object, what was given up among it."""
    return [job_of(row) for row in writer.connection.execute(OF_SUBJECT, (sop_instance_uid,)).fetchall()]


def cancel_of(writer: IndexWriter, *, subjects: Collection[str]) -> int:
    """Forwards of objects that are deleted; how many there were."""
    return sum(writer.connection.execute(_CANCEL, (subject,)).rowcount for subject in subjects)


def job_of(row: Sequence[Any], held_until: float | None = None) -> Job:
    """From the columns of a job, as every statement here selects them."""
    return Job(
        id=row[0],
        lane=Lane(row[1], JobKind(row[2]), row[3]),
        subject=row[4],
        study_uid=row[5],
        priority=Priority(row[6]),
        time_window=row[7],
        wants_commitment=bool(row[8]),
        state=JobState(row[9]),
        created_at=row[10],
        due_at=row[11],
        attempts=row[12],
        last_error=row[13],
        lease=row[14],
        failing_since=row[15],
        held_until=held_until,
    )


def _under(job: Job, lease: str) -> Job:
    return replace(job, state=JobState.RUNNING, lease=lease)
