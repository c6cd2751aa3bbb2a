"""`pacslite jobs`: what is owed to others, and steering it, beside a server that may be running."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pacslite.archive.job import Job, JobKind, JobStanding
from pacslite.cli.exits import Exit
from pacslite.cli.job_words import JOB_HEADINGS, LANE_HEADINGS, job_lines, job_row, job_values, lane_row, lane_values
from pacslite.cli.local_archive import DataFolder, load, open_archive
from pacslite.cli.options import ConfigFile, Sets, Verbose
from pacslite.cli.running import run
from pacslite.cli.screen import plural
from pacslite.cli.tables import print_table
from pacslite.errors import ConfigurationError
from pacslite.server.config import Config

if TYPE_CHECKING:
    from pacslite.archive.jobs import Choice, Outbox

_MOST_IN_A_TABLE = 500

_Numbers = Annotated[list[int] | None, typer.Argument(metavar="[JOB]...", help="Their numbers.", show_default=False)]
_All = Annotated[bool, typer.Option("--all", help="All that the other options leave, instead of numbers.")]
_Destination = Annotated[str | None, typer.Option(metavar="AE", help="Only of this destination.")]
_Kind = Annotated[JobKind | None, typer.Option(help="Only of this kind.")]
_Rule = Annotated[str | None, typer.Option(metavar="NAME", help="Only of this forwarding rule.")]
_State = Annotated[JobStanding | None, typer.Option(help="Only in this state.")]
_JSON = Annotated[bool, typer.Option("--json", help="Everything that is known, one JSON object a line.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="What is owed to others: forwards, and what storage commitment needs. A server may be running meanwhile.",
        no_args_is_help=True,
    )
    group.command("ls")(ls)
    group.command("show")(show)
    group.command("retry")(retry)
    group.command("cancel")(cancel)
    app.add_typer(group, name="jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filter:
    """What the options leave."""

    destination: str | None
    kind: JobKind | None
    rule: str | None
    state: JobStanding | None

    def choice(self, *states: JobStanding) -> Choice:
        """With ``states``, when none is named."""
        # Only here: the archive takes long to load, and every command passes this module.
        from pacslite.archive.index.job_lists import Choice

        return Choice(
            destination=self.destination,
            kind=self.kind,
            rule=self.rule,
            standings=(self.state,) if self.state else states,
        )

    @property
    def is_given(self) -> bool:
        return any((self.destination is not None, self.kind, self.rule is not None, self.state))


def ls(
    everything: Annotated[
        bool, typer.Option("--all", help="Each job, not just how many. --state does so too.")
    ] = False,
    destination: _Destination = None,
    kind: _Kind = None,
    rule: _Rule = None,
    state: _State = None,
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", metavar="N", min=0, help="No more jobs; 0: all. A table stops at 500."),
    ] = None,
    as_json: _JSON = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Show how much is owed to whom, and what keeps it; with --all, each job.

    held is what waits until its study is quiet, dead what was given up.
    """
    asked = _Filter(destination=destination, kind=kind, rule=rule, state=state)
    if limit is None:
        limit = 0 if as_json else _MOST_IN_A_TABLE
    loaded = load(config, sets, data)
    if everything or state:
        run(_list(loaded, asked, limit=limit, as_json=as_json))
    else:
        run(_summarise(loaded, asked, as_json=as_json))


def show(
    number: Annotated[int, typer.Argument(metavar="JOB", help="Its number.", show_default=False)],
    as_json: _JSON = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Show everything about one job."""
    run(_show(load(config, sets, data), number, as_json=as_json))


def retry(
    numbers: _Numbers = None,
    everything: _All = False,
    destination: _Destination = None,
    kind: _Kind = None,
    rule: _Rule = None,
    state: _State = None,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Have jobs done now, as if they had never failed: those that wait, and those that were given up.

    A server that runs notices within a second. What is held is only sent now if it is named, or with --state held. A
    time window still has to be open.
    """
    asked = _Filter(destination=destination, kind=kind, rule=rule, state=state)
    _check(numbers, asked, everything)
    if state is JobStanding.RUNNING:
        raise ConfigurationError("what is running is being done already")
    run(_retry(load(config, sets, data), numbers or (), asked))


def cancel(
    numbers: _Numbers = None,
    everything: _All = False,
    destination: _Destination = None,
    kind: _Kind = None,
    rule: _Rule = None,
    state: _State = None,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Have jobs forgotten: they are not done any more. What is under way for one that is running may still arrive."""
    asked = _Filter(destination=destination, kind=kind, rule=rule, state=state)
    _check(numbers, asked, everything)
    run(_cancel(load(config, sets, data), numbers or (), asked, ask=not yes))


def _check(numbers: Sequence[int] | None, asked: _Filter, everything: bool) -> None:
    """To steer more than was meant cannot be undone, so neither numbers nor filters mean all by themselves."""
    if numbers and (everything or asked.is_given):
        raise ConfigurationError("name jobs by number, or use --all with filters, not both")
    if not numbers and not everything:
        raise ConfigurationError("name jobs by number, or use --all; see them with: pacslite jobs ls --all")


@asynccontextmanager
async def _outbox(config: Config) -> AsyncIterator[Outbox]:
    async with open_archive(config) as archive:
        yield archive.outbox


async def _summarise(config: Config, asked: _Filter, *, as_json: bool) -> None:
    async with _outbox(config) as outbox:
        lanes = await outbox.lanes(asked.choice())
    if as_json:
        for lane in lanes:
            typer.echo(json.dumps(lane_values(lane)))
    elif lanes:
        print_table(LANE_HEADINGS, (lane_row(lane) for lane in lanes))
    else:
        typer.echo("no such jobs" if asked.is_given else "nothing is owed")


async def _list(config: Config, asked: _Filter, *, limit: int, as_json: bool) -> None:
    rows: list[Sequence[str]] = []
    more = False
    count = 0
    async with _outbox(config) as outbox, aclosing(outbox.list(asked.choice())) as found:
        async for job in found:
            if limit and count == limit:
                more = True
                break
            count += 1
            if as_json:
                typer.echo(json.dumps(job_values(job)))
            else:
                rows.append(job_row(job))
    if not as_json:
        print_table(JOB_HEADINGS, rows)
    if more:
        typer.echo(f"only the first {limit}; see more with --limit", err=True)


async def _show(config: Config, number: int, *, as_json: bool) -> None:
    async with _outbox(config) as outbox:
        found = await outbox.get([number])
    if number not in found:
        _missing([number])
        raise typer.Exit(Exit.FAILED)
    if as_json:
        typer.echo(json.dumps(job_values(found[number])))
    else:
        typer.echo("\n".join(job_lines(found[number])))


async def _retry(config: Config, numbers: Sequence[int], asked: _Filter) -> None:
    async with _outbox(config) as outbox:
        if numbers:
            chosen, missing = await _named(outbox, numbers)
        else:
            chosen, missing = (
                [job async for job in outbox.list(asked.choice(JobStanding.WAITING, JobStanding.DEAD))],
                False,
            )
        retried = set(await outbox.retry([job.id for job in chosen]))
    typer.echo(f"{plural(len(retried), 'job')} due now")
    running = [job.id for job in chosen if job.id not in retried] if numbers else []
    if running:
        typer.echo(f"running already, or gone: {', '.join(map(str, running))}", err=True)
    if missing or running:
        raise typer.Exit(Exit.FAILED)


async def _cancel(config: Config, numbers: Sequence[int], asked: _Filter, *, ask: bool) -> None:
    async with _outbox(config) as outbox:
        if numbers:
            chosen, missing = await _named(outbox, numbers)
        else:
            chosen, missing = [job async for job in outbox.list(asked.choice())], False
        if chosen and ask:
            typer.confirm(f"Cancel {plural(len(chosen), 'job')}?", abort=True)
        cancelled = set(await outbox.cancel([job.id for job in chosen]))
    typer.echo(f"{plural(len(cancelled), 'job')} cancelled")
    running = sum(job.lease != "" for job in chosen if job.id in cancelled)
    if running:
        typer.echo(f"{running} of them running: what is under way may still arrive")
    if missing:
        raise typer.Exit(Exit.FAILED)


async def _named(outbox: Outbox, numbers: Sequence[int]) -> tuple[list[Job], bool]:
    """The jobs, and whether any are missing, which is told."""
    found = await outbox.get(numbers)
    missing = [number for number in numbers if number not in found]
    if missing:
        _missing(missing)
    return list(found.values()), bool(missing)


def _missing(numbers: Sequence[int]) -> None:
    typer.echo(f"no such job, done or cancelled: {', '.join(map(str, numbers))}", err=True)
