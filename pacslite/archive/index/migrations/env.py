"""Alembic runs this: the connection comes from :func:`pacslite.archive.index.migrations.upgrade`."""

from __future__ import annotations

from alembic import context

from pacslite.archive.index.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
