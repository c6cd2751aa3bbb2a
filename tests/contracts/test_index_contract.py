"""What every index does with objects. A second one (PostgreSQL) would be one more parameter and pass unchanged."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from kit.samples import Sample
from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.identity import identify
from pacslite.archive.index.entry import Entry, instance_values, upper_key
from pacslite.archive.index.sqlite import create
from pacslite.archive.index.writer import IndexWriter
from pacslite.dicom.header import HeaderReader
from pacslite.dicom.transfer_syntax import transfer_syntax

ONE = Sample()
LEVELS = "SELECT (SELECT count(*) FROM patients), (SELECT count(*) FROM studies), (SELECT count(*) FROM series)"
COUNTERS = "SELECT p.studies, p.series, p.instances, p.bytes, t.series, t.instances, t.bytes, s.instances, s.bytes"
JOINED = f"{COUNTERS} FROM patients p JOIN studies t ON t.patient = p.id JOIN series s ON s.study = t.id ORDER BY s.id"


def entry(sample: Sample, *, digest: bytes = b"1", size: int = 100, path: str = "") -> Entry:
    reader = HeaderReader(transfer_syntax(sample.transfer_syntax))
    reader.feed(sample.data_set())
    header = reader.finish()
    identity = identify(sample.origin, header)
    usual = blob_path(
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        sop_class_uid=sample.sop_class,
        sop_instance_uid=sample.instance,
    )
    return Entry(
        origin=sample.origin,
        header=header,
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        path=path or usual,
        usual_path=usual,
        size=size,
        data_set_offset=300,
        digest=digest,
        stored_at=1.5,
        upper=upper_key(header),
        attributes=instance_values(header),
    )


@pytest.fixture(params=["sqlite"])
def index(request: pytest.FixtureRequest) -> Iterator[IndexWriter]:
    assert request.param == "sqlite"
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        create(connection)
        yield IndexWriter(connection)


def ask(index: IndexWriter, query: str) -> list[tuple[object, ...]]:
    return index.connection.execute(query).fetchall()


def test_an_added_object_is_found_with_all_that_is_needed_to_read_it(index: IndexWriter) -> None:
    with index.transaction():
        assert index.add(entry(ONE)) is None
    found = index.find(ONE.instance)
    assert found is not None
    assert (found.digest, found.size, found.data_set_offset, found.file_size) == (b"1", 100, 300, 400)
    assert (found.study_uid, found.series_uid, found.stored_at) == (ONE.study, ONE.series, 1.5)
    assert found.path == entry(ONE).usual_path
    assert found.is_same_as(entry(ONE))
    assert not found.is_same_as(entry(ONE, digest=b"2"))
    assert not found.is_same_as(entry(ONE.but(transfer_syntax="1.2.840.10008.1.2")))
    assert index.find("1.2.3.99") is None


@pytest.mark.parametrize("second", [ONE, ONE.but(study="9.1", series="9.2"), ONE.but(series="9.2")])
def test_a_uid_is_given_once_and_a_second_object_leaves_no_trace(index: IndexWriter, second: Sample) -> None:
    with index.transaction():
        index.add(entry(ONE))
    before = ask(index, JOINED)
    for _ in range(2):  # with and without remembered keys
        with index.transaction():
            existing = index.add(entry(second, digest=b"2"))
        assert existing == index.find(ONE.instance)
        assert ask(index, JOINED) == before


def test_another_place_is_remembered_as_it_is(index: IndexWriter) -> None:
    with index.transaction():
        index.add(entry(ONE, path="blobs/by hand/x.dcm"))
    found = index.find(ONE.instance)
    assert found is not None
    assert found.path == "blobs/by hand/x.dcm"


def test_counters_are_exact_at_every_level(index: IndexWriter) -> None:
    with index.transaction():
        for number in range(6):
            sample = ONE.but(instance=f"1.{number}", series=f"2.{number // 2}", study=f"3.{number // 4}")
            index.add(entry(sample, size=10**number))
    assert ask(index, JOINED) == [
        (2, 3, 6, 111111, 2, 4, 1111, 2, 11),
        (2, 3, 6, 111111, 2, 4, 1111, 2, 1100),
        (2, 3, 6, 111111, 1, 2, 110000, 2, 110000),
    ]


def test_removing_the_last_takes_what_is_above_it(index: IndexWriter) -> None:
    with index.transaction():
        index.add(entry(ONE))
        index.add(entry(ONE.but(instance="1.9", series="1.8")))
        assert index.remove(ONE.instance)
        assert ask(index, LEVELS) == [(1, 1, 1)]
        index.add(entry(ONE.but(instance="1.7")))
        assert index.remove("1.9")
        assert index.remove("1.7")
        assert not index.remove("1.7")
    assert ask(index, LEVELS) == [(0, 0, 0)]


def test_a_transaction_that_fails_changes_nothing_and_is_forgotten(index: IndexWriter) -> None:
    with contextlib.suppress(ZeroDivisionError), index.transaction():
        index.add(entry(ONE))
        raise ZeroDivisionError
    assert ask(index, LEVELS) == [(0, 0, 0)]
    with index.transaction():
        index.add(entry(ONE.but(instance="1.9")))
    assert ask(index, JOINED) == [(1, 1, 1, 100, 1, 1, 100, 1, 100)]


def test_replacing_moves_the_object_to_where_it_belongs_now(index: IndexWriter) -> None:
    with index.transaction():
        index.add(entry(ONE))
        replaced = index.replace(entry(ONE.but(study="9.1", series="9.2", patient_id="P9"), digest=b"2"))
    assert replaced is not None
    assert replaced.digest == b"1"
    assert ask(index, "SELECT study_uid, patient_id FROM studies t JOIN patients p ON p.id = t.patient") == [
        ("9.1", "P9")
    ]
    with index.transaction():
        same = index.replace(entry(ONE, digest=b"2"))
    assert same is not None
    assert same.study_uid == "9.1", "the same bytes stay where they are"


def test_restoring_gives_a_lost_object_another_file(index: IndexWriter) -> None:
    with index.transaction():
        index.add(entry(ONE))
        assert index.restore(entry(ONE, path="blobs/2.dcm"), lambda _: True) is not None
        assert index.restore(entry(ONE, path="blobs/2.dcm", digest=b"2"), lambda _: False) is not None
        assert index.restore(entry(ONE, path="blobs/2.dcm"), lambda _: False) is None
    found = index.find(ONE.instance)
    assert found is not None
    assert found.path == "blobs/2.dcm"


def test_objects_kept_aside_are_recorded_once(index: IndexWriter) -> None:
    with index.transaction():
        assert index.keep_aside(entry(ONE, path="conflicts/a.dcm"), reason="different content")
        assert not index.keep_aside(entry(ONE, path="conflicts/a.dcm"), reason="different content")
        assert index.keep_aside(entry(ONE, digest=b"2", path="conflicts/b.dcm"), reason="different content")
    assert index.conflicts_of(ONE.instance) == ["conflicts/a.dcm", "conflicts/b.dcm"]
    assert [(uid, path) for _, uid, path in index.conflicts_after(0)] == [
        (ONE.instance, "conflicts/a.dcm"),
        (ONE.instance, "conflicts/b.dcm"),
    ]
    assert index.total_bytes() == 200
    index.remove_conflict(index.conflicts_after(0)[0][0])
    assert index.conflicts_of(ONE.instance) == ["conflicts/b.dcm"]


def test_what_has_no_patient_stands_alone(index: IndexWriter) -> None:
    protocol = ONE.but(sop_class="1.2.840.10008.5.1.4.38.1", study="", series="")
    with index.transaction():
        assert index.add(entry(protocol)) is None
        assert index.add(entry(protocol)) is not None
        assert index.total_bytes() == 100
        assert index.remove(protocol.instance)
    assert ask(index, LEVELS) == [(0, 0, 0)]
