"""Results of storage commitment reach those who asked, whatever they do; PS3.4 J.3.3. STANDARD SC-01, SC-04, SC-06."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kit.operation import Nobody
from kit.requester import PEER, TITLE, Heard, Reporting, Requester, listening, reporting
from pacslite.archive.commitment import Reference
from pacslite.dicom.transfer_syntax import IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL
from pacslite.dimse.command import CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import Context, OutgoingDataSet, Request, Response
from pacslite.errors import AssociationError, ConnectionLost
from pacslite.facts import CommitmentReported, DestinationFailed, JobFailed
from pacslite.net.association import Association
from pacslite.net.cancellation import Cancellation
from pacslite.net.requestor import Remote
from pacslite.services.commitment_data_set import CommitmentResult, read_result
from pacslite.services.destinations import Callee

REFERENCES = [Reference("1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{number}") for number in range(3)]
FAILED = [(reference, 0x0112) for reference in REFERENCES]
CONTEXT = Context(5, STORAGE_COMMITMENT_PUSH_MODEL, IMPLICIT_VR_LITTLE_ENDIAN)


async def takes(association: Association, number: int) -> Response:
    return Response()


def callee(remote: Remote) -> Callee:
    return Callee(remote=remote)


# --- By a call --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes_role", [True, False])
async def test_sc_04_the_requester_is_called_from_the_title_that_it_called(tmp_path: Path, takes_role: bool) -> None:
    requester = Requester(takes, takes_role=takes_role)
    async with reporting(tmp_path) as owing, listening(requester) as remote:
        owing.callees[TITLE] = callee(remote)
        number = await owing.owe("1.2.3", REFERENCES, called_ae="OLDPACS")
        reported = await owing.settled(number)
        assert requester.heard == [Heard(1 if takes_role else 2, "OLDPACS", 2, CommitmentResult("1.2.3", [], FAILED))]
        assert reported.reported_over == "new association"
        (told,) = await owing.fact(CommitmentReported)
        assert isinstance(told, CommitmentReported)
        assert (told.destination, told.request, told.committed, told.failed) == (TITLE, number, 0, 3)


async def test_reports_for_one_requester_share_an_association(tmp_path: Path) -> None:
    requester = Requester(takes)
    async with reporting(tmp_path) as owing:
        numbers = [await owing.owe(f"1.2.{number}", REFERENCES) for number in range(6)]
        async with listening(requester) as remote:
            owing.callees[TITLE] = callee(remote)
            for number in numbers:
                await owing.settled(number)
    assert len(requester.heard) == 6
    assert len({one.association for one in requester.heard}) < 6
    assert {one.result.transaction_uid for one in requester.heard} == {f"1.2.{number}" for number in range(6)}


async def test_sc_04_each_title_that_was_called_has_an_association_of_its_own(tmp_path: Path) -> None:
    requester = Requester(takes)
    async with reporting(tmp_path) as owing, listening(requester) as remote:
        titles = ["OLDPACS", "PACSLITE", "OLDPACS"]
        numbers = [await owing.owe(f"1.2.{at}", REFERENCES, called_ae=title) for at, title in enumerate(titles)]
        owing.callees[TITLE] = callee(remote)
        for number in numbers:
            await owing.settled(number)
    assert {one.result.transaction_uid: one.by for one in requester.heard} == {
        f"1.2.{at}": title for at, title in enumerate(titles)
    }


async def fails_twice(association: Association, number: int) -> Response:
    return Response(status=0x0110, comment="busy") if number < 3 else Response()


async def warns(association: Association, number: int) -> Response:
    return Response(status=0xB000)


async def aborts_twice(association: Association, number: int) -> Response:
    if number < 3:
        association.protocol.abort("no")
    return Response()


async def cuts_twice(association: Association, number: int) -> Response:
    if number < 3:
        association.protocol.cut("no")
    return Response()


async def silent_at_first(association: Association, number: int) -> Response:
    if number < 2:
        await asyncio.Event().wait()
    return Response()


@pytest.mark.parametrize(
    ("behaves", "heard"), [(fails_twice, 3), (warns, 1), (aborts_twice, 3), (cuts_twice, 3), (silent_at_first, 2)]
)
async def test_sc_06_it_is_told_until_it_answers_with_success_or_a_warning(
    tmp_path: Path, behaves: object, heard: int
) -> None:
    assert callable(behaves)
    requester = Requester(behaves)
    async with reporting(tmp_path, answer_s=0.3) as owing, listening(requester) as remote:
        owing.callees[TITLE] = callee(remote)
        await owing.settled(await owing.owe("1.2.3", REFERENCES))
    assert len(requester.heard) == heard
    assert all(one.result == CommitmentResult("1.2.3", [], FAILED) for one in requester.heard)


async def test_one_that_fails_for_one_result_takes_the_others(tmp_path: Path) -> None:
    async def picky(association: Association, number: int) -> Response:
        return Response(status=0x0110 if requester.heard[-1].result.transaction_uid == "1.2.0" else 0)

    requester = Requester(picky)
    async with reporting(tmp_path) as owing, listening(requester) as remote:
        owing.callees[TITLE] = callee(remote)
        for number in [await owing.owe(f"1.2.{number}", REFERENCES) for number in range(4)][1:]:
            await owing.settled(number)


@asynccontextmanager
async def in_front_of(remote: Remote, ends: Callable[[bytes], bytes | None]) -> AsyncIterator[Remote]:
    """A door: ``ends`` answers to some requests for an association with the last that is said; others go through."""
    doing: set[asyncio.Task[None]] = set()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    async def through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(6)
        request = head + await reader.readexactly(int.from_bytes(head[2:], "big"))
        answer = ends(request)
        if answer is not None:
            writer.write(answer)
            writer.close()
            return
        inner_reader, inner_writer = await asyncio.open_connection(remote.host, remote.port)
        inner_writer.write(request)
        for task in (copy(reader, inner_writer), copy(inner_reader, writer)):
            doing.add(asyncio.create_task(task))

    door = await asyncio.start_server(through, "127.0.0.1", 0)
    try:
        yield replace(remote, port=door.sockets[0].getsockname()[1])
    finally:
        door.close()
        for task in doing:
            task.cancel()


ROLE_SELECTION = b"\x54\x00\x00\x18"
"""The head of that sub-item, for the UID of storage commitment (PS3.7 D.3.3.4.1)."""


@pytest.mark.parametrize(
    "answer",
    [
        bytes.fromhex("070000000004 00000200"),
        bytes.fromhex("030000000004 00010101"),
        b"",
    ],
    ids=["aborts", "rejects", "hangs up"],
)
@pytest.mark.parametrize("wants_role", [False, True])
async def test_sc_04_whether_the_role_is_proposed_alternates_with_one_that_takes_no_association(
    tmp_path: Path, answer: bytes, wants_role: bool
) -> None:
    """Some cannot read the item and some insist on it; the last way that was good for a report is kept."""
    proposed: list[bool] = []

    def ends(request: bytes) -> bytes | None:
        has_role = ROLE_SELECTION in request
        proposed.append(has_role)
        is_first = len(proposed) == 1  # it may have had other reasons
        return answer if is_first or has_role != wants_role else None

    requester = Requester(takes)
    async with reporting(tmp_path) as owing, listening(requester) as inner, in_front_of(inner, ends) as remote:
        owing.callees[TITLE] = callee(remote)
        await owing.settled(await owing.owe("1.2.1", REFERENCES))
        assert proposed == ([True, False, True] if wants_role else [True, False])
        await owing.settled(await owing.owe("1.2.2", REFERENCES))
        assert proposed[-2:] == [wants_role, wants_role]
    assert [one.result.transaction_uid for one in requester.heard] == ["1.2.1", "1.2.2"]


@pytest.mark.parametrize(("serves", "admits"), [(False, True), (True, False)], ids=["no context", "no association"])
async def test_sc_06_one_that_does_not_want_is_asked_again(tmp_path: Path, serves: bool, admits: bool) -> None:
    async with reporting(tmp_path) as owing:
        async with listening(Requester(takes, serves=serves, admits=admits)) as remote:
            owing.callees[TITLE] = callee(remote)
            number = await owing.owe("1.2.3", REFERENCES)
            await owing.fact(DestinationFailed)
        willing = Requester(takes)
        async with listening(willing, remote.port):
            await owing.settled(number)
    assert len(willing.heard) == 1


async def test_one_that_is_no_peer_with_a_port_waits_until_it_is(tmp_path: Path) -> None:
    async with reporting(tmp_path) as owing:
        number = await owing.owe("1.2.3", REFERENCES)
        first, *_ = await owing.fact(DestinationFailed)
        assert isinstance(first, DestinationFailed)
        assert f"{TITLE} is no peer with a port" in first.reason
        requester = Requester(takes)
        async with listening(requester) as remote:
            owing.callees[TITLE] = callee(remote)
            await owing.settled(number)


async def test_what_was_tried_in_vain_is_not_put_off_for_as_long_as_the_requester_is(tmp_path: Path) -> None:
    """A call of its own, SIGHUP and a restart end the back-off of a requester, but not what a job has in its row."""
    first_s = 0.05
    async with reporting(tmp_path, retry_s=first_s, retry_most_s=3600.0) as owing:
        await owing.owe("1.2.3", REFERENCES)
        (*_, away) = await owing.fact(DestinationFailed, 6)
        (*_, job) = await owing.fact(JobFailed, 6)
        assert isinstance(away, DestinationFailed)
        assert isinstance(job, JobFailed)
        assert away.retry_in_s > 10 * first_s
        assert job.due_at <= time.time() + first_s


# --- On the association of the request --------------------------------------------------------------------------------


class Caller:
    """The requester, at the other end of the association on which it asked."""

    window = 1

    def __init__(self, *answers: int | AssociationError) -> None:
        self.contexts: Mapping[int, Context] = {CONTEXT.context_id: CONTEXT}
        self.answers = list(answers)
        self.told: list[tuple[int, Mapping[int, Value], CommitmentResult]] = []

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        assert isinstance(data_set, bytes)
        self.told.append((context_id, elements, read_result(data_set, transfer_syntax(CONTEXT.transfer_syntax))))
        answer = self.answers.pop(0)
        if isinstance(answer, AssociationError):
            raise answer
        return CommandSet({Tag.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RSP, Tag.STATUS: answer})


def asking(caller: Caller | Nobody) -> Request:
    return Request(
        peer=PEER,
        context=CONTEXT,
        command=CommandSet({Tag.COMMAND_FIELD: CommandField.N_ACTION_RQ, Tag.MESSAGE_ID: 1}),
        data_set=None,
        cancellation=Cancellation(),
        invoker=caller,
    )


@pytest.mark.parametrize("status", [0x0000, 0xB000])
async def test_sc_01_the_result_goes_over_the_association_of_the_request(tmp_path: Path, status: int) -> None:
    caller = Caller(status)
    async with reporting(tmp_path) as owing:
        number = await owing.owe("1.2.3", REFERENCES)
        line = owing.lines.open(number, asking(caller))
        assert line is not None
        line.answered()
        reported = await owing.settled(number)
    ((context_id, elements, result),) = caller.told
    assert context_id == CONTEXT.context_id
    assert elements[Tag.EVENT_TYPE_ID] == 2
    assert result == CommitmentResult("1.2.3", [], FAILED)
    assert reported.reported_over == "same association"


@pytest.mark.parametrize("answer", [0x0110, ConnectionLost("the peer released")], ids=["failure", "release"])
async def test_sc_04_what_it_does_not_take_there_it_is_called_for(
    tmp_path: Path, answer: int | AssociationError
) -> None:
    caller, requester = Caller(answer), Requester(takes)
    async with reporting(tmp_path) as owing, listening(requester) as remote:
        owing.callees[TITLE] = callee(remote)
        number = await owing.owe("1.2.3", REFERENCES)
        line = owing.lines.open(number, asking(caller))
        assert line is not None
        line.answered()
        reported = await owing.settled(number)
    assert len(caller.told) == len(requester.heard) == 1
    assert reported.reported_over == "new association"


async def test_what_a_requester_without_a_port_answered_is_told_to_people(tmp_path: Path) -> None:
    async with reporting(tmp_path) as owing:
        number = await owing.owe("1.2.3", REFERENCES)
        line = owing.lines.open(number, asking(Caller(0x0112)))
        assert line is not None
        line.answered()
        first, *_ = await owing.fact(JobFailed)
        assert isinstance(first, JobFailed)
        assert first.reason == f"answered 0112, and {TITLE} is no peer with a port"


async def test_sc_04_after_its_time_it_is_called(tmp_path: Path) -> None:
    caller, requester = Caller(0), Requester(takes)
    async with reporting(tmp_path, wait_s=0.01) as owing, listening(requester) as remote:
        owing.callees[TITLE] = callee(remote)
        number = await owing.owe("1.2.3", REFERENCES)
        owing.lines.open(number, asking(caller))  # whose answer does not leave in time
        await owing.settled(number)
    assert caller.told == []


async def tell_on_its_association(owing: Reporting, number: int) -> None:
    request = await owing.owe(f"1.2.{number}", REFERENCES)
    line = owing.lines.open(request, asking(Caller(0)))
    assert line is not None
    line.answered()
    assert (await owing.settled(request)).reported_over == "same association"


async def test_a_requester_that_is_being_called_in_vain_is_told_on_its_association(tmp_path: Path) -> None:
    called = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await reader.read(-1)
        writer.close()

    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with reporting(tmp_path, answer_s=30.0) as owing, silent:
        port = silent.sockets[0].getsockname()[1]
        owing.callees[TITLE] = callee(Remote(host="127.0.0.1", port=port, ae_title=TITLE))
        await owing.owe("1.2.0", REFERENCES)
        await called.wait()
        for number in range(1, 4):
            await tell_on_its_association(owing, number)


async def test_a_requester_that_was_called_in_vain_is_told_on_its_association(tmp_path: Path) -> None:
    async with reporting(tmp_path, retry_s=3600.0) as owing:
        await owing.owe("1.2.0", REFERENCES)
        await owing.fact(DestinationFailed)
        for number in range(1, 4):
            await tell_on_its_association(owing, number)
