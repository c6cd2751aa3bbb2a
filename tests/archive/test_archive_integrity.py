"""``fsck``: files and index compared both ways, repaired, and the index made anew, while objects arrive."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kit.samples import Sample, assert_counters_exact, files, put, rows, settings_for, visible
from pacslite.archive.archive import Archive
from pacslite.archive.blobs.layout import open_layout
from pacslite.archive.integrity import Finding, Problem, Progress, check, rebuild, set_index_aside
from pacslite.archive.model import Outcome
from pacslite.archive.settings import StoreMode
from pacslite.errors import StoreInUseError
from pacslite.facts import ignore

ONE = Sample()
KEPT = (
    "SELECT sop_instance_uid, sop_class_uid, transfer_syntax_uid, i.size, data_set_offset, digest, path, calling_ae,"
    " called_ae, instance_number, rows, character_set, series_uid, modality, s.instances, s.bytes, study_uid,"
    " study_date, t.series, t.instances, t.bytes, patient_id, patient_name, patient_name_alphabetic, p.studies,"
    " p.series, p.instances, p.bytes FROM instances i LEFT JOIN series s ON s.id = i.series"
    " LEFT JOIN studies t ON t.id = s.study LEFT JOIN patients p ON p.id = t.patient ORDER BY 1"
)
"""Everything but keys, and what only the moment of arrival knew (the peer's address, the time to the microsecond)."""
KEPT_ASIDE = (
    "SELECT sop_instance_uid, digest, transfer_syntax_uid, path, size, calling_ae, reason FROM conflicts ORDER BY path"
)


async def found(archive: Archive, *, digest: bool = False, repair: bool = False) -> list[Finding]:
    return [item async for item in check(archive, digest=digest, repair=repair) if isinstance(item, Finding)]


async def rebuilt(archive: Archive) -> list[Finding]:
    return [item async for item in rebuild(archive) if isinstance(item, Finding)]


async def populate(archive: Archive) -> None:
    for study in range(2):
        for number in range(4):
            uid = f"1.2.{study}.{number}"
            await put(archive, ONE.but(instance=uid, study=f"1.2.{study}", series=f"1.2.{study}.9", number=number))
    await put(archive, ONE.but(sop_class="1.2.840.10008.5.1.4.38.1", study="", series="", instance="1.2.7"))
    await put(archive, ONE.but(instance="1.2.0.0", study="1.2.0", series="1.2.0.9", pixels=b"different"))
    await put(archive, ONE.but(instance="../x", study="y" * 99, series="z\\w", patient_id=""))


def tamper(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite", isolation_level=None, timeout=10)) as connection:
        connection.execute(statement)


async def test_a_sound_archive_has_nothing_to_report(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        items = [item async for item in check(archive, digest=True)]
        assert [item for item in items if isinstance(item, Finding)] == []
        assert any(isinstance(item, Progress) for item in items)


async def test_an_orphan_is_found_and_adopted(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        before = rows(quick_path, KEPT)
        tamper(quick_path, "DELETE FROM instances WHERE sop_instance_uid = '1.2.0.1'")
        (orphan, *counters) = await found(archive)
        assert (orphan.problem, orphan.sop_instance_uid, orphan.remedy) == (Problem.ORPHAN, "1.2.0.1", "")
        assert {finding.problem for finding in counters} == {Problem.MISCOUNTED}
        assert all(finding.remedy for finding in await found(archive, repair=True))
        assert await found(archive, digest=True) == []
        assert rows(quick_path, KEPT) == before
        assert_counters_exact(quick_path)


async def test_a_file_copied_in_by_hand_is_adopted_where_it_is(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        (path,) = visible(quick_path)
        (quick_path / "blobs/by hand").mkdir()
        (quick_path / path).rename(quick_path / "blobs/by hand/IM0001.dcm")
        problems = {finding.problem for finding in await found(archive, repair=True)}
        assert problems == {Problem.ORPHAN}
        assert await found(archive, digest=True) == []
        stored = await archive.read(ONE.instance)
        assert stored is not None
        assert stored.path.name == "IM0001.dcm"


async def test_a_lost_file_is_reported_and_only_then_forgotten(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        lost = await archive.read("1.2.1.2")
        assert lost is not None
        lost.path.unlink()
        (finding,) = await found(archive)
        assert (finding.problem, finding.sop_instance_uid) == (Problem.MISSING, "1.2.1.2")
        assert await archive.read("1.2.1.2") is not None
        (finding,) = await found(archive, repair=True)
        assert finding.remedy == "removed from the index"
        assert await archive.read("1.2.1.2") is None
        assert await found(archive) == []
        assert_counters_exact(quick_path)


async def test_an_altered_file_is_told_by_its_digest_and_left_alone(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        (path,) = files(quick_path, "blobs")
        raw = bytearray((quick_path / path).read_bytes())
        raw[-3] ^= 1
        (quick_path / path).write_bytes(raw)
        assert await found(archive) == [], "the size tells nothing"
        for repair in (False, True):
            (finding,) = await found(archive, digest=True, repair=repair)
            assert (finding.problem, finding.remedy) == (Problem.ALTERED, "")
        (quick_path / path).write_bytes(raw[:-2])
        (finding,) = await found(archive)
        assert (finding.problem, "bytes instead of" in finding.detail) == (Problem.ALTERED, True)
        assert (quick_path / path).read_bytes() == raw[:-2]


async def test_other_files_are_reported_and_moved_out_of_the_way_but_never_deleted(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        (path,) = files(quick_path, "blobs")
        folder = (quick_path / path).parent
        (folder / "1.2.3.3~2.dcm").write_bytes((quick_path / path).read_bytes())
        (folder / "1.2.3.3~3.dcm").write_bytes((quick_path / path).read_bytes().replace(b"\1\2", b"\3\4"))
        (folder / "9.9.dcm").write_bytes(b"")
        (folder / "Thumbs.db").write_bytes(b"!")
        expected = {Problem.DUPLICATE, Problem.CONTRADICTION, Problem.UNREADABLE, Problem.FOREIGN}
        assert {finding.problem for finding in await found(archive)} == expected
        await found(archive, repair=True)
        assert {finding.problem for finding in await found(archive, digest=True)} == {Problem.FOREIGN}
        assert len(files(quick_path, "quarantine")) == 2
        assert len(files(quick_path, "conflicts")) == 1
        assert (await archive.stats()).conflicts == 1


async def test_objects_kept_aside_are_compared_too(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        before = rows(quick_path, KEPT_ASIDE)
        tamper(quick_path, "DELETE FROM conflicts")
        assert [finding.problem for finding in await found(archive, repair=True)] == [Problem.ORPHAN]
        assert rows(quick_path, KEPT_ASIDE) == before
        (kept,) = files(quick_path, "conflicts")
        (quick_path / kept).unlink()
        assert [finding.problem for finding in await found(archive, repair=True)] == [Problem.MISSING]
        assert await found(archive) == []


SOP_CLASSES = "SELECT id, sop_classes FROM series ORDER BY id"
MISPLACED_SOP_CLASSES = """
    SELECT id FROM series
    WHERE NOT EXISTS (SELECT 1 FROM instances WHERE series = series.id AND sop_class_uid = sop_classes)
"""


async def test_wrong_counters_and_empty_rows_are_corrected(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        tamper(quick_path, "UPDATE series SET instances = 77")
        tamper(quick_path, "UPDATE studies SET bytes = bytes + 1, series = 0")
        tamper(quick_path, "UPDATE series SET sop_classes = '1.2.3' WHERE id = 1")
        tamper(quick_path, "INSERT INTO patients (patient_id) VALUES ('nobody')")
        classes = rows(quick_path, SOP_CLASSES)
        assert {finding.problem for finding in await found(archive)} == {Problem.MISCOUNTED}
        await found(archive, repair=True)
        assert_counters_exact(quick_path)
        assert rows(quick_path, SOP_CLASSES) != classes
        assert rows(quick_path, MISPLACED_SOP_CLASSES) == []
        await put(archive, ONE)
        assert_counters_exact(quick_path)


async def test_a_rebuilt_index_says_the_same(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        before, aside = rows(quick_path, KEPT), rows(quick_path, KEPT_ASIDE)
        for table in ("instances", "series", "studies", "patients", "conflicts"):
            tamper(quick_path, f"DELETE FROM {table}")
        assert await rebuilt(archive) == []
        assert rows(quick_path, KEPT) == before
        assert rows(quick_path, KEPT_ASIDE) == aside
        assert await found(archive, digest=True) == []
        tamper(quick_path, "INSERT INTO patient_names(patient_names) VALUES ('integrity-check')")
        (count,) = rows(quick_path, "SELECT count(*) FROM patient_names WHERE patient_names MATCH '\"doe\"'")[0]
        assert count == rows(quick_path, "SELECT count(*) FROM patients")[0][0]
        assert (await put(archive, ONE.but(instance="1.2.0.0", study="1.2.0", series="1.2.0.9", number=0))).outcome is (
            Outcome.IDENTICAL
        )
        await put(archive, ONE.but(instance="1.2.0.99", study="1.2.0", series="1.2.0.9"))
        assert_counters_exact(quick_path)
        assert not [name for name in os.listdir(quick_path) if "rebuild" in name]


async def test_a_rebuild_corrects_what_the_old_index_had_wrong(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        before = rows(quick_path, KEPT)
        tamper(quick_path, "UPDATE instances SET digest = x'00', size = 1")
        tamper(quick_path, "UPDATE patients SET patient_name = 'wrong', instances = 5")
        assert await rebuilt(archive) == []
        assert rows(quick_path, KEPT) == before


async def test_of_two_files_the_one_that_the_index_names_stays(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        (path,) = files(quick_path, "blobs")
        other = (quick_path / path).with_name("1.2.3.3~2.dcm")
        other.write_bytes((quick_path / path).read_bytes().replace(b"\1\2", b"\3\4"))
        (finding,) = await rebuilt(archive)
        assert finding.problem is Problem.CONTRADICTION
        stored = await archive.read(ONE.instance)
        assert stored is not None
        assert stored.path == quick_path / path


@pytest.mark.parametrize("work", ["check", "rebuild"])
async def test_objects_that_arrive_meanwhile_are_neither_reported_nor_lost(quick_path: Path, work: str) -> None:
    """The server and ``fsck`` are separate archives on one folder, as they are separate processes."""
    async with (
        Archive.open(settings_for(quick_path), observe=ignore) as server,
        Archive.open(settings_for(quick_path), observe=ignore) as tool,
    ):
        done = asyncio.Event()
        stored: list[Sample] = []

        async def send(sender: int) -> None:
            number = 0
            while number < 5 or (number < 80 and not done.is_set()):
                sample = ONE.but(
                    instance=f"1.2.{sender}.{number}", series=f"1.2.{sender}.{number // 7}.9", study=f"1.2.{sender}"
                )
                await put(server, sample)
                stored.append(sample)
                if number % 3 == 0:
                    await put(server, sample.but(pixels=b"different"))
                    async with server.ingest(sample.but(instance="1.2.99").origin) as given_up:
                        await given_up.write(bytes(2000))
                number += 1

        senders = [asyncio.create_task(send(sender)) for sender in range(4)]
        findings: list[Finding] = []
        for _ in range(2):
            findings += await rebuilt(tool) if work == "rebuild" else await found(tool, digest=True, repair=True)
        done.set()
        await asyncio.gather(*senders)
        assert findings == []
        assert (await server.stats()).instances == len(stored)
        for sample in stored:
            found_object = await server.read(sample.instance)
            assert found_object is not None
            assert found_object.path.read_bytes().endswith(sample.data_set())
        assert await found(tool, digest=True) == []
        assert_counters_exact(quick_path)


async def test_a_check_can_be_left_at_any_time(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        for report in (check(archive), rebuild(archive)):
            async for _ in report:
                break
            await report.aclose()
        assert await found(archive, digest=True) == []


async def test_an_index_that_cannot_be_opened_is_set_aside_and_made_anew(quick_path: Path) -> None:
    settings = settings_for(quick_path)
    async with Archive.open(settings, observe=ignore) as archive:
        await populate(archive)
        before, aside = rows(quick_path, KEPT), rows(quick_path, KEPT_ASIDE)
    (quick_path / "index.sqlite").write_bytes(b"SQLite format 3\0" + b"\xee" * 8000)
    with pytest.raises(StoreInUseError, match=r"fsck --rebuild"):
        async with Archive.open(settings, observe=ignore):
            pass
    with open_layout(quick_path, StoreMode.SERVER), pytest.raises(StoreInUseError, match="in use by another server"):
        set_index_aside(settings)
    assert set_index_aside(settings).path.endswith(".sqlite")
    async with Archive.open(settings, observe=ignore) as archive:
        assert await rebuilt(archive) == []
        assert rows(quick_path, KEPT) == before
        assert rows(quick_path, KEPT_ASIDE) == aside
