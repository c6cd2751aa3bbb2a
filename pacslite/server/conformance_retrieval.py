"""The part of the conformance statement about retrievals (C-MOVE, C-GET)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pacslite.errors import (
    CannotCountMatches,
    CannotPerformSubOperations,
    DimseError,
    InvalidKey,
    OutOfResources,
    UnableToProcess,
    UnknownDestination,
)
from pacslite.server.config import Config
from pacslite.services.progress import SIGN_OF_LIFE_S

_REFUSALS: tuple[tuple[type[DimseError], str], ...] = (
    (OutOfResources, "The identifier is longer than is taken."),
    (CannotCountMatches, "The index cannot be read."),
    (
        CannotPerformSubOperations,
        "All sub-operations have failed, be it that the destination cannot be reached; with their list.",
    ),
    (UnknownDestination, "C-MOVE: the destination is no peer that is configured with a port."),
    (InvalidKey, "The identifier breaks the rules above; Offending Element names the key, Error Comment says how."),
    (UnableToProcess, "The identifier cannot be decoded."),
)


_WIDTH = 118

_IDENTIFIER = (
    "The unique key of the level is needed. At STUDY, SERIES and IMAGE level it may be a list of UIDs; Patient ID is a "
    "single value. Wildcards and ranges are refused.",
    "The UIDs of higher levels are needed too, one of each, unless relational retrieval has been negotiated: then none "
    "is, and lists are allowed. Patient ID may be missing below PATIENT level in any case. What is given has to fit.",
    "A value of a unique key below the level is refused. Attributes that are no unique keys are not looked at.",
)
_SUB_OPERATIONS = (
    "Objects go by series and instance number within each study.",
    "C-MOVE: associations to the destination are requested with, for each SOP Class that is to be sent, one "
    "presentation context for each transfer syntax in which objects of it are stored, with that alone, and one with "
    "Explicit and Implicit VR Little Endian; with more than 128 of them one association after the other. An "
    "asynchronous operations window is offered. Move Originator AE Title and Message ID are sent.",
    "C-GET: on the contexts for which the requester has proposed the SCP role.",
    "Priority is passed on. Status 0000 is counted as completed, Bxxx, 0001, 0107 and 0116 as warning, all others as "
    "failed.",
    "An association to a destination that is lost is opened once more, and what had no answer is sent again after the "
    "rest.",
)
_BYTE_FOR_BYTE = (
    "The data set is sent byte for byte as it was stored where a context in its transfer syntax was accepted."
)
_PADDED = (
    "Fragments are even (PS3.8 Annex E.2): a deflated data set of odd length gets the NUL that PS3.5 A.5 asks for; any "
    "other one has its values padded (PS3.5 7.1.1) if it can be converted, and fails if not."
)
_CONVERTED = "Otherwise it is converted to one that was, if that can be done without loss."
_FAILED = "An object that no accepted context can take is a failed sub-operation."


def retrieval_behaviour(config: Config) -> Iterator[str]:
    settings = config.retrieve
    yield "## Retrieval behaviour"
    yield ""
    yield "Identifier:"
    yield ""
    yield from _points(_IDENTIFIER)
    yield "Sub-operations:"
    yield ""
    how = (_BYTE_FOR_BYTE, *((_CONVERTED,) if settings.convert else ()), _FAILED, _PADDED)
    yield from _points((*_SUB_OPERATIONS, " ".join(how)))
    yield from textwrap.wrap(
        f"Pending answers come every {settings.pending_s:g} s while something changes, and every {SIGN_OF_LIFE_S:g} s "
        "otherwise. All answers have the numbers of sub-operations, but Number of Remaining Sub-operations only if "
        "they are pending or cancelled; more than 65535 are told as 65535. Final status: 0000 if all were completed, "
        "B000 if some failed or were answered with a warning, A702 if all failed, FE00 after a C-CANCEL that left "
        "something undone. Failed SOP Instance UID List is in each of these when any failed.",
        _WIDTH,
    )
    yield ""
    yield "| status | when |"
    yield "|---|---|"
    for error, when in _REFUSALS:
        yield f"| {error.status:04X} | {when} |"
    yield ""


def _points(points: tuple[str, ...]) -> Iterator[str]:
    for point in points:
        yield from textwrap.wrap(f"- {point}", _WIDTH, subsequent_indent="  ")
    yield ""
