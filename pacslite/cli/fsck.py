"""`pacslite fsck`: whether files and index agree, and what to do when they do not."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pacslite.cli.exits import Exit
from pacslite.cli.local_archive import DataFolder, load, open_archive, require_archive, tool_settings
from pacslite.cli.options import ConfigFile, Sets, Verbose
from pacslite.cli.running import run
from pacslite.cli.screen import Screen
from pacslite.errors import StoreInUseError
from pacslite.server.config import Config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pacslite.archive.archive import Archive
    from pacslite.archive.integrity import Finding, Progress

_LOST: Final = frozenset({"missing", "altered"})
"""What no repair undoes: the bytes that were acknowledged are not there any more."""


def register(app: typer.Typer) -> None:
    app.command("fsck")(fsck)


def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what can be put right.")] = False,
    digest: Annotated[bool, typer.Option("--digest", help="Read every object and compare its digest.")] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Make a new index from the files alone; then check only with --repair or --digest."
        ),
    ] = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Compare files and index both ways. A server may be running meanwhile; no object's bytes are ever deleted.

    With --repair, files that the index does not know are adopted, files of no use are moved to quarantine/ or
    conflicts/, rows without a file are dropped, and counters are set right. An index that is damaged is moved to
    backups/ by --rebuild, and what is owed and promised is saved from it as far as it can be read; only that needs the
    server to be stopped.

    Exit codes: 0 files and index agree; 1 problems remain, or bytes that were stored are missing or altered.
    """
    loaded = load(config, sets, data)
    with Screen("checking") as screen:
        checkup = _Checkup(screen)
        run(checkup.run(loaded, repair=repair, digest=digest, rebuild=rebuild))
    for line in checkup.summary():
        typer.echo(line)
    if checkup.problems_remain:
        raise typer.Exit(Exit.FAILED)


class _Checkup:
    """One run of the command."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._found: Counter[str] = Counter()
        self._remedied: Counter[str] = Counter()
        self._holds = ""

    async def run(self, config: Config, *, repair: bool, digest: bool, rebuild: bool) -> None:
        from pacslite.archive import integrity

        async with self._open(config, rebuild=rebuild) as archive:
            if rebuild:
                await self._follow("rebuilding: ", integrity.rebuild(archive))
            if not rebuild or repair or digest:
                await self._follow("checking: ", integrity.check(archive, digest=digest, repair=repair))
            numbers = await archive.stats()
            self._holds = f"{numbers.instances:,} objects in the index, {numbers.conflicts:,} kept aside"

    @asynccontextmanager
    async def _open(self, config: Config, *, rebuild: bool) -> AsyncIterator[Archive]:
        require_archive(config)
        if rebuild:
            await self._set_damaged_index_aside(config)
        async with open_archive(config) as archive:
            yield archive

    async def _set_damaged_index_aside(self, config: Config) -> None:
        from pacslite.archive.integrity import is_index_sound, set_index_aside

        why = "it is damaged"
        try:
            async with open_archive(config) as archive:
                if await is_index_sound(archive):
                    return
        except (StoreInUseError, sqlite3.DatabaseError) as error:
            why = str(error)
        aside = set_index_aside(tool_settings(config))
        self._screen.line(f"the index could not be read ({why}) and was moved to {aside.path}")
        kept = ", ".join(f"{count:,} of {table}" for table, count in aside.salvaged.items() if count)
        self._screen.line(f"what is owed and promised does not follow from files; of it were saved: {kept or 'none'}")
        if kept:
            self._screen.line("what is owed waits until the new index is complete; if this is broken off, do it again")

    async def _follow(self, doing: str, report: AsyncGenerator[Finding | Progress, None]) -> None:
        from pacslite.archive.integrity import Finding

        async with aclosing(report):
            async for item in report:
                if isinstance(item, Finding):
                    self._tell(item)
                else:
                    self._screen.reach(doing + item.phase, item.fraction)

    def _tell(self, finding: Finding) -> None:
        problem = finding.problem.value
        self._found[problem] += 1
        self._remedied[problem] += bool(finding.remedy)
        what = finding.path or finding.sop_instance_uid
        detail = f": {finding.detail}" if finding.detail else ""
        remedy = f"; {finding.remedy}" if finding.remedy else ""
        self._screen.line(f"{problem:14}{what}{detail}{remedy}")

    @property
    def problems_remain(self) -> bool:
        return self._found.total() > self._remedied.total() or any(self._found[problem] for problem in _LOST)

    def summary(self) -> Iterator[str]:
        yield self._holds
        if not self._found:
            yield "no problems"
        for problem, count in sorted(self._found.items()):
            yield f"{count:,} {problem}, {self._remedied[problem]:,} of them put right"
        if any(self._found[problem] for problem in _LOST):
            yield "bytes that were stored are missing or altered: restore these files from a backup, or send them again"
