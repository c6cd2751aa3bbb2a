"""A server that has the shipped files, and what a retrieval got of them, compared with what lies in its store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kit.rawpeer import association, contexts_for
from kit.server import HOST, RunningServer
from kit.shipped import DicomObject, decoded_header, part10, read_meta, shipped_objects
from kit.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A shipped object that is in the archive, with the unique keys under which it is found."""

    object: DicomObject
    patient: str
    study: str
    series: str

    @property
    def uid(self) -> str:
        return self.object.sop_instance

    def __repr__(self) -> str:
        return f"<{self.object.name}>"


@cache
def retrievable() -> tuple[Kept, ...]:
    """The first shipped object with each SOP Instance UID that belongs to a study, and needs no correction for that."""
    found: dict[str, Kept] = {}
    for one in shipped_objects():
        header = decoded_header(part10(one))
        study, series = str(header.get("StudyInstanceUID") or ""), str(header.get("SeriesInstanceUID") or "")
        if study and series and one.sop_instance not in found:
            patient = str(header.get("PatientID") or "")
            found[one.sop_instance] = Kept(object=one, patient=patient, study=study, series=series)
    return tuple(found.values())


def store_all(port: int, kept: Iterable[Kept]) -> None:
    """Have the server store them, each on a context for it alone."""
    for one in kept:
        sent = one.object
        with association(port, contexts_for((sent.sop_class, sent.transfer_syntax)), timeout_s=30) as peer:
            answer = peer.store(1, sent.sop_class, sent.sop_instance, sent.data_set)
            assert answer.status in (0x0000, 0xB007), f"{one}: {answer}"


def peer(number: int, ae_title: str, port: int, **more: object) -> Mapping[str, object]:
    """Settings that make a program on this machine one of the [[peers]]."""
    values = {"ae_title": ae_title, "address": HOST, "port": port, **more}
    return {f"peers.{number}.{name}": value for name, value in values.items()}


@contextmanager
def archive_with(
    folder: Path, kept: Iterable[Kept], settings: Mapping[str, object]
) -> Iterator[tuple[RunningServer, Store]]:
    """A running server that holds these objects."""
    with RunningServer(folder / "data", settings=settings) as server:
        store_all(server.port, kept)
        yield server, Store(server.data)
        assert "Traceback" not in server.log


def received(folder: Path) -> dict[str, DicomObject]:
    """The files in a folder, by SOP Instance UID."""
    found: dict[str, DicomObject] = {}
    for path in sorted(folder.iterdir()):
        file = path.read_bytes()
        meta = read_meta(file, trusted=True)
        uid = meta.uid(0x0003)
        found[uid] = DicomObject(
            name=path.name,
            sop_class=meta.uid(0x0002),
            sop_instance=uid,
            transfer_syntax=meta.uid(0x0010),
            data_set=file[meta.data_set_offset :],
            path=path,
        )
    return found


def assert_identical(got: Mapping[str, DicomObject], kept: Iterable[Kept]) -> None:
    """Exactly these objects came, each byte for byte."""
    expected = {one.uid: one.object for one in kept}
    assert got.keys() == expected.keys()
    for uid, one in expected.items():
        there = got[uid]
        assert there.transfer_syntax == one.transfer_syntax, f"{one.name} came as {there.transfer_syntax}"
        assert there.data_set == one.data_set, f"{one.name} was altered"
        assert there.sop_class == one.sop_class
