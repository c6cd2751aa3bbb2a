"""The one place where a test waits: for a condition, within a bound, never for a guess of how long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str, *, within_s: float = 10.0, every_s: float = 0.01) -> T:
    """The first true value of ``condition``; an AssertionError that says ``what`` did not come, after ``within_s``."""
    give_up_at = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= give_up_at:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)
