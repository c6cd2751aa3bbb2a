"""Where queries find each attribute: in a column of its level's table, or made from the rows below.

What is not here is not in the index. At IMAGE level it may be in the stored file's header (``archive/headers.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from pacslite.archive.index.attributes import INSTANCE, PATIENT, REQUEST, SERIES, STUDY, Attribute, Kind
from pacslite.dicom import tags
from pacslite.dicom.levels import Level
from pacslite.dicom.vrs import SINGLE_VALUED_VRS

TABLE_OF: Final[Mapping[Level, str]] = MappingProxyType(
    {Level.PATIENT: "patients", Level.STUDY: "studies", Level.SERIES: "series", Level.IMAGE: "instances"}
)

REQUESTS: Final = "series_requests"

IDENTIFYING: Final = frozenset(
    {"patient_id", "study_uid", "series_uid", "sop_instance_uid", "accession_number", "patient_name", "study_date"}
)
"""Columns with an index of their own. What they hold has one value (PS3.6), and is compared as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An attribute in columns of a table."""

    level: Level
    table: str
    tag: int
    vr: str
    column: str
    kind: Kind
    is_single: bool
    """It has one value by definition: a backslash in it is data."""


class Made(Enum):
    """An attribute made from rows below: of a study, or (the last) of a series."""

    MODALITIES = tags.MODALITIES_IN_STUDY
    SOP_CLASSES = tags.SOP_CLASSES_IN_STUDY
    REQUESTS = tags.REQUEST_ATTRIBUTES_SEQUENCE

    @property
    def level(self) -> Level:
        return Level.SERIES if self is Made.REQUESTS else Level.STUDY


Source = Stored | Made


def _sources() -> Iterator[tuple[int, Source]]:
    for level, attributes in (
        (Level.PATIENT, (*_PATIENT_KEYS, *PATIENT, *_PATIENT_COUNTS)),
        (Level.STUDY, (*_STUDY_KEYS, *STUDY, *_STUDY_COUNTS)),
        (Level.SERIES, (*_SERIES_KEYS, *SERIES, *_SERIES_COUNTS)),
        (Level.IMAGE, (*_INSTANCE_KEYS, *INSTANCE)),
    ):
        for attribute in attributes:
            if attribute.tag != tags.SPECIFIC_CHARACTER_SET:  # that of an answer is the answer's own (QF-16, QF-20)
                yield attribute.tag, _stored(level, TABLE_OF[level], attribute)
    for made in Made:
        yield made.value, made


def _stored(level: Level, table: str, attribute: Attribute) -> Stored:
    vr = tags.VR_OF[attribute.tag]
    return Stored(
        level=level,
        table=table,
        tag=attribute.tag,
        vr=vr,
        column=attribute.column,
        kind=attribute.kind,
        is_single=vr in SINGLE_VALUED_VRS or attribute.column in IDENTIFYING,
    )


_PATIENT_KEYS = (Attribute(tags.PATIENT_ID, "patient_id"), Attribute(tags.ISSUER_OF_PATIENT_ID, "issuer"))
_STUDY_KEYS = (Attribute(tags.STUDY_INSTANCE_UID, "study_uid"),)
_SERIES_KEYS = (Attribute(tags.SERIES_INSTANCE_UID, "series_uid"),)
_INSTANCE_KEYS = (
    Attribute(tags.SOP_INSTANCE_UID, "sop_instance_uid"),
    Attribute(tags.SOP_CLASS_UID, "sop_class_uid"),
    Attribute(tags.AVAILABLE_TRANSFER_SYNTAX_UID, "transfer_syntax_uid"),
)
_PATIENT_COUNTS = (
    Attribute(tags.NUMBER_OF_PATIENT_RELATED_STUDIES, "studies", Kind.INTEGER),
    Attribute(tags.NUMBER_OF_PATIENT_RELATED_SERIES, "series", Kind.INTEGER),
    Attribute(tags.NUMBER_OF_PATIENT_RELATED_INSTANCES, "instances", Kind.INTEGER),
)
_STUDY_COUNTS = (
    Attribute(tags.NUMBER_OF_STUDY_RELATED_SERIES, "series", Kind.INTEGER),
    Attribute(tags.NUMBER_OF_STUDY_RELATED_INSTANCES, "instances", Kind.INTEGER),
)
_SERIES_COUNTS = (Attribute(tags.NUMBER_OF_SERIES_RELATED_INSTANCES, "instances", Kind.INTEGER),)

SOURCES: Final[Mapping[int, Source]] = MappingProxyType(dict(_sources()))

OF_REQUEST: Final[Mapping[int, Stored]] = MappingProxyType(
    {attribute.tag: _stored(Level.SERIES, REQUESTS, attribute) for attribute in REQUEST}
)
"""The attributes of an item of Request Attributes Sequence (0040,0275)."""


def is_within(level: Level, tag: int) -> bool:
    """Whether the index has the attribute for entities of ``level``: it is of that level or one above."""
    source = SOURCES.get(tag)
    return source is not None and (source.level is level or source.level.is_above(level))
