"""What the log and the figures say about retrievals."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pacslite.facts import Peer, RetrievalServed, SubOperationFailed
from pacslite.observe.log import LogObserver
from pacslite.observe.metrics import Metrics

INSTANCE = "1.3.12.2.1107.5.1.4.99999.30000018120"
HASH = "#" + hashlib.sha256(INSTANCE.encode()).hexdigest()[:10]
PEER = Peer(association=7, address="10.1.2.3", port=50123, calling_ae="WS1", called_ae="PACSLITE")
SERVED = RetrievalServed(
    peer=PEER,
    command="C-MOVE-RQ",
    model="Study Root",
    level="STUDY",
    destination="WS2",
    objects=5,
    completed=5,
    warning=0,
    failed=0,
    converted=2,
    bytes=2_500_000,
    outcome="complete",
    reason="",
    seconds=0.25,
)
FAILED = SubOperationFailed(
    peer=PEER, destination="WS2", sop_instance=INSTANCE, reason="refused with A700", damaged=False
)


@pytest.fixture
def log() -> Iterator[tuple[LogObserver, list[logging.LogRecord]]]:
    logger, records = logging.getLogger("test.retrievals"), list[logging.LogRecord]()

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keeping()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield LogObserver(logger=logger), records
    logger.removeHandler(handler)


def test_a_retrieval_is_one_line(log: tuple[LogObserver, list[logging.LogRecord]]) -> None:
    observer, (records) = log
    observer(SERVED)
    (record,) = records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (
        "WS1@10.1.2.3:50123 > PACSLITE [7] C-MOVE, Study Root, STUDY level, to WS2: "
        "5 of 5 objects sent, 2 of them converted, 2.5 MB in 0.2 s"
    )


def test_one_with_failures_says_why(log: tuple[LogObserver, list[logging.LogRecord]]) -> None:
    observer, records = log
    observer(replace(SERVED, completed=2, converted=0, failed=3, reason="refused with A700", outcome="cancelled"))
    (record,) = records
    assert record.levelno == logging.WARNING
    assert "2 of 5 objects sent, 3 failed (refused with A700), cancelled, " in record.getMessage()


def test_only_what_the_archive_is_to_blame_for_is_a_line_of_its_own(
    log: tuple[LogObserver, list[logging.LogRecord]],
) -> None:
    observer, records = log
    observer(FAILED)
    observer(replace(FAILED, damaged=True, reason="its file is 10 bytes short"))
    assert [record.levelno for record in records] == [logging.DEBUG, logging.ERROR]
    assert f"{HASH} not sent to WS2: its file is 10 bytes short; see pacslite fsck" in records[1].getMessage()
    assert all(INSTANCE not in record.getMessage() for record in records)


def test_figures() -> None:
    metrics = Metrics()
    metrics(SERVED)
    metrics(replace(SERVED, completed=1, failed=4))
    metrics(FAILED)
    metrics(replace(FAILED, damaged=True))
    labels = {"command": "C-MOVE"}
    value = metrics.registry.get_sample_value
    assert value("pacslite_sub_operations_total", {**labels, "outcome": "completed"}) == 6
    assert value("pacslite_sub_operations_total", {**labels, "outcome": "failed"}) == 4
    assert value("pacslite_retrieved_bytes_total", labels) == 5_000_000
    assert value("pacslite_objects_unreadable_total") == 1
