"""What is in the archive: look one object up, list patients, studies, series and instances, count."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Select, func, select

from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.schema import conflicts, instances, patients, series, studies
from pacslite.archive.model import (
    ConflictSummary,
    InstanceSummary,
    PatientSummary,
    SeriesSummary,
    Stats,
    StoredObject,
    StudySummary,
)

Row = Sequence[Any]  # columns have different types; the dataclasses below say which


class Listing:
    """Lists in a stable order, streamed: an archive may have millions of each."""

    def __init__(self, reader: IndexReader, folder: Path) -> None:
        self._reader = reader
        self._folder = folder

    async def patients(self, *, patient_id: str | None = None) -> AsyncIterator[PatientSummary]:
        """By name."""
        query = select(
            patients.c.patient_id,
            patients.c.issuer,
            patients.c.patient_name,
            func.coalesce(patients.c.birth_date_raw, patients.c.birth_date, ""),
            patients.c.sex,
            patients.c.studies,
            patients.c.series,
            patients.c.instances,
            patients.c.bytes,
        ).order_by(patients.c.patient_name_alphabetic, patients.c.id)
        if patient_id is not None:
            query = query.where(patients.c.patient_id == patient_id)
        async for row in self._rows(query):
            yield PatientSummary(
                patient_id=row[0],
                issuer=row[1],
                name=row[2],
                birth_date=row[3],
                sex=row[4],
                studies=row[5],
                series=row[6],
                instances=row[7],
                bytes=row[8],
            )

    async def studies(self, *, patient_id: str | None = None) -> AsyncIterator[StudySummary]:
        """Newest study date first."""
        modalities = (
            select(func.group_concat(series.c.modality.distinct()))
            .where(series.c.study == studies.c.id, series.c.modality != "")
            .scalar_subquery()
        )
        query = (
            select(
                studies.c.study_uid,
                patients.c.patient_id,
                patients.c.patient_name,
                func.coalesce(studies.c.study_date_raw, studies.c.study_date, ""),
                func.coalesce(studies.c.study_time_raw, studies.c.study_time, ""),
                studies.c.accession_number,
                studies.c.study_description,
                modalities,
                studies.c.series,
                studies.c.instances,
                studies.c.bytes,
            )
            .join(patients)
            .order_by(studies.c.study_date.desc(), studies.c.id.desc())
        )
        if patient_id is not None:
            query = query.where(patients.c.patient_id == patient_id)
        async for row in self._rows(query):
            yield StudySummary(
                study_uid=row[0],
                patient_id=row[1],
                patient_name=row[2],
                study_date=row[3],
                study_time=row[4],
                accession_number=row[5],
                description=row[6],
                modalities=tuple(sorted((row[7] or "").split(","))) if row[7] else (),
                series=row[8],
                instances=row[9],
                bytes=row[10],
            )

    async def series(self, study_uid: str) -> AsyncIterator[SeriesSummary]:
        """By series number."""
        query = (
            select(
                studies.c.study_uid,
                series.c.series_uid,
                series.c.modality,
                series.c.series_number,
                series.c.series_description,
                series.c.instances,
                series.c.bytes,
            )
            .join(studies)
            .where(studies.c.study_uid == study_uid)
            .order_by(series.c.series_number, series.c.id)
        )
        async for row in self._rows(query):
            yield SeriesSummary(
                study_uid=row[0],
                series_uid=row[1],
                modality=row[2],
                number=row[3],
                description=row[4],
                instances=row[5],
                bytes=row[6],
            )

    async def instances(
        self, *, study_uid: str | None = None, series_uid: str | None = None
    ) -> AsyncIterator[InstanceSummary]:
        """By instance number within each series; of everything, if neither UID is given."""
        query = (
            select(
                func.coalesce(studies.c.study_uid, ""),
                func.coalesce(series.c.series_uid, ""),
                instances.c.sop_instance_uid,
                instances.c.sop_class_uid,
                instances.c.transfer_syntax_uid,
                instances.c.instance_number,
                instances.c.size,
                instances.c.calling_ae,
                instances.c.stored_at,
                instances.c.discrepancy,
            )
            .select_from(instances.outerjoin(series, instances.c.series == series.c.id).outerjoin(studies))
            .order_by(instances.c.series, instances.c.instance_number, instances.c.id)
        )
        if study_uid is not None:
            query = query.where(studies.c.study_uid == study_uid)
        if series_uid is not None:
            query = query.where(series.c.series_uid == series_uid)
        async for row in self._rows(query):
            yield InstanceSummary(
                study_uid=row[0],
                series_uid=row[1],
                sop_instance_uid=row[2],
                sop_class_uid=row[3],
                transfer_syntax_uid=row[4],
                number=row[5],
                size=row[6],
                source_ae=row[7],
                stored_at=row[8],
                discrepancy=row[9],
            )

    async def conflicts(self) -> AsyncIterator[ConflictSummary]:
        """In the order they came."""
        query = select(
            conflicts.c.sop_instance_uid,
            conflicts.c.digest,
            conflicts.c.transfer_syntax_uid,
            conflicts.c.path,
            conflicts.c.size,
            conflicts.c.calling_ae,
            conflicts.c.stored_at,
            conflicts.c.reason,
        ).order_by(conflicts.c.id)
        async for row in self._rows(query):
            yield ConflictSummary(
                sop_instance_uid=row[0],
                digest=row[1].hex(),
                transfer_syntax_uid=row[2],
                path=self._folder / row[3],
                size=row[4],
                source_ae=row[5],
                stored_at=row[6],
                reason=row[7],
            )

    async def _rows(self, query: Select[Any]) -> AsyncIterator[Row]:
        async with contextlib.aclosing(self._reader.stream(query)) as rows:
            async for row in rows:
                yield row


async def find(reader: IndexReader, folder: Path, sop_instance_uid: str) -> StoredObject | None:
    """The object with this UID, and where it is."""
    rows: Sequence[Row] = await reader.all(WHEREABOUTS.where(instances.c.sop_instance_uid == sop_instance_uid))
    return stored_object(rows[0], folder) if rows else None


WHEREABOUTS: Final = select(
    instances.c.sop_instance_uid,
    instances.c.path,
    instances.c.data_set_offset,
    instances.c.size,
    instances.c.digest,
    instances.c.sop_class_uid,
    instances.c.transfer_syntax_uid,
    func.coalesce(studies.c.study_uid, ""),
    func.coalesce(series.c.series_uid, ""),
    instances.c.stored_at,
).select_from(instances.outerjoin(series, instances.c.series == series.c.id).outerjoin(studies))
"""What :func:`stored_object` needs of each."""


def stored_object(row: Row, folder: Path) -> StoredObject:
    """From a row of :data:`WHEREABOUTS`."""
    sop_instance_uid, path, offset, size, digest, sop_class, syntax, study_uid, series_uid, stored_at = row
    usual = blob_path(
        study_uid=study_uid, series_uid=series_uid, sop_class_uid=sop_class, sop_instance_uid=sop_instance_uid
    )
    return StoredObject(
        path=folder / (path or usual),
        data_set_offset=offset,
        size=size,
        digest=digest.hex(),
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=syntax,
        study_uid=study_uid,
        series_uid=series_uid,
        stored_at=stored_at,
    )


async def stats(reader: IndexReader, index: Path, free_bytes: int) -> Stats:
    """The archive in numbers, from one moment."""
    homeless = select(func.count(), func.total(instances.c.size)).where(instances.c.series.is_(None)).subquery()
    kept = select(func.count(), func.total(conflicts.c.size)).select_from(conflicts).subquery()
    upper = select(
        func.count(),
        func.total(patients.c.studies),
        func.total(patients.c.series),
        func.total(patients.c.instances),
        func.total(patients.c.bytes),
    ).subquery()
    rows: Sequence[Row] = await reader.all(select(upper, homeless, kept))
    count, studies_, series_, instances_, size, alone, alone_size, conflicts_, conflict_bytes = map(int, rows[0])
    return Stats(
        patients=count,
        studies=studies_,
        series=series_,
        instances=instances_ + alone,
        bytes=size + alone_size,
        conflicts=conflicts_,
        conflict_bytes=conflict_bytes,
        index_bytes=sum(path.stat().st_size for path in (index, index.with_name(f"{index.name}-wal")) if path.exists()),
        free_bytes=free_bytes,
    )
