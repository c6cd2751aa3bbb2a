"""Requests for storage commitment on a real archive, without a network. PS3.4 J.3.2; STANDARD SC-01, SC-02, SC-05."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

import pytest

from kit.operation import Bytes, Nobody
from pacslite.archive.archive import Archive
from pacslite.archive.commitment import Reference, RequestState
from pacslite.archive.settings import ArchiveSettings
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import Context, Request, Response
from pacslite.errors import (
    ClassInstanceConflict,
    DimseError,
    MistypedArgument,
    NoSuchAction,
    NoSuchObjectInstance,
    ProcessingFailure,
    ResourceLimitation,
)
from pacslite.facts import CommitmentRequested, Fact, Peer
from pacslite.net.cancellation import Cancellation
from pacslite.services.commitment import CommitmentLimits, CommitmentService
from pacslite.services.commitment_data_set import CommitmentRequest, write_request
from pacslite.services.held_bytes import HeldBytes
from pacslite.services.open_lines import OpenLines

PEER = Peer(association=1, address="10.1.2.3", port=1, calling_ae="CT1", called_ae="OLDPACS")
TRANSACTION = "1.2.3.4"
REFERENCES = [Reference("1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{number}") for number in range(3)]
NOW = 1_800_000_000.0
COMMAND: dict[int, Value] = {
    Tag.COMMAND_FIELD: CommandField.N_ACTION_RQ,
    Tag.REQUESTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
    Tag.REQUESTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    Tag.ACTION_TYPE_ID: 1,
    Tag.MESSAGE_ID: 1,
}


def encoded(
    references: Sequence[Reference] = REFERENCES,
    transaction_uid: str = TRANSACTION,
    syntax: str = EXPLICIT_VR_LITTLE_ENDIAN,
) -> bytes:
    return write_request(CommitmentRequest(transaction_uid, references), transfer_syntax(syntax))


def n_action(
    data: bytes | None, changes: dict[int, Value] | None = None, *, syntax: str = EXPLICIT_VR_LITTLE_ENDIAN
) -> Request:
    return Request(
        peer=PEER,
        context=Context(1, STORAGE_COMMITMENT_PUSH_MODEL, syntax),
        command=CommandSet({**COMMAND, **(changes or {})}),
        data_set=None if data is None else Bytes(data),
        cancellation=Cancellation(),
        invoker=Nobody(),
    )


class Asked:
    """The service, with what it has around it."""

    def __init__(self, archive: Archive, limits: CommitmentLimits) -> None:
        self.archive = archive
        self.facts: list[Fact] = []
        self.lines = OpenLines(lambda calling_ae: 60.0)
        self.heard_of: list[str] = []
        archive.outbox.when_added(self.heard_of.append)
        self.service = CommitmentService(
            archive,
            self.lines,
            limits=limits,
            held=HeldBytes(limits.max_request_bytes),
            observe=self.facts.append,
            clock=lambda: NOW,
        )

    async def answer(self, request: Request) -> Response:
        async with aclosing(self.service.serve(request)) as responses:
            (response,) = [one async for one in responses]
        return response

    def owed(self) -> list[tuple[str, str]]:
        """Kind and subject of every job, as another process sees them."""
        with closing(sqlite3.connect(self.archive.layout.index)) as index:
            return index.execute("SELECT kind, subject FROM jobs").fetchall()


@asynccontextmanager
async def asked(folder: Path, *, max_bytes: int = 1 << 20, max_instances: int = 1000) -> AsyncIterator[Asked]:
    settings = ArchiveSettings(folder=folder / "data", min_free_bytes=0)
    limits = CommitmentLimits(max_request_bytes=max_bytes, max_instances=max_instances)
    async with Archive.open(settings, observe=lambda fact: None) as archive:
        yield Asked(archive, limits)


async def test_sc_02_success_means_that_the_request_and_its_verification_are_kept(tmp_path: Path) -> None:
    async with asked(tmp_path) as one, aclosing(one.service.serve(n_action(encoded()))) as responses:
        response = await anext(responses)
        (kept,) = await one.archive.commitments.requests()
        assert one.owed() == [("verify", str(kept.id))]
        assert response.status == 0x0000
        assert response.elements == {Tag.ACTION_TYPE_ID: 1}
        assert response.data_set is None
        assert kept.state is RequestState.RECEIVED
        assert (kept.transaction_uid, kept.instances, kept.received_at) == (TRANSACTION, 3, NOW)
        assert (kept.calling_ae, kept.called_ae, kept.address) == ("CT1", "OLDPACS", "10.1.2.3")
        assert one.facts == [CommitmentRequested(peer=PEER, request=kept.id, transaction=TRANSACTION, instances=3)]
        assert "CT1" in one.heard_of


async def test_sc_01_the_syntax_is_that_of_the_context(tmp_path: Path) -> None:
    async with asked(tmp_path) as one:
        syntax = IMPLICIT_VR_LITTLE_ENDIAN
        await one.answer(n_action(encoded(syntax=syntax), syntax=syntax))
        (kept,) = await one.archive.commitments.requests()
        assert kept.instances == 3


async def test_sc_04_its_line_is_ready_once_the_answer_has_left(tmp_path: Path) -> None:
    async with asked(tmp_path) as one:
        request = n_action(encoded())
        response = await one.answer(request)
        (kept,) = await one.archive.commitments.requests()
        assert response.sent is not None
        response.sent()
        line = await one.lines.take(kept.id)
        assert line is not None
        assert line.invoker is request.invoker


async def test_a_requester_that_has_gone_has_no_line(tmp_path: Path) -> None:
    async with asked(tmp_path) as one:
        request = n_action(encoded())
        assert isinstance(request.cancellation, Cancellation)
        request.cancellation.request()
        response = await one.answer(request)
        assert response.sent is None
        assert len(await one.archive.commitments.requests()) == 1


async def test_sc_05_a_repetition_is_the_same_request(tmp_path: Path) -> None:
    async with asked(tmp_path) as one:
        for _ in range(2):
            assert (await one.answer(n_action(encoded()))).status == 0x0000
        assert len(await one.archive.commitments.requests()) == 1


async def test_sc_05_the_same_transaction_for_something_else_is_received_and_will_fail(tmp_path: Path) -> None:
    async with asked(tmp_path) as one:
        for references in (REFERENCES, REFERENCES[:1]):
            assert (await one.answer(n_action(encoded(references)))).status == 0x0000
        newer, older = await one.archive.commitments.requests()
        assert (newer.is_duplicate, older.is_duplicate) == (True, False)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({Tag.REQUESTED_SOP_CLASS_UID: "1.2.840.10008.1.20.2"}, ClassInstanceConflict),
        ({Tag.REQUESTED_SOP_INSTANCE_UID: "1.2.840.10008.1.20.1"}, NoSuchObjectInstance),
        ({Tag.REQUESTED_SOP_INSTANCE_UID: ""}, NoSuchObjectInstance),
        ({Tag.ACTION_TYPE_ID: 2}, NoSuchAction),
        ({Tag.ACTION_TYPE_ID: 0}, NoSuchAction),
    ],
)
async def test_sc_01_a_wrong_command_is_refused(
    tmp_path: Path, changes: dict[int, Value], error: type[DimseError]
) -> None:
    async with asked(tmp_path) as one:
        with pytest.raises(error) as refused:
            await one.answer(n_action(encoded(), changes))
        assert refused.value.offending == tuple(changes)
        assert len(str(refused.value)) <= 64
        assert await one.archive.commitments.requests() == []


async def test_the_uids_may_be_given_as_affected_ones(tmp_path: Path) -> None:
    """Some say Affected where PS3.7 10.1.4 has Requested."""
    async with asked(tmp_path) as one:
        changes: dict[int, Value] = {
            Tag.AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT_PUSH_MODEL,
            Tag.AFFECTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
            Tag.REQUESTED_SOP_CLASS_UID: "",
            Tag.REQUESTED_SOP_INSTANCE_UID: "",
        }
        assert (await one.answer(n_action(encoded(), changes))).status == 0x0000


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (None, MistypedArgument),
        (b"\x08\x00\x95\x11UI\xff\x7f12", ProcessingFailure),
        (encoded([Reference("1.2", f"1.3.{number}") for number in range(101)]), ResourceLimitation),
        (b"\x09\x00\x01\x10OB\0\0\0\x80\0\0" + bytes(1 << 15), ResourceLimitation),
    ],
    ids=["no data set", "no data elements", "too many", "too long"],
)
async def test_a_wrong_data_set_is_refused(tmp_path: Path, data: bytes | None, error: type[DimseError]) -> None:
    async with asked(tmp_path, max_instances=100, max_bytes=1 << 15) as one:
        with pytest.raises(error):
            await one.answer(n_action(data))
        assert await one.archive.commitments.requests() == []
        assert one.facts == []
