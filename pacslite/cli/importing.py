"""`pacslite import`: files and folders straight into the archive, beside a server that may be running.

Resumable because storing is idempotent: what is in the archive already, byte for byte, is recognised and counted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pacslite.cli.data_sets import WHOLE_BYTES, pieces_of, read_whole
from pacslite.cli.exits import Exit
from pacslite.cli.local_archive import DataFolder, load, open_archive
from pacslite.cli.options import ConfigFile, Sets, Verbose
from pacslite.cli.running import run
from pacslite.cli.scanning import Skipped, Why, scan
from pacslite.cli.screen import Screen, size_words
from pacslite.cli.sending_plan import SendableFile
from pacslite.errors import ConfigurationError, DimseError
from pacslite.server.config import Config

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive
    from pacslite.archive.model import Stored

_WORDS: Final = {
    "stored": "stored",
    "identical": "already there",
    "kept_aside": "kept aside, because the archive has other content under the same SOP Instance UID",
    "replaced": "replaced what was there",
    "warning": "with a warning",
    "failed": "failed",
    "skipped": "skipped",
}
_TOLD: Final = frozenset({"kept_aside", "replaced", "warning", "failed"})


def register(app: typer.Typer) -> None:
    app.command("import")(import_)


def import_(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", exists=True, show_default=False, help="Files and folders, with all in them."),
    ],
    parallel: Annotated[
        int, typer.Option("-j", "--parallel", metavar="N", min=1, max=64, help="Objects stored at once.")
    ] = 4,
    strict: Annotated[
        bool, typer.Option("--strict", help="Count a file in a folder that is not DICOM as failed, not as skipped.")
    ] = False,
    data: DataFolder = None,
    config: ConfigFile = None,
    sets: Sets = None,
    verbose: Verbose = False,
) -> None:
    """Store files and folders in the archive without the network. A server may be running meanwhile.

    Each object is durable before it is counted. Run it again after an interruption: what is there already is counted
    and left as it is. The files are only read.

    Exit codes: 0 everything is in the archive; 1 something failed, or there was nothing to store.
    """
    loaded = load(config, sets, data)
    _refuse_own_files(loaded, paths)
    with Screen("importing", in_bytes=True) as screen:
        importer = _Importer(screen, strict=strict, verbose=verbose)
        succeeded = run(importer.run(loaded, paths, parallel=parallel))
    if not succeeded:
        raise typer.Exit(Exit.FAILED)


def _refuse_own_files(config: Config, paths: Sequence[Path]) -> None:
    folder = config.storage.folder.resolve()
    for path in paths:
        resolved = path.resolve()
        if resolved.is_relative_to(folder) or folder.is_relative_to(resolved):
            raise ConfigurationError(f"{path}: this is where the archive's own files are ({folder})")


class _Importer:
    """One run of the command."""

    def __init__(self, screen: Screen, *, strict: bool, verbose: bool) -> None:
        self._screen = screen
        self._strict = strict
        self._verbose = verbose
        self._counts: Counter[str] = Counter()
        self._found = 0
        self._found_bytes = 0
        self._done_bytes = 0

    async def run(self, config: Config, paths: Sequence[Path], *, parallel: int) -> bool:
        """Store everything; whether nothing failed. What was done is told also when it ends early."""
        started = time.perf_counter()
        opened = False
        try:
            async with open_archive(config, may_create=True) as archive:
                opened = True
                waiting: asyncio.Queue[SendableFile | None] = asyncio.Queue(maxsize=4 * parallel)
                async with asyncio.TaskGroup() as group:
                    for _ in range(parallel):
                        group.create_task(self._store_waiting(archive, waiting))
                    async with aclosing(self._find(paths)) as files:
                        async for file in files:
                            await waiting.put(file)
                    for _ in range(parallel):
                        await waiting.put(None)
        finally:
            if opened:
                self._screen.line(", ".join(self._summary(time.perf_counter() - started)))
        return self._found > 0 and not self._counts["failed"]

    async def _find(self, paths: Sequence[Path]) -> AsyncGenerator[SendableFile, None]:
        async with aclosing(scan(paths)) as found:
            async for item in found:
                if isinstance(item, Skipped):
                    failed = item.why is Why.BROKEN or (item.why is Why.NOT_DICOM and (item.named or self._strict))
                    self._tell("failed" if failed else "skipped", item.path, item.reason)
                    continue
                self._found += 1
                self._found_bytes += item.data_set_bytes
                self._screen.expect(self._found_bytes)
                yield item

    async def _store_waiting(self, archive: Archive, waiting: asyncio.Queue[SendableFile | None]) -> None:
        while (file := await waiting.get()) is not None:
            try:
                stored = await _store(archive, file)
            except DimseError as error:
                self._tell("failed", file.path, str(error))
            except OSError as error:
                self._tell("failed", file.path, f"cannot be read: {error.strerror or error}")
            else:
                self._done_bytes += file.data_set_bytes
                self._tell(stored.outcome.value, file.path)
                if stored.warning:
                    self._tell("warning", file.path, stored.warning)
            self._screen.advance(file.data_set_bytes)

    def _tell(self, outcome: str, path: Path, reason: str = "") -> None:
        self._counts[outcome] += 1
        done = self._counts.total() - self._counts["skipped"] - self._counts["warning"]
        self._screen.note(f"{done} of {self._found} objects")
        if self._verbose or outcome in _TOLD:
            self._screen.line(f"{outcome.replace('_', ' '):11}{path}" + (f": {reason}" if reason else ""))

    def _summary(self, seconds: float) -> Iterator[str]:
        if not self._counts.total():
            yield "nothing to store"
            return
        speed = size_words(self._done_bytes / seconds if seconds else 0)
        objects = f"{self._found} object{'' if self._found == 1 else 's'}"
        yield f"{size_words(self._done_bytes)} of {objects} in {seconds:.2f} s ({speed}/s)"
        for outcome, words in _WORDS.items():
            if self._counts[outcome]:
                yield f"{self._counts[outcome]} {words}"


async def _store(archive: Archive, file: SendableFile) -> Stored:
    from pacslite.archive.model import Origin

    origin = Origin(
        sop_class_uid=file.sop_class_uid,
        sop_instance_uid=file.sop_instance_uid,
        transfer_syntax_uid=file.transfer_syntax_uid,
    )
    async with archive.ingest(origin) as ingest:
        if file.data_set_bytes <= WHOLE_BYTES:
            await ingest.write(await read_whole(file))
        else:
            async with aclosing(pieces_of(file)) as pieces:
                async for piece in pieces:
                    await ingest.write(piece)
        return await ingest.commit()
