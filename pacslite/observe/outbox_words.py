"""The words of the log for what happens to work that is owed to others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pacslite import facts
from pacslite.observe.lines import clean

Words = Callable[[Any, Callable[[str], str]], tuple[int, str]]
"""From a fact, and a mask for text, the level of its line and the line."""


def job_failed(fact: facts.JobFailed, mask: Callable[[str], str]) -> tuple[int, str]:
    """A round of forwards has a line of its own with the reasons of all its objects, a destination that fails one for
    all of its jobs."""
    level = logging.DEBUG if fact.kind == "forward" or fact.with_others else logging.WARNING
    return level, f"{_job(fact)} failed, attempt {fact.attempts}: {mask(clean(fact.reason))}"


def job_given_up(fact: facts.JobGivenUp, mask: Callable[[str], str]) -> tuple[int, str]:
    why = mask(clean(fact.reason))
    advice = f"see pacslite jobs show {fact.job}, pacslite jobs retry {fact.job}"
    return logging.ERROR, f"{_job(fact)} given up after {fact.attempts} attempts: {why}; {advice}"


def jobs_given_up(fact: facts.JobsGivenUp, mask: Callable[[str], str]) -> tuple[int, str]:
    who = f"{clean(fact.destination)} ({clean(fact.rule) or fact.kind})"
    why = mask(clean(fact.reason))
    return logging.ERROR, f"{who}: {fact.jobs} jobs given up: {why}; see pacslite jobs ls --state dead"


def destination_failed(fact: facts.DestinationFailed, mask: Callable[[str], str]) -> tuple[int, str]:
    again = f"tried again in {fact.retry_in_s:.0f} s"
    fails = "fails" if fact.failures == 1 else f"has failed {fact.failures} times"
    what = f"{clean(fact.destination)} {fails} ({fact.kind}): {mask(clean(fact.reason))}"
    return logging.WARNING, f"{what}; {again}"


def destination_recovered(fact: facts.DestinationRecovered, mask: Callable[[str], str]) -> tuple[int, str]:
    times = "1 failure" if fact.failures == 1 else f"{fact.failures} failures"
    return logging.INFO, f"{clean(fact.destination)} works again, {fact.seconds:.0f} s and {times} later"


def round_ended(fact: facts.RoundEnded, mask: Callable[[str], str]) -> tuple[int, str]:
    who = " ".join(filter(None, (fact.kind, clean(fact.destination), clean(fact.rule))))
    what = f"{fact.done} done, {fact.failed} failed, {fact.given_back} given back"
    return logging.DEBUG, f"round of {who}: {what} in {fact.seconds:.1f} s"


def _job(fact: facts.JobFailed | facts.JobGivenUp) -> str:
    to = f" to {clean(fact.destination)}" if fact.destination else ""
    return f"job {fact.job} ({fact.kind}{to})"


OUTBOX_WORDS: dict[type[facts.Fact], Words] = {
    facts.JobFailed: job_failed,
    facts.JobGivenUp: job_given_up,
    facts.JobsGivenUp: jobs_given_up,
    facts.DestinationFailed: destination_failed,
    facts.DestinationRecovered: destination_recovered,
    facts.RoundEnded: round_ended,
}
