"""Dates and times as keys, PS3.4 C.2.2.2.5 and C.2.2.2.9: QF-14, QF-15, QF-16."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dicom.matching import CombinedRange, Range, SingleValue
from pacslite.dicom.moments import (
    combined,
    date_match,
    date_time_in_range,
    date_time_match,
    date_time_matches_in_zone,
    goes_past_midnight,
    in_combined_range,
    in_range,
    in_utc,
    in_zone,
    matches_in_zone,
    moved,
    time_match,
)
from pacslite.dicom.values import normalise_date, normalise_date_time, normalise_time

DAY_END = "235960.999999"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("20200229", SingleValue("20200229")),
        (" 20200229 ", SingleValue("20200229")),
        ("1997.04.24", SingleValue("19970424")),
        ("20200101-20200131", Range("20200101", "20200131")),
        ("20200101-20200101", Range("20200101", "20200101")),
        ("20200101 - 20200131", Range("20200101", "20200131")),
        ("-20200131", Range("", "20200131")),
        ("20200101-", Range("20200101", "")),
        ("20200101- ", Range("20200101", "")),
        ("1997.04.24-1998.04.24", Range("19970424", "19980424")),
        ("1997-04-24", SingleValue("19970424")),
        ("1997-04-24-1998-04-24", Range("19970424", "19980424")),
        ("-", None),
        ("--", None),
        ("20200131-20200101", None),
        ("20200101-20200131-20200202", None),
        ("20200101--20200131", None),
        ("20210229", None),
        ("20210229-", None),
        ("202002", None),
        ("2020", None),
        ("20200101-x", None),
        ("today", None),
        ('""', None),
        ("-" * 1000, None),
    ],
)
def test_date_keys(text: str, match: object) -> None:
    """QF-14."""
    assert date_match(text) == match


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("2230", SingleValue("223000.000000")),
        ("223000", SingleValue("223000.000000")),
        ("22", SingleValue("220000.000000")),
        ("10:20:30", SingleValue("102030.000000")),
        ("1000-1200", Range("100000.000000", "120060.999999")),
        ("10-12", Range("100000.000000", "125960.999999")),
        ("-10", Range("", "105960.999999")),
        ("-1030", Range("", "103060.999999")),
        ("-103015", Range("", "103015.999999")),
        ("-103015.5", Range("", "103015.599999")),
        ("-103015.123456", Range("", "103015.123456")),
        ("1030-", Range("103000.000000", "")),
        ("10:20:30-11:00", Range("102030.000000", "110060.999999")),
        ("1030-1030", Range("103000.000000", "103060.999999")),
        ("2200-0600", Range("220000.000000", "060060.999999")),
        ("-", None),
        ("2400", None),
        ("1000-2400", None),
        ("1000-x", None),
        ("1000+0100", None),
    ],
)
def test_time_keys(text: str, match: object) -> None:
    """QF-14: an end with parts left out reaches to the end of what it names, a leap second included."""
    assert time_match(text) == match


def test_only_a_range_that_ends_before_it_begins_goes_past_midnight() -> None:
    assert goes_past_midnight(Range("220000.000000", "060060.999999"))
    assert not goes_past_midnight(Range("060000.000000", "220060.999999"))
    assert not goes_past_midnight(Range("220000.000000", ""))
    assert not goes_past_midnight(Range("", "060060.999999"))
    assert not goes_past_midnight(SingleValue("220000.000000"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("20200229103015.25", Range("20200229103015.250000", "20200229103015.259999")),
        ("20200229103015", Range("20200229103015.000000", "20200229103015.999999")),
        ("202002291030", Range("20200229103000.000000", "20200229103060.999999")),
        ("2020022910", Range("20200229100000.000000", "20200229105960.999999")),
        ("20200229", Range("20200229000000.000000", f"20200229{DAY_END}")),
        ("202002", Range("20200201000000.000000", f"20200229{DAY_END}")),
        ("202102", Range("20210201000000.000000", f"20210228{DAY_END}")),
        ("202112", Range("20211201000000.000000", f"20211231{DAY_END}")),
        ("2020", Range("20200101000000.000000", f"20201231{DAY_END}")),
        ("20200101120000-0500", Range("20200101120000.000000-0500", "20200101120000.999999-0500")),
        ("20200101120000+1345", Range("20200101120000.000000+1345", "20200101120000.999999+1345")),
        ("2020-0500", Range("20200101000000.000000-0500", f"20201231{DAY_END}-0500")),
        ("2019-2020", Range("20190101000000.000000", f"20201231{DAY_END}")),
        ("202001-202002", Range("20200101000000.000000", f"20200229{DAY_END}")),
        ("-2020", Range("", f"20201231{DAY_END}")),
        ("2020-", Range("20200101000000.000000", "")),
        ("20200101120000-0500-", Range("20200101120000.000000-0500", "")),
        ("-20200101120000-0500", Range("", "20200101120000.999999-0500")),
        ("2020010112-0500-2020010212+0100", Range("20200101120000.000000-0500", "20200102125960.999999+0100")),
        ("20200101-0500-20200102", Range("20200101000000.000000-0500", f"20200102{DAY_END}")),
        ("2020010112+0000-2020010112-0500", Range("20200101120000.000000+0000", "20200101125960.999999-0500")),
        ("2020010112-0500-2020010112+0000", None),
        ("2020-2019", None),
        ("-", None),
        ("202013", None),
        ("20200101120000-1300", None),
    ],
)
def test_date_time_keys(text: str, match: object) -> None:
    """QF-14: a hyphen begins an offset where what it ends is one DT, else it joins the ends of a range."""
    assert date_time_match(text) == match


moments = st.datetimes(min_value=datetime(1800, 1, 2), max_value=datetime(9000, 12, 30))
zones = st.integers(-12 * 60, 14 * 60)


def written(moment: datetime, minutes: int | None = None) -> str:
    sign, size = "-" if (minutes or 0) < 0 else "+", abs(minutes or 0)
    offset = "" if minutes is None else f"{sign}{size // 60:02}{size % 60:02}"
    return f"{moment:%Y%m%d%H%M%S.%f}".zfill(21) + offset


@given(moments, moments, moments)
def test_ranges_of_dates_and_times_mean_what_datetime_means(one: datetime, other: datetime, moment: datetime) -> None:
    first, last = sorted((one, other))
    days = date_match(f"{written(first)[:8]}-{written(last)[:8]}")
    assert isinstance(days, Range)
    assert in_range(days, written(moment)[:8]) == (first.date() <= moment.date() <= last.date())
    clock = sorted((one.time(), other.time()))
    times = time_match("-".join(f"{end:%H%M%S.%f}" for end in clock))
    assert isinstance(times, Range)
    assert in_range(times, f"{moment:%H%M%S.%f}") == (clock[0] <= moment.time() <= clock[1])


@given(moments, zones, moments, zones, moments, zones)
def test_ranges_with_offsets_compare_in_utc(
    first: datetime, first_zone: int, last: datetime, last_zone: int, moment: datetime, zone: int
) -> None:
    def at(clock: datetime, minutes: int) -> datetime:
        return clock.replace(tzinfo=timezone(timedelta(minutes=minutes)))

    match = date_time_match(f"{written(first, first_zone)}-{written(last, last_zone)}")
    if at(first, first_zone) > at(last, last_zone):
        assert match is None
        return
    assert match is not None
    inside = at(first, first_zone) <= at(moment, zone) <= at(last, last_zone)
    assert date_time_in_range(match, normalise_date_time(written(moment, zone))) == inside


def test_without_an_offset_on_one_side_clocks_are_compared() -> None:
    match = date_time_match("20200101120000-0500")
    assert match is not None
    assert date_time_in_range(match, normalise_date_time("20200101120000"))
    assert date_time_in_range(match, normalise_date_time("20200101170000+0000"))
    assert not date_time_in_range(match, normalise_date_time("20200101170000"))
    assert not date_time_in_range(match, normalise_date_time("20200101120000+0000"))
    assert not date_time_in_range(match, "")


@given(moments, zones)
def test_moving_is_what_datetime_does(moment: datetime, minutes: int) -> None:
    assert moved(written(moment), minutes) == written(moment + timedelta(minutes=minutes))
    assert in_utc(written(moment, minutes)) == written(moment - timedelta(minutes=minutes))


def test_moving_keeps_leap_seconds_and_stays_within_the_calendar() -> None:
    assert moved("20161231235960.500000", 60) == "20170101005960.500000"
    assert moved("00010101000000.000000", -1) == "00010101000000.000000"
    assert moved("99991231235900.000000", 1) == "99991231235900.000000"


# --- Date and time as one interval -----------------------------------------------------------------------------------


def interval(dates: str, times: str) -> tuple[str, str] | None:
    days, clocks = date_match(dates), time_match(times)
    assert days is not None
    assert clocks is not None
    found = combined(days, clocks, time_tag=0x00080030)
    return None if found is None else (found.first, found.last)


@pytest.mark.parametrize(
    ("dates", "times", "ends"),
    [
        ("20200101-20200103", "2200-0600", ("20200101220000.000000", "20200103060060.999999")),
        ("20060705-20060707", "1000-1800", ("20060705100000.000000", "20060707180060.999999")),
        ("20200101", "1000-1200", ("20200101100000.000000", "20200101120060.999999")),
        ("20200101", "1000-", ("20200101100000.000000", f"20200101{DAY_END}")),
        ("20200101", "-1000", ("20200101000000.000000", "20200101100060.999999")),
        ("20200101-", "1000-", ("20200101100000.000000", "")),
        ("-20200101", "-1000", ("", "20200101100060.999999")),
        ("20200101-20200103", "1000-", None),
        ("20200101-20200103", "-1000", None),
        ("20200101-", "-1000", None),
        ("-20200103", "1000-", None),
        ("20200101-", "1000-1200", None),
        ("20200101-20200103", "1000", None),
        ("20200101", "1000", None),
    ],
)
def test_what_is_one_interval(dates: str, times: str, ends: tuple[str, str] | None) -> None:
    """QF-15: both keys have to be ranges of the same form, and a single date is a range of one day."""
    assert interval(dates, times) == ends


NIGHTS = CombinedRange(time_tag=0x00080030, first="20200101220000.000000", last="20200103060060.999999")


@pytest.mark.parametrize(
    ("day", "clock", "inside"),
    [
        ("20200101", "2159", False),
        ("20200101", "2200", True),
        ("20200102", "1200", True),
        ("20200103", "060059.9", True),
        ("20200103", "0601", False),
        ("20191231", "2300", False),
        ("20200101", "", True),
        ("20200102", "", True),
        ("20200103", "", True),
        ("20200104", "", False),
        ("20191231", "", False),
        ("", "2300", False),
        ("", "", False),
    ],
)
def test_in_one_interval(day: str, clock: str, inside: bool) -> None:
    """QF-15; what has no time may be of any."""
    assert in_combined_range(NIGHTS, day, normalise_time(clock)) is inside


def test_an_open_interval() -> None:
    since = CombinedRange(time_tag=0x00080030, first="20200101220000.000000", last="")
    until = CombinedRange(time_tag=0x00080030, first="", last="20200101220000.000000")
    assert in_combined_range(since, "99991231", "235900.000000")
    assert not in_combined_range(since, "20200101", "210000.000000")
    assert in_combined_range(until, "00010101", "000000.000000")
    assert not in_combined_range(until, "20200101", "230000.000000")


# --- Time zones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "stored_minutes", "wanted_minutes", "there"),
    [
        (("20200102", "030000.000000"), 0, -300, ("20200101", "220000.000000")),
        (("20200228", "230000.000000"), 60, 9 * 60, ("20200229", "070000.000000")),
        (("20200102", "030000.000000"), None, -300, ("20200102", "030000.000000")),
        (("20200102", ""), 0, -300, ("20200102", "")),
        (("", "030000.000000"), 0, -300, ("", "030000.000000")),
    ],
)
def test_in_the_zone_of_the_requester(
    stored: tuple[str, str], stored_minutes: int | None, wanted_minutes: int, there: tuple[str, str]
) -> None:
    """QF-16."""
    assert in_zone(*stored, stored_minutes=stored_minutes, wanted_minutes=wanted_minutes) == there


def test_keys_are_of_the_requesters_clock() -> None:
    """QF-16: 3 o'clock in Greenwich is 22 o'clock of the day before in New York."""

    def found(match: SingleValue | Range | CombinedRange, *, of_time: bool = False) -> bool:
        return matches_in_zone(
            match, date="20200102", time="030000.000000", of_time=of_time, stored_minutes=0, wanted_minutes=-300
        )

    assert found(SingleValue("20200101"))
    assert not found(SingleValue("20200102"))
    assert found(Range("", "20200101"))
    assert not found(Range("20200102", ""))
    assert found(SingleValue("220000.000000"), of_time=True)
    assert found(Range("210000.000000", "230000.000000"), of_time=True)
    assert not found(Range("", "040000.000000"), of_time=True)
    assert found(CombinedRange(time_tag=0, first="20200101210000.000000", last="20200101230000.000000"))
    assert not found(CombinedRange(time_tag=0, first="20200102000000.000000", last=""))


@pytest.mark.parametrize(
    ("wanted", "stored", "stored_minutes", "expected"),
    [
        ("2020010122", "20200102033000", 0, True),  # half past three in Greenwich, 22:30 in New York
        ("2020010222", "20200102033000", 0, False),
        ("2020010122", "20200102033000", None, False),  # of no known zone: clocks are compared
        ("2020010122", "20200101223000", None, True),
        ("2020010122", "20200102123000+0900", 0, True),  # half past twelve in Tokyo, whatever the object says besides
        ("2020010203+0000", "20200102033000", 0, True),
        ("-20200101", "20200102033000", 0, True),
        ("20200102-", "20200102033000", 0, False),
        ("20200102-", "", 0, False),
    ],
)
def test_a_date_time_in_the_zone_of_the_requester(
    wanted: str, stored: str, stored_minutes: int | None, expected: bool
) -> None:
    """QF-16, PS3.5 6.2 DT: its own offset counts before all others."""
    match = date_time_match(wanted)
    assert match is not None
    normal = normalise_date_time(stored)
    found = date_time_matches_in_zone(match, normal, stored_minutes=stored_minutes, wanted_minutes=-300)
    assert found is expected


@given(moments, zones, zones, moments, moments)
def test_zones_mean_what_datetime_means(
    moment: datetime, stored: int, wanted: int, one: datetime, other: datetime
) -> None:
    first, last = sorted((one, other))
    match = CombinedRange(time_tag=0, first=written(first), last=written(last))
    there = moment.replace(tzinfo=timezone(timedelta(minutes=stored))).astimezone(timezone(timedelta(minutes=wanted)))
    text = written(moment)
    assert matches_in_zone(match, date=text[:8], time=text[8:], stored_minutes=stored, wanted_minutes=wanted) == (
        first <= there.replace(tzinfo=None) <= last
    )


@given(st.dates(), st.times())
def test_what_a_single_value_names_is_found_by_it(day: date, clock: time) -> None:
    date_text, time_text = f"{day:%Y%m%d}".zfill(8), f"{clock:%H%M%S.%f}"
    assert date_match(date_text) == SingleValue(normalise_date(date_text))
    assert time_match(time_text) == SingleValue(normalise_time(time_text))
    match = date_time_match(date_text + time_text)
    assert match is not None
    assert date_time_in_range(match, normalise_date_time(date_text + time_text))


def test_utc_is_no_offset() -> None:
    moment = datetime(2020, 1, 1, 12, tzinfo=UTC)
    assert in_utc("20200101140000.000000+0200") == written(moment)
    assert in_utc("20200101120000.000000+0000") == written(moment)
    assert in_utc("20200101120000.000000") == written(moment)
