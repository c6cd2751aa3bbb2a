"""How long to leave alone what fails: twice as long each time, and varied, so that not all come back at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

K = TypeVar("K")

_MOST_DOUBLINGS: Final = 60
VARIED_TO: Final = 1.25
"""At most so many times as long as it would be; at least three quarters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Seconds from one attempt to the next: ``first_s`` after the first failure, ``most_s`` after many."""

    first_s: float
    most_s: float
    random: Callable[[], float]
    """From 0 to 1."""

    def after(self, failures: int) -> float:
        usual = min(self.first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), self.most_s)
        return usual * (0.75 + 0.5 * self.random())


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Failures without a success between them."""

    failures: int
    since: float
    last_at: float
    until: float
    """When it is tried again."""


class BackOffs(Generic[K]):
    """Which of several fail at the moment. Times are given by the caller."""

    def __init__(self, delays: Delays) -> None:
        self._delays = delays
        self._streaks: dict[K, Streak] = {}

    def failed(self, key: K, *, began_at: float, now: float) -> tuple[Streak, bool]:
        """An attempt that was begun at ``began_at`` has failed; and whether that is news. Several at a time are one."""
        last = self._streaks.get(key)
        if last is not None and began_at <= last.last_at <= now:
            return last, False
        failures = 1 if last is None else last.failures + 1
        since = now if last is None else min(last.since, now)
        streak = Streak(failures=failures, since=since, last_at=now, until=now + self._delays.after(failures))
        self._streaks[key] = streak
        return streak, True

    def until(self, key: K, now: float) -> float:
        """When it may be tried again; ``now`` if it may. A clock that was put back does not make it wait longer."""
        streak = self._streaks.get(key)
        if streak is None or streak.until > now + self._delays.most_s * VARIED_TO:
            return now
        return max(streak.until, now)

    def succeeded(self, key: K) -> Streak | None:
        """The failures that have come to an end."""
        return self._streaks.pop(key, None)

    def forget(self, key: K | None = None) -> None:
        """Try it again now, or all of them; how often it failed is not forgotten."""
        for one in list(self._streaks) if key is None else [key]:
            if one in self._streaks:
                self._streaks[one] = replace(self._streaks[one], until=self._streaks[one].last_at)
