"""The Query/Retrieve information models (PS3.4 C.6) as tables: their levels, SOP classes, and the attributes of each.

An attribute belongs to the level of the entity it describes, wherever objects carry it. What is in no table here is an
attribute of the instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from pacslite.dicom import tags, uids


class Level(Enum):
    """A Query/Retrieve Level (0008,0052), with its words on the wire (PS3.4 C.6.1.1, C.6.2.1)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    @property
    def unique_key(self) -> int:
        """The tag of the attribute that names one entity of this level."""
        return _UNIQUE_KEYS[self]

    def is_above(self, other: Level) -> bool:
        """Whether this level is nearer to the patient than ``other``."""
        return _DEPTHS[self] < _DEPTHS[other]


_DEPTHS: Final = {level: depth for depth, level in enumerate(Level)}
_UNIQUE_KEYS: Final = {
    Level.PATIENT: tags.PATIENT_ID,
    Level.STUDY: tags.STUDY_INSTANCE_UID,
    Level.SERIES: tags.SERIES_INSTANCE_UID,
    Level.IMAGE: tags.SOP_INSTANCE_UID,
}


class KeyType(Enum):
    """What an SCP has to do with a key (PS3.4 C.2.2.1), with its letter in the tables of C.6."""

    UNIQUE = "U"
    REQUIRED = "R"
    OPTIONAL = "O"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One information model. Where there is no PATIENT level, the patient's attributes belong to the study."""

    name: str
    levels: tuple[Level, ...]
    find: str
    move: str
    get: str

    def higher_levels(self, level: Level) -> tuple[Level, ...]:
        """The levels above ``level`` in this model, from the top: their unique keys go with a hierarchical request."""
        if level in self.levels:  # the usual case: each query asks
            return self.levels[: self.levels.index(level)]
        return tuple(other for other in self.levels if other.is_above(level))

    def level_of(self, tag: int) -> Level:
        """The level that an attribute belongs to in this model."""
        level = LEVEL_OF.get(tag, Level.IMAGE)
        return self.levels[0] if level.is_above(self.levels[0]) else level

    def key_type(self, tag: int) -> KeyType:
        """The type of an attribute as a key of its level."""
        if tag == self.level_of(tag).unique_key:
            return KeyType.UNIQUE
        return KeyType.REQUIRED if tag in _REQUIRED else KeyType.OPTIONAL


PATIENT_ROOT: Final = Model(
    name="Patient Root",
    levels=(Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE),
    find=uids.PATIENT_ROOT_FIND,
    move=uids.PATIENT_ROOT_MOVE,
    get=uids.PATIENT_ROOT_GET,
)
STUDY_ROOT: Final = Model(
    name="Study Root",
    levels=(Level.STUDY, Level.SERIES, Level.IMAGE),
    find=uids.STUDY_ROOT_FIND,
    move=uids.STUDY_ROOT_MOVE,
    get=uids.STUDY_ROOT_GET,
)
PATIENT_STUDY_ONLY: Final = Model(
    name="Patient/Study Only",
    levels=(Level.PATIENT, Level.STUDY),
    find=uids.PATIENT_STUDY_ONLY_FIND,
    move=uids.PATIENT_STUDY_ONLY_MOVE,
    get=uids.PATIENT_STUDY_ONLY_GET,
)
"""Retired with PS3.4-2004, still asked for."""

MODELS: Final = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY)

MODEL_OF: Final[Mapping[str, Model]] = MappingProxyType(
    {sop_class: model for model in MODELS for sop_class in (model.find, model.move, model.get)}
)
"""The model of each Query/Retrieve SOP class."""


# --- Attributes (PS3.4 C.6.1.1.2 to C.6.1.1.5, C.6.2.1.2 to C.6.2.1.4) -----------------------------------------------

_OF_PATIENT: Final = frozenset(
    {
        tags.PATIENT_NAME,
        tags.PATIENT_ID,
        tags.ISSUER_OF_PATIENT_ID,
        tags.PATIENT_BIRTH_DATE,
        tags.PATIENT_BIRTH_TIME,
        tags.PATIENT_SEX,
        tags.OTHER_PATIENT_IDS,
        tags.OTHER_PATIENT_NAMES,
        tags.ETHNIC_GROUP,
        tags.PATIENT_COMMENTS,
        tags.NUMBER_OF_PATIENT_RELATED_STUDIES,
        tags.NUMBER_OF_PATIENT_RELATED_SERIES,
        tags.NUMBER_OF_PATIENT_RELATED_INSTANCES,
    }
)
_OF_STUDY: Final = frozenset(
    {
        tags.STUDY_INSTANCE_UID,
        tags.STUDY_DATE,
        tags.STUDY_TIME,
        tags.ACCESSION_NUMBER,
        tags.STUDY_ID,
        tags.REFERRING_PHYSICIAN_NAME,
        tags.STUDY_DESCRIPTION,
        tags.NAME_OF_PHYSICIANS_READING_STUDY,
        tags.ADMITTING_DIAGNOSES_DESCRIPTION,
        tags.PATIENT_AGE,
        tags.PATIENT_SIZE,
        tags.PATIENT_WEIGHT,
        tags.OCCUPATION,
        tags.ADDITIONAL_PATIENT_HISTORY,
        tags.TIMEZONE_OFFSET_FROM_UTC,
        tags.MODALITIES_IN_STUDY,
        tags.SOP_CLASSES_IN_STUDY,
        tags.NUMBER_OF_STUDY_RELATED_SERIES,
        tags.NUMBER_OF_STUDY_RELATED_INSTANCES,
    }
)
_OF_SERIES: Final = frozenset(
    {
        tags.SERIES_INSTANCE_UID,
        tags.MODALITY,
        tags.SERIES_NUMBER,
        tags.SERIES_DATE,
        tags.SERIES_TIME,
        tags.SERIES_DESCRIPTION,
        tags.LATERALITY,
        tags.BODY_PART_EXAMINED,
        tags.PROTOCOL_NAME,
        tags.PERFORMING_PHYSICIAN_NAME,
        tags.OPERATORS_NAME,
        tags.MANUFACTURER,
        tags.INSTITUTION_NAME,
        tags.INSTITUTIONAL_DEPARTMENT_NAME,
        tags.STATION_NAME,
        tags.MANUFACTURER_MODEL_NAME,
        tags.DEVICE_SERIAL_NUMBER,
        tags.SOFTWARE_VERSIONS,
        tags.FRAME_OF_REFERENCE_UID,
        tags.PERFORMED_PROCEDURE_STEP_START_DATE,
        tags.PERFORMED_PROCEDURE_STEP_START_TIME,
        tags.PERFORMED_PROCEDURE_STEP_ID,
        tags.PERFORMED_PROCEDURE_STEP_DESCRIPTION,
        tags.REQUEST_ATTRIBUTES_SEQUENCE,
        tags.NUMBER_OF_SERIES_RELATED_INSTANCES,
    }
)
_OF_INSTANCE: Final = frozenset(
    {
        tags.SOP_INSTANCE_UID,
        tags.SOP_CLASS_UID,
        tags.AVAILABLE_TRANSFER_SYNTAX_UID,
        tags.INSTANCE_NUMBER,
        tags.IMAGE_TYPE,
        tags.CONTENT_DATE,
        tags.CONTENT_TIME,
        tags.ACQUISITION_DATE,
        tags.ACQUISITION_TIME,
        tags.ACQUISITION_DATE_TIME,
        tags.ACQUISITION_NUMBER,
        tags.INSTANCE_CREATION_DATE,
        tags.INSTANCE_CREATION_TIME,
        tags.NUMBER_OF_FRAMES,
        tags.ROWS,
        tags.COLUMNS,
        tags.BITS_ALLOCATED,
        tags.IMAGE_COMMENTS,
        tags.CONTENT_LABEL,
        tags.CONTENT_DESCRIPTION,
        tags.COMPLETION_FLAG,
        tags.VERIFICATION_FLAG,
        tags.DOCUMENT_TITLE,
        tags.PRESENTATION_CREATION_DATE,
        tags.PRESENTATION_CREATION_TIME,
    }
)

LEVEL_OF: Final[Mapping[int, Level]] = MappingProxyType(
    {
        tag: level
        for level, attributes in (
            (Level.PATIENT, _OF_PATIENT),
            (Level.STUDY, _OF_STUDY),
            (Level.SERIES, _OF_SERIES),
            (Level.IMAGE, _OF_INSTANCE),
        )
        for tag in attributes
    }
)
"""The level of every attribute that the index keeps or counts, where there is a PATIENT level."""

OF_EVERY_LEVEL: Final = frozenset({tags.RETRIEVE_AE_TITLE, tags.INSTANCE_AVAILABILITY})
"""What answers of any level may hold (PS3.4 C.4.1.1.3.2)."""

COUNTS: Final = frozenset(
    {
        tags.NUMBER_OF_PATIENT_RELATED_STUDIES,
        tags.NUMBER_OF_PATIENT_RELATED_SERIES,
        tags.NUMBER_OF_PATIENT_RELATED_INSTANCES,
        tags.NUMBER_OF_STUDY_RELATED_SERIES,
        tags.NUMBER_OF_STUDY_RELATED_INSTANCES,
        tags.NUMBER_OF_SERIES_RELATED_INSTANCES,
    }
)

RETURN_ONLY: Final = COUNTS | OF_EVERY_LEVEL | {tags.TIMEZONE_OFFSET_FROM_UTC}
"""What is answered when asked for, and never matched."""

_REQUIRED: Final = frozenset(
    {
        tags.PATIENT_NAME,
        tags.PATIENT_ID,  # unique at the PATIENT level; required where the study is the top
        tags.STUDY_DATE,
        tags.STUDY_TIME,
        tags.ACCESSION_NUMBER,
        tags.STUDY_ID,
        tags.MODALITY,
        tags.SERIES_NUMBER,
        tags.INSTANCE_NUMBER,
    }
)
