"""Dates and times as keys: ranges by meaning (PS3.4 C.2.2.2.5), date and time as one interval, time zones.

Normal forms are those of ``values.py``: strings that compare as what they mean. An end of a range that leaves parts
out reaches to the end of what it names: ``-10`` is until just before eleven, ``-2020`` all of that year.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from pacslite.dicom.matching import CombinedRange, Range, SingleValue
from pacslite.dicom.values import normalise_date, normalise_date_time, normalise_time, utc_offset_minutes

_MAX_LENGTH: Final = 64  # two DT with offsets are 53 characters
_LENGTH: Final = len("YYYYMMDDHHMMSS.FFFFFF")
_MIDNIGHT: Final = "000000.000000"
_LAST_MOMENT: Final = "60.999999"  # a leap second has number 60
_LAST_OF_DAY: Final = f"2359{_LAST_MOMENT}"


# --- From the text of a key to what it asks for ----------------------------------------------------------------------


def date_match(text: str) -> SingleValue | Range | None:
    """A DA key: a date, or ``a-b``, ``a-``, ``-b``. None if it is no such thing."""
    if single := normalise_date(text):
        return SingleValue(single)
    for first, last in _halves(text):
        found = _range(normalise_date(first), normalise_date(last), first=first, last=last)
        if found is not None and _ascends(found):
            return found
    return None


def time_match(text: str) -> SingleValue | Range | None:
    """A TM key: a time, or ``a-b``, ``a-``, ``-b``, where a may be after b: past midnight. None if it is none."""
    if single := normalise_time(text):
        return SingleValue(single)
    for first, last in _halves(text):
        found = _range(normalise_time(first), _last_time(last), first=first, last=last)
        if found is not None:
            return found
    return None


def date_time_match(text: str) -> Range | None:
    """A DT key, always as a range: one moment is one too, of its precision. None if it is none.

    A hyphen may begin an offset or join two ends. What is one DT with its offset is that; else the halves decide.
    """
    text = text.strip(" \0")
    if normalise_date_time(text):
        return Range(normalise_date_time(text), _last_date_time(text))
    for first, last in _halves(text):
        found = _range(normalise_date_time(first), _last_date_time(last), first=first, last=last)
        if found is not None and _ascends(found):
            return found
    return None


def goes_past_midnight(match: SingleValue | Range) -> bool:
    """Whether a TM range ends before it begins, which makes sense only together with dates."""
    return isinstance(match, Range) and not _ascends(match)


def _halves(text: str) -> list[tuple[str, str]]:
    """All ways to see two ends around a hyphen; ends may be padded, one may be missing."""
    text = text.strip(" \0")
    if len(text) > _MAX_LENGTH or text == "-":
        return []
    return [
        (text[:place].strip(), text[place + 1 :].strip()) for place, character in enumerate(text) if character == "-"
    ]


def _range(first_normal: str, last_normal: str, *, first: str, last: str) -> Range | None:
    """The range of two ends, each of which is either missing or has a normal form."""
    if bool(first) != bool(first_normal) or bool(last) != bool(last_normal) or not (first or last):
        return None
    return Range(first_normal, last_normal)


def _ascends(match: Range) -> bool:
    return not match.first or not match.last or _order(match.first, match.last)


def _last_time(text: str) -> str:
    """The last moment of the hour, minute, second or fraction that ``text`` names."""
    normal = normalise_time(text)
    if not normal:
        return ""
    digits = len(re.sub("[^0-9]", "", text))
    return normal[:digits] + _LAST_OF_DAY[digits:] if digits <= 4 else _last_of_second(normal, digits - 6)


def _last_of_second(normal: str, fraction_digits: int) -> str:
    point = normal.index(".") + 1
    return normal[: point + fraction_digits] + "9" * (6 - fraction_digits) if fraction_digits < 6 else normal


def _last_date_time(text: str) -> str:
    """The last moment of the year, month … or fraction that ``text`` names, with the offset it has."""
    normal = normalise_date_time(text)
    if not normal:
        return ""
    clock, offset = normal[:_LENGTH], normal[_LENGTH:]
    digits = len(re.sub("[^0-9]", "", text[: len(text) - len(offset)]))
    match digits:
        case 4:
            return f"{clock[:4]}1231{_LAST_OF_DAY}{offset}"
        case 6:
            return f"{_last_day(clock[:6])}{_LAST_OF_DAY}{offset}"
        case 8 | 10 | 12:
            return f"{clock[:digits]}{_LAST_OF_DAY[digits - 8 :]}{offset}"
        case _:
            return _last_of_second(clock, digits - 14) + offset


def _last_day(month: str) -> str:
    return max(filter(None, (normalise_date(f"{month}{day}") for day in (28, 29, 30, 31))))


# --- Date and time as one interval (C.2.2.2.5.4) ---------------------------------------------------------------------


def combined(dates: SingleValue | Range, times: SingleValue | Range, *, time_tag: int) -> CombinedRange | None:
    """One interval, if both keys have the same ends; else None, and they are matched each for itself."""
    match dates, times:
        case SingleValue(day), Range(first, last):
            return CombinedRange(time_tag=time_tag, first=day + (first or _MIDNIGHT), last=day + (last or _LAST_OF_DAY))
        case Range(), Range() if (not dates.first, not dates.last) == (not times.first, not times.last):
            return CombinedRange(time_tag=time_tag, first=dates.first + times.first, last=dates.last + times.last)
    return None


def in_combined_range(match: CombinedRange, date: str, time: str) -> bool:
    """Whether a date and a time in normal form lie in the interval. Of a date alone, any moment of it may."""
    if not date:
        return False
    earliest = date + (time or _MIDNIGHT)
    latest = date + (time or _LAST_OF_DAY)
    return match.first <= latest and (not match.last or earliest <= match.last)


# --- Time zones (C.2.2.2.9) ------------------------------------------------------------------------------------------


def matches_in_zone(
    match: SingleValue | Range | CombinedRange,
    *,
    date: str,
    time: str,
    of_time: bool = False,
    stored_minutes: int | None,
    wanted_minutes: int,
) -> bool:
    """Whether a stored date and time in normal form match a key of a requester in another time zone.

    The key is of the date, with ``of_time`` of the time, or of both. The offsets from UTC are those of the object and
    of the requester.
    """
    date, time = in_zone(date, time, stored_minutes=stored_minutes, wanted_minutes=wanted_minutes)
    match match:
        case CombinedRange():
            return in_combined_range(match, date, time)
        case SingleValue():
            return (time if of_time else date) == match.value
        case Range():
            return in_range(match, time if of_time else date)


def date_time_matches_in_zone(match: Range, normal: str, *, stored_minutes: int | None, wanted_minutes: int) -> bool:
    """Whether a stored DT in normal form matches the range of a requester in another time zone.

    What names its offset is of that one, an end of the range else of the requester's, the stored value of its object's.
    """
    ends = Range(_with_offset(match.first, wanted_minutes), _with_offset(match.last, wanted_minutes))
    return date_time_in_range(ends, normal if stored_minutes is None else _with_offset(normal, stored_minutes))


def _with_offset(normal: str, minutes: int) -> str:
    """A normal DT with an offset, unless it has one already or is none."""
    if len(normal) != _LENGTH:
        return normal
    hours, rest = divmod(abs(minutes), 60)
    return f"{normal}{'-' if minutes < 0 else '+'}{hours:02}{rest:02}"


def in_zone(date: str, time: str, *, stored_minutes: int | None, wanted_minutes: int) -> tuple[str, str]:
    """A stored date and time in normal form as a clock of the requester shows them.

    They stay as they are where one of them or the object's own offset is missing.
    """
    if not date or not time or stored_minutes is None:
        return date, time
    there = moved(date + time, wanted_minutes - stored_minutes)
    return there[:8], there[8:]


def moved(moment: str, minutes: int) -> str:
    """A ``YYYYMMDDHHMMSS.FFFFFF`` as a clock shows it that is ``minutes`` ahead. Seconds are left alone, so 60 may be
    among them; beyond the years 1 to 9999 nothing moves."""
    if not minutes:
        return moment
    clock = datetime(int(moment[:4]), int(moment[4:6]), int(moment[6:8]), int(moment[8:10]), int(moment[10:12]))
    try:
        clock += timedelta(minutes=minutes)
    except OverflowError:
        return moment
    return f"{clock.year:04}{clock.month:02}{clock.day:02}{clock.hour:02}{clock.minute:02}{moment[12:]}"


def in_utc(normal: str) -> str:
    """A normal DT without its offset: in UTC if it has one, else as it is."""
    return moved(normal[:_LENGTH], -(utc_offset_minutes(normal[_LENGTH:]) or 0))


# --- Is it in the range? ---------------------------------------------------------------------------------------------


def in_range(match: Range, normal: str) -> bool:
    """Whether a DA or TM in normal form lies in the range; what has none, never."""
    return match.first <= normal and bool(normal) and (not match.last or normal <= match.last)


def date_time_in_range(match: Range, normal: str) -> bool:
    """Whether a DT in normal form lies in the range. Offsets count where both have one, else clocks are compared."""
    if not normal:
        return False
    return (not match.first or _order(match.first, normal)) and (not match.last or _order(normal, match.last))


def _order(earlier: str, later: str) -> bool:
    if len(earlier) > _LENGTH < len(later):
        return in_utc(earlier) <= in_utc(later)
    return earlier[:_LENGTH] <= later[:_LENGTH]
