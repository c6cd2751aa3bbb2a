"""``kill -9`` at every step: a child process does one thing to an archive and dies before its n-th disk operation.

Whatever it had been told was stored is there afterwards; nothing half is visible; doing it again ends as if nothing had
happened. The last steps come after the row's commit, so both sides of it are met.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.disks import DIED, WatchedDisk, dying
from kit.samples import Sample, assert_counters_exact, files, put, rows, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.integrity import Finding, check
from pacslite.archive.model import Outcome
from pacslite.archive.settings import DuplicatePolicy
from pacslite.facts import Fact, StoreReconciled, ignore

MOST_STEPS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is in the archive before, what the child stores, and what becomes of that when it is done again."""

    name: str
    before: tuple[Sample, ...] = ()
    stores: Sample
    policy: DuplicatePolicy = DuplicatePolicy.KEEP
    first: Outcome
    spool_bytes: int = 1 << 20

    def again(self) -> set[Outcome]:
        """After the crash: it may or may not have happened already."""
        return {self.first, Outcome.KEPT_ASIDE if self.first is Outcome.KEPT_ASIDE else Outcome.IDENTICAL}


ONE = Sample()
OTHER = Sample(pixels=b"other bytes!")
SCENARIOS = (
    Scenario(name="new", stores=ONE, first=Outcome.STORED),
    Scenario(name="large", stores=ONE.but(pixels=bytes(20_000)), first=Outcome.STORED, spool_bytes=4096),
    Scenario(name="second of a series", before=(ONE.but(instance="1.2.9"),), stores=ONE, first=Outcome.STORED),
    Scenario(name="identical", before=(ONE,), stores=ONE, first=Outcome.IDENTICAL),
    Scenario(name="identical elsewhere", before=(ONE.but(series="1.2.8"),), stores=ONE, first=Outcome.KEPT_ASIDE),
    Scenario(name="different", before=(OTHER,), stores=ONE, first=Outcome.KEPT_ASIDE),
    Scenario(name="replaced", before=(OTHER,), stores=ONE, first=Outcome.REPLACED, policy=DuplicatePolicy.REPLACE),
    Scenario(
        name="replaced elsewhere",
        before=(OTHER.but(study="1.2.7"),),
        stores=ONE,
        first=Outcome.REPLACED,
        policy=DuplicatePolicy.REPLACE,
    ),
)


def run_child(folder: Path, scenario: Scenario, step: int) -> int:
    """Store in a process of its own; its exit code says whether it died."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        asyncio.run(child_stores(folder, scenario, step))
    except BaseException:  # nothing of the test run may continue in the child
        os._exit(1)
    os._exit(0)


async def child_stores(folder: Path, scenario: Scenario, step: int) -> None:
    disk = WatchedDisk(dying(step), str(folder))
    settings = settings_for(folder, duplicates=scenario.policy, spool_bytes=scenario.spool_bytes, piece_bytes=4096)
    async with Archive.open(settings, observe=ignore, disk=disk) as archive:
        await put(archive, scenario.stores)
        (folder.parent / "acknowledged").touch()


async def fill(folder: Path, scenario: Scenario) -> None:
    async with Archive.open(settings_for(folder), observe=ignore) as archive:
        for sample in scenario.before:
            await put(archive, sample)


async def look_at(folder: Path, scenario: Scenario, *, acknowledged: bool) -> None:
    """The invariants, after the next start."""
    facts: list[Fact] = []
    settings = settings_for(folder, duplicates=scenario.policy)
    async with Archive.open(settings, observe=facts.append) as archive:
        assert files(folder, "incoming", "quarantine") == []
        findings = [item async for item in check(archive, digest=True, repair=True) if isinstance(item, Finding)]
        assert findings == []
        data_sets = {path: (folder / path).read_bytes() for path in files(folder, "blobs", "conflicts")}
        for sample in scenario.before if scenario.policy is DuplicatePolicy.KEEP else ():
            assert any(raw.endswith(sample.data_set()) for raw in data_sets.values()), "an older object is gone"
        is_there = any(raw.endswith(scenario.stores.data_set()) for raw in data_sets.values())
        assert is_there or not acknowledged, "an acknowledged object is gone"
        assert_counters_exact(folder)
        assert (await put(archive, scenario.stores)).outcome in scenario.again()
        findings = [item async for item in check(archive, digest=True) if isinstance(item, Finding)]
        assert findings == []
    assert rows(folder, "SELECT count(*) FROM instances") == [
        (len({s.instance for s in (*scenario.before, scenario.stores)}),)
    ]
    assert all(fact.examined <= 2 for fact in facts if isinstance(fact, StoreReconciled))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_crash_before_any_step_loses_nothing_acknowledged_and_shows_nothing_half(
    quick_path: Path, scenario: Scenario
) -> None:
    template, folder = quick_path / "template", quick_path / "data"
    asyncio.run(fill(template, scenario))
    for step in range(MOST_STEPS):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        (quick_path / "acknowledged").unlink(missing_ok=True)
        code = run_child(folder, scenario, step)
        assert code in (0, DIED)
        acknowledged = (quick_path / "acknowledged").exists()
        asyncio.run(look_at(folder, scenario, acknowledged=acknowledged))
        if code == 0:
            assert acknowledged
            assert step > 3, "there were no steps to die at"
            return
    pytest.fail("it never came to an end")
