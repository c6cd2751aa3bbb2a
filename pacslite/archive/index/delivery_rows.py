"""Deliveries as rows: what a destination has taken, and what it is to be asked about, inside the writer's transaction.

A delivery that wants commitment is, in this order: to be asked about (nothing below is set), asked about (``asked``),
and then either committed to (``committed_at``) or refused (``failure_reason``). What was refused is sent again, which
begins anew; what is not sent again stays refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


# --- Asking ----------------------------------------------------------------------------------------------------------

_OF_RULE: Final = "destination = :destination AND rule = :rule AND wants_commitment = 1 AND committed_at IS NULL"
"""The condition of an index, word for word."""
_TO_ASK: Final = f"{_OF_RULE} AND asked IS NULL AND failure_reason IS NULL"
_ASKED: Final = f"{_OF_RULE} AND asked IS NOT NULL AND failure_reason IS NULL"
_REFUSED: Final = f"""
{_OF_RULE} AND failure_reason IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM jobs WHERE kind = '{JobKind.FORWARD}' AND destination = deliveries.destination
    AND subject = deliveries.sop_instance_uid
)
"""
"""And not on its way again."""

_TAKE_BACK = f"""
UPDATE deliveries SET asked = NULL WHERE {_ASKED} AND (
    SELECT accepted_at IS NULL OR asked_at <= :overdue FROM commitments_asked WHERE id = deliveries.asked
)
"""
_TAKE_ALL_BACK = f"UPDATE deliveries SET asked = NULL WHERE {_ASKED}"
_FORGIVE = f"UPDATE deliveries SET asked = NULL, failure_reason = NULL, resent = 0 WHERE {_REFUSED}"
_ANY_TO_ASK = f"SELECT EXISTS (SELECT 1 FROM deliveries WHERE {_TO_ASK})"
_OPEN_TRANSACTION = "INSERT INTO commitments_asked (transaction_uid, destination, asked_at) VALUES (?, ?, ?)"
_ASK = f"""
UPDATE deliveries SET asked = :transaction WHERE id IN (SELECT id FROM deliveries WHERE {_TO_ASK} LIMIT :most)
RETURNING sop_class_uid, sop_instance_uid
"""
_ACCEPT = "UPDATE commitments_asked SET accepted_at = ? WHERE transaction_uid = ? AND accepted_at IS NULL"


def begin_asking(writer: IndexWriter, lane: Lane, *, overdue: float) -> None:
    """Decide what of a rule is asked about: what never was, or was to no avail: the destination did not accept the
    question, or has been silent since before ``overdue``.

    If that is nothing, somebody wants to know again, or a crash has left the question: all that is open is asked about
    anew, and what was refused gets as many chances as at first.
    """
    values = {"destination": lane.destination, "rule": lane.rule, "overdue": overdue}
    execute = writer.connection.execute
    execute(_TAKE_BACK, values)
    if not execute(_ANY_TO_ASK, values).fetchone()[0]:
        execute(_TAKE_ALL_BACK, values)
        execute(_FORGIVE, values)


def ask(writer: IndexWriter, lane: Lane, transaction_uid: str, *, most: int, now: float) -> Sequence[tuple[str, str]]:
    """Open a transaction for what is next to be asked about: SOP classes and instances. Without any, there is none."""
    execute = writer.connection.execute
    values: dict[str, object] = {"destination": lane.destination, "rule": lane.rule, "most": most}
    if not execute(_ANY_TO_ASK, values).fetchone()[0]:
        return ()
    values["transaction"] = execute(_OPEN_TRANSACTION, (transaction_uid, lane.destination, now)).lastrowid
    return execute(_ASK, values).fetchall()


def accept(writer: IndexWriter, transaction_uid: str, *, now: float) -> None:
    """The destination has the question."""
    writer.connection.execute(_ACCEPT, (now, transaction_uid))


# --- Answers ---------------------------------------------------------------------------------------------------------

_FIND_TRANSACTION = "SELECT id, destination, asked_at FROM commitments_asked WHERE transaction_uid = ?"
# An answer that comes late, when the object has been asked about again, still holds; not if it was refused or delivered
# (with other content, perhaps) meanwhile.
_COMMIT = """
UPDATE deliveries SET committed_at = :now, failure_reason = NULL, resent = 0
WHERE sop_instance_uid = :uid AND destination = :destination AND wants_commitment = 1 AND committed_at IS NULL
AND (asked = :transaction OR failure_reason IS NULL AND delivered_at <= :asked_at)
RETURNING rule
"""
_REFUSE = """
UPDATE deliveries SET failure_reason = :reason
WHERE sop_instance_uid = :uid AND destination = :destination AND wants_commitment = 1 AND committed_at IS NULL
AND asked = :transaction AND failure_reason IS NULL
RETURNING rule, resent
"""
_RESEND = "UPDATE deliveries SET resent = resent + 1 WHERE sop_instance_uid = ? AND destination = ?"
_ANSWERED = """
UPDATE commitments_asked SET answered_at = :now, accepted_at = coalesce(accepted_at, :now),
    committed = committed + :committed, failed = failed + :failed
WHERE id = :transaction
"""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A question that was put to a destination."""

    id: int
    destination: str
    asked_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An object that the destination does not commit to."""

    sop_instance_uid: str
    rule: str
    failure_reason: int
    resent: int
    """How often it was sent again already."""


def find_transaction(writer: IndexWriter, transaction_uid: str) -> Transaction | None:
    row = writer.connection.execute(_FIND_TRANSACTION, (transaction_uid,)).fetchone()
    return None if row is None else Transaction(*row)


def commit(writer: IndexWriter, transaction: Transaction, uids: Iterable[str], *, now: float) -> Sequence[str]:
    """The destination has committed to these: the rules of those of which that was not known."""
    values = {
        "destination": transaction.destination,
        "transaction": transaction.id,
        "asked_at": transaction.asked_at,
        "now": now,
    }
    execute = writer.connection.execute
    return [rule for uid in uids for (rule,) in execute(_COMMIT, values | {"uid": uid}).fetchall()]


def refuse(writer: IndexWriter, transaction: Transaction, failed: Iterable[tuple[str, int]]) -> Sequence[Refusal]:
    """The destination does not commit to these, for these Failure Reasons: those of which that was not known."""
    values = {"destination": transaction.destination, "transaction": transaction.id}
    return [
        Refusal(sop_instance_uid=uid, rule=rule, failure_reason=reason, resent=resent)
        for uid, reason in failed
        for rule, resent in writer.connection.execute(_REFUSE, values | {"uid": uid, "reason": reason}).fetchall()
    ]


def count_resend(writer: IndexWriter, sop_instance_uid: str, destination: str) -> None:
    writer.connection.execute(_RESEND, (sop_instance_uid, destination))


def answered(writer: IndexWriter, transaction: Transaction, *, committed: int, failed: int, now: float) -> None:
    values = {"transaction": transaction.id, "committed": committed, "failed": failed, "now": now}
    writer.connection.execute(_ANSWERED, values)


# --- What becomes of the question ------------------------------------------------------------------------------------

_OLDEST = f"""
SELECT asked_at FROM commitments_asked
WHERE id = (SELECT asked FROM deliveries WHERE {_ASKED} ORDER BY asked LIMIT 1)
"""
_AWAITED = f"SELECT count(*) FROM deliveries WHERE {_ASKED}"
_REASONS = f"SELECT failure_reason, count(*) FROM deliveries WHERE {_REFUSED} GROUP BY failure_reason"
_FIND_ASKING = "SELECT id, state, created_at FROM jobs WHERE kind = ? AND destination = ? AND subject = ?"
_END_ASKING = "DELETE FROM jobs WHERE id = ?"
_KEEP_ASKING = """
INSERT INTO jobs (id, kind, destination, rule, subject, priority, state, created_at, due_at, last_error)
VALUES (:id, :kind, :destination, :rule, :rule, :priority, :state, :since, :due, :why)
ON CONFLICT (subject, destination, kind) DO UPDATE SET
    state = excluded.state, created_at = excluded.created_at, due_at = excluded.due_at, attempts = 0,
    failing_since = NULL, last_error = excluded.last_error, lease = '', leased_until = NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """Seconds: from the last delivery to the question, from the question until it is put anew, and after how many of
    silence that ends (0: never)."""

    ask_after_s: float
    ask_again_s: float
    give_up_s: float


@dataclass(frozen=True, slots=True)
class _Next:
    state: JobState
    due_at: float
    why: str


def settle_asking(
    writer: IndexWriter, lane: Lane, manner: Manner, *, now: float, job: tuple[int, float] | None = None
) -> None:
    """Keep the job of a rule that asks for as long as anything is to be asked or awaited; dead if all that is left was
    refused. Somebody who has the job at the moment does that at the end.

    ``job``: its id, and when it was made, for whoever has just taken it out of the outbox.
    """
    values: dict[str, object] = {"destination": lane.destination, "rule": lane.rule}
    execute = writer.connection.execute
    found = execute(_FIND_ASKING, (JobKind.ASK, lane.destination, lane.rule)).fetchone()
    if found is not None:
        if found[1] == JobState.RUNNING:
            return
        job = found[0], found[2]
    if execute(_ANY_TO_ASK, values).fetchone()[0]:
        ask_soon(writer, lane.destination, lane.rule, now=now, after_s=manner.ask_after_s)
        return
    next_ = _next(writer, values, manner, since=job[1] if job else now, now=now)
    if next_ is None:
        if found is not None:
            execute(_END_ASKING, (found[0],))
        return
    values |= {
        "id": job[0] if job else None,
        "kind": JobKind.ASK,
        "priority": Priority.MEDIUM,
        "state": next_.state,
        "since": job[1] if job else now,
        "due": next_.due_at,
        "why": next_.why,
    }
    execute(_KEEP_ASKING, values)


def _next(writer: IndexWriter, values: dict[str, object], manner: Manner, *, since: float, now: float) -> _Next | None:
    """None: there is nothing more to be asked."""
    oldest = writer.connection.execute(_OLDEST, values).fetchone()
    if oldest is not None:
        due_at = oldest[0] + manner.ask_again_s
        if not manner.give_up_s or now - since < manner.give_up_s:
            return _Next(JobState.WAITING, due_at, "no result yet")
        (awaited,) = writer.connection.execute(_AWAITED, values).fetchone()
        return _Next(JobState.DEAD, due_at, f"no result for {_objects(awaited)}")
    reasons = writer.connection.execute(_REASONS, values).fetchall()
    if not reasons:
        return None
    why = "not committed to: " + ", ".join(f"{_objects(count)} ({reason:04X}H)" for reason, count in reasons)
    return _Next(JobState.DEAD, now, why)


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count} objects"
