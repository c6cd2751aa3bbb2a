"""Retention as the server does it: at its start, and from time to time.

What a study's age is, the clock on the wall says. One that is put forward by a year makes everything old, and what is
deleted for that does not come back when it is put right. So nothing is deleted while it is further ahead than the time
that has passed since the server started. That there is a reason for it, somebody says by starting the server again.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Final

from pacslite.archive.archive import Archive
from pacslite.archive.retention import Retention, RetentionRules
from pacslite.facts import Observe, RetentionEnded, TaskFailed
from pacslite.server.outbox_settings import DAY_S, RetentionSettings

_AHEAD_AT_MOST_S: Final = DAY_S


def _steady() -> float:
    """Seconds that have passed, those in which the machine was suspended among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def retention_rules(settings: RetentionSettings) -> RetentionRules:
    """[retention], as the archive takes it."""
    return RetentionRules(
        max_age_s=settings.max_age_days * DAY_S,
        high_water_bytes=settings.high_water_bytes,
        low_water_bytes=settings.low_water_bytes,
        delivered_to=settings.delivered_to,
        committed_by=settings.committed_by,
        keep_committed=settings.keep_committed,
    )


@asynccontextmanager
async def retaining(
    settings: RetentionSettings,
    archive: Archive,
    *,
    observe: Observe,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = _steady,
) -> AsyncIterator[None]:
    """While the block runs, what need not be kept goes; what is under way when it ends comes to its end."""
    rules = retention_rules(settings)
    if not rules.is_any:
        yield
        return
    retention, started = Retention(archive, rules, observe=observe, clock=clock), clock() - steady()
    task = asyncio.create_task(_retain(retention, settings, observe, lambda: clock() - steady() - started))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _retain(
    retention: Retention, settings: RetentionSettings, observe: Observe, ahead_s: Callable[[], float]
) -> None:
    while True:
        if (ahead := ahead_s()) > _AHEAD_AT_MOST_S:
            observe(_not_done(settings, ahead))
            await asyncio.sleep(settings.check_every_s)
            continue
        try:
            # The index is busy or the disk fails: the run has told it, and the next one may do better.
            with contextlib.suppress(OSError, sqlite3.Error):
                async with aclosing(retention.run(dry_run=settings.dry_run)) as decisions:
                    async for _ in decisions:
                        pass
        except Exception as error:  # a defect here must not end what comes later
            observe(TaskFailed(where="retention", error=repr(error), trace="".join(traceback.format_exception(error))))
        await asyncio.sleep(settings.check_every_s)


def _not_done(settings: RetentionSettings, ahead_s: float) -> RetentionEnded:
    return RetentionEnded(
        dry_run=settings.dry_run,
        studies=0,
        instances=0,
        bytes=0,
        kept=(),
        above_bytes=0,
        error=f"the clock was put forward by {ahead_s / DAY_S:.1f} days: if that is right, start anew",
        seconds=0.0,
    )
