"""Migrations of the index, run by Alembic without a configuration file. Only imported when there is something to do.

A new revision: change ``schema.py``, write ``versions/NNNN_what.py``, set ``schema.REVISION``. A test compares both.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

_FOLDER = Path(__file__).parent


def revisions() -> frozenset[str]:
    """Every revision that can be migrated from or to."""
    return frozenset(script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions())


def upgrade(path: Path, revision: str = "head") -> None:
    """Bring the index at ``path`` to ``revision``, in one transaction: whatever breaks it off leaves it as it was.

    Python's sqlite3 begins one by itself only at the first row that is changed, and by then tables and indexes are.
    """
    configuration = Config()
    configuration.set_main_option("script_location", str(_FOLDER))
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(path, isolation_level=None), poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        configuration.attributes["connection"] = connection
        try:
            command.upgrade(configuration, revision)
        except DBAPIError as error:
            raise error.orig or error from error
