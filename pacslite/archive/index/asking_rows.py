"""The job that asks a destination to commit to what it was sent by a rule, as a row, and when it is there at all.

It waits to be asked for the first time (no error, no attempt), for a result (an error, but no attempt) or after a
failure (attempts), and is dead if nobody is asked any more though not everything is committed to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import JobKind, JobState, Lane, Priority

# --- Of which deliveries ---------------------------------------------------------------------------------------------

OF_RULE: Final = "destination = :destination AND rule = :rule AND wants_commitment = 1 AND committed_at IS NULL"
"""The condition of an index, word for word."""
TO_ASK: Final = f"{OF_RULE} AND asked IS NULL AND failure_reason IS NULL"
ASKED: Final = f"{OF_RULE} AND asked IS NOT NULL AND failure_reason IS NULL"
REFUSED: Final = f"""
{OF_RULE} AND failure_reason IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM jobs WHERE kind = '{JobKind.FORWARD}' AND destination = deliveries.destination
    AND subject = deliveries.sop_instance_uid
)
"""
"""And not on its way again."""
ANY_TO_ASK = f"SELECT EXISTS (SELECT 1 FROM deliveries WHERE {TO_ASK})"

# --- Asking soon -----------------------------------------------------------------------------------------------------

_PUT_OFF_TIMES: Final = 10
"""How many times the usual wait asking is put off at most, while more and more is delivered."""

# A job that is waiting for its first attempt (no error) is put off, one that fails is not: it has its own back-off.
# One that waits for a result (an error, but no attempt), or was given up, begins anew. Whoever runs it looks at what
# has been delivered meanwhile when it ends.
_ASK_SOON = """
INSERT INTO jobs (kind, destination, rule, subject, priority, state, created_at, due_at)
VALUES (:kind, :destination, :rule, :rule, :priority, :waiting, :now, :now + :after)
ON CONFLICT (subject, destination, kind) DO UPDATE SET
    created_at = CASE WHEN state = :waiting AND (attempts OR last_error = '') THEN created_at ELSE :now END,
    due_at = CASE
        WHEN state <> :waiting THEN :now + :after
        WHEN attempts THEN min(due_at, :now + :most)
        WHEN last_error <> '' THEN min(due_at, :now + :after)
        ELSE min(:now + :after, created_at + :most)
    END,
    failing_since = CASE WHEN state = :waiting AND attempts THEN failing_since END,
    attempts = CASE WHEN state = :waiting THEN attempts ELSE 0 END,
    last_error = CASE WHEN state = :waiting AND attempts THEN last_error ELSE '' END,
    state = :waiting
WHERE state <> :running
"""


def ask_soon(writer: IndexWriter, destination: str, rule: str, *, now: float, after_s: float) -> None:
    """Owe the question: ``after_s`` seconds after the last delivery, but not put off for ever."""
    values = {
        "kind": JobKind.ASK,
        "destination": destination,
        "rule": rule,
        "priority": Priority.MEDIUM,
        "waiting": JobState.WAITING,
        "running": JobState.RUNNING,
        "now": now,
        "after": after_s,
        "most": _PUT_OFF_TIMES * after_s,
    }
    writer.connection.execute(_ASK_SOON, values)


# --- When it was performed, or answered ------------------------------------------------------------------------------

_OLDEST = f"""
SELECT asked_at FROM commitments_asked
WHERE id = (SELECT asked FROM deliveries WHERE {ASKED} ORDER BY asked LIMIT 1)
"""
_REASONS = f"SELECT failure_reason, count(*) FROM deliveries WHERE {REFUSED} GROUP BY failure_reason"
_FIND_ASKING = "SELECT id, state, created_at, attempts FROM jobs WHERE subject = ? AND destination = ? AND kind = ?"
_END_ASKING = "DELETE FROM jobs WHERE id = ?"
_KEEP_ASKING = """
INSERT INTO jobs (id, kind, destination, rule, subject, priority, state, created_at, due_at, last_error)
VALUES (:id, :kind, :destination, :rule, :rule, :priority, :state, :since, :due, :why)
ON CONFLICT (subject, destination, kind) DO UPDATE SET
    state = excluded.state, created_at = excluded.created_at, due_at = excluded.due_at, attempts = 0,
    failing_since = NULL, last_error = excluded.last_error, lease = '', leased_until = NULL
"""


@dataclass(frozen=True, slots=True)
class Asker:
    """The job that asks, which has just been taken out of the outbox; how long its destination has been silent."""

    id: int
    silent_since: float


@dataclass(frozen=True, slots=True)
class _Next:
    state: JobState
    due_at: float
    why: str


def settle_asking(
    writer: IndexWriter,
    lane: Lane,
    *,
    after_s: float,
    again_s: float,
    now: float,
    asker: Asker | None = None,
) -> None:
    """Keep the job of a rule that asks for as long as anything is to be asked, ``after_s`` from now, or awaited, until
    ``again_s`` after the question; dead if all that is left was refused. Somebody who has the job at the moment does
    that at the end: as ``asker``."""
    values = {"destination": lane.destination, "rule": lane.rule}
    execute = writer.connection.execute
    found = execute(_FIND_ASKING, (lane.rule, lane.destination, JobKind.ASK)).fetchone()
    is_failing = False
    if found is not None:
        key, state, created_at, attempts = found
        if state == JobState.RUNNING:
            return
        asker = Asker(key, created_at)
        is_failing = state == JobState.WAITING and attempts > 0
    if execute(ANY_TO_ASK, values).fetchone()[0]:
        ask_soon(writer, lane.destination, lane.rule, now=now, after_s=after_s)
    elif next_ := _next(writer, lane, again_s, now):
        if not (is_failing and next_.state == JobState.WAITING):  # it is tried again sooner, for what was not accepted
            _keep(writer, lane, next_, asker or Asker(0, now))
    elif asker is not None:
        execute(_END_ASKING, (asker.id,))


_WANT_NO_MORE = """
UPDATE deliveries SET wants_commitment = 0
WHERE sop_instance_uid = ? AND wants_commitment = 1 AND committed_at IS NULL
RETURNING destination, rule
"""
_ANY_LEFT = f"SELECT EXISTS (SELECT 1 FROM deliveries WHERE {OF_RULE})"


def ask_no_more(writer: IndexWriter, uids: Iterable[str]) -> None:
    """These objects are deleted: nobody is asked about them any more. With the last one of a rule the job that asks
    goes, unless somebody has it at the moment, who sees it at the end."""
    execute = writer.connection.execute
    asked = {tuple(row) for uid in uids for row in execute(_WANT_NO_MORE, (uid,)).fetchall()}
    for destination, rule in asked:
        if not execute(_ANY_LEFT, {"destination": destination, "rule": rule}).fetchone()[0]:
            found = execute(_FIND_ASKING, (rule, destination, JobKind.ASK)).fetchone()
            if found is not None and found[1] != JobState.RUNNING:
                execute(_END_ASKING, (found[0],))


def give_up_asking(writer: IndexWriter, lane: Lane, asker: Asker, *, why: str, now: float) -> None:
    _keep(writer, lane, _Next(JobState.DEAD, now, why), asker)


def _keep(writer: IndexWriter, lane: Lane, next_: _Next, asker: Asker) -> None:
    values = {
        "id": asker.id or None,
        "kind": JobKind.ASK,
        "destination": lane.destination,
        "rule": lane.rule,
        "priority": Priority.MEDIUM,
        "state": next_.state,
        "since": asker.silent_since,
        "due": next_.due_at,
        "why": next_.why,
    }
    writer.connection.execute(_KEEP_ASKING, values)


def _next(writer: IndexWriter, lane: Lane, again_s: float, now: float) -> _Next | None:
    """None: there is nothing more to be asked."""
    values = {"destination": lane.destination, "rule": lane.rule}
    oldest = writer.connection.execute(_OLDEST, values).fetchone()
    if oldest is not None:
        return _Next(JobState.WAITING, oldest[0] + again_s, "no result yet")
    reasons = writer.connection.execute(_REASONS, values).fetchall()
    if not reasons:
        return None
    why = ", ".join(f"{counted_objects(count)} ({reason:04X}H)" for reason, count in reasons)
    return _Next(JobState.DEAD, now, f"not committed to: {why}")


def counted_objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"
