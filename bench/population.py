"""Synthetic archives to be asked questions: patients with their studies and series, by a fixed seed.

Only what a query can be about is made up, and nothing is kept that can be made again: instances exist as a number and
a UID. All names are in the default repertoire and in upper case, so that servers that compare case and servers that do
not have the same matches to find.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Final

from bench import names

FORMAT: Final = 1  # part of what prepared archives are called: raise it when other bytes are made
LONG_SERIES: Final = {10_000: (1, 1000), 1_000_000: (10, 5000)}
"""How many series are long, and how many images those have, by the size of the archive."""
USUAL_LONG: Final = (0, 0)
FIRST_DAY: Final = date(2019, 1, 1)
DAYS: Final = 7 * 365

_PHYSICIANS: Final = tuple(
    f"{family}^{given}^^DR." for family, given in zip(names.FAMILY[40:100], names.GIVEN_M * 2, strict=False)
)
_BODY_PARTS: Final = ("HEAD", "CHEST", "ABDOMEN", "PELVIS", "KNEE", "SPINE", "NECK", "HEART")
# Modalities of a study, how often, and the SOP class of its images.
_MODALITIES: Final = (
    (("CT",), 28), (("MR",), 22), (("CR",), 12), (("DX",), 14), (("US",), 10), (("MG",), 4), (("XA",), 3), (("NM",), 2),
    (("PT", "CT"), 3), (("MR", "PT"), 1), (("CT", "US"), 1),
)  # fmt: skip
SOP_CLASS: Final = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "MG": "1.2.840.10008.5.1.4.1.1.1.2",
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    patient_id: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    uid: str
    number: int
    modality: str
    description: str
    body_part: str
    date: str
    time: str
    images: int

    @property
    def sop_class(self) -> str:
        return SOP_CLASS[self.modality]

    def instance_uid(self, number: int) -> str:
        """Of the image with this number, from 1."""
        return f"{self.uid}.{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    patient: Patient
    uid: str
    date: str
    time: str
    accession_number: str
    study_id: str
    description: str
    referring_physician: str
    series: tuple[Series, ...]

    @property
    def modalities(self) -> frozenset[str]:
        return frozenset(series.modality for series in self.series)

    @property
    def images(self) -> int:
        return sum(series.images for series in self.series)


@cache
def population(instances: int) -> tuple[Study, ...]:
    """The studies of an archive with exactly so many instances; the studies of one patient follow each other."""
    chance = random.Random(instances)
    counts = _counts(instances, chance)
    studies: list[Study] = []
    for number in itertools.count(1):
        patient = _patient(number, chance)
        for _ in range(chance.choices((1, 2, 3, 4), (40, 30, 20, 10))[0]):
            series = list(itertools.islice(counts, chance.choice((2, 2, 3))))
            if not series:
                return tuple(studies)
            studies.append(_study(len(studies) + 1, patient, series, chance))
    raise AssertionError("unreachable: numbers do not end")


def _counts(instances: int, chance: random.Random) -> Iterator[int]:
    """How many images each series has: about 20, but for the long ones, which come evenly spread."""
    series, images = LONG_SERIES.get(instances, USUAL_LONG)
    every = (instances - series * images) // 20 // (series + 1) if series else 0
    left, number = instances, 0
    while left:
        number += 1
        usual = chance.randint(10, 30)
        count = min(left, images if every and number % every == 0 and number // every <= series else usual)
        left -= count
        yield count


@cache
def _weights() -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Family names as they are spread: few are common. One in a hundred begins with SM."""
    weights = [10_000 // (rank + 20) for rank in range(len(names.FAMILY))]
    weights[0] = 0
    total = sum(weights) * 10 // 6  # the rest of the names is made of syllables
    smiths = total // 100
    weights[0] = smiths * 8 // 10
    rare = [smiths // 5 // len(names.RARE_SM)] * len(names.RARE_SM)
    return (*names.FAMILY, *names.RARE_SM, ""), (*weights, *rare, total - sum(weights) - sum(rare))


def _patient(number: int, chance: random.Random) -> Patient:
    families, weights = _weights()
    family = chance.choices(families, weights)[0] or "".join(chance.choices(names.SYLLABLES, k=chance.choice((2, 3))))
    sex = chance.choice("FM")
    given = chance.choice(names.GIVEN_F if sex == "F" else names.GIVEN_M)
    if chance.random() < 0.2:
        given += "^" + chance.choice(names.GIVEN_F if sex == "F" else names.GIVEN_M)
    birth = date(1930, 1, 1) + timedelta(days=chance.randrange(85 * 365))
    return Patient(
        patient_id=f"P{number * 7919 % 10_000_019:08d}", name=f"{family}^{given}", birth_date=_da(birth), sex=sex
    )


def _study(number: int, patient: Patient, counts: Sequence[int], chance: random.Random) -> Study:
    modalities = chance.choices([one for one, _ in _MODALITIES], [weight for _, weight in _MODALITIES])[0]
    day = _da(FIRST_DAY + timedelta(days=chance.randrange(DAYS)))
    body_part = chance.choice(_BODY_PARTS)
    hour, minute = chance.randint(6, 20), chance.randrange(60)
    series = tuple(
        Series(
            uid=_uid(chance),
            number=place,
            modality=modality,
            description=f"{body_part} {modality} {chance.choice(('AX', 'COR', 'SAG', 'AP', 'LAT'))} {place}",
            body_part=body_part,
            date=day,
            time=f"{hour:02}{minute:02}{place:02}",
            images=count,
        )
        for place, (modality, count) in enumerate(zip(itertools.cycle(modalities), counts, strict=False), 1)
    )
    return Study(
        patient=patient,
        uid=_uid(chance),
        date=day,
        time=f"{hour:02}{minute:02}00",
        accession_number=f"A{number * 104_729 % 1_000_000_007:010d}",
        study_id=f"{number}",
        description=f"{'/'.join(modalities)} {body_part}",
        referring_physician=chance.choice(_PHYSICIANS),
        series=series,
    )


def _uid(chance: random.Random) -> str:
    return f"2.25.{chance.getrandbits(110)}"


def _da(day: date) -> str:
    return f"{day:%Y%m%d}"
