"""The same SOP Instance UID again: identical, different, elsewhere, at once, from another process (DESIGN 5)."""

from __future__ import annotations

import asyncio
import errno
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from kit.disks import Call, WatchedDisk
from kit.samples import Sample, assert_counters_exact, files, put, rows, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.integrity import Finding, check
from pacslite.archive.model import Outcome
from pacslite.archive.settings import DuplicatePolicy
from pacslite.facts import ignore

ONE = Sample()
OTHER = ONE.but(pixels=b"other bytes!")
ELSEWHERE = ONE.but(study="1.2.9", series="1.2.9.1", patient_id="P9")


async def findings(archive: Archive) -> list[Finding]:
    return [item async for item in check(archive, digest=True) if isinstance(item, Finding)]


async def content(archive: Archive, sample: Sample) -> bytes:
    found = await archive.read(sample.instance)
    assert found is not None
    return found.path.read_bytes()[found.data_set_offset :]


async def test_identical_bytes_change_nothing(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        before = rows(quick_path, "SELECT * FROM instances")
        assert (await put(archive, ONE)).outcome is Outcome.IDENTICAL
        assert rows(quick_path, "SELECT * FROM instances") == before
        assert len(files(quick_path, "blobs", "conflicts")) == 1


@pytest.mark.parametrize("second", [OTHER, ELSEWHERE], ids=["same place", "other study"])
async def test_by_default_the_first_stays_and_the_other_is_kept_aside(quick_path: Path, second: Sample) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        for _ in range(2):  # the same conflict again is the same conflict
            stored = await put(archive, second)
            assert stored.outcome is Outcome.KEPT_ASIDE
        assert await content(archive, ONE) == ONE.data_set()
        (kept,) = [conflict async for conflict in archive.list.conflicts()]
        assert kept.path.read_bytes().endswith(second.data_set())
        assert (kept.sop_instance_uid, kept.digest, kept.source_ae) == (ONE.instance, stored.digest, "CT1")
        assert len(files(quick_path, "blobs")) == 1
        stats = await archive.stats()
        assert (stats.instances, stats.studies, stats.conflicts) == (1, 1, 1)
        assert stats.conflict_bytes == len(second.data_set())
        assert await findings(archive) == []


async def test_the_same_bytes_in_another_transfer_syntax_are_another_object(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        relabelled = ONE.but(transfer_syntax="1.2.840.10008.1.2.4.50")
        assert (await put(archive, relabelled)).outcome is Outcome.KEPT_ASIDE
        assert (
            await put(archive, relabelled.but(transfer_syntax="1.2.840.10008.1.2.4.70"))
        ).outcome is Outcome.KEPT_ASIDE
        assert len(files(quick_path, "conflicts")) == 2
        assert await findings(archive) == []


@pytest.mark.parametrize("second", [OTHER, ELSEWHERE], ids=["same place", "other study"])
async def test_by_policy_the_other_takes_the_place(quick_path: Path, second: Sample) -> None:
    settings = settings_for(quick_path, duplicates=DuplicatePolicy.REPLACE)
    async with Archive.open(settings, observe=ignore) as archive:
        for first, again in ((ONE, second), (second, ONE), (ONE, second)):
            await put(archive, first)
            assert (await put(archive, again)).outcome is Outcome.REPLACED
            assert await content(archive, again) == again.data_set()
            assert len(files(quick_path, "blobs")) == 1
            assert files(quick_path, "conflicts") == []
            assert_counters_exact(quick_path)
            assert await findings(archive) == []
        assert (await put(archive, second)).outcome is Outcome.IDENTICAL
        assert [study.study_uid async for study in archive.list.studies()] == [second.study]


async def test_an_identical_object_heals_one_whose_file_is_lost(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        (path,) = files(quick_path, "blobs")
        (quick_path / path).unlink()
        assert (await put(archive, ONE)).outcome is Outcome.IDENTICAL
        assert await content(archive, ONE) == ONE.data_set()
        (quick_path / path).write_bytes(b"cut")
        assert (await put(archive, ONE)).outcome is Outcome.IDENTICAL
        assert await content(archive, ONE) == ONE.data_set()
        assert len(files(quick_path, "quarantine")) == 1, "what was there is not thrown away"
        assert await findings(archive) == []


async def test_a_stranger_in_the_place_is_not_overwritten_and_blocks_nobody(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        (path,) = files(quick_path, "blobs")
        second = path.replace("1.2.3.3.dcm", "1.2.3.4.dcm")
        (quick_path / second).write_bytes(b"what a crash long ago left here")
        again = ONE.but(instance="1.2.3.4")
        assert (await put(archive, again)).outcome is Outcome.STORED
        assert await content(archive, again) == again.data_set()
        assert (quick_path / second).read_bytes() == b"what a crash long ago left here"
        assert (await put(archive, again)).outcome is Outcome.IDENTICAL


@pytest.mark.parametrize("policy", DuplicatePolicy)
async def test_many_at_once_agree_on_one(quick_path: Path, policy: DuplicatePolicy) -> None:
    async with Archive.open(settings_for(quick_path, duplicates=policy), observe=ignore) as archive:
        samples = [ONE, OTHER, ELSEWHERE] * 8
        outcomes = [stored.outcome for stored in await asyncio.gather(*(put(archive, sample) for sample in samples))]
        assert outcomes.count(Outcome.STORED) == 1
        if policy is DuplicatePolicy.KEEP:
            assert outcomes.count(Outcome.IDENTICAL) == 7
            assert len(files(quick_path, "conflicts")) == 2
        assert len(files(quick_path, "blobs")) == 1
        assert_counters_exact(quick_path)
        assert await findings(archive) == []


async def test_several_processes_agree_on_one(quick_path: Path) -> None:
    """Each archive here has its own threads, connections and locks, as processes have."""
    async with AsyncExitStack() as stack:
        archives = [
            await stack.enter_async_context(Archive.open(settings_for(quick_path), observe=ignore)) for _ in range(3)
        ]
        for number in range(10):
            one = ONE.but(instance=f"1.2.3.{number}")
            other = OTHER.but(instance=f"1.2.3.{number}")
            results = await asyncio.gather(*(put(archive, sample) for archive in archives for sample in (one, other)))
            outcomes = sorted(stored.outcome for stored in results)
            assert outcomes.count(Outcome.STORED) == 1
            assert outcomes.count(Outcome.KEPT_ASIDE) == 3
        assert len(files(quick_path, "blobs")) == 10
        assert_counters_exact(quick_path)
        assert await findings(archives[0]) == []


async def test_a_contradiction_to_the_study_is_stored_and_recorded(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE.but(more=((0x00081030, "LO", "Thorax"),)))
        await put(archive, ONE.but(instance="1.2.3.4", patient_id="P2", patient_name="Roe^Richard"))
        await put(archive, ONE.but(instance="1.2.3.5", more=((0x00081030, "LO", "Abdomen"),)))
        await put(archive, ONE.but(instance="1.2.3.6"))
        told = {instance.sop_instance_uid: instance.discrepancy async for instance in archive.list.instances()}
        assert told == {
            "1.2.3.3": "",
            "1.2.3.4": "PatientID PatientName",
            "1.2.3.5": "StudyDescription",
            "1.2.3.6": "",
        }
        (patient,) = [patient async for patient in archive.list.patients()]
        assert (patient.patient_id, patient.name, patient.instances) == ("P1", "Doe^Jane", 4)
        (study,) = [study async for study in archive.list.studies()]
        assert study.description == "Thorax"


async def test_what_an_object_leaves_out_a_later_one_completes(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE.but(patient_name=""))
        await put(archive, ONE.but(instance="1.2.3.4", more=((0x00081030, "LO", "Thorax"),)))
        (study,) = [study async for study in archive.list.studies()]
        assert (study.patient_name, study.description) == ("Doe^Jane", "Thorax")
        assert {instance.discrepancy async for instance in archive.list.instances()} == {""}


async def test_without_patient_id_every_study_has_a_patient_of_its_own(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE.but(patient_id=""))
        await put(archive, ONE.but(patient_id="", instance="1.2.4", study="1.2.5"))
        await put(archive, ONE.but(patient_id="", instance="1.2.6", study="1.2.5"))
        assert (await archive.stats()).patients == 2


async def test_patients_are_told_apart_by_issuer(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        for number, issuer in enumerate(("", "A", "B", "A")):
            await put(archive, ONE.but(instance=f"1.{number}", study=f"2.{number}", more=((0x00100021, "LO", issuer),)))
        patients = {(one.patient_id, one.issuer): one.studies async for one in archive.list.patients()}
        assert patients == {("P1", ""): 1, ("P1", "A"): 2, ("P1", "B"): 1}


async def test_one_series_uid_in_two_studies_makes_two_series(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        await put(archive, ONE.but(instance="1.2.4", study="1.2.5"))
        assert (await archive.stats()).series == 2
        assert [found.instances async for found in archive.list.series("1.2.5")] == [1]
        assert_counters_exact(quick_path)


async def test_the_same_conflict_again_costs_no_quota(quick_path: Path) -> None:
    quota = len(ONE.data_set()) + 3 * len(OTHER.data_set())
    async with Archive.open(settings_for(quick_path, quota_bytes=quota), observe=ignore) as archive:
        await put(archive, ONE)
        for _ in range(6):
            assert (await put(archive, OTHER)).outcome is Outcome.KEPT_ASIDE


async def test_what_was_replaced_but_cannot_be_removed_does_not_cost_the_new_one(quick_path: Path) -> None:
    failures = [0]

    def before(call: Call) -> None:
        if failures[0] and call.operation == "unlink" and call.what.startswith("blobs"):
            failures[0] -= 1
            raise OSError(errno.EIO, "Input/output error")

    settings = settings_for(quick_path, duplicates=DuplicatePolicy.REPLACE)
    async with Archive.open(settings, observe=ignore, disk=WatchedDisk(before, str(quick_path))) as archive:
        await put(archive, ONE)
        failures[0] = 1
        assert (await put(archive, OTHER)).outcome is Outcome.REPLACED
        assert failures == [0]
        assert await content(archive, OTHER) == OTHER.data_set()


async def test_what_is_replaced_is_in_sight_until_it_is_removed_whoever_was_faster(quick_path: Path) -> None:
    """A crash between the commit and the removal leaves nothing that the next start does not find."""
    out_of_sight: list[str] = []

    def before(call: Call) -> None:
        if call.operation == "unlink" and call.what.startswith("blobs"):
            file = quick_path / call.what
            if file.exists() and file.stat().st_nlink == 1:  # the other name is the one in sight
                out_of_sight.append(call.what)

    settings = settings_for(quick_path, duplicates=DuplicatePolicy.REPLACE)
    async with Archive.open(settings, observe=ignore, disk=WatchedDisk(before, str(quick_path))) as archive:
        for round in range(5):
            others = [ONE.but(pixels=f"{round:06}{number:06}".encode()) for number in range(12)]
            await asyncio.gather(*(put(archive, other) for other in others))
    assert out_of_sight == []
    assert len(files(quick_path, "blobs")) == 1
