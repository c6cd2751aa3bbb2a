"""How a command ends, as a shell script sees it."""

from __future__ import annotations

from enum import IntEnum

from pacslite.errors import AssociationError, ConfigurationError, PacsliteError, StoreInUseError


class Exit(IntEnum):
    """All exit codes, of all commands."""

    OK = 0
    """Everything that was asked for was done."""
    FAILED = 1
    """Some or all of it was not: an object was refused, a check found something."""
    USAGE = 2
    """A wrong option or a wrong setting; nothing was begun."""
    UNREACHABLE = 3
    """The peer could not be reached, refused the association or ended it."""
    STORE = 4
    """The data folder cannot be opened: in use, from a newer version, or not ours."""
    DEFECT = 70
    """A defect in pacslite (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C (128 + SIGINT)."""


def exit_for(error: PacsliteError) -> Exit:
    """The code for a command that ends with ``error``."""
    match error:
        case ConfigurationError():
            return Exit.USAGE
        case AssociationError():
            return Exit.UNREACHABLE
        case StoreInUseError():
            return Exit.STORE
        case _:
            return Exit.FAILED
