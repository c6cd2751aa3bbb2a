"""The queries that are asked of a synthetic archive, with how many answers each of them has.

Values differ from query to query, so that no cache of results helps; what is asked for stays the same.
"""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from bench.population import DAYS, FIRST_DAY, Study, population

TAGS: Final = {
    "StudyDate": "00080020", "StudyTime": "00080030", "AccessionNumber": "00080050", "Modality": "00080060",
    "ModalitiesInStudy": "00080061", "ReferringPhysicianName": "00080090", "StudyDescription": "00081030",
    "SeriesDescription": "0008103E", "SOPClassUID": "00080016", "SOPInstanceUID": "00080018", "PatientName": "00100010",
    "PatientID": "00100020", "PatientBirthDate": "00100030", "PatientSex": "00100040", "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E", "StudyID": "00200010", "SeriesNumber": "00200011", "InstanceNumber": "00200013",
    "NumberOfStudyRelatedSeries": "00201206", "NumberOfStudyRelatedInstances": "00201208",
}  # fmt: skip
MOST_VALUES: Final = 500

Values = tuple[int, tuple[str, ...]]
"""How many answers a query has, and the values of its varying keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    name: str
    title: str
    level: str
    returned: tuple[str, ...]
    varying: tuple[str, ...] = ()
    values: Callable[[Sequence[Study], random.Random], list[Values]]
    all_matching: bool = False  # answers by the ten thousand: fewer queries say as much

    def options(self) -> list[str]:
        """For rawfind: what is asked for, and which keys vary."""
        options = ["--level", self.level]
        for keyword in self.returned:
            if keyword not in self.varying:
                options += ["--key", f"{TAGS[keyword]}="]
        for keyword in self.varying:
            options += ["--vary", TAGS[keyword]]
        return options

    def lines(self, instances: int) -> list[str]:
        """The file of values: expected answers, then the values, in columns."""
        chosen = self.values(population(instances), random.Random(f"{self.name} {instances}"))
        return ["\t".join((str(expected), *values)) for expected, values in chosen[:MOST_VALUES]]

    def write_values(self, folder: Path, instances: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}-{instances}.values"
        path.write_text("".join(f"{line}\n" for line in self.lines(instances)))
        return path


def _studies_by_uid(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    return [(1, (study.uid,)) for study in chance.sample(studies, min(len(studies), MOST_VALUES))]


def _studies_by_patient(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    counts = Counter(study.patient.patient_id for study in studies)
    chosen = chance.sample(sorted(counts), min(len(counts), MOST_VALUES))
    return [(counts[patient], (patient,)) for patient in chosen]


def _names(studies: Sequence[Study], pattern: str, pieces: Callable[[str], Iterator[str]], first: str) -> list[Values]:
    """Pieces of names in a pattern: `first`, then those that are nearly as frequent as it."""
    patients = {study.patient.patient_id: study.patient.name for study in studies}
    of_patient = Counter(study.patient.patient_id for study in studies)
    frequency: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    for patient, name in patients.items():
        for piece in set(pieces(name)):
            frequency[piece] += 1
            answers[piece] += of_patient[patient]
    usual = max(frequency[first], 1)
    alike = [piece for piece in sorted(frequency) if usual / 2 <= frequency[piece] <= usual * 2 and piece != first]
    return [(answers[piece], (pattern.format(piece),)) for piece in (first, *alike)]


def _by_prefix(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    return _names(studies, "{}*", lambda name: iter([name[:2]]), "SM")


def _by_infix(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    return _names(studies, "*{}*", _pieces(2), "SM")


def _by_long_infix(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    return _names(studies, "*{}*", _pieces(5), "SMITH")


def _pieces(length: int) -> Callable[[str], Iterator[str]]:
    def pieces(name: str) -> Iterator[str]:
        for start in range(len(name) - length + 1):
            piece = name[start : start + length]
            if piece.isalpha():
                yield piece

    return pieces


def _by_date_and_modality(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    """A week and a modality; in a small archive a quarter of a year."""
    span = 7 if len(studies) > 1000 else 90
    by_date = sorted(studies, key=lambda study: study.date)
    dates = [study.date for study in by_date]
    values: list[Values] = []
    for _ in range(200):
        first = FIRST_DAY + timedelta(days=chance.randrange(DAYS - span))
        begin, end = f"{first:%Y%m%d}", f"{first + timedelta(days=span - 1):%Y%m%d}"
        modality = chance.choice(("CT", "MR", "CR", "DX", "US", "PT"))
        within = by_date[bisect.bisect_left(dates, begin) : bisect.bisect_right(dates, end)]
        values.append((sum(modality in study.modalities for study in within), (f"{begin}-{end}", modality)))
    return values


def _everything(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    return [(len(studies), ())]


def _series_of_study(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    return [(len(study.series), (study.uid,)) for study in chance.sample(studies, min(len(studies), MOST_VALUES))]


def _images_of_series(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    series = [(study, one) for study in studies for one in study.series if one.images <= 30]
    return [(one.images, (study.uid, one.uid)) for study, one in chance.sample(series, min(len(series), MOST_VALUES))]


def _images_of_long_series(studies: Sequence[Study], chance: random.Random) -> list[Values]:
    return [(one.images, (study.uid, one.uid)) for study in studies for one in study.series if one.images > 30]


_LEAN: Final = ("StudyInstanceUID", "PatientName", "PatientID", "StudyDate")
_USUAL: Final = (*_LEAN, "PatientBirthDate", "PatientSex", "StudyTime", "AccessionNumber", "StudyDescription")
_ALL: Final = (
    *_USUAL, "StudyID", "ReferringPhysicianName", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
)  # fmt: skip
_SERIES: Final = ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription")
_IMAGE: Final = ("SOPInstanceUID", "SOPClassUID", "InstanceNumber")

QUESTIONS: Final = {
    question.name: question
    for question in (
        Question(
            name="study-uid",
            title="one study by its UID",
            level="STUDY",
            returned=_USUAL,
            varying=("StudyInstanceUID",),
            values=_studies_by_uid,
        ),
        Question(
            name="patient-id",
            title="the studies of a Patient ID",
            level="STUDY",
            returned=_USUAL,
            varying=("PatientID",),
            values=_studies_by_patient,
        ),
        Question(
            name="name-prefix",
            title="studies by the beginning of a name (SM* and pieces as frequent)",
            level="STUDY",
            returned=_USUAL,
            varying=("PatientName",),
            values=_by_prefix,
        ),
        Question(
            name="name-infix",
            title="studies by two letters anywhere in a name (*SM* and pieces as frequent)",
            level="STUDY",
            returned=_USUAL,
            varying=("PatientName",),
            values=_by_infix,
        ),
        Question(
            name="name-long-infix",
            title="studies by five letters anywhere in a name (*SMITH* and pieces as frequent)",
            level="STUDY",
            returned=_USUAL,
            varying=("PatientName",),
            values=_by_long_infix,
        ),
        Question(
            name="date-modality",
            title="studies by a range of dates and a modality",
            level="STUDY",
            returned=(*_USUAL, "ModalitiesInStudy"),
            varying=("StudyDate", "ModalitiesInStudy"),
            values=_by_date_and_modality,
        ),
        Question(
            name="series",
            title="the series of a study",
            level="SERIES",
            returned=("StudyInstanceUID", *_SERIES),
            varying=("StudyInstanceUID",),
            values=_series_of_study,
        ),
        Question(
            name="images",
            title="the images of a series of about 20",
            level="IMAGE",
            returned=("StudyInstanceUID", "SeriesInstanceUID", *_IMAGE),
            varying=("StudyInstanceUID", "SeriesInstanceUID"),
            values=_images_of_series,
        ),
        Question(
            name="long-series",
            title="the images of a long series",
            level="IMAGE",
            returned=("StudyInstanceUID", "SeriesInstanceUID", *_IMAGE),
            varying=("StudyInstanceUID", "SeriesInstanceUID"),
            values=_images_of_long_series,
            all_matching=True,
        ),
        Question(
            name="all-lean",
            title="all studies, 4 keys",
            level="STUDY",
            returned=_LEAN,
            values=_everything,
            all_matching=True,
        ),
        Question(
            name="all-14",
            title="all studies, 14 keys",
            level="STUDY",
            returned=_ALL,
            values=_everything,
            all_matching=True,
        ),
    )
}
