"""What a data folder holds, judged from outside: files read as files, the index read as a plain SQLite database.

To be used while a server runs on the folder: the last connection to a database in WAL mode tidies it up when it closes,
and it must be the server that finds it as the crash left it.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from kit.storm import StormObject
from kit.wait import eventually

_ROWS = """
SELECT sop_instance_uid, coalesce(study_uid, ''), coalesce(series_uid, ''), i.size, data_set_offset, digest
FROM instances i LEFT JOIN series s ON s.id = i.series LEFT JOIN studies t ON t.id = s.study
"""

_COUNTERS = """
SELECT 'series ' || series_uid, instances, bytes,
       (SELECT count(*) FROM instances i WHERE i.series = s.id),
       (SELECT coalesce(sum(size), 0) FROM instances i WHERE i.series = s.id) FROM series s
UNION ALL
SELECT 'study ' || study_uid, instances, bytes,
       (SELECT sum(instances) FROM series s WHERE s.study = t.id),
       (SELECT sum(bytes) FROM series s WHERE s.study = t.id) FROM studies t
UNION ALL
SELECT 'study ' || study_uid, series, 0, (SELECT count(*) FROM series s WHERE s.study = t.id), 0 FROM studies t
UNION ALL
SELECT 'patient ' || patient_id, instances, bytes,
       (SELECT sum(instances) FROM studies t WHERE t.patient = p.id),
       (SELECT sum(bytes) FROM studies t WHERE t.patient = p.id) FROM patients p
UNION ALL
SELECT 'patient ' || patient_id, studies, series,
       (SELECT count(*) FROM studies t WHERE t.patient = p.id),
       (SELECT sum(series) FROM studies t WHERE t.patient = p.id) FROM patients p
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What the index says about one object."""

    sop_instance: str
    study: str
    series: str
    size: int
    data_set_offset: int
    digest: bytes


class Holdings:
    """A data folder's content at one moment, when what was in flight has been tidied up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # An object is acknowledged when it is safe; its name under incoming/ goes a little later.
        eventually(lambda: not in_flight(folder), "nothing in flight")
        with self._index() as index:
            self.instances = {row[0]: Row(*row) for row in index.execute(_ROWS)}
            self.conflicts = {
                (row[0], row[5]): Row(*row)
                for row in index.execute(
                    "SELECT sop_instance_uid, study_uid, series_uid, size, data_set_offset, digest FROM conflicts"
                )
            }
            self.wrong_counters = [row for row in index.execute(_COUNTERS) if row[1:3] != row[3:5]]
            self.integrity = [row[0] for row in index.execute("PRAGMA integrity_check")]
            self.dangling = list(index.execute("PRAGMA foreign_key_check"))
        self.blobs = {path.name.removesuffix(".dcm").split("~")[0]: path for path in self._files("blobs")}
        self.aside = {path.parent.name: path for path in self._files("conflicts")}

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / "index.sqlite", timeout=30)) as connection:
            yield connection

    def _files(self, part: str) -> list[Path]:
        return files_in(self.folder / part)

    def assert_sound(self) -> None:
        """Index and files agree, one for one; every counter is exact; nothing half is left anywhere."""
        assert self.integrity == ["ok"]
        assert self.dangling == []
        assert self.wrong_counters == []
        assert self.blobs.keys() == self.instances.keys(), "files and index rows differ"
        assert len(self._files("blobs")) == len(self.instances)
        assert len(self._files("conflicts")) == len(self.conflicts)
        for uid, row in self.instances.items():
            assert self.blobs[uid].stat().st_size == row.data_set_offset + row.size, f"{uid} is cut short"
        assert in_flight(self.folder) == []
        assert self._files("quarantine") == []

    def assert_holds(self, acknowledged: Iterable[StormObject]) -> None:
        """Each object is there byte for byte, and indexed where it belongs; or kept aside, if its UID was taken."""
        for obj in acknowledged:
            data_set = obj.data_set()
            digest = blake3(data_set).digest()
            row = self.instances.get(obj.sop_instance)
            assert row is not None, f"{obj.sop_instance} was acknowledged and is not indexed"
            if row.digest == digest:
                path = self.blobs[obj.sop_instance]
            else:
                assert (obj.sop_instance, digest) in self.conflicts, f"{obj} was acknowledged and is nowhere"
                (path,) = self.folder.glob(f"conflicts/*/{digest.hex()}-*.dcm")
                row = self.conflicts[obj.sop_instance, digest]
            assert data_set_of(path) == data_set, f"{path} was altered"
            assert (row.study, row.series, row.size) == (obj.study, obj.series, len(data_set))


def files_in(folder: Path) -> list[Path]:
    """All files below ``folder``, which others may be changing."""
    return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]


def in_flight(folder: Path) -> list[Path]:
    """Files of objects being received; while nothing is sent there are none."""
    return [path for path in files_in(folder / "incoming") if path.suffix != ".lock"]


def data_set_of(path: Path) -> bytes:
    """The data set of a Part 10 file: what follows the File Meta Information, as its group length says."""
    raw = path.read_bytes()
    tag, vr, length, group_length = struct.unpack_from("<I2sHI", raw, 132)
    assert (raw[128:132], tag, vr, length) == (b"DICM", 0x00000002, b"UL", 4), f"{path} is no Part 10 file"
    return raw[144 + group_length :]
