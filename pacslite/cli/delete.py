"""`pacslite delete`: studies, series and instances out of the archive for good, beside a server that may be running."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from pacslite.cli.exits import Exit
from pacslite.cli.local_archive import DataFolder, load, open_archive
from pacslite.cli.options import ConfigFile, Sets, Verbose
from pacslite.cli.running import run
from pacslite.cli.screen import Screen, plural, printable, size_words, time_words
from pacslite.cli.tables import print_table
from pacslite.errors import ObjectsProtected
from pacslite.server.config import Config

if TYPE_CHECKING:
    from pacslite.archive.deletion import Deleted, Deletion, Standing, Target

_HEADINGS: Final = ("began", "level", "objects", "size", "by", "how", "UID")
_MOST_IN_A_TABLE: Final = 500

_Level = Literal["study", "series", "instance"]
_UIDs = Annotated[
    list[str], typer.Argument(metavar="UID...", show_default=False, help="Instance UIDs, one or several.")
]
_Force = Annotated[
    bool, typer.Option("--force", help="Also what we have committed to, and what is still to be forwarded.")
]
_Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted, and what would not.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Delete studies, series or instances for good. A server may be running meanwhile.", no_args_is_help=True
    )
    group.command("study")(study)
    group.command("series")(series)
    group.command("instance")(instance)
    group.command("ls")(ls)
    app.add_typer(group, name="delete")


def study(
    uids: _UIDs,
    force: _Force = False,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Delete studies, with all their series.

    Of a study all goes or nothing: one object that we have committed to (storage commitment), or that is still to be
    forwarded, keeps it, unless --force is used. Objects that come while it is being deleted stay. What was kept aside
    for an object goes with it. Each deletion is recorded: see `pacslite delete ls`.

    Exit codes: 0 everything that was named is gone; 1 something is not here, or was not deleted.
    """
    _run("study", uids, load(config, sets, data), _Manner(force=force, yes=yes, dry_run=dry_run))


def series(
    uids: _UIDs,
    study: Annotated[
        str, typer.Option(metavar="UID", help="Only in this study: some senders give one UID to series of two.")
    ] = "",
    force: _Force = False,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Delete series; otherwise as `pacslite delete study`."""
    _run("series", uids, load(config, sets, data), _Manner(study=study, force=force, yes=yes, dry_run=dry_run))


def instance(
    uids: _UIDs,
    force: _Force = False,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Delete single objects; otherwise as `pacslite delete study`."""
    _run("instance", uids, load(config, sets, data), _Manner(force=force, yes=yes, dry_run=dry_run))


def ls(
    limit: Annotated[
        int, typer.Option("-n", "--limit", metavar="N", min=1, help="No more than so many.")
    ] = _MOST_IN_A_TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that is known, one JSON object a line.")] = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """List the deletions there have been, by hand and by retention, the last one first."""
    found = run(_history(load(config, sets, data), limit))
    if as_json:
        for deletion in found:
            typer.echo(json.dumps(asdict(deletion)))
    else:
        print_table(_HEADINGS, (_row(deletion) for deletion in found))


async def _history(config: Config, most: int) -> Sequence[Deletion]:
    async with open_archive(config) as archive:
        return await archive.deletions.history(most)


def _row(deletion: Deletion) -> Sequence[str]:
    how = ("forced",) if deletion.forced else ()
    if deletion.ended_at is None:
        how = (*how, "not completed")
    return (
        time_words(deletion.began_at),
        deletion.level,
        str(deletion.instances),
        size_words(deletion.bytes),
        deletion.deleted_by,
        ", ".join(how),
        deletion.uid,
    )


# --- Deleting --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manner:
    """What the options say."""

    study: str = ""
    force: bool
    yes: bool
    dry_run: bool


def _run(level: _Level, uids: Sequence[str], config: Config, manner: _Manner) -> None:
    found = run(_look(level, dict.fromkeys(uids), config, manner))
    going = [
        target for target, standing, refusal in found if (standing.instances or standing.conflicts) and not refusal
    ]
    for target, standing, refusal in found:
        typer.echo(printable(_words(target, standing, refusal, dry_run=manner.dry_run)))
    if going and not manner.dry_run:
        if not manner.yes:
            what = f"{len(going)} of them" if len(going) < len(found) else "this" if len(going) == 1 else "these"
            typer.confirm(f"Delete {what} for good?", abort=True)
        with Screen("deleting") as screen:
            going = run(_delete(going, config, manner, screen))
    if len(going) < len(found):
        raise typer.Exit(Exit.FAILED)


async def _look(
    level: _Level, uids: Sequence[str] | dict[str, None], config: Config, manner: _Manner
) -> list[tuple[Target, Standing, str]]:
    """How each stands, and why it may not go."""
    from pacslite.archive.deletion import Level, Target, refusal

    async with open_archive(config) as archive:
        targets = [Target(level=Level(level), uid=uid, study_uid=manner.study) for uid in uids]
        standings = [await archive.deletions.standing(target) for target in targets]
    return [
        (target, standing, refusal(target, standing, force=manner.force))
        for target, standing in zip(targets, standings, strict=True)
    ]


def _words(target: Target, standing: Standing, refusal: str, *, dry_run: bool) -> str:
    what = f"{target.level} {target.uid}"
    if not standing.instances and not standing.conflicts:
        return f"{what}: not here"
    aside = f", {standing.conflicts:,} kept aside" if standing.conflicts else ""
    size = size_words(standing.bytes + standing.conflict_bytes)
    objects = f"{plural(standing.instances, 'object')}{aside}, {size}"
    if refusal:
        return f"{what}: {objects}; not deleted: {refusal}"
    return f"{what}: {objects}; would be deleted" if dry_run else f"{what}: {objects}"


async def _delete(targets: Sequence[Target], config: Config, manner: _Manner, screen: Screen) -> list[Target]:
    """Those that are gone."""
    gone: list[Target] = []
    async with open_archive(config) as archive:
        for number, target in enumerate(targets):

            def reach(done: int, total: int, number: int = number) -> None:
                screen.reach("deleting", (number + done / total) / len(targets))

            try:
                deleted = await archive.deletions.delete(target, deleted_by=_user(), force=manner.force, progress=reach)
            except ObjectsProtected as error:
                screen.line(str(error))
            else:
                screen.line(_told(target, deleted))
                gone.append(target)
    return gone


def _told(target: Target, deleted: Deleted) -> str:
    forwards = f"; {plural(deleted.forwards, 'forward')} cancelled" if deleted.forwards else ""
    objects = f"{plural(deleted.instances, 'object')}, {size_words(deleted.bytes)}"
    return f"deleted {target.level} {target.uid}: {objects}{forwards}"


def _user() -> str:
    """By the kernel's word, not the environment's."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
