"""How much may still be stored: the volume's free space less a reserve, and a quota."""

from __future__ import annotations

import os
from collections.abc import Callable

from pacslite.archive.settings import MIB, ArchiveSettings
from pacslite.errors import OutOfResources

_VALID_S = 1.0


class Space:
    """Accounts for bytes taken but not yet on the disk, so that many objects at once do not all see the same room.

    Used from the event loop only. The volume is asked at most once a second; ``clock`` is monotonic seconds.
    """

    def __init__(self, settings: ArchiveSettings, *, stored_bytes: int, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._stored = stored_bytes
        self._pending = 0  # taken, still in memory
        self._taken = 0  # since the volume was asked, or pending then
        self._free = 0
        self._reserve = 0
        self._asked_at = float("-inf")

    def take(self, size: int) -> None:
        """Count ``size`` bytes in, or refuse them: :class:`OutOfResources` in words, and nothing is counted."""
        now = self._clock()
        if now - self._asked_at > _VALID_S:
            self._ask(now)
        room = self._free - self._reserve - self._taken
        if size > room or room <= 0:
            raise OutOfResources(
                f"No space: {max(0, self._free - self._taken) // MIB} MiB free, {self._reserve // MIB} MiB reserved"
            )
        quota = self._settings.quota_bytes
        if quota is not None and (self._stored + self._pending + size > quota or self._stored + self._pending >= quota):
            raise OutOfResources(f"Quota of {quota // MIB} MiB is used up")
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

    def full(self) -> None:
        """A write failed for want of room: believe that, and ask again at once."""
        self._asked_at = float("-inf")

    @property
    def free_bytes(self) -> int:
        self._ask(self._clock())
        return self._free

    def _ask(self, now: float) -> None:
        volume = os.statvfs(self._settings.folder)
        self._free = volume.f_bavail * volume.f_frsize
        total = volume.f_blocks * volume.f_frsize
        self._reserve = max(self._settings.min_free_bytes, int(total * self._settings.min_free_percent / 100))
        self._taken = self._pending
        self._asked_at = now
