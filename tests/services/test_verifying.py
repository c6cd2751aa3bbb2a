"""Storage commitment is verified while the outbox is worked off. STANDARD SC-02, SC-03."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kit.samples import CT, Sample, put, rows, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.commitments import CHUNK_INSTANCES
from pacslite.archive.index.commitment_rows import VERIFY
from pacslite.archive.job import Job, JobKind
from pacslite.archive.jobs import Settled
from pacslite.facts import CommitmentVerified, Fact, ignore
from pacslite.services.outbox import OutboxManner, OutboxWorker
from pacslite.services.rounds import Round
from pacslite.services.verifying import VerifyPerformer

JOBS = "SELECT kind, destination, subject, state FROM jobs ORDER BY id"
ONE = (CT, "1.1")


@dataclass
class Verifying:
    """An archive and one who verifies in it, a round at a time."""

    archive: Archive
    facts: list[Fact] = field(default_factory=list)
    asked: int = 0
    """How often it was asked whether a SOP class is stored: once for each unknown instance."""
    end_after: int = 0
    """The round ends when that was asked so often."""
    interfere: Callable[[], object] = int
    """Is called when it is asked."""
    digest: bool = False
    settled: list[Settled] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Why jobs failed in the last round."""
    left: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._round: Round | None = None

    async def receive(self, *references: tuple[str, str], transaction: str = "1.9") -> int:
        return await self.archive.commitments.receive(
            transaction_uid=transaction,
            calling_ae="CT1",
            called_ae="US",
            address="192.0.2.1",
            references=references,
            now=1000.0,
        )

    async def round(self) -> None:
        """One round, and what became of its jobs is written."""
        await self.perform()
        await self.write()

    async def perform(self) -> None:
        self.settled, self.reasons = [], []
        self._round = round = Round(
            VERIFY,
            1,
            outbox=self.archive.outbox,
            lease_s=60.0,
            began_at=0.0,
            settle=lambda one: self.settled.append(one) if isinstance(one, Settled) else None,
            fail=lambda _, reason: self.reasons.append(reason),
            changed=lambda: None,
        )
        performer = VerifyPerformer(
            self.archive, digest=self.digest, stores=self._stores, observe=self.facts.append, clock=lambda: 1002.0
        )
        await performer.perform(round)
        self.left = list(round.held)
        await round.close()

    async def write(self) -> None:
        await self.archive.outbox.settle(self.settled)
        await self.archive.outbox.release_all()

    def lose(self) -> None:
        """Somebody cancels what the round has."""
        if self._round is not None:
            for job in self._round.held:
                self._round.lose(job)

    def _stores(self, sop_class: str) -> bool:
        self.asked += 1
        self.interfere()
        if self.asked == self.end_after and self._round is not None:
            self._round.end()
        return True


@asynccontextmanager
async def verifying_at(folder: Path, **changes: object) -> AsyncIterator[Verifying]:
    async with Archive.open(settings_for(folder, **changes), observe=ignore) as archive:
        yield Verifying(archive)


def unknown(count: int) -> list[tuple[str, str]]:
    return [(CT, f"9.{number}") for number in range(count)]


async def test_a_request_is_verified_and_its_report_owed_as_soon_as_it_is_received(tmp_path: Path) -> None:
    async with verifying_at(tmp_path) as verifying:
        archive, verified = verifying.archive, asyncio.Event()
        await put(archive, Sample(instance="1.1"))

        def observe(fact: Fact) -> None:
            verifying.facts.append(fact)
            if isinstance(fact, CommitmentVerified):
                verified.set()

        performer = VerifyPerformer(archive, digest=True, stores=lambda _: True, observe=observe, clock=lambda: 1002.5)
        manner = OutboxManner(poll_s=3600.0)
        async with OutboxWorker(
            archive.outbox, {JobKind.VERIFY: performer}, manner=manner, places=lambda _: 0, observe=ignore
        ):
            request = await verifying.receive(ONE, *unknown(1))
            await asyncio.wait_for(verified.wait(), 20)
        assert verifying.facts == [
            CommitmentVerified(requester="CT1", request=request, transaction="1.9", committed=1, failed=1, seconds=2.5)
        ]
        assert rows(tmp_path, JOBS) == [("report", "CT1", str(request), "waiting")]


async def test_a_small_request_does_not_wait_for_a_large_one(tmp_path: Path) -> None:
    async with verifying_at(tmp_path) as verifying:
        large = await verifying.receive(*unknown(4 * CHUNK_INSTANCES), transaction="1.1")
        small = await verifying.receive(ONE, transaction="1.2")
        await verifying.round()
        order = [fact.request for fact in verifying.facts if isinstance(fact, CommitmentVerified)]
        assert order == [small, large]


async def test_a_small_request_waits_for_none_of_many_large_ones(tmp_path: Path) -> None:
    """Whoever asks for more than can be begun at once keeps nobody else waiting."""
    async with verifying_at(tmp_path) as verifying:
        large = [await verifying.receive(*unknown(2200), transaction=f"1.1.{number}") for number in range(7)]
        small = await verifying.receive(ONE, transaction="1.2")
        await verifying.round()
        order = [fact.request for fact in verifying.facts if isinstance(fact, CommitmentVerified)]
        assert order == [small, *large]


async def test_a_round_that_is_over_leaves_the_rest_to_the_next(tmp_path: Path) -> None:
    """Where it was: nothing is verified twice."""
    async with verifying_at(tmp_path) as verifying:
        request = await verifying.receive(*unknown(3 * CHUNK_INSTANCES))
        verifying.end_after = CHUNK_INSTANCES + 1
        await verifying.round()
        assert (verifying.settled, [job.subject for job in verifying.left]) == ([], [str(request)])
        assert rows(tmp_path, "SELECT checked FROM commitment_requests") == [(2 * CHUNK_INSTANCES,)]
        await verifying.round()
        assert verifying.asked == 3 * CHUNK_INSTANCES
        assert rows(tmp_path, JOBS) == [("report", "CT1", str(request), "waiting")]


async def test_what_was_verified_by_another_is_only_settled(tmp_path: Path) -> None:
    """The server was killed between the last chunk and the settlement."""
    async with verifying_at(tmp_path) as verifying:
        request = await verifying.receive(ONE)
        await verifying.archive.commitments.verify(request, digest=False, stores=lambda _: True)
        await verifying.round()
        assert verifying.asked == 0
        assert rows(tmp_path, JOBS) == [("report", "CT1", str(request), "waiting")]


async def test_a_job_without_a_request_is_done(tmp_path: Path) -> None:
    async with verifying_at(tmp_path) as verifying:
        await verifying.receive(ONE)
        await verifying.archive.workshop.index.run(
            lambda writer: writer.connection.execute("DELETE FROM commitment_requests")
        )
        await verifying.round()
        assert rows(tmp_path, JOBS) == []
        assert verifying.facts == []


async def test_trouble_with_the_index_is_no_verdict(tmp_path: Path) -> None:
    """Another process has it for too long: the job fails and comes again; no instance is refused for that."""
    async with verifying_at(tmp_path, busy_timeout_s=0.1) as verifying:
        request = await verifying.receive(*unknown(1))
        with closing(sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)) as other:
            verifying.interfere = lambda: other.execute("BEGIN IMMEDIATE")
            await verifying.perform()
        verifying.interfere = int
        assert verifying.reasons == ["the index cannot be used: database is locked"]
        assert rows(tmp_path, "SELECT count(*) FROM commitment_items") == [(0,)]
        await verifying.write()
        await verifying.round()
        verdict = await verifying.archive.commitments.result(request)
        assert verdict is not None
        assert verdict.failed == [(unknown(1)[0], 0x0112)]


@pytest.mark.parametrize("digest", [False, True])
async def test_too_many_open_files_say_nothing_about_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: bool
) -> None:
    async with verifying_at(tmp_path) as verifying:
        verifying.digest = digest
        await put(verifying.archive, Sample(instance="1.1"))
        request = await verifying.receive(ONE)
        name = "open" if digest else "stat"
        call = getattr(os, name)

        def fail(path: object, *arguments: object, **more: object) -> object:
            if str(path).endswith(".dcm"):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return call(path, *arguments, **more)

        with monkeypatch.context() as patched:
            patched.setattr(os, name, fail)
            await verifying.round()
        assert verifying.reasons == ["files cannot be read: Too many open files"]
        await verifying.round()
        verdict = await verifying.archive.commitments.result(request)
        assert verdict is not None
        assert verdict.committed == [ONE]


async def test_a_job_that_was_cancelled_is_not_gone_on_with(tmp_path: Path) -> None:
    async with verifying_at(tmp_path) as verifying:
        await verifying.receive(*unknown(3 * CHUNK_INSTANCES))
        verifying.interfere = verifying.lose
        await verifying.round()
        assert verifying.asked == CHUNK_INSTANCES
        assert (verifying.settled, verifying.reasons) == ([], [])
