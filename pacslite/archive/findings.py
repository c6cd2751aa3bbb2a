"""What a check of the archive reports."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from enum import StrEnum


class Problem(StrEnum):
    """What is not as it should be."""

    ORPHAN = "orphan"
    """A file that the index does not know."""
    DUPLICATE = "duplicate"
    """A file whose SOP Instance UID another file has, with the same bytes."""
    CONTRADICTION = "contradiction"
    """A file whose SOP Instance UID another file has, with different bytes."""
    UNREADABLE = "unreadable"
    """A file that cannot be indexed: not DICOM, or without usable UIDs."""
    FOREIGN = "foreign"
    """A file that is none of ours by its name; left alone."""
    MISSING = "missing"
    """The index knows an object whose file is not there: its bytes are lost."""
    ALTERED = "altered"
    """A file whose size or digest is not what was stored; left alone."""
    MISCOUNTED = "miscounted"
    """A patient, study or series whose counters do not agree with what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be. ``remedy`` says what was done about it; empty if nothing was."""

    problem: Problem
    path: str = ""
    sop_instance_uid: str = ""
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far one phase has come: ``done`` things, and about which part of all (0 to 1)."""

    phase: str
    done: int
    fraction: float


Report = Generator[Finding | Progress, None, None]
