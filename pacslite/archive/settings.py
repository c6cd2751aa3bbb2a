"""What can be set about an archive, and the defaults that hold without any configuration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pacslite.archive.rules import ForwardRule

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class DuplicatePolicy(StrEnum):
    """What happens when a SOP Instance UID arrives again with different bytes."""

    KEEP = "keep"
    """The first one stays; the new one is kept aside under ``conflicts/`` and recorded."""
    REPLACE = "replace"
    """The new one takes its place; the old one is removed once that is durable."""


class StoreMode(StrEnum):
    """How a process uses the data folder."""

    SERVER = "server"
    """The one server of this folder: a second one is refused."""
    BESIDE = "beside"
    """A tool (import, fsck, ls) that may run beside a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """Where an archive lives and how it behaves. Sizes are in bytes, times in seconds."""

    folder: Path
    store_mode: StoreMode = StoreMode.SERVER
    duplicates: DuplicatePolicy = DuplicatePolicy.KEEP

    spool_bytes: int = MIB
    """An object up to this size is collected in memory and written at once."""
    direct_bytes: int = 64 * KIB
    """From this size on, an object that is written at once is written past the page cache; 0 is never."""
    piece_bytes: int = MIB
    """A larger one is written in pieces of this size, one in flight."""
    file_threads: int = 8
    """Threads that write, link and sync files. They mostly wait for the disk, so more than processors is right."""
    readers: int = 2
    """Index connections for what takes moments: where an object is, lists."""
    queries: int = 16
    """Index connections for queries, so that long ones delay nothing else; further queries wait for one of them."""
    utc_offset_minutes: int | None = None
    """The time zone of dates and times in objects that name none. None: this machine's own, now."""

    min_free_bytes: int = GIB
    min_free_percent: float = 2.0
    """No object is taken once it would leave less than the larger of the two free on the volume."""
    quota_bytes: int | None = None
    """Most data set bytes in the archive, objects kept aside included."""
    max_object_bytes: int | None = None

    header_limit_bytes: int = 4 * MIB
    """How far into a data set the header is read for the index."""
    header_max_depth: int = 32
    """How deep sequences are followed while doing so."""

    rules: tuple[ForwardRule, ...] = ()
    """To whom objects are sent on."""

    busy_timeout_s: float = 60.0
    """How long to wait for another process that is writing the index: the last step of ``fsck --rebuild`` takes
    about four seconds for a million objects."""
