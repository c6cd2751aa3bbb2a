"""What is owed for an object is durable with the object, or not at all: ingest and the rules (DESIGN 5)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kit.samples import Sample, files, put, rows, settings_for, visible
from pacslite.archive.archive import Archive
from pacslite.archive.integrity import check, rebuild
from pacslite.archive.model import Outcome
from pacslite.archive.rules import ForwardRule
from pacslite.archive.settings import ArchiveSettings, DuplicatePolicy
from pacslite.errors import OutOfResources
from pacslite.facts import ignore

ONE = Sample()
OTHER = ONE.but(pixels=b"other bytes!")
AT_ONCE = ForwardRule(name="all", to=("ARCHIVE", "BACKUP"))
WHEN_QUIET = ForwardRule(name="quiet", to=("TEACHING",), on_study=True, quiet_s=30.0)
HANGING_PROTOCOL = "1.2.840.10008.5.1.4.38.1"


def ruled(folder: Path, *rules: ForwardRule, **changes: object) -> ArchiveSettings:
    return replace(settings_for(folder, **changes), rules=rules)


def jobs(folder: Path) -> Sequence[tuple[object, ...]]:
    """Destination, rule and object of every job."""
    return rows(folder, "SELECT destination, rule, subject FROM jobs ORDER BY subject, destination")


def tamper(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "index.sqlite", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


OWED = [("ARCHIVE", "all", ONE.instance), ("BACKUP", "all", ONE.instance)]


async def test_a_stored_object_is_owed_to_each_destination(quick_path: Path) -> None:
    async with Archive.open(ruled(quick_path, AT_ONCE), observe=ignore) as archive:
        told: list[int] = []
        archive.outbox.when_added(lambda _: told.append(len(jobs(quick_path))))
        await put(archive, ONE)
        assert jobs(quick_path) == OWED
        assert told == [2]  # after the commit
        await put(archive, ONE.but(instance="1.2.3.9", modality="MR"))
        assert len(jobs(quick_path)) == 4
    (job, *_) = rows(quick_path, "SELECT kind, study_uid, priority, state, hold, attempts FROM jobs WHERE id = 1")
    assert job == ("forward", ONE.study, 1, "waiting", None, 0)


async def test_without_rules_nothing_is_owed_and_nobody_told(quick_path: Path) -> None:
    async with Archive.open(settings_for(quick_path), observe=ignore) as archive:
        archive.outbox.when_added(lambda _: pytest.fail("nothing was added"))
        await put(archive, ONE)
    assert jobs(quick_path) == []


async def test_a_large_object_and_one_without_a_patient_are_owed_as_well(quick_path: Path) -> None:
    large = ONE.but(pixels=b"\1\2" * 30000)
    protocol = Sample(instance="1.2.3.4", study="", series="", sop_class=HANGING_PROTOCOL)
    settings = ruled(quick_path, AT_ONCE, WHEN_QUIET, spool_bytes=4096, piece_bytes=8192)
    async with Archive.open(settings, observe=ignore) as archive:
        await put(archive, large, piece=1000)
        await put(archive, protocol)
    destinations = ["ARCHIVE", "BACKUP", "TEACHING"]
    assert [row[0] for row in jobs(quick_path)] == 2 * destinations
    assert rows(quick_path, "SELECT subject FROM jobs WHERE hold IS NULL AND rule = 'quiet'") == [(protocol.instance,)]


async def test_an_object_is_not_owed_to_whom_it_came_from(quick_path: Path) -> None:
    async with Archive.open(
        ruled(quick_path, ForwardRule(name="all", to=("CT1", "BACKUP"))), observe=ignore
    ) as archive:
        await put(archive, ONE)
    assert [row[0] for row in jobs(quick_path)] == ["BACKUP"]


# --- In the transaction of the row -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trigger",
    ["BEFORE INSERT ON jobs", "AFTER INSERT ON jobs WHEN new.destination = 'BACKUP'", "BEFORE UPDATE ON series"],
    ids=["the first job fails", "the last job fails", "the commit fails"],
)
async def test_if_the_transaction_fails_there_is_neither_row_nor_job_nor_file(quick_path: Path, trigger: str) -> None:
    async with Archive.open(ruled(quick_path, AT_ONCE), observe=ignore) as archive:
        archive.outbox.when_added(lambda _: pytest.fail("nothing was added"))
        tamper(quick_path, f"CREATE TRIGGER broken {trigger} BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END")
        with pytest.raises(OutOfResources, match="disk I/O error"):
            await put(archive, ONE)
        assert jobs(quick_path) == []
        assert rows(quick_path, "SELECT * FROM instances") == []
        assert visible(quick_path) == []
        tamper(quick_path, "DROP TRIGGER broken")
        archive.outbox.when_added(None)
        await put(archive, ONE)
    assert jobs(quick_path) == OWED


async def test_each_of_many_at_once_is_owed(quick_path: Path) -> None:
    samples = [ONE.but(instance=f"1.2.3.{number}", series=f"1.2.4.{number % 3}") for number in range(1, 41)]
    async with Archive.open(ruled(quick_path, AT_ONCE, WHEN_QUIET), observe=ignore) as archive:
        await asyncio.gather(*(put(archive, sample) for sample in samples))
    assert {row[2] for row in jobs(quick_path)} == {sample.instance for sample in samples}
    assert len(jobs(quick_path)) == 3 * len(samples)


# --- Only what is new ------------------------------------------------------------------------------------------------


async def test_what_is_there_already_owes_nothing(quick_path: Path) -> None:
    async with Archive.open(ruled(quick_path, AT_ONCE), observe=ignore) as archive:
        await put(archive, ONE)
        tamper(quick_path, "DELETE FROM jobs")  # all done
        archive.outbox.when_added(lambda _: pytest.fail("nothing was added"))
        assert (await put(archive, ONE)).outcome is Outcome.IDENTICAL
        assert (await put(archive, OTHER)).outcome is Outcome.KEPT_ASIDE
    assert jobs(quick_path) == []


async def test_an_object_that_replaces_another_is_owed_anew(quick_path: Path) -> None:
    settings = ruled(quick_path, AT_ONCE, duplicates=DuplicatePolicy.REPLACE)
    async with Archive.open(settings, observe=ignore) as archive:
        await put(archive, ONE)
        tamper(quick_path, "DELETE FROM jobs WHERE destination = 'ARCHIVE'")  # one is done, the other has failed
        tamper(quick_path, "UPDATE jobs SET attempts = 7, state = 'dead'")
        told: list[bool] = []
        archive.outbox.when_added(lambda _: told.append(True))
        assert (await put(archive, OTHER)).outcome is Outcome.REPLACED
    assert jobs(quick_path) == OWED
    assert rows(quick_path, "SELECT DISTINCT attempts, state FROM jobs") == [(0, "waiting")]
    assert told == [True]


async def test_an_object_whose_file_was_lost_is_owed_again_when_it_comes_again(quick_path: Path) -> None:
    async with Archive.open(ruled(quick_path, AT_ONCE), observe=ignore) as archive:
        await put(archive, ONE)
        tamper(quick_path, "DELETE FROM jobs")
        (name,) = files(quick_path, "blobs")
        (quick_path / name).unlink()
        told: list[bool] = []
        archive.outbox.when_added(lambda _: told.append(True))
        assert (await put(archive, ONE)).outcome is Outcome.IDENTICAL
        assert files(quick_path, "blobs") == [name]
    assert jobs(quick_path) == OWED
    assert told == [True]


async def test_whoever_looks_at_files_owes_nothing(quick_path: Path) -> None:
    """A rebuild, and the adoption of a file without a row: what is owed for them was settled long ago."""
    async with Archive.open(ruled(quick_path, AT_ONCE), observe=ignore) as archive:
        await put(archive, ONE)
        await put(archive, ONE.but(instance="1.2.3.9"))
        tamper(quick_path, f"DELETE FROM jobs WHERE subject <> '{ONE.instance}'")
        async for _ in rebuild(archive):
            pass
        assert jobs(quick_path) == OWED
        tamper(quick_path, "DELETE FROM instances", "DELETE FROM jobs")
        async for _ in check(archive, repair=True):
            pass
        assert rows(quick_path, "SELECT count(*) FROM instances") == [(2,)]
    assert jobs(quick_path) == []


# --- Held until the study is quiet -----------------------------------------------------------------------------------


async def test_each_object_of_the_study_puts_off_what_is_held(quick_path: Path) -> None:
    """Also one that the rule does not send, and one that goes by another rule; but not one of another study."""

    def is_put_off() -> bool:
        """Whether the hold was put off since it was last looked at."""
        ((until,),) = rows(quick_path, "SELECT until FROM job_holds WHERE study_uid = '1.2.3.1'")
        tamper(quick_path, "UPDATE job_holds SET until = 1000")
        return until != 1000

    only_mr = replace(WHEN_QUIET, modality=("MR",))
    at_once = ForwardRule(name="sr", to=("TEACHING",), modality=("SR",))
    async with Archive.open(ruled(quick_path, only_mr, at_once), observe=ignore) as archive:
        await put(archive, ONE)
        assert rows(quick_path, "SELECT * FROM job_holds") == []
        for number, modality in enumerate(("MR", "CT", "SR", "MR"), 1):
            await put(archive, ONE.but(instance=f"1.2.5.{number}", modality=modality, series=f"1.2.6.{number}"))
            assert is_put_off(), modality
        await put(archive, ONE.but(instance="1.2.7.1", study="1.2.7", series="1.2.7.2"))
        await put(archive, ONE.but(instance="1.2.5.1", modality="MR", series="1.2.6.1"))  # it is there already
        assert not is_put_off()
    assert rows(quick_path, "SELECT subject, hold IS NOT NULL FROM jobs ORDER BY subject") == [
        ("1.2.5.1", 1),
        ("1.2.5.3", 0),
        ("1.2.5.4", 1),
    ]


async def test_a_hold_ends_as_long_after_the_last_object_as_the_rule_says(quick_path: Path) -> None:
    async with Archive.open(ruled(quick_path, WHEN_QUIET), observe=ignore) as archive:
        await put(archive, ONE)
    ((seconds,),) = rows(quick_path, "SELECT until - stored_at FROM job_holds, instances")
    assert seconds == pytest.approx(30.0)
