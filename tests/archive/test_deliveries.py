"""What has been delivered, and when its destination is asked to commit to it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacslite.archive import deliveries
from pacslite.archive.index.sqlite import create
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job, JobKind, JobState, Lane, Priority
from pacslite.archive.model import StoredObject

ASK_AFTER_S = 10.0
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def writer() -> Iterator[IndexWriter]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        create(connection)
        yield IndexWriter(connection)


def forward(uid: str, *, rule: str, commit: bool, destination: str) -> Job:
    return Job(
        id=1,
        lane=Lane(destination, JobKind.FORWARD, rule),
        subject=uid,
        study_uid="1.2.3",
        priority=Priority.MEDIUM,
        time_window="",
        wants_commitment=commit,
        state=JobState.RUNNING,
        created_at=0.0,
        due_at=0.0,
        attempts=0,
        last_error="",
        lease="mine",
    )


def stored(uid: str) -> StoredObject:
    return StoredObject(
        path=Path("nowhere"),
        data_set_offset=0,
        size=1,
        digest="",
        sop_class_uid=CT,
        sop_instance_uid=uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        study_uid="1.2.3",
        series_uid="1.2.4",
        stored_at=0.0,
    )


def deliver(
    writer: IndexWriter,
    uid: str,
    *,
    now: float,
    rule: str = "all",
    commit: bool = True,
    destination: str = "ARCHIVE",
) -> None:
    job = forward(uid, rule=rule, commit=commit, destination=destination)
    with writer.transaction():
        deliveries.record(job, stored(uid), now=now, ask_after_s=ASK_AFTER_S)(writer)


def asking(writer: IndexWriter) -> list[tuple[object, ...]]:
    """The jobs that ask: of which lane, since when, when, how often it was tried, and why not."""
    return writer.connection.execute(
        "SELECT destination, rule, state, created_at, due_at, attempts, last_error FROM jobs WHERE kind = 'ask'"
    ).fetchall()


def change_job(writer: IndexWriter, values: str) -> None:
    with writer.transaction():
        writer.connection.execute(f"UPDATE jobs SET {values}")


def test_a_destination_is_asked_once_nothing_more_was_delivered_for_a_while(writer: IndexWriter) -> None:
    deliver(writer, "1", now=100.0)
    assert asking(writer) == [("ARCHIVE", "all", "waiting", 100.0, 110.0, 0, "")]
    deliver(writer, "2", now=105.0)
    assert asking(writer) == [("ARCHIVE", "all", "waiting", 100.0, 115.0, 0, "")]


def test_asking_is_not_put_off_for_ever(writer: IndexWriter) -> None:
    for second in range(100, 300, 5):
        deliver(writer, str(second), now=float(second))
    assert asking(writer) == [("ARCHIVE", "all", "waiting", 100.0, 200.0, 0, "")]


def test_nobody_is_asked_about_what_no_rule_wants_committed(writer: IndexWriter) -> None:
    deliver(writer, "1", now=100.0, commit=False)
    assert asking(writer) == []
    assert writer.connection.execute("SELECT sop_class_uid, delivered_at FROM deliveries").fetchall() == [(CT, 100.0)]


def test_every_rule_and_destination_is_asked_by_itself(writer: IndexWriter) -> None:
    deliver(writer, "1", now=100.0)
    deliver(writer, "1", now=100.0, destination="OTHER")
    deliver(writer, "2", now=100.0, rule="ct")
    assert {job[:2] for job in asking(writer)} == {("ARCHIVE", "all"), ("OTHER", "all"), ("ARCHIVE", "ct")}


def test_what_is_delivered_again_is_asked_about_again(writer: IndexWriter) -> None:
    deliver(writer, "1", now=100.0)
    with writer.transaction():
        writer.connection.execute("UPDATE deliveries SET committed_at = 120, failure_reason = 1, resent = 2")
        writer.connection.execute("DELETE FROM jobs")
    deliver(writer, "1", now=130.0)
    columns = "delivered_at, asked, committed_at, failure_reason, resent"
    assert writer.connection.execute(f"SELECT {columns} FROM deliveries").fetchall() == [(130.0, None, None, None, 2)]
    assert len(asking(writer)) == 1


def test_a_rule_that_wants_no_commitment_takes_nothing_from_one_that_does(writer: IndexWriter) -> None:
    deliver(writer, "1", now=100.0)
    deliver(writer, "1", now=101.0, rule="copies", commit=False)
    assert writer.connection.execute("SELECT rule, wants_commitment FROM deliveries").fetchall() == [("all", 1)]
    assert asking(writer) == [("ARCHIVE", "all", "waiting", 100.0, 111.0, 0, "")]


def test_more_deliveries_leave_who_is_asking_alone(writer: IndexWriter) -> None:
    """Its end looks at what has come meanwhile; taking its lease away would make it ask twice."""
    deliver(writer, "1", now=100.0)
    change_job(writer, "state = 'running', lease = 'other'")
    deliver(writer, "2", now=120.0)
    assert asking(writer) == [("ARCHIVE", "all", "running", 100.0, 110.0, 0, "")]


def test_a_question_that_fails_keeps_its_words_and_is_asked_soon_when_the_destination_takes_more(
    writer: IndexWriter,
) -> None:
    deliver(writer, "1", now=100.0)
    change_job(writer, "attempts = 3, last_error = 'refused', due_at = 3000")
    deliver(writer, "2", now=120.0)
    assert asking(writer) == [("ARCHIVE", "all", "waiting", 100.0, 220.0, 3, "refused")]


def test_a_question_that_waits_for_a_result_does_not_keep_later_deliveries_waiting(writer: IndexWriter) -> None:
    deliver(writer, "1", now=100.0)
    change_job(writer, "last_error = 'no result yet', due_at = 3000")
    deliver(writer, "2", now=500.0)
    assert asking(writer) == [("ARCHIVE", "all", "waiting", 500.0, 510.0, 0, "")]


def test_a_question_that_was_given_up_begins_anew_with_the_next_delivery(writer: IndexWriter) -> None:
    deliver(writer, "1", now=100.0)
    change_job(writer, "state = 'dead', attempts = 9, last_error = 'refused'")
    deliver(writer, "2", now=500.0)
    assert asking(writer) == [("ARCHIVE", "all", "waiting", 500.0, 510.0, 0, "")]
