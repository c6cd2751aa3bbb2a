"""Reading what is known of storage commitment, through a connection that only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from pacslite.archive.commitment import (
    AskedSummary,
    DeliverySummary,
    Promise,
    Reference,
    RequestState,
    RequestSummary,
    Verdict,
)

_PAGE: Final = 500
_REQUEST: Final = (
    "r.id, r.transaction_uid, r.calling_ae, r.called_ae, r.address, r.received_at, r.instances, r.state, "
    "r.is_duplicate, r.checked, r.committed, r.failed, r.verified_at, r.reported_at, r.reported_over"
)
_COLUMNS: Final = _REQUEST.count(",") + 1

_Row = tuple[int, str, str, str, str, float, int, str, int, int, int, int, "float | None", "float | None", str]


def _summary(row: _Row) -> RequestSummary:
    number, transaction_uid, calling_ae, called_ae, address, received_at, instances, state = row[:8]
    is_duplicate, checked, committed, failed, verified_at, reported_at, reported_over = row[8:]
    return RequestSummary(
        id=number,
        transaction_uid=transaction_uid,
        calling_ae=calling_ae,
        called_ae=called_ae,
        address=address,
        received_at=received_at,
        instances=instances,
        state=RequestState(state),
        is_duplicate=bool(is_duplicate),
        checked=checked,
        committed=committed,
        failed=failed,
        verified_at=verified_at,
        reported_at=reported_at,
        reported_over=reported_over,
    )


def request(connection: sqlite3.Connection, request: int) -> RequestSummary | None:
    row = connection.execute(f"SELECT {_REQUEST} FROM commitment_requests r WHERE r.id = ?", (request,)).fetchone()
    return None if row is None else _summary(row)


def requests(
    connection: sqlite3.Connection, *, transaction_uid: str, calling_ae: str, unreported: bool, limit: int
) -> Sequence[RequestSummary]:
    """Newest first."""
    conditions: dict[str, str] = {}
    if transaction_uid:
        conditions["r.transaction_uid = ?"] = transaction_uid
    if calling_ae:
        conditions["r.calling_ae = ?"] = calling_ae
    if unreported:
        conditions["r.state <> ?"] = RequestState.REPORTED
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = connection.execute(
        f"SELECT {_REQUEST} FROM commitment_requests r {where} ORDER BY r.received_at DESC, r.id DESC LIMIT ?",
        (*conditions.values(), limit or -1),
    )
    return [_summary(row) for row in rows]


def unverified(connection: sqlite3.Connection, request: int) -> tuple[RequestSummary, bytes] | None:
    """A request that is to be verified, and its references as they are kept."""
    row = connection.execute(
        f"SELECT {_REQUEST}, r.objects FROM commitment_requests r "
        "WHERE r.id = ? AND r.state = 'received' AND r.checked < r.instances",
        (request,),
    ).fetchone()
    return None if row is None else (_summary(row[:_COLUMNS]), row[_COLUMNS])


def verdict(connection: sqlite3.Connection, request: int) -> Verdict | None:
    with _one_moment(connection):
        row = connection.execute(f"SELECT {_REQUEST} FROM commitment_requests r WHERE r.id = ?", (request,)).fetchone()
        if row is None or (summary := _summary(row)).state is RequestState.RECEIVED:
            return None
        rows = connection.execute(
            "SELECT sop_class_uid, sop_instance_uid, failure_reason FROM commitment_items WHERE request = ? "
            "ORDER BY number",
            (request,),
        )
        committed: list[Reference] = []
        failed: list[tuple[Reference, int]] = []
        for sop_class, sop_instance, reason in rows:
            reference = Reference(sop_class, sop_instance)
            if reason:
                failed.append((reference, reason))
            else:
                committed.append(reference)
    return Verdict(request=summary, committed=committed, failed=failed)


_ITEM: Final = "i.number, i.sop_class_uid, i.sop_instance_uid, i.failure_reason"


def promises(connection: sqlite3.Connection, sop_instance_uid: str) -> Sequence[Promise]:
    rows = connection.execute(
        f"SELECT {_REQUEST}, {_ITEM} FROM commitment_items i JOIN commitment_requests r ON r.id = i.request "
        "WHERE i.sop_instance_uid = ? ORDER BY r.received_at, r.id, i.number",
        (sop_instance_uid,),
    )
    return [_promise(_summary(row[:_COLUMNS]), row[_COLUMNS:]) for row in rows]


def items(connection: sqlite3.Connection, request: RequestSummary, *, first: int, failed_only: bool) -> list[Promise]:
    """Some of them, from number ``first`` on."""
    failed = "AND i.failure_reason <> 0" if failed_only else ""
    rows = connection.execute(
        f"SELECT {_ITEM} FROM commitment_items i WHERE i.request = ? AND i.number >= ? {failed} "
        "ORDER BY i.number LIMIT ?",
        (request.id, first, _PAGE),
    )
    return [_promise(request, row) for row in rows]


def _promise(request: RequestSummary, item: tuple[int, str, str, int]) -> Promise:
    number, sop_class, sop_instance, reason = item
    return Promise(request=request, number=number, reference=Reference(sop_class, sop_instance), failure_reason=reason)


_DELIVERIES: Final = """
SELECT d.destination, d.rule, d.delivered_at, d.wants_commitment, coalesce(a.transaction_uid, ''), a.asked_at,
    d.committed_at, d.failure_reason, d.resent
FROM deliveries d LEFT JOIN commitments_asked a ON a.id = d.asked
WHERE d.sop_instance_uid = ? ORDER BY d.delivered_at, d.id
"""


def deliveries(connection: sqlite3.Connection, sop_instance_uid: str) -> Sequence[DeliverySummary]:
    return [
        DeliverySummary(
            destination=destination,
            rule=rule,
            delivered_at=delivered_at,
            wants_commitment=bool(wants_commitment),
            transaction_uid=transaction_uid,
            asked_at=asked_at,
            committed_at=committed_at,
            failure_reason=failure_reason,
            resent=resent,
        )
        for (
            destination,
            rule,
            delivered_at,
            wants_commitment,
            transaction_uid,
            asked_at,
            committed_at,
            failure_reason,
            resent,
        ) in connection.execute(_DELIVERIES, (sop_instance_uid,))
    ]


_ASKED: Final = """
SELECT transaction_uid, destination, asked_at, accepted_at, answered_at, committed, failed
FROM commitments_asked WHERE transaction_uid = ?
"""


def asked(connection: sqlite3.Connection, transaction_uid: str) -> AskedSummary | None:
    row = connection.execute(_ASKED, (transaction_uid,)).fetchone()
    if row is None:
        return None
    transaction, destination, asked_at, accepted_at, answered_at, committed, failed = row
    return AskedSummary(
        transaction_uid=transaction,
        destination=destination,
        asked_at=asked_at,
        accepted_at=accepted_at,
        answered_at=answered_at,
        committed=committed,
        failed=failed,
    )


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Several statements see the same."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")
