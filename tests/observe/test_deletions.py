"""Deletions and retention, as a line and as figures."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from pacslite.facts import ObjectsDeleted, RetentionEnded
from pacslite.observe.log import LogObserver
from pacslite.observe.metrics import Metrics

DELETED = ObjectsDeleted(
    level="series",
    study="1.2.3",
    series="1.2.4",
    sop_instance="",
    deleted_by="anna",
    forced=False,
    completed=True,
    instances=12,
    conflicts=0,
    bytes=6_000_000,
    forwards=0,
    seconds=0.25,
)
ENDED = RetentionEnded(
    dry_run=False,
    studies=2,
    instances=700,
    bytes=350_000_000,
    kept=(("still to be forwarded", 1), ("committed to by us", 3)),
    above_bytes=0,
    error="",
    seconds=1.5,
)


def line(caplog: pytest.LogCaptureFixture, fact: ObjectsDeleted | RetentionEnded) -> tuple[int, str]:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="pacslite"):
        LogObserver(mask_phi=False)(fact)
    (record,) = caplog.records
    return record.levelno, record.getMessage()


def test_a_deletion_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    assert line(caplog, DELETED) == (logging.INFO, "anna deleted series 1.2.4: 12 objects, 6.0 MB in 0.2 s")
    forced = replace(DELETED, forced=True, forwards=1, conflicts=2)
    assert line(caplog, forced) == (
        logging.WARNING,
        "anna deleted series 1.2.4: 12 objects, 2 kept aside, 6.0 MB in 0.2 s, by force; 1 forward given up",
    )
    level, message = line(caplog, replace(DELETED, completed=False))
    assert level == logging.WARNING
    assert message.endswith("broken off, what is left is as it was")


def test_uids_are_masked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="pacslite"):
        LogObserver(mask_phi=True)(DELETED)
    assert "1.2.4" not in caplog.records[0].getMessage()


def test_retention_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    level, message = line(caplog, ENDED)
    assert (level, message) == (
        logging.INFO,
        "retention deleted 2 studies with 700 objects, 350.0 MB, in 1.5 s; 1 study kept, still to be forwarded; "
        "3 studies kept, committed to by us",
    )
    nothing = replace(ENDED, studies=0, instances=0, bytes=0, kept=())
    assert line(caplog, nothing)[0] == logging.DEBUG
    above = replace(nothing, dry_run=True, above_bytes=2_000)
    assert line(caplog, above) == (
        logging.WARNING,
        "retention would delete 0 studies with 0 objects, 0 B, in 1.5 s; still 2.0 kB above the high water mark",
    )
    assert line(caplog, replace(ENDED, error="disk I/O error")) == (
        logging.ERROR,
        "retention broken off: disk I/O error",
    )


def test_figures() -> None:
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    metrics(DELETED)
    metrics(DELETED)
    metrics(replace(ENDED, above_bytes=5))
    assert value("pacslite_instances_deleted_total") == 24
    assert value("pacslite_deleted_bytes_total") == 12_000_000
    assert value("pacslite_retention_above_bytes") == 5
    assert value("pacslite_retention_kept_studies", {"why": "committed to by us"}) == 3
    metrics(replace(ENDED, kept=()))
    assert value("pacslite_retention_kept_studies", {"why": "committed to by us"}) is None
    metrics(replace(ENDED, error="busy", above_bytes=9))
    assert value("pacslite_retention_above_bytes") == 0
