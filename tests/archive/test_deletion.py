"""Deleting studies, series and instances: what goes, what stays, what is refused, and what is known afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, closing
from pathlib import Path

import pytest

from kit.samples import Sample, assert_counters_exact, files, put, rows, settings_for, visible
from pacslite.archive.archive import Archive
from pacslite.archive.deletion import Deleted, Level, Standing, Target
from pacslite.archive.integrity import Finding, check
from pacslite.archive.job import JobKind, Lane, NewJob
from pacslite.archive.model import Outcome
from pacslite.archive.settings import DuplicatePolicy
from pacslite.errors import ObjectsProtected
from pacslite.facts import Fact, ObjectsDeleted, ignore

ONE = Sample()
STUDY = Target(level=Level.STUDY, uid="1.2.0")


def sample(study: int, series: int, number: int, *, pixels: bytes = b"\1\2" * 50) -> Sample:
    uid = f"1.2.{study}.{series}.{number}"
    return ONE.but(instance=uid, series=f"1.2.{study}.{series}", study=f"1.2.{study}", number=number, pixels=pixels)


async def populate(archive: Archive) -> None:
    """Two studies of one patient, of two series with three objects each; one kept aside; one without a patient."""
    for study in range(2):
        for series in range(2):
            for number in range(3):
                await put(archive, sample(study, series, number))
    await put(archive, sample(0, 0, 0, pixels=b"different"))
    await put(archive, ONE.but(sop_class="1.2.840.10008.5.1.4.38.1", study="", series="", instance="1.2.7"))


async def findings(archive: Archive) -> list[Finding]:
    return [item async for item in check(archive, digest=True) if isinstance(item, Finding)]


async def assert_sound(archive: Archive) -> None:
    folder = archive.layout.folder
    assert await findings(archive) == []
    assert_counters_exact(folder)
    kept = rows(folder, "SELECT (SELECT count(*) FROM instances), (SELECT count(*) FROM conflicts)")
    assert len(visible(folder)) == sum(int(str(count)) for count in kept[0])


def owe(folder: Path, uid: str, *, state: str = "waiting", kind: str = "forward") -> None:
    execute(
        folder,
        "INSERT INTO jobs (kind, destination, subject, state, created_at, due_at) VALUES (?, 'THERE', ?, ?, 0, 0)",
        (kind, uid, state),
    )


def commit_to(folder: Path, uid: str, *, failure_reason: int = 0) -> None:
    execute(
        folder,
        "INSERT INTO commitment_requests (transaction_uid, calling_ae, called_ae, received_at, state, objects, digest)"
        " VALUES ('1.9', 'CT1', 'PACSLITE', 0, 'reported', x'', x'')",
    )
    execute(
        folder,
        "INSERT INTO commitment_items (request, number, sop_instance_uid, failure_reason) VALUES"
        " ((SELECT max(id) FROM commitment_requests), 0, ?, ?)",
        (uid, failure_reason),
    )


def execute(folder: Path, statement: str, values: Sequence[object] = ()) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite", isolation_level=None, timeout=10)) as connection:
        connection.execute(statement, values)


# --- What goes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 256])
@pytest.mark.parametrize(
    ("target", "instances", "conflicts", "left"),
    [
        (STUDY, 6, 1, (1, 1, 2)),
        (Target(level=Level.SERIES, uid="1.2.0.0"), 3, 1, (1, 2, 3)),
        (Target(level=Level.SERIES, uid="1.2.0.1", study_uid="1.2.0"), 3, 0, (1, 2, 3)),
        (Target(level=Level.INSTANCE, uid="1.2.0.0.0"), 1, 1, (1, 2, 4)),
        (Target(level=Level.INSTANCE, uid="1.2.7"), 1, 0, (1, 2, 4)),
        (Target(level=Level.SERIES, uid="1.2.0.1", study_uid="1.2.1"), 0, 0, (1, 2, 4)),
        (Target(level=Level.STUDY, uid="1.2.9"), 0, 0, (1, 2, 4)),
    ],
    ids=lambda value: value.level.value if isinstance(value, Target) else None,
)
async def test_what_is_named_goes_and_nothing_else(
    quick_path: Path, target: Target, instances: int, conflicts: int, left: tuple[int, int, int], batch: int
) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        before = await archive.stats()
        standing = await archive.deletions.standing(target)
        deleted = await archive.deletions.delete(target, deleted_by="somebody", batch=batch)
        after = await archive.stats()
        assert (deleted.instances, deleted.conflicts) == (instances, conflicts)
        assert (standing.instances, standing.conflicts) == (instances, conflicts)
        assert (before.instances - after.instances, before.conflicts - after.conflicts) == (instances, conflicts)
        assert deleted.bytes == standing.bytes + standing.conflict_bytes
        assert before.bytes + before.conflict_bytes - deleted.bytes == after.bytes + after.conflict_bytes
        assert (after.patients, after.studies, after.series) == left
        await assert_sound(archive)


async def test_the_last_object_takes_series_study_and_patient_with_it_and_their_folders(quick_path: Path) -> None:
    facts: list[Fact] = []
    async with Archive.open(settings_for(quick_path), observe=facts.append) as archive:
        await put(archive, ONE)
        await put(archive, ONE.but(pixels=b"other"))
        await archive.deletions.delete(Target(level=Level.INSTANCE, uid=ONE.instance), deleted_by="somebody")
        for table in ("patients", "studies", "series", "instances", "conflicts"):
            assert rows(quick_path, f"SELECT count(*) FROM {table}") == [(0,)]
        assert list((quick_path / "blobs").glob("*/*")) == []
        assert list((quick_path / "conflicts").iterdir()) == []
        (fact,) = (fact for fact in facts if isinstance(fact, ObjectsDeleted))
        assert (fact.level, fact.sop_instance, fact.study, fact.completed) == (
            "instance",
            ONE.instance,
            ONE.study,
            True,
        )


async def test_what_was_kept_aside_of_an_object_that_is_lost_goes_with_its_study(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        await put(archive, ONE.but(pixels=b"other"))
        await archive.workshop.index.run(lambda writer: writer.remove(ONE.instance))
        for level, uid in ((Level.STUDY, ONE.study), (Level.SERIES, ONE.series), (Level.INSTANCE, ONE.instance)):
            assert (await archive.deletions.standing(Target(level=level, uid=uid))).conflicts == 1
        deleted = await archive.deletions.delete(Target(level=Level.STUDY, uid=ONE.study), deleted_by="somebody")
        assert deleted == Deleted(conflicts=1, bytes=len(ONE.but(pixels=b"other").data_set()))
        assert files(quick_path, "conflicts") == []


async def test_a_row_without_its_file_goes_as_well(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, ONE)
        (path,) = files(quick_path, "blobs")
        (quick_path / path).unlink()
        assert (await archive.deletions.delete(Target(level=Level.STUDY, uid=ONE.study), deleted_by="x")).instances == 1
        assert rows(quick_path, "SELECT count(*) FROM instances") == [(0,)]


async def test_a_deleted_object_that_comes_again_is_stored_anew(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        await archive.deletions.delete(STUDY, deleted_by="somebody")
        for version in (b"new", b"newer"):
            outcome = (await put(archive, sample(0, 0, 0, pixels=version))).outcome
            assert outcome is (Outcome.STORED if version == b"new" else Outcome.KEPT_ASIDE)
        stored = await archive.read("1.2.0.0.0")
        assert stored is not None
        assert stored.path.read_bytes().endswith(sample(0, 0, 0, pixels=b"new").data_set())
        await assert_sound(archive)


async def test_series_of_two_studies_with_one_uid_are_only_deleted_by_study(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        for study in range(2):
            await put(archive, sample(study, 0, 0).but(series="1.2.8"))
        with pytest.raises(ObjectsProtected, match="it is in 2 studies"):
            await archive.deletions.delete(Target(level=Level.SERIES, uid="1.2.8"), deleted_by="x", force=True)
        await archive.deletions.delete(Target(level=Level.SERIES, uid="1.2.8", study_uid="1.2.1"), deleted_by="x")
        assert rows(quick_path, "SELECT study_uid FROM studies") == [("1.2.0",)]


async def test_the_classes_of_a_series_are_those_of_what_is_left(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, sample(0, 0, 0))
        await put(archive, sample(0, 0, 1).but(sop_class="1.2.840.10008.5.1.4.1.1.7"))
        await archive.deletions.delete(Target(level=Level.INSTANCE, uid="1.2.0.0.0"), deleted_by="x")
        assert rows(quick_path, "SELECT sop_classes FROM series") == [("1.2.840.10008.5.1.4.1.1.7",)]
        assert await findings(archive) == []


# --- What is protected -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protect", "words"),
    [
        (lambda folder: owe(folder, "1.2.0.1.2"), "1 still to be forwarded"),
        (lambda folder: owe(folder, "1.2.0.1.2", state="running"), "1 still to be forwarded"),
        (lambda folder: owe(folder, "1.2.0.1.2", state="dead"), "1 still to be forwarded"),
        (lambda folder: commit_to(folder, "1.2.0.1.2"), "1 that we have committed to"),
    ],
    ids=["waiting", "running", "dead", "committed"],
)
async def test_one_protected_object_keeps_all_of_what_was_named(quick_path: Path, protect: object, words: str) -> None:
    """SC-02: what we have committed to is not deleted but by force; nor is what we owe to others."""
    assert callable(protect)
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        protect(quick_path)
        with pytest.raises(ObjectsProtected, match=f"study 1.2.0: of 6 objects, {words}"):
            await archive.deletions.delete(STUDY, deleted_by="somebody")
        assert (await archive.stats()).instances == 13
        assert await archive.deletions.history(10) == []
        others = Target(level=Level.SERIES, uid="1.2.0.0")
        assert (await archive.deletions.delete(others, deleted_by="somebody")).instances == 3
        await archive.deletions.delete(STUDY, deleted_by="somebody", force=True)
        forced, unforced = await archive.deletions.history(10)
        assert (forced.forced, unforced.forced) == (True, False)
        assert rows(quick_path, "SELECT count(*) FROM jobs") == [(0,)]
        await assert_sound(archive)


async def test_what_is_no_promise_protects_nothing(quick_path: Path) -> None:
    """An object that we refused to commit to, a report about other things, forwards of other objects."""
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        commit_to(quick_path, "1.2.0.0.0", failure_reason=0x0110)
        owe(quick_path, "1.2.0.0.0", kind="verify")
        owe(quick_path, "1.2.1.0.0")
        assert (await archive.deletions.delete(STUDY, deleted_by="somebody")).instances == 6
        assert rows(quick_path, "SELECT kind FROM jobs ORDER BY 1") == [("forward",), ("verify",)]


async def test_nobody_is_asked_any_more_about_what_was_deleted(quick_path: Path) -> None:
    """SC-02: what others have committed to stays known; with its last object a question is over."""
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        for destination, uid, committed_at in (
            ("ONE", "1.2.0.0.0", None),
            ("BOTH", "1.2.0.0.1", None),
            ("BOTH", "1.2.1.0.0", None),
            ("NONE", "1.2.0.0.2", 1.0),
        ):
            execute(
                quick_path,
                "INSERT INTO deliveries (sop_instance_uid, sop_class_uid, destination, rule, delivered_at,"
                " wants_commitment, committed_at) VALUES (?, '', ?, 'rule', 0, 1, ?)",
                (uid, destination, committed_at),
            )
        for destination in ("ONE", "BOTH"):
            ask = NewJob(lane=Lane(destination, JobKind.ASK, "rule"), subject="rule")
            await archive.outbox.owe([ask])
        await archive.deletions.delete(STUDY, deleted_by="somebody")
        assert rows(quick_path, "SELECT destination, sop_instance_uid FROM deliveries WHERE wants_commitment = 1") == [
            ("BOTH", "1.2.1.0.0"),
            ("NONE", "1.2.0.0.2"),
        ]
        assert rows(quick_path, "SELECT destination, kind FROM jobs") == [("BOTH", "ask")]


async def test_a_promise_that_is_made_meanwhile_stops_the_deletion_where_it_is(quick_path: Path) -> None:
    facts: list[Fact] = []
    async with Archive.open(settings_for(quick_path), observe=facts.append) as archive:
        await populate(archive)

        def promise(done: int, total: int) -> None:
            if done == 2:
                commit_to(quick_path, "1.2.0.1.0")

        with pytest.raises(ObjectsProtected, match="of 2 objects, 1 that we have committed to; 2 had been deleted"):
            await archive.deletions.delete(STUDY, deleted_by="somebody", batch=2, progress=promise)
        (record,) = await archive.deletions.history(10)
        assert (record.instances, record.ended_at) == (2, None)
        (fact,) = (fact for fact in facts if isinstance(fact, ObjectsDeleted))
        assert (fact.instances, fact.completed, fact.study) == (2, False, "1.2.0")
        assert (await archive.stats()).instances == 11
        await assert_sound(archive)


# --- What is recorded ------------------------------------------------------------------------------------------------


async def test_each_deletion_is_recorded(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        deletions, started = archive.deletions, time.time()
        await deletions.delete(Target(level=Level.INSTANCE, uid="1.2.0.1.0"), deleted_by="anna")
        deleted = await deletions.delete(STUDY, deleted_by="retention")
        last, first = await deletions.history(10)
        assert (first.level, first.uid, first.study_uid, first.deleted_by) == ("instance", "1.2.0.1.0", "1.2.0", "anna")
        assert (last.level, last.uid, last.study_uid, last.deleted_by) == ("study", "1.2.0", "1.2.0", "retention")
        assert (last.instances, last.bytes) == (5, deleted.bytes)
        assert last.ended_at is not None
        assert started <= first.began_at <= last.began_at <= last.ended_at <= time.time()
        assert await deletions.history(1) == [last]


async def test_nothing_is_recorded_where_nothing_is(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        assert await archive.deletions.delete(STUDY, deleted_by="somebody") == Deleted()
        assert await archive.deletions.history(10) == []


async def test_whoever_stops_waiting_stops_the_deletion_between_two_transactions(quick_path: Path) -> None:
    async with AsyncExitStack() as stack:
        archive = await stack.enter_async_context(Archive.open(settings_for(quick_path), observe=ignore))
        await populate(archive)
        gone = asyncio.Event()
        task = asyncio.create_task(
            archive.deletions.delete(STUDY, deleted_by="x", batch=2, progress=lambda done, total: gone.set())
        )
        await gone.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stack.aclose()
        archive = await stack.enter_async_context(Archive.open(settings_for(quick_path), observe=ignore))
        (record,) = await archive.deletions.history(10)
        assert record.ended_at is None
        assert record.instances == 13 - (await archive.stats()).instances
        assert 2 <= record.instances < 6
        await assert_sound(archive)


# --- Others at the same time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", DuplicatePolicy)
@pytest.mark.parametrize("same", [True, False], ids=["identical", "different"])
async def test_objects_come_while_they_are_deleted(quick_path: Path, policy: DuplicatePolicy, same: bool) -> None:
    """Whatever the order in which it happens, index and files agree, and what came last is there."""
    async with Archive.open(settings_for(quick_path, duplicates=policy), observe=ignore) as archive:
        samples = [sample(0, number % 3, number) for number in range(12)]

        async def send(times: int) -> None:
            for turn in range(times):
                pixels = bytes([0 if same else turn]) * 20
                await asyncio.gather(*(put(archive, one.but(pixels=pixels)) for one in samples))

        async def delete(done: asyncio.Event) -> int:
            count = 0
            while not done.is_set():
                count += (await archive.deletions.delete(STUDY, deleted_by="somebody", batch=3)).instances
                await asyncio.sleep(0)
            return count

        done = asyncio.Event()
        deleting = asyncio.create_task(delete(done))
        await send(12)
        done.set()
        assert await deleting > 0
        await assert_sound(archive)
        await send(1)
        assert rows(quick_path, "SELECT count(*) FROM instances") == [(12,)]
        await assert_sound(archive)


async def test_objects_come_from_other_processes_while_their_folders_are_removed(quick_path: Path) -> None:
    """Each archive has the folders open that the other one removes and makes again."""
    async with (
        Archive.open(settings_for(quick_path), observe=ignore) as one,
        Archive.open(settings_for(quick_path), observe=ignore) as other,
    ):
        for turn in range(20):
            archive, deleting = (one, other) if turn % 2 else (other, one)
            await put(archive, sample(0, turn % 3, 0))
            await asyncio.gather(
                deleting.deletions.delete(STUDY, deleted_by="somebody"),
                put(archive, sample(0, 3, turn)),
                put(archive, sample(0, 4 + turn % 3, turn)),
            )
        await assert_sound(one)


async def test_two_deletions_of_the_same_delete_each_object_once(quick_path: Path) -> None:
    async with (
        Archive.open(settings_for(quick_path), observe=ignore) as one,
        Archive.open(settings_for(quick_path), observe=ignore) as other,
    ):
        await populate(one)
        results = await asyncio.gather(
            *(archive.deletions.delete(STUDY, deleted_by="x", batch=1) for archive in (one, other))
        )
        assert sum(deleted.instances for deleted in results) == 6
        assert sum(deleted.conflicts for deleted in results) == 1
        await assert_sound(one)


async def test_a_retrieval_under_way_reads_what_it_has_open_and_is_told_what_is_gone(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        large = sample(0, 0, 0, pixels=bytes(50_000))
        await put(archive, large)
        stored = await archive.read(large.instance)
        assert stored is not None
        async with aclosing(archive.pieces(stored, piece_bytes=1000)) as pieces:
            read = await anext(pieces)
            await archive.deletions.delete(STUDY, deleted_by="somebody")
            async for piece in pieces:
                read += piece
        assert read == large.data_set()
        assert await archive.read(large.instance) is None


async def test_the_quota_has_room_again(quick_path: Path) -> None:
    size = len(sample(0, 0, 0).data_set())
    async with Archive.open(settings_for(quick_path, quota_bytes=size), observe=ignore) as archive:
        await put(archive, sample(0, 0, 0))
        await archive.deletions.delete(STUDY, deleted_by="somebody")
        assert (await put(archive, sample(1, 0, 0))).outcome is Outcome.STORED


async def test_an_objection_is_asked_about_the_whole_and_then_about_each_part(quick_path: Path) -> None:
    asked: list[Standing] = []

    def objection(standing: Standing) -> str:
        asked.append(standing)
        return ""

    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await populate(archive)
        await archive.deletions.delete(STUDY, deleted_by="somebody", objection=objection, batch=4)
    assert [standing.instances for standing in asked] == [6, 4, 2]
