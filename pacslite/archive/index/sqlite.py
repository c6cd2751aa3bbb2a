"""Connections to the index file, and what has to be true of it before anything else happens."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pacslite.archive.index.schema import REVISION
from pacslite.archive.index.statements import CREATE_SCHEMA
from pacslite.errors import StoreInUseError

_ALEMBIC_VERSION = """CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""
"""As Alembic itself makes it."""

APPLICATION_ID = 0x70616373  # "pacs", so that `file` and we ourselves know an index when we see one

_WRITER_PAGES_KIB = 32 * 1024
_READER_PAGES_KIB = 8 * 1024


@dataclass(frozen=True, slots=True)
class Migration:
    """The index was of an older revision and has been brought up to date."""

    from_revision: str
    to_revision: str
    backup: Path


def connect(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection for writing: autocommit, so that every transaction is one that we begin."""
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    connection.executescript(
        # FULL: a commit is durable before it is answered. Checkpoints are made by hand (commit.py), not in a commit.
        f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY;"
        f"PRAGMA cache_size=-{_WRITER_PAGES_KIB}"
    )
    return connection


READER_PRAGMAS = f"PRAGMA query_only=ON; PRAGMA cache_size=-{_READER_PAGES_KIB}"


def prepare(path: Path, backups: Path, *, busy_timeout_s: float, may_migrate: bool) -> Migration | None:
    """Make the index if there is none, or bring it up to date; :class:`StoreInUseError` if neither can be.

    An index that is up to date costs one query: Alembic is only loaded to migrate.
    """
    try:
        with contextlib.closing(connect(path, busy_timeout_s=busy_timeout_s)) as connection:
            revision = _revision(connection)
            if not revision:
                create(connection)
                return None
            if revision == REVISION:
                return None
            from pacslite.archive.index.migrations import revisions, upgrade

            if revision not in revisions():
                raise StoreInUseError(f"{path}: made by a newer version (revision {revision}; known up to {REVISION})")
            if not may_migrate:
                raise StoreInUseError(f"{path}: stop the server first, the index has to be migrated to {REVISION}")
            backup = copy(connection, backups, f"index-{revision}")
            upgrade(path)
            return Migration(revision, REVISION, backup)
    except sqlite3.DatabaseError as error:
        raise StoreInUseError(f"{path}: {error}; `pacslite fsck --rebuild` makes a new index from the files") from error


def create(connection: sqlite3.Connection) -> None:
    """The newest schema at once; two processes may find the file new at the same time."""
    with immediate(connection):
        if _revision(connection):
            return
        for statement in CREATE_SCHEMA:
            connection.execute(statement)
        connection.execute(_ALEMBIC_VERSION)
        connection.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


def copy(connection: sqlite3.Connection, folder: Path, name: str) -> Path:
    """A consistent, durable copy of the index as it is now."""
    backup = folder / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.sqlite"
    connection.execute("VACUUM INTO ?", (str(backup),))
    for path in (backup, folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return backup


@contextlib.contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction, rolled back if the block raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _revision(connection: sqlite3.Connection) -> str:
    """The index's revision; empty for a file without tables."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone():
        if connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
            raise sqlite3.DatabaseError("not an index of this program")
        return ""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise sqlite3.DatabaseError("its revision is missing")
    return str(row[0])
