"""kill -9 at every step of forwarding and of storage commitment: what was promised is kept, however often it dies.

The server kills itself at the first step of a kind, is started again and does so at the second, and so on until there
is no such step left before everything is done (:func:`kit.mortal.survive`). Its steps are what others can see of it:
transactions of its index, messages, associations.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kit.holdings import Holdings
from kit.mortal import Forge, MortalServer, Step, survive
from kit.mortal import forge as new_forge
from kit.owing import Persistent, Reference, Requester, delivered, owes, peers
from kit.sink import Sink, listening
from kit.storm import CT_IMAGE_STORAGE, StormObject, objects
from kit.wait import eventually

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
ALL_SUCCESSFUL, FAILURES_EXIST = 1, 2
N_ACTION_RQ, N_ACTION_RSP, N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP = 0x0130, 0x8130, 0x0100, 0x8100
QUICK: dict[str, object] = {"outbox.retry_first_s": 0.1, "outbox.retry_most_s": 0.3}

COMMIT = "pacslite.archive.index.writer:IndexWriter.commit"
SEND = "pacslite.net.sender:Sender.send"
HEAR = "pacslite.net.association:Association._receive_command"
CALL = "pacslite.net.association:Association.request"


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with new_forge() as forge:
        yield forge


def moments(at: str, *fields: int) -> tuple[Step, Step]:
    return Step(at=at, moment="before", fields=fields), Step(at=at, moment="after", fields=fields)


# --- Forwarding ------------------------------------------------------------------------------------------------------

DESTINATIONS = ("ONE", "TWO")
FORWARDED: dict[str, object] = {
    "forward.0.name": "at-once",
    "forward.0.to": DESTINATIONS,
    "forward.0.calling_ae": ["NOW"],
    "forward.1.name": "when-quiet",
    "forward.1.to": DESTINATIONS,
    "forward.1.calling_ae": ["LATER"],
    "forward.1.on": "study",
    "forward.1.quiet_s": 0.1,
}
SENDING = (
    *moments(COMMIT),
    *moments(SEND, C_STORE_RSP, C_STORE_RQ),
    *moments(CALL),
    Step(at=HEAR, moment="before", fields=(C_STORE_RSP,)),
)


@pytest.fixture
def sinks() -> Iterator[list[Sink]]:
    with listening(Sink(keeps=True)) as one, listening(Sink(keeps=True)) as two:
        yield [one, two]


@pytest.mark.parametrize("step", SENDING, ids=str)
def test_every_object_arrives_wherever_the_server_dies(
    tmp_path: Path, forge: Forge, sinks: list[Sink], step: Step
) -> None:
    """What was acknowledged is at both destinations in the end, as it was sent; and nothing is owed any more."""
    settings = {**peers(*DESTINATIONS, ports=[sink.port for sink in sinks]), **FORWARDED, **QUICK}
    server = MortalServer(tmp_path / "data", forge, settings=settings)
    modalities = [Persistent("NOW"), Persistent("LATER")]
    studies = itertools.count()

    def held() -> set[tuple[str, str]]:
        return {
            (obj.sop_instance, title)
            for modality in modalities
            for obj in modality.acknowledged
            for title in DESTINATIONS
        }

    def is_complete() -> bool:
        return not owes(server.data) and delivered(server.data) == held()

    def work() -> bool:
        for modality in modalities:
            if not modality.waiting:
                modality.add(objects(f"{next(studies)}", [2_000]))
            asyncio.run(modality.send(server.port))
            if modality.waiting:
                return False
        eventually(lambda: server.is_dead or is_complete(), "everything forwarded", within_s=30)
        return not server.is_dead

    assert survive(server, step, work) > 2
    sent = {obj.sop_instance: obj.data_set() for modality in modalities for obj in modality.acknowledged}
    for sink in sinks:
        assert {command.sop_instance for command, _ in sink.taken} >= sent.keys()
        assert all(data == sent[command.sop_instance] for command, data in sink.taken)
    with server:
        assert is_complete()
        Holdings(server.data).assert_sound()


# --- Storage commitment that is asked of us --------------------------------------------------------------------------

UNKNOWN = 600
"""More than are verified in one transaction."""


@pytest.mark.parametrize(
    ("step", "stays"),
    [
        *((step, True) for step in moments(COMMIT)),
        *((step, stays) for step in moments(SEND, N_ACTION_RSP, N_EVENT_REPORT_RQ) for stays in (True, False)),
        *((step, False) for step in moments(CALL)),
        (Step(at=HEAR, moment="before", fields=(N_ACTION_RQ, N_EVENT_REPORT_RSP)), False),
    ],
    ids=str,
)
def test_every_report_arrives_wherever_the_server_dies(tmp_path: Path, forge: Forge, step: Step, stays: bool) -> None:
    """SC-03, SC-06: who got 0000 for its request asks nothing again, and gets a report with exactly what it asked for;
    who did not repeats the request (SC-05) and gets both."""
    requester, sender = Requester(), Persistent("MODALITY")
    asked: dict[str, Sequence[Reference]] = {}
    unasked: dict[str, Sequence[Reference]] = {}

    def is_complete() -> bool:
        return asked.keys() <= {report.transaction for report in requester.reports}

    def work() -> bool:
        if not sender.waiting and not unasked:
            sender.add(objects(f"{len(asked)}", [500]))
        asyncio.run(sender.send(server.port))
        if sender.waiting:
            return False
        if not unasked:
            unasked[f"2.25.2.{len(asked)}"] = references(len(asked), sender.acknowledged[-1])
        for transaction, about in [*unasked.items()]:
            if not requester.ask(server.port, transaction, about, stays=stays):
                return False
            asked[transaction] = unasked.pop(transaction)
        eventually(lambda: server.is_dead or is_complete(), "every report", within_s=30)
        return not server.is_dead

    with listening(requester):
        settings = {**peers("MODALITY", ports=[requester.port]), **QUICK}
        server = MortalServer(tmp_path / "data", forge, settings=settings)
        assert survive(server, step, work) > 1
    for report in requester.reports:
        held, *unknown = asked[report.transaction]
        assert report.committed == [held]
        assert report.failed == [(reference, 0x0112) for reference in unknown]
        assert report.event_type == (FAILURES_EXIST if unknown else ALL_SUCCESSFUL)
    with server:
        assert not owes(server.data)


def references(number: int, held: StormObject) -> list[Reference]:
    """An object that is there, and every other time many that are not."""
    unknown = [(CT_IMAGE_STORAGE, f"2.25.1.{number}.{one}") for one in range(UNKNOWN if number % 2 else 0)]
    return [(CT_IMAGE_STORAGE, held.sop_instance), *unknown]
