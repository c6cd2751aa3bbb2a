"""`pacslite move`: have a peer send objects to another (C-MOVE, PS3.4 C.4.2)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Final

import typer

from pacslite.cli.exits import Exit
from pacslite.cli.peer_options import Call, with_peer_options
from pacslite.cli.query_retrieve import SYNTAXES, ModelOption, Relational, accepted_context, failure_words, say
from pacslite.cli.retrieval import Images, Patients, Series, Studies, relational_negotiation, retrieval
from pacslite.cli.running import run
from pacslite.cli.screen import Screen, plural
from pacslite.dicom.elements import Elements
from pacslite.dicom.levels import Model
from pacslite.dicom.values import is_valid_ae_title
from pacslite.dimse.status import SUCCESS
from pacslite.errors import ConfigurationError
from pacslite.net.requestor import Proposal, associate
from pacslite.services.retrieve_scu import Counters, Ended, Underway, move
from pacslite.ul.items import PresentationContext

MOST_LISTED: Final = 10

AnswerSeconds = Annotated[
    float,
    typer.Option(
        "--answer-timeout", metavar="SECONDS", min=0.1, help="How long the peer may be silent; many do not report."
    ),
]


def register(app: typer.Typer) -> None:
    app.command("move")(move_command)


@with_peer_options
def move_command(
    call: Call,
    destination: Annotated[
        str,
        typer.Option("--to", metavar="AE", show_default=False, help="The AE title to send to; the peer must know it."),
    ],
    patients: Patients = None,
    studies: Studies = None,
    series: Series = None,
    images: Images = None,
    model: ModelOption = None,
    relational: Relational = False,
    answer_timeout: AnswerSeconds = 300.0,
) -> None:
    """Have a peer send objects to another system.

    What is meant is named from the top down: --series needs its --study, --image also its --series, unless relational
    queries are negotiated. The deepest may be repeated.

    Exit codes: 0 all sent; 1 something was not, there was nothing, or the peer does not do that; 3 it could not be
    reached or rejected the association.
    """
    if not is_valid_ae_title(destination):
        raise ConfigurationError(f'--to "{destination}": an AE title has 1 to 16 ASCII characters, no backslash')
    chosen, identifier = retrieval(model, patients, studies, series, images, relational=relational)
    with Screen("moving") as screen:
        work = _move(call, screen, chosen, identifier, destination, relational=relational, answer_s=answer_timeout)
        succeeded = run(work)
    if not succeeded:
        raise typer.Exit(Exit.FAILED)


async def _move(
    call: Call,
    screen: Screen,
    model: Model,
    identifier: Elements,
    destination: str,
    *,
    relational: bool,
    answer_s: float,
) -> bool:
    proposal = Proposal(
        calling_ae=call.calling_ae,
        contexts=(PresentationContext(1, model.move, SYNTAXES),),
        extended=relational_negotiation(model.move, relational=relational),
        user_identity=call.user_identity,
    )
    started = time.perf_counter()
    ended: Ended | None = None
    async with associate(call.remote, proposal, connect_s=call.connect_s) as requested:
        context = accepted_context(requested, model.move)
        if context is None:
            return False
        if relational and context.extended[:1] != b"\1":
            say("the peer does not do relational queries")
        events = move(requested.association, context, identifier, destination=destination, answer_s=answer_s)
        async with aclosing(events):
            async for event in events:
                show(screen, event)
                if isinstance(event, Ended):
                    ended = event
    assert ended is not None  # what ends earlier raises
    counters = ended.counters
    if counters.done:
        screen.line(f"{destination} was sent {_words(counters)} in {time.perf_counter() - started:.2f} s")
    tell_failures(screen, ended.failed_uids)
    if ended.response.status != SUCCESS:
        say(failure_words(ended.response))
        return False
    if not counters.done:
        say("the peer has nothing of that")
    return counters.done > 0 and not counters.failed


def show(screen: Screen, event: Underway | Ended) -> None:
    """How far it is, by the peer's counting."""
    counters = event.counters
    total = counters.done + (counters.remaining or 0)
    if total:
        screen.expect(total)
        screen.reach("moving", counters.done / total)
        screen.note(f"{counters.done} of {plural(total, 'object')}")


def tell_failures(screen: Screen, uids: Sequence[str]) -> None:
    for uid in uids[:MOST_LISTED]:
        screen.line(f"failed  {uid}")
    if len(uids) > MOST_LISTED:
        screen.line(f"failed  and {len(uids) - MOST_LISTED} more")


def _words(counters: Counters) -> str:
    words = plural(counters.completed + counters.warning, "object")
    if counters.warning:
        words += f", {counters.warning} with a warning"
    if counters.failed:
        words += f", {counters.failed} failed"
    return words
