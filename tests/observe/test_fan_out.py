"""Several observers behind one."""

from __future__ import annotations

import logging

import pytest

from pacslite.facts import CertificatesReloaded, Fact, ListenerOpened
from pacslite.observe.fan_out import fan_out

FACT = ListenerOpened(host="", port=1, tls=False)


def fail(fact: Fact) -> None:
    raise ValueError("a defect in an observer")


def test_every_observer_is_told_in_order() -> None:
    told: list[tuple[str, Fact]] = []
    fan_out(lambda fact: told.append(("a", fact)), lambda fact: told.append(("b", fact)))(FACT)
    assert told == [("a", FACT), ("b", FACT)]


def test_one_that_fails_does_not_keep_the_fact_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Fact] = []
    observe = fan_out(fail, told.append)
    observe(FACT)
    assert told == [FACT]
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.ERROR,
        "an observer failed on ListenerOpened; this is logged once",
    )
    assert record.exc_info is not None


def test_the_same_failure_is_logged_once_and_another_one_again(caplog: pytest.LogCaptureFixture) -> None:
    observe = fan_out(fail)
    for _ in range(100):
        observe(FACT)
    observe(CertificatesReloaded(listeners=1))
    assert len(caplog.records) == 2


def test_nobody_may_listen() -> None:
    fan_out()(FACT)
