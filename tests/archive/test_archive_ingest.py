"""Objects into the archive: what is stored, what is refused and in which words, and what is left of it (PS3.4 B)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from kit.encode import EXPLICIT_BIG, IMPLICIT_LITTLE, deflate
from kit.samples import Sample, assert_counters_exact, files, put, rows, settings_for, visible
from pacslite.archive.archive import Archive
from pacslite.archive.model import Outcome
from pacslite.dicom.part10 import read_file_meta
from pacslite.errors import CannotUnderstand, DataSetMismatch, OutOfResources
from pacslite.facts import Fact, InstanceStored, ignore

HANGING_PROTOCOL = "1.2.840.10008.5.1.4.38.1"


@pytest.fixture
async def archive(quick_path: Path) -> AsyncIterator[Archive]:
    async with Archive.open(settings_for(quick_path / "data"), observe=ignore) as opened:
        yield opened


async def test_an_object_is_stored_where_an_administrator_finds_it(archive: Archive) -> None:
    sample = Sample()
    stored = await put(archive, sample)
    assert (stored.outcome, stored.warning) == (Outcome.STORED, "")
    assert (stored.study_uid, stored.series_uid) == (sample.study, sample.series)
    assert stored.size == len(sample.data_set())
    assert stored.digest == blake3(sample.data_set()).hexdigest()
    found = await archive.read(sample.instance)
    assert found is not None
    bucket = blake3(sample.study.encode()).hexdigest(1)
    assert found.path == archive.layout.folder / "blobs" / bucket / "1.2.3.1" / "1.2.3.2" / "1.2.3.3.dcm"
    assert found.digest == stored.digest


async def test_the_file_is_the_data_set_behind_the_meta_information_of_the_command(archive: Archive) -> None:
    """ST-04: the transfer syntax is the context's; the data set's bytes are untouched."""
    sample = Sample()
    await put(archive, sample, piece=7)
    found = await archive.read(sample.instance)
    assert found is not None
    raw = found.path.read_bytes()
    meta = read_file_meta(raw)
    assert raw[found.data_set_offset :] == sample.data_set()
    assert meta.data_set_offset == found.data_set_offset
    assert meta.transfer_syntax_uid == sample.transfer_syntax
    assert (meta.source_ae, meta.receiving_ae) == ("CT1", "PACSLITE")


async def test_every_size_around_the_spool_and_the_pieces_is_stored_byte_for_byte(quick_path: Path) -> None:
    settings = settings_for(quick_path / "data", spool_bytes=4096, piece_bytes=8192)
    base = len(Sample(pixels=b"").data_set())
    async with Archive.open(settings, observe=ignore) as archive:
        for number, size in enumerate((4094, 4096, 4098, 8192, 12286, 12288, 12290, 50000)):
            sample = Sample(instance=f"1.2.3.3.{number}", pixels=os.urandom(size - base - 2))
            for piece in (size, 1000, 4097):
                await put(archive, sample, piece=piece)
            found = await archive.read(sample.instance)
            assert found is not None
            assert found.path.read_bytes()[found.data_set_offset :] == sample.data_set()


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("1.2.840.10008.1.2", lambda sample: sample.data_set(IMPLICIT_LITTLE)),
        ("1.2.840.10008.1.2.2", lambda sample: sample.data_set(EXPLICIT_BIG)),
        ("1.2.840.10008.1.2.1.99", lambda sample: deflate(sample.data_set())),
    ],
)
async def test_any_transfer_syntax_is_indexed(archive: Archive, syntax: str, encode: object) -> None:
    sample = Sample(transfer_syntax=syntax, more=((0x00280010, "US", b"\2\1" if syntax.endswith(".2.2") else b"\1\2"),))
    assert callable(encode)
    async with archive.ingest(sample.origin) as ingest:
        await ingest.write(encode(sample))
        stored = await ingest.commit()
    assert stored.study_uid == sample.study
    assert rows(archive.layout.folder, "SELECT instance_number, rows FROM instances") == [(1, 513)]


@pytest.mark.parametrize(
    ("sample", "offending", "words"),
    [
        (Sample(said_instance="1.2.3.4"), (0x00080018,), "SOP Instance UID differs"),
        (Sample(said_class="1.2.840.10008.5.1.4.1.1.4"), (0x00080016,), "SOP Class UID differs"),
        (Sample(said_class="1.2", said_instance="1.3"), (0x00080016, 0x00080018), "SOP Class UID and SOP Instance UID"),
    ],
)
async def test_a_data_set_that_contradicts_its_command_is_refused(
    archive: Archive, sample: Sample, offending: tuple[int, ...], words: str
) -> None:
    """ST-03."""
    with pytest.raises(DataSetMismatch, match=words) as caught:
        await put(archive, sample)
    assert caught.value.offending == offending
    assert visible(archive.layout.folder) == []


async def test_a_contradiction_in_a_large_object_is_told_while_it_arrives(quick_path: Path) -> None:
    sample = Sample(said_instance="1.9", pixels=bytes(100_000))
    async with Archive.open(settings_for(quick_path, spool_bytes=4096, piece_bytes=4096), observe=ignore) as archive:
        written = 0

        async def send() -> None:
            nonlocal written
            async with archive.ingest(sample.origin) as ingest:
                for at in range(0, 100_000, 4096):
                    await ingest.write(sample.data_set()[at : at + 4096])
                    written += 4096

        with pytest.raises(DataSetMismatch):
            await send()
        assert written < 50_000
        assert visible(quick_path) == []


async def test_without_sop_uids_in_the_data_set_those_of_the_command_count(archive: Archive) -> None:
    """ST-01: stored with warning B007."""
    stored = await put(archive, Sample(instance="", sop_class="", said_instance="1.2.9", said_class=Sample().sop_class))
    assert stored.outcome is Outcome.STORED
    assert stored.warning == "SOP Class UID and SOP Instance UID missing in the data set"
    assert await archive.read("1.2.9") is not None


@pytest.mark.parametrize(
    ("sample", "offending"),
    [
        (Sample(study=""), (0x0020000D,)),
        (Sample(series=""), (0x0020000E,)),
        (Sample(study="", series=""), (0x0020000D, 0x0020000E)),
    ],
)
async def test_without_study_or_series_an_object_is_not_understood(
    archive: Archive, sample: Sample, offending: tuple[int, ...]
) -> None:
    with pytest.raises(CannotUnderstand, match="missing") as caught:
        await put(archive, sample)
    assert caught.value.offending == offending
    assert visible(archive.layout.folder) == []


async def test_garbage_is_refused_with_the_reason(archive: Archive) -> None:
    async with archive.ingest(Sample().origin) as ingest:
        await ingest.write(b"\xff" * 3000)
        with pytest.raises(CannotUnderstand):
            await ingest.commit()
    async with archive.ingest(Sample().origin) as ingest:
        with pytest.raises(CannotUnderstand):
            await ingest.commit()
    assert visible(archive.layout.folder) == []


async def test_what_is_broken_behind_the_uids_is_stored(archive: Archive) -> None:
    """ST-02: every attribute is kept, also what nobody understands."""
    sample = Sample()
    data = sample.data_set()[:-100] + b"\x99\x00\x01\x00ZZ\xff\xff" + b"\xff" * 50
    async with archive.ingest(sample.origin) as ingest:
        await ingest.write(data)
        stored = await ingest.commit()
    assert stored.size == len(data)


async def test_what_has_no_patient_is_stored_and_counted(archive: Archive) -> None:
    sample = Sample(sop_class=HANGING_PROTOCOL, study="", series="")
    assert (await put(archive, sample)).outcome is Outcome.STORED
    assert (await put(archive, sample)).outcome is Outcome.IDENTICAL
    (path,) = files(archive.layout.folder, "blobs")
    assert path.startswith("blobs/non-patient/")
    assert path.endswith(f"/{HANGING_PROTOCOL}/1.2.3.3.dcm")
    stats = await archive.stats()
    assert (stats.patients, stats.studies, stats.instances, stats.bytes) == (0, 0, 1, len(sample.data_set()))


async def test_uids_from_hell_stay_below_the_data_folder(archive: Archive) -> None:
    uids = ("..", "../../../../etc/passwd", "/", "a/b", "x" * 200, "1.2\0.3", ".", "1.2.ü", "CON", "1..2", "~", "-rf")
    for number, uid in enumerate(uids):
        sample = Sample(study=uid, series=uid, instance=uid, patient_id=str(number))
        assert (await put(archive, sample.but(more=()))).outcome is Outcome.STORED
    assert len(files(archive.layout.folder, "blobs")) == len(uids)
    assert all(path.is_relative_to(archive.layout.folder) for path in archive.layout.folder.parent.rglob("*.dcm"))
    listed = [instance.sop_instance_uid async for instance in archive.list.instances()]
    for uid in listed:
        found = await archive.read(uid)
        assert found is not None
        assert found.path.exists()


@pytest.mark.parametrize("size", [100, 10_000])
async def test_leaving_without_commit_leaves_nothing(quick_path: Path, size: int) -> None:
    """UL-26: a half-received C-STORE leaves no file and no index row."""
    async with Archive.open(settings_for(quick_path, spool_bytes=4096, piece_bytes=4096), observe=ignore) as archive:
        async with archive.ingest(Sample().origin) as ingest:
            await ingest.write(Sample(pixels=bytes(size)).data_set())
        with contextlib.suppress(ConnectionError):
            async with archive.ingest(Sample().origin) as ingest:
                await ingest.write(Sample(pixels=bytes(size)).data_set())
                raise ConnectionError
        assert visible(quick_path) == []
        assert (await archive.stats()).instances == 0


async def test_a_commit_that_nobody_waits_for_is_carried_to_its_end(archive: Archive) -> None:
    tasks = [asyncio.create_task(put(archive, Sample(instance=f"1.2.3.{n}", number=n))) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for n in range(20):  # whatever became of them: afterwards each is whole or not there
        await put(archive, Sample(instance=f"1.2.3.{n}", number=n))
    assert len(files(archive.layout.folder, "blobs")) == 20
    assert_counters_exact(archive.layout.folder)


async def test_objects_at_once_all_arrive_and_are_counted(archive: Archive) -> None:
    samples = [
        Sample(instance=f"1.2.{study}.{series}.{n}", series=f"1.2.{study}.{series}", study=f"1.2.{study}", number=n)
        for study in range(3)
        for series in range(3)
        for n in range(10)
    ]
    stored = await asyncio.gather(*(put(archive, sample) for sample in samples))
    assert {one.outcome for one in stored} == {Outcome.STORED}
    stats = await archive.stats()
    assert (stats.patients, stats.studies, stats.series, stats.instances) == (1, 3, 9, 90)
    assert stats.bytes == sum(one.size for one in stored)
    assert_counters_exact(archive.layout.folder)


async def test_it_is_told_what_was_stored(quick_path: Path) -> None:
    facts: list[Fact] = []
    async with Archive.open(settings_for(quick_path), observe=facts.append) as archive:
        await put(archive, Sample())
        await put(archive, Sample())
    told = [fact for fact in facts if isinstance(fact, InstanceStored)]
    assert [fact.outcome for fact in told] == ["stored", "identical"]
    assert all(fact.seconds > 0 and fact.size == len(Sample().data_set()) for fact in told)


async def test_nothing_is_left_in_flight_once_the_archive_is_closed(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        for n in range(30):
            await put(archive, Sample(instance=f"1.2.3.{n}"))
    assert list((quick_path / "incoming").iterdir()) == []


async def test_an_object_larger_than_the_limit_is_refused_before_it_is_complete(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path, max_object_bytes=5000), observe=ignore) as archive:
        with pytest.raises(OutOfResources, match="larger than the limit"):
            await put(archive, Sample(pixels=bytes(6000)), piece=1000)
        await put(archive, Sample(pixels=bytes(1000)))
        assert len(visible(quick_path)) == 1
