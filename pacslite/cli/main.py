"""The command `pacslite`: its verbs, and how errors are shown."""

from __future__ import annotations

import errno
import sys
import traceback
from importlib.metadata import version
from typing import Annotated, Final

import typer

from pacslite.cli import (
    commitment,
    configuration,
    delete,
    echo,
    find,
    fsck,
    get,
    importing,
    jobs,
    listing,
    move,
    peers,
    retention,
    send,
    serve,
    stats,
)
from pacslite.cli.exits import Exit, exit_for
from pacslite.cli.options import Session
from pacslite.errors import PacsliteError

VERBS = (
    serve.register,
    configuration.register,
    peers.register,
    echo.register,
    send.register,
    find.register,
    move.register,
    get.register,
    importing.register,
    listing.register,
    stats.register,
    delete.register,
    retention.register,
    jobs.register,
    commitment.register,
    fsck.register,
)
"""Each verb's module adds itself to the program; the order is that of the help."""

_OF_THE_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""What may fail wherever something is written, standard output included."""


def program() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="pacslite",
        help="A DICOM archive server.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        # Plain text: errors and help end up in journals, tickets and terminals of every width.
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for register in VERBS:
        register(app)
    return app


def main() -> None:
    """Run the command line; an expected error is one line, and -v shows where it arose."""
    session = Session()
    try:
        program()(obj=session)
    except PacsliteError as error:
        _report(str(error), session)
        sys.exit(exit_for(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            _report(f"{error.filename or 'cannot write'}: {error.strerror}", session)
            sys.exit(Exit.FAILED)
        _report(f"defect, please report it: {type(error).__name__}: {error}", session)
        sys.exit(Exit.DEFECT)


def _report(message: str, session: Session) -> None:
    if session.verbose:
        traceback.print_exc()
    print(f"pacslite: {message}", file=sys.stderr)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pacslite {version('pacslite')}")
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """A DICOM archive server."""
