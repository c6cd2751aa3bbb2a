"""What queries need.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


_STATEMENTS = (
    "DROP INDEX patients_by_name",
    """
    CREATE INDEX patients_by_name ON patients (patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic)
    """,
    """
    CREATE INDEX patients_by_ideographic ON patients (patient_name_ideographic) WHERE patient_name_ideographic <> ''
    """,
    """
    CREATE INDEX patients_by_phonetic ON patients (patient_name_phonetic) WHERE patient_name_phonetic <> ''
    """,
    "DROP INDEX series_by_study",
    "CREATE INDEX series_by_study ON series (study, modality)",
    "ALTER TABLE series ADD COLUMN sop_classes TEXT DEFAULT '' NOT NULL",
    r"""
    UPDATE series SET sop_classes = (
        SELECT coalesce(group_concat(sop_class_uid, '\'), '')
        FROM (
            SELECT DISTINCT sop_class_uid FROM instances
            WHERE instances.series = series.id AND sop_class_uid <> '' ORDER BY sop_class_uid
        )
    )
    """,
    """
    CREATE VIRTUAL TABLE patient_names USING fts5(
        patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic,
        content='patients', content_rowid='id', tokenize='trigram case_sensitive 1', detail='none', columnsize=0
    )
    """,
    """
    CREATE TRIGGER patient_names_added AFTER INSERT ON patients BEGIN
        INSERT INTO patient_names(rowid, patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic)
        VALUES (new.id, new.patient_name_alphabetic, new.patient_name_ideographic, new.patient_name_phonetic);
    END
    """,
    """
    CREATE TRIGGER patient_names_removed AFTER DELETE ON patients BEGIN
        INSERT INTO patient_names(
            patient_names, rowid, patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic
        )
        VALUES (
            'delete', old.id, old.patient_name_alphabetic, old.patient_name_ideographic, old.patient_name_phonetic
        );
    END
    """,
    """
    CREATE TRIGGER patient_names_changed AFTER UPDATE OF
        patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic ON patients
    BEGIN
        INSERT INTO patient_names(
            patient_names, rowid, patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic
        )
        VALUES (
            'delete', old.id, old.patient_name_alphabetic, old.patient_name_ideographic, old.patient_name_phonetic
        );
        INSERT INTO patient_names(rowid, patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic)
        VALUES (new.id, new.patient_name_alphabetic, new.patient_name_ideographic, new.patient_name_phonetic);
    END
    """,
    "INSERT INTO patient_names(patient_names) VALUES ('rebuild')",
)
