"""How answers come and how they end: streamed, cancelled, limited, abandoned. STANDARD QF-01, QF-24."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import pytest

from kit.asking import asking, request
from kit.hospital import EVERYTHING_STORED
from kit.identifiers import identifier
from kit.population import fill, studies
from pacslite.archive.archive import Archive
from pacslite.archive.index import conditions
from pacslite.archive.query import Query, Row
from pacslite.dicom.elements import Value
from pacslite.dicom.matching import Key
from pacslite.dimse.service import Response
from pacslite.dimse.status import CANCEL, PENDING, SUCCESS
from pacslite.errors import OutOfResources, UnableToProcess
from pacslite.facts import Fact, QueryServed
from pacslite.net.cancellation import Cancellation
from pacslite.services.query import QueryService

MANY = 1000
ALL_STUDIES = identifier("STUDY", StudyInstanceUID=None)


class Scripted:
    """An archive that gives one batch, and the next when it is told to."""

    def __init__(self, *batches: Sequence[Row], error: Exception | None = None) -> None:
        self.batches = list(batches)
        self.error = error
        self.searching = asyncio.Event()
        self.go_on = asyncio.Event()
        self.closed = False

    async def find(self, query: Query) -> AsyncGenerator[Sequence[Row], None]:
        try:
            for batch in self.batches:
                yield batch
            if self.error is not None:
                raise self.error
            self.searching.set()
            await self.go_on.wait()
            yield [("9.9",)]
        finally:
            self.closed = True

    def service(self, facts: list[Fact], *, max_answers: int = 0) -> QueryService:
        return QueryService(
            cast(Archive, self),
            ae_title="PACSLITE",
            max_identifier_bytes=1000,
            max_answers=max_answers,
            observe=facts.append,
        )


def outcome(facts: list[Fact]) -> tuple[str, int]:
    (told,) = [fact for fact in facts if isinstance(fact, QueryServed)]
    return told.outcome, told.answers


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crowded") / "data"
    fill(folder, studies(MANY))
    return folder


async def test_the_first_answer_comes_before_the_last_row_is_read() -> None:
    archive, facts = Scripted([("1.1",), ("1.2",)]), list[Fact]()
    async with aclosing(archive.service(facts).serve(request(ALL_STUDIES))) as responses:
        assert [(await anext(responses)).status for _ in range(2)] == [PENDING, PENDING]
        waiting = asyncio.ensure_future(anext(responses))
        await archive.searching.wait()
        assert not waiting.done()
        archive.go_on.set()
        assert (await waiting).status == PENDING
        assert (await anext(responses)).status == SUCCESS
    assert outcome(facts) == ("complete", 3)


async def test_qf_24_a_cancel_while_the_archive_searches_breaks_the_search_off() -> None:
    archive, facts, cancellation = Scripted(), list[Fact](), Cancellation()
    service = archive.service(facts)
    async with aclosing(service.serve(request(ALL_STUDIES, cancellation=cancellation))) as responses:
        waiting = asyncio.ensure_future(anext(responses))
        await archive.searching.wait()
        cancellation.request()
        assert await waiting == Response(status=CANCEL)
        assert archive.closed
        with pytest.raises(StopAsyncIteration):
            await anext(responses)
    assert outcome(facts) == ("cancelled", 0)


async def test_qf_24_no_answer_follows_a_cancel_between_rows(crowded: Path) -> None:
    async with asking(crowded) as ask:
        cancellation = Cancellation()
        async with aclosing(ask.service.serve(request(ALL_STUDIES, cancellation=cancellation))) as responses:
            for _ in range(10):
                assert (await anext(responses)).status == PENDING
            cancellation.request()
            assert [response async for response in responses] == [Response(status=CANCEL)]
        assert outcome(ask.facts) == ("cancelled", 10)
        assert len((await ask(ALL_STUDIES)).pending) == MANY


async def test_qf_24_a_cancel_that_was_there_before_leaves_no_answer(crowded: Path) -> None:
    async with asking(crowded) as ask:
        cancellation = Cancellation()
        cancellation.request()
        asked = await ask(ALL_STUDIES, cancellation=cancellation)
        assert (asked.pending, asked.final.status) == ([], CANCEL)


async def test_qf_01_a_limit_is_a_failure_with_a_reason_and_never_a_silent_cut(tmp_path: Path) -> None:
    async with asking(tmp_path / "data", EVERYTHING_STORED, max_answers=3) as ask:
        with pytest.raises(OutOfResources, match="more than 3 matches; ask for less") as caught:
            await ask(ALL_STUDIES)
        assert caught.value.status == 0xA700
        assert outcome(ask.facts) == ("failed", 0)
    async with asking(tmp_path / "data", max_answers=4) as ask:
        asked = await ask(ALL_STUDIES)
        assert (len(asked.pending), asked.final.status) == (4, SUCCESS)


async def test_qf_01_a_limit_is_told_as_soon_as_it_is_known(crowded: Path) -> None:
    async with asking(crowded, max_answers=MANY - 1) as ask:
        with pytest.raises(OutOfResources):
            await ask(ALL_STUDIES)
        how, answers = outcome(ask.facts)
        assert how == "failed"
        assert answers < MANY


async def test_qf_01_answers_do_not_wait_for_ever_to_see_whether_there_are_too_many() -> None:
    batch = [(f"1.{number}",) for number in range(600)]
    archive, facts = Scripted(batch, batch, batch), list[Fact]()
    async with aclosing(archive.service(facts, max_answers=1500).serve(request(ALL_STUDIES))) as responses:
        for _ in range(1200):
            assert (await anext(responses)).status == PENDING
        with pytest.raises(OutOfResources, match="more than 1500 matches"):
            await anext(responses)
    assert archive.closed
    assert outcome(facts) == ("failed", 1200)


async def test_an_identifier_beyond_the_limit_is_a700(tmp_path: Path) -> None:
    async with asking(tmp_path / "data", max_identifier_bytes=100) as ask:
        with pytest.raises(OutOfResources, match="longer than 100 bytes") as caught:
            await ask(identifier("STUDY", StudyInstanceUID=None, PatientName="x" * 90))
        assert caught.value.status == 0xA700
        assert (await ask(ALL_STUDIES)).final.status == SUCCESS


async def test_an_index_that_cannot_be_read_is_cxxx_with_the_reason() -> None:
    archive, facts = Scripted([("1.1",)], error=sqlite3.DatabaseError("malformed")), list[Fact]()
    async with aclosing(archive.service(facts).serve(request(ALL_STUDIES))) as responses:
        assert (await anext(responses)).status == PENDING
        with pytest.raises(UnableToProcess, match="the index cannot be read: malformed") as caught:
            await anext(responses)
    assert caught.value.status & 0xF000 == 0xC000
    assert outcome(facts) == ("failed", 1)


async def test_qf_24_a_real_search_that_finds_nothing_is_broken_off(
    crowded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search is held at its first row until the C-CANCEL is there; then it does not look at all the others."""
    looked_at: list[Value] = []
    begun, go_on = threading.Event(), threading.Event()

    def matcher(key: Key) -> Callable[[Value], bool]:
        def no_match(value: Value) -> bool:
            looked_at.append(value)
            begun.set()
            return not go_on.wait(30)

        return no_match

    monkeypatch.setattr(conditions, "value_matcher", matcher)
    cancellation = Cancellation()
    async with asking(crowded) as ask:
        many_stars = identifier("STUDY", AccessionNumber="*A*?*?*?*")
        asked = asyncio.create_task(ask(many_stars, cancellation=cancellation))
        assert await asyncio.to_thread(begun.wait, 30)
        cancellation.request()
        for _ in range(10):
            await asyncio.sleep(0)
        go_on.set()
        assert ((await asked).pending, (await asked).final.status) == ([], CANCEL)
        assert outcome(ask.facts) == ("cancelled", 0)
    assert len(looked_at) < MANY // 2


async def test_a_list_that_nobody_wants_any_more_is_closed_and_told() -> None:
    archive, facts = Scripted([("1.1",), ("1.2",)]), list[Fact]()
    responses = archive.service(facts).serve(request(ALL_STUDIES))
    await anext(responses)
    await responses.aclose()
    assert archive.closed
    assert outcome(facts) == ("broken off", 0)


async def test_a_task_that_is_cancelled_closes_the_search() -> None:
    archive, facts = Scripted(), list[Fact]()

    async def run() -> None:
        async with aclosing(archive.service(facts).serve(request(ALL_STUDIES))) as responses:
            await anext(responses)

    task = asyncio.create_task(run())
    await archive.searching.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert archive.closed
    assert outcome(facts) == ("broken off", 0)
