"""Which attributes the index keeps, at which level, in which columns. Schema, rows and queries derive from this table.

Text is kept decoded, without padding, several values joined by ``\\``; no value and no attribute are both the empty
string. A date or time is kept in its normal form (NULL if it has none) for ranges, and as it was written in ``…_raw``
where that differs. A person name has folded forms beside it for matching: one column per component group where
queries mostly look (patient, referring physician), one for the whole elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pacslite.dicom import tags


class Kind(Enum):
    """How an attribute becomes columns."""

    TEXT = "text"
    INTEGER = "integer"
    DATE = "date"
    TIME = "time"
    NAME = "name"
    GROUPED_NAME = "grouped name"


@dataclass(frozen=True, slots=True)
class Attribute:
    tag: int
    column: str
    kind: Kind = Kind.TEXT

    def columns(self) -> Iterator[tuple[str, bool]]:
        """Names of its columns, and whether each is nullable. The first is what is compared and filled in."""
        match self.kind:
            case Kind.TEXT:
                yield self.column, False
            case Kind.INTEGER:
                yield self.column, True
            case Kind.DATE | Kind.TIME:
                yield self.column, True
                yield f"{self.column}_raw", True
            case Kind.NAME:
                yield self.column, False
                yield f"{self.column}_folded", False
            case Kind.GROUPED_NAME:
                yield self.column, False
                for group in NAME_GROUPS:
                    yield f"{self.column}_{group}", False


NAME_GROUPS = ("alphabetic", "ideographic", "phonetic")

PATIENT = (
    Attribute(tags.PATIENT_NAME, "patient_name", Kind.GROUPED_NAME),
    Attribute(tags.PATIENT_BIRTH_DATE, "birth_date", Kind.DATE),
    Attribute(tags.PATIENT_BIRTH_TIME, "birth_time", Kind.TIME),
    Attribute(tags.PATIENT_SEX, "sex"),
    Attribute(tags.OTHER_PATIENT_IDS, "other_patient_ids"),
    Attribute(tags.OTHER_PATIENT_NAMES, "other_patient_names", Kind.NAME),
    Attribute(tags.ETHNIC_GROUP, "ethnic_group"),
    Attribute(tags.PATIENT_COMMENTS, "patient_comments"),
)
"""Besides Patient ID and its issuer, which are the patient's key."""

STUDY = (
    Attribute(tags.STUDY_DATE, "study_date", Kind.DATE),
    Attribute(tags.STUDY_TIME, "study_time", Kind.TIME),
    Attribute(tags.ACCESSION_NUMBER, "accession_number"),
    Attribute(tags.STUDY_ID, "study_id"),
    Attribute(tags.REFERRING_PHYSICIAN_NAME, "referring_physician_name", Kind.GROUPED_NAME),
    Attribute(tags.STUDY_DESCRIPTION, "study_description"),
    Attribute(tags.NAME_OF_PHYSICIANS_READING_STUDY, "reading_physicians_name", Kind.NAME),
    Attribute(tags.ADMITTING_DIAGNOSES_DESCRIPTION, "admitting_diagnoses"),
    Attribute(tags.PATIENT_AGE, "patient_age"),
    Attribute(tags.PATIENT_SIZE, "patient_size"),
    Attribute(tags.PATIENT_WEIGHT, "patient_weight"),
    Attribute(tags.OCCUPATION, "occupation"),
    Attribute(tags.ADDITIONAL_PATIENT_HISTORY, "additional_patient_history"),
    Attribute(tags.TIMEZONE_OFFSET_FROM_UTC, "timezone_offset"),
)

SERIES = (
    Attribute(tags.MODALITY, "modality"),
    Attribute(tags.SERIES_NUMBER, "series_number", Kind.INTEGER),
    Attribute(tags.SERIES_DATE, "series_date", Kind.DATE),
    Attribute(tags.SERIES_TIME, "series_time", Kind.TIME),
    Attribute(tags.SERIES_DESCRIPTION, "series_description"),
    Attribute(tags.LATERALITY, "laterality"),
    Attribute(tags.BODY_PART_EXAMINED, "body_part_examined"),
    Attribute(tags.PROTOCOL_NAME, "protocol_name"),
    Attribute(tags.PERFORMING_PHYSICIAN_NAME, "performing_physician_name", Kind.NAME),
    Attribute(tags.OPERATORS_NAME, "operators_name", Kind.NAME),
    Attribute(tags.MANUFACTURER, "manufacturer"),
    Attribute(tags.INSTITUTION_NAME, "institution_name"),
    Attribute(tags.INSTITUTIONAL_DEPARTMENT_NAME, "department_name"),
    Attribute(tags.STATION_NAME, "station_name"),
    Attribute(tags.MANUFACTURER_MODEL_NAME, "model_name"),
    Attribute(tags.DEVICE_SERIAL_NUMBER, "device_serial_number"),
    Attribute(tags.SOFTWARE_VERSIONS, "software_versions"),
    Attribute(tags.FRAME_OF_REFERENCE_UID, "frame_of_reference_uid"),
    Attribute(tags.PERFORMED_PROCEDURE_STEP_START_DATE, "step_start_date", Kind.DATE),
    Attribute(tags.PERFORMED_PROCEDURE_STEP_START_TIME, "step_start_time", Kind.TIME),
    Attribute(tags.PERFORMED_PROCEDURE_STEP_ID, "step_id"),
    Attribute(tags.PERFORMED_PROCEDURE_STEP_DESCRIPTION, "step_description"),
)

INSTANCE = (
    Attribute(tags.INSTANCE_NUMBER, "instance_number", Kind.INTEGER),
    Attribute(tags.SPECIFIC_CHARACTER_SET, "character_set"),
    Attribute(tags.IMAGE_TYPE, "image_type"),
    Attribute(tags.CONTENT_DATE, "content_date", Kind.DATE),
    Attribute(tags.CONTENT_TIME, "content_time", Kind.TIME),
    Attribute(tags.ACQUISITION_DATE, "acquisition_date", Kind.DATE),
    Attribute(tags.ACQUISITION_TIME, "acquisition_time", Kind.TIME),
    Attribute(tags.ACQUISITION_DATE_TIME, "acquisition_date_time"),
    Attribute(tags.ACQUISITION_NUMBER, "acquisition_number", Kind.INTEGER),
    Attribute(tags.INSTANCE_CREATION_DATE, "creation_date"),
    Attribute(tags.INSTANCE_CREATION_TIME, "creation_time"),
    Attribute(tags.NUMBER_OF_FRAMES, "number_of_frames", Kind.INTEGER),
    Attribute(tags.ROWS, "rows", Kind.INTEGER),
    Attribute(tags.COLUMNS, "columns", Kind.INTEGER),
    Attribute(tags.BITS_ALLOCATED, "bits_allocated", Kind.INTEGER),
    Attribute(tags.IMAGE_COMMENTS, "image_comments"),
    Attribute(tags.CONTENT_LABEL, "content_label"),
    Attribute(tags.CONTENT_DESCRIPTION, "content_description"),
    Attribute(tags.COMPLETION_FLAG, "completion_flag"),
    Attribute(tags.VERIFICATION_FLAG, "verification_flag"),
    Attribute(tags.DOCUMENT_TITLE, "document_title"),
    Attribute(tags.PRESENTATION_CREATION_DATE, "presentation_date"),
    Attribute(tags.PRESENTATION_CREATION_TIME, "presentation_time"),
)

REQUEST = (
    Attribute(tags.REQUESTED_PROCEDURE_ID, "requested_procedure_id"),
    Attribute(tags.SCHEDULED_PROCEDURE_STEP_ID, "scheduled_step_id"),
    Attribute(tags.SCHEDULED_PROCEDURE_STEP_DESCRIPTION, "scheduled_step_description"),
    Attribute(tags.ACCESSION_NUMBER, "accession_number"),
    Attribute(tags.STUDY_INSTANCE_UID, "study_uid"),
    Attribute(tags.REQUESTED_PROCEDURE_DESCRIPTION, "requested_procedure_description"),
)
"""Of each item of Request Attributes Sequence (0040,0275), which belongs to the series."""

UPPER_TAGS = (
    tags.SPECIFIC_CHARACTER_SET,
    tags.PATIENT_ID,
    tags.ISSUER_OF_PATIENT_ID,
    *(attribute.tag for level in (PATIENT, STUDY, SERIES) for attribute in level),
)
"""Everything that decides the rows above the instance: equal raw values here mean nothing to do there."""
