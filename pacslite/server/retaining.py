"""Retention as the server does it: at its start, and from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pacslite.archive.archive import Archive
from pacslite.archive.retention import Retention, RetentionRules
from pacslite.facts import Observe, TaskFailed
from pacslite.server.outbox_settings import DAY_S, RetentionSettings


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
async def retaining(settings: RetentionSettings, archive: Archive, *, observe: Observe) -> AsyncIterator[None]:
    """While the block runs, what need not be kept goes; what is under way when it ends comes to its end."""
    rules = retention_rules(settings)
    if not rules.is_any:
        yield
        return
    task = asyncio.create_task(_retain(Retention(archive, rules, observe=observe), settings, observe))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _retain(retention: Retention, settings: RetentionSettings, observe: Observe) -> None:
    while True:
        try:
            # The index is busy or the disk fails: the run has told it, and the next one may do better.
            with contextlib.suppress(OSError, sqlite3.Error):
                async with aclosing(retention.run(dry_run=settings.dry_run)) as decisions:
                    async for _ in decisions:
                        pass
        except Exception as error:  # a defect here must not end what comes later
            observe(TaskFailed(where="retention", error=repr(error), trace="".join(traceback.format_exception(error))))
        await asyncio.sleep(settings.check_every_s)
