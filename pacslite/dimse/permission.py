"""What a peer may be allowed to do here: the words that `[[peers]]` uses, and that every registered service names."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    """One kind of request; a caller without it has the presentation contexts of those services refused."""

    ECHO = "echo"
    STORE = "store"
    QUERY = "query"
    RETRIEVE = "retrieve"
    COMMIT = "commit"
    WORKLIST = "worklist"
    PROCEDURE_STEP = "procedure_step"
    PRINT = "print"


EVERYTHING = frozenset(Permission)
