"""What the commands that query and retrieve share: models, contexts, and how refusals and failures are told."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from pacslite.cli.screen import printable
from pacslite.cli.sending_plan import ContextKey
from pacslite.cli.words import refusal_words, status_words
from pacslite.dicom.levels import MODELS, PATIENT_ROOT, STUDY_ROOT, Model
from pacslite.dicom.tags import keyword_of
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacslite.dimse.command import CommandSet, Tag
from pacslite.dimse.service import Context
from pacslite.net.requestor import Requested

# PS3.4 Tables C.4-1 to C.4-3.
_MEANINGS: Final = {
    0xA701: "cannot count what matches",
    0xA702: "cannot send what matches",
    0xA801: "move destination unknown",
    0xA900: "identifier does not match SOP class",
    0xB000: "some could not be sent",
}

SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)


class ModelName(StrEnum):
    PATIENT_ROOT = "patient-root"
    STUDY_ROOT = "study-root"
    PATIENT_STUDY_ONLY = "patient-study-only"


ModelOption = Annotated[
    ModelName | None,
    typer.Option("--model", help="The information model. Default: study-root, for patients patient-root."),
]
Relational = Annotated[
    bool, typer.Option("--relational", help="Negotiate relational queries: keys of any level, none required.")
]


def model_for(name: ModelName | None, *, wants_patients: bool) -> Model:
    """The model of that name; without one, the one that everybody has for what is wanted."""
    if name is None:
        return PATIENT_ROOT if wants_patients else STUDY_ROOT
    return MODELS[list(ModelName).index(name)]


def accepted_context(requested: Requested, sop_class: str) -> Context | None:
    """The context for ``sop_class``, proposed first of all; None, and why on standard error, if it is not accepted."""
    contexts = requested.contexts_for(sop_class)
    if contexts:
        return contexts[0]
    answer = requested.answer.contexts[0] if requested.answer.contexts else None
    say(refusal_words(ContextKey(sop_class, SYNTAXES[0]), 0 if answer is None else answer.result))
    return None


def failure_words(response: CommandSet) -> str:
    """What a final response says, and about which attributes."""
    offending = response.elements.get(Tag.OFFENDING_ELEMENT)
    about = f" ({', '.join(map(keyword_of, offending))})" if isinstance(offending, tuple) and offending else ""
    return status_words(response, _MEANINGS) + about


def say(text: str) -> None:
    """A line on standard error: standard output is for what was found."""
    typer.echo(printable(text), err=True)
