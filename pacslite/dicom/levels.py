"""The Query/Retrieve information models (PS3.4 C.6) as tables: their levels, SOP classes and unique keys."""

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
        return tuple(other for other in self.levels if other.is_above(level))


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
