"""C-MOVE and C-GET as SCU, and the files that a C-GET leaves. STANDARD 5."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from kit.scripted import SYNTAXES, Scripted, Serve, scripted
from pacslite.dicom.elements import Element
from pacslite.dicom.encode import encode_data_set
from pacslite.dicom.levels import STUDY_ROOT
from pacslite.dicom.part10 import read_file_meta
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, Tag, Value
from pacslite.dimse.service import OutgoingDataSet, Request, Response
from pacslite.dimse.status import PENDING, SUB_OPERATIONS_WITH_FAILURES, SUCCESS
from pacslite.errors import AssociationError
from pacslite.net.association import Association
from pacslite.net.requestor import Proposal, Requested, associate
from pacslite.services.receiving import FolderService, Received, Unsaved, receiver, storage_proposal
from pacslite.services.retrieve_scu import Ended, Underway, get, move
from pacslite.ul.items import PresentationContext

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
KEYS = {0x00080052: Element("CS", "STUDY"), 0x0020000D: Element("UI", "1.2")}
EXPLICIT = transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN)
Events = list[Underway | Ended]


# --- C-MOVE -----------------------------------------------------------------------------------------------------------


async def move_from(script: Serve) -> tuple[Events, Request]:
    proposal = Proposal(calling_ae="US", contexts=(PresentationContext(1, STUDY_ROOT.move, SYNTAXES),))
    async with scripted(move=script) as (remote, services), associate(remote, proposal) as requested:
        [context] = requested.contexts_for(STUDY_ROOT.move)
        events = move(requested.association, context, KEYS, destination="DEST", answer_s=10)
        async with aclosing(events):
            return [event async for event in events], services["move"].requests[0]


async def test_move_tells_how_far_it_is() -> None:
    """QR-02, QR-03."""

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        counters: dict[int, Value] = {
            Tag.COMPLETED_SUB_OPERATIONS: 1,
            Tag.FAILED_SUB_OPERATIONS: 1,
            Tag.WARNING_SUB_OPERATIONS: 1,
        }
        yield Response(status=PENDING, elements={**counters, Tag.REMAINING_SUB_OPERATIONS: 2})
        failed = encode_data_set({0x00080058: Element("UI", "1.2.3\\1.2.4")}, EXPLICIT)
        yield Response(status=SUB_OPERATIONS_WITH_FAILURES, elements=counters, data_set=failed)

    (first, last), request = await move_from(script)
    assert isinstance(first, Underway)
    assert (first.counters.remaining, first.counters.done) == (2, 3)
    assert isinstance(last, Ended)
    assert last.counters.remaining is None
    assert (last.counters.completed, last.counters.failed, last.counters.warning) == (1, 1, 1)
    assert last.failed_uids == ("1.2.3", "1.2.4")
    assert request.command.text(Tag.MOVE_DESTINATION) == "DEST"
    assert request.command.field == CommandField.C_MOVE_RQ


@pytest.mark.parametrize(
    "data_set", [b"\x08\0\x58\0UI\xff\x7f", encode_data_set({0x00080058: Element("UI", "")}, EXPLICIT)]
)
async def test_a_list_of_failures_that_is_none(data_set: bytes) -> None:
    """QR-05: what matters is the status; a list that cannot be read takes nothing from it."""

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        yield Response(status=PENDING, data_set=data_set)
        yield Response(status=0xA702, comment="no", data_set=data_set)

    (_, last), _ = await move_from(script)
    assert isinstance(last, Ended)
    assert (last.response.status, last.failed_uids) == (0xA702, ())


# --- C-GET ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Getting:
    """A C-GET of ours on an association where the peer sends what ``script`` says."""

    folder: Path
    told: list[Received | Unsaved] = field(default_factory=list)
    moved: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, size: int) -> None:
        self.moved += size
        self.begun.set()

    @asynccontextmanager
    async def associated(
        self, script: Serve, *, replace: bool = False, sync: bool = False, window: int = 1
    ) -> AsyncIterator[tuple[Requested, Scripted]]:
        service = FolderService(self.folder, told=self.told.append, moved=self.count, replace=replace, sync=sync)
        contexts, roles = storage_proposal((CT,), (SYNTAXES,), first_id=3)
        proposal = Proposal(
            calling_ae="US",
            contexts=(PresentationContext(1, STUDY_ROOT.get, SYNTAXES), *contexts),
            roles=roles,
            performed_window=window,
        )
        async with (
            scripted(get=script, sends=(CT,)) as (remote, services),
            associate(remote, proposal, perform=receiver(service)) as requested,
        ):
            yield requested, services["get"]

    async def run(self, script: Serve, **options: bool | int) -> Events:
        async with self.associated(script, **options) as (requested, _):  # type: ignore[arg-type] # as its own say
            [context] = requested.contexts_for(STUDY_ROOT.get)
            events = get(requested.association, context, KEYS, answer_s=10)
            async with aclosing(events):
                return [event async for event in events]

    @property
    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))


async def store(request: Request, uid: str, data_set: OutgoingDataSet) -> tuple[int, str]:
    """C-STORE on the association on which the C-GET came; status and comment."""
    [context] = [one for one in request.invoker.contexts.values() if one.abstract_syntax == CT]
    response = await request.invoker.call(
        context.context_id,
        {
            Tag.AFFECTED_SOP_CLASS_UID: CT,
            Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Tag.PRIORITY: 0,
            Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
            Tag.AFFECTED_SOP_INSTANCE_UID: uid,
        },
        data_set,
    )
    return response.status, response.text(Tag.ERROR_COMMENT)


def sending(*objects: tuple[str, bytes], answers: list[tuple[int, str]] | None = None) -> Serve:
    async def script(request: Request) -> AsyncGenerator[Response, None]:
        for uid, data_set in objects:
            answer = await store(request, uid, data_set)
            if answers is not None:
                answers.append(answer)
        yield Response(elements={Tag.COMPLETED_SUB_OPERATIONS: len(objects)})

    return script


async def test_objects_become_files(tmp_path: Path) -> None:
    """QR-07: byte for byte, behind File Meta Information that says whose they were."""
    getting = Getting(tmp_path)
    big = bytes(range(256)) * 20_000
    [last] = await getting.run(sending(("1.2.3", b"abcd"), ("1.2.4", big)), sync=True)
    assert isinstance(last, Ended)
    assert last.counters.completed == 2
    assert getting.names == ["1.2.3.dcm", "1.2.4.dcm"]
    for name, data_set in (("1.2.3", b"abcd"), ("1.2.4", big)):
        written = (tmp_path / f"{name}.dcm").read_bytes()
        meta = read_file_meta(written[:1000])
        assert written[meta.data_set_offset :] == data_set
        assert (meta.sop_class_uid, meta.sop_instance_uid) == (CT, name)
        assert meta.transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN
        assert (meta.source_ae, meta.sending_ae, meta.receiving_ae) == ("PEER", "PEER", "US")
    assert getting.moved == 4 + len(big)
    assert getting.told == [
        Received(tmp_path / "1.2.3.dcm", 4, kept=False),
        Received(tmp_path / "1.2.4.dcm", len(big), kept=False),
    ]


async def test_the_same_object_again_counts_as_received(tmp_path: Path) -> None:
    getting = Getting(tmp_path)
    answers: list[tuple[int, str]] = []
    await getting.run(sending(("1.2.3", b"abcd"), ("1.2.3", b"abcd"), answers=answers))
    assert answers == [(SUCCESS, ""), (SUCCESS, "")]
    path = tmp_path / "1.2.3.dcm"
    assert getting.told == [Received(path, 4, kept=False), Received(path, 4, kept=True)]
    assert getting.names == ["1.2.3.dcm"]


@pytest.mark.parametrize("there", [b"something else", b""])
async def test_another_file_of_that_name_stays(tmp_path: Path, there: bytes) -> None:
    getting = Getting(tmp_path)
    (tmp_path / "1.2.3.dcm").write_bytes(there)
    answers: list[tuple[int, str]] = []
    await getting.run(sending(("1.2.3", b"abcd"), ("1.2.4", b"efgh"), answers=answers))
    assert answers == [(0x0110, "another file of this name is there"), (SUCCESS, "")]
    assert getting.told[0] == Unsaved("1.2.3", "another file of this name is there")
    assert (tmp_path / "1.2.3.dcm").read_bytes() == there
    assert getting.names == ["1.2.3.dcm", "1.2.4.dcm"]


async def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is buffered fails to be written, and once more when the file is closed."""

    def create(service: FolderService, path: Path) -> tuple[BinaryIO, Path]:
        part = path.with_name(f".{path.stem}.part")
        part.touch()
        return open("/dev/full", "wb"), part

    monkeypatch.setattr(FolderService, "_create", create)
    getting = Getting(tmp_path)
    answers: list[tuple[int, str]] = []
    await getting.run(sending(("1.2.3", b"abcd"), answers=answers))
    assert answers == [(0xA700, "cannot write: No space left on device")]
    assert getting.told == [Unsaved("1.2.3", "No space left on device")]
    assert getting.names == []


async def test_it_is_replaced_where_that_is_wanted(tmp_path: Path) -> None:
    getting = Getting(tmp_path)
    (tmp_path / "1.2.3.dcm").write_bytes(b"something else")
    await getting.run(sending(("1.2.3", b"abcd")), replace=True)
    assert (tmp_path / "1.2.3.dcm").read_bytes().endswith(b"abcd")
    assert getting.names == ["1.2.3.dcm"]


async def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, name: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    getting = Getting(tmp_path)
    answers: list[tuple[int, str]] = []
    await getting.run(sending(("1.2.3", b"abcd"), ("1.2.3", b"efgh"), answers=answers))
    assert [status for status, _ in answers] == [SUCCESS, 0x0110]
    assert (tmp_path / "1.2.3.dcm").read_bytes().endswith(b"abcd")
    assert getting.names == ["1.2.3.dcm"]


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2/3", "", ".", "1.2.\n", "1" * 65, "1.2.03"])
async def test_no_name_but_a_uid(tmp_path: Path, uid: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    answers: list[tuple[int, str]] = []
    getting = Getting(folder)
    await getting.run(sending((uid, b"abcd"), answers=answers))
    assert answers == [(0x0117, "not a UID, so no file name")]
    assert (getting.names, os.listdir(tmp_path)) == ([], ["out"])


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    answers: list[tuple[int, str]] = []
    getting = Getting(tmp_path / "missing")
    await getting.run(sending(("1.2.3", b"abcd"), answers=answers))
    assert answers == [(0xA700, "cannot write: No such file or directory")]


async def test_nothing_stays_of_an_object_that_did_not_come_whole(tmp_path: Path) -> None:
    """The association ends inside a data set."""
    getting = Getting(tmp_path)

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        async def half() -> AsyncIterator[bytes]:
            yield b"abcd" * 100_000
            yield b"efgh"  # a piece leaves when it is known not to be the last
            await getting.begun.wait()
            assert isinstance(request.invoker, Association)
            request.invoker.protocol.hang_up("broken down")
            yield b"ijkl"

        await store(request, "1.2.3", half())
        yield Response()

    with pytest.raises(AssociationError):
        await getting.run(script)
    assert getting.names == []


async def test_several_at_once(tmp_path: Path) -> None:
    """DM-02: as many as the window that was agreed allows."""
    getting = Getting(tmp_path)

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        assert request.invoker.window == 4
        await asyncio.gather(*(store(request, f"1.2.{number}", b"ab" * 40_000) for number in range(1, 5)))
        yield Response()

    await getting.run(script, window=4)
    assert getting.names == [f"1.2.{number}.dcm" for number in range(1, 5)]


def test_contexts_that_do_not_fit_are_left_out() -> None:
    """128 in all, the C-GET's own among them (PS3.8 9.3.2.2)."""
    classes = [f"1.2.{number}" for number in range(200)]
    contexts, roles = storage_proposal(classes, (SYNTAXES,), first_id=3)
    assert [context.context_id for context in contexts] == list(range(3, 256, 2))
    assert [role.sop_class for role in roles] == classes[:127]
    assert all(role.scp and not role.scu for role in roles)
    contexts, roles = storage_proposal(classes, (("1.9",), SYNTAXES), first_id=3)
    assert len(contexts) == 126
    assert [context.transfer_syntaxes for context in contexts[:2]] == [("1.9",), SYNTAXES]
    assert [role.sop_class for role in roles] == classes[:63]
    assert storage_proposal([CT, MR], (SYNTAXES,), first_id=3)[0][1].abstract_syntax == MR
