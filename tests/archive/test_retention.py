"""Retention: which studies go and which stay, against a plain reference and one by one."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.population import entry
from kit.samples import Sample, assert_counters_exact, put, rows, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.deletion import Deletions, Level, Target
from pacslite.archive.index.job_rows import owe
from pacslite.archive.index.writer import KEPT_ASIDE, IndexWriter
from pacslite.archive.job import JobKind, Lane, NewJob
from pacslite.archive.retention import Decision, Due, Kept, Retention, RetentionRules
from pacslite.errors import ObjectsProtected
from pacslite.facts import Fact, RetentionEnded, ignore

FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None
NOW = 1_000_000.0
A, B = "ARCHIVE", "BACKUP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a destination has of an object."""

    destination: str
    delivered_at: float
    wants_commitment: bool = False
    is_committed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """An object as retention sees it."""

    stored_at: float
    size: int = 10
    aside: int = 0
    is_owed: bool = False
    is_committed: bool = False
    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """A study."""

    things: tuple[Thing, ...]
    uid: str = field(default="", kw_only=True)

    @property
    def newest(self) -> float:
        return max(thing.stored_at for thing in self.things)

    @property
    def bytes(self) -> int:
        return sum(thing.size + thing.aside for thing in self.things)


def expected(studies: Sequence[Held], rules: RetentionRules) -> list[tuple[str, Due, tuple[Kept, ...]]]:
    """The reference: as the documentation says it, without regard to cost."""
    stored = sum(study.bytes for study in studies)
    found = []
    rest = sorted(studies, key=lambda study: (study.newest, study.uid))
    if rules.max_age_s:
        for study in list(rest):
            if study.newest < NOW - rules.max_age_s:
                rest.remove(study)
                found.append((study.uid, Due.AGE, reasons(study, rules)))
                stored -= 0 if found[-1][2] else study.bytes
    if rules.high_water_bytes and stored > rules.high_water_bytes:
        for study in rest:
            if stored <= rules.low_water_bytes:
                break
            found.append((study.uid, Due.ROOM, reasons(study, rules)))
            stored -= 0 if found[-1][2] else study.bytes
    return found


def reasons(study: Held, rules: RetentionRules) -> tuple[Kept, ...]:
    found = []
    things = study.things
    if any(thing.is_owed for thing in things):
        found.append(Kept.FORWARDS)
    if any(taken.wants_commitment and not taken.is_committed for thing in things for taken in thing.taken):
        found.append(Kept.AWAITED)
    if rules.keep_committed and any(thing.is_committed for thing in things):
        found.append(Kept.COMMITTED)
    for titles, needs_commitment, why in (
        (rules.delivered_to, False, Kept.UNDELIVERED),
        (rules.committed_by, True, Kept.UNCOMMITTED),
    ):
        if not all(has(thing, title, needs_commitment) for thing in things for title in titles):
            found.append(why)
    return tuple(found)


def has(thing: Thing, destination: str, is_committed: bool) -> bool:
    return any(
        taken.destination == destination
        and taken.delivered_at >= thing.stored_at
        and (taken.is_committed or not is_committed)
        for taken in thing.taken
    )


def fill(writer: IndexWriter, studies: Iterable[Held]) -> None:
    """The index alone: retention never looks at files, and deletion gets along without."""
    for at, study in enumerate(studies):
        for number, thing in enumerate(study.things):
            sample = Sample(
                instance=f"{study.uid}.{number}",
                study=study.uid,
                series=f"{study.uid}.{number % 2}",
                patient_id=f"{at}",
            )
            row = replace(entry(sample), stored_at=thing.stored_at, size=thing.size)
            writer.add(row)
            if thing.aside:
                writer.keep_aside(
                    replace(row, size=thing.aside, digest=b"other", path=f"conflicts/{number}"), reason=KEPT_ASIDE
                )
            if thing.is_owed:
                lane = Lane(A, JobKind.FORWARD, "rule")
                owe(writer, [NewJob(lane=lane, subject=sample.instance, study_uid=study.uid)], NOW)
            if thing.is_committed:
                writer.connection.execute(
                    "INSERT INTO commitment_items (request, number, sop_instance_uid, failure_reason) VALUES"
                    " (1, (SELECT count(*) FROM commitment_items), ?, 0)",
                    (sample.instance,),
                )
            for taken in thing.taken:
                writer.connection.execute(
                    "INSERT INTO deliveries (sop_instance_uid, sop_class_uid, destination, delivered_at,"
                    " wants_commitment, committed_at) VALUES (?, '', ?, ?, ?, ?)",
                    (
                        sample.instance,
                        taken.destination,
                        taken.delivered_at,
                        taken.wants_commitment,
                        NOW if taken.is_committed else None,
                    ),
                )


async def run(
    archive: Archive, rules: RetentionRules, *, dry_run: bool = False, page: int = 3, facts: list[Fact] | None = None
) -> list[Decision]:
    observe = ignore if facts is None else facts.append
    retention = Retention(archive, rules, observe=observe, clock=lambda: NOW, page=page)
    async with aclosing(retention.run(dry_run=dry_run)) as decisions:
        return [decision async for decision in decisions]


def told(decisions: Iterable[Decision]) -> list[tuple[str, Due, tuple[Kept, ...]]]:
    return [(decision.study_uid, decision.due, decision.kept) for decision in decisions]


def studies_left(folder: Path) -> set[str]:
    return {str(uid) for (uid,) in rows(folder, "SELECT study_uid FROM studies")}


# --- Against the reference -------------------------------------------------------------------------------------------

times = st.integers(0, 10).map(lambda days: NOW - days * 100)
takens = st.builds(
    Taken,
    destination=st.sampled_from((A, B)),
    delivered_at=times,
    wants_commitment=st.booleans(),
    is_committed=st.sampled_from((True, True, False)),
)
things = st.builds(
    Thing,
    stored_at=times,
    size=st.integers(1, 20),
    aside=st.sampled_from((0, 0, 0, 7)),
    is_owed=st.sampled_from((False,) * 6 + (True,)),
    is_committed=st.sampled_from((False,) * 6 + (True,)),
    taken=st.lists(takens, max_size=2, unique_by=lambda taken: taken.destination).map(tuple),
)
held = st.builds(Held, st.lists(things, min_size=1, max_size=3).map(tuple))
holdings = st.lists(held, max_size=8).map(
    lambda studies: [replace(study, uid=f"1.{number}") for number, study in enumerate(studies)]
)
titles = st.sampled_from(((), (), (A,), (B, A)))
rule_sets = st.builds(
    RetentionRules,
    max_age_s=st.sampled_from((0.0, 150.0, 500.0)),
    high_water_bytes=st.sampled_from((0, 1, 30, 80)),
    low_water_bytes=st.sampled_from((0, 20)),
    delivered_to=titles,
    committed_by=titles,
    keep_committed=st.booleans(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(studies=holdings, rules=rule_sets)
def test_what_goes_and_why_the_rest_stays_is_what_the_reference_says(
    studies: list[Held], rules: RetentionRules
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="pacslite-", dir=FOLDER))
    try:
        asyncio.run(compare(folder, studies, rules))
    finally:
        shutil.rmtree(folder)


async def compare(folder: Path, studies: list[Held], rules: RetentionRules) -> None:
    async with Archive.open(settings_for(folder, file_threads=1), observe=ignore) as archive:
        await archive.workshop.index.run(lambda writer: fill(writer, studies))
        wanted = expected(studies, rules)
        assert told(await run(archive, rules, dry_run=True)) == wanted
        assert studies_left(folder) == {study.uid for study in studies}
        facts: list[Fact] = []
        assert told(await run(archive, rules, facts=facts)) == wanted
        gone = {uid for uid, _, kept in wanted if not kept}
        assert studies_left(folder) == {study.uid for study in studies} - gone
        (fact,) = facts
        assert isinstance(fact, RetentionEnded)
        assert (fact.studies, fact.bytes) == (len(gone), sum(study.bytes for study in studies if study.uid in gone))
        left = sum(study.bytes for study in studies if study.uid not in gone)
        assert fact.above_bytes == (max(0, left - rules.high_water_bytes) if rules.high_water_bytes else 0)
        assert len(await archive.deletions.history(100)) == len(gone)
        assert_counters_exact(folder)


# --- One by one ------------------------------------------------------------------------------------------------------


def test_the_reference_knows_every_reason() -> None:
    old = Thing(stored_at=0.0, is_owed=True, is_committed=True, taken=(Taken(destination=A, delivered_at=1.0),))
    awaited = Thing(stored_at=0.0, taken=(Taken(destination=A, delivered_at=-1.0, wants_commitment=True),))
    rules = RetentionRules(max_age_s=1.0, delivered_to=(A,), committed_by=(B,))
    assert set(reasons(Held((old, awaited)), rules)) == set(Kept) - {Kept.CHANGED}


async def test_without_limits_nothing_is_due(quick_path: Path) -> None:
    assert not RetentionRules(delivered_to=(A,)).is_any
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, Sample())
        assert await run(archive, RetentionRules()) == []


async def test_what_comes_meanwhile_keeps_the_study(quick_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look and the transaction, an object comes, or is owed to somebody."""
    rules = RetentionRules(max_age_s=1.0)
    delete = Deletions.delete

    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, Sample())
        await put(archive, Sample(instance="1.3.3", series="1.3.2", study="1.3.1", patient_id="P2"))
        age(quick_path)

        async def after_a_change(self: Deletions, target: object, **options: object) -> object:
            uid = getattr(target, "uid", "")
            if uid == Sample().study:
                await put(archive, Sample(instance="1.2.3.4"))
            else:
                lane = Lane(A, JobKind.FORWARD, "rule")
                await archive.outbox.owe([NewJob(lane=lane, subject="1.3.3", study_uid=uid)])
            return await delete(self, target, **options)  # type: ignore[arg-type] # passed on as they are

        monkeypatch.setattr(Deletions, "delete", after_a_change)
        assert [kept for _, _, kept in told(await run(archive, rules))] == [(Kept.CHANGED,)] * 2
        assert (await archive.stats()).instances == 3
        assert await archive.deletions.history(10) == []


def age(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE instances SET stored_at = 10")


async def test_files_go_with_the_rows_and_what_has_no_study_stays(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, Sample())
        await put(archive, Sample(sop_class="1.2.840.10008.5.1.4.38.1", study="", series="", instance="1.2.7"))
        age(quick_path)
        (decision,) = await run(archive, RetentionRules(max_age_s=1.0, high_water_bytes=1))
        assert (decision.study_uid, decision.kept, decision.newest) == (Sample().study, (), 10.0)
        assert [path.name for path in (quick_path / "blobs").rglob("*.dcm")] == ["1.2.7.dcm"]
        (record,) = await archive.deletions.history(10)
        assert (record.deleted_by, record.forced) == ("retention", False)


async def test_a_run_that_fails_says_so(quick_path: Path) -> None:
    facts: list[Fact] = []
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await put(archive, Sample())
        with closing(sqlite3.connect(quick_path / "index.sqlite")) as connection:
            connection.execute("DROP TABLE conflicts")
        with pytest.raises(sqlite3.OperationalError):
            await run(archive, RetentionRules(max_age_s=1.0), facts=facts)
    (fact,) = facts
    assert isinstance(fact, RetentionEnded)
    assert "conflicts" in fact.error


async def test_deletion_by_hand_does_not_ask_the_rules(quick_path: Path) -> None:
    """What is delivered nowhere may be deleted by hand; what is promised may not."""
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        await archive.workshop.index.run(
            lambda writer: fill(
                writer,
                [Held((Thing(stored_at=0.0),), uid="1.1"), Held((Thing(stored_at=0.0, is_committed=True),), uid="1.2")],
            )
        )
        decisions = await run(archive, RetentionRules(max_age_s=1.0, delivered_to=(A,)), dry_run=True)
        assert [decision.kept for decision in decisions] == [
            (Kept.UNDELIVERED,),
            (Kept.COMMITTED, Kept.UNDELIVERED),
        ]
        targets = [Target(level=Level.STUDY, uid=uid) for uid in ("1.1", "1.2")]
        assert (await archive.deletions.delete(targets[0], deleted_by="x")).instances == 1
        with pytest.raises(ObjectsProtected):
            await archive.deletions.delete(targets[1], deleted_by="x")
