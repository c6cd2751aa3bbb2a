"""`pacslite get`: objects from a peer into a folder (C-GET, PS3.4 C.4.3)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from pacslite.cli.dictionary_words import uid_of
from pacslite.cli.exits import Exit
from pacslite.cli.move import MOST_LISTED, AnswerSeconds, tell_failures
from pacslite.cli.peer_options import Call, with_peer_options
from pacslite.cli.query_retrieve import SYNTAXES, ModelOption, Relational, accepted_context, failure_words, say
from pacslite.cli.retrieval import Images, Patients, Series, Studies, relational_negotiation, retrieval
from pacslite.cli.running import run
from pacslite.cli.screen import Screen, plural, size_words
from pacslite.dicom.elements import Elements
from pacslite.dicom.levels import Model
from pacslite.dimse.status import SUCCESS
from pacslite.errors import ConfigurationError
from pacslite.net.requestor import Proposal, associate
from pacslite.services.receiving import FolderService, Received, Unsaved, receiver, storage_proposal
from pacslite.services.retrieve_scu import Ended, get
from pacslite.services.usual_storage import USUAL_STORAGE
from pacslite.ul.items import PresentationContext

_FIRST_STORAGE_CONTEXT: Final = 3  # behind that of the C-GET itself


def register(app: typer.Typer) -> None:
    app.command("get")(get_command)


@with_peer_options
def get_command(
    call: Call,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="FOLDER",
            file_okay=False,
            show_default=False,
            help="Where to; made if it is missing.",
        ),
    ],
    patients: Patients = None,
    studies: Studies = None,
    series: Series = None,
    images: Images = None,
    transfer_syntaxes: Annotated[
        list[str] | None,
        typer.Option(
            "-t",
            "--transfer-syntax",
            metavar="NAME",
            help="Take objects in this one too, not only uncompressed: keyword (JPEGLSLossless) or UID. Repeatable.",
        ),
    ] = None,
    sop_classes: Annotated[
        list[str] | None,
        typer.Option(
            "--sop-class",
            metavar="NAME",
            help="Take objects of this SOP class: keyword (CTImageStorage) or UID. Repeatable. Default: the usual.",
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that are there already.")] = False,
    sync: Annotated[
        bool, typer.Option("--sync", help="Acknowledge an object only when it is on the disk for good.")
    ] = False,
    window: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Objects under way at once, where the peer agrees to it.")
    ] = 1,
    model: ModelOption = None,
    relational: Relational = False,
    answer_timeout: AnswerSeconds = 300.0,
) -> None:
    """Get objects from a peer into a folder, one Part 10 file each, called after its SOP Instance UID.

    What is meant is named as for `move`. A file that is there already stays: the same object counts as received,
    another one fails, unless --replace is given. An association has room for 127 SOP classes, for fewer with several
    transfer syntaxes each: if objects fail for that, name those that you need with --sop-class.

    Exit codes: 0 all received; 1 something was not, there was nothing, or the peer does not do that; 3 it could not be
    reached or rejected the association.
    """
    chosen, identifier = retrieval(model, patients, studies, series, images, relational=relational)
    wanted = _Wanted(
        sop_classes=tuple(uid_of(word, "SOP Class") for word in sop_classes or ()) or USUAL_STORAGE,
        syntaxes=_groups([uid_of(word, "Transfer Syntax") for word in transfer_syntaxes or ()]),
        window=window,
        relational=relational,
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--out {out}: {error.strerror}") from None
    with Screen("getting", in_bytes=True) as screen:
        getting = _Getting(call, screen, out, replace=replace, sync=sync)
        succeeded = run(getting.run(chosen, identifier, wanted, answer_s=answer_timeout))
    if not succeeded:
        raise typer.Exit(Exit.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is proposed: SOP classes, each with these groups of transfer syntaxes."""

    sop_classes: Sequence[str]
    syntaxes: Sequence[Sequence[str]]
    window: int
    relational: bool


def _groups(named: Sequence[str]) -> list[tuple[str, ...]]:
    """A context of its own for each that is named, as a context has but one; behind them one for uncompressed, which
    everybody can send: in the syntaxes of that kind that are named, or in either if none is."""
    plain = tuple(uid for uid in dict.fromkeys(named) if uid in SYNTAXES) or SYNTAXES
    return [*((uid,) for uid in dict.fromkeys(named) if uid not in SYNTAXES), plain]


class _Getting:
    """One run of the command: what came, and how that is told."""

    def __init__(self, call: Call, screen: Screen, folder: Path, *, replace: bool, sync: bool) -> None:
        self._call = call
        self._screen = screen
        self._service = FolderService(folder, told=self._tell, moved=screen.advance, replace=replace, sync=sync)
        self._saved = 0
        self._kept = 0
        self._unsaved: set[str] = set()
        self._bytes = 0

    async def run(self, model: Model, identifier: Elements, wanted: _Wanted, *, answer_s: float) -> bool:
        contexts, roles = storage_proposal(wanted.sop_classes, wanted.syntaxes, first_id=_FIRST_STORAGE_CONTEXT)
        if left_out := len(wanted.sop_classes) - len(roles):
            self._note(f"no room to propose {left_out} of {len(wanted.sop_classes)} SOP classes: see --sop-class")
        proposal = Proposal(
            calling_ae=self._call.calling_ae,
            contexts=(PresentationContext(1, model.get, SYNTAXES), *contexts),
            performed_window=wanted.window,
            roles=roles,
            extended=relational_negotiation(model.get, relational=wanted.relational),
            user_identity=self._call.user_identity,
        )
        started = time.perf_counter()
        ended: Ended | None = None
        try:
            async with associate(
                self._call.remote, proposal, perform=receiver(self._service), connect_s=self._call.connect_s
            ) as requested:
                context = accepted_context(requested, model.get)
                if context is None:
                    return False
                if wanted.relational and context.extended[:1] != b"\1":
                    say("the peer does not do relational queries")
                events = get(requested.association, context, identifier, answer_s=answer_s)
                async with aclosing(events):
                    async for event in events:
                        self._count(event.counters.done, event.counters.remaining or 0)
                        if isinstance(event, Ended):
                            ended = event
        finally:
            if ended is not None or self._saved or self._kept:
                self._screen.line(self._summary(time.perf_counter() - started))
        assert ended is not None  # what ends earlier raises
        return self._judge(ended)

    def _judge(self, ended: Ended) -> bool:
        counters = ended.counters
        if len(self._unsaved) > MOST_LISTED:
            self._screen.line(f"failed  and {len(self._unsaved) - MOST_LISTED} more that could not be saved")
        tell_failures(self._screen, [uid for uid in ended.failed_uids if uid not in self._unsaved])
        if ended.response.status != SUCCESS:
            say(failure_words(ended.response))
            if counters.failed > len(self._unsaved):
                say("objects also fail for want of a transfer syntax or SOP class: see --transfer-syntax, --sop-class")
            return False
        if not counters.done:
            say("the peer has nothing of that")
        return self._saved + self._kept > 0 and not counters.failed

    def _tell(self, received: Received | Unsaved) -> None:
        if isinstance(received, Unsaved):
            if len(self._unsaved) < MOST_LISTED:
                self._screen.line(f"failed  {received.sop_instance_uid}: {received.reason}")
            self._unsaved.add(received.sop_instance_uid)
            return
        if received.kept:
            self._kept += 1
        else:
            self._saved += 1
            self._bytes += received.bytes
        if self._call.verbose:
            self._screen.line(f"{'kept' if received.kept else 'saved':8}{received.path}")
        self._screen.note(plural(self._saved + self._kept, "object"))

    def _count(self, done: int, remaining: int) -> None:
        """The peer counts objects, the bar bytes: what is to come is taken to be like what came."""
        received = self._saved + self._kept
        if received and done + remaining:
            self._screen.expect(round(self._bytes / received * (done + remaining)))

    def _note(self, text: str) -> None:
        if self._call.verbose:
            say(text)

    def _summary(self, seconds: float) -> str:
        speed = size_words(self._bytes / seconds if seconds else 0)
        there = f", {self._kept} were there already" if self._kept else ""
        return f"saved {plural(self._saved, 'object')}, {size_words(self._bytes)} in {seconds:.2f} s ({speed}/s){there}"
