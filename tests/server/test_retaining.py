"""Retention while the server runs: a clock that goes wrong deletes nothing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from kit.samples import Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.facts import Fact, RetentionEnded, ignore
from pacslite.server.outbox_settings import DAY_S, RetentionSettings
from pacslite.server.retaining import retaining

ONE = Sample()


@dataclass(slots=True)
class Times:
    """The clock on the wall, and the time that passes."""

    wall: float = field(default_factory=time.time)
    steady: float = 0.0
    ended: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def observe(self, fact: Fact) -> None:
        if isinstance(fact, RetentionEnded):
            self.ended.put_nowait(fact.error)

    async def next_run(self) -> str:
        """What the next run that begins now says of itself."""
        while not self.ended.empty():
            self.ended.get_nowait()
        await self.ended.get()  # it may have begun before
        return await self.ended.get()


async def test_nothing_is_deleted_while_the_clock_is_wrong(tmp_path: Path) -> None:
    settings, times = RetentionSettings(max_age_days=30, check_every_s=0.01), Times()
    async with Archive.open(settings_for(tmp_path), observe=ignore) as archive:
        await put(archive, ONE)
        async with retaining(
            settings, archive, observe=times.observe, clock=lambda: times.wall, steady=lambda: times.steady
        ):
            assert await times.next_run() == ""
            times.wall += 365 * DAY_S
            assert "put forward by 365.0 days" in await times.next_run()
            times.wall -= 365 * DAY_S
            assert await times.next_run() == ""
            assert await archive.read(ONE.instance) is not None
            times.wall += 31 * DAY_S
            times.steady += 31 * DAY_S
            assert await times.next_run() == ""
            assert await archive.read(ONE.instance) is None
