"""What a query of the index finds and returns, by the numbers of the standard's rules (STANDARD.md section 4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.indexed import Indexed, Texts, entry_of, indexed, keys_of
from pacslite.archive.index.conditions import Conditions
from pacslite.archive.index.match_statement import matching
from pacslite.archive.query import Query, Wanted, can_match, can_return
from pacslite.dicom import tags
from pacslite.dicom.elements import Element
from pacslite.dicom.keys import combine, key_of
from pacslite.dicom.levels import Level

MR = "1.2.840.10008.5.1.4.1.1.4"
SR = "1.2.840.10008.5.1.4.1.1.88.11"


def thing(number: str, **more: str) -> Texts:
    """One object, in a study and series of its own unless ``more`` says otherwise."""
    values = {
        tags.PATIENT_ID: f"P{number}",
        tags.STUDY_INSTANCE_UID: f"1.{number}",
        tags.SERIES_INSTANCE_UID: f"1.{number}.1",
        tags.SOP_INSTANCE_UID: f"1.{number}.1.1",
    }
    return {**values, **{getattr(tags, name): text for name, text in more.items()}}


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Indexed]:
    async with indexed(tmp_path) as opened:
        yield opened


async def numbers(index: Indexed, **keys: str) -> str:
    """Of the studies that match."""
    found = await index.ask(Level.STUDY, tags.STUDY_INSTANCE_UID, **keys)
    return " ".join(str(uid).removeprefix("1.") for uid in found)


def store(index: Indexed, **values: list[str]) -> None:
    """One study for each value of an attribute, numbered from 1; an empty one has none."""
    for name, texts in values.items():
        index.add(entry_of(thing(str(at), **({name: text} if text else {}))) for at, text in enumerate(texts, 1))


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("AbC", "1"),
        ("abc", "2"),
        ("A*", "1 3"),
        ("a*", "2"),
        ("?bc", "2"),
        ("*", "1 2 3 4 5 6 7"),
        ("", "1 2 3 4 5 6 7"),
        ("A%", "3"),
        ("%*", ""),
        ("A_*", ""),
        ("[A-Z]*", "4"),
        ("*[*", "4"),
        ("]?", ""),
        ("日?", "5"),
        ("日??", ""),
        ("x", "6"),
    ],
)
async def test_qf_08_qf_10_qf_11_qf_13_text_is_compared_to_the_letter(index: Indexed, key: str, found: str) -> None:
    store(index, STUDY_DESCRIPTION=["AbC", "abc", "A%", "[A-Z]x", "日本", "x", ""])
    assert await numbers(index, STUDY_DESCRIPTION=key) == found


@pytest.mark.parametrize("name", ["ACCESSION_NUMBER", "PATIENT_ID", "STUDY_ID"])
async def test_qf_08_identifiers_are_compared_to_the_letter(index: Indexed, name: str) -> None:
    store(index, **{name: ["AbC", "abc", "ABC", "AB[C]"]})
    assert await numbers(index, **{name: "abc"}) == "2"
    assert await numbers(index, **{name: "A*"}) == "1 3 4"
    assert await numbers(index, **{name: "AB*"}) == "3 4"
    assert await numbers(index, **{name: "*[C]"}) == "4"
    assert await numbers(index, **{name: "A*C"}) == "1 3"


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("smith^john", "1 2"),
        ("SMITH*", "1 2 3"),
        ("smith^*", "1 2"),
        ("smithson^*", "3"),
        ("*MITH*", "1 2 3"),
        ("*mith^*", "1 2"),
        ("*ithson^*^*", "3"),
        ("*^jo*", "1 2 4"),
        ("*john*", "1 2"),
        ("muller*", "4"),
        ("Müller^Jorg", "4"),
        ("*ulle*", "4"),
        ("yamada^tarou", "5"),
        ("山田*", "5 6"),
        ("*田^太*", "5 6"),
        ("ヤマダ^*", "5"),
        ("=山田*", "5"),
        ("yamada*=山田*", "5"),
        ("==やまだ*", "5"),
        ("*", "1 2 3 4 5 6 7"),
    ],
)
async def test_qf_09_names_are_matched_by_group_whatever_their_case_accents_and_width(
    index: Indexed, key: str, found: str
) -> None:
    japanese = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    names = ["Smith^John", "SMITH^John", "Smithson", "Müller^Jörg", japanese, "山田^太郎", ""]
    store(index, PATIENT_NAME=names)
    assert await numbers(index, PATIENT_NAME=key) == found


async def test_qf_09_a_name_is_answered_as_it_was_written(index: Indexed) -> None:
    store(index, PATIENT_NAME=["Müller^Jörg=山田"])
    assert await index.ask(Level.PATIENT, tags.PATIENT_NAME, PATIENT_NAME="MULLER*") == ["Müller^Jörg=山田"]


async def test_qf_12_a_list_of_ten_thousand_uids(index: Indexed) -> None:
    index.add(entry_of(thing(str(number))) for number in range(1, 41))
    uids = "\\".join(f"1.{number}" for number in range(10, 10_010))
    assert len((await numbers(index, STUDY_INSTANCE_UID=uids)).split()) == 31
    images = "\\".join(f"1.{number}.1.1" for number in range(10, 10_010))
    found = await index.ask(Level.IMAGE, tags.SOP_INSTANCE_UID, SOP_INSTANCE_UID=images, STUDY_INSTANCE_UID="1.11")
    assert found == ["1.11.1.1"]


@pytest.mark.parametrize(
    ("date", "found"),
    [
        ("20200102", "2 4"),
        ("2020.01.02", "2 4"),
        ("20200102-20200103", "2 3 4"),
        ("-20200102", "1 2 4"),
        ("20200103-", "3"),
        ("20200104-", ""),
    ],
)
async def test_qf_14_dates_match_by_meaning_and_are_answered_as_written(index: Indexed, date: str, found: str) -> None:
    store(index, STUDY_DATE=["20200101", "20200102", "20200103", "2020.01.02", "yesterday", ""])
    assert await numbers(index, STUDY_DATE=date) == found
    assert await index.ask(Level.STUDY, tags.STUDY_DATE, STUDY_INSTANCE_UID="1.4\\1.5\\1.6") == [
        "", "2020.01.02", "yesterday"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("time", "found"), [("2230", "1 2"), ("223000", "1 2"), ("-22", "1 2 3 4"), ("2231-", "3"), ("1000-1030", "4")]
)
async def test_qf_14_times_are_matched_by_meaning(index: Indexed, time: str, found: str) -> None:
    store(index, STUDY_TIME=["2230", "22:30:00", "225959.9", "1030", ""])
    assert await numbers(index, STUDY_TIME=time) == found


async def test_qf_14_a_dt_is_a_range_by_its_precision(index: Indexed) -> None:
    moments = ["20200102103000", "202001021031", "20210101", "202001021030+0100"]
    store(index, ACQUISITION_DATE_TIME=moments)

    async def found(text: str) -> list[object]:
        return await index.ask(Level.IMAGE, tags.SOP_INSTANCE_UID, ACQUISITION_DATE_TIME=text)

    assert await found("2020") == ["1.1.1.1", "1.2.1.1", "1.4.1.1"]
    assert await found("202001021030") == ["1.1.1.1", "1.4.1.1"]
    assert await found("20200102103001-") == ["1.2.1.1", "1.3.1.1"]


async def test_qf_15_date_and_time_apart_or_as_one_interval(index: Indexed) -> None:
    moments = ["01 2100", "01 2300", "02 1200", "03 0500", "03 0700", "03 "]
    for number, (day, clock) in enumerate((moment.split(" ") for moment in moments), 1):
        index.add([entry_of(thing(str(number), STUDY_DATE=f"202001{day}", **({"STUDY_TIME": clock} if clock else {})))])
    keys = keys_of(STUDY_DATE="20200101-20200103", STUDY_TIME="0600-2200")
    apart = await index.find(Level.STUDY, [tags.STUDY_INSTANCE_UID], keys)
    assert sorted(apart) == [("1.1",), ("1.3",), ("1.5",)]
    together = keys_of(STUDY_DATE="20200101-20200103", STUDY_TIME="2200-0600")
    joined = await index.find(Level.STUDY, [tags.STUDY_INSTANCE_UID], combine(together))
    assert sorted(joined) == [("1.2",), ("1.3",), ("1.4",), ("1.6",)], "of a date alone any moment may be meant"


@pytest.mark.parametrize(("offset", "found"), [(60, ["1.1", "1.2"]), (0, ["1.2", "1.3"]), (-720, ["1.2"])])
async def test_qf_16_the_requesters_clock_decides_if_agreed(tmp_path: Path, offset: int, found: list[str]) -> None:
    """Each object's own offset counts, else that of the archive, +0100 here."""
    async with indexed(tmp_path, utc_offset_minutes=60) as index:
        for number, day, clock, zone in (
            ("1", "20200102", "0030", ""),
            ("2", "20200102", "1800", ""),
            ("3", "20200102", "0030", "+0030"),
        ):
            more = {"TIMEZONE_OFFSET_FROM_UTC": zone} if zone else {}
            index.add([entry_of(thing(number, STUDY_DATE=day, STUDY_TIME=clock, **more))])
        rows = await index.find(
            Level.STUDY, [tags.STUDY_INSTANCE_UID], keys_of(STUDY_DATE="20200102"), utc_offset_minutes=offset
        )
        if offset == 60:
            found = [*found, "1.3"]
        assert sorted(str(uid) for (uid,) in rows) == found


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("20200102013000", ["1.1", "1.2"]),
        ("20200102", ["1.1", "1.2", "1.3"]),
        ("20200101233000", []),
        ("20200101233000+0100", ["1.1", "1.2"]),
        ("-20200102013000", ["1.1", "1.2"]),
    ],
)
async def test_qf_16_a_date_time_is_asked_for_as_the_requesters_clock_shows_it(
    index: Indexed, key: str, found: list[str]
) -> None:
    for number, moment, zone in (
        ("1", "20200101233000", "+0100"),
        ("2", "20200102003000+0200", "-0500"),
        ("3", "20200102000000", "+0100"),
    ):
        index.add([entry_of(thing(number, ACQUISITION_DATE_TIME=moment, TIMEZONE_OFFSET_FROM_UTC=zone))])
    rows = await index.find(
        Level.IMAGE, [tags.STUDY_INSTANCE_UID], keys_of(ACQUISITION_DATE_TIME=key), utc_offset_minutes=180
    )
    assert sorted(str(uid) for (uid,) in rows) == found


async def test_qf_17_the_keys_of_a_sequence_match_in_one_item(index: Indexed) -> None:
    index.add(
        [
            entry_of(thing("1"), [{tags.REQUESTED_PROCEDURE_ID: "R1", tags.SCHEDULED_PROCEDURE_STEP_ID: "S1"}]),
            entry_of(
                thing("2"),
                [
                    {tags.REQUESTED_PROCEDURE_ID: "R1", tags.SCHEDULED_PROCEDURE_STEP_ID: "S2"},
                    {tags.REQUESTED_PROCEDURE_ID: "R2", tags.SCHEDULED_PROCEDURE_STEP_ID: "S1"},
                ],
            ),
            entry_of(thing("3")),
        ]
    )

    async def found(**inner: str) -> list[str]:
        item = {getattr(tags, name): Element("SH", text) for name, text in inner.items()}
        key = key_of(tags.REQUEST_ATTRIBUTES_SEQUENCE, Element("SQ", (item,)))
        rows = await index.find(Level.SERIES, [tags.SERIES_INSTANCE_UID], [key] if key else [])
        return sorted(str(uid) for (uid,) in rows)

    assert await found(REQUESTED_PROCEDURE_ID="R1") == ["1.1.1", "1.2.1"]
    assert await found(REQUESTED_PROCEDURE_ID="R1", SCHEDULED_PROCEDURE_STEP_ID="S1") == ["1.1.1"]
    assert await found(REQUESTED_PROCEDURE_ID="R*", SCHEDULED_PROCEDURE_STEP_ID="?2") == ["1.2.1"]
    assert await found(REQUESTED_PROCEDURE_ID="") == ["1.1.1", "1.2.1", "1.3.1"], "nothing is asked of it"
    wanted = Wanted(tags.REQUEST_ATTRIBUTES_SEQUENCE, "SQ", (Wanted(tags.REQUESTED_PROCEDURE_ID, "SH"),))
    query = Query(level=Level.SERIES, keys=tuple(keys_of(SERIES_INSTANCE_UID="1.2.1")), wanted=(wanted,))
    rows = [row async for batch in index.finder.find(query) for row in batch]
    procedure = tags.REQUESTED_PROCEDURE_ID
    assert rows == [(({procedure: Element("SH", "R1")}, {procedure: Element("SH", "R2")}),)]
    keys = keys_of(SERIES_INSTANCE_UID="1.3.1")
    assert await index.find(Level.SERIES, [tags.REQUEST_ATTRIBUTES_SEQUENCE], keys) == [((),)]


async def test_qf_18_one_of_several_values_suffices_and_all_are_answered(index: Indexed) -> None:
    store(index, OTHER_PATIENT_IDS=["A1\\B2", "B2", "A1*\\x", ""])
    assert await numbers(index, OTHER_PATIENT_IDS="B2") == "1 2"
    assert await numbers(index, OTHER_PATIENT_IDS="?1") == "1"
    assert await numbers(index, OTHER_PATIENT_IDS="A1?x") == ""
    assert await index.ask(Level.PATIENT, tags.OTHER_PATIENT_IDS, OTHER_PATIENT_IDS="B2") == ["A1\\B2", "B2"]


async def test_qf_18_one_of_several_names_suffices(index: Indexed) -> None:
    store(index, OPERATORS_NAME=["Doe^Jane\\Röe^Richard", "Doe^Richard"])
    assert await index.ask(Level.SERIES, tags.SERIES_INSTANCE_UID, OPERATORS_NAME="ROE^*") == ["1.1.1"]
    assert await index.ask(Level.SERIES, tags.SERIES_INSTANCE_UID, OPERATORS_NAME="doe*richard") == ["1.2.1"]


async def test_qf_19_what_is_in_a_study(index: Indexed) -> None:
    for number, modality, sop_class in ((1, "CT", ""), (2, "MR", MR), (3, "SR", SR)):
        for copy in (1, 2):
            uids = {"SERIES_INSTANCE_UID": f"1.1.{number}", "SOP_INSTANCE_UID": f"1.1.{number}.{copy}"}
            more = {"SOP_CLASS_UID": sop_class} if sop_class else {}
            index.add([entry_of(thing("1", MODALITY=modality, **uids, **more))])
    index.add([entry_of(thing("2", MODALITY="ct"))])
    index.add([entry_of(thing("3"))])
    assert await numbers(index, MODALITIES_IN_STUDY="MR") == "1"
    assert await numbers(index, MODALITIES_IN_STUDY="PT\\CT") == "1"
    assert await numbers(index, MODALITIES_IN_STUDY="?R") == "1"
    assert await numbers(index, MODALITIES_IN_STUDY='""') == "3"
    assert await index.ask(Level.STUDY, tags.MODALITIES_IN_STUDY) == ["", "CT\\MR\\SR", "ct"]
    assert await numbers(index, SOP_CLASSES_IN_STUDY=SR) == "1"
    assert await numbers(index, SOP_CLASSES_IN_STUDY=SR[:-1]) == ""
    (classes,) = await index.ask(Level.STUDY, tags.SOP_CLASSES_IN_STUDY, STUDY_INSTANCE_UID="1.1")
    assert set(str(classes).split("\\")) == {"1.2.840.10008.5.1.4.1.1.2", MR, SR}
    counts: tuple[int, ...] = (tags.NUMBER_OF_STUDY_RELATED_SERIES, tags.NUMBER_OF_STUDY_RELATED_INSTANCES)
    assert await index.find(Level.STUDY, counts, keys_of(STUDY_INSTANCE_UID="1.1")) == [("3", "6")]
    assert await index.ask(Level.SERIES, tags.NUMBER_OF_SERIES_RELATED_INSTANCES, MODALITY="SR") == ["2"]
    counts = (
        tags.NUMBER_OF_PATIENT_RELATED_STUDIES,
        tags.NUMBER_OF_PATIENT_RELATED_SERIES,
        tags.NUMBER_OF_PATIENT_RELATED_INSTANCES,
    )
    assert await index.find(Level.PATIENT, counts, keys_of(PATIENT_ID="P1")) == [("1", "3", "6")]


async def test_sop_classes_of_a_study_follow_what_is_removed(index: Indexed) -> None:
    for copy, sop_class in enumerate((MR, MR, SR), 1):
        index.add([entry_of(thing("1", SOP_INSTANCE_UID=f"1.1.1.{copy}", SOP_CLASS_UID=sop_class))])
    for uid, left in (("1.1.1.1", f"{MR}\\{SR}"), ("1.1.1.2", SR)):
        with index.writer.transaction():
            assert index.writer.remove(uid)
        assert await index.ask(Level.STUDY, tags.SOP_CLASSES_IN_STUDY) == [left]


async def test_names_follow_what_is_removed_and_completed(index: Indexed) -> None:
    """The index of trigrams is kept by triggers."""
    index.add([entry_of(thing("1")), entry_of(thing("2", PATIENT_NAME="Goldsmith"))])
    assert await numbers(index, PATIENT_NAME="*smith*") == "2"
    index.add([entry_of(thing("1", SOP_INSTANCE_UID="1.1.1.2", PATIENT_NAME="Smithers"))])
    assert await numbers(index, PATIENT_NAME="*smith*") == "1 2"
    with index.writer.transaction():
        index.writer.remove("1.2.1.1")
    assert await numbers(index, PATIENT_NAME="*smith*") == "1"
    index.writer.connection.execute("INSERT INTO patient_names(patient_names) VALUES ('integrity-check')")


async def test_qf_23_an_empty_value_is_one_or_none(index: Indexed) -> None:
    store(index, STUDY_DATE=["20200101", "someday", ""])
    index.add([entry_of(thing("4", ACCESSION_NUMBER="A", STUDY_DATE="20200101"))])
    assert await numbers(index, STUDY_DATE='""') == "3"
    assert await numbers(index, ACCESSION_NUMBER='""') == "1 2 3"
    assert await numbers(index, STUDY_DESCRIPTION='""') == "1 2 3 4"


async def test_the_levels_above_are_matched_and_answered(index: Indexed) -> None:
    index.add([entry_of(thing("1", PATIENT_NAME="Doe", STUDY_DATE="20200101", MODALITY="CT", INSTANCE_NUMBER="07"))])
    wanted = (tags.PATIENT_NAME, tags.STUDY_DATE, tags.MODALITY, tags.INSTANCE_NUMBER, tags.ROWS)
    keys = keys_of(PATIENT_NAME="d*", STUDY_DATE="20200101", MODALITY="C?")
    assert await index.find(Level.IMAGE, wanted, keys) == [("Doe", "20200101", "CT", "7", "")]


@pytest.mark.parametrize(
    ("level", "keys", "first"),
    [
        (Level.IMAGE, {"PATIENT_SEX": "F", "INSTANCE_NUMBER": "1"}, "patients"),
        (Level.IMAGE, {"STUDY_DESCRIPTION": "*a*", "MODALITY": "CT"}, "studies"),
        (Level.IMAGE, {"MODALITIES_IN_STUDY": "CT"}, "studies"),
        (Level.SERIES, {"MODALITY": "CT"}, "series"),
        (Level.IMAGE, {"PATIENT_SEX": "F", "ACCESSION_NUMBER": "A"}, "studies"),
        (Level.IMAGE, {}, "instances"),
    ],
)
def test_a_query_that_no_index_helps_begins_where_rows_are_few(level: Level, keys: dict[str, str], first: str) -> None:
    """Of a million instances none is looked at whose patient or study does not match."""
    conditions = Conditions()
    for key in keys_of(**keys):
        conditions.add(key)
    statement, _ = matching(level, conditions.conditions)
    assert f"FROM {first} " in statement.replace("\n", " ")


async def test_what_has_no_patient_is_in_no_model(index: Indexed) -> None:
    nobodys = {**thing("2"), tags.STUDY_INSTANCE_UID: "", tags.SERIES_INSTANCE_UID: ""}
    index.add([entry_of(thing("1")), entry_of(nobodys)])
    assert await index.ask(Level.IMAGE, tags.SOP_INSTANCE_UID) == ["1.1.1.1"]
    assert await index.ask(Level.IMAGE, tags.SOP_INSTANCE_UID, SOP_INSTANCE_UID="1.2.1.1") == []


@pytest.mark.parametrize("pattern", ["*a" * 30, "*?" * 200 + "b", "a*" * 500, "?" * 900, "[" * 300 + "*"])
async def test_a_hostile_pattern_costs_no_more_than_another(index: Indexed, pattern: str) -> None:
    store(index, PATIENT_COMMENTS=["a" * 10_000, "a" * 5_000 + "b"], STUDY_DESCRIPTION=["a" * 64])
    await numbers(index, PATIENT_COMMENTS=pattern)
    await numbers(index, STUDY_DESCRIPTION=pattern)
    await numbers(index, PATIENT_NAME=pattern)


async def test_qf_10_a_pattern_of_many_stars_means_the_same(index: Indexed) -> None:
    store(index, STUDY_DESCRIPTION=["abcdefgh", "abdefgh", "a*b*c*d*e"])
    assert await numbers(index, STUDY_DESCRIPTION="*a*b*c*d*e*") == "1 3"
    assert await numbers(index, STUDY_DESCRIPTION="a?c*e*f*g*h") == "1"


def test_what_can_be_asked_for_and_answered() -> None:
    assert can_return(Level.PATIENT, tags.PATIENT_NAME)
    assert not can_return(Level.PATIENT, tags.STUDY_DATE)
    assert can_return(Level.STUDY, tags.MODALITIES_IN_STUDY)
    assert can_return(Level.IMAGE, tags.PATIENT_NAME)
    assert can_return(Level.IMAGE, 0x00181030)
    assert not can_return(Level.SERIES, 0x00180050)
    assert can_match(Level.IMAGE, 0x00180050)
    assert not can_match(Level.IMAGE, tags.PIXEL_DATA)
    assert not can_return(Level.IMAGE, tags.SPECIFIC_CHARACTER_SET)
