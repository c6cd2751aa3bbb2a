"""`pacslite send`: files and folders to a peer (C-STORE, PS3.4 Annex B), each data set as it is in its file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pacslite.cli.exits import Exit
from pacslite.cli.peer_options import Call, with_peer_options
from pacslite.cli.report import Report
from pacslite.cli.running import run
from pacslite.cli.scanning import Skipped, Why, scan
from pacslite.cli.screen import Screen, plural, size_words
from pacslite.cli.sending_plan import SendableFile

if TYPE_CHECKING:
    from pacslite.cli.sending import FileResult, Sending


def register(app: typer.Typer) -> None:
    app.command("send")(send)


@with_peer_options
def send(
    call: Call,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", exists=True, show_default=False, help="Files and folders, with all in them."),
    ],
    associations: Annotated[
        int, typer.Option("-j", "--associations", metavar="N", min=1, max=64, help="Associations at once.")
    ] = 1,
    window: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=1000, help="Objects under way on one association, where the peer agrees to it."
        ),
    ] = 1,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count a file in a folder that is not DICOM as failed, not as skipped.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write what became of each file, as JSON.")
    ] = None,
    answer_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long the peer has to answer for an object.")
    ] = 60.0,
) -> None:
    """Send files and folders to a peer.

    Nothing is converted: each object is offered in the transfer syntax that it has in its file, and one that the peer
    does not take fails with the reason while the others go on. Nothing is padded either: a data set of odd length,
    which the standard forbids, ends with an odd fragment, and some peers abort on that. An association that is lost is
    opened once more and what had no answer is sent again. DICOMDIR files, and files in folders that are not DICOM, are
    skipped.

    Exit codes: 0 all sent (or accepted with a warning); 1 something failed, or there was nothing to send; 3 the peer
    could not be reached or refused the association.
    """
    # Only here: it brings the services, which take longer to load than a help text to read.
    from pacslite.cli.sending import Sending

    sending = Sending(
        remote=call.remote,
        calling_ae=call.calling_ae,
        user_identity=call.user_identity,
        associations=associations,
        window=window,
        connect_s=call.connect_s,
        answer_s=answer_timeout,
    )
    journal: AbstractContextManager[Report | None] = nullcontext() if report is None else Report(report)
    with journal as opened, Screen("sending", in_bytes=True) as screen:
        dispatch = _Dispatch(sending, screen, opened, strict=strict, verbose=call.verbose)
        succeeded = run(dispatch.run(paths))
    if not succeeded:
        raise typer.Exit(Exit.FAILED)


class _Dispatch:
    """One run of the command: what was found, what became of it, and how that is told."""

    def __init__(self, sending: Sending, screen: Screen, report: Report | None, *, strict: bool, verbose: bool) -> None:
        self._sending = sending
        self._screen = screen
        self._report = report
        self._strict = strict
        self._verbose = verbose
        self._counts: Counter[str] = Counter()
        self._found = 0
        self._found_bytes = 0
        self._sent_bytes = 0

    async def run(self, paths: Sequence[Path]) -> bool:
        """Send everything; whether nothing failed. What was done is told also when it ends early."""
        from pacslite.cli.sending import Sender

        started = time.perf_counter()
        complete = False
        sender = Sender(self._sending, tell=self._tell, moved=self._screen.advance)
        try:
            complete = await sender.run(self._find(paths))
        finally:
            seconds = time.perf_counter() - started
            if sender.associations or complete:
                self._screen.line(", ".join(self._summary(sender.associations, seconds)))
            if sender.associations and not complete:
                self._screen.line("ended before all files were looked at")
            if self._report is not None:
                self._report.summarise(self._numbers(sender.associations, seconds, complete))
        done = self._counts["sent"] + self._counts["warning"]
        return complete and done > 0 and not self._counts["failed"]

    async def _find(self, paths: Sequence[Path]) -> AsyncGenerator[SendableFile, None]:
        async with aclosing(scan(paths)) as found:
            async for item in found:
                if isinstance(item, Skipped):
                    self._skip(item)
                    continue
                self._found += 1
                self._found_bytes += item.data_set_bytes
                self._screen.expect(self._found_bytes)
                yield item

    # --- Telling ------------------------------------------------------------------------------------------------------

    def _tell(self, result: FileResult) -> None:
        file, outcome = result.file, result.outcome.value
        self._count(outcome, file.path, result.reason, silent=outcome == "sent")
        if outcome != "failed":
            self._sent_bytes += file.data_set_bytes
        if self._report is not None:
            self._report.add(
                {
                    "path": str(file.path),
                    "outcome": outcome,
                    "status": None if result.status is None else f"{result.status:04X}",
                    "reason": result.reason,
                    "sop_class_uid": file.sop_class_uid,
                    "sop_instance_uid": file.sop_instance_uid,
                    "transfer_syntax_uid": file.transfer_syntax_uid,
                    "bytes": file.data_set_bytes,
                }
            )

    def _skip(self, item: Skipped) -> None:
        failed = item.why is Why.BROKEN or (item.why is Why.NOT_DICOM and (item.named or self._strict))
        outcome = "failed" if failed else "skipped"
        self._count(outcome, item.path, item.reason, silent=not failed)
        if self._report is not None:
            self._report.add({"path": str(item.path), "outcome": outcome, "status": None, "reason": item.reason})

    def _count(self, outcome: str, path: Path, reason: str, *, silent: bool) -> None:
        self._counts[outcome] += 1
        done = self._counts.total() - self._counts["skipped"]
        self._screen.note(f"{done} of {self._found} objects")
        if self._verbose or not silent:
            self._screen.line(f"{outcome:8}{path}" + (f": {reason}" if reason else ""))

    def _summary(self, associations: int, seconds: float) -> Iterator[str]:
        counts = self._counts
        if not (self._found or counts["failed"]):
            yield "nothing to send"
        else:
            speed = size_words(self._sent_bytes / seconds if seconds else 0)
            yield (
                f"sent {plural(counts['sent'] + counts['warning'], 'object')}, {size_words(self._sent_bytes)} "
                f"in {seconds:.2f} s ({speed}/s) over {plural(associations, 'association')}"
            )
        for outcome, words in {"warning": "with a warning", "failed": "failed", "skipped": "skipped"}.items():
            if counts[outcome]:
                yield f"{counts[outcome]} {words}"

    def _numbers(self, associations: int, seconds: float, complete: bool) -> Mapping[str, object]:
        remote = self._sending.remote
        return {
            "peer": f"{remote.ae_title} at {remote.host}:{remote.port}",
            "complete": complete,
            **{outcome: self._counts[outcome] for outcome in ("sent", "warning", "failed", "skipped")},
            "bytes": self._sent_bytes,
            "seconds": round(seconds, 3),
            "associations": associations,
        }
