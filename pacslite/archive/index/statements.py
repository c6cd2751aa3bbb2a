"""The writer's statements, built with SQLAlchemy Core and compiled once.

The writer runs them on a plain sqlite3 connection: one object's transaction costs a fifth of what it does through
SQLAlchemy's execution layer. Parameters are positional, in the order of the columns.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Table, bindparam, delete, func, literal_column, select, text, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from pacslite.archive.index.attributes import PATIENT, REQUEST, SERIES, STUDY, Attribute
from pacslite.archive.index.promises import PROMISED
from pacslite.archive.index.schema import (
    CREATE_PATIENT_NAMES,
    PATIENT_NAME_TRIGGERS,
    conflicts,
    instances,
    metadata,
    patients,
    series,
    series_requests,
    studies,
)

_dialect = sqlite.dialect(paramstyle="qmark")


def compiled(statement: ClauseElement, *order: str) -> str:
    """The statement's SQL; ``order`` asserts the order of its parameters, where it is not that of the columns."""
    result = statement.compile(dialect=_dialect)
    if not isinstance(result, SQLCompiler):  # DDL has no parameters
        return str(result)
    if order and tuple(result.positiontup or ()) != order:
        raise AssertionError(f"{result.positiontup} is not the order {order} of: {result}")
    return str(result)


def names(attributes: tuple[Attribute, ...]) -> list[str]:
    """The columns of a level's attributes, in order."""
    return [name for attribute in attributes for name, _ in attribute.columns()]


def _insert(table: Table, *columns: str) -> str:
    """Every column but the id, in the table's order, or just ``columns``."""
    chosen = columns or tuple(column.name for column in table.columns if column.name != "id")
    return compiled(insert(table).values({name: bindparam(name) for name in chosen}), *chosen)


def _insert_new(table: Table, *key: str) -> str:
    """The same, but nothing happens if the key is there."""
    chosen = tuple(column.name for column in table.columns if column.name != "id")
    values = insert(table).values({name: bindparam(name) for name in chosen})
    return compiled(values.on_conflict_do_nothing(index_elements=key), *chosen)


def _level(table: Table, attributes: tuple[Attribute, ...]) -> str:
    return compiled(select(*(table.c[name] for name in names(attributes))).where(table.c.id == bindparam("key")))


def _set_level(table: Table, attributes: tuple[Attribute, ...]) -> str:
    columns = names(attributes)
    statement = update(table).where(table.c.id == bindparam("key")).values({name: bindparam(name) for name in columns})
    return compiled(statement, *columns, "key")


def _add_to(table: Table, *counters: str) -> str:
    statement = update(table).where(table.c.id == bindparam("key"))
    added: dict[str, object] = {name: table.c[name] + bindparam(f"more_{name}") for name in counters}
    return compiled(statement.values(added), *(f"more_{name}" for name in counters), "key")


def _delete(table: Table, column: Column[int]) -> str:
    return compiled(delete(table).where(column == bindparam("key")))


FIND_INSTANCE = compiled(
    select(
        instances.c.id,
        instances.c.digest,
        instances.c.transfer_syntax_uid,
        instances.c.sop_class_uid,
        instances.c.size,
        instances.c.data_set_offset,
        instances.c.path,
        instances.c.stored_at,
        series.c.series_uid,
        studies.c.study_uid,
        series.c.id,
        studies.c.id,
        studies.c.patient,
    )
    .select_from(instances.outerjoin(series, instances.c.series == series.c.id).outerjoin(studies))
    .where(instances.c.sop_instance_uid == bindparam("key"))
)
INSERT_INSTANCE = _insert_new(instances, "sop_instance_uid")
DELETE_INSTANCE = _delete(instances, instances.c.id)

FIND_PATIENT = compiled(
    select(patients.c.id).where(
        patients.c.patient_id == bindparam("patient_id"),
        patients.c.issuer == bindparam("issuer"),
        patients.c.patient_id != literal_column("''"),  # the condition of the index, word for word
    ),
    "patient_id",
    "issuer",
)
FIND_STUDY = compiled(
    select(studies.c.id, studies.c.patient, patients.c.patient_id, patients.c.issuer)
    .join(patients)
    .where(studies.c.study_uid == bindparam("key"))
)
FIND_SERIES = compiled(
    select(series.c.id, series.c.sop_classes).where(
        series.c.series_uid == bindparam("uid"), series.c.study == bindparam("of")
    ),
    "uid",
    "of",
)
FIND_REQUESTS = compiled(
    select(*(series_requests.c[name] for name in names(REQUEST))).where(series_requests.c.series == bindparam("key"))
)

INSERT_PATIENT = _insert(patients, "patient_id", "issuer", *names(PATIENT))
INSERT_STUDY = _insert(studies, "patient", "study_uid", *names(STUDY))
INSERT_SERIES = _insert(series, "study", "series_uid", *names(SERIES))
INSERT_REQUEST = _insert(series_requests)

PATIENT_LEVEL, SET_PATIENT_LEVEL = _level(patients, PATIENT), _set_level(patients, PATIENT)
STUDY_LEVEL, SET_STUDY_LEVEL = _level(studies, STUDY), _set_level(studies, STUDY)
SERIES_LEVEL, SET_SERIES_LEVEL = _level(series, SERIES), _set_level(series, SERIES)

SOP_CLASSES = compiled(select(series.c.sop_classes).where(series.c.id == bindparam("key")))
SET_SOP_CLASSES = compiled(
    update(series).where(series.c.id == bindparam("key")).values(sop_classes=bindparam("new")), "new", "key"
)
FIND_OF_SOP_CLASS = compiled(
    select(instances.c.id)
    .where(instances.c.series == bindparam("series"), instances.c.sop_class_uid == bindparam("uid"))
    .suffix_with(text("LIMIT 1")),
    "series",
    "uid",
)

COUNT_IN_PATIENT = _add_to(patients, "studies", "series", "instances", "bytes")
COUNT_IN_STUDY = _add_to(studies, "series", "instances", "bytes")
COUNT_IN_SERIES = _add_to(series, "instances", "bytes")

DELETE_PATIENT = _delete(patients, patients.c.id)
DELETE_STUDY = _delete(studies, studies.c.id)
DELETE_SERIES = _delete(series, series.c.id)
DELETE_REQUESTS = _delete(series_requests, series_requests.c.series)
SERIES_LEFT = compiled(select(series.c.instances).where(series.c.id == bindparam("key")))
STUDY_LEFT = compiled(select(studies.c.instances).where(studies.c.id == bindparam("key")))
PATIENT_LEFT = compiled(select(patients.c.instances).where(patients.c.id == bindparam("key")))

INSERT_CONFLICT = _insert_new(conflicts, "sop_instance_uid", "digest", "transfer_syntax_uid")
CONFLICTS_OF = compiled(select(conflicts.c.path).where(conflicts.c.sop_instance_uid == bindparam("key")))
DELETE_CONFLICT = _delete(conflicts, conflicts.c.id)

_LIMIT = text("LIMIT 500")  # a statement is compiled once, and SQLAlchemy makes two parameters of a limit
LAST_INSTANCE = compiled(select(func.max(instances.c.id)))
INSTANCES_AFTER = compiled(
    select(instances.c.id, instances.c.sop_instance_uid)
    .where(instances.c.id > bindparam("key"))
    .order_by(instances.c.id)
    .suffix_with(_LIMIT)
)
CONFLICTS_AFTER = compiled(
    select(conflicts.c.id, conflicts.c.sop_instance_uid, conflicts.c.path)
    .where(conflicts.c.id > bindparam("key"))
    .order_by(conflicts.c.id)
    .suffix_with(_LIMIT)
)

TOTAL_BYTES = compiled(
    select(
        select(func.total(patients.c.bytes)).scalar_subquery()
        + select(func.total(instances.c.size)).where(instances.c.series.is_(None)).scalar_subquery()
        + select(func.total(conflicts.c.size)).scalar_subquery()
    ),
)


def _schema() -> Iterator[str]:
    assert set(PROMISED) <= set(metadata.sorted_tables)
    for table in metadata.sorted_tables:
        yield compiled(CreateTable(table))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield compiled(CreateIndex(index))
    yield CREATE_PATIENT_NAMES
    for name, what in PATIENT_NAME_TRIGGERS.items():
        yield f"CREATE TRIGGER {name} {what}"


CREATE_SCHEMA = tuple(_schema())
