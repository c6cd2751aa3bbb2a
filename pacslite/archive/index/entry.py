"""From a header to the values of rows: what the index is told about one object.

The instance's own row is made in the thread that wrote the file. The values above it are decoded only when the writer
meets something new: mostly the raw bytes equal those of the series' last object, and comparing them is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pacslite.archive.index.attributes import INSTANCE, REQUEST, UPPER_TAGS, Attribute, Kind
from pacslite.archive.job import NewJob
from pacslite.archive.model import Origin
from pacslite.dicom import tags
from pacslite.dicom.header import Header
from pacslite.dicom.values import fold, normalise_date, normalise_time, parse_person_name

Value = str | int | float | bytes | None

MAX_TEXT = 10240
"""The longest text PS3.5 has below UT (LT, 10240 characters); more is not indexed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One object, as it goes into the index: its file is at ``path``, and belongs at ``usual_path``."""

    origin: Origin
    header: Header
    study_uid: str
    series_uid: str
    path: str
    usual_path: str
    size: int
    data_set_offset: int
    digest: bytes
    stored_at: float
    upper: tuple[object, ...]
    """The raw values that decide the rows above the instance."""
    attributes: tuple[Value, ...]
    """The values of the :data:`INSTANCE` columns."""
    owed: tuple[NewJob, ...] = ()
    """Work that is owed to others once the object is stored: it is written with the row."""
    disturbs: tuple[tuple[str, float], ...] = ()
    """Rules that wait until a study is quiet, and for how many seconds: what they hold of this study is put off."""

    def row(self) -> tuple[Value, ...]:
        """The instance's columns from ``sop_instance_uid`` on."""
        origin = self.origin
        return (
            origin.sop_instance_uid,
            origin.sop_class_uid,
            origin.transfer_syntax_uid,
            self.size,
            self.data_set_offset,
            self.digest,
            "" if self.path == self.usual_path else self.path,
            self.stored_at,
            origin.calling_ae,
            origin.called_ae,
            origin.address,
            *self.attributes,
        )


def upper_key(header: Header) -> tuple[object, ...]:
    """Equal keys have equal values at every level above the instance."""
    return (*map(header.elements.get, UPPER_TAGS), header.request_attributes)


def instance_values(header: Header) -> tuple[Value, ...]:
    """The values of the :data:`INSTANCE` columns."""
    elements = header.elements
    values: list[Value] = []
    for number, (tag, blank_columns, columns_of) in enumerate(_INSTANCE):
        raw = elements.get(tag)
        if not raw:
            values += blank_columns
        elif _is_plain(header, tag, raw):
            values += _of_plain(number, raw)
        else:
            values += columns_of(header, tag)
    return tuple(values)


def _is_plain(header: Header, tag: int, raw: bytes) -> bool:
    """Whether the bytes alone tell the value: text may depend on the character set, a number on the byte order."""
    if len(raw) > _SHORT or header.big_endian:
        return False
    return tag in _PLAIN_TAGS or (raw.isascii() and b"\x1b" not in raw and b"\\" not in raw)


@lru_cache(maxsize=4096)
def _of_plain(number: int, raw: bytes) -> tuple[Value, ...]:
    """Worth remembering: most values of an instance are those of the whole series."""
    tag, _, columns_of = _INSTANCE[number]
    header = Header(
        elements={tag: raw}, request_attributes=(), complete=True, problem="", big_endian=False, character_sets=()
    )
    return columns_of(header, tag)


def level_values(header: Header, attributes: tuple[Attribute, ...]) -> tuple[tuple[Value, ...], ...]:
    """For each attribute the values of its columns."""
    return tuple(
        tuple(_COLUMNS[attribute.kind](header, attribute.tag))
        if header.elements.get(attribute.tag)
        else blank(attribute)
        for attribute in attributes
    )


def request_values(header: Header) -> list[tuple[Value, ...]]:
    """The :data:`REQUEST` columns of each item, without those that say nothing."""
    items = []
    for number in range(len(header.request_attributes)):
        values = tuple(header.request_text(number, attribute.tag)[:MAX_TEXT] for attribute in REQUEST)
        if any(values) and values not in items:
            items.append(values)
    return [*items]


def blank(attribute: Attribute) -> tuple[Value, ...]:
    """The column values of an attribute without a value."""
    return tuple(None if nullable else "" for _, nullable in attribute.columns())


def patient_key(header: Header) -> tuple[str, str]:
    """Patient ID and its issuer."""
    return header.text(tags.PATIENT_ID)[:MAX_TEXT], header.text(tags.ISSUER_OF_PATIENT_ID)[:MAX_TEXT]


def _text(header: Header, tag: int) -> tuple[Value, ...]:
    return (header.text(tag)[:MAX_TEXT],)


def _integer(header: Header, tag: int) -> tuple[Value, ...]:
    return (header.integer(tag),)


def _date(header: Header, tag: int) -> tuple[Value, ...]:
    return _normal(header.text(tag), normalise_date)


def _time(header: Header, tag: int) -> tuple[Value, ...]:
    return _normal(header.text(tag), normalise_time)


def _normal(written: str, normalise: Callable[[str], str]) -> tuple[Value, ...]:
    normal = normalise(written) or None
    return (normal, None if written == normal or not written else written[:MAX_TEXT])


def _name(header: Header, tag: int) -> tuple[Value, ...]:
    written = header.text(tag)[:MAX_TEXT]
    return (written, "\\".join(parse_person_name(value).folded() for value in written.split("\\")))


def _grouped_name(header: Header, tag: int) -> tuple[Value, ...]:
    written = header.text(tag)[:MAX_TEXT]
    name = parse_person_name(written)
    return (
        written,
        *(
            "^".join(map(fold, str(group).split("^"))).rstrip("^")
            for group in (name.alphabetic, name.ideographic, name.phonetic)
        ),
    )


_COLUMNS: Mapping[Kind, Callable[[Header, int], tuple[Value, ...]]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.NAME: _name,
    Kind.GROUPED_NAME: _grouped_name,
}

_INSTANCE = tuple((attribute.tag, blank(attribute), _COLUMNS[attribute.kind]) for attribute in INSTANCE)
_PLAIN_TAGS = frozenset(
    attribute.tag for attribute in INSTANCE if tags.VR_OF[attribute.tag] in {"CS", "DA", "DT", "IS", "TM", "UI", "US"}
)
_SHORT = 64
