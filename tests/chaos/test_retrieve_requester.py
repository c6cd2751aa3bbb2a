"""C-GET by requesters that cancel, release, stall and vanish in the middle. STANDARD QR-07, QR-11, QR-13."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.identifiers import identifier
from kit.mover import C_GET_RSP, C_STORE_RQ, CANCELLED, Mover, mover, uids_of
from kit.process import open_descriptors, open_sockets, threads
from kit.rawpeer import A_ABORT, EXPLICIT, RELEASE_RQ, association, contexts_for
from kit.server import RunningServer
from kit.storm import CT_IMAGE_STORAGE, objects
from kit.wait import eventually
from pacslite.dimse.command import CommandSet
from pacslite.ul.pdu import ReleaseRP

COUNT = 12
OBJECTS = list(objects("8", [20_000] * (COUNT - 1) + [3_000_000]))
STUDY = identifier("STUDY", StudyInstanceUID=sorted({one.study for one in OBJECTS}))
CT = (CT_IMAGE_STORAGE, EXPLICIT)
GET_CONTEXT = 3
IDLE_SOCKETS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"retrieve.answer_s": 1.0, "retrieve.pending_s": 0.05}
    with RunningServer(tmp_path_factory.mktemp("requester") / "data", settings=settings) as running:
        with association(running.port, contexts_for(CT)) as storing:
            for one in OBJECTS:
                assert storing.store(1, CT_IMAGE_STORAGE, one.sop_instance, one.data_set()).status == 0x0000
        yield running
        assert "Traceback" not in running.log


@pytest.fixture(autouse=True)
def nothing_leaks(server: RunningServer) -> Iterator[None]:
    before = settled(server)
    yield
    after = eventually(lambda: settled(server), "all connections closed")
    if before is not None:
        assert after is not None
        assert len(after[0]) <= len(before[0]) + 3, "connections to the index are opened when they are needed"
        assert after[1] <= before[1] + 3


def settled(server: RunningServer) -> tuple[list[str], int] | None:
    if open_sockets(server.pid) > IDLE_SOCKETS:
        return None
    return open_descriptors(server.pid), threads(server.pid)


def take(asking: Mover, count: int) -> tuple[int, CommandSet]:
    """Store the first objects, and return the next one's command without an answer."""
    while True:
        context_id, command, _ = asking.message()
        if command.field != C_STORE_RQ:
            assert (command.field, command.status) == (C_GET_RSP, 0xFF00)
            continue
        asking.stored.append(command.sop_instance)
        if len(asking.stored) > count:
            return context_id, command
        asking.answer_store(command, context_id)


def counted(final: CommandSet) -> tuple[int, int, int, int]:
    return final.status, final.integer(0x1021), final.integer(0x1022), final.integer(0x1023)


def test_qr_13_everything_arrives_with_message_ids_of_its_own(server: RunningServer) -> None:
    with mover(server.port, CT) as asking:
        asking.get(STUDY, message_id=1)
        final, _ = asking.final()
        assert counted(final) == (0x0000, COUNT, 0, 0)
        assert final.responds_to == 1
        assert len(set(asking.stored)) == COUNT
        asking.peer.release()


def test_qr_11_it_cancels_between_an_object_and_its_answer(server: RunningServer) -> None:
    with mover(server.port, CT) as asking:
        asking.get(STUDY)
        context_id, command = take(asking, 2)
        asking.cancel(context_id=GET_CONTEXT)
        asking.answer_store(command, context_id)
        final, answer = asking.final()
        asking.peer.release()
    assert counted(final) == (CANCELLED, 3, 0, 0)
    assert final.integer(0x1020) == COUNT - 3
    assert len(asking.stored) == 3
    assert not uids_of(answer)


def test_it_refuses_the_second_of_all(server: RunningServer) -> None:
    with mover(server.port, CT) as asking:
        asking.get(STUDY)
        context_id, command = take(asking, 1)
        asking.answer_store(command, context_id, 0xA700)
        final, answer = asking.final()
        asking.peer.release()
    assert counted(final) == (0xB000, COUNT - 1, 1, 0)
    assert uids_of(answer) == [command.sop_instance]


def test_qr_06_qr_07_it_has_no_role_for_them(server: RunningServer) -> None:
    with mover(server.port) as asking:
        asking.get(STUDY)
        final, answer = asking.final()
        asking.peer.release()
    assert counted(final) == (0xA702, 0, COUNT, 0)
    assert len(uids_of(answer)) == COUNT


@pytest.mark.parametrize("how", ["vanishes", "resets", "aborts", "releases"])
def test_it_goes_away_in_the_middle(server: RunningServer, how: str) -> None:
    before = len(server.log)
    with mover(server.port, CT) as asking:
        asking.get(STUDY)
        take(asking, 2)
        match how:
            case "resets":
                asking.peer.reset()
            case "aborts":
                asking.peer.send(A_ABORT)
            case "releases":
                asking.peer.send(RELEASE_RQ)
                while not isinstance(asking.peer.read_pdu(), ReleaseRP):
                    pass  # the final response may come before
    log = server.wait_for_log("C-GET, Study Root", after=before)
    (line,) = [line for line in log.splitlines() if "C-GET, Study Root" in line]
    assert f"2 of {COUNT} objects sent" in line


def test_it_goes_away_inside_a_large_object(server: RunningServer) -> None:
    before = len(server.log)
    with mover(server.port, CT) as asking:
        asking.get(identifier("STUDY", StudyInstanceUID=OBJECTS[-1].study))
        for _ in range(COUNT - 1):
            context_id, command = take(asking, 0)
            asking.answer_store(command, context_id)
            asking.stored.clear()
        asking.peer.read_pdu()  # the command of the last, and nothing of its data set
        asking.peer.reset()
    server.wait_for_log("C-GET, Study Root", after=before)


def test_it_does_not_answer(server: RunningServer) -> None:
    """retrieve.answer_s, here 1 s: what was sent and not answered has failed, and what follows too."""
    with mover(server.port, CT) as asking:
        asking.get(STUDY)
        take(asking, 2)
        final, answer = asking.final(store=False)
    assert counted(final) == (0xB000, 2, COUNT - 2, 0)
    assert len(uids_of(answer)) == COUNT - 2
