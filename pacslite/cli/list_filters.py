"""What ``pacslite ls`` is asked for, and how it is picked out of the archive's lists."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pacslite.dicom.values import fold, normalise_date
from pacslite.errors import ConfigurationError

if TYPE_CHECKING:
    from pacslite.archive.listing import Listing
    from pacslite.archive.model import InstanceSummary, PatientSummary, SeriesSummary, StudySummary

    Summary = PatientSummary | StudySummary | SeriesSummary | InstanceSummary


class Level(StrEnum):
    PATIENTS = "patients"
    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"


_MEANT_FOR = {
    "patient_id": (Level.PATIENTS, Level.STUDIES),
    "name": (Level.PATIENTS, Level.STUDIES),
    "dates": (Level.STUDIES,),
    "modality": (Level.STUDIES, Level.SERIES),
    "study_uid": (Level.STUDIES, Level.SERIES, Level.INSTANCES),
    "series_uid": (Level.SERIES, Level.INSTANCES),
}
_OPTIONS = {"dates": "date", "study_uid": "study", "series_uid": "series", "patient_id": "patient-id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is wanted; empty: everything."""

    patient_id: str = ""
    name: str = ""
    dates: str = ""
    modality: str = ""
    study_uid: str = ""
    series_uid: str = ""

    def check(self, level: Level) -> None:
        """Raise :class:`ConfigurationError` for what makes no sense: an option without effect would mislead."""
        for field, levels in _MEANT_FOR.items():
            if getattr(self, field) and level not in levels:
                raise ConfigurationError(f"--{_OPTIONS.get(field, field)} is not for {level}")
        if level is Level.SERIES and not self.study_uid:
            raise ConfigurationError("series are listed with --study UID")
        _interval(self.dates)

    def select(self, lists: Listing, level: Level) -> AsyncGenerator[Summary, None]:
        match level:
            case Level.PATIENTS:
                return self._patients(lists.patients(patient_id=self.patient_id or None))
            case Level.STUDIES:
                return self._studies(lists.studies(patient_id=self.patient_id or None))
            case Level.SERIES:
                return self._series(lists.series(self.study_uid))
            case Level.INSTANCES:
                return self._instances(
                    lists.instances(study_uid=self.study_uid or None, series_uid=self.series_uid or None)
                )

    async def _patients(self, found: AsyncIterator[PatientSummary]) -> AsyncGenerator[Summary, None]:
        async for patient in found:
            if self._fits_name(patient.name):
                yield patient

    async def _studies(self, found: AsyncIterator[StudySummary]) -> AsyncGenerator[Summary, None]:
        first, last = _interval(self.dates)
        async for study in found:
            if (
                self._fits_name(study.patient_name)
                and (not self.modality or self.modality in study.modalities)
                and (not self.dates or first <= normalise_date(study.study_date) <= last)
                and (not self.study_uid or self.study_uid == study.study_uid)
            ):
                yield study

    async def _series(self, found: AsyncIterator[SeriesSummary]) -> AsyncGenerator[Summary, None]:
        async for series in found:
            if (not self.modality or self.modality == series.modality) and (
                not self.series_uid or self.series_uid == series.series_uid
            ):
                yield series

    async def _instances(self, found: AsyncIterator[InstanceSummary]) -> AsyncGenerator[Summary, None]:
        async for instance in found:
            yield instance

    def _fits_name(self, name: str) -> bool:
        """Any of the name's groups (alphabetic, ideographic, phonetic), as a whole."""
        if not self.name:
            return True
        pattern = fold(self.name).replace("[", "[[]")
        return any(fnmatchcase(fold(group), pattern) for group in name.split("="))


def _interval(dates: str) -> tuple[str, str]:
    """The first and the last day of ``20240101-20240131`` and its shorter forms, as normal dates."""
    first, dash, last = dates.partition("-")
    ends = (first, last) if dash else (first, first)
    normal = tuple(normalise_date(end) for end in ends)
    if dates and (dates == "-" or any(end and not day for end, day in zip(ends, normal, strict=True))):
        raise ConfigurationError(f'--date "{dates}": write 20240131, 20240101-20240131, 20240101- or -20240131')
    return normal[0] or "00000000", normal[1] or "99999999"
