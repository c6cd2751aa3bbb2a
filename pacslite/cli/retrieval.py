"""What a retrieval is about, as `move` and `get` are told it: unique keys, the deepest of them names the level."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer

from pacslite.cli.query_retrieve import ModelName, model_for
from pacslite.dicom import tags
from pacslite.dicom.elements import Element
from pacslite.dicom.levels import Level, Model
from pacslite.dicom.vrs import vr_of
from pacslite.errors import ConfigurationError
from pacslite.ul.items import SOPClassExtendedNegotiation

Patients = Annotated[
    list[str] | None, typer.Option("--patient", metavar="ID", help="Patient ID. Uses the model patient-root.")
]
Studies = Annotated[
    list[str] | None, typer.Option("--study", metavar="UID", help="Study Instance UID. The deepest may be repeated.")
]
Series = Annotated[list[str] | None, typer.Option("--series", metavar="UID", help="Series Instance UID.")]
Images = Annotated[list[str] | None, typer.Option("--image", metavar="UID", help="SOP Instance UID.")]

_OPTIONS: Final = {
    Level.PATIENT: "--patient",
    Level.STUDY: "--study",
    Level.SERIES: "--series",
    Level.IMAGE: "--image",
}
_UID: Final = re.compile(r"[0-9.]{1,64}")


def retrieval(
    model_name: ModelName | None,
    patients: Sequence[str] | None,
    studies: Sequence[str] | None,
    series: Sequence[str] | None,
    images: Sequence[str] | None,
    *,
    relational: bool,
) -> tuple[Model, dict[int, Element]]:
    """The model to use and the identifier to send; raises :class:`ConfigurationError` (STANDARD QR-08)."""
    given = {level: tuple(of or ()) for level, of in zip(Level, (patients, studies, series, images), strict=True)}
    model = model_for(model_name, wants_patients=bool(patients))
    levels = [level for level in Level if given[level]]
    if not levels:
        raise ConfigurationError("name what to retrieve: --patient, --study, --series or --image")
    level = levels[-1]
    for other in levels:
        if other not in model.levels:
            raise ConfigurationError(f"{model.name} has no {_OPTIONS[other]}")
    _check(given, level)
    missing = [_OPTIONS[higher] for higher in model.higher_levels(level) if not given[higher]]
    if missing and not relational:
        raise ConfigurationError(f"{_OPTIONS[level]} needs {' and '.join(missing)}, or --relational")
    identifier = {tags.QUERY_RETRIEVE_LEVEL: Element("CS", level.value)}
    for one in levels:
        identifier[one.unique_key] = Element(vr_of(one.unique_key), "\\".join(given[one]))
    return model, identifier


def relational_negotiation(sop_class: str, *, relational: bool) -> tuple[SOPClassExtendedNegotiation, ...]:
    """PS3.4 Table C.5-2: one byte."""
    return (SOPClassExtendedNegotiation(sop_class, b"\1"),) if relational else ()


def _check(given: Mapping[Level, Sequence[str]], deepest: Level) -> None:
    for level, values in given.items():
        if len(values) > 1 and (level is not deepest or level is Level.PATIENT):
            raise ConfigurationError(f"{_OPTIONS[level]} is given {len(values)} times; here it can be one")
        for value in values:
            if level is Level.PATIENT:
                if not value.strip() or any(special in value for special in "\\*?"):
                    raise ConfigurationError(f'--patient "{value}": a Patient ID without *, ? and \\')
            elif not _UID.fullmatch(value):
                raise ConfigurationError(f'{_OPTIONS[level]} "{value}": a UID has digits and dots, at most 64')
