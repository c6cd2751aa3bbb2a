"""What the archive promises: storage commitment, asked for, verified and known. STANDARD SC-02, SC-03, SC-05."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.samples import CT, Sample, put, rows, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.commitment import FailureReason, RequestState, Verdict
from pacslite.archive.commitments import CHUNK_INSTANCES, Verification
from pacslite.archive.file_checks import FileChecks, Indexed
from pacslite.archive.index.commitment_rows import VERIFY
from pacslite.archive.index.reader import IndexReader
from pacslite.archive.jobs import Settled
from pacslite.archive.settings import DuplicatePolicy
from pacslite.facts import ignore

MR = "1.2.840.10008.5.1.4.1.1.4"
PRINTER = "1.2.840.10008.5.1.1.16"
ONE, TWO, THREE = (CT, "1.1"), (CT, "1.2"), (CT, "1.3")
UNKNOWN = (CT, "9.9")
JOBS = "SELECT kind, destination, subject, state FROM jobs ORDER BY id"


def stores(sop_class: str) -> bool:
    return sop_class in (CT, MR)


@dataclass
class Asking:
    """Requesters of an archive."""

    archive: Archive
    folder: Path
    now: float = 1000.0

    async def store(self, *instances: str) -> None:
        for instance in instances:
            await put(self.archive, Sample(instance=instance))

    async def ask(self, *references: tuple[str, str], transaction: str = "1.9", by: str = "CT1", to: str = "US") -> int:
        self.now += 1
        return await self.archive.commitments.receive(
            transaction_uid=transaction,
            calling_ae=by,
            called_ae=to,
            address="192.0.2.1",
            references=references,
            now=self.now,
        )

    async def verify(self, request: int, *, digest: bool = False) -> Verdict:
        """As the job does it, its settlement included."""
        await self.archive.commitments.verify(request, digest=digest, stores=stores)
        await self.settle(request)
        verdict = await self.archive.commitments.result(request)
        assert verdict is not None
        return verdict

    async def settle(self, request: int) -> None:
        await self.archive.workshop.index.run(self.archive.commitments.verified(request))
        await self.archive.workshop.index.run(
            lambda writer: writer.connection.execute("DELETE FROM jobs WHERE kind = 'verify'")
        )

    async def report(self, request: int) -> None:
        await self.archive.workshop.index.run(self.archive.commitments.reported(request, "same association"))
        await self.archive.workshop.index.run(lambda writer: writer.connection.execute("DELETE FROM jobs"))

    async def path_of(self, instance: str) -> Path:
        stored = await self.archive.read(instance)
        assert stored is not None
        return stored.path


@asynccontextmanager
async def asking_at(folder: Path, duplicates: DuplicatePolicy = DuplicatePolicy.KEEP) -> AsyncIterator[Asking]:
    async with Archive.open(settings_for(folder, duplicates=duplicates), observe=ignore) as archive:
        yield Asking(archive, folder)


@pytest_asyncio.fixture
async def asking(quick_path: Path) -> AsyncIterator[Asking]:
    async with asking_at(quick_path) as asking:
        yield asking


def reasons(verdict: Verdict) -> dict[str, int]:
    return {reference.sop_instance_uid: reason for reference, reason in verdict.failed}


# --- Requests --------------------------------------------------------------------------------------------------------


async def test_a_request_is_durable_and_its_verification_owed_when_it_is_received(asking: Asking) -> None:
    """SC-02: what is answered now is that it was received."""
    told: list[str] = []
    asking.archive.outbox.when_added(told.append)
    request = await asking.ask(ONE, TWO)
    assert rows(
        asking.folder, "SELECT transaction_uid, calling_ae, called_ae, instances, state FROM commitment_requests"
    ) == [("1.9", "CT1", "US", 2, "received")]
    assert rows(asking.folder, JOBS) == [("verify", "", str(request), "waiting")]
    assert told == [""]
    assert await asking.archive.commitments.result(request) is None


async def test_a_result_is_there_with_the_report_that_is_owed(asking: Asking) -> None:
    await asking.store("1.1")
    request = await asking.ask(ONE, UNKNOWN, by="CT7", to="ARCHIVE2")
    verdict = await asking.verify(request)
    assert verdict.committed == [ONE]
    assert verdict.failed == [(UNKNOWN, 0x0112)]
    assert (verdict.request.transaction_uid, verdict.request.calling_ae, verdict.request.called_ae) == (
        "1.9",
        "CT7",
        "ARCHIVE2",
    )
    assert (verdict.request.state, verdict.request.committed, verdict.request.failed) == (RequestState.VERIFIED, 1, 1)
    assert rows(asking.folder, JOBS) == [("report", "CT7", str(request), "waiting")]


async def test_a_report_that_was_taken_is_known(asking: Asking) -> None:
    request = await asking.ask(ONE)
    await asking.verify(request)
    await asking.report(request)
    (summary,) = await asking.archive.commitments.requests()
    assert summary.state is RequestState.REPORTED
    assert summary.reported_over == "same association"
    assert summary.reported_at is not None


async def test_the_answer_is_exactly_what_was_asked_in_its_order(asking: Asking) -> None:
    """SC-03: each as often as it was named."""
    await asking.store("1.1", "1.2")
    verdict = await asking.verify(await asking.ask(TWO, UNKNOWN, ONE, TWO, ("", ""), UNKNOWN))
    assert verdict.committed == [TWO, ONE, TWO]
    assert verdict.failed == [(UNKNOWN, 0x0112), (("", ""), 0x0112), (UNKNOWN, 0x0112)]


# --- Repetitions -----------------------------------------------------------------------------------------------------


async def test_the_same_request_while_it_is_verified_is_nothing_new(asking: Asking) -> None:
    """SC-05: a requester that has lost its association asks again."""
    request = await asking.ask(ONE, TWO)
    await asking.archive.workshop.index.run(
        lambda writer: writer.connection.execute("UPDATE jobs SET state = 'running', lease = 'x'")
    )
    assert await asking.ask(ONE, TWO) == request
    assert rows(asking.folder, JOBS) == [("verify", "", str(request), "running")]


@pytest.mark.parametrize("lost", ["DELETE FROM jobs", "UPDATE jobs SET state = 'dead'"])
async def test_the_same_request_wakes_one_that_nobody_works_on(asking: Asking, lost: str) -> None:
    """The job was cancelled, or given up."""
    request = await asking.ask(ONE)
    await asking.archive.workshop.index.run(lambda writer: writer.connection.execute(lost))
    assert await asking.ask(ONE) == request
    assert rows(asking.folder, JOBS) == [("verify", "", str(request), "waiting")]


async def test_the_same_request_again_is_verified_and_reported_anew(asking: Asking) -> None:
    """SC-05. What was missing may have come, and the requester may call us by another title."""
    await asking.store("1.1")
    request = await asking.ask(ONE, TWO)
    assert reasons(await asking.verify(request)) == {"1.2": 0x0112}
    await asking.report(request)
    await asking.store("1.2")
    assert await asking.ask(ONE, TWO, to="OTHER") == request
    assert await asking.archive.commitments.result(request) is None
    assert rows(asking.folder, JOBS) == [("verify", "", str(request), "waiting")]
    await asking.archive.workshop.index.run(asking.archive.commitments.reported(request, "late"))  # of the last one
    verdict = await asking.verify(request)
    assert (verdict.committed, verdict.failed) == ([ONE, TWO], [])
    assert (verdict.request.called_ae, verdict.request.committed, verdict.request.failed) == ("OTHER", 2, 0)
    assert verdict.request.state is RequestState.VERIFIED
    assert rows(asking.folder, JOBS) == [("report", "CT1", str(request), "waiting")]
    assert rows(asking.folder, "SELECT count(*) FROM commitment_items") == [(2,)]


async def test_a_transaction_uid_used_for_something_else_fails_and_the_first_promise_stands(asking: Asking) -> None:
    """SC-05: 0131 for every instance."""
    await asking.store("1.1", "1.2")
    first = await asking.ask(ONE)
    await asking.verify(first)
    for by in ("CT1", "CT2"):
        other = await asking.ask(ONE, TWO, by=by)
        assert other != first
        verdict = await asking.verify(other)
        assert verdict.committed == []
        assert verdict.failed == [(ONE, 0x0131), (TWO, 0x0131)]
        assert await asking.ask(ONE, TWO, by=by) == other  # and a repetition of that is one
        await asking.verify(other)
    verdict = await asking.verify(first)
    assert (verdict.committed, verdict.request.is_duplicate) == ([ONE], False)
    assert await asking.ask(ONE) == first


async def test_the_same_asked_by_two_is_promised_to_both(asking: Asking) -> None:
    await asking.store("1.1")
    first, second = await asking.ask(ONE, by="CT1"), await asking.ask(ONE, by="CT2")
    assert first != second
    for request in (first, second):
        assert (await asking.verify(request)).committed == [ONE]


# --- What is verified ------------------------------------------------------------------------------------------------


async def test_every_failure_has_its_reason(asking: Asking) -> None:
    """SC-03; PS3.3 C.14.1.1."""
    await asking.store("1.1", "1.2", "1.3", "1.4", "1.5")
    (await asking.path_of("1.2")).unlink()
    with (await asking.path_of("1.3")).open("r+b") as file:
        file.truncate(200)
    with (await asking.path_of("1.4")).open("ab") as file:
        file.write(b"\0")
    request = await asking.ask(
        ONE, TWO, THREE, (CT, "1.4"), (MR, "1.5"), ("", "1.5"), UNKNOWN, (PRINTER, "9.8"), ("", "9.7"), (CT, "")
    )
    verdict = await asking.verify(request)
    assert verdict.committed == [ONE]
    assert [(reference, FailureReason(reason).name) for reference, reason in verdict.failed] == [
        (TWO, "PROCESSING_FAILURE"),
        (THREE, "PROCESSING_FAILURE"),
        ((CT, "1.4"), "PROCESSING_FAILURE"),
        ((MR, "1.5"), "CLASS_INSTANCE_CONFLICT"),
        (("", "1.5"), "CLASS_INSTANCE_CONFLICT"),
        (UNKNOWN, "NO_SUCH_OBJECT_INSTANCE"),
        ((PRINTER, "9.8"), "SOP_CLASS_NOT_SUPPORTED"),
        (("", "9.7"), "NO_SUCH_OBJECT_INSTANCE"),
        ((CT, ""), "NO_SUCH_OBJECT_INSTANCE"),
    ]


async def test_only_reading_finds_other_content(asking: Asking) -> None:
    for number in range(1, 30):  # several batches of several threads
        await put(asking.archive, Sample(instance=f"1.{number}", pixels=b"\1\2" * 500_000))
    for instance in ("1.2", "1.29"):
        with (await asking.path_of(instance)).open("r+b") as file:
            file.seek(-2, 2)
            file.write(b"\3")
    (await asking.path_of("1.3")).unlink()
    with (await asking.path_of("1.1")).open("r+b") as file:
        file.truncate(1000)
    asked = [(CT, f"1.{number}") for number in range(1, 30)]
    present = await asking.verify(await asking.ask(*asked, transaction="1.1"))
    assert reasons(present) == {"1.1": 0x0110, "1.3": 0x0110}
    read = await asking.verify(await asking.ask(*asked, transaction="1.2"), digest=True)
    assert reasons(read) == {"1.1": 0x0110, "1.2": 0x0110, "1.3": 0x0110, "1.29": 0x0110}


async def test_an_empty_object_and_one_of_no_patient_can_be_committed(asking: Asking) -> None:
    protocol = "1.2.840.10008.5.1.4.38.1"
    await put(asking.archive, Sample(instance="1.1", sop_class=protocol, study="", series=""))
    for digest in (False, True):
        verdict = await asking.verify(await asking.ask((protocol, "1.1"), transaction=f"1.{digest:d}"), digest=digest)
        assert verdict.committed == [(protocol, "1.1")]


async def test_what_contradicted_a_stored_object_is_committed_by_its_uid(asking: Asking) -> None:
    """It was kept aside; what the UID means, and what is sent for it, is the object that was first."""
    await asking.store("1.1")
    await put(asking.archive, Sample(instance="1.1", pixels=b"\7\7" * 50))
    assert (await asking.verify(await asking.ask(ONE))).committed == [ONE]


async def test_many_are_verified_in_chunks(asking: Asking) -> None:
    await asking.store("1.1", "1.2")
    many = [ONE, *((CT, f"9.{number}") for number in range(2 * CHUNK_INSTANCES)), TWO]
    verdict = await asking.verify(await asking.ask(*many))
    assert verdict.committed == [ONE, TWO]
    assert [reference for reference, _ in verdict.failed] == many[1:-1]


# --- Meanwhile -------------------------------------------------------------------------------------------------------


class Interrupted(FileChecks):
    """Something happens each time after files were looked at, before that is written down."""

    def __init__(self, asking: Asking, reader: IndexReader, happens: Callable[[], Awaitable[object]]) -> None:
        super().__init__(reader, asking.archive.workshop.threads, asking.folder)
        self._happens = happens

    async def unsound(self, objects: Sequence[Indexed], *, digest: bool) -> set[str]:
        found = await super().unsound(objects, digest=digest)
        await self._happens()
        return found


async def interrupted(
    asking: Asking, request: int, references: Sequence[tuple[str, str]], happens: Callable[[], Awaitable[object]]
) -> Verdict:
    summary = await asking.archive.commitments.request(request)
    assert summary is not None
    reader = IndexReader(asking.archive.layout.index, count=1, busy_timeout_s=20)
    try:
        verification = Verification(
            summary,
            iter(references),
            asking.archive.workshop.index,
            Interrupted(asking, reader, happens),
            digest=False,
            stores=stores,
        )
        assert not await verification.step()
    finally:
        await reader.close()
    await asking.settle(request)
    verdict = await asking.archive.commitments.result(request)
    assert verdict is not None
    return verdict


async def test_what_is_deleted_meanwhile_is_not_committed(asking: Asking) -> None:
    """Between the look at its file and the transaction that would protect it."""
    await asking.store("1.1", "1.2")

    async def delete() -> None:
        await asking.archive.workshop.index.run(lambda writer: writer.remove("1.1"))

    verdict = await interrupted(asking, await asking.ask(ONE, TWO, ONE), (ONE, TWO, ONE), delete)
    assert (verdict.committed, verdict.failed) == ([TWO], [(ONE, 0x0112), (ONE, 0x0112)])


async def test_what_comes_meanwhile_is_committed(asking: Asking) -> None:
    verdict = await interrupted(asking, await asking.ask(ONE), (ONE,), partial(asking.store, "1.1"))
    assert verdict.committed == [ONE]


@pytest.mark.parametrize(("times", "failed"), [(1, []), (99, [(ONE, 0x0110)])])
async def test_what_is_replaced_meanwhile_is_looked_at_again_but_not_for_ever(
    quick_path: Path, times: int, failed: Sequence[tuple[tuple[str, str], int]]
) -> None:
    async with asking_at(quick_path, DuplicatePolicy.REPLACE) as asking:
        contents = iter(range(times))

        async def replace() -> None:
            for content in islice(contents, 1):
                await put(asking.archive, Sample(instance="1.1", pixels=bytes([content, 0]) * 60))

        await asking.store("1.1", "1.2")
        verdict = await interrupted(asking, await asking.ask(ONE, TWO), (ONE, TWO), replace)
        assert verdict.failed == failed
        assert TWO in verdict.committed


async def test_verification_goes_on_where_it_was(quick_path: Path) -> None:
    """Whoever verified it is gone, and so is the server; what was decided stays decided."""
    references = [(CT, f"1.{number}") for number in range(3 * CHUNK_INSTANCES)]
    async with asking_at(quick_path) as asking:
        await asking.store("1.0", f"1.{2 * CHUNK_INSTANCES}")
        request = await asking.ask(*references)
        verification = await asking.archive.commitments.verification(request, digest=False, stores=stores)
        assert verification is not None
        assert await verification.step()
        half_way = asyncio.create_task(verification.step())
        await asyncio.sleep(0)
        half_way.cancel()
        await asyncio.wait([half_way])
    async with asking_at(quick_path) as asking:
        assert rows(asking.folder, "SELECT count(*) FROM commitment_items WHERE failure_reason = 0") == [(1,)]
        await asking.archive.workshop.index.run(lambda writer: writer.remove("1.0"))
        summary = await asking.archive.commitments.request(request)
        assert summary is not None
        assert summary.checked >= CHUNK_INSTANCES
        await asking.archive.workshop.index.run(asking.archive.commitments.verified(request))
        assert await asking.archive.commitments.result(request) is None  # not before all of it is
        verdict = await asking.verify(request)
    assert verdict.committed == [references[0], references[2 * CHUNK_INSTANCES]]
    assert len(verdict.failed) == 3 * CHUNK_INSTANCES - 2
    assert (verdict.request.committed, verdict.request.failed) == (2, 3 * CHUNK_INSTANCES - 2)


async def test_two_at_once_decide_everything_once(asking: Asking) -> None:
    """A lease ran out, and its holder was only slow."""
    await asking.store("1.1")
    references = [ONE, *((CT, f"9.{number}") for number in range(3 * CHUNK_INSTANCES))]
    request = await asking.ask(*references)
    verify = partial(asking.archive.commitments.verify, request, digest=False, stores=stores)
    await asyncio.gather(verify(), verify())
    await verify()
    verdict = await asking.verify(request)
    assert (verdict.request.committed, verdict.request.failed) == (1, 3 * CHUNK_INSTANCES)
    assert [*verdict.committed, *(reference for reference, _ in verdict.failed)] == references


async def test_whoever_was_overtaken_leaves_the_rest_owed(asking: Asking) -> None:
    """SC-06: the one who is further has lost the job, and would settle nothing."""
    request = await asking.ask(*((CT, f"9.{number}") for number in range(3 * CHUNK_INSTANCES)))
    archive = asking.archive
    (job,) = await archive.outbox.take(VERIFY, most=1, lease_s=60)
    first = await archive.commitments.verification(request, digest=False, stores=stores)
    second = await archive.commitments.verification(request, digest=False, stores=stores)
    assert first is not None
    assert second is not None
    assert await second.step()
    assert not await first.step(), "it was overtaken"
    await archive.outbox.settle([Settled(job=job, change=archive.commitments.verified(request))])
    assert rows(asking.folder, JOBS) == [("verify", "", str(request), "waiting")]
    (job,) = await archive.outbox.take(VERIFY, most=1, lease_s=60)
    await archive.commitments.verify(request, digest=False, stores=stores)
    await archive.outbox.settle([Settled(job=job, change=archive.commitments.verified(request))])
    assert rows(asking.folder, JOBS) == [("report", "CT1", str(request), "waiting")]


pool = st.sampled_from([ONE, TWO, THREE, (MR, "1.1"), ("", "1.2"), UNKNOWN, (PRINTER, "9.1"), ("", "")])
EXPECTED = {ONE: 0, TWO: 0, THREE: 0x0110, (MR, "1.1"): 0x0119, ("", "1.2"): 0x0119, UNKNOWN: 0x0112} | {
    (PRINTER, "9.1"): 0x0122,
    ("", ""): 0x0112,
}


def test_any_requests_are_answered_as_each_instance_is(quick_path: Path) -> None:
    """SC-03, SC-05: one after another, repetitions and reused Transaction UIDs among them, against a model."""

    requests = st.tuples(
        st.sampled_from(["1.1", "1.2", "1.3"]),
        st.sampled_from(["CT1", "CT2"]),
        st.lists(pool, min_size=1, max_size=4).map(tuple),
    )

    async def run(folder: Path, asked: Sequence[tuple[str, str, tuple[tuple[str, str], ...]]]) -> None:
        async with asking_at(folder) as asking:
            await asking.store("1.1", "1.2", "1.3")
            (await asking.path_of("1.3")).unlink()
            meaning: dict[str, tuple[tuple[str, str], ...]] = {}
            numbers: dict[tuple[object, ...], int] = {}
            for transaction, by, references in asked:
                first = meaning.setdefault(transaction, references)
                request = await asking.ask(*references, transaction=transaction, by=by)
                assert numbers.setdefault((transaction, by, references), request) == request
                verdict = await asking.verify(request)
                expected = [(one, EXPECTED[one] if references == first else 0x0131) for one in references]
                assert verdict.committed == [one for one, reason in expected if not reason]
                assert verdict.failed == [(one, reason) for one, reason in expected if reason]
            assert len(set(numbers.values())) == len(numbers)

    folders = iter(range(1000))

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(requests, min_size=1, max_size=8))
    def check(asked: Sequence[tuple[str, str, tuple[tuple[str, str], ...]]]) -> None:
        asyncio.run(run(quick_path / str(next(folders)), asked))

    check()


# --- What is known afterwards ----------------------------------------------------------------------------------------


async def test_the_history_of_an_object_is_kept(asking: Asking) -> None:
    await asking.store("1.1")
    first = await asking.ask(TWO, ONE, transaction="1.1")
    await asking.verify(first)
    await asking.report(first)
    await asking.archive.workshop.index.run(lambda writer: writer.remove("1.1"))
    second = await asking.ask(ONE, transaction="1.2", by="CT2")
    await asking.verify(second)
    history = await asking.archive.commitments.promises("1.1")
    assert [(one.request.id, one.request.calling_ae, one.number, one.failure_reason) for one in history] == [
        (first, "CT1", 1, 0),
        (second, "CT2", 0, 0x0112),
    ]
    assert [one.request.state for one in history] == [RequestState.REPORTED, RequestState.VERIFIED]
    assert await asking.archive.commitments.promises("9.9") == []
    assert await asking.archive.commitments.deliveries("1.1") == []


async def test_requests_are_listed_newest_first(asking: Asking) -> None:
    commitments = asking.archive.commitments
    first = await asking.ask(ONE, transaction="1.1", by="CT1")
    second = await asking.ask(ONE, transaction="1.2", by="CT2")
    third = await asking.ask(ONE, transaction="1.3", by="CT1")
    await asking.verify(first)
    await asking.report(first)
    for listed, expected in (
        (await commitments.requests(), [third, second, first]),
        (await commitments.requests(limit=2), [third, second]),
        (await commitments.requests(calling_ae="CT1"), [third, first]),
        (await commitments.requests(unreported=True), [third, second]),
        (await commitments.requests(unreported=True, calling_ae="CT2"), [second]),
        (await commitments.requests(transaction_uid="1.1"), [first]),
    ):
        assert [one.id for one in listed] == expected
    assert await commitments.request(99) is None


async def test_the_items_of_a_request_can_be_read(asking: Asking) -> None:
    await asking.store("1.1")
    request = await asking.ask(ONE, *((CT, f"9.{number}") for number in range(1200)))
    await asking.verify(request)
    items = [item async for item in asking.archive.commitments.items(request)]
    assert [item.number for item in items] == list(range(1201))
    failed = [item async for item in asking.archive.commitments.items(request, failed_only=True)]
    assert failed == items[1:]
    assert [item async for item in asking.archive.commitments.items(99)] == []
