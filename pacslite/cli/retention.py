"""`pacslite retention`: what the rules of [retention] let go, now, beside a server that may be running."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pacslite.cli.exits import Exit
from pacslite.cli.local_archive import DataFolder, load, open_archive
from pacslite.cli.options import ConfigFile, Sets, Verbose
from pacslite.cli.running import run
from pacslite.cli.screen import size_words, time_words
from pacslite.cli.tables import print_table
from pacslite.errors import ConfigurationError
from pacslite.server.config import Config

if TYPE_CHECKING:
    from pacslite.archive.retention import Decision
    from pacslite.facts import Fact, RetentionEnded

_HEADINGS: Final = ("last object", "objects", "size", "due for", "what", "study UID")


def register(app: typer.Typer) -> None:
    app.command("retention")(retention)


def retention(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be deleted; also if retention.dry_run says so.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is known, one JSON object a line.")] = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Delete the studies that need not be kept any longer, as the server does from time to time.

    The rules are those of [retention] in the configuration. Each study that is due is shown, and why it stays if it
    does. What has gone is recorded: see `pacslite delete ls`.

    Exit codes: 0 all is as the rules want it; 1 more is stored than retention.high_water_bytes all the same.
    """
    loaded = load(config, sets, data)
    dry_run = dry_run or loaded.retention.dry_run
    if not loaded.retention.max_age_days and not loaded.retention.high_water_bytes:
        raise ConfigurationError("no limit is set: retention.max_age_days or retention.high_water_bytes")
    decisions, ended = run(_retain(loaded, dry_run=dry_run, as_json=as_json))
    if not as_json:
        print_table(_HEADINGS, (_row(decision, dry_run=dry_run) for decision in decisions))
    for line in _summary(ended):
        typer.echo(line, err=True)
    if ended.above_bytes:
        raise typer.Exit(Exit.FAILED)


async def _retain(config: Config, *, dry_run: bool, as_json: bool) -> tuple[Sequence[Decision], RetentionEnded]:
    from pacslite.archive.retention import Retention
    from pacslite.facts import RetentionEnded
    from pacslite.server.retaining import retention_rules

    shown: list[Decision] = []
    told: list[Fact] = []
    async with open_archive(config) as archive:
        rules = retention_rules(config.retention)
        async with aclosing(Retention(archive, rules, observe=told.append).run(dry_run=dry_run)) as decisions:
            async for decision in decisions:
                if as_json:
                    typer.echo(json.dumps({**asdict(decision), "kept": list(decision.kept), "dry_run": dry_run}))
                else:
                    shown.append(decision)
    (ended,) = (fact for fact in told if isinstance(fact, RetentionEnded))
    return shown, ended


def _row(decision: Decision, *, dry_run: bool) -> Sequence[str]:
    what = f"kept: {', '.join(decision.kept)}" if decision.kept else "would be deleted" if dry_run else "deleted"
    return (
        time_words(decision.newest),
        str(decision.instances),
        size_words(decision.bytes),
        decision.due.value,
        what,
        decision.study_uid,
    )


def _summary(ended: RetentionEnded) -> Iterator[str]:
    done = "would be deleted" if ended.dry_run else "deleted"
    yield f"{ended.studies:,} studies with {ended.instances:,} objects, {size_words(ended.bytes)}, {done}"
    for why, count in ended.kept:
        yield f"{count:,} kept: {why}"
    if ended.above_bytes:
        yield f"{size_words(ended.above_bytes)} more than high_water_bytes remain"
