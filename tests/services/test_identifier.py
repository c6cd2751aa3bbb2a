"""From an identifier to a query: PS3.4 C.4.1.1.3, C.4.1.2, C.4.1.3. STANDARD QF-03 to QF-07, QF-16, QF-17, QF-22."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from pacslite.dicom import tags
from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.levels import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT, Level, Model
from pacslite.dicom.matching import CombinedRange, SequenceMatch, SingleValue
from pacslite.errors import ERROR_COMMENT_LENGTH, InvalidKey
from pacslite.services.identifier import Question, question
from pacslite.services.negotiated import Agreed

UNIQUE = {
    "PatientID": "P1",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.4",
}
RELATIONAL = Agreed(relational=True)


def tag_of(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def elements(**attributes: object) -> Elements:
    """By keyword; a mapping is a sequence of one item."""
    found: dict[int, Element] = {}
    for keyword, value in attributes.items():
        tag = tag_of(keyword)
        if isinstance(value, Mapping):
            found[tag] = Element("SQ", (elements(**value),))
        else:
            assert isinstance(value, str)
            found[tag] = Element(dictionary_VR(tag), value)
    return dict(sorted(found.items()))


def asked(level: str, model: Model = STUDY_ROOT, agreed: Agreed = Agreed(), /, **attributes: object) -> Question:  # noqa: B008 - frozen
    return question(elements(QueryRetrieveLevel=level, **attributes), model, agreed, ae_title="ARCHIVE")


def wanted(of: Question) -> list[int]:
    return [attribute.tag for attribute in of.query.wanted]


def matched(of: Question) -> list[int]:
    return [key.tag for key in of.query.keys]


# --- Levels (QF-04) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "levels"),
    [
        (PATIENT_ROOT, ["PATIENT", "STUDY", "SERIES", "IMAGE"]),
        (STUDY_ROOT, ["STUDY", "SERIES", "IMAGE"]),
        (PATIENT_STUDY_ONLY, ["PATIENT", "STUDY"]),
    ],
)
def test_qf_04_a_model_has_its_levels_and_no_others(model: Model, levels: list[str]) -> None:
    for level in ("PATIENT", "STUDY", "SERIES", "IMAGE"):
        if level in levels:
            found = asked(level, model, **UNIQUE)
            assert found.query.level is Level(level)
            assert found.fixed[tags.QUERY_RETRIEVE_LEVEL] == Element("CS", level)
        else:
            with pytest.raises(InvalidKey, match=f"{model.name} has no {level} level; use {', '.join(levels)}"):
                asked(level, model, **UNIQUE)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "Level is missing; use STUDY, SERIES, IMAGE"),
        ({"QueryRetrieveLevel": ""}, "Level is missing"),
        ({"QueryRetrieveLevel": "study"}, "no such Query/Retrieve Level"),
        ({"QueryRetrieveLevel": "FRAME"}, "no such Query/Retrieve Level; use STUDY, SERIES, IMAGE"),
        ({"QueryRetrieveLevel": "STUDY\\SERIES"}, "no such Query/Retrieve Level"),
        ({"QueryRetrieveLevel": "*"}, "no such Query/Retrieve Level"),
    ],
)
def test_qf_04_an_illegal_level_is_refused_and_named(attributes: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidKey, match=words) as caught:
        question(elements(PatientID="P1", **attributes), STUDY_ROOT, Agreed(), ae_title="ARCHIVE")
    assert (caught.value.status, caught.value.offending) == (0xA900, (0x00080052,))


# --- The hierarchy (QF-06, QF-07) ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "level", "needed"),
    [
        (PATIENT_ROOT, "PATIENT", []),
        (PATIENT_ROOT, "STUDY", ["PatientID"]),
        (PATIENT_ROOT, "SERIES", ["PatientID", "StudyInstanceUID"]),
        (PATIENT_ROOT, "IMAGE", ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"]),
        (STUDY_ROOT, "STUDY", []),
        (STUDY_ROOT, "SERIES", ["StudyInstanceUID"]),
        (STUDY_ROOT, "IMAGE", ["StudyInstanceUID", "SeriesInstanceUID"]),
        (PATIENT_STUDY_ONLY, "STUDY", ["PatientID"]),
    ],
)
def test_qf_06_the_unique_keys_of_higher_levels_are_needed(model: Model, level: str, needed: list[str]) -> None:
    found = asked(level, model, **{keyword: UNIQUE[keyword] for keyword in needed})
    assert matched(found) == wanted(found) == sorted(map(tag_of, needed))
    assert found.complete
    for missing in needed:
        given = {keyword: UNIQUE[keyword] for keyword in needed if keyword != missing}
        for attributes in (given, {**given, missing: ""}):
            with pytest.raises(InvalidKey, match=f"^{level} level needs {missing}$") as caught:
                asked(level, model, **attributes)
            assert caught.value.offending == (tag_of(missing),)


def test_qf_06_all_that_are_missing_are_named() -> None:
    with pytest.raises(InvalidKey) as caught:
        asked("IMAGE", PATIENT_ROOT)
    assert caught.value.offending == tuple(map(tag_of, UNIQUE))
    assert len(str(caught.value)) <= ERROR_COMMENT_LENGTH


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "P*"),
        ("PatientID", "P?"),
        ("PatientID", "P1\\P2"),
        ("StudyInstanceUID", "1.2.3\\1.2.4"),
        ("StudyInstanceUID", "*"),
        ("SeriesInstanceUID", "1.2.*"),
    ],
)
def test_qf_06_a_higher_unique_key_is_one_value(keyword: str, value: str) -> None:
    with pytest.raises(InvalidKey, match=f"{keyword} must be one value at IMAGE level") as caught:
        asked("IMAGE", PATIENT_ROOT, **{**UNIQUE, keyword: value})
    assert caught.value.offending == (tag_of(keyword),)


def test_qf_06_in_the_study_root_the_patient_s_attributes_are_the_study_s() -> None:
    found = asked("STUDY", PatientName="A*", PatientID="P1", PatientBirthDate="", NumberOfPatientRelatedStudies="")
    assert found.complete
    assert matched(found) == [tags.PATIENT_NAME, tags.PATIENT_ID]
    assert len(wanted(found)) == 4
    beyond = asked("STUDY", PATIENT_ROOT, PatientName="A*", PatientID="P1")
    assert not beyond.complete
    assert wanted(beyond) == matched(beyond) == [tags.PATIENT_ID]


@pytest.mark.parametrize(
    ("level", "attribute"),
    [
        ("SERIES", {"PatientName": "A*"}),
        ("SERIES", {"PatientID": "P1"}),
        ("SERIES", {"StudyDate": "2024"}),
        ("IMAGE", {"Modality": "CT"}),
        ("STUDY", {"Modality": "CT"}),
        ("STUDY", {"SeriesInstanceUID": "*"}),
        ("STUDY", {"InstanceNumber": "x"}),
        ("STUDY", {"DetectorTemperature": ""}),
    ],
)
def test_qf_07_attributes_of_other_levels_are_left_out_and_the_answers_say_so(
    level: str, attribute: dict[str, str]
) -> None:
    needed = {} if level == "STUDY" else {key: UNIQUE[key] for key in ("StudyInstanceUID", "SeriesInstanceUID")}
    if level == "SERIES":
        del needed["SeriesInstanceUID"]
    found = asked(level, **needed, **attribute)
    assert not found.complete
    (tag,) = map(tag_of, attribute)
    assert tag not in wanted(found)
    assert tag not in matched(found)


def test_qf_06_a_relational_request_may_use_every_level_above() -> None:
    found = asked("SERIES", STUDY_ROOT, RELATIONAL, PatientName="A*", StudyDate="20240101-", Modality="CT", StudyID="")
    assert found.complete
    assert matched(found) == [tags.STUDY_DATE, tags.MODALITY, tags.PATIENT_NAME]
    assert len(wanted(found)) == 4
    below = asked("STUDY", STUDY_ROOT, RELATIONAL, PatientName="A*", Modality="CT")
    assert not below.complete
    assert matched(below) == [tags.PATIENT_NAME]
    images = asked("IMAGE", PATIENT_ROOT, RELATIONAL, StudyInstanceUID="1.2\\1.3", PatientID="P*")
    assert matched(images) == [tags.PATIENT_ID, tags.STUDY_INSTANCE_UID]


# --- What is supported (QF-01, QF-03, QF-05) -------------------------------------------------------------------------


def test_qf_03_every_supported_attribute_is_wanted_and_others_are_not() -> None:
    found = asked("STUDY", PatientName="", StudyDate="", RetrieveURL="", StudyDescription="*x*")
    assert wanted(found) == [tags.STUDY_DATE, tags.STUDY_DESCRIPTION, tags.PATIENT_NAME]
    assert not found.complete


def test_qf_03_any_attribute_may_be_asked_for_at_image_level() -> None:
    found = asked("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", KVP="", ContrastBolusAgent="")
    assert found.complete
    assert tag_of("KVP") in wanted(found)
    nobody = asked("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", RetrieveURL="", QueryRetrieveView="")
    assert not nobody.complete


def test_qf_19_counts_are_returned_and_not_matched() -> None:
    plain = asked("STUDY", NumberOfStudyRelatedInstances="")
    assert plain.complete
    matching = asked("STUDY", NumberOfStudyRelatedInstances="3")
    assert wanted(matching) == wanted(plain)
    assert matched(matching) == []
    assert not matching.complete


def test_qf_05_where_to_retrieve_from_is_in_every_answer() -> None:
    assert asked("STUDY").fixed == {
        tags.QUERY_RETRIEVE_LEVEL: Element("CS", "STUDY"),
        tags.RETRIEVE_AE_TITLE: Element("AE", "ARCHIVE"),
    }
    found = asked("STUDY", RetrieveAETitle="ANYBODY", InstanceAvailability="")
    assert found.fixed[tags.RETRIEVE_AE_TITLE] == Element("AE", "ARCHIVE")
    assert found.fixed[tags.INSTANCE_AVAILABILITY] == Element("CS", "ONLINE")
    assert found.complete
    assert wanted(found) == []


def test_qf_22_and_qf_16_what_is_no_key_is_passed_over() -> None:
    identifier = {
        0x00080000: Element("UL", (100,)),
        **elements(SpecificCharacterSet="ISO_IR 100", QueryRetrieveLevel="STUDY", TimezoneOffsetFromUTC="+0100"),
        0x00100000: Element("UL", (0,)),
    }
    found = question(identifier, STUDY_ROOT, Agreed(), ae_title="ARCHIVE")
    assert (wanted(found), matched(found), found.complete) == ([], [], True)
    assert tags.TIMEZONE_OFFSET_FROM_UTC not in found.fixed


# --- What was agreed (QF-15, QF-16, QF-23) ---------------------------------------------------------------------------


def test_qf_16_a_time_zone_counts_only_if_agreed() -> None:
    plain = asked("STUDY", StudyDate="20240101", TimezoneOffsetFromUTC="-0330")
    assert plain.query.utc_offset_minutes is None
    found = asked("STUDY", STUDY_ROOT, Agreed(time_zone=True), StudyDate="20240101", TimezoneOffsetFromUTC="-0330")
    assert found.query.utc_offset_minutes == -210
    assert found.fixed[tags.TIMEZONE_OFFSET_FROM_UTC] == Element("SH", "-0330")
    none = asked("STUDY", STUDY_ROOT, Agreed(time_zone=True), StudyDate="20240101")
    assert none.query.utc_offset_minutes is None
    with pytest.raises(InvalidKey, match=r"\+0100") as caught:
        asked("STUDY", STUDY_ROOT, Agreed(time_zone=True), TimezoneOffsetFromUTC="CET")
    assert caught.value.offending == (0x00080201,)
    assert asked("STUDY", TimezoneOffsetFromUTC="CET").complete


def test_qf_15_dates_and_times_are_combined_only_if_agreed() -> None:
    keys = {"StudyDate": "20240101-20240103", "StudyTime": "2200-0600"}
    with pytest.raises(InvalidKey):
        asked("STUDY", **keys)
    (key,) = asked("STUDY", STUDY_ROOT, Agreed(combined_date_time=True), **keys).query.keys
    assert isinstance(key.match, CombinedRange)
    assert key.match.first.startswith("20240101220000")
    apart = asked("STUDY", StudyDate="20240101-20240103", StudyTime="0600-2200")
    assert matched(apart) == [tags.STUDY_DATE, tags.STUDY_TIME]


def test_qf_23_the_empty_value_and_several_values_only_if_agreed() -> None:
    literal = asked("STUDY", AccessionNumber='""').query.keys[0]
    assert literal.match == SingleValue('""')
    agreed = asked("STUDY", STUDY_ROOT, Agreed(empty_value=True), AccessionNumber='""').query.keys[0]
    assert agreed.match != literal.match
    with pytest.raises(InvalidKey):
        asked("STUDY", OtherPatientIDs="A\\B")
    several = asked("STUDY", STUDY_ROOT, Agreed(multiple_values=True), OtherPatientIDs="A\\B").query.keys[0]
    assert not isinstance(several.match, SingleValue)


def test_qf_09_fuzzy_matching_only_if_agreed() -> None:
    plain = asked("STUDY", PatientName="SMYTH").query.keys[0]
    fuzzy = asked("STUDY", STUDY_ROOT, Agreed(fuzzy=True), PatientName="SMYTH").query.keys[0]
    assert plain != fuzzy


def test_qf_17_a_sequence_is_matched_and_returned_by_its_item() -> None:
    item = {"RequestedProcedureID": "R1", "ScheduledProcedureStepID": ""}
    found = asked("SERIES", StudyInstanceUID="1.2", RequestAttributesSequence=item)
    key = next(key for key in found.query.keys if key.tag == tags.REQUEST_ATTRIBUTES_SEQUENCE)
    assert isinstance(key.match, SequenceMatch)
    assert [inner.tag for inner in key.match.keys] == [tags.REQUESTED_PROCEDURE_ID]
    (attribute,) = [one for one in found.query.wanted if one.tag == tags.REQUEST_ATTRIBUTES_SEQUENCE]
    assert {inner.tag for inner in attribute.items} == {
        tags.REQUESTED_PROCEDURE_ID,
        tags.SCHEDULED_PROCEDURE_STEP_ID,
    }
    assert found.complete


def test_qf_17_an_empty_item_or_none_is_universal() -> None:
    values: tuple[tuple[Elements, ...], ...] = ((), ({},))
    for value in values:
        identifier = {
            **elements(QueryRetrieveLevel="SERIES", StudyInstanceUID="1.2"),
            tags.REQUEST_ATTRIBUTES_SEQUENCE: Element("SQ", value),
        }
        found = question(identifier, STUDY_ROOT, Agreed(), ae_title="ARCHIVE")
        assert tags.REQUEST_ATTRIBUTES_SEQUENCE not in matched(found)
        assert found.query.wanted[-1].items == ()


def test_qf_17_what_is_not_kept_of_an_item_is_left_out_and_said() -> None:
    item = {"RequestedProcedureID": "R1", "RequestedProcedureComments": ""}
    found = asked("SERIES", StudyInstanceUID="1.2", RequestAttributesSequence=item)
    assert not found.complete
    (attribute,) = [one for one in found.query.wanted if one.tag == tags.REQUEST_ATTRIBUTES_SEQUENCE]
    assert [inner.tag for inner in attribute.items] == [tags.REQUESTED_PROCEDURE_ID]
    nothing = asked("SERIES", StudyInstanceUID="1.2", RequestAttributesSequence={"RequestedProcedureComments": ""})
    assert tags.REQUEST_ATTRIBUTES_SEQUENCE not in wanted(nothing)
    assert not nothing.complete


def test_a_wrong_vr_does_not_make_a_wildcard_legal() -> None:
    """QF-10: what counts is what PS3.6 says of the attribute."""
    identifier = {
        **elements(QueryRetrieveLevel="STUDY"),
        tags.STUDY_INSTANCE_UID: Element("LO", "1.2.*"),
    }
    with pytest.raises(InvalidKey) as caught:
        question(identifier, STUDY_ROOT, Agreed(), ae_title="ARCHIVE")
    assert caught.value.offending == (tags.STUDY_INSTANCE_UID,)


@pytest.mark.parametrize(
    "attributes",
    [
        {"StudyInstanceUID": "1.2.*"},
        {"StudyDate": "2024*"},
        {"StudyDate": "20241301"},
        {"StudyDate": "yesterday"},
        {"StudyDate": "20240103-20240101"},
        {"StudyTime": "2500"},
        {"StudyTime": "*"},
        {"PatientBirthDate": "1970\\1971"},
        {"AccessionNumber": "A\\B"},
    ],
)
def test_qf_10_and_qf_12_an_illegal_key_is_named_with_words_that_fit(attributes: dict[str, str]) -> None:
    with pytest.raises(InvalidKey) as caught:
        asked("STUDY", **attributes)
    assert caught.value.offending == tuple(map(tag_of, attributes))
    assert next(iter(attributes)) in caught.value.comment


@pytest.mark.parametrize(
    ("tag", "element", "words"),
    [
        (tags.PATIENT_NAME, Element("SQ", ({tags.PATIENT_ID: Element("LO", "x")},)), "PatientName is no sequence"),
        (tags.OTHER_PATIENT_IDS, Element("SQ", ({},)), "OtherPatientIDs is no sequence"),
        (tags.REQUEST_ATTRIBUTES_SEQUENCE, Element("LO", "x"), "RequestAttributesSequence is a sequence"),
    ],
)
def test_qf_17_only_sequences_are_sequences(tag: int, element: Element, words: str) -> None:
    identifier = {**elements(QueryRetrieveLevel="SERIES", StudyInstanceUID="1.2"), tag: element}
    with pytest.raises(InvalidKey, match=words) as caught:
        question(identifier, STUDY_ROOT, RELATIONAL, ae_title="ARCHIVE")
    assert caught.value.offending == (tag,)


def test_the_same_attributes_with_other_values_ask_something_else() -> None:
    """What is remembered of a request are its attributes alone."""
    first = asked("STUDY", PatientID="P1", StudyDate="", PatientName="")
    second = asked("STUDY", PatientID="", StudyDate="20240101", PatientName="x*")
    assert wanted(first) == wanted(second)
    assert (matched(first), matched(second)) == ([tags.PATIENT_ID], [tags.STUDY_DATE, tags.PATIENT_NAME])
    relational = asked("SERIES", STUDY_ROOT, RELATIONAL, StudyInstanceUID="1.2", PatientName="")
    hierarchical = asked("SERIES", StudyInstanceUID="1.2", PatientName="")
    assert (relational.complete, hierarchical.complete) == (True, False)
    of_patient = asked("PATIENT", PATIENT_ROOT, PatientID="P1", StudyDate="", PatientName="")
    assert not of_patient.complete


def test_a_request_for_very_many_attributes_is_understood_like_others() -> None:
    many = {0x00110000 + number: Element("LO", "") for number in range(0x1000, 0x1400)}
    identifier = {**elements(QueryRetrieveLevel="STUDY", PatientID="P1"), **many}
    found = question(identifier, STUDY_ROOT, Agreed(), ae_title="ARCHIVE")
    assert (wanted(found), matched(found), found.complete) == ([tags.PATIENT_ID], [tags.PATIENT_ID], False)
