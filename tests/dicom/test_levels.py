"""The information models as tables, PS3.4 C.6: QF-04, QF-06, QF-19."""

from __future__ import annotations

import pytest

from pacslite.archive.index.attributes import INSTANCE, PATIENT, SERIES, STUDY, Attribute
from pacslite.dicom import tags, uids
from pacslite.dicom.levels import (
    COUNTS,
    LEVEL_OF,
    MODEL_OF,
    MODELS,
    OF_EVERY_LEVEL,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    RETURN_ONLY,
    STUDY_ROOT,
    KeyType,
    Level,
    Model,
)
from pacslite.dicom.tags import VR_OF, keyword_of


def test_levels_from_the_top() -> None:
    assert [level.value for level in Level] == ["PATIENT", "STUDY", "SERIES", "IMAGE"]
    assert Level.PATIENT.is_above(Level.STUDY)
    assert Level.STUDY.is_above(Level.IMAGE)
    assert not Level.SERIES.is_above(Level.SERIES)
    assert not Level.IMAGE.is_above(Level.SERIES)


@pytest.mark.parametrize(
    ("model", "levels"),
    [
        (PATIENT_ROOT, "PATIENT STUDY SERIES IMAGE"),
        (STUDY_ROOT, "STUDY SERIES IMAGE"),
        (PATIENT_STUDY_ONLY, "PATIENT STUDY"),
    ],
)
def test_levels_of_the_models(model: Model, levels: str) -> None:
    """QF-04, QF-06."""
    assert " ".join(level.value for level in model.levels) == levels


def test_higher_levels() -> None:
    """QF-06."""
    assert PATIENT_ROOT.higher_levels(Level.IMAGE) == (Level.PATIENT, Level.STUDY, Level.SERIES)
    assert STUDY_ROOT.higher_levels(Level.IMAGE) == (Level.STUDY, Level.SERIES)
    assert STUDY_ROOT.higher_levels(Level.STUDY) == ()


def test_every_sop_class_has_its_model() -> None:
    assert MODEL_OF[uids.STUDY_ROOT_FIND] is STUDY_ROOT
    assert MODEL_OF[uids.PATIENT_ROOT_MOVE] is PATIENT_ROOT
    assert MODEL_OF[uids.PATIENT_STUDY_ONLY_GET] is PATIENT_STUDY_ONLY
    assert len(MODEL_OF) == 9
    for model in MODELS:
        for sop_class in (model.find, model.move, model.get):
            assert MODEL_OF[sop_class] is model


@pytest.mark.parametrize(
    ("level", "attributes"),
    [(Level.PATIENT, PATIENT), (Level.STUDY, STUDY), (Level.SERIES, SERIES), (Level.IMAGE, INSTANCE)],
)
def test_what_the_index_keeps_has_the_level_it_is_kept_at(level: Level, attributes: tuple[Attribute, ...]) -> None:
    kept = {attribute.tag for attribute in attributes} - {tags.SPECIFIC_CHARACTER_SET}
    assert {keyword_of(tag) for tag in kept if LEVEL_OF.get(tag) is not level} == set()


def test_every_attribute_of_a_level_is_known_with_its_vr() -> None:
    assert {keyword_of(tag) for tag in LEVEL_OF.keys() | OF_EVERY_LEVEL if tag not in VR_OF} == set()
    assert VR_OF[tags.NUMBER_OF_STUDY_RELATED_SERIES] == "IS"
    assert VR_OF[tags.AVAILABLE_TRANSFER_SYNTAX_UID] == "UI"
    assert keyword_of(tags.NUMBER_OF_SERIES_RELATED_INSTANCES) == "NumberOfSeriesRelatedInstances"


@pytest.mark.parametrize("level", Level)
def test_a_unique_key_is_of_its_level(level: Level) -> None:
    assert LEVEL_OF[level.unique_key] is level
    assert PATIENT_ROOT.key_type(level.unique_key) is KeyType.UNIQUE


@pytest.mark.parametrize(
    ("tag", "level"),
    [
        (tags.PATIENT_NAME, Level.STUDY),
        (tags.PATIENT_ID, Level.STUDY),
        (tags.NUMBER_OF_PATIENT_RELATED_STUDIES, Level.STUDY),
        (tags.STUDY_DATE, Level.STUDY),
        (tags.MODALITY, Level.SERIES),
        (tags.REQUEST_ATTRIBUTES_SEQUENCE, Level.SERIES),
        (tags.SOP_CLASS_UID, Level.IMAGE),
        (0x00181151, Level.IMAGE),  # X-Ray Tube Current: what no table has is the instance's
    ],
)
def test_without_a_patient_level_the_patient_is_the_studys(tag: int, level: Level) -> None:
    """QF-06."""
    assert STUDY_ROOT.level_of(tag) is level
    assert PATIENT_ROOT.level_of(tag) is (
        Level.PATIENT if tag in LEVEL_OF and LEVEL_OF[tag] is Level.PATIENT else level
    )


PATIENT_KEYS = {"PatientName": "R", "PatientID": "U"}
STUDY_KEYS = {"StudyDate": "R", "StudyTime": "R", "AccessionNumber": "R", "StudyID": "R", "StudyInstanceUID": "U"}
SERIES_KEYS = {"Modality": "R", "SeriesNumber": "R", "SeriesInstanceUID": "U"}
IMAGE_KEYS = {"InstanceNumber": "R", "SOPInstanceUID": "U"}


@pytest.mark.parametrize(
    ("model", "level", "keys"),
    [
        (PATIENT_ROOT, Level.PATIENT, PATIENT_KEYS),
        (PATIENT_ROOT, Level.STUDY, STUDY_KEYS),
        (PATIENT_ROOT, Level.SERIES, SERIES_KEYS),
        (PATIENT_ROOT, Level.IMAGE, IMAGE_KEYS),
        (STUDY_ROOT, Level.STUDY, STUDY_KEYS | {"PatientName": "R", "PatientID": "R"}),
        (STUDY_ROOT, Level.SERIES, SERIES_KEYS),
        (STUDY_ROOT, Level.IMAGE, IMAGE_KEYS),
        (PATIENT_STUDY_ONLY, Level.PATIENT, PATIENT_KEYS),
        (PATIENT_STUDY_ONLY, Level.STUDY, STUDY_KEYS),
    ],
)
def test_unique_and_required_keys(model: Model, level: Level, keys: dict[str, str]) -> None:
    """Tables C.6-1 to C.6-5 as printed: whatever is not in this list is optional."""
    found = {
        keyword_of(tag): model.key_type(tag).value
        for tag in LEVEL_OF
        if model.level_of(tag) is level and model.key_type(tag) is not KeyType.OPTIONAL
    }
    assert found == keys


def test_what_is_returned_and_never_matched() -> None:
    """QF-05, QF-16, QF-19."""
    assert {keyword_of(tag) for tag in RETURN_ONLY} == {
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "NumberOfSeriesRelatedInstances",
        "RetrieveAETitle",
        "InstanceAvailability",
        "TimezoneOffsetFromUTC",
    }
    assert COUNTS <= RETURN_ONLY
    assert tags.MODALITIES_IN_STUDY not in RETURN_ONLY
    assert tags.SOP_CLASSES_IN_STUDY not in RETURN_ONLY
