"""The options that several commands share, and what they lead to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pacslite.server.config_sources import LoadedConfig, Setting, load_config, parse_setting


@dataclass(slots=True)
class Session:
    """What one run of the program remembers between its command and the place that reports errors."""

    verbose: bool = False


def _remember(context: typer.Context, verbose: bool) -> bool:
    session = context.find_root().obj
    if verbose and isinstance(session, Session):
        session.verbose = True
    return verbose


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The settings; without it ./pacslite.toml or /etc/pacslite/pacslite.toml, if there is one.",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="One setting, over file and environment. Repeatable."),
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", callback=_remember, help="Say more; with an error, say where it arose.")
]


def settings(file: Path | None, sets: Iterable[str] | None, options: Iterable[Setting] = ()) -> LoadedConfig:
    """The settings of a command that has these options; ``options`` are those with names of their own."""
    return load_config(file, settings=[*map(parse_setting, sets or ()), *options])
