"""The archive as the commands on this machine use it: its data folder, beside a server that may be running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pacslite.cli.options import settings
from pacslite.errors import ConfigurationError
from pacslite.facts import ignore
from pacslite.server.config import Config
from pacslite.server.config_sources import Setting

if TYPE_CHECKING:
    from pacslite.archive.archive import Archive
    from pacslite.archive.settings import ArchiveSettings

DataFolder = Annotated[
    Path | None, typer.Option("--data", metavar="FOLDER", help="The data folder: storage.folder.", file_okay=False)
]

_MARKER: Final = "store.toml"


def load(file: Path | None, sets: Sequence[str] | None, data: Path | None) -> Config:
    """The settings, with the data folder that ``--data`` names."""
    options = [] if data is None else [Setting(key=("storage", "folder"), value=str(data), source="--data")]
    return settings(file, sets, options).config


def tool_settings(config: Config) -> ArchiveSettings:
    """The archive's settings for a tool: it does not claim the folder for itself, so a server may run beside it."""
    # Only here: both take long to load, and every command passes the modules that import this one.
    from pacslite.archive.settings import StoreMode
    from pacslite.server.parts import archive_settings

    return replace(archive_settings(config), store_mode=StoreMode.BESIDE)


def require_archive(config: Config) -> None:
    """To look into a folder must not make an archive of it: a wrong ``--data`` is to be told, not obeyed."""
    folder = config.storage.folder
    if not (folder / _MARKER).is_file():
        raise ConfigurationError(f"{folder} holds no archive: name its data folder with --data or storage.folder")


@asynccontextmanager
async def open_archive(config: Config, *, may_create: bool = False) -> AsyncIterator[Archive]:
    """The archive of ``config``; raises :class:`ConfigurationError` if there is none and none may be made."""
    from pacslite.archive.archive import Archive

    if not may_create:
        await asyncio.to_thread(require_archive, config)
    async with Archive.open(tool_settings(config), observe=ignore) as archive:
        yield archive
