"""Which objects a retrieval is about: all those below the entities that unique keys name.

Theory of operation. One query finds the objects and puts them in order; what is kept of each is its UID and which kind
it is of, some fifty bytes. Where they lie is looked up later, a page at a time, while they are being used: nothing of
the index is held meanwhile, however long that takes. By the UID and not by the row, because an object may be replaced
in between, and its row's number be given to another.
"""

from __future__ import annotations

import contextlib
import json
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, literal, select

from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.schema import instances, patients, series, studies
from pacslite.archive.listing import WHEREABOUTS, stored_object
from pacslite.archive.model import StoredObject
from pacslite.dicom import tags

PAGE_OBJECTS: Final = 256

Kind = tuple[str, str]
"""A SOP class and the transfer syntax in which objects of it are stored."""

_COLUMNS: Final[Mapping[int, ColumnElement[str]]] = MappingProxyType(
    {
        tags.PATIENT_ID: patients.c.patient_id,
        tags.STUDY_INSTANCE_UID: studies.c.study_uid,
        tags.SERIES_INSTANCE_UID: series.c.series_uid,
        tags.SOP_INSTANCE_UID: instances.c.sop_instance_uid,
    }
)


@dataclass(frozen=True, slots=True)
class Gone:
    """An object that has been removed since it was selected."""

    sop_instance_uid: str


@dataclass(slots=True)
class _Page:
    """UIDs as one text, JSON as the index takes it: half of what hundreds of them cost."""

    uids: str
    kinds: array[int] = field(default_factory=lambda: array("I"))


class Selection:
    """The selected objects, by series and instance number within each study. Made by :func:`select_objects`."""

    def __init__(self, reader: IndexReader, folder: Path) -> None:
        self._reader = reader
        self._folder = folder
        self._pages: list[_Page] = []
        self._kinds: list[Kind] = []
        self._counts: Counter[Kind] = Counter()
        self.bytes = 0
        """Of their data sets together."""

    @property
    def total(self) -> int:
        return self._counts.total()

    @property
    def kinds(self) -> Mapping[Kind, int]:
        """How many objects there are of each kind."""
        return MappingProxyType(self._counts)

    async def pages(self, kinds: Collection[Kind] | None = None) -> AsyncGenerator[list[StoredObject | Gone], None]:
        """Each object once, those that are gone by now included; only those that were of ``kinds``, if given."""
        wanted = None if kinds is None else {at for at, kind in enumerate(self._kinds) if kind in kinds}
        for page in self._pages:
            uids: list[str] = json.loads(page.uids)
            if wanted is not None:
                uids = [uid for uid, kind in zip(uids, page.kinds, strict=True) if kind in wanted]
            if not uids:
                continue
            query = WHEREABOUTS.where(instances.c.sop_instance_uid.in_(_values(uids)))
            rows: Sequence[Sequence[Any]] = await self._reader.all(query)
            found = {row[0]: stored_object(row, self._folder) for row in rows}
            yield [found.get(uid) or Gone(uid) for uid in uids]

    async def fill(self, query: Select[Any]) -> None:
        """Take the rows of :func:`_in_order`."""
        known: dict[Kind, int] = {}
        uids: list[str] = []
        page = _Page("")
        async with contextlib.aclosing(self._reader.stream(query)) as rows:
            uid: Any
            sop_class: Any
            syntax: Any
            size: Any
            async for uid, sop_class, syntax, size in rows:
                kind = sop_class, syntax
                page.kinds.append(known.setdefault(kind, len(known)))
                uids.append(uid)
                self._counts[kind] += 1
                self.bytes += size
                if len(uids) == PAGE_OBJECTS:
                    page.uids = json.dumps(uids)
                    self._pages.append(page)
                    uids, page = [], _Page("")
        if uids:
            page.uids = json.dumps(uids)
            self._pages.append(page)
        self._kinds = list(known)


async def select_objects(reader: IndexReader, folder: Path, unique_keys: Mapping[int, Sequence[str]]) -> Selection:
    """Every object below the entities that ``unique_keys`` name: by tag, one or several values of Patient ID and the
    UIDs of study, series and instance. All keys have to fit; a value of each is enough."""
    selection = Selection(reader, folder)
    await selection.fill(_in_order(unique_keys))
    return selection


def _in_order(unique_keys: Mapping[int, Sequence[str]]) -> Select[Any]:
    query = (
        select(
            instances.c.sop_instance_uid, instances.c.sop_class_uid, instances.c.transfer_syntax_uid, instances.c.size
        )
        .select_from(instances.join(series).join(studies).join(patients))
        .order_by(studies.c.id, series.c.series_number, series.c.id, instances.c.instance_number, instances.c.id)
    )
    for tag, values in unique_keys.items():
        column = _COLUMNS[tag]
        query = query.where(column == values[0] if len(values) == 1 else column.in_(_values(values)))
    return query


def _values(values: Sequence[str]) -> Select[Any]:
    """A list as one parameter, since the number of parameters is limited."""
    return select(func.json_each(literal(json.dumps(values))).table_valued("value").c.value)
