"""Small objects for the archive, made byte by byte, and the few calls that most of its tests make."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from kit.encode import EXPLICIT_LITTLE, Encoding
from kit.wait import eventually
from pacslite.archive.archive import Archive
from pacslite.archive.model import Origin, Stored
from pacslite.archive.settings import ArchiveSettings, StoreMode

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
_UIDS = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An object. ``more`` are further elements as (tag, VR, value); an empty UID leaves its element out."""

    instance: str = "1.2.3.3"
    series: str = "1.2.3.2"
    study: str = "1.2.3.1"
    patient_id: str = "P1"
    patient_name: str = "Doe^Jane"
    sop_class: str = CT
    transfer_syntax: str = EXPLICIT
    modality: str = "CT"
    number: int = 1
    more: tuple[tuple[int, str, bytes | str], ...] = ()
    pixels: bytes = b"\1\2" * 50
    said_class: str | None = None
    """SOP Class UID in the command, where it differs."""
    said_instance: str | None = None

    def data_set(self, encoding: Encoding = EXPLICIT_LITTLE) -> bytes:
        elements: list[tuple[int, str, bytes | str]] = [
            (0x00080016, "UI", self.sop_class),
            (0x00080018, "UI", self.instance),
            (0x00080060, "CS", self.modality),
            (0x00100010, "PN", self.patient_name),
            (0x00100020, "LO", self.patient_id),
            (0x0020000D, "UI", self.study),
            (0x0020000E, "UI", self.series),
            (0x00200013, "IS", str(self.number)),
            (0x7FE00010, "OW", self.pixels),
        ]
        given = {tag for tag, _, _ in self.more}
        wanted = [
            element for element in elements if element[0] not in given and (element[2] or element[0] not in _UIDS)
        ]
        return b"".join(encoding.element(*element) for element in sorted([*wanted, *self.more]))

    @property
    def origin(self) -> Origin:
        return Origin(
            sop_class_uid=self.sop_class if self.said_class is None else self.said_class,
            sop_instance_uid=self.instance if self.said_instance is None else self.said_instance,
            transfer_syntax_uid=self.transfer_syntax,
            calling_ae="CT1",
            called_ae="PACSLITE",
            address="192.0.2.1",
        )

    def but(self, **changes: object) -> Sample:
        return replace(self, **changes)  # type: ignore[arg-type] # names and types are checked where it matters: at run time


def settings_for(folder: Path, **changes: object) -> ArchiveSettings:
    """Settings for a test: no reserve, so that a nearly full disk does not matter; no server's lock."""
    usual = ArchiveSettings(
        folder=folder,
        store_mode=StoreMode.BESIDE,
        min_free_bytes=0,
        min_free_percent=0.0,
        file_threads=4,
        busy_timeout_s=20.0,
    )
    return replace(usual, **changes)  # type: ignore[arg-type] # as above


async def put(archive: Archive, sample: Sample, *, piece: int = 1 << 16) -> Stored:
    """Store it as a service would."""
    data = memoryview(sample.data_set())
    async with archive.ingest(sample.origin) as ingest:
        for at in range(0, len(data), piece):
            await ingest.write(data[at : at + piece])
        return await ingest.commit()


def files(folder: Path, *parts: str) -> list[str]:
    """Relative paths of all files under these parts of a data folder, without lock files."""
    found = (path for part in parts for path in (folder / part).rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in found if path.suffix != ".lock")


def visible(folder: Path) -> list[str]:
    """Every object's file, wherever it is, once the names of what is safe have gone from ``incoming``."""

    def is_swept() -> bool:
        return all((folder / name).stat().st_nlink == 1 for name in files(folder, "incoming"))

    eventually(is_swept, "the names in flight are removed")
    return files(folder, "blobs", "conflicts", "incoming", "quarantine")


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    """Ask the index directly."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        return connection.execute(query).fetchall()


def assert_counters_exact(folder: Path) -> None:
    """Every counter equals what it counts, and nothing is empty."""
    levels = (
        ("series", "instances", "series", {"instances": "count(b.id)", "bytes": "sum(b.size)"}),
        ("studies", "series", "study", {"series": "count(b.id)", **_SUMS}),
        ("patients", "studies", "patient", {"studies": "count(b.id)", "series": "sum(b.series)", **_SUMS}),
    )
    for table, below, link, counters in levels:
        told = ", ".join(f"t.{counter}" for counter in counters)
        counted = ", ".join(counters.values())
        query = f"SELECT {told}, {counted} FROM {table} t LEFT JOIN {below} b ON b.{link} = t.id GROUP BY t.id"
        for row in rows(folder, query):
            half = len(counters)
            assert row[:half] == row[half:], f"{table}: {row[:half]} instead of {row[half:]}"
            assert all(row), f"an empty row in {table}"


_SUMS = {"instances": "sum(b.instances)", "bytes": "sum(b.bytes)"}
