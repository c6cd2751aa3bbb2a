"""Storage commitment as rows: what happens to requests and their items inside the writer's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pacslite.archive.commitment import FailureReason, RequestState
from pacslite.archive.index import job_rows
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import JobKind, JobState, Lane, NewJob

VERIFY: Final = Lane(destination="", kind=JobKind.VERIFY)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """``objects`` are the references as the table keeps them, ``digest`` is theirs."""

    transaction_uid: str
    calling_ae: str
    called_ae: str
    address: str
    instances: int
    objects: bytes
    digest: bytes


class Seen(NamedTuple):
    """An object as it was in the index when it was looked at."""

    sop_class_uid: str
    digest: bytes


class Decision(NamedTuple):
    """What becomes of an instance that a request names."""

    reference: tuple[str, str]
    failure_reason: int


class Overtaken(Exception):
    """The request is verified by somebody else as well, who is further."""


# --- Requests --------------------------------------------------------------------------------------------------------

_SAME_TRANSACTION = (
    "SELECT id, calling_ae, digest, state, is_duplicate FROM commitment_requests WHERE transaction_uid = ?"
)
_RECEIVE = """
INSERT INTO commitment_requests
    (transaction_uid, calling_ae, called_ae, address, received_at, instances, state, is_duplicate, objects, digest)
VALUES (?, ?, ?, ?, ?, ?, 'received', ?, ?, ?)
"""
_RECEIVE_AGAIN = """
UPDATE commitment_requests
SET called_ae = ?, address = ?, received_at = ?, state = 'received', objects = ?, checked = 0, committed = 0, failed = 0
WHERE id = ?
"""
_IS_OWED = "SELECT 1 FROM jobs WHERE kind = ? AND destination = '' AND subject = ? AND state <> ?"


def receive(writer: IndexWriter, new: NewRequest, now: float) -> int:
    """Write the request down, its verification owed; answers its number.

    The same requester asking the same once more has the same request, verified again; there is nothing to do if it is
    just being verified. A Transaction UID that stands for something else already makes a request of its own, which
    fails (SC-05).
    """
    execute = writer.connection.execute
    rows = execute(_SAME_TRANSACTION, (new.transaction_uid,)).fetchall()
    for request, calling_ae, digest, state, _ in rows:
        if (calling_ae, digest) == (new.calling_ae, new.digest):
            if state != RequestState.RECEIVED:
                execute(_RECEIVE_AGAIN, (new.called_ae, new.address, now, new.objects, request))
            elif execute(_IS_OWED, (JobKind.VERIFY, str(request), JobState.DEAD)).fetchone():
                return int(request)
            _owe(writer, VERIFY, request, now)
            return int(request)
    is_duplicate = any(digest != new.digest and not duplicate for _, _, digest, _, duplicate in rows)
    who = (new.transaction_uid, new.calling_ae, new.called_ae, new.address)
    inserted = execute(_RECEIVE, (*who, now, new.instances, is_duplicate, new.objects, new.digest)).lastrowid
    assert inserted is not None
    _owe(writer, VERIFY, inserted, now)
    return inserted


_VERIFIED = """
UPDATE commitment_requests SET state = 'verified', verified_at = ?, objects = x''
WHERE id = ? AND state = 'received' AND checked = instances
RETURNING calling_ae
"""


_IS_LEFT = "SELECT 1 FROM commitment_requests WHERE id = ? AND state = 'received'"


def verified(writer: IndexWriter, request: int, now: float) -> None:
    """All of it is verified: the requester is owed a report. If it is not, since whoever settles the job was overtaken,
    the rest is owed again: the one who is further may have lost the job, and settle nothing."""
    if row := writer.connection.execute(_VERIFIED, (now, request)).fetchone():
        _owe(writer, Lane(destination=row[0], kind=JobKind.REPORT), request, now)
    elif writer.connection.execute(_IS_LEFT, (request,)).fetchone():
        _owe(writer, VERIFY, request, now)


_REPORTED = """
UPDATE commitment_requests SET state = 'reported', reported_at = ?, reported_over = ?
WHERE id = ? AND state <> 'received'
"""


def reported(writer: IndexWriter, request: int, now: float, over: str) -> None:
    """The requester has taken the result; if it has asked again meanwhile, it will be told again."""
    writer.connection.execute(_REPORTED, (now, over, request))


def _owe(writer: IndexWriter, lane: Lane, request: int, now: float) -> None:
    job_rows.owe(writer, (NewJob(lane=lane, subject=str(request)),), now)


# --- Items -----------------------------------------------------------------------------------------------------------

_ADVANCE = """
UPDATE commitment_requests SET checked = checked + ?, committed = committed + ?, failed = failed + ?
WHERE id = ? AND state = 'received' AND checked = ?
"""
_SEEN = """
SELECT sop_instance_uid, sop_class_uid, digest FROM instances
WHERE sop_instance_uid IN (SELECT value FROM json_each(?))
"""
_DECIDE = """
INSERT INTO commitment_items (request, number, sop_class_uid, sop_instance_uid, failure_reason) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (request, number) DO UPDATE SET failure_reason = excluded.failure_reason
"""


def changed_since(writer: IndexWriter, seen: Mapping[str, Seen | None]) -> set[str]:
    """Those objects of which the index has something else now than what was ``seen`` by UID; None is nothing."""
    rows = writer.connection.execute(_SEEN, (json.dumps(list(seen)),))
    there = {uid: Seen(sop_class, digest) for uid, sop_class, digest in rows}
    return {uid for uid, then in seen.items() if there.get(uid) != then}


def decide(writer: IndexWriter, request: int, first: int, decisions: Sequence[Decision]) -> None:
    """Write down what became of the instances from number ``first`` on. Raises :class:`Overtaken`."""
    committed = sum(decision.failure_reason == FailureReason.NONE for decision in decisions)
    values = (len(decisions), committed, len(decisions) - committed, request, first)
    if not writer.connection.execute(_ADVANCE, values).rowcount:
        raise Overtaken
    rows = [(request, number, *reference, int(reason)) for number, (reference, reason) in enumerate(decisions, first)]
    writer.connection.executemany(_DECIDE, rows)
