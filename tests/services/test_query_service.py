"""C-FIND on a real archive, without a network: what matches, and what the answers hold. PS3.4 Annex C; STANDARD 4."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import config

from kit.asking import EVERYTHING, Asking, asking, request
from kit.encode import EXPLICIT_LITTLE
from kit.finding import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from kit.hospital import DATE, EVERY_STUDY, EVERYTHING_STORED, JANE_OLD, TIME, ZONE
from kit.identifiers import SYNTAXES, encoded, identifier
from kit.samples import put
from pacslite.dimse.status import PENDING, PENDING_WITH_WARNING, SUCCESS
from pacslite.errors import InvalidKey, MistypedArgument, UnableToProcess
from pacslite.facts import QueryServed


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Asking]:
    async with asking(tmp_path / "data", EVERYTHING_STORED) as ask:
        yield ask


async def studies(ask: Asking, extended: bytes = b"", /, **keys: object) -> list[str]:
    """Study Instance UIDs of the studies that match; ``extended`` is what was offered in negotiation."""
    asked = await ask(identifier("STUDY", **{"StudyInstanceUID": None, **keys}), extended=extended)
    assert asked.final.status == SUCCESS
    return asked.values("StudyInstanceUID")


# --- Statuses and answers (QF-01 to QF-05) ---------------------------------------------------------------------------


async def test_qf_01_answers_are_ff00_when_everything_asked_for_is_supported(ask: Asking) -> None:
    asked = await ask(identifier("STUDY", PatientName="Doe*", StudyDate=None))
    assert (asked.statuses, asked.final.status, len(asked.pending)) == ({PENDING}, SUCCESS, 2)


@pytest.mark.parametrize("unsupported", [{"RetrieveURL": None}, {"Modality": None}, {"Modality": "MR"}])
async def test_qf_01_and_qf_03_every_answer_is_ff01_when_something_is_left_out(
    ask: Asking, unsupported: dict[str, object]
) -> None:
    asked = await ask(identifier("STUDY", PatientName="Doe*", **unsupported))
    assert (asked.statuses, asked.final.status, len(asked.pending)) == ({PENDING_WITH_WARNING}, SUCCESS, 2)
    assert not any(keyword in answer for answer in asked.answers for keyword in unsupported)


async def test_qf_02_no_match_is_one_success_without_an_identifier(ask: Asking) -> None:
    asked = await ask(identifier("STUDY", PatientName="NOBODY", RetrieveURL=None))
    assert (asked.pending, asked.final.status, asked.final.data_set) == ([], SUCCESS, None)


async def test_qf_03_an_answer_holds_what_was_asked_for_and_nothing_else(ask: Asking) -> None:
    keys = {"PatientName": None, "PatientID": "P4", "AccessionNumber": None, "StudyDate": None, "PatientSize": None}
    (answer,) = (await ask(identifier("STUDY", **keys))).answers
    assert set(answer.dir()) == {*keys, "QueryRetrieveLevel", "RetrieveAETitle"}
    for keyword in ("PatientName", "AccessionNumber", "StudyDate", "PatientSize"):
        assert answer[keyword].is_empty
    assert answer.PatientID == "P4"


async def test_qf_03_and_qf_20_the_order_of_an_answer_ascends_and_ascii_needs_no_label(ask: Asking) -> None:
    asked = await ask(
        identifier("STUDY", PatientID="P1", StudyDate=None, StudyID=None, SpecificCharacterSet="ISO_IR 100")
    )
    for answer in asked.answers:
        tags = [element.tag for element in answer]
        assert tags == sorted(tags)
        assert "SpecificCharacterSet" not in answer


@pytest.mark.parametrize(
    ("sop_class", "level", "keys"),
    [
        (PATIENT_ROOT, "PATIENT", {}),
        (PATIENT_ROOT, "STUDY", {"PatientID": "P1"}),
        (PATIENT_ROOT, "SERIES", {"PatientID": "P1", "StudyInstanceUID": "1.1"}),
        (PATIENT_ROOT, "IMAGE", {"PatientID": "P1", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}),
        (STUDY_ROOT, "STUDY", {}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.1"}),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}),
        (PATIENT_STUDY_ONLY, "PATIENT", {}),
        (PATIENT_STUDY_ONLY, "STUDY", {"PatientID": "P1"}),
    ],
)
async def test_qf_04_and_qf_05_level_and_retrieve_ae_title_are_in_every_answer(
    ask: Asking, sop_class: str, level: str, keys: dict[str, str]
) -> None:
    asked = await ask(identifier(level, **keys, InstanceAvailability=None), sop_class)
    assert asked.statuses == {PENDING}
    assert len(asked.pending) == {"PATIENT": 3, "STUDY": 2 if keys else 4, "SERIES": 2, "IMAGE": 2}[level]
    for answer in asked.answers:
        assert answer.QueryRetrieveLevel == level
        assert answer.RetrieveAETitle == "PACSLITE"
        assert answer.InstanceAvailability == "ONLINE"
        for keyword, value in keys.items():
            assert answer[keyword].value == value


@pytest.mark.parametrize("syntax", SYNTAXES)
async def test_every_transfer_syntax(ask: Asking, syntax: str) -> None:
    keys = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "InstanceNumber": "2", "Rows": None}
    asked = await ask(identifier("IMAGE", **keys, SOPInstanceUID=None), syntax=syntax)
    assert asked.values("SOPInstanceUID") == ["1.1.1.2"]
    assert asked.values("InstanceNumber") == ["2"]


async def test_qf_03_any_attribute_of_the_stored_header_is_returned_at_image_level(ask: Asking) -> None:
    keys = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1"}
    asked = await ask(identifier("IMAGE", **keys, KVP=None, ContrastBolusAgent=None, AvailableTransferSyntaxUID=None))
    (answer,) = asked.answers
    assert asked.statuses == {PENDING}
    assert answer.KVP == 120
    assert answer["ContrastBolusAgent"].is_empty
    assert answer.AvailableTransferSyntaxUID == "1.2.840.10008.1.2.1"


# --- What is refused (QF-04, QF-06, QF-10, QF-12) --------------------------------------------------------------------


async def test_qf_06_a_refusal_names_the_element_and_what_to_do(ask: Asking) -> None:
    with pytest.raises(InvalidKey, match="SERIES level needs StudyInstanceUID") as caught:
        await ask(identifier("SERIES", Modality="CT"))
    assert (caught.value.status, caught.value.offending) == (0xA900, (0x0020000D,))
    assert not [fact for fact in ask.facts if isinstance(fact, QueryServed)]


async def test_qf_01_an_identifier_that_cannot_be_read_is_cxxx_with_the_reason(ask: Asking) -> None:
    for broken in (b"\xff" * 100, b"\x08\x00\x52\x00CS\xff\xffSTUDY "):
        with pytest.raises(UnableToProcess, match="identifier: ") as caught:
            await ask(broken)
        assert caught.value.status & 0xF000 == 0xC000


async def test_an_empty_identifier_lacks_a_level(ask: Asking) -> None:
    with pytest.raises(InvalidKey, match="Query/Retrieve Level is missing"):
        await ask(b"")


async def test_a_request_without_an_identifier_is_refused(ask: Asking) -> None:
    with pytest.raises(MistypedArgument, match="without an identifier"):
        await anext(ask.service.serve(replace(request(b""), data_set=None)))


# --- Matching (QF-08 to QF-19) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param({"AccessionNumber": "A_1%"}, ["1.1"], id="qf_08 and qf_11, as it is"),
        pytest.param({"AccessionNumber": "a_1%"}, ["1.3"], id="qf_08, case counts"),
        pytest.param({"AccessionNumber": "A_1_"}, [], id="qf_11, _ is data"),
        pytest.param({"AccessionNumber": "A%"}, [], id="qf_11, % is data"),
        pytest.param({"PatientID": "P2"}, [], id="qf_08, case counts in LO"),
        pytest.param({"PatientID": "p2"}, ["1.3"], id="qf_08, LO"),
        pytest.param({"PatientName": "doe^JANE"}, ["1.1", "1.2"], id="qf_09, case"),
        pytest.param({"PatientName": "DÖE^Jané"}, ["1.1", "1.2"], id="qf_09, accents"),
        pytest.param({"PatientName": "Doe"}, [], id="qf_09, whole names"),
        pytest.param({"PatientName": "Jane^Doe"}, [], id="qf_09, order"),
        pytest.param({"PatientName": "smith^*"}, ["1.3"], id="qf_10, PN"),
        pytest.param({"PatientName": "*mit*"}, ["1.3"], id="qf_10, PN inside"),
        pytest.param({"AccessionNumber": "A?1?"}, ["1.1", "1.2"], id="qf_10, ? is one character"),
        pytest.param({"AccessionNumber": "A?1"}, [], id="qf_10, ? is not none"),
        pytest.param({"AccessionNumber": "*1*"}, ["1.1", "1.2", "1.3"], id="qf_10, *"),
        pytest.param({"StudyDescription": "Thorax [new]"}, ["1.1"], id="qf_11, [ is data"),
        pytest.param({"StudyDescription": "*[n*"}, ["1.1"], id="qf_11, [ is data beside *"),
        pytest.param({"StudyDescription": "Thorax [nexw]"}, [], id="qf_11, no character class"),
        pytest.param({"AdditionalPatientHistory": "a\\b"}, ["1.1"], id="qf_11, backslash is data in LT"),
        pytest.param({"AdditionalPatientHistory": "a\\*"}, ["1.1"], id="qf_11, backslash is no escape"),
        pytest.param({"StudyInstanceUID": ["1.1", "1.3", "9.9"]}, ["1.1", "1.3"], id="qf_12, list of UIDs"),
        pytest.param({"AccessionNumber": None}, EVERY_STUDY, id="qf_13, universal"),
        pytest.param({"AccessionNumber": "*"}, EVERY_STUDY, id="qf_13, * on absent values"),
        pytest.param({"PatientName": "*"}, EVERY_STUDY, id="qf_13, * on an empty name"),
        pytest.param({"StudyDate": "20240101"}, ["1.1"], id="qf_14, one date"),
        pytest.param({"StudyDate": "20240101-20240103"}, ["1.1", "1.2"], id="qf_14, both ends included"),
        pytest.param({"StudyDate": "20240103-"}, ["1.2", "1.3"], id="qf_14, from"),
        pytest.param({"StudyDate": "-20240103"}, ["1.1", "1.2"], id="qf_14, until"),
        pytest.param({"StudyTime": "223000"}, ["1.2"], id="qf_14, by meaning"),
        pytest.param({"StudyTime": "06-0600"}, ["1.3"], id="qf_14, precision of the end"),
        pytest.param({"StudyTime": "2230-2315"}, ["1.1", "1.2"], id="qf_14, times"),
        pytest.param(
            {"StudyDate": "20240101-20240103", "StudyTime": "0000-2230"}, ["1.2"], id="qf_15, apart without negotiation"
        ),
        pytest.param({"OtherPatientIDs": "X2"}, ["1.1", "1.2"], id="qf_18, any of several values"),
        pytest.param({"OtherPatientIDs": "?2"}, ["1.1", "1.2"], id="qf_18, with a wild card"),
        pytest.param({"ModalitiesInStudy": "SR"}, ["1.1"], id="qf_19, any series"),
        pytest.param({"ModalitiesInStudy": ["MR", "SR"]}, ["1.1", "1.2"], id="qf_19, any of a list"),
        pytest.param({"ModalitiesInStudy": "X*"}, [], id="qf_19, none"),
        pytest.param({"SOPClassesInStudy": "1.2.840.10008.5.1.4.1.1.88.11"}, ["1.1"], id="SOP classes"),
    ],
)
async def test_what_a_key_matches(ask: Asking, keys: dict[str, object], found: list[str]) -> None:
    assert await studies(ask, **keys) == found


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"StudyInstanceUID": "1.*"}, id="qf_10, UI"),
        pytest.param({"StudyDate": "2024*"}, id="qf_10, DA"),
        pytest.param({"StudyTime": "*"}, id="qf_10, TM"),
        pytest.param({"PatientAge": "0*"}, id="qf_10, AS"),
        pytest.param({"AccessionNumber": ["A", "B"]}, id="qf_12, a list of others"),
        pytest.param({"StudyTime": "2300-0100"}, id="qf_14, past midnight"),
    ],
)
async def test_qf_10_qf_12_and_qf_14_what_is_not_legal_is_a900(ask: Asking, keys: dict[str, object]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(config.settings, "_writing_validation_mode", config.IGNORE)
        illegal = identifier("STUDY", **keys)
        with pytest.raises(InvalidKey) as caught:
            await ask(illegal)
    assert caught.value.status == 0xA900
    assert caught.value.offending == (illegal[next(iter(keys))].tag,)


@pytest.mark.parametrize(
    ("key", "is_found"),
    [
        ("20240101231500.5+0000", True),
        ("20240102001500.5+0100", True),
        ("20240101181500.5-0500", True),
        ("20240101231500.5-0500", False),
        ("20240101231500+0000-20240101231501+0000", True),
        ("20240101181500-0500-20240101181501-0500", True),
        ("-20240101231500+0000", True),
        ("20240101231502+0000-", False),
        ("2024", True),
        ("2023", False),
    ],
)
async def test_qf_14_a_date_time_is_a_moment_and_its_offset_no_range(ask: Asking, key: str, is_found: bool) -> None:
    given = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1"}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(config.settings, "_writing_validation_mode", config.IGNORE)
        asked = await ask(identifier("IMAGE", **given, AcquisitionDateTime=key))
    assert (len(asked.pending), asked.final.status) == (int(is_found), SUCCESS)


async def test_qf_15_combined_only_where_agreed(ask: Asking) -> None:
    keys = {"StudyDate": "20240101-20240103", "StudyTime": "2300-2300"}
    assert await studies(ask, **keys) == []
    assert await studies(ask, EVERYTHING, **keys) == ["1.1", "1.2"]
    assert await studies(ask, EVERYTHING, StudyDate="20240101-20240103", StudyTime="2315-0600") == ["1.1"]


async def test_qf_06_and_qf_07_relational_queries_only_where_agreed(ask: Asking) -> None:
    with pytest.raises(InvalidKey):
        await ask(identifier("SERIES", PatientName="doe*", Modality=None, StudyDate=None))
    asked = await ask(identifier("SERIES", PatientName="doe*", Modality=None, StudyDate=None), extended=b"\1")
    assert asked.statuses == {PENDING}
    assert asked.values("Modality") == ["CT", "MR", "SR"]
    assert asked.values("PatientName") == ["Doe^Jane"] * 3
    images = await ask(
        identifier("IMAGE", PatientID="P1", StudyDate="20240101", SOPInstanceUID=None), PATIENT_ROOT, extended=b"\1"
    )
    assert images.values("SOPInstanceUID") == ["1.1.1.1", "1.1.1.2", "1.1.2.1"]
    hierarchical = await ask(identifier("SERIES", StudyInstanceUID="1.1", PatientName="nobody", Modality=None))
    assert hierarchical.statuses == {PENDING_WITH_WARNING}
    assert hierarchical.values("Modality") == ["CT", "SR"]
    assert not any("PatientName" in answer for answer in hierarchical.answers)


async def test_qf_09_fuzzy_names_only_where_agreed(ask: Asking) -> None:
    assert await studies(ask, PatientName="john smith") == []
    assert await studies(ask, EVERYTHING, PatientName="john smith") == ["1.3"]
    assert await studies(ask, EVERYTHING, PatientName="SMYTH") == ["1.3"]
    assert await studies(ask, b"\1\1\0", PatientName="SMYTH") == []


async def test_qf_23_the_empty_value_only_where_agreed(ask: Asking) -> None:
    assert await studies(ask, AccessionNumber='""') == []
    assert await studies(ask, EVERYTHING, AccessionNumber='""') == ["1.4"]
    assert await studies(ask, EVERYTHING, PatientName='""') == ["1.4"]
    assert await studies(ask, EVERYTHING, StudyDate='""') == ["1.4"]


async def test_qf_23_several_values_only_where_agreed(ask: Asking) -> None:
    with pytest.raises(InvalidKey):
        await studies(ask, OtherPatientIDs=["X1", "X2"])
    assert await studies(ask, EVERYTHING, OtherPatientIDs=["X2", "X1"]) == ["1.1", "1.2"]
    assert await studies(ask, EVERYTHING, OtherPatientIDs=["X1", "X3"]) == []


async def test_qf_18_an_answer_holds_all_values(ask: Asking) -> None:
    (answer,) = (await ask(identifier("PATIENT", OtherPatientIDs="X2"), PATIENT_ROOT)).answers
    assert answer.OtherPatientIDs == ["X1", "X2"]
    keys = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1"}
    (image,) = (await ask(identifier("IMAGE", **keys, ImageType="PRIMARY"))).answers
    assert image.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL"]


async def test_qf_19_modalities_are_all_listed_and_counts_are_exact(ask: Asking) -> None:
    counts = {"NumberOfStudyRelatedSeries": None, "NumberOfStudyRelatedInstances": None}
    asked = await ask(identifier("STUDY", ModalitiesInStudy="SR", SOPClassesInStudy=None, **counts))
    (answer,) = asked.answers
    assert asked.statuses == {PENDING}
    assert sorted(answer.ModalitiesInStudy) == ["CT", "SR"]
    assert len(answer.SOPClassesInStudy) == 2
    assert (answer.NumberOfStudyRelatedSeries, answer.NumberOfStudyRelatedInstances) == (2, 3)
    of_patient = {"NumberOfPatientRelatedStudies": None, "NumberOfPatientRelatedInstances": None}
    (patient,) = (await ask(identifier("PATIENT", PatientID="P1", **of_patient), PATIENT_ROOT)).answers
    assert (patient.NumberOfPatientRelatedStudies, patient.NumberOfPatientRelatedInstances) == (2, 4)
    series = await ask(identifier("SERIES", StudyInstanceUID="1.1", NumberOfSeriesRelatedInstances=None))
    assert series.values("NumberOfSeriesRelatedInstances") == ["1", "2"]


async def test_qf_16_the_requester_s_time_zone_counts_only_where_agreed(tmp_path: Path) -> None:
    in_berlin = JANE_OLD.but(
        more=((DATE, "DA", "20240102"), (TIME, "TM", "003000"), (ZONE, "SH", "+0100")), instance="1.5.1.1", study="1.5"
    )
    in_london = {"StudyDate": "20240101", "StudyTime": None, "TimezoneOffsetFromUTC": "+0000"}
    async with asking(tmp_path / "data", [in_berlin]) as ask:
        assert await studies(ask, **in_london) == []
        asked = await ask(identifier("STUDY", **in_london), extended=EVERYTHING)
        (answer,) = asked.answers
        assert (answer.StudyDate, answer.StudyTime[:4]) == ("20240101", "2330")
        assert answer.TimezoneOffsetFromUTC == "+0000"
        plain = await ask(identifier("STUDY", **{**in_london, "StudyDate": "20240102"}))
        assert [(one.StudyDate, "TimezoneOffsetFromUTC" in one) for one in plain.answers] == [("20240102", False)]


async def test_qf_17_keys_of_a_sequence_match_within_one_item(tmp_path: Path) -> None:
    def item(procedure: str, step: str) -> bytes:
        return EXPLICIT_LITTLE.element(0x00400009, "SH", step) + EXPLICIT_LITTLE.element(0x00401001, "SH", procedure)

    def items(*each: bytes) -> bytes:
        return b"".join(EXPLICIT_LITTLE.mark(0xFFFEE000, len(one)) + one for one in each)

    requested = JANE_OLD.but(more=((0x00400275, "SQ", items(item("R1", "S1"), item("R2", "S2"))),))
    async with asking(tmp_path / "data", [requested]) as ask:

        async def found(*item: dict[str, object]) -> list[int]:
            asked = await ask(identifier("SERIES", StudyInstanceUID="1.1", RequestAttributesSequence=list(item)))
            assert asked.final.status == SUCCESS
            return [len(answer.RequestAttributesSequence) for answer in asked.answers]

        assert await found({"RequestedProcedureID": "R1", "ScheduledProcedureStepID": "S1"}) == [2]
        assert await found({"RequestedProcedureID": "R1", "ScheduledProcedureStepID": "S2"}) == []
        assert await found({"RequestedProcedureID": "R?", "ScheduledProcedureStepID": "S2"}) == [2]
        assert await found({}) == [2]
        asked = await ask(
            identifier("SERIES", StudyInstanceUID="1.1", RequestAttributesSequence=[{"RequestedProcedureID": None}])
        )
        (answer,) = asked.answers
        assert [one.dir() for one in answer.RequestAttributesSequence] == [["RequestedProcedureID"]] * 2


async def test_qf_22_group_lengths_and_groups_below_0008_are_no_keys(ask: Asking) -> None:
    raw = (
        EXPLICIT_LITTLE.element(0x00020000, "UL", EXPLICIT_LITTLE.ul(0))
        + EXPLICIT_LITTLE.element(0x00080000, "UL", EXPLICIT_LITTLE.ul(999))
        + EXPLICIT_LITTLE.element(0x00080052, "CS", "STUDY")
        + EXPLICIT_LITTLE.element(0x00100000, "UL", EXPLICIT_LITTLE.ul(0))
        + EXPLICIT_LITTLE.element(0x00100020, "LO", "P1")
        + EXPLICIT_LITTLE.element(0x0020000D, "UI", "")
    )
    asked = await ask(raw)
    assert asked.statuses == {PENDING}
    assert asked.values("StudyInstanceUID") == ["1.1", "1.2"]
    assert not any(element.tag.element == 0 for answer in asked.answers for element in answer)


async def test_qf_22_what_is_about_the_bytes_of_a_request_is_no_key(ask: Asking) -> None:
    """Length to End of old senders, and padding at the end, whatever it is filled with."""
    raw = (
        EXPLICIT_LITTLE.element(0x00080001, "UL", EXPLICIT_LITTLE.ul(999))
        + encoded(identifier("IMAGE", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", SOPInstanceUID=None))
        + EXPLICIT_LITTLE.element(0xFFFCFFFC, "OB", b"\xff" * 10)
    )
    asked = await ask(raw)
    assert asked.statuses == {PENDING}
    assert asked.values("SOPInstanceUID") == ["1.1.1.1", "1.1.1.2"]
    assert not any(tag in answer for answer in asked.answers for tag in (0x00080001, 0xFFFCFFFC))


async def test_qf_17_what_no_item_has_decides_nothing(ask: Asking) -> None:
    """No series here has a request; a key that is not supported does not make one necessary (QF-03, QF-13)."""
    for item, is_there in (({"PatientName": "x", "RequestedProcedureID": None}, True), ({"PatientName": "x"}, False)):
        asked = await ask(
            identifier("SERIES", StudyInstanceUID="1.1", SeriesInstanceUID=None, RequestAttributesSequence=[item])
        )
        assert asked.statuses == {PENDING_WITH_WARNING}
        assert asked.values("SeriesInstanceUID") == ["1.1.1", "1.1.2"]
        assert all(("RequestAttributesSequence" in answer) is is_there for answer in asked.answers)


@pytest.mark.parametrize(
    ("creator", "value", "found"),
    [
        ("ACME", "", {"1.1.1.1": "", "1.1.1.2": "", "1.1.1.9": "secret"}),
        ("ACME", "sec*", {"1.1.1.9": "secret"}),
        ("OTHER", "sec*", {}),
    ],
)
async def test_qf_13_a_private_creator_decides_only_with_a_key_of_its_block(
    ask: Asking, creator: str, value: str, found: dict[str, str]
) -> None:
    """It says whose attributes are meant (PS3.5 7.8.1); what has none is an answer to universal matching."""
    private = ((0x00090010, "LO", "ACME"), (0x00091001, "LO", "secret"))
    await put(ask.archive, JANE_OLD.but(instance="1.1.1.9", more=(*JANE_OLD.more, *private)))
    asked = await ask(
        EXPLICIT_LITTLE.element(0x00080018, "UI", "")
        + EXPLICIT_LITTLE.element(0x00080052, "CS", "IMAGE")
        + EXPLICIT_LITTLE.element(0x00090010, "LO", creator)
        + EXPLICIT_LITTLE.element(0x00091001, "LO", value)
        + EXPLICIT_LITTLE.element(0x0020000D, "UI", "1.1")
        + EXPLICIT_LITTLE.element(0x0020000E, "UI", "1.1.1")
    )
    assert {str(one.SOPInstanceUID): str(one[0x00091001].value or "") for one in asked.answers} == found


# --- Facts ----------------------------------------------------------------------------------------------------------


async def test_what_is_told_of_a_query_holds_no_value_of_a_key(ask: Asking) -> None:
    await ask(
        identifier("STUDY", PatientName="Doe*", StudyDate="20240101-", StudyID=None), PATIENT_ROOT, extended=b"\1"
    )
    (told,) = [fact for fact in ask.facts if isinstance(fact, QueryServed)]
    assert (told.model, told.level, told.answers, told.outcome) == ("Patient Root", "STUDY", 2, "complete")
    assert sorted(told.keys) == ["PatientName", "StudyDate"]
    assert told.first_s <= told.seconds
    assert "oe" not in repr(told).replace("__", "")
