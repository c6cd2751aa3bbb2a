"""Windows of time: what is written, when they are open, and what becomes of them when the clock is changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacslite.archive.time_window import TimeWindow, time_window

_DAY = 1440


class _SummerTime(tzinfo):
    """An hour ahead between two moments: at the first 02:00 becomes 03:00, at the second 03:00 becomes 02:00."""

    begins = datetime(2025, 3, 30, 1)  # UTC
    ends = datetime(2025, 10, 26, 1)

    def fromutc(self, moment: datetime) -> datetime:
        naive = moment.replace(tzinfo=None)
        is_summer = self.begins <= naive < self.ends
        wall = moment + timedelta(hours=2 if is_summer else 1)
        is_second = self.ends <= naive < self.ends + timedelta(hours=1)
        return wall.replace(fold=int(is_second))

    def utcoffset(self, wall: datetime | None) -> timedelta:
        assert wall is not None
        naive = wall.replace(tzinfo=None, fold=0)
        begins, ends = self.begins + timedelta(hours=1), self.ends + timedelta(hours=2)
        is_summer = begins <= naive < ends and not (wall.fold and naive >= ends - timedelta(hours=1))
        return timedelta(hours=2 if is_summer else 1)

    def dst(self, wall: datetime | None) -> timedelta:
        return self.utcoffset(wall) - timedelta(hours=1)

    def tzname(self, wall: datetime | None) -> str:
        return "summer" if self.dst(wall) else "winter"


_SUMMER_TIME = _SummerTime()
_ZONES = st.one_of(
    st.just(_SUMMER_TIME), st.integers(-14 * 4, 14 * 4).map(lambda n: timezone(timedelta(minutes=15 * n)))
)
_MINUTES = st.integers(0, _DAY - 1)
_WINDOWS = (
    st.tuples(_MINUTES, st.integers(0, _DAY)).filter(lambda both: both[0] != both[1]).map(lambda b: TimeWindow(*b))
)
_NEAR_A_CHANGE = st.sampled_from([_SummerTime.begins, _SummerTime.ends]).flatmap(
    lambda change: st.integers(-2 * 86400, 2 * 86400).map(lambda s: change.replace(tzinfo=UTC).timestamp() + s)
)
_MOMENTS = st.one_of(_NEAR_A_CHANGE, st.integers(1_700_000_000, 1_800_000_000).map(float))


def _at(wall: str, zone: tzinfo = UTC) -> float:
    return datetime.fromisoformat(wall).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("22:00-06:00", TimeWindow(1320, 360)),
        ("06:30-18:00", TimeWindow(390, 1080)),
        ("18:00-24:00", TimeWindow(1080, 1440)),
        ("18:00-00:00", TimeWindow(1080, 0)),
        ("00:00-24:00", TimeWindow(0, 1440)),
        ("", TimeWindow(0, 1440)),
    ],
)
def test_a_window_is_two_times_of_day(text: str, window: TimeWindow) -> None:
    assert TimeWindow.parse(text) == time_window(text) == window


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("25:00-06:00", "25:00 is no time of day"),
        ("22:00-06:60", "06:60 is no time of day"),
        ("22:00-24:01", "24:01 is no time of day"),
        ("24:00-06:00", "write 00:00"),
        ("22:00-22:00", "leave it empty for always"),
        ("22-6", "not two times of day"),
        ("22:00-06:00\n", "not two times of day"),
        ("٢٢:00-06:00", "not two times of day"),
    ],
)
def test_what_is_no_window_is_refused_with_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TimeWindow.parse(text)


@pytest.mark.parametrize(
    ("wall", "is_open"),
    [("21:59:59", False), ("22:00", True), ("23:59:59", True), ("00:00", True), ("05:59:59", True), ("06:00", False)],
)
def test_a_window_over_midnight(wall: str, is_open: bool) -> None:
    assert TimeWindow.parse("22:00-06:00").is_open(_at(f"2025-06-01T{wall}"), UTC) is is_open


@settings(max_examples=40)
@given(_WINDOWS, _MOMENTS, _ZONES)
def test_the_next_opening_is_the_first_open_moment(window: TimeWindow, now: float, zone: tzinfo) -> None:
    opening = window.next_opening(now, zone)
    assert window.is_open(opening, zone)
    assert opening >= now
    assert (opening == now) == window.is_open(now, zone)
    moment = now
    while moment < opening:  # windows, and changes of the clock, begin and end at whole minutes
        assert not window.is_open(moment, zone)
        moment += 60 - moment % 60
    assert moment - 60 < opening <= moment


@given(_MOMENTS, _ZONES)
def test_always_is_always(now: float, zone: tzinfo) -> None:
    assert time_window("").next_opening(now, zone) == now


def test_an_hour_that_does_not_exist_does_not_open() -> None:
    window = TimeWindow.parse("02:15-02:45")
    opening = window.next_opening(_at("2025-03-30T01:00", _SUMMER_TIME), _SUMMER_TIME)
    assert opening == _at("2025-03-31T02:15", _SUMMER_TIME)


def test_a_window_that_begins_in_an_hour_that_does_not_exist_opens_after_it() -> None:
    window = TimeWindow.parse("02:30-06:00")
    opening = window.next_opening(_at("2025-03-30T01:00", _SUMMER_TIME), _SUMMER_TIME)
    assert opening == _at("2025-03-30T03:00", _SUMMER_TIME)


def test_an_hour_that_is_there_twice_opens_twice() -> None:
    window = TimeWindow.parse("02:15-02:45")
    first = window.next_opening(_at("2025-10-26T01:00", _SUMMER_TIME), _SUMMER_TIME)
    second = window.next_opening(first + 45 * 60, _SUMMER_TIME)
    assert second - first == 3600


def test_without_a_zone_it_is_that_of_this_machine() -> None:
    now = 1_750_000_000.0
    wall = datetime.fromtimestamp(now)
    minute = wall.hour * 60 + wall.minute
    assert TimeWindow(minute, (minute + 2) % _DAY).is_open(now)
    assert not TimeWindow((minute + 1) % _DAY, minute).is_open(now)
