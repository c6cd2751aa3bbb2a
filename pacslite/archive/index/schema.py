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

REVISION = "0001"

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
    # Patient's Name, mostly with a wildcard at its end: a range of the folded form.
    Index("patients_by_name", "patient_name_alphabetic"),
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
    # Careless senders give one Series Instance UID to series of two studies; both are kept.
    UniqueConstraint("series_uid", "study"),
    # Series of a study: every SERIES query, and Modalities in Study.
    Index("series_by_study", "study"),
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
)
