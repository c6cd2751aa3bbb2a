"""Prepares what is asked: one synthetic archive in each server's own form, without pixels, made once and kept.

An archive lies below `archives/` of the work folder under a name that tells what it was made of, so that all rounds and
later sessions share it; one that was left half made is made anew. pacslite and Orthanc get rows in their indexes and no
files; dcmqrscp gets files without pixels, which its own dcmqridx enters.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.entries import Elements, encoded, entry, header, sibling
from bench.peers import Peer, StartError, running
from bench.population import FORMAT, Series, Study, population
from bench.senders import RawSender
from pacslite.archive.blobs.layout import open_layout
from pacslite.archive.index.sqlite import connect, create
from pacslite.archive.index.statements import CREATE_SCHEMA
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.settings import StoreMode
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN

ARCHIVES: Final = "archives"
MOST_IMAGES_OF_DCMQRSCP: Final = 10_000
"""That many in at most 500 studies is what DCMTK is compiled for (MAX_NUMBER_OF_IMAGES, MAX_MAX_STUDIES)."""
_TRANSACTION: Final = 5000
_IMAGES_A_COMMAND: Final = 250
_COMPLETE: Final = "complete"


def prepared(peer: Peer, instances: int, folder: Path, sender: RawSender) -> Path:
    """The data folder of an archive with so many instances, for this peer."""
    fill = _FILLERS.get(peer.name)
    if fill is None:
        raise StartError("has no index to ask")
    if peer.name == "dcmqrscp" and instances > MOST_IMAGES_OF_DCMQRSCP:
        raise StartError("holds at most 500 studies and 10,000 images")
    kept = folder / ARCHIVES / f"{peer.name}-{instances}-{_content(peer)}"
    data = kept / "peer"
    if not (kept / _COMPLETE).exists():
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        fill(peer, population(instances), data, sender)
        (kept / _COMPLETE).touch()
    return data


def _content(peer: Peer) -> str:
    """Changes when another version of the peer or of this code would make something else."""
    schema = "".join(map(str, CREATE_SCHEMA)) if peer.name == "pacslite" else ""
    return hashlib.sha256(f"{FORMAT} {peer.describe_version()} {schema}".encode()).hexdigest()[:12]


# ---- pacslite ----


def fill_pacslite(peer: Peer, studies: Sequence[Study], data: Path, sender: RawSender) -> None:
    with (
        open_layout(data / "data", StoreMode.SERVER) as layout,
        closing(connect(layout.index, busy_timeout_s=1)) as connection,
    ):
        connection.execute("PRAGMA synchronous=OFF")
        create(connection)
        writer = IndexWriter(connection)
        series = ((study, one) for study in studies for one in study.series)
        while portion := list(itertools.islice(series, _TRANSACTION // 20)):
            with writer.transaction():
                for study, one in portion:
                    _add_series(writer, study, one)
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _add_series(writer: IndexWriter, study: Study, series: Series) -> None:
    first = entry(
        header(elements(study, series)),
        study_uid=study.uid,
        series_uid=series.uid,
        sop_class_uid=series.sop_class,
        sop_instance_uid=series.instance_uid(1),
    )
    writer.add(first)
    for number in range(2, series.images + 1):
        writer.add(sibling(first, sop_instance_uid=series.instance_uid(number), instance_number=number))


def elements(study: Study, series: Series) -> Elements:
    """What the objects of a series have in common, and the first one's number."""
    patient = study.patient
    texts = (
        (0x00080020, b"DA", study.date),
        (0x00080021, b"DA", series.date),
        (0x00080030, b"TM", study.time),
        (0x00080031, b"TM", series.time),
        (0x00080050, b"SH", study.accession_number),
        (0x00080060, b"CS", series.modality),
        (0x00080070, b"LO", "SYNTHETIC MEDICAL"),
        (0x00080080, b"LO", "Benchmark General Hospital"),
        (0x00080090, b"PN", study.referring_physician),
        (0x00081010, b"SH", f"{series.modality}1"),
        (0x00081030, b"LO", study.description),
        (0x0008103E, b"LO", series.description),
        (0x00100010, b"PN", patient.name),
        (0x00100020, b"LO", patient.patient_id),
        (0x00100030, b"DA", patient.birth_date),
        (0x00100040, b"CS", patient.sex),
        (0x00180015, b"CS", series.body_part),
        (0x0020000D, b"UI", study.uid),
        (0x0020000E, b"UI", series.uid),
        (0x00200010, b"SH", study.study_id),
        (0x00200011, b"IS", str(series.number)),
        (0x00200013, b"IS", "1"),
    )
    return tuple((tag, vr, text.encode()) for tag, vr, text in texts)


# ---- Orthanc ----


def fill_orthanc(peer: Peer, studies: Sequence[Study], data: Path, sender: RawSender) -> None:
    """Rows of schema version 6, which Orthanc itself makes; those that queries never read are left out."""
    with running(peer, data.with_name("making"), answers=sender.echo, data=data):
        pass
    with closing(sqlite3.connect(data / "index", isolation_level=None)) as connection:
        version = connection.execute("SELECT value FROM GlobalProperties WHERE property = 1").fetchone()
        if version != ("6",):
            raise StartError(f"its index has schema version {version}, only 6 can be filled")
        connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-262144")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''"
        ).fetchall()
        connection.execute("BEGIN")
        for name, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"')
        insert_resources(connection, studies)
        for _, sql in indexes:
            connection.execute(sql)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")


class _Resources:
    """Rows for Orthanc's tables, numbered as they come."""

    def __init__(self) -> None:
        self.resources: list[tuple[int, int, str, int | None]] = []
        self.tags: list[tuple[int, int, int, str]] = []
        self.identifiers: list[tuple[int, int, int, str]] = []
        self.metadata: list[tuple[int, int, str]] = []
        self._made = 0

    def add(
        self, level: int, parent: int | None, ids: tuple[str, ...], tags: dict[int, str], keys: dict[int, str]
    ) -> int:
        """`keys` are also identifiers, which are kept in upper case."""
        self._made += 1
        self.resources.append((self._made, level, _public_id(ids), parent))
        self.tags += [(self._made, tag >> 16, tag & 0xFFFF, value) for tag, value in tags.items()]
        self.identifiers += [(self._made, tag >> 16, tag & 0xFFFF, value.upper()) for tag, value in keys.items()]
        return self._made

    def write(self, connection: sqlite3.Connection) -> None:
        for table, rows in (
            ("Resources", self.resources), ("MainDicomTags", self.tags), ("DicomIdentifiers", self.identifiers),
            ("Metadata", self.metadata),
        ):  # fmt: skip
            marks = ", ".join("?" * len(rows[0])) if rows else ""
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            rows.clear()


def _public_id(ids: tuple[str, ...]) -> str:
    digest = hashlib.sha1("|".join(ids).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def insert_resources(connection: sqlite3.Connection, studies: Sequence[Study]) -> None:
    rows = _Resources()
    for patient, its_studies in itertools.groupby(studies, key=lambda study: study.patient):
        keys = {0x00100010: patient.name, 0x00100020: patient.patient_id, 0x00100030: patient.birth_date}
        whole = {**keys, 0x00100040: patient.sex}
        at_patient = rows.add(1, None, (patient.patient_id,), whole, keys)
        for study in its_studies:
            _insert_study(rows, at_patient, whole, keys, study)
        if len(rows.resources) > _TRANSACTION:
            rows.write(connection)
    rows.write(connection)


def _insert_study(
    rows: _Resources, at_patient: int, of_patient: dict[int, str], keys: dict[int, str], study: Study
) -> None:
    own_keys = {
        0x0020000D: study.uid,
        0x00080050: study.accession_number,
        0x00081030: study.description,
        0x00080020: study.date,
    }
    tags = {
        **of_patient, **own_keys, 0x00080030: study.time, 0x00080080: "Benchmark General Hospital",
        0x00080090: study.referring_physician, 0x00200010: study.study_id,
    }  # fmt: skip
    ids = (study.patient.patient_id, study.uid)
    at_study = rows.add(2, at_patient, ids, tags, {**keys, **own_keys})
    for series in study.series:
        tags = {
            0x00080021: series.date, 0x00080031: series.time, 0x00080060: series.modality,
            0x00080070: "SYNTHETIC MEDICAL", 0x00081010: f"{series.modality}1", 0x0008103E: series.description,
            0x00180015: series.body_part,
            0x0020000E: series.uid, 0x00200011: str(series.number),
        }  # fmt: skip
        at_series = rows.add(3, at_study, (*ids, series.uid), tags, {0x0020000E: series.uid})
        for number in range(1, series.images + 1):
            uid = series.instance_uid(number)
            tags = {0x00080018: uid, 0x00200013: str(number)}
            at_instance = rows.add(4, at_series, (*ids, series.uid, uid), tags, {0x00080018: uid})
            rows.metadata.append((at_instance, 1, str(number)))
            rows.metadata.append((at_instance, 10, series.sop_class))


# ---- dcmqrscp ----


def fill_dcmqrscp(peer: Peer, studies: Sequence[Study], data: Path, sender: RawSender) -> None:
    """dcmqridx looks at all that it has entered before, image by image: a few studies each time, then all together."""
    program = shutil.which("dcmqridx")
    if program is None:
        raise StartError("dcmqridx is not installed")
    data.mkdir(parents=True)
    indexes, names = [], itertools.count()
    for part, portion in enumerate(_portions(studies)):
        area = data.with_name(f"area-{part}")
        area.mkdir()
        files = [path for study in portion for path in _write_files(data, study, names)]
        done = subprocess.run(
            [program, "-q", str(area), *files], capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            raise StartError(f"dcmqridx: {done.stderr.strip()[-400:]}")
        indexes.append((area / "index.dat").read_bytes())
        shutil.rmtree(area)
    (data / "index.dat").write_bytes(merged(indexes))


def _portions(studies: Sequence[Study]) -> Iterator[list[Study]]:
    portion: list[Study] = []
    for study in studies:
        portion.append(study)
        if sum(one.images for one in portion) > _IMAGES_A_COMMAND:
            yield portion
            portion = []
    yield portion


# DCMTK's index: a mark, 500 places for studies, then the images. A place is empty if its UID is.
_INDEX_MARK: Final = b"QRDB05"
_STUDIES_OF_DCMQRSCP: Final = 500
_STUDY_BYTES: Final = 88


def merged(indexes: Sequence[bytes]) -> bytes:
    """One index with the studies and images of several that have no study in common."""
    head = len(_INDEX_MARK) + _STUDIES_OF_DCMQRSCP * _STUDY_BYTES
    if any(not index.startswith(_INDEX_MARK) or len(index) < head for index in indexes):
        raise StartError(f"its index is not of the version {_INDEX_MARK.decode()}")
    places = [
        index[start : start + _STUDY_BYTES]
        for index in indexes
        for start in range(len(_INDEX_MARK), head, _STUDY_BYTES)
        if index[start]
    ]
    if len(places) > _STUDIES_OF_DCMQRSCP:
        raise StartError(f"holds at most {_STUDIES_OF_DCMQRSCP} studies")
    images = b"".join(index[head:] for index in indexes)
    return _INDEX_MARK + b"".join(places).ljust(head - len(_INDEX_MARK), b"\0") + images


def _write_files(folder: Path, study: Study, names: Iterator[int]) -> Iterator[str]:
    for series in study.series:
        common = elements(study, series)
        for number in range(1, series.images + 1):
            path = folder / f"{next(names):07d}.dcm"
            path.write_bytes(_part10(common, series.sop_class, series.instance_uid(number), number))
            yield str(path)


def _part10(common: Elements, sop_class: str, sop_instance: str, number: int) -> bytes:
    own: Elements = (
        (0x00080016, b"UI", sop_class.encode()),
        (0x00080018, b"UI", sop_instance.encode()),
        (0x00200013, b"IS", str(number).encode()),
    )
    meta: Elements = (
        (0x00020002, b"UI", sop_class.encode()),
        (0x00020003, b"UI", sop_instance.encode()),
        (0x00020010, b"UI", EXPLICIT_VR_LITTLE_ENDIAN.encode()),
        (0x00020012, b"UI", b"2.25.141717171717171717"),
    )
    version = struct.pack("<HH2sHI2s", 0x0002, 0x0001, b"OB", 0, 2, b"\0\1")
    rest = version + encoded(meta)
    length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(rest))
    theirs = {tag for tag, _, _ in own}
    whole = sorted((*own, *(each for each in common if each[0] not in theirs)))
    return bytes(128) + b"DICM" + length + rest + encoded(tuple(whole))


_FILLERS: Final[dict[str, Callable[[Peer, Sequence[Study], Path, RawSender], None]]] = {
    "pacslite": fill_pacslite,
    "orthanc": fill_orthanc,
    "dcmqrscp": fill_dcmqrscp,
}
