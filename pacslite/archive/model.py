"""The archive's values: what comes with an object, what became of it, and what is known about what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the C-STORE command and the presentation context said about an object before its data set was read."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae: str = ""
    called_ae: str = ""
    address: str = ""


class Outcome(StrEnum):
    """What became of an object that was taken; all of them mean that its bytes are safe."""

    STORED = "stored"
    IDENTICAL = "identical"
    KEPT_ASIDE = "kept_aside"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The answer to a commit. ``size`` and ``digest`` (BLAKE3, hexadecimal) are those of the data set's bytes."""

    outcome: Outcome
    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str
    size: int
    digest: str
    warning: str
    """Empty, or the words that go with status B007."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """Where an object's bytes are: the data set is ``size`` bytes of ``path`` from ``data_set_offset`` on."""

    path: Path
    data_set_offset: int
    size: int
    digest: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_uid: str
    series_uid: str
    stored_at: float
    """Seconds since 1970-01-01 UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The archive in numbers; ``bytes`` are data set bytes, ``conflicts`` the objects kept aside."""

    patients: int
    studies: int
    series: int
    instances: int
    bytes: int
    conflicts: int
    conflict_bytes: int
    index_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientSummary:
    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str
    studies: int
    series: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    study_uid: str
    patient_id: str
    patient_name: str
    study_date: str
    study_time: str
    accession_number: str
    description: str
    modalities: tuple[str, ...]
    series: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSummary:
    study_uid: str
    series_uid: str
    modality: str
    number: int | None
    description: str
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSummary:
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    number: int | None
    size: int
    source_ae: str
    stored_at: float
    discrepancy: str
    """Keywords of the attributes that contradict the study it belongs to, separated by spaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictSummary:
    """An object kept aside because its SOP Instance UID was taken by different bytes."""

    sop_instance_uid: str
    digest: str
    transfer_syntax_uid: str
    path: Path
    size: int
    source_ae: str
    stored_at: float
    reason: str
