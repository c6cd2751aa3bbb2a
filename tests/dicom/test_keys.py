"""From the attributes of a request to matching keys, and what they match: PS3.4 C.2.2.2, QF-08 to QF-23."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dicom import tags
from pacslite.dicom.elements import Element, Elements, Value
from pacslite.dicom.keys import MAX_PATTERN, MAX_VALUES, all_match, combine, key_of, matches, value_matcher
from pacslite.dicom.matching import (
    AllOf,
    CombinedRange,
    EmptyValue,
    Key,
    NameMatch,
    Range,
    SequenceMatch,
    SingleValue,
    ValueList,
    Wildcard,
)
from pacslite.dicom.normal_forms import normal_form
from pacslite.errors import InvalidKey

TAG_OF = {
    "AE": tags.RETRIEVE_AE_TITLE,
    "AS": tags.PATIENT_AGE,
    "CS": tags.MODALITY,
    "DA": tags.STUDY_DATE,
    "DS": tags.PATIENT_WEIGHT,
    "DT": tags.ACQUISITION_DATE_TIME,
    "IS": tags.SERIES_NUMBER,
    "LO": tags.PATIENT_ID,
    "LT": tags.PATIENT_COMMENTS,
    "PN": tags.PATIENT_NAME,
    "SH": tags.ACCESSION_NUMBER,
    "ST": tags.INSTITUTION_NAME + 1,  # Institution Address
    "TM": tags.STUDY_TIME,
    "UC": 0x00080119,  # Long Code Value
    "UI": tags.STUDY_INSTANCE_UID,
    "UR": 0x00080120,  # URN Code Value
    "US": tags.ROWS,
    "UT": 0x0040A160,  # Text Value
}
WILD = ["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"]
TAME = ["AS", "DA", "DS", "DT", "IS", "TM", "UI"]


def key(
    vr: str,
    value: Value,
    *,
    tag: int | None = None,
    fuzzy: bool = False,
    empty_value: bool = False,
    multiple_values: bool = False,
    combined: bool = False,
) -> Key | None:
    return key_of(
        TAG_OF[vr] if tag is None else tag,
        Element(vr, value),
        fuzzy=fuzzy,
        empty_value=empty_value,
        multiple_values=multiple_values,
        combined=combined,
    )


def found(vr: str, wanted: Value, stored: Value, **options: bool) -> bool:
    made = key(vr, wanted, **options)
    assert made is not None
    return matches(made, Element(vr, stored))


def refusal(vr: str, value: Value, *, tag: int | None = None, multiple_values: bool = False) -> InvalidKey:
    with pytest.raises(InvalidKey) as caught:
        key(vr, value, tag=tag, multiple_values=multiple_values)
    return caught.value


# --- Universal matching ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vr", TAG_OF)
@pytest.mark.parametrize("nothing", ["", None, " ", "  ", "\0"])
def test_no_value_is_universal(vr: str, nothing: Value) -> None:
    """QF-13: such a key does not restrict the answers, so it is none."""
    assert key(vr, nothing) is None


@pytest.mark.parametrize("vr", WILD)
@pytest.mark.parametrize("stars", ["*", "**", " * "])
def test_a_star_alone_is_universal(vr: str, stars: str) -> None:
    """QF-10, QF-13: entities without the attribute match as well."""
    assert key(vr, stars.strip() if vr in {"LT", "ST", "UC", "UR", "UT"} else stars) is None


@pytest.mark.parametrize(
    ("tag", "element"),
    [
        (tags.SPECIFIC_CHARACTER_SET, Element("CS", "ISO_IR 100")),
        (tags.SPECIFIC_CHARACTER_SET, Element("CS", "\\ISO 2022 IR 87")),
        (tags.TIMEZONE_OFFSET_FROM_UTC, Element("SH", "-0500")),
        (tags.QUERY_RETRIEVE_LEVEL, Element("CS", "STUDY")),
    ],
)
def test_what_is_never_a_key(tag: int, element: Element) -> None:
    """QF-16."""
    assert key_of(tag, element) is None


# --- Single values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vr", "wanted", "same", "other"),
    [
        ("LO", "abc", ["abc", " abc", "abc  ", "x\\abc", "abc\\x"], ["ABC", "Abc", "abcd", "xabc", "", "a bc", "áбc"]),
        ("LO", "  abc ", ["abc"], ["ABC"]),
        ("LO", "äöü", ["äöü"], ["ÄÖÜ", "aou"]),
        ("SH", "A-1", ["A-1"], ["a-1", "A1"]),
        ("SH", "20200101-20200102", ["20200101-20200102"], ["20200101"]),
        ("CS", "CT", ["CT", "CT ", "MR\\CT"], ["ct", "CTA", "MR"]),
        ("AE", "STORE", ["STORE", " STORE  "], ["store"]),
        ("AS", "018Y", ["018Y"], ["018M", "18Y"]),
        ("UI", "1.2.3", ["1.2.3", "1.2.3\0", "1.2\\1.2.3"], ["1.2.30", "1.2", "1.2.3.0"]),
        ("UI", "1.2.3\0", ["1.2.3"], []),
        ("IS", "7", ["7", "+7", "007", " 7 ", "7.0", "5\\7"], ["-7", "70", "", "x"]),
        ("IS", "+007", ["7"], ["8"]),
        ("IS", "-0", ["0"], ["1"]),
        ("DS", "72.5", ["72.5", "72.50", "7.25E1", " +72.5"], ["72", "72.51", "", "x"]),
        ("DS", "1e22", ["10000000000000000000000"], ["1e21"]),
        ("DA", "20200229", ["20200229", "2020.02.29", "20200229 "], ["20200228", "", "x"]),
        ("DA", "2020.02.29", ["20200229"], ["20200228"]),
        ("TM", "2230", ["2230", "223000", "22:30", "223000.000"], ["2231", "223001", "", "x"]),
        ("TM", "10:20:30", ["102030"], ["102031"]),
        ("DT", "202002", ["2020021510", "202002", "20200229235959"], ["202003", "20200131", ""]),
        ("LT", "a\\b", ["a\\b", "a\\b  "], ["a", "b", " a\\b"]),
        ("LT", " a", [" a"], ["a"]),
        ("ST", "a b", ["a b "], ["a  b"]),
        ("UT", "text", ["text "], [" text", "Text"]),
        ("UC", "code", ["code ", "x\\code"], [" code"]),
        ("UR", "urn:a", ["urn:a "], ["urn:A"]),
        ("LO", '""', ['""'], ["", '"']),
    ],
)
def test_single_values(vr: str, wanted: str, same: list[str], other: list[str]) -> None:
    """QF-08: the case counts, padding does not; QF-14: dates and times by meaning; QF-18: of several, one suffices."""
    assert [stored for stored in same if not found(vr, wanted, stored)] == []
    assert [stored for stored in other if found(vr, wanted, stored)] == []


@pytest.mark.parametrize("special", ["%", "_", "[a-z]", "a%", "a_", "'", "a' OR 1=1 --", "$", ".*"])
@pytest.mark.parametrize("vr", ["LO", "SH", "LT", "CS", "PN"])
def test_special_characters_are_data(vr: str, special: str) -> None:
    """QF-11."""
    wanted = special.replace("*", "")
    assert found(vr, wanted, wanted)
    assert not found(vr, wanted, "abc")
    assert found(vr, f"{wanted}*", f"{wanted}abc")
    assert not found(vr, f"{wanted}?*", "abcabcabc")


@pytest.mark.parametrize(
    ("vr", "wanted", "same", "other"),
    [
        ("US", 512, 512, 511),
        ("US", (512,), (511, 512), (511,)),
        ("FD", (0.5,), (0.5,), (0.25,)),
        ("FD", (7.0,), (7,), (8.0,)),
        ("AT", (0x00100010,), 0x00100010, 0x00100020),
        ("SL", -3, (-3,), 3),
        ("OB", b"abc", b"abc", b"ABC"),
    ],
)
def test_binary_values(vr: str, wanted: Value, same: Value, other: Value) -> None:
    made = key(vr, wanted, tag=0x00111001)
    assert made is not None
    assert matches(made, Element(vr, same))
    assert not matches(made, Element(vr, other))
    assert not matches(made, Element(vr, None))


def test_an_unknown_vr_has_no_wild_cards() -> None:
    private = 0x00111001
    made = key("UN", b"SM*TH ", tag=private)
    assert made is not None
    assert matches(made, Element("UN", b"SM*TH"))
    assert not matches(made, Element("UN", b"SMITH"))


def test_the_vr_is_the_dictionarys() -> None:
    """A requester that writes Study Date as LO means a date all the same."""
    made = key_of(tags.STUDY_DATE, Element("LO", "20200101-"))
    assert made == Key(tags.STUDY_DATE, "DA", Range("20200101", ""))


@pytest.mark.parametrize("vr", WILD + TAME)
def test_a_missing_attribute_matches_no_value(vr: str) -> None:
    value = {"DA": "20200101", "TM": "10", "DT": "2020", "IS": "1", "DS": "1", "UI": "1.2"}.get(vr, "a")
    made = key(vr, value)
    assert made is not None
    assert not matches(made, None)
    assert not matches(made, Element(vr, None))
    assert not matches(made, Element(vr, ""))


# --- Wild cards ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vr", WILD)
def test_wild_cards(vr: str) -> None:
    """QF-10: `?` is one character, whatever its number of bytes."""
    assert found(vr, "A*C", "ABBC")
    assert found(vr, "A*C", "AC ")
    assert found(vr, "A?C", "A語C")
    assert found(vr, "A?C", "AßC") == (vr != "PN")  # of a name, which folds, ß is ss
    assert not found(vr, "A?C", "AC")
    assert found(vr, "a*c", "ABBC") == (vr == "PN")


@pytest.mark.parametrize("vr", TAME)
@pytest.mark.parametrize("wanted", ["*", "1*", "?", "2020????", "1.2.*", "1.2.?", "10*"])
def test_no_wild_cards_elsewhere(vr: str, wanted: str) -> None:
    """QF-10: refused, with the attribute and what to do."""
    error = refusal(vr, wanted)
    assert error.status == 0xA900
    assert error.offending == (TAG_OF[vr],)
    assert error.comment.startswith(tags.keyword_of(TAG_OF[vr]))


@pytest.mark.parametrize("vr", WILD)
def test_a_pattern_has_a_longest_length(vr: str) -> None:
    assert key(vr, "*" + "a" * (MAX_PATTERN - 1)) is not None
    assert "longer than" in str(refusal(vr, "*" + "a" * MAX_PATTERN))


def test_a_single_value_may_be_long() -> None:
    text = "a" * 10_240
    assert found("LT", text, text)


# --- Lists and several values ----------------------------------------------------------------------------------------


def test_uid_lists() -> None:
    """QF-12: any of them, in any order, each once; empty members and padding say nothing."""
    made = key("UI", "1.2\\1.3\\\\1.2\\1.4\0")
    assert made == Key(tags.STUDY_INSTANCE_UID, "UI", ValueList(("1.2", "1.3", "1.4")))
    assert matches(made, Element("UI", "1.3"))
    assert matches(made, Element("UI", "1.9\\1.4"))
    assert not matches(made, Element("UI", "1.5"))
    assert not matches(made, Element("UI", ""))
    assert key("UI", "1.2\\") == Key(tags.STUDY_INSTANCE_UID, "UI", SingleValue("1.2"))


def test_a_list_of_ten_thousand_uids() -> None:
    made = key("UI", "\\".join(f"1.2.{number}" for number in range(10_000)))
    assert made is not None
    assert matches(made, Element("UI", "1.2.9999"))
    assert not matches(made, Element("UI", "1.2.10000"))


@pytest.mark.parametrize("wanted", ["\\", "\\\\", " \\ "])
def test_delimiters_alone_are_no_value(wanted: str) -> None:
    """QF-12: a list of no UID must not become everything."""
    assert "no value" in str(refusal("UI", wanted))
    assert "no value" in str(refusal("LO", wanted))


@pytest.mark.parametrize(
    ("vr", "wanted"),
    [
        ("LO", "a\\b"),
        ("SH", "a\\b"),
        ("CS", "CT\\MR"),
        ("PN", "A\\B"),
        ("IS", "1\\2"),
        ("DA", "20200101\\20200102"),
        ("AE", "A\\"),
        ("US", (1, 2)),
    ],
)
def test_several_values_have_to_be_negotiated(vr: str, wanted: Value) -> None:
    """QF-12, QF-23."""
    assert "negotiated" in str(refusal(vr, wanted))


def test_several_modalities_are_a_choice() -> None:
    """QF-19, and what it has always been."""
    made = key("CS", "CT\\PT", tag=tags.MODALITIES_IN_STUDY)
    assert made == Key(tags.MODALITIES_IN_STUDY, "CS", ValueList(("CT", "PT")))
    assert matches(made, Element("CS", "CT\\SR"))
    assert not matches(made, Element("CS", "MR"))
    assert "wild cards" in str(refusal("CS", "CT\\M*", tag=tags.MODALITIES_IN_STUDY))


def test_with_multiple_value_matching_each_has_to_match() -> None:
    """QF-23, C.2.2.2.8: a conjunction, in any order."""
    made = key("CS", "CT\\PT", tag=tags.MODALITIES_IN_STUDY, multiple_values=True)
    assert made == Key(tags.MODALITIES_IN_STUDY, "CS", AllOf((SingleValue("CT"), SingleValue("PT"))))
    assert matches(made, Element("CS", "PT\\SR\\CT"))
    assert not matches(made, Element("CS", "CT\\SR"))
    names = key("PN", "smith^john\\DOE^JANE", tag=tags.OTHER_PATIENT_NAMES, multiple_values=True)
    assert names is not None
    assert matches(names, Element("PN", "Doe^Jane\\X\\Smith^John"))
    assert not matches(names, Element("PN", "Doe^Jane"))


@pytest.mark.parametrize(
    ("vr", "tag", "wanted"),
    [
        ("LO", tags.PATIENT_ID, "a\\b"),  # has one value
        ("IS", 0x00081160, "1\\2"),  # Referenced Frame Number: no VR of Multiple Value Matching
        ("CS", tags.IMAGE_TYPE, "ORIGINAL\\PRIM*"),
    ],
)
def test_what_multiple_value_matching_is_not_for(vr: str, tag: int, wanted: str) -> None:
    """C.2.2.2.8."""
    assert refusal(vr, wanted, tag=tag, multiple_values=True).offending == (tag,)


def test_no_attribute_has_so_many_values() -> None:
    several = "\\".join(map(str, range(MAX_VALUES)))
    assert key("LO", several, tag=tags.OTHER_PATIENT_IDS, multiple_values=True) is not None
    too_many = refusal("LO", f"{several}\\more", tag=tags.OTHER_PATIENT_IDS, multiple_values=True)
    assert "more than" in str(too_many)


def test_uid_lists_stay_a_choice_with_multiple_value_matching() -> None:
    assert key("UI", "1.2\\1.3", multiple_values=True) == key("UI", "1.2\\1.3")


# --- Empty values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vr", WILD + TAME)
def test_empty_value_matching(vr: str) -> None:
    """QF-23."""
    made = key(vr, '""', empty_value=True)
    assert made == Key(TAG_OF[vr], vr, EmptyValue())
    for empty in (None, Element(vr, None), Element(vr, ""), Element(vr, " ")):
        assert matches(made, empty)
    assert not matches(made, Element(vr, "a"))


@pytest.mark.parametrize("vr", ["DA", "TM", "DT", "IS", "DS"])
def test_quotation_marks_are_no_date_or_number(vr: str) -> None:
    """QF-23: without negotiation they are two characters."""
    assert refusal(vr, '""').offending == (TAG_OF[vr],)


# --- Ranges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vr", "wanted", "inside", "outside"),
    [
        ("DA", "20200101-20200131", ["20200101", "20200131", "2020.01.15"], ["20191231", "20200201", "", "x"]),
        ("DA", "-20200131", ["18000101", "20200131"], ["20200201", ""]),
        ("DA", "20200101-", ["20200101", "99991231"], ["20191231", ""]),
        ("TM", "10-12", ["10", "100000", "12", "125959.999999", "11:30"], ["0959", "13", ""]),
        ("TM", "-10", ["00", "1059"], ["11", ""]),
        ("TM", "2230-", ["223000", "2359", "235960"], ["2229", "222959.9", ""]),
        ("DT", "2019-2020", ["2019", "20201231235960"], ["2018", "2021", ""]),
        ("DT", "2020010112-0500", ["2020010117+0000", "202001011259-0500"], ["2020010112+0000", "2020010118+0000"]),
    ],
)
def test_ranges(vr: str, wanted: str, inside: list[str], outside: list[str]) -> None:
    """QF-14."""
    assert [stored for stored in inside if not found(vr, wanted, stored)] == []
    assert [stored for stored in outside if found(vr, wanted, stored)] == []


@pytest.mark.parametrize(
    ("vr", "wanted", "words"),
    [
        ("DA", "-", "not YYYYMMDD or a range"),
        ("DA", "20200131-20200101", "not YYYYMMDD or a range"),
        ("DA", "20201301", "not YYYYMMDD or a range"),
        ("DA", "202001", "not YYYYMMDD or a range"),
        ("TM", "-", "not HHMMSS or a range"),
        ("TM", "25", "not HHMMSS or a range"),
        ("TM", "2200-0600", "past midnight"),
        ("DT", "-", "not YYYYMMDDHHMMSS or a range"),
        ("DT", "20200101x", "not YYYYMMDDHHMMSS or a range"),
        ("IS", "one", "not an integer"),
        ("IS", "99999999999999999999", "not an integer"),
        ("DS", "1,5", "not a number"),
    ],
)
def test_refusals_say_what_is_wrong(vr: str, wanted: str, words: str) -> None:
    """QF-14, A900."""
    error = refusal(vr, wanted)
    assert words in error.comment
    assert error.offending == (TAG_OF[vr],)
    assert len(wanted) < 2 or wanted not in error.comment, "a value is a patient's and would be logged"


def test_an_error_comment_is_of_the_default_repertoire() -> None:
    comment = refusal("DA", "日本\\語".replace("\\", "¥") + "\x1b").comment
    assert comment.isascii()
    assert comment.isprintable()


# --- Combined date and time ------------------------------------------------------------------------------------------


def both(dates: str, times: str) -> tuple[Key, ...]:
    made = (key("DA", dates, combined=True), key("TM", times, combined=True))
    return combine(one for one in made if one is not None)


def test_a_date_and_a_time_make_one_interval() -> None:
    """QF-15."""
    (one,) = both("20200101-20200103", "2200-0600")
    interval = CombinedRange(time_tag=tags.STUDY_TIME, first="20200101220000.000000", last="20200103060060.999999")
    assert one == Key(tags.STUDY_DATE, "DA", interval)

    def at(date: str, time: str) -> Elements:
        return {tags.STUDY_DATE: Element("DA", date), tags.STUDY_TIME: Element("TM", time)}

    assert all_match([one], at("20200102", "1200"))
    assert all_match([one], at("20200103", "0559"))
    assert all_match([one], at("20200102", ""))
    assert not all_match([one], at("20200101", "2159"))
    assert not all_match([one], at("20200103", "0700"))
    assert not all_match([one], {tags.STUDY_TIME: Element("TM", "1200")})
    assert matches(one, Element("DA", "20200101"), time=Element("TM", "2300"))
    assert not matches(one, Element("DA", "20200101"), time=Element("TM", "2100"))
    assert not matches(one, None, time=Element("TM", "2300"))


def test_a_date_alone_is_in_the_interval_if_any_moment_of_it_is() -> None:
    (one,) = both("20200101-20200103", "2200-0600")
    fits = value_matcher(one)
    assert [fits(f"2020010{day}") for day in (1, 2, 3, 4)] == [True, True, True, False]


def test_what_is_not_joined_stays() -> None:
    """QF-15."""
    dates, times = both("20200101-20200103", "10-")
    assert dates == Key(tags.STUDY_DATE, "DA", Range("20200101", "20200103"))
    assert times == Key(tags.STUDY_TIME, "TM", Range("100000.000000", ""))
    assert [one.match for one in both("20200101", "10")] == [SingleValue("20200101"), SingleValue("100000.000000")]
    assert both("20200101", "") == (Key(tags.STUDY_DATE, "DA", SingleValue("20200101")),)
    assert both("", "10-12") == (Key(tags.STUDY_TIME, "TM", Range("100000.000000", "125960.999999")),)


@pytest.mark.parametrize(("dates", "times"), [("20200101", "2200-0600"), ("", "2200-0600"), ("20200101-", "2200-0600")])
def test_past_midnight_of_no_day(dates: str, times: str) -> None:
    """QF-15: what no range of dates makes sense of is refused after all."""
    with pytest.raises(InvalidKey) as caught:
        both(dates, times)
    assert tags.STUDY_TIME in caught.value.offending


def test_dates_are_joined_with_their_own_times() -> None:
    """A series' date with the series' time, also inside a sequence."""
    element = Element(
        "SQ",
        (
            {
                0x00400002: Element("DA", "20200101-20200102"),
                0x00400003: Element("TM", "22-06"),
                tags.STUDY_TIME: Element("TM", "10-12"),
            },
        ),
    )
    made = key_of(0x00400100, element, combined=True)
    assert made is not None
    (one,) = combine([made])
    assert isinstance(one.match, SequenceMatch)
    assert [type(inner.match) for inner in one.match.keys] == [CombinedRange, Range]
    item = {0x00400002: Element("DA", "20200102"), 0x00400003: Element("TM", "0500")}
    item |= {tags.STUDY_TIME: Element("TM", "11")}
    assert matches(one, Element("SQ", (item,)))
    assert not matches(one, Element("SQ", (item | {0x00400003: Element("TM", "0700")},)))


# --- Sequences -------------------------------------------------------------------------------------------------------


def request(procedure: str, step: str) -> Elements:
    return {
        tags.REQUESTED_PROCEDURE_ID: Element("SH", procedure),
        tags.SCHEDULED_PROCEDURE_STEP_ID: Element("SH", step),
    }


def sequence_key(*items: Elements) -> Key | None:
    return key_of(tags.REQUEST_ATTRIBUTES_SEQUENCE, Element("SQ", items))


@pytest.mark.parametrize("items", [(), ({},), (request("", ""),), (request("*", ""),)])
def test_universal_sequences(items: tuple[Elements, ...]) -> None:
    """QF-17."""
    assert sequence_key(*items) is None
    assert key_of(tags.REQUEST_ATTRIBUTES_SEQUENCE, Element("SQ", None)) is None


def test_keys_of_an_item_match_in_one_item() -> None:
    """QF-17."""
    made = sequence_key(request("P1", "S1"))
    assert made is not None
    assert matches(made, Element("SQ", (request("P2", "S2"), request("P1", "S1"))))
    assert not matches(made, Element("SQ", (request("P1", "S2"), request("P2", "S1"))))
    assert not matches(made, Element("SQ", ()))
    assert not matches(made, None)
    wild = sequence_key(request("P*", ""))
    assert wild == Key(
        tags.REQUEST_ATTRIBUTES_SEQUENCE, "SQ", SequenceMatch((Key(tags.REQUESTED_PROCEDURE_ID, "SH", Wildcard("P*")),))
    )
    assert matches(wild, Element("SQ", (request("X", ""), request("P9", ""))))


def test_sequences_within_sequences() -> None:
    """QF-17: recursively."""
    inner = Element("SQ", ({0x00080100: Element("SH", "T-A0100")},))
    made = key_of(0x00400100, Element("SQ", ({0x00400008: inner},)))
    assert made is not None
    stored = Element("SQ", ({0x00400008: Element("SQ", ({}, {0x00080100: Element("SH", "T-A0100")}))},))
    assert matches(made, stored)
    assert not matches(made, Element("SQ", ({0x00400008: Element("SQ", ())},)))


def test_two_items_are_refused() -> None:
    """QF-17."""
    with pytest.raises(InvalidKey, match="one item") as caught:
        sequence_key(request("P1", ""), request("P2", ""))
    assert caught.value.offending == (tags.REQUEST_ATTRIBUTES_SEQUENCE,)


def test_flags_hold_inside_sequences() -> None:
    made = key_of(
        tags.REQUEST_ATTRIBUTES_SEQUENCE,
        Element("SQ", ({tags.REQUESTED_PROCEDURE_ID: Element("SH", '""')},)),
        empty_value=True,
    )
    assert made is not None
    assert matches(made, Element("SQ", (request("", "S1"),)))
    assert not matches(made, Element("SQ", (request("P1", "S1"),)))


def test_the_character_set_of_an_item_is_no_key() -> None:
    """QF-16."""
    assert sequence_key({tags.SPECIFIC_CHARACTER_SET: Element("CS", "ISO_IR 100")}) is None


# --- Properties ------------------------------------------------------------------------------------------------------

plain_text = st.text(
    st.characters(codec="utf-8", exclude_characters='*?\\"', exclude_categories=["C", "Z"]), min_size=1
)


@given(
    st.sampled_from(["LO", "SH", "CS", "AE", "UC", "ST", "LT", "UT", "PN"]), plain_text.filter(bool), st.integers(0, 3)
)
def test_padding_changes_nothing(vr: str, text: str, spaces: int) -> None:
    wanted = key(vr, text)
    assert key(vr, text + " " * spaces) == wanted
    if wanted is not None and len(text) < MAX_PATTERN:
        assert matches(wanted, Element(vr, text + " " * spaces))


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 5), st.booleans())
def test_integers_compare_by_number(number: int, zeros: int, plus: bool) -> None:
    sign = "-" if number < 0 else "+" if plus else ""
    assert found("IS", sign + "0" * zeros + str(abs(number)), f" {number} ")
    assert not found("IS", str(number), str(number + 1))


@given(st.text('0123456789-.:+*?\\"', max_size=24), st.sampled_from([*TAME, "CS", "LO", "PN"]))
def test_a_key_is_made_or_refused(text: str, vr: str) -> None:
    """Whatever a requester writes ends in a key, in none, or in a refusal that says where."""
    refused: tuple[int, ...] = ()
    made = None
    try:
        made = key(vr, text, empty_value=True, fuzzy=True)
    except InvalidKey as error:
        refused = error.offending
    assert refused in {(), (TAG_OF[vr],)}
    if made is not None:
        assert made.tag == TAG_OF[vr]
        assert matches(made, Element(vr, None)) == isinstance(made.match, EmptyValue)


@pytest.mark.parametrize(
    ("vr", "text", "normal"),
    [
        ("DA", "2020.02.29 ", "20200229"),
        ("TM", "10", "100000.000000"),
        ("DT", "2020-0500", "20200101000000.000000-0500"),
        ("IS", " +07", "7"),
        ("DS", "-0.0", "0"),
        ("DS", "1e300", "1e+300"),
        ("LO", " a ", "a"),
        ("UT", " a ", " a"),
        ("UI", "1.2\0", "1.2"),
        ("DS", "x", ""),
    ],
)
def test_normal_forms(vr: str, text: str, normal: str) -> None:
    """What a single value holds, and what an index has to compare it with."""
    assert normal_form(vr, text) == normal


def test_a_name_is_a_name() -> None:
    """QF-09; more in test_person_name_matching.py."""
    made = key("PN", "SMITH^JO*")
    assert made == Key(tags.PATIENT_NAME, "PN", NameMatch(groups=("smith^jo*", "", ""), any_group=True))
