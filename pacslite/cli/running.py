"""Running a command's coroutine, and ending it when Ctrl-C is pressed."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

import typer
import uvloop

from pacslite.cli.exits import Exit

T = TypeVar("T")


def run(work: Coroutine[object, object, T]) -> T:
    """The result of ``work``. Ctrl-C cancels it, lets it clean up, and ends the command with its own exit code."""
    try:
        result: T = uvloop.run(work)
    except KeyboardInterrupt:
        typer.echo("pacslite: interrupted", err=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    return result
