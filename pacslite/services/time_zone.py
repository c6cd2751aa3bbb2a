"""Answers in the requester's time zone, where it was agreed on and the requester has named it (PS3.4 C.2.2.2, QF-16).

A date without its time, or a time without its date, cannot be moved: the archive is asked for both, and for the time
zone of the study. Values that are those of the requester's own zone stay as they were written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from pacslite.archive.query import Row, Wanted
from pacslite.dicom import tags
from pacslite.dicom.elements import Value
from pacslite.dicom.keys import TIME_OF
from pacslite.dicom.moments import in_zone, moved
from pacslite.dicom.values import normalise_date, normalise_date_time, normalise_time, utc_offset_minutes

_PLACELESS: Final = frozenset({tags.PATIENT_BIRTH_DATE})
"""A birthday is the same everywhere."""

_DATE_AND_TIME: Final = len("YYYYMMDDHHMMSS.FFFFFF")
_WITH_HOUR: Final = len("YYYYMMDDHH")

Change = Callable[[list[Value], int], None]


class AnswersInZone:
    """What to ask the archive for, and how to make answers of its rows; these have further values at their ends.

    ``usual_minutes`` is the offset from UTC of what names none; None is this machine's, now.
    """

    def __init__(self, wanted: Sequence[Wanted], *, wanted_minutes: int, usual_minutes: int | None) -> None:
        self._wanted_minutes = wanted_minutes
        self._usual_minutes = time.localtime().tm_gmtoff // 60 if usual_minutes is None else usual_minutes
        self._places = {one.tag: place for place, one in enumerate(wanted)}
        self._all = [*wanted]
        self._changes = tuple(self._changes_of(wanted))
        self._zone = self._place(tags.TIMEZONE_OFFSET_FROM_UTC, "SH")
        self.wanted = tuple(self._all)

    def __call__(self, row: Row) -> Row:
        """The row with its dates and times as a clock of the requester shows them."""
        own = row[self._zone]
        minutes = utc_offset_minutes(own) if isinstance(own, str) else None
        stored = self._usual_minutes if minutes is None else minutes
        if stored == self._wanted_minutes:
            return row
        values = list(row)
        for change in self._changes:
            change(values, stored)
        return tuple(values)

    def _changes_of(self, wanted: Sequence[Wanted]) -> Iterator[Change]:
        asked = {one.tag for one in wanted}
        for date_tag, time_tag in TIME_OF.items():
            if asked & {date_tag, time_tag} and date_tag not in _PLACELESS:
                yield self._pair(self._place(date_tag, "DA"), self._place(time_tag, "TM"))
        for one in wanted:
            if one.vr == "DT":
                yield self._date_time(self._places[one.tag])

    def _place(self, tag: int, vr: str) -> int:
        if tag not in self._places:
            self._places[tag] = len(self._all)
            self._all.append(Wanted(tag, vr))
        return self._places[tag]

    def _pair(self, date_place: int, time_place: int) -> Change:
        def change(values: list[Value], stored: int) -> None:
            date, clock = values[date_place], values[time_place]
            if not isinstance(date, str) or not isinstance(clock, str):
                return
            date, clock = normalise_date(date), normalise_time(clock)
            if date and clock:
                there = in_zone(date, clock, stored_minutes=stored, wanted_minutes=self._wanted_minutes)
                values[date_place], values[time_place] = there[0], _short(there[1])

        return change

    def _date_time(self, place: int) -> Change:
        def change(values: list[Value], stored: int) -> None:
            value = values[place]
            if not isinstance(value, str) or len(value.strip(" \0")) < _WITH_HOUR:
                return  # a day or a month is no moment
            normal = normalise_date_time(value)
            if len(normal) == _DATE_AND_TIME:  # one that names its own zone says all
                values[place] = _short(moved(normal, self._wanted_minutes - stored))

        return change


def _short(moment: str) -> str:
    """Without a fraction that says nothing."""
    seconds, _, fraction = moment.partition(".")
    fraction = fraction.rstrip("0")
    return f"{seconds}.{fraction}" if fraction else seconds
