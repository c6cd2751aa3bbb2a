"""The outbox, deliveries, storage commitment, deletions.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


_STATEMENTS = (
    """
    CREATE TABLE job_holds (
        id INTEGER NOT NULL,
        rule TEXT NOT NULL,
        study_uid TEXT NOT NULL,
        until FLOAT NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE UNIQUE INDEX job_holds_by_study ON job_holds (rule, study_uid)",
    "CREATE INDEX job_holds_by_time ON job_holds (until)",
    """
    CREATE TABLE jobs (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        destination TEXT DEFAULT '' NOT NULL,
        rule TEXT DEFAULT '' NOT NULL,
        subject TEXT NOT NULL,
        study_uid TEXT DEFAULT '' NOT NULL,
        priority INTEGER DEFAULT '1' NOT NULL,
        time_window TEXT DEFAULT '' NOT NULL,
        wants_commitment INTEGER DEFAULT '0' NOT NULL,
        state TEXT NOT NULL,
        hold INTEGER,
        created_at FLOAT NOT NULL,
        due_at FLOAT NOT NULL,
        attempts INTEGER DEFAULT '0' NOT NULL,
        failing_since FLOAT,
        last_error TEXT DEFAULT '' NOT NULL,
        lease TEXT DEFAULT '' NOT NULL,
        leased_until FLOAT,
        FOREIGN KEY(hold) REFERENCES job_holds (id)
    )
    """,
    "CREATE UNIQUE INDEX jobs_by_subject ON jobs (subject, destination, kind)",
    "CREATE INDEX jobs_held ON jobs (hold) WHERE hold IS NOT NULL",
    "CREATE INDEX jobs_of_study ON jobs (study_uid) WHERE study_uid <> ''",
    "CREATE INDEX jobs_running ON jobs (leased_until) WHERE state = 'running'",
    """
    CREATE INDEX jobs_waiting ON jobs (destination, kind, rule, priority, due_at)
    WHERE state = 'waiting' AND hold IS NULL
    """,
    """
    CREATE TABLE commitments_asked (
        id INTEGER NOT NULL,
        transaction_uid TEXT NOT NULL,
        destination TEXT NOT NULL,
        asked_at FLOAT NOT NULL,
        accepted_at FLOAT,
        answered_at FLOAT,
        committed BIGINT DEFAULT '0' NOT NULL,
        failed BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (transaction_uid)
    )
    """,
    """
    CREATE TABLE deliveries (
        id INTEGER NOT NULL,
        sop_instance_uid TEXT NOT NULL,
        sop_class_uid TEXT NOT NULL,
        destination TEXT NOT NULL,
        rule TEXT DEFAULT '' NOT NULL,
        delivered_at FLOAT NOT NULL,
        wants_commitment INTEGER DEFAULT '0' NOT NULL,
        asked INTEGER,
        committed_at FLOAT,
        failure_reason INTEGER,
        resent BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(asked) REFERENCES commitments_asked (id)
    )
    """,
    "CREATE UNIQUE INDEX deliveries_by_object ON deliveries (sop_instance_uid, destination)",
    "CREATE INDEX deliveries_by_transaction ON deliveries (asked) WHERE asked IS NOT NULL",
    """
    CREATE INDEX deliveries_uncommitted ON deliveries (destination, rule, asked)
    WHERE wants_commitment = 1 AND committed_at IS NULL
    """,
    """
    CREATE TABLE commitment_requests (
        id INTEGER NOT NULL,
        transaction_uid TEXT NOT NULL,
        calling_ae TEXT NOT NULL,
        called_ae TEXT NOT NULL,
        address TEXT DEFAULT '' NOT NULL,
        received_at FLOAT NOT NULL,
        instances BIGINT DEFAULT '0' NOT NULL,
        state TEXT NOT NULL,
        is_duplicate INTEGER DEFAULT '0' NOT NULL,
        objects BLOB NOT NULL,
        digest BLOB NOT NULL,
        checked BIGINT DEFAULT '0' NOT NULL,
        committed BIGINT DEFAULT '0' NOT NULL,
        failed BIGINT DEFAULT '0' NOT NULL,
        verified_at FLOAT,
        reported_at FLOAT,
        reported_over TEXT DEFAULT '' NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX commitment_requests_by_transaction ON commitment_requests (transaction_uid, calling_ae)",
    """
    CREATE TABLE commitment_items (
        id INTEGER NOT NULL,
        request INTEGER NOT NULL,
        number INTEGER NOT NULL,
        sop_class_uid TEXT DEFAULT '' NOT NULL,
        sop_instance_uid TEXT DEFAULT '' NOT NULL,
        failure_reason INTEGER NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(request) REFERENCES commitment_requests (id)
    )
    """,
    "CREATE INDEX commitment_items_by_object ON commitment_items (sop_instance_uid)",
    "CREATE UNIQUE INDEX commitment_items_by_request ON commitment_items (request, number)",
    """
    CREATE TABLE deletions (
        id INTEGER NOT NULL,
        level TEXT NOT NULL,
        uid TEXT NOT NULL,
        study_uid TEXT DEFAULT '' NOT NULL,
        deleted_by TEXT NOT NULL,
        forced INTEGER DEFAULT '0' NOT NULL,
        began_at FLOAT NOT NULL,
        ended_at FLOAT,
        instances BIGINT DEFAULT '0' NOT NULL,
        bytes BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    "CREATE INDEX deletions_by_uid ON deletions (uid)",
    "CREATE INDEX conflicts_by_study ON conflicts (study_uid)",
)
