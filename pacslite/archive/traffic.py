"""Whether objects are coming in just now: work that can wait leaves the machine to them."""

from __future__ import annotations

import time
from typing import Final

_JUST_NOW_S: Final = 0.1


class Traffic:
    """Kept by whoever takes objects in."""

    __slots__ = ("_came_at",)

    def __init__(self) -> None:
        self._came_at = -_JUST_NOW_S

    def came(self) -> None:
        """Bytes of an object came."""
        self._came_at = time.monotonic()

    @property
    def is_heavy(self) -> bool:
        """Whether some came just now: a sender at full speed does not pause for so long."""
        return time.monotonic() - self._came_at < _JUST_NOW_S
