"""The index as tables. Keys are integers; UIDs are unique text. Every index is there for a query, named beside it.

Counters (``studies``, ``series``, ``instances``, ``bytes``) are kept exactly, in the transaction that changes them.
``REVISION`` is the newest migration; a test keeps this file and the migrations together.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from pacslite.archive.index.attributes import INSTANCE, PATIENT, REQUEST, SERIES, STUDY, Attribute, Kind

REVISION = "0003"

metadata = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _belongs_to(table: str, name: str) -> Column[int]:
    return Column(name, Integer, ForeignKey(f"{table}.id"), nullable=False)


def _columns(attributes: tuple[Attribute, ...]) -> list[Column[str] | Column[int]]:
    return [
        (Column(name, BigInteger) if attribute.kind is Kind.INTEGER else Column(name, Text))
        if nullable
        else _text(name)
        for attribute in attributes
        for name, nullable in attribute.columns()
    ]


patients = Table(
    "patients",
    metadata,
    _id(),
    _text("patient_id"),
    _text("issuer"),
    *_columns(PATIENT),
    _count("studies"),
    _count("series"),
    _count("instances"),
    _count("bytes"),
    # Patient ID as a key. Without one, a patient is known by nothing but the study, so there may be many.
    Index("patients_by_id", "patient_id", "issuer", unique=True, sqlite_where=text("patient_id <> ''")),
    # Patient's Name: mostly a range of the folded form, as patterns begin with letters; for other patterns all of the
    # index is read, which therefore has every group.
    Index("patients_by_name", "patient_name_alphabetic", "patient_name_ideographic", "patient_name_phonetic"),
    # A name with one group may be any of the three.
    Index("patients_by_ideographic", "patient_name_ideographic", sqlite_where=text("patient_name_ideographic <> ''")),
    Index("patients_by_phonetic", "patient_name_phonetic", sqlite_where=text("patient_name_phonetic <> ''")),
)

studies = Table(
    "studies",
    metadata,
    _id(),
    _belongs_to("patients", "patient"),
    Column("study_uid", Text, nullable=False, unique=True),
    *_columns(STUDY),
    _count("series"),
    _count("instances"),
    _count("bytes"),
    # Studies of a patient: every query that starts from Patient ID or name.
    Index("studies_by_patient", "patient"),
    # Study Date as a value or range: the commonest query of a workstation.
    Index("studies_by_date", "study_date"),
    # Accession Number: how an information system asks.
    Index("studies_by_accession", "accession_number"),
)

series = Table(
    "series",
    metadata,
    _id(),
    _belongs_to("studies", "study"),
    Column("series_uid", Text, nullable=False),
    *_columns(SERIES),
    _count("instances"),
    _count("bytes"),
    # Of its instances, each once: SOP Classes in Study would have to look at every instance.
    _text("sop_classes"),
    # Careless senders give one Series Instance UID to series of two studies; both are kept.
    UniqueConstraint("series_uid", "study"),
    # Series of a study: every SERIES query. Modalities in Study is answered by the index alone.
    Index("series_by_study", "study", "modality"),
)

series_requests = Table(
    "series_requests",
    metadata,
    _id(),
    _belongs_to("series", "series"),
    *_columns(REQUEST),
    # Requests of a series; they are few, so their own attributes are matched after the study's.
    Index("series_requests_by_series", "series"),
)

instances = Table(
    "instances",
    metadata,
    _id(),
    # None for what has no patient (hanging protocols, colour palettes …).
    Column("series", Integer, ForeignKey("series.id")),
    # Keywords of the attributes that contradict the patient, study or series it belongs to.
    _text("discrepancy"),
    Column("sop_instance_uid", Text, nullable=False, unique=True),
    _text("sop_class_uid"),
    _text("transfer_syntax_uid"),
    Column("size", BigInteger, nullable=False),
    Column("data_set_offset", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    # Empty: the usual place, which follows from the UIDs (paths.blob_path).
    _text("path"),
    Column("stored_at", Float, nullable=False),
    _text("calling_ae"),
    _text("called_ae"),
    _text("address"),
    *_columns(INSTANCE),
    # Instances of a series: every IMAGE query and every retrieval.
    Index("instances_by_series", "series"),
)

conflicts = Table(
    "conflicts",
    metadata,
    _id(),
    Column("sop_instance_uid", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    _text("transfer_syntax_uid"),
    _text("sop_class_uid"),
    _text("study_uid"),
    _text("series_uid"),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("data_set_offset", Integer, nullable=False),
    Column("stored_at", Float, nullable=False),
    _text("calling_ae"),
    _text("called_ae"),
    _text("address"),
    _text("reason"),
    # The same one arriving again is the same conflict.
    UniqueConstraint("sop_instance_uid", "digest", "transfer_syntax_uid"),
    # What is deleted with a study though its object is not there any more.
    Index("conflicts_by_study", "study_uid"),
)

# Patient's Name where a pattern begins with a star: three characters in a row of it are found here. Only what is found
# is stored, not where in the name; a pattern is compared with the name itself afterwards.
CREATE_PATIENT_NAMES = """
    CREATE VIRTUAL TABLE patient_names USING fts5(
        patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic,
        content='patients', content_rowid='id', tokenize='trigram case_sensitive 1', detail='none', columnsize=0
    )
"""
_COLUMNS = "patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic"
_OLD, _NEW = (", ".join(f"{row}.{name}" for name in _COLUMNS.split(", ")) for row in ("old", "new"))
_FORGET = f"INSERT INTO patient_names(patient_names, rowid, {_COLUMNS}) VALUES ('delete', old.id, {_OLD});"
_REMEMBER = f"INSERT INTO patient_names(rowid, {_COLUMNS}) VALUES (new.id, {_NEW});"
PATIENT_NAME_TRIGGERS = {
    "patient_names_added": f"AFTER INSERT ON patients BEGIN {_REMEMBER} END",
    "patient_names_removed": f"AFTER DELETE ON patients BEGIN {_FORGET} END",
    "patient_names_changed": f"AFTER UPDATE OF {_COLUMNS} ON patients BEGIN {_FORGET} {_REMEMBER} END",
}
REBUILD_PATIENT_NAMES = "INSERT INTO patient_names(patient_names) VALUES ('rebuild')"
