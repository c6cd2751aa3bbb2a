"""C-MOVE to destinations that refuse, stall, die and come back. STANDARD QR-04, QR-05, QR-06, QR-11, QR-12."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from kit.identifiers import identifier
from kit.mover import CANCELLED, mover, uids_of
from kit.process import open_descriptors, open_sockets, threads
from kit.rawpeer import EXPLICIT, association, contexts_for
from kit.retrievable import peer
from kit.server import RunningServer, free_port
from kit.sink import Sink, Stop, listening
from kit.storm import CT_IMAGE_STORAGE, objects
from kit.wait import eventually
from pacslite.dimse.command import CommandSet

COUNT = 12
OBJECTS = list(objects("7", [20_000] * (COUNT - 1) + [3_000_000]))
STUDY = identifier("STUDY", StudyInstanceUID=sorted({one.study for one in OBJECTS}))
IDLE_SOCKETS = 4


@dataclass
class Place:
    server: RunningServer
    port: int

    def move(self, to: str = "SINK") -> tuple[CommandSet, list[str]]:
        """The final response, and the failed ones."""
        with mover(self.server.port) as asking:
            asking.move(STUDY, to)
            final, answer = asking.final()
            asking.peer.release()
            return final, list(uids_of(answer))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    port = free_port()
    settings = {
        **peer(0, "SINK", port),
        **peer(1, "LANES", port, associations=3),
        "retrieve.answer_s": 1.0,
        "retrieve.connect_s": 2.0,
        "retrieve.pending_s": 0.05,
    }
    with RunningServer(tmp_path_factory.mktemp("destination") / "data", settings=settings) as server:
        with association(server.port, contexts_for((CT_IMAGE_STORAGE, EXPLICIT))) as storing:
            for one in OBJECTS:
                assert storing.store(1, CT_IMAGE_STORAGE, one.sop_instance, one.data_set()).status == 0x0000
        yield Place(server, port)
        assert "Traceback" not in server.log


@pytest.fixture(autouse=True)
def nothing_leaks(place: Place) -> Iterator[None]:
    """Associations, threads and files are those of before, and the server still answers."""
    before = settled(place.server)
    yield
    after = eventually(lambda: settled(place.server), "all connections closed")
    if before is not None:
        assert after is not None
        assert len(after[0]) <= len(before[0]) + 3, "connections to the index are opened when they are needed"
        assert after[1] <= before[1] + 3


def settled(server: RunningServer) -> tuple[list[str], int] | None:
    if open_sockets(server.pid) > IDLE_SOCKETS:
        return None
    return open_descriptors(server.pid), threads(server.pid)


def counted(final: CommandSet) -> tuple[int, int, int, int]:
    """Status, completed, failed, warning."""
    assert 0x1020 not in final.elements or final.status == CANCELLED
    return final.status, final.integer(0x1021), final.integer(0x1022), final.integer(0x1023)


@contextmanager
def sink(place: Place, **how: object) -> Iterator[Sink]:
    with listening(Sink(port=place.port, **how)) as listening_sink:  # type: ignore[arg-type] # as Sink has them
        yield listening_sink


def test_one_that_refuses_the_second_of_all(place: Place) -> None:
    with sink(place, answers=lambda number, _: 0xA700 if number == 2 else 0x0000) as taking:
        final, failed = place.move()
    assert counted(final) == (0xB000, COUNT - 1, 1, 0)
    assert failed == [taking.uids[1]]
    assert len(set(taking.uids)) == COUNT


def test_one_that_warns_of_some(place: Place) -> None:
    with sink(place, answers=lambda number, _: 0xB007 if number % 2 else 0x0000):
        final, failed = place.move()
    assert (counted(final), failed) == ((0xB000, COUNT // 2, 0, COUNT // 2), [])


def test_qr_04_one_that_refuses_all(place: Place) -> None:
    with sink(place, answers=lambda number, _: 0xC000):
        final, failed = place.move()
    assert (counted(final), len(failed)) == ((0xA702, 0, COUNT, 0), COUNT)


def test_qr_06_one_that_refuses_the_context_of_the_stored_transfer_syntax(place: Place) -> None:
    """The other one is accepted, with the same syntax."""
    with sink(place, refuses=lambda _, syntaxes: len(syntaxes) == 1):
        final, _ = place.move()
    assert counted(final) == (0x0000, COUNT, 0, 0)


def test_qr_06_one_that_refuses_every_context(place: Place) -> None:
    with sink(place, refuses=lambda *_: True) as taking:
        final, failed = place.move()
    assert (counted(final), len(failed), taking.uids) == ((0xA702, 0, COUNT, 0), COUNT, [])


@pytest.mark.parametrize("to", ["SINK", "LANES"])
def test_qr_12_one_that_rejects_the_association(place: Place, to: str) -> None:
    with sink(place, rejects=True) as taking:
        final, failed = place.move(to)
        assert taking.connections == (1 if to == "SINK" else 3)
    assert (counted(final), len(failed)) == ((0xA702, 0, COUNT, 0), COUNT)
    assert "rejected" in final.text(0x0902)


def test_qr_12_one_that_is_not_there(place: Place) -> None:
    final, failed = place.move()
    assert (counted(final), len(failed)) == ((0xA702, 0, COUNT, 0), COUNT)


def dies_at(*numbers: int) -> object:
    def answer(number: int, _: CommandSet) -> int:
        if number in numbers:
            raise Stop
        return 0x0000

    return answer


def test_one_that_dies_in_the_middle_and_comes_back(place: Place) -> None:
    """What it had not answered is sent again, after the others."""
    with sink(place, answers=dies_at(5)) as taking:
        final, _ = place.move()
    assert counted(final) == (0x0000, COUNT, 0, 0)
    assert taking.connections == 2
    assert taking.uids[4] == taking.uids[-1]
    assert len(taking.uids) == COUNT + 1


def test_qr_04_one_that_dies_of_one_object_gets_all_the_others(place: Place) -> None:
    poison = OBJECTS[2].sop_instance

    def answer(_: int, command: CommandSet) -> int:
        if command.sop_instance == poison:
            raise Stop
        return 0x0000

    with sink(place, answers=answer):
        final, failed = place.move()
    assert counted(final) == (0xB000, COUNT - 1, 1, 0)
    assert failed == [poison]


def test_one_that_dies_twice(place: Place) -> None:
    with sink(place, answers=dies_at(5, 8)) as taking:
        final, failed = place.move()
    assert counted(final) == (0xB000, 6, COUNT - 6, 0)
    assert taking.connections == 2
    assert len(failed) == COUNT - 6


def test_one_that_dies_and_does_not_come_back(place: Place) -> None:
    with sink(place) as taking:

        def answer(number: int, _: CommandSet) -> int:
            if number == 5:
                taking.close()
            return 0x0000

        taking.answers = answer
        final, failed = place.move()
    assert counted(final)[0] == 0xB000
    assert counted(final)[1] in (4, 5)
    assert len(failed) == COUNT - counted(final)[1]


def test_one_that_stalls(place: Place) -> None:
    """retrieve.answer_s, here 1 s; it stalls on the second association again."""
    gate = threading.Event()

    def answer(number: int, _: CommandSet) -> int:
        if number in (3, 4):
            gate.wait(20)
        return 0x0000

    with sink(place, answers=answer):
        final, failed = place.move()
        gate.set()
    assert counted(final) == (0xB000, 2, COUNT - 2, 0)
    assert len(failed) == COUNT - 2
    assert "no answer" in final.text(0x0902)


def test_one_that_does_not_answer_the_release_still_has_everything(place: Place) -> None:
    with sink(place, answers_release=False) as taking:
        final, _ = place.move()
        assert len(taking.uids) == COUNT
        eventually(lambda: taking.open == 0, "the association given up")
    assert counted(final) == (0x0000, COUNT, 0, 0)


def test_an_asynchronous_window_and_several_associations(place: Place) -> None:
    with sink(place, window=4) as taking:
        final, _ = place.move("LANES")
        assert taking.connections == 3
    assert counted(final) == (0x0000, COUNT, 0, 0)
    assert len(set(taking.uids)) == COUNT


def test_two_retrievals_to_one_destination_at_once(place: Place) -> None:
    both = threading.Barrier(2, timeout=10)

    def answer(number: int, _: CommandSet) -> int:
        if number <= 2:
            both.wait()  # the first object of each is there before any goes on
        return 0x0000

    with sink(place, answers=answer) as taking, mover(place.server.port) as one, mover(place.server.port) as other:
        one.move(STUDY, "SINK")
        other.move(STUDY, "SINK")
        finals = [asking.final()[0] for asking in (one, other)]
        assert [counted(final) for final in finals] == [(0x0000, COUNT, 0, 0)] * 2
        assert len(taking.uids) == 2 * COUNT


# --- The requester, while it is being sent elsewhere -----------------------------------------------------------------


@dataclass
class Held:
    """The destination does not answer for the third object before the gate opens."""

    gate: threading.Event
    reached: threading.Event

    def __call__(self, number: int, _: CommandSet) -> int:
        if number == 3:
            self.reached.set()
            self.gate.wait(20)
        return 0x0000


@pytest.fixture
def held() -> Held:
    return Held(threading.Event(), threading.Event())


def test_qr_11_the_requester_cancels(place: Place, held: Held) -> None:
    with sink(place, answers=held) as taking, mover(place.server.port) as asking:
        asking.move(STUDY, "SINK")
        assert held.reached.wait(10)
        asking.cancel()
        place.server.hang_up()  # something that is answered in the log after the cancellation was read
        place.server.wait_for_log("reloaded")
        held.gate.set()
        final, answer = asking.final()
        asking.peer.release()
        assert counted(final) == (CANCELLED, 3, 0, 0)
        assert final.integer(0x1020) == COUNT - 3
        assert not uids_of(answer)
        assert len(taking.uids) == 3


@pytest.mark.parametrize("how", ["vanishes", "resets", "aborts"])
def test_the_requester_goes_away(place: Place, held: Held, how: str) -> None:
    before = len(place.server.log)
    with sink(place, answers=held) as taking:
        with mover(place.server.port) as asking:
            asking.move(STUDY, "SINK")
            assert held.reached.wait(10)
            if how == "resets":
                asking.peer.reset()
            elif how == "aborts":
                asking.peer.send(b"\7\0\0\0\0\4\0\0\0\0")
        place.server.wait_for_log("RAWPEER", after=before)
        held.gate.set()
        place.server.wait_for_log("C-MOVE, Study Root", after=before)
        assert len(taking.uids) == 3
        eventually(lambda: taking.open == 0, "the association to the destination ended")
