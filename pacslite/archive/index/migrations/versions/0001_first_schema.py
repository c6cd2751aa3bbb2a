"""The first schema.

Revision ID: 0001
Revises: none
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


_STATEMENTS = (
    """
    CREATE TABLE conflicts (
        id INTEGER NOT NULL,
        sop_instance_uid TEXT NOT NULL,
        digest BLOB NOT NULL,
        transfer_syntax_uid TEXT DEFAULT '' NOT NULL,
        sop_class_uid TEXT DEFAULT '' NOT NULL,
        study_uid TEXT DEFAULT '' NOT NULL,
        series_uid TEXT DEFAULT '' NOT NULL,
        path TEXT NOT NULL,
        size BIGINT NOT NULL,
        data_set_offset INTEGER NOT NULL,
        stored_at FLOAT NOT NULL,
        calling_ae TEXT DEFAULT '' NOT NULL,
        called_ae TEXT DEFAULT '' NOT NULL,
        address TEXT DEFAULT '' NOT NULL,
        reason TEXT DEFAULT '' NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (sop_instance_uid, digest, transfer_syntax_uid)
    )
    """,
    """
    CREATE TABLE patients (
        id INTEGER NOT NULL,
        patient_id TEXT DEFAULT '' NOT NULL,
        issuer TEXT DEFAULT '' NOT NULL,
        patient_name TEXT DEFAULT '' NOT NULL,
        patient_name_alphabetic TEXT DEFAULT '' NOT NULL,
        patient_name_ideographic TEXT DEFAULT '' NOT NULL,
        patient_name_phonetic TEXT DEFAULT '' NOT NULL,
        birth_date TEXT,
        birth_date_raw TEXT,
        birth_time TEXT,
        birth_time_raw TEXT,
        sex TEXT DEFAULT '' NOT NULL,
        other_patient_ids TEXT DEFAULT '' NOT NULL,
        other_patient_names TEXT DEFAULT '' NOT NULL,
        other_patient_names_folded TEXT DEFAULT '' NOT NULL,
        ethnic_group TEXT DEFAULT '' NOT NULL,
        patient_comments TEXT DEFAULT '' NOT NULL,
        studies BIGINT DEFAULT '0' NOT NULL,
        series BIGINT DEFAULT '0' NOT NULL,
        instances BIGINT DEFAULT '0' NOT NULL,
        bytes BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (id)
    )
    """,
    """
    CREATE UNIQUE INDEX patients_by_id ON patients (patient_id, issuer) WHERE patient_id <> ''
    """,
    """
    CREATE INDEX patients_by_name ON patients (patient_name_alphabetic)
    """,
    """
    CREATE TABLE studies (
        id INTEGER NOT NULL,
        patient INTEGER NOT NULL,
        study_uid TEXT NOT NULL,
        study_date TEXT,
        study_date_raw TEXT,
        study_time TEXT,
        study_time_raw TEXT,
        accession_number TEXT DEFAULT '' NOT NULL,
        study_id TEXT DEFAULT '' NOT NULL,
        referring_physician_name TEXT DEFAULT '' NOT NULL,
        referring_physician_name_alphabetic TEXT DEFAULT '' NOT NULL,
        referring_physician_name_ideographic TEXT DEFAULT '' NOT NULL,
        referring_physician_name_phonetic TEXT DEFAULT '' NOT NULL,
        study_description TEXT DEFAULT '' NOT NULL,
        reading_physicians_name TEXT DEFAULT '' NOT NULL,
        reading_physicians_name_folded TEXT DEFAULT '' NOT NULL,
        admitting_diagnoses TEXT DEFAULT '' NOT NULL,
        patient_age TEXT DEFAULT '' NOT NULL,
        patient_size TEXT DEFAULT '' NOT NULL,
        patient_weight TEXT DEFAULT '' NOT NULL,
        occupation TEXT DEFAULT '' NOT NULL,
        additional_patient_history TEXT DEFAULT '' NOT NULL,
        timezone_offset TEXT DEFAULT '' NOT NULL,
        series BIGINT DEFAULT '0' NOT NULL,
        instances BIGINT DEFAULT '0' NOT NULL,
        bytes BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(patient) REFERENCES patients (id),
        UNIQUE (study_uid)
    )
    """,
    """
    CREATE INDEX studies_by_accession ON studies (accession_number)
    """,
    """
    CREATE INDEX studies_by_date ON studies (study_date)
    """,
    """
    CREATE INDEX studies_by_patient ON studies (patient)
    """,
    """
    CREATE TABLE series (
        id INTEGER NOT NULL,
        study INTEGER NOT NULL,
        series_uid TEXT NOT NULL,
        modality TEXT DEFAULT '' NOT NULL,
        series_number BIGINT,
        series_date TEXT,
        series_date_raw TEXT,
        series_time TEXT,
        series_time_raw TEXT,
        series_description TEXT DEFAULT '' NOT NULL,
        laterality TEXT DEFAULT '' NOT NULL,
        body_part_examined TEXT DEFAULT '' NOT NULL,
        protocol_name TEXT DEFAULT '' NOT NULL,
        performing_physician_name TEXT DEFAULT '' NOT NULL,
        performing_physician_name_folded TEXT DEFAULT '' NOT NULL,
        operators_name TEXT DEFAULT '' NOT NULL,
        operators_name_folded TEXT DEFAULT '' NOT NULL,
        manufacturer TEXT DEFAULT '' NOT NULL,
        institution_name TEXT DEFAULT '' NOT NULL,
        department_name TEXT DEFAULT '' NOT NULL,
        station_name TEXT DEFAULT '' NOT NULL,
        model_name TEXT DEFAULT '' NOT NULL,
        device_serial_number TEXT DEFAULT '' NOT NULL,
        software_versions TEXT DEFAULT '' NOT NULL,
        frame_of_reference_uid TEXT DEFAULT '' NOT NULL,
        step_start_date TEXT,
        step_start_date_raw TEXT,
        step_start_time TEXT,
        step_start_time_raw TEXT,
        step_id TEXT DEFAULT '' NOT NULL,
        step_description TEXT DEFAULT '' NOT NULL,
        instances BIGINT DEFAULT '0' NOT NULL,
        bytes BIGINT DEFAULT '0' NOT NULL,
        PRIMARY KEY (id),
        UNIQUE (series_uid, study),
        FOREIGN KEY(study) REFERENCES studies (id)
    )
    """,
    """
    CREATE INDEX series_by_study ON series (study)
    """,
    """
    CREATE TABLE instances (
        id INTEGER NOT NULL,
        series INTEGER,
        discrepancy TEXT DEFAULT '' NOT NULL,
        sop_instance_uid TEXT NOT NULL,
        sop_class_uid TEXT DEFAULT '' NOT NULL,
        transfer_syntax_uid TEXT DEFAULT '' NOT NULL,
        size BIGINT NOT NULL,
        data_set_offset INTEGER NOT NULL,
        digest BLOB NOT NULL,
        path TEXT DEFAULT '' NOT NULL,
        stored_at FLOAT NOT NULL,
        calling_ae TEXT DEFAULT '' NOT NULL,
        called_ae TEXT DEFAULT '' NOT NULL,
        address TEXT DEFAULT '' NOT NULL,
        instance_number BIGINT,
        character_set TEXT DEFAULT '' NOT NULL,
        image_type TEXT DEFAULT '' NOT NULL,
        content_date TEXT,
        content_date_raw TEXT,
        content_time TEXT,
        content_time_raw TEXT,
        acquisition_date TEXT,
        acquisition_date_raw TEXT,
        acquisition_time TEXT,
        acquisition_time_raw TEXT,
        acquisition_date_time TEXT DEFAULT '' NOT NULL,
        acquisition_number BIGINT,
        creation_date TEXT DEFAULT '' NOT NULL,
        creation_time TEXT DEFAULT '' NOT NULL,
        number_of_frames BIGINT,
        rows BIGINT,
        columns BIGINT,
        bits_allocated BIGINT,
        image_comments TEXT DEFAULT '' NOT NULL,
        content_label TEXT DEFAULT '' NOT NULL,
        content_description TEXT DEFAULT '' NOT NULL,
        completion_flag TEXT DEFAULT '' NOT NULL,
        verification_flag TEXT DEFAULT '' NOT NULL,
        document_title TEXT DEFAULT '' NOT NULL,
        presentation_date TEXT DEFAULT '' NOT NULL,
        presentation_time TEXT DEFAULT '' NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(series) REFERENCES series (id),
        UNIQUE (sop_instance_uid)
    )
    """,
    """
    CREATE INDEX instances_by_series ON instances (series)
    """,
    """
    CREATE TABLE series_requests (
        id INTEGER NOT NULL,
        series INTEGER NOT NULL,
        requested_procedure_id TEXT DEFAULT '' NOT NULL,
        scheduled_step_id TEXT DEFAULT '' NOT NULL,
        scheduled_step_description TEXT DEFAULT '' NOT NULL,
        accession_number TEXT DEFAULT '' NOT NULL,
        study_uid TEXT DEFAULT '' NOT NULL,
        requested_procedure_description TEXT DEFAULT '' NOT NULL,
        PRIMARY KEY (id),
        FOREIGN KEY(series) REFERENCES series (id)
    )
    """,
    """
    CREATE INDEX series_requests_by_series ON series_requests (series)
    """,
)
