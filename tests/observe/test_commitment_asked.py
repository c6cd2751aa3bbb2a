"""What the log and the figures say about storage commitment that we ask of others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pacslite.facts import (
    CommitmentAnswered,
    CommitmentAsked,
    CommitmentOverdue,
    CommitmentRefused,
    CommitmentUnexpected,
    Peer,
)
from pacslite.observe.log import LogObserver
from pacslite.observe.metrics import Metrics

UID = "1.3.12.2.1107.5.1.4.99999.30000018120"
HASH = "#" + hashlib.sha256(UID.encode()).hexdigest()[:10]
PEER = Peer(association=7, address="10.1.2.3", port=50123, calling_ae="ARCHIVE", called_ae="PACSLITE")
ASKED = CommitmentAsked(destination="ARCHIVE", rule="all", transaction=UID, instances=12)
ANSWERED = CommitmentAnswered(
    peer=PEER, destination="ARCHIVE", transaction=UID, committed=12, resent=0, refused=0, seconds=2.5
)
REFUSED = CommitmentRefused(destination="ARCHIVE", sop_instance=UID, failure_reason=0x0112, resent=3)
UNEXPECTED = CommitmentUnexpected(peer=PEER, transaction=UID, why="not ours")

Log = tuple[LogObserver, list[logging.LogRecord]]


@pytest.fixture
def log() -> Iterator[Log]:
    logger, records = logging.getLogger("test.commitment"), list[logging.LogRecord]()

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keeping()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield LogObserver(logger=logger), records
    logger.removeHandler(handler)


def test_what_was_asked_and_answered_is_a_line_each(log: Log) -> None:
    observer, records = log
    for fact in (ASKED, ANSWERED, replace(ANSWERED, committed=1, resent=2, refused=3)):
        observer(fact)
    assert [(record.levelno, record.getMessage()) for record in records] == [
        (logging.INFO, f"ARCHIVE asked to commit to 12 objects of rule all, transaction {HASH}"),
        (
            logging.INFO,
            f"ARCHIVE@10.1.2.3:50123 > PACSLITE [7] result of transaction {HASH} after 2.5 s: "
            "ARCHIVE has committed to 12 objects",
        ),
        (
            logging.WARNING,
            f"ARCHIVE@10.1.2.3:50123 > PACSLITE [7] result of transaction {HASH} after 2.5 s: "
            "ARCHIVE has committed to 1 object, not to 2 that will be sent again, not to 3 that will not",
        ),
    ]


def test_what_nobody_will_do_anything_about_is_an_error_with_its_reason(log: Log) -> None:
    observer, records = log
    observer(REFUSED)
    (record,) = records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        f"ARCHIVE does not commit to {HASH} (Failure Reason 0112), sent again 3 times; see pacslite jobs"
    )


def test_silence_is_a_warning_and_an_error_once_it_is_given_up(log: Log) -> None:
    observer, records = log
    overdue = CommitmentOverdue(destination="ARCHIVE", rule="all", instances=2, given_up=False)
    observer(overdue)
    observer(replace(overdue, given_up=True))
    words = "ARCHIVE has not told whether it commits to 2 objects of rule all"
    assert [(record.levelno, record.getMessage()) for record in records] == [
        (logging.WARNING, f"{words}: asked anew"),
        (logging.ERROR, f"{words}: given up; see pacslite jobs"),
    ]


def test_a_result_that_nobody_waits_for_is_a_warning(log: Log) -> None:
    observer, records = log
    observer(UNEXPECTED)
    (record,) = records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith(f"result of transaction {HASH}: not ours")


def test_figures() -> None:
    metrics = Metrics()
    for fact in (ASKED, ANSWERED, replace(ANSWERED, committed=1, resent=2, refused=3)):
        metrics(fact)
    text = metrics.render().decode()
    for figure, value in (
        ('asked_total{destination="ARCHIVE"}', 12),
        ('answered_total{destination="ARCHIVE",outcome="committed"}', 13),
        ('answered_total{destination="ARCHIVE",outcome="resent"}', 2),
        ('answered_total{destination="ARCHIVE",outcome="refused"}', 3),
    ):
        assert f"pacslite_commitment_{figure} {value}.0\n" in text
