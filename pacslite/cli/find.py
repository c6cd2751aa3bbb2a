"""`pacslite find`: what a peer has (C-FIND, PS3.4 C.4.1)."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated

import typer

from pacslite.cli.answers import Answers, Columns, JSONLines
from pacslite.cli.exits import Exit
from pacslite.cli.find_keys import identifier, missing_unique_keys
from pacslite.cli.peer_options import Call, with_peer_options
from pacslite.cli.query_retrieve import (
    SYNTAXES,
    ModelOption,
    Relational,
    accepted_context,
    failure_words,
    model_for,
    say,
)
from pacslite.cli.running import run
from pacslite.cli.screen import plural
from pacslite.dicom import tags
from pacslite.dicom.charset_encoding import UTF_8, text_encoder
from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.levels import Level, Model
from pacslite.dicom.tags import keyword_of
from pacslite.dimse.status import CANCEL, SUCCESS
from pacslite.errors import ConfigurationError
from pacslite.net.requestor import Proposal, associate
from pacslite.services.negotiated import Agreed
from pacslite.services.query_scu import Finished, Found, Unreadable, find, offered
from pacslite.ul.items import PresentationContext, SOPClassExtendedNegotiation


class LevelName(StrEnum):
    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    IMAGE = "image"


def register(app: typer.Typer) -> None:
    app.command("find")(find_command)


@with_peer_options
def find_command(
    call: Call,
    level: Annotated[LevelName, typer.Option("-l", "--level", help="What to look for.")] = LevelName.STUDY,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "-k",
            "--key",
            metavar="KEY[=VALUE]",
            help="What must match, or without a value what to show: an attribute's keyword or tag; in a sequence "
            "SEQUENCE.KEY. Repeatable.",
        ),
    ] = None,
    bare: Annotated[bool, typer.Option("--bare", help="Ask for the keys given with -k and for nothing else.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the DICOM JSON Model, one answer to a line, instead of a table.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="Stop the peer after N answers; 0: no limit.")
    ] = 0,
    model: ModelOption = None,
    relational: Relational = False,
    fuzzy: Annotated[bool, typer.Option("--fuzzy", help="Negotiate fuzzy matching of person names.")] = False,
    combined: Annotated[
        bool, typer.Option("--combined", help="Negotiate that a date and its time are one moment.")
    ] = False,
    empty_value: Annotated[
        bool, typer.Option("--empty-value", help='Negotiate that the value "" finds what has no value.')
    ] = False,
    multiple_values: Annotated[
        bool, typer.Option("--multiple-values", help=r"Negotiate that A\B finds A and finds B.")
    ] = False,
    charset: Annotated[
        str,
        typer.Option(
            "--charset",
            metavar="TERMS",
            help=r"Specific Character Set of the request, several joined by \; many peers answer in it.",
        ),
    ] = UTF_8,
    answer_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long the peer may be silent.")
    ] = 60.0,
) -> None:
    """Ask a peer what it has.

    Without relational queries the standard wants one value for the unique key of each level above: series need
    -k StudyInstanceUID=..., images -k SeriesInstanceUID=... as well. A peer that does not do what is negotiated is
    asked all the same, and that is said.

    Exit codes: 0 something was found; 1 nothing was found, or the peer does not do that or failed; 3 it could not be
    reached or rejected the association.
    """
    chosen = model_for(model, wants_patients=level is LevelName.PATIENT)
    wanted = Level(level.upper())
    if wanted not in chosen.levels:
        raise ConfigurationError(f"{chosen.name} has no {level} level")
    elements = identifier(keys or (), wanted, chosen, defaults=not bare)
    if not relational and (missing := missing_unique_keys(elements, wanted, chosen)):
        raise ConfigurationError(
            f"--level {level} needs {' and '.join(f'-k {name}=...' for name in missing)}, or --relational"
        )
    sets = tuple(charset.split("\\")) if charset else ()
    if sets and not text_encoder(sets).terms:
        raise ConfigurationError(f'--charset "{charset}" is no Specific Character Set')
    wish = Agreed(
        relational=relational,
        combined_date_time=combined,
        fuzzy=fuzzy,
        empty_value=empty_value,
        multiple_values=multiple_values,
    )
    asking = _Asking(call, chosen, JSONLines() if as_json else Columns(list(elements)), list(elements))
    elements[tags.QUERY_RETRIEVE_LEVEL] = Element("CS", wanted.value)
    if not run(asking.run(elements, wish, limit=limit, character_sets=sets, answer_s=answer_timeout)):
        raise typer.Exit(Exit.FAILED)


class _Asking:
    """One run of the command."""

    def __init__(self, call: Call, model: Model, answers: Answers, keys: list[int]) -> None:
        self._call = call
        self._model = model
        self._answers = answers
        self._missing = set(keys)
        self._found = 0
        self._unreadable = 0
        self._incomplete = False

    async def run(
        self, elements: Elements, wish: Agreed, *, limit: int, character_sets: Sequence[str], answer_s: float
    ) -> bool:
        sop_class = self._model.find
        information = offered(wish)
        proposal = Proposal(
            calling_ae=self._call.calling_ae,
            contexts=(PresentationContext(1, sop_class, SYNTAXES),),
            extended=(SOPClassExtendedNegotiation(sop_class, information),) if information else (),
            user_identity=self._call.user_identity,
        )
        started = time.perf_counter()
        async with associate(self._call.remote, proposal, connect_s=self._call.connect_s) as requested:
            context = accepted_context(requested, sop_class)
            if context is None:
                return False
            for name in _refused(wish, Agreed.by(context.extended)):
                say(f"the peer does not do {name}")
            events = find(
                requested.association, context, elements, limit=limit, character_sets=character_sets, answer_s=answer_s
            )
            finished = await self._receive(events)
        return self._summarise(finished, time.perf_counter() - started)

    async def _receive(self, events: AsyncGenerator[Found | Unreadable | Finished, None]) -> Finished:
        """Pass on what is found. What ends before the peer's last word raises."""
        try:
            async with aclosing(events):
                async for event in events:
                    match event:
                        case Found():
                            self._take(event)
                        case Unreadable(reason):
                            self._unreadable += 1
                            say(f"an answer cannot be read: {reason}")
                        case Finished():
                            return event
        finally:
            self._answers.close()
        raise AssertionError("the answers ended without a last one")

    def _take(self, found: Found) -> None:
        self._found += 1
        self._missing -= found.elements.keys()
        self._incomplete |= not found.complete
        self._answers.add(found.elements)

    def _summarise(self, finished: Finished, seconds: float) -> bool:
        stopped = ", stopped by --limit: there may be more" if finished.cut else ""
        say(f"{plural(self._found, 'answer')} in {seconds:.2f} s{stopped}")
        if self._incomplete and self._missing:
            say(f"the peer does not support {', '.join(keyword_of(tag) for tag in sorted(self._missing))}")
        status = finished.response.status
        if status != SUCCESS and not (status == CANCEL and finished.cut):
            say(failure_words(finished.response))
            return False
        return self._found > 0 and not self._unreadable


def _refused(wish: Agreed, agreed: Agreed) -> Iterator[str]:
    words = {
        "relational": "relational queries",
        "combined_date_time": "combined date and time matching",
        "fuzzy": "fuzzy matching of names",
        "empty_value": "empty value matching",
        "multiple_values": "multiple value matching",
    }
    return (text for name, text in words.items() if getattr(wish, name) and not getattr(agreed, name))
