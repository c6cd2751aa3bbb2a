"""A destination that fails in every way it can, for a while: in the end it has everything, exactly."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from kit.rawpeer import EXPLICIT, association, contexts_for
from kit.retrievable import peer
from kit.server import RunningServer
from kit.sink import Sink, Stop, StopWithAbort, listening
from kit.storm import CT_IMAGE_STORAGE, StormObject, objects
from kit.wait import eventually
from pacslite.dimse.command import CommandSet

FLAPPING_S = 5.0
SIZES = [2_000] * 140 + [3_000_000] * 4 + [700_000] * 16
SETTINGS: dict[str, object] = {
    "outbox.retry_first_s": 0.05,
    "outbox.retry_most_s": 0.3,
    "retrieve.answer_s": 2.0,
    "forward.0.name": "all",
    "forward.0.to": ["FLAPPING"],
}


class Moods:
    """What the destination does next, by chance, until it is told to behave."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.calm = False

    def draw(self) -> float:
        with self._lock:
            return 1.0 if self.calm else self._random.random()

    def begins(self, command: CommandSet) -> None:
        """The command is here, and some of its data set may be."""
        chance = self.draw()
        if chance < 0.04:
            raise Stop
        if chance < 0.06:
            raise StopWithAbort

    def answers(self, number: int, command: CommandSet) -> int:
        chance = self.draw()
        if chance < 0.05:
            raise Stop  # it may have been taken, and nobody knows
        if chance < 0.08:
            raise StopWithAbort
        if chance < 0.12:
            return 0xA700
        if chance < 0.15:
            return 0x0110
        if chance < 0.18:
            return 0xB007
        return 0x0000


def flap(sink: Sink, moods: Moods) -> None:
    """Be down, refuse associations, and be there, in turns, for a while."""
    until = time.monotonic() + FLAPPING_S
    while time.monotonic() < until:
        chance = moods.draw()
        if chance < 0.4:
            sink.close()
            time.sleep(0.3 * chance)
            sink.listen()
        elif chance < 0.6:
            sink.rejects = True
            time.sleep(0.1)
            sink.rejects = False
        time.sleep(0.2)
    moods.calm = True


def store(port: int, some: list[StormObject]) -> None:
    with association(port, contexts_for((CT_IMAGE_STORAGE, EXPLICIT))) as peer_:
        for one in some:
            assert peer_.store(1, CT_IMAGE_STORAGE, one.sop_instance, one.data_set()).status == 0x0000
            time.sleep(0.01)  # the destination's moods are to meet some that are just coming


@pytest.mark.parametrize(("seed", "associations", "window"), [(1, 1, 1), (2, 3, 8)])
def test_everything_arrives_exactly_in_the_end(tmp_path: Path, seed: int, associations: int, window: int) -> None:
    moods = Moods(seed)
    some = list(objects(str(seed), random.Random(seed).sample(SIZES, len(SIZES))))
    with listening(Sink(begins=moods.begins, answers=moods.answers, keeps=True, window=window)) as sink:
        settings = {**SETTINGS, **peer(0, "FLAPPING", sink.port, associations=associations, async_window=window)}
        with RunningServer(tmp_path / "data", settings=settings) as server:
            flapping = threading.Thread(target=flap, args=(sink, moods))
            flapping.start()
            store(server.port, some)
            flapping.join()
            with closing(sqlite3.connect(server.data / "index.sqlite", timeout=30)) as index:

                def owed() -> int:
                    return int(index.execute("SELECT count(*) FROM jobs").fetchone()[0])

                eventually(lambda: not owed(), "nothing is owed any more", within_s=30)
                delivered = index.execute("SELECT sop_instance_uid, destination, rule FROM deliveries").fetchall()
            assert "Traceback" not in server.log
    assert (sink.connections > 5, len(sink.uids) > len(some)) == (True, True), "it has not flapped"
    assert sorted(delivered) == sorted((one.sop_instance, "FLAPPING", "all") for one in some)
    taken = {command.sop_instance: data for command, data in sink.taken}
    assert taken.keys() == {one.sop_instance for one in some}
    for one in some:
        assert taken[one.sop_instance] == one.data_set(), f"{one.sop_instance} was altered"
    again = {command.sop_instance for command, data in sink.taken if data != taken[command.sop_instance]}
    assert not again, "sent twice, and not the same"
