"""How much may still be stored: the volume's free space less a reserve, and a quota."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable

from pacslite.archive.settings import MIB, ArchiveSettings
from pacslite.errors import OutOfResources

_VALID_S = 1.0

Count = Callable[[], Awaitable[int | None]]


async def _nobody_else() -> None:
    """The count of an archive that no other process writes to."""


class Space:
    """Accounts for bytes taken but not yet on the disk, so that many objects at once do not all see the same room.

    Used from the event loop only. The volume is asked at most once a second; ``clock`` is monotonic seconds.

    Other processes store and delete as well. ``count`` answers how many bytes are stored if one of them has written
    since it was last called, else None: it is called when a second has passed, and before the quota refuses anything.
    Its answer counts what has been settled by then, and nothing else.
    """

    def __init__(
        self, settings: ArchiveSettings, *, stored_bytes: int, clock: Callable[[], float], count: Count = _nobody_else
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._count = count
        self._counting: asyncio.Task[None] | None = None
        self._stored = stored_bytes
        self._pending = 0  # taken, still in memory
        self._taken = 0  # since the volume was asked, or pending then
        self._free = 0
        self._reserve = 0
        self._asked_at = float("-inf")

    async def take(self, size: int) -> None:
        """Count ``size`` bytes in, or refuse them: :class:`OutOfResources` in words, and nothing is counted."""
        now = self._clock()
        if now - self._asked_at > _VALID_S:
            self._ask(now)
            if self._settings.quota_bytes is not None:
                self._count_again()
        room = self._free - self._reserve - self._taken
        if size > room or room <= 0:
            raise OutOfResources(
                f"No space: {max(0, self._free - self._taken) // MIB} MiB free, {self._reserve // MIB} MiB reserved"
            )
        if self._is_beyond_quota(size):
            await self.recount()
            if self._is_beyond_quota(size):
                raise OutOfResources(f"Quota of {(self._settings.quota_bytes or 0) // MIB} MiB is used up")
        self._taken += size
        self._pending += size

    def settle(self, size: int, *, stored: bool) -> None:
        """``size`` bytes taken before are on the disk for good, or given up."""
        self._pending -= size
        if stored:
            self._stored += size

    def free(self, size: int) -> None:
        """A stored object of ``size`` bytes is gone."""
        self._stored -= size

    async def close(self) -> None:
        """Waits for what was begun."""
        if self._counting is not None:
            await asyncio.wait((self._counting,))

    def full(self) -> None:
        """A write failed for want of room: believe that, and ask again at once."""
        self._asked_at = float("-inf")

    @property
    def free_bytes(self) -> int:
        self._ask(self._clock())
        return self._free

    def _is_beyond_quota(self, size: int) -> bool:
        quota = self._settings.quota_bytes
        used = self._stored + self._pending
        return quota is not None and (used + size > quota or used >= quota)

    async def recount(self) -> None:
        """Look whether others have written, and count anew if so."""
        await asyncio.shield(self._count_again())

    def _count_again(self) -> asyncio.Task[None]:
        """One count at a time; whoever comes meanwhile waits for the same."""
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._counted())
        return self._counting

    async def _counted(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # the index is busy, or cannot be read: what is known stays
            stored = await self._count()
            if stored is not None:
                self._stored = stored

    def _ask(self, now: float) -> None:
        volume = os.statvfs(self._settings.folder)
        self._free = volume.f_bavail * volume.f_frsize
        total = volume.f_blocks * volume.f_frsize
        self._reserve = max(self._settings.min_free_bytes, int(total * self._settings.min_free_percent / 100))
        self._taken = self._pending
        self._asked_at = now
