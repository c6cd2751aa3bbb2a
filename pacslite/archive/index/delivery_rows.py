"""Deliveries as rows: what a destination has taken, and what it is to be asked about, inside the writer's transaction.

A delivery that wants commitment is, in this order: to be asked about (nothing below is set), asked about (``asked``),
and then either committed (``committed_at``) or refused (``failure_reason``): refused, it is sent again, which begins
anew, until it has been refused too often.
"""

from __future__ import annotations

from typing import Final

from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import JobKind, JobState, Lane, Priority

_PUT_OFF_TIMES: Final = 10
"""How many times the usual wait asking is put off at most, while more and more is delivered."""

_DELIVER = """
INSERT INTO deliveries (sop_instance_uid, sop_class_uid, destination, rule, delivered_at, wants_commitment)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (sop_instance_uid, destination) DO UPDATE SET
    sop_class_uid = excluded.sop_class_uid,
    rule = CASE WHEN excluded.wants_commitment OR NOT wants_commitment THEN excluded.rule ELSE rule END,
    delivered_at = excluded.delivered_at,
    wants_commitment = wants_commitment OR excluded.wants_commitment,
    asked = NULL,
    committed_at = NULL,
    failure_reason = NULL
RETURNING wants_commitment, rule
"""

# A job that is waiting for its first attempt (no error) is put off, one that fails is not: it has its own back-off.
# One that waits for a result (an error, but no attempt), or was given up, begins anew. Whoever runs it looks at what
# has been delivered meanwhile when it ends.
_ASK_SOON = """
INSERT INTO jobs (kind, destination, rule, subject, priority, state, created_at, due_at)
VALUES (:kind, :destination, :rule, :rule, :priority, :waiting, :now, :now + :after)
ON CONFLICT (kind, destination, subject) DO UPDATE SET
    created_at = CASE WHEN state = :waiting AND (attempts OR last_error = '') THEN created_at ELSE :now END,
    due_at = CASE
        WHEN state <> :waiting THEN :now + :after
        WHEN attempts THEN min(due_at, :now + :most)
        WHEN last_error <> '' THEN min(due_at, :now + :after)
        ELSE min(:now + :after, created_at + :most)
    END,
    attempts = CASE WHEN state = :waiting THEN attempts ELSE 0 END,
    last_error = CASE WHEN state = :waiting AND attempts THEN last_error ELSE '' END,
    state = :waiting
WHERE state <> :running
"""


def deliver(
    writer: IndexWriter,
    lane: Lane,
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    wants_commitment: bool,
    now: float,
    ask_after_s: float,
) -> None:
    """The destination has taken the object, perhaps again; if anybody wanted its commitment, it is asked for soon."""
    values = (sop_instance_uid, sop_class_uid, lane.destination, lane.rule, now, wants_commitment)
    wanted, rule = writer.connection.execute(_DELIVER, values).fetchone()
    if wanted:
        ask_soon(writer, lane.destination, rule, now=now, after_s=ask_after_s)


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
