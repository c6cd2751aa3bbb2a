"""The part of the conformance statement about queries (C-FIND)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pacslite.archive.headers import MAX_VALUE_BYTES
from pacslite.archive.query import can_match, can_return
from pacslite.dicom.levels import LEVEL_OF, PATIENT_ROOT, RETURN_ONLY, Level
from pacslite.dicom.tags import keyword_of, tag_text
from pacslite.dicom.vrs import vr_of
from pacslite.errors import DimseError, InvalidKey, MistypedArgument, OutOfResources, UnableToProcess
from pacslite.server.config import Config
from pacslite.services.identifier_shape import is_of_request
from pacslite.services.negotiated import NEGOTIABLE

_WIDTH = 118

_REQUEST = (
    "Without relational queries the unique keys of all higher levels are needed, a single value each. Other attributes "
    "of higher levels, and all of lower ones, are not matched and left out of the answers, which are then FF01.",
    "In Study Root the attributes of the patient belong to the STUDY level.",
    "With relational queries every attribute of the level and of those above it is matched and returned; higher unique "
    "keys may be missing, lists or patterns.",
    "Group lengths and groups below 0008 are passed over. Specific Character Set says how the request is encoded; all "
    "of PS3.3 C.12.1.1.2 are read. A sequence key has at most one item.",
)
_MATCHING = (
    "Single values are compared as they are written, case included, but for person names; dates, times and numbers by "
    "what they mean.",
    "Person names: no difference is made between upper and lower case, with and without accents, full and half width, "
    "katakana and hiragana. Component groups are matched each with its own if the key has several; a key with one "
    "matches any of the three. The order of components counts.",
    "Fuzzy: the words of the key in any order, each the beginning of a word of the name or sounding like one.",
    "Wild cards in AE, CS, LO, LT, PN, SH, ST, UC, UR and UT; in others they are refused. `?` is one character.",
    "Lists of UIDs; lists for Modalities in Study. Others only where Multiple Value Matching was agreed: then each "
    "value has to be there.",
    "Ranges of DA, TM and DT include their ends, to the end of the precision that they are written with.",
    "One value of several is enough. In a sequence all keys have to match in the same item.",
    "Time zone: where it was agreed on and the request has Timezone Offset From UTC, keys are understood and answers "
    "given in that zone. Objects that name none are taken to be of the zone that is set (`query.timezone`).",
)
_ANSWERS = (
    "Every key that is supported, with zero length where there is no value; Query/Retrieve Level and Retrieve AE "
    "Title; Instance Availability (ONLINE) where it is asked for; Timezone Offset From UTC where it counted.",
    "At IMAGE level any attribute of the stored object is returned, and matched, but for pixel data and values or "
    f"sequences of more than {MAX_VALUE_BYTES // 1024} KiB.",
    "In the character set of the request if it can hold all text, else in ISO_IR 192. Specific Character Set is there "
    "when a value needs it.",
    "C-CANCEL is honoured between answers and while the index is searched. FE00 is no answer to anything else.",
)
_STATUSES: tuple[tuple[type[DimseError], str], ...] = (
    (OutOfResources, "The identifier is longer than is taken, or there are more matches than a setting allows."),
    (InvalidKey, "A key breaks the rules above; Offending Element names it, Error Comment says how."),
    (UnableToProcess, "The identifier cannot be decoded, or the index cannot be read."),
    (MistypedArgument, "There is no identifier."),
)


def query_behaviour(config: Config) -> Iterator[str]:
    """Markdown."""
    yield "## Query behaviour"
    yield ""
    yield "SOP Class Extended Negotiation (PS3.4 C.5.1.1); no more bytes are answered than were offered:"
    yield ""
    yield "| byte | what | supported |"
    yield "|---|---|---|"
    for byte, (name, supported) in enumerate(NEGOTIABLE, start=1):
        yield f"| {byte} | {name} | {'yes' if supported else 'no'} |"
    yield ""
    for title, points in (("Requests", _REQUEST), ("Matching", _MATCHING), ("Answers", _ANSWERS)):
        yield f"{title}:"
        yield ""
        for point in points:
            yield from textwrap.wrap(f"- {point}", _WIDTH, subsequent_indent="  ")
        yield ""
    most = config.query.max_answers
    yield f"A query may have {most} answers." if most else "The number of answers has no limit."
    yield ""
    yield "| status | when |"
    yield "|---|---|"
    yield "| FF00 | One match; everything that was asked for is supported. |"
    yield "| FF01 | One match; something that was asked for is not supported and was left out. |"
    for error, when in _STATUSES:
        yield f"| {error.status:04X} | {when} |"
    yield ""
    for level in Level:
        yield from _keys(level)


def _keys(level: Level) -> Iterator[str]:
    """U unique, R required, O optional, as the tables of PS3.4 C.6 have it."""
    yield f"Keys of the {level.value} level (Patient Root):"
    yield ""
    yield "| attribute | tag | VR | type | matched |"
    yield "|---|---|---|---|---|"
    own = (tag for tag, of in LEVEL_OF.items() if of is level and can_return(level, tag) and not is_of_request(tag))
    for tag in sorted(own):
        matched = "no" if tag in RETURN_ONLY or not can_match(level, tag) else "yes"
        kind = PATIENT_ROOT.key_type(tag).value
        yield f"| {keyword_of(tag)} | {tag_text(tag)} | {vr_of(tag)} | {kind} | {matched} |"
    yield ""
