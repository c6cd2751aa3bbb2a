"""Times of day between which something may be done, such as 22:00-06:00.

The clock on the wall decides, also on days on which it is put forward or back: a window from 02:00 to 03:00 does not
open in a night that has no such hour, and opens twice, or for two hours, in one that has it twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Self

_DAY = 24 * 60
_QUARTER_S = 900.0
_WRITTEN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """From ``begin`` on until before ``end``, in minutes since midnight; over midnight when ``end`` comes first."""

    begin: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``HH:MM-HH:MM``, or nothing, which is always. ValueError says what is wrong."""
        if not text:
            return cls(0, _DAY)
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise ValueError(f'"{text}" is not two times of day such as 22:00-06:00')
        begin_hour, begin_minute, end_hour, end_minute = map(int, written.groups())
        begin, end = _minutes(begin_hour, begin_minute), _minutes(end_hour, end_minute)
        if begin == _DAY:
            raise ValueError(f'"{text}" begins at 24:00; write 00:00')
        if begin == end:
            raise ValueError(f'"{text}" begins when it ends; leave it empty for always')
        return cls(begin, end)

    def is_open(self, now: float, zone: tzinfo | None = None) -> bool:
        """At ``now``, in seconds since 1970-01-01 UTC. Without ``zone`` it is this machine's own."""
        return self._holds(_wall_clock(now, zone))

    def next_opening(self, now: float, zone: tzinfo | None = None) -> float:
        """The first moment from ``now`` on at which it is open: ``now`` itself, if it is."""
        wall = _wall_clock(now, zone)
        while not self._holds(wall):
            midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
            until = (midnight + timedelta(minutes=self.begin) - wall.replace(tzinfo=None)).total_seconds() % (_DAY * 60)
            if _wall_clock(now + until, zone).utcoffset() == wall.utcoffset():
                return now + until
            # The clock is changed until then, which happens at a quarter of an hour: look at each.
            now += min(until, _QUARTER_S - now % _QUARTER_S)
            wall = _wall_clock(now, zone)
        return now

    def _holds(self, wall: datetime) -> bool:
        minute = wall.hour * 60 + wall.minute
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


@lru_cache(maxsize=64)
def time_window(text: str) -> TimeWindow:
    """What ``text`` says, parsed once."""
    return TimeWindow.parse(text)


def _minutes(hour: int, minute: int) -> int:
    if minute > 59 or hour * 60 + minute > _DAY:
        raise ValueError(f"{hour:02}:{minute:02} is no time of day (00:00 to 24:00)")
    return hour * 60 + minute


def _wall_clock(now: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(now, UTC).astimezone(zone)
