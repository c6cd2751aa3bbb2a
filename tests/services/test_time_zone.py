"""Dates and times of answers in the requester's time zone; STANDARD QF-16."""

from __future__ import annotations

import pytest

from pacslite.archive.query import Row, Wanted
from pacslite.dicom import tags
from pacslite.dicom.elements import Value
from pacslite.services.time_zone import AnswersInZone

DATE, TIME, ZONE = Wanted(tags.STUDY_DATE, "DA"), Wanted(tags.STUDY_TIME, "TM"), tags.TIMEZONE_OFFSET_FROM_UTC


def moved(wanted: tuple[Wanted, ...], values: dict[int, Value], *, to: int, usual: int | None = 0) -> Row:
    """The answer, when the archive has ``values``."""
    in_zone = AnswersInZone(wanted, wanted_minutes=to, usual_minutes=usual)
    assert in_zone.wanted[: len(wanted)] == wanted
    return in_zone(tuple(values.get(one.tag, "") for one in in_zone.wanted))[: len(wanted)]


@pytest.mark.parametrize(
    ("date", "time", "zone", "to", "found"),
    [
        ("20240102", "003000", "+0100", 0, ("20240101", "233000")),
        ("20231231", "233000", "-0330", 60, ("20240101", "040000")),
        ("20240102", "0030", "+0100", 0, ("20240101", "233000")),
        ("20240102", "003000.250000", "+0100", 0, ("20240101", "233000.25")),
        ("2024.01.02", "00:30:00", "+0100", 0, ("20240101", "233000")),
        ("20240102", "0030", "+0000", 0, ("20240102", "0030")),
        ("20240102", "120000", "", -60, ("20240102", "110000")),
        ("20240102", "120000", "nonsense", -60, ("20240102", "110000")),
        ("20240102", "", "+0100", 0, ("20240102", "")),
        ("", "003000", "+0100", 0, ("", "003000")),
        ("soon", "003000", "+0100", 0, ("soon", "003000")),
        ("00010101", "000000", "+0100", 0, ("00010101", "000000")),
    ],
)
def test_a_date_and_its_time_move_together(date: str, time: str, zone: str, to: int, found: tuple[str, str]) -> None:
    values: dict[int, Value] = {tags.STUDY_DATE: date, tags.STUDY_TIME: time, ZONE: zone}
    assert moved((DATE, TIME), values, to=to) == found
    assert moved((TIME, DATE), values, to=to) == found[::-1]


def test_what_was_not_asked_for_is_asked_for_all_the_same() -> None:
    values: dict[int, Value] = {tags.STUDY_DATE: "20240102", tags.STUDY_TIME: "003000", ZONE: "+0100"}
    assert moved((DATE,), values, to=0) == ("20240101",)
    assert moved((TIME,), values, to=0) == ("233000",)


def test_the_usual_zone_is_this_machine_s_unless_set() -> None:
    values: dict[int, Value] = {tags.STUDY_DATE: "20240102", tags.STUDY_TIME: "120000"}
    assert moved((TIME,), values, to=0, usual=120) == ("100000",)
    assert moved((TIME,), values, to=0, usual=None)[0] in {
        f"{hour:02}{minute}00" for hour in range(24) for minute in ("00", "15", "30", "45")
    } | {"120000"}


def test_a_birthday_is_the_same_everywhere() -> None:
    birthday = (Wanted(tags.PATIENT_BIRTH_DATE, "DA"), Wanted(tags.PATIENT_BIRTH_TIME, "TM"))
    values: dict[int, Value] = {tags.PATIENT_BIRTH_DATE: "19700101", tags.PATIENT_BIRTH_TIME: "0010", ZONE: "+0100"}
    assert moved(birthday, values, to=0) == ("19700101", "0010")


def test_a_date_time_moves_unless_it_names_its_own_zone() -> None:
    acquired = (Wanted(tags.ACQUISITION_DATE_TIME, "DT"),)
    for value, found in (
        ("20240102003000.5", "20240101233000.5"),
        ("20240102003000+0100", "20240102003000+0100"),
        ("", ""),
        ("202401", "202401"),
        ("soon", "soon"),
    ):
        assert moved(acquired, {tags.ACQUISITION_DATE_TIME: value, ZONE: "+0100"}, to=0) == (found,)
    assert moved(acquired, {tags.ACQUISITION_DATE_TIME: None, ZONE: "+0100"}, to=0) == (None,)
