"""An index without files, filled with whole patients, and the queries that the archive answers from it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from kit.encode import EXPLICIT_LITTLE
from kit.samples import CT, EXPLICIT
from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.find import Finder
from pacslite.archive.index.entry import Entry, instance_values, upper_key
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.search import Pace
from pacslite.archive.index.sqlite import connect, create
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.model import Origin
from pacslite.archive.query import Query, Row, Wanted
from pacslite.archive.settings import ArchiveSettings
from pacslite.archive.threads import FileThreads
from pacslite.dicom import tags
from pacslite.dicom.elements import Element
from pacslite.dicom.header import HeaderReader
from pacslite.dicom.keys import combine, key_of
from pacslite.dicom.levels import Level
from pacslite.dicom.matching import Key
from pacslite.dicom.transfer_syntax import transfer_syntax

Texts = Mapping[int, str]
"""Values by tag; those of US are figures."""


@dataclass(frozen=True, slots=True)
class Node:
    """A patient with its studies, a study with its series, a series with its instances."""

    values: Texts
    below: tuple[Node, ...] = ()


def entry_of(values: Texts, requests: Iterable[Texts] = ()) -> Entry:
    """The row of an object with these values."""
    elements = {tag: _element(tag, value) for tag, value in values.items()}
    elements[tags.SPECIFIC_CHARACTER_SET] = _element(tags.SPECIFIC_CHARACTER_SET, "ISO_IR 192")
    if items := [b"".join(_element(tag, item[tag]) for tag in sorted(item)) for item in requests]:
        elements[tags.REQUEST_ATTRIBUTES_SEQUENCE] = EXPLICIT_LITTLE.sequence(tags.REQUEST_ATTRIBUTES_SEQUENCE, *items)
    reader = HeaderReader(transfer_syntax(EXPLICIT))
    reader.feed(b"".join(elements[tag] for tag in sorted(elements)))
    header = reader.finish()
    study, series = values[tags.STUDY_INSTANCE_UID], values[tags.SERIES_INSTANCE_UID]
    uid, sop_class = values[tags.SOP_INSTANCE_UID], values.get(tags.SOP_CLASS_UID, CT)
    path = blob_path(study_uid=study, series_uid=series, sop_class_uid=sop_class, sop_instance_uid=uid)
    return Entry(
        origin=Origin(sop_class_uid=sop_class, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT),
        header=header,
        study_uid=study,
        series_uid=series,
        path=path,
        usual_path=path,
        size=100,
        data_set_offset=300,
        digest=uid.encode(),
        stored_at=1.5,
        upper=upper_key(header),
        attributes=instance_values(header),
    )


def _element(tag: int, value: str) -> bytes:
    vr = tags.VR_OF[tag]
    raw = struct.pack("<H", int(value)) if vr == "US" else value.encode()
    return EXPLICIT_LITTLE.element(tag, vr, raw)


def objects(patients: Iterable[Node]) -> list[Texts]:
    """The values of every object, those of the levels above included."""
    return [
        {**patient.values, **study.values, **series.values, **instance.values}
        for patient in patients
        for study in patient.below
        for series in study.below
        for instance in series.below
    ]


@dataclass(frozen=True, slots=True)
class Indexed:
    """An index in use: ``connection`` writes, queries read."""

    finder: Finder
    reader: IndexReader
    writer: IndexWriter
    path: Path

    def add(self, entries: Iterable[Entry]) -> None:
        with self.writer.transaction():
            for entry in entries:
                self.writer.add(entry)

    async def find(self, level: Level, wanted: Sequence[int], keys: Sequence[Key] = (), **more: int) -> list[Row]:
        """Every answer."""
        query = Query(
            level=level, keys=tuple(keys), wanted=tuple(Wanted(tag, tags.VR_OF[tag]) for tag in wanted), **more
        )
        async with aclosing(self.finder.find(query)) as batches:
            return [row async for rows in batches for row in rows]

    async def ask(self, level: Level, wanted: int, **keys: str) -> list[object]:
        """The values of one attribute in every answer, sorted; keys by the names of tags."""
        rows = await self.find(level, [wanted], combine(keys_of(**keys)))
        return sorted((row[0] for row in rows), key=str)


def keys_of(**texts: str) -> list[Key]:
    """Matching keys as from a request, by the names of their tags."""
    found = []
    for name, text in texts.items():
        tag: int = getattr(tags, name)
        key = key_of(tag, Element(tags.VR_OF[tag], text), fuzzy=False, empty_value=True, combined=True)
        found += [key] if key is not None else []
    return found


@contextlib.asynccontextmanager
async def indexed(
    folder: Path, *, queries: int = 2, pace: Pace | None = None, **changes: int
) -> AsyncIterator[Indexed]:
    """A new index in ``folder``."""
    path = folder / "index.sqlite"
    threads = FileThreads(2, asyncio.get_running_loop())
    reader = IndexReader(path, count=queries, busy_timeout_s=5)
    with contextlib.closing(connect(path, busy_timeout_s=5)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        create(connection)
        try:
            settings = ArchiveSettings(folder=folder, **changes)  # type: ignore[arg-type] # whole numbers, as named
            yield Indexed(Finder(reader, threads, settings, pace=pace), reader, IndexWriter(connection), path)
        finally:
            await reader.close()
            threads.close()
