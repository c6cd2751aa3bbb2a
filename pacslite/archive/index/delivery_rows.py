"""Deliveries as rows: what a destination has taken, and what it is to be asked about, inside the writer's transaction.

A delivery that wants commitment is, in this order: to be asked about (nothing below is set), asked about (``asked``),
and then either committed to (``committed_at``) or refused (``failure_reason``). What was refused is sent again, which
begins anew; what is not sent again stays refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pacslite.archive.index.asking_rows import ANY_TO_ASK, ASKED, OF_RULE, REFUSED, TO_ASK, ask_soon
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Lane

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


# --- Asking ----------------------------------------------------------------------------------------------------------

# A destination may take days for its results, while hundreds of thousands of objects wait for them: what was asked is
# found from one transaction to the next, without looking at each object.
_OPEN = f"""
WITH RECURSIVE open (asked) AS (
    SELECT min(asked) FROM deliveries WHERE {OF_RULE} AND asked > 0
    UNION ALL
    SELECT (SELECT min(asked) FROM deliveries WHERE {OF_RULE} AND asked > open.asked)
    FROM open WHERE open.asked IS NOT NULL
)
SELECT id FROM open CROSS JOIN commitments_asked ON id = open.asked
"""
OVERDUE = f"""
SELECT count(*) FROM deliveries
WHERE {OF_RULE} AND failure_reason IS NULL AND asked IN ({_OPEN} WHERE accepted_at IS NOT NULL AND asked_at <= :overdue)
"""
TAKE_BACK = f"""
UPDATE deliveries SET asked = NULL
WHERE {OF_RULE} AND failure_reason IS NULL AND asked IN ({_OPEN} WHERE accepted_at IS NULL OR asked_at <= :overdue)
"""
_TAKE_ALL_BACK = f"UPDATE deliveries SET asked = NULL WHERE {ASKED}"
_FORGIVE = f"UPDATE deliveries SET asked = NULL, failure_reason = NULL, resent = 0 WHERE {REFUSED}"
_OPEN_TRANSACTION = "INSERT INTO commitments_asked (transaction_uid, destination, asked_at) VALUES (?, ?, ?)"
_ASK = f"""
UPDATE deliveries SET asked = :transaction WHERE id IN (SELECT id FROM deliveries WHERE {TO_ASK} LIMIT :most)
RETURNING sop_class_uid, sop_instance_uid
"""
_ACCEPT = "UPDATE commitments_asked SET accepted_at = ? WHERE transaction_uid = ? AND accepted_at IS NULL"


def count_overdue(writer: IndexWriter, lane: Lane, *, overdue: float) -> int:
    """Of how many objects of a rule there is no result, though the question was accepted before ``overdue``."""
    values = {"destination": lane.destination, "rule": lane.rule, "overdue": overdue}
    return int(writer.connection.execute(OVERDUE, values).fetchone()[0])


def begin_asking(writer: IndexWriter, lane: Lane, *, overdue: float) -> None:
    """Decide what of a rule is asked about: what never was, or was to no avail: the destination did not accept the
    question, or has been silent since before ``overdue``.

    If that is nothing, somebody wants to know again, or a crash has left the question: all that is open is asked about
    anew, and what was refused gets as many chances as at first.
    """
    values = {"destination": lane.destination, "rule": lane.rule, "overdue": overdue}
    execute = writer.connection.execute
    execute(TAKE_BACK, values)
    if not execute(ANY_TO_ASK, values).fetchone()[0]:
        execute(_TAKE_ALL_BACK, values)
        execute(_FORGIVE, values)


def ask(writer: IndexWriter, lane: Lane, transaction_uid: str, *, most: int, now: float) -> Sequence[tuple[str, str]]:
    """Open a transaction for what is next to be asked about: SOP classes and instances. Without any, there is none."""
    execute = writer.connection.execute
    values: dict[str, object] = {"destination": lane.destination, "rule": lane.rule, "most": most}
    if not execute(ANY_TO_ASK, values).fetchone()[0]:
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
