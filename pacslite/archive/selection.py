"""Which objects a retrieval is about: all those below the entities that unique keys name.

Theory of operation. One query finds the objects and puts them in order; what is kept of each is its UID and which kind
it is of, some fifty bytes. Where they lie is looked up later, a page at a time, while they are being used: nothing of
the index is held meanwhile, however long that takes. By the UID and not by the row, because an object may be replaced
in between, and its row's number be given to another.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, func, select
from sqlalchemy.dialects import sqlite

from pacslite.archive.index.reader import IndexReader
from pacslite.archive.index.schema import instances, patients, series, studies
from pacslite.archive.listing import WHEREABOUTS, stored_object
from pacslite.archive.model import StoredObject
from pacslite.dicom import tags

T = TypeVar("T")

PAGE_OBJECTS: Final = 64

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
    """An object that was selected and is not found any more, or cannot be looked up."""

    sop_instance_uid: str
    reason: str = "removed from the archive meanwhile"


@dataclass(slots=True)
class _Page:
    """UIDs as one text, JSON as the index takes it: half of what hundreds of them cost."""

    uids: str
    kinds: array[int] = field(default_factory=lambda: array("I"))


class _Statement:
    """Compiled once: that takes longer than looking a study up."""

    def __init__(self, query: Select[Any]) -> None:
        compiled = query.compile(dialect=sqlite.dialect(paramstyle="named"))
        self._sql = str(compiled)
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}

    def execute(self, connection: sqlite3.Connection, parameters: Mapping[str, str]) -> sqlite3.Cursor:
        return connection.execute(self._sql, {**self._constants, **parameters})


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
        """Each object once, those that cannot be found now included; only those that were of ``kinds``, if given."""
        wanted = None if kinds is None else {at for at, kind in enumerate(self._kinds) if kind in kinds}
        for page in self._pages:
            uids: list[str] = json.loads(page.uids)
            if wanted is not None:
                uids = [uid for uid, kind in zip(uids, page.kinds, strict=True) if kind in wanted]
            if uids:
                yield await self._found(uids)

    async def _found(self, uids: Sequence[str]) -> list[StoredObject | Gone]:
        try:
            return await look_up(self._reader, self._folder, uids)
        except sqlite3.Error as error:  # what was sent so far stands, and what follows may be found again
            return [Gone(uid, f"the index cannot be read: {error}") for uid in uids]

    def fill(self, statement: _Statement, parameters: Mapping[str, str], connection: sqlite3.Connection) -> None:
        """Take what :func:`_in_order` finds."""
        known: dict[Kind, int] = {}
        cursor = statement.execute(connection, parameters)
        while rows := cursor.fetchmany(PAGE_OBJECTS):
            page = _Page(json.dumps([row[0] for row in rows]))
            for _, sop_class, syntax, size in rows:
                kind = sop_class, syntax
                page.kinds.append(known.setdefault(kind, len(known)))
                self._counts[kind] += 1
                self.bytes += size
            self._pages.append(page)
        self._kinds = list(known)


async def select_objects(reader: IndexReader, folder: Path, unique_keys: Mapping[int, Sequence[str]]) -> Selection:
    """Every object below the entities that ``unique_keys`` name: by tag, one or several values of Patient ID and the
    UIDs of study, series and instance. All keys have to fit; a value of each is enough."""
    selection = Selection(reader, folder)
    statement = _in_order(tuple((tag, len(values) == 1) for tag, values in unique_keys.items()))
    parameters = {
        f"key_{tag}": values[0] if len(values) == 1 else json.dumps(values) for tag, values in unique_keys.items()
    }
    await _run(reader, partial(selection.fill, statement, parameters))
    return selection


async def look_up(reader: IndexReader, folder: Path, uids: Sequence[str]) -> list[StoredObject | Gone]:
    """The objects with these UIDs, in their order."""

    def rows(connection: sqlite3.Connection) -> list[StoredObject | Gone]:
        cursor = _page_statement().execute(connection, {"uids": json.dumps(uids)})
        found = {row[0]: stored_object(row, folder) for row in cursor}
        return [found.get(uid) or Gone(uid) for uid in uids]

    return await _run(reader, rows)


async def _run(reader: IndexReader, function: Callable[[sqlite3.Connection], T]) -> T:
    """Call it in the thread of a connection: one way there and one back, however many rows there are."""
    connection = await reader.take()
    try:
        return await connection.run(function)
    finally:
        reader.give_back(connection)


@lru_cache(maxsize=64)
def _in_order(keys: tuple[tuple[int, bool], ...]) -> _Statement:
    """The statement for keys by tag, each with one value or a list of them."""
    query = (
        select(
            instances.c.sop_instance_uid, instances.c.sop_class_uid, instances.c.transfer_syntax_uid, instances.c.size
        )
        .select_from(instances.join(series).join(studies).join(patients))
        .order_by(studies.c.id, series.c.series_number, series.c.id, instances.c.instance_number, instances.c.id)
    )
    for tag, single in keys:
        column = _COLUMNS[tag]
        value: BindParameter[str] = bindparam(f"key_{tag}")
        query = query.where(column == value if single else column.in_(_values(value)))
    return _Statement(query)


@cache
def _page_statement() -> _Statement:
    return _Statement(WHEREABOUTS.where(instances.c.sop_instance_uid.in_(_values(bindparam("uids")))))


def _values(parameter: BindParameter[Any]) -> Select[Any]:
    """A list as one parameter, since the number of parameters is limited."""
    return select(func.json_each(parameter).table_valued("value").c.value)
