"""What the log and the figures say about forwards."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pacslite.facts import ForwardNotNeeded, ForwardUnreadable, ObjectsForwarded
from pacslite.observe.log import LogObserver
from pacslite.observe.metrics import Metrics

INSTANCE = "1.3.12.2.1107.5.1.4.99999.30000018120"
HASH = "#" + hashlib.sha256(INSTANCE.encode()).hexdigest()[:10]
FORWARDED = ObjectsForwarded(
    destination="ARCHIVE",
    rule="ct",
    completed=4,
    warning=1,
    failed=0,
    converted=2,
    bytes=2_500_000,
    outcome="complete",
    reason="",
    seconds=0.25,
)
UNREADABLE = ForwardUnreadable(
    destination="ARCHIVE", rule="ct", sop_instance=INSTANCE, reason="its file is 3 bytes short"
)


@pytest.fixture
def log() -> Iterator[tuple[LogObserver, list[logging.LogRecord]]]:
    logger, records = logging.getLogger("test.forwards"), list[logging.LogRecord]()

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keeping()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield LogObserver(logger=logger), records
    logger.removeHandler(handler)


def test_a_round_is_one_line(log: tuple[LogObserver, list[logging.LogRecord]]) -> None:
    observer, records = log
    observer(FORWARDED)
    observer(replace(FORWARDED, failed=3, reason="refused with A700", outcome="connection closed by the peer"))
    good, bad = records
    assert (good.levelno, bad.levelno) == (logging.INFO, logging.WARNING)
    assert good.getMessage() == (
        "ct > ARCHIVE: 5 objects forwarded, 2 of them converted, 1 with a warning, 2.5 MB in 0.2 s"
    )
    assert "3 failed (refused with A700), then connection closed by the peer" in bad.getMessage()


def test_damage_is_an_error_and_what_is_gone_is_not(log: tuple[LogObserver, list[logging.LogRecord]]) -> None:
    observer, records = log
    observer(UNREADABLE)
    observer(ForwardNotNeeded(destination="ARCHIVE", rule="ct", sop_instance=INSTANCE))
    damaged, gone = records
    assert (damaged.levelno, gone.levelno) == (logging.ERROR, logging.INFO)
    assert damaged.getMessage() == f"ct > ARCHIVE: {HASH} not forwarded: its file is 3 bytes short; see pacslite fsck"
    assert HASH in gone.getMessage()
    assert INSTANCE not in gone.getMessage()


def test_figures() -> None:
    metrics = Metrics()
    metrics(FORWARDED)
    metrics(replace(FORWARDED, failed=2))
    metrics(UNREADABLE)
    text = metrics.render().decode()
    for outcome, count in (("completed", 8.0), ("warning", 2.0), ("failed", 2.0)):
        assert f'pacslite_forwards_total{{destination="ARCHIVE",outcome="{outcome}"}} {count}' in text
    assert 'pacslite_forwarded_bytes_total{destination="ARCHIVE"} 5e+06' in text
    assert "pacslite_objects_unreadable_total 1.0" in text
