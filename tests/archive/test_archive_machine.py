"""Whatever is stored, again, given up, deleted, lost, checked and rebuilt in any order: index and files stay equal."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kit.samples import Sample, assert_counters_exact, files, put, rows, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.deletion import Level, Target
from pacslite.archive.integrity import Finding, check, rebuild
from pacslite.archive.model import Outcome
from pacslite.archive.settings import DuplicatePolicy
from pacslite.facts import ignore

FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None
numbers = st.integers(0, 3)
Content = tuple[str, bytes]


def sample(study: int, series: int, number: int, version: int) -> Sample:
    """The UID names the object; the version its bytes. A study belongs to one patient."""
    return Sample(
        study=f"1.2.{study}",
        series=f"1.2.{study}.{series}",
        instance=f"1.2.9.{number}",
        patient_id=f"P{study // 2}" if study else "",
        patient_name=f"Doe^{study // 2}" if study else f"Nobody^{study}",
        pixels=bytes([version]) * 20,
    )


class ArchiveMachine(RuleBasedStateMachine):
    """The model: what each UID holds, and what has been kept aside."""

    policy = DuplicatePolicy.KEEP

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pacslite-", dir=FOLDER))
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.stored: dict[str, Sample] = {}
        self.aside: set[Content] = set()

    @initialize(policy=st.sampled_from(DuplicatePolicy))
    def open(self, policy: DuplicatePolicy) -> None:
        self.policy = policy
        self.runner.run(self._open())

    async def _open(self) -> None:
        settings = settings_for(self.folder, duplicates=self.policy, file_threads=2)
        self.archive = await self.stack.enter_async_context(Archive.open(settings, observe=ignore))

    @rule(study=numbers, series=numbers, number=numbers, version=numbers)
    def store(self, study: int, series: int, number: int, version: int) -> None:
        new = sample(study, series, number, version)
        old = self.stored.get(new.instance)
        stored = self.runner.run(put(self.archive, new))
        if old is None:
            expected = Outcome.STORED
        elif old.data_set() == new.data_set():
            expected = Outcome.IDENTICAL
        elif self.policy is DuplicatePolicy.KEEP:
            expected = Outcome.KEPT_ASIDE
            self.aside.add((new.instance, new.data_set()))
        else:
            expected = Outcome.REPLACED
        assert stored.outcome is expected
        if expected in (Outcome.STORED, Outcome.REPLACED):
            self.stored[new.instance] = new

    @rule(number=numbers)
    def give_up(self, number: int) -> None:
        async def leave() -> None:
            async with self.archive.ingest(sample(0, 0, number, 0).origin) as ingest:
                await ingest.write(bytes(5000))

        self.runner.run(leave())

    @rule(
        level=st.sampled_from(Level), study=numbers, series=numbers, number=numbers, batch=st.sampled_from((1, 2, 256))
    )
    def delete(self, level: Level, study: int, series: int, number: int, batch: int) -> None:
        """What was kept aside for an object goes with it."""
        uid = {
            Level.STUDY: f"1.2.{study}",
            Level.SERIES: f"1.2.{study}.{series}",
            Level.INSTANCE: f"1.2.9.{number}",
        }[level]
        gone = {one.instance for one in self.stored.values() if uid in (one.study, one.series, one.instance)}
        target = Target(level=level, uid=uid)
        deleted = self.runner.run(self.archive.deletions.delete(target, deleted_by="somebody", batch=batch))
        assert deleted.instances == len(gone)
        for instance in gone:
            del self.stored[instance]
        self.aside = {(instance, data) for instance, data in self.aside if instance not in gone}

    @precondition(lambda self: self.stored)
    @rule()
    def lose_a_row_and_repair(self) -> None:
        uid = min(self.stored)
        self.runner.run(self.archive.workshop.index.run(lambda writer: writer.remove(uid)))
        assert [finding.sop_instance_uid for finding in self.check(repair=True)] == [uid]

    @rule()
    def rebuild(self) -> None:
        async def run() -> list[Finding]:
            return [item async for item in rebuild(self.archive) if isinstance(item, Finding)]

        assert self.runner.run(run()) == []

    @rule()
    def close_and_open(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.run(self._open())

    @invariant()
    def index_and_files_agree_with_the_model(self) -> None:
        if not hasattr(self, "archive"):
            return
        expected = sorted(
            (one.instance, one.series, one.study, one.patient_id, len(one.data_set())) for one in self.stored.values()
        )
        query = (
            "SELECT sop_instance_uid, series_uid, study_uid, patient_id, size FROM instances i"
            " JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study JOIN patients p ON p.id = t.patient"
        )
        assert sorted(rows(self.folder, query)) == expected
        assert_counters_exact(self.folder)
        assert len(files(self.folder, "blobs")) == len(self.stored)
        kept = {(path.split("/")[1], (self.folder / path).read_bytes()) for path in files(self.folder, "conflicts")}
        assert len(kept) == len(self.aside) == len(rows(self.folder, "SELECT id FROM conflicts"))
        assert all(any(raw.endswith(data) and uid == name for name, raw in kept) for uid, data in self.aside)

    def check(self, *, repair: bool = False) -> list[Finding]:
        async def run() -> list[Finding]:
            items = [item async for item in check(self.archive, digest=True, repair=repair)]
            return [item for item in items if isinstance(item, Finding) and item.sop_instance_uid]

        return self.runner.run(run())

    def teardown(self) -> None:
        try:
            if hasattr(self, "archive"):
                assert self.check() == []
        finally:
            self.runner.run(self.stack.aclose())
            self.runner.close()
            shutil.rmtree(self.folder)


TestArchiveMachine = ArchiveMachine.TestCase
TestArchiveMachine.settings = settings(
    max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
