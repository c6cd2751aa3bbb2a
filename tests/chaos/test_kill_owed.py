"""kill -9 at every step of forwarding and of storage commitment: what was promised is kept, however often it dies.

The server kills itself at the first step of a kind, is started again and does so at the second, and so on until there
is no such step left before everything is done (:func:`kit.mortal.survive`). Its steps are what others can see of it:
transactions of its index, messages, associations.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kit.holdings import Holdings
from kit.mortal import Forge, MortalServer, Step, mortal_server, survive
from kit.mortal import forge as new_forge
from kit.owing import Persistent, Reference, Requester, delivered, owes, peers, rows
from kit.server import free_port
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

    def everything_arrives() -> bool:
        for modality in modalities:
            asyncio.run(modality.send(server.port))
            if modality.waiting:
                return False
        eventually(lambda: server.is_dead or is_complete(), "everything forwarded", within_s=30)
        return not server.is_dead

    def work() -> bool:
        if not everything_arrives():  # what the last death left
            return False
        for modality in modalities:
            modality.add(objects(f"{next(studies)}", [2_000]))
        return everything_arrives()

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

    def everything_is_reported() -> bool:
        asyncio.run(sender.send(server.port))
        if sender.waiting:
            return False
        if len(asked) + len(unasked) < len(sender.acknowledged):
            unasked[f"2.25.2.{len(asked)}"] = references(len(asked), sender.acknowledged[-1])
        for transaction, about in [*unasked.items()]:
            if not requester.ask(server.port, transaction, about, stays=stays):
                return False
            asked[transaction] = unasked.pop(transaction)
        eventually(lambda: server.is_dead or is_complete(), "every report", within_s=30)
        return not server.is_dead

    def work() -> bool:
        if not everything_is_reported():  # what the last death left
            return False
        sender.add(objects(f"{len(asked)}", [500]))
        return everything_is_reported()

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


# --- Storage commitment that we ask for ------------------------------------------------------------------------------

ASKING: dict[str, object] = {
    "forward.0.name": "to-archive",
    "forward.0.to": ["ARCHIVE"],
    "forward.0.calling_ae": ["NOW"],
    "forward.0.commit": True,
    "commitment.ask_after_s": 0.1,
    "commitment.ask_again_s": 0.3,
    "commitment.answer_wait_s": 0.5,
}
SAME, NEW = 5, 0
"""Seconds for which the archive reports on the association of the request, if that is still open; later it calls."""
ASKED = (
    *zip(moments(COMMIT), (NEW, SAME), strict=True),
    *zip(moments(SEND, N_ACTION_RQ, N_EVENT_REPORT_RSP), (SAME, NEW), strict=True),
    (Step(at=HEAR, moment="before", fields=(N_ACTION_RSP, N_EVENT_REPORT_RQ)), NEW),
)


@pytest.mark.parametrize(("step", "wait_s"), ASKED, ids=str)
def test_everything_is_committed_wherever_the_server_dies(
    tmp_path: Path, forge: Forge, step: Step, wait_s: int
) -> None:
    """SC-04: another archive has everything and is committed to it, whether it reports on our association or calls."""
    ours, theirs = free_port(), free_port()
    knows_us = {**peers("PACSLITE", ports=[ours]), **QUICK, "peers.0.commitment_wait_s": wait_s}
    knows_us["server.ae_title"] = "ARCHIVE"
    knows_them = {**peers("ARCHIVE", ports=[theirs]), **QUICK, **ASKING}
    server = MortalServer(tmp_path / "data", forge, settings=knows_them, fixed_port=ours)
    modality = Persistent("NOW")
    studies = itertools.count()

    def is_complete() -> bool:
        acknowledged = {(obj.sop_instance,) for obj in modality.acknowledged}
        return not owes(server.data) and set(rows(server.data, COMMITTED)) == acknowledged

    def everything_is_committed() -> bool:
        asyncio.run(modality.send(server.port))
        if modality.waiting:
            return False
        eventually(lambda: server.is_dead or is_complete(), "commitment to everything", within_s=30)
        return not server.is_dead

    def work() -> bool:
        if not everything_is_committed():  # what the last death left
            return False
        modality.add(objects(f"{next(studies)}", [500]))
        return everything_is_committed()

    with (
        new_forge() as another,
        MortalServer(tmp_path / "archive", another, settings=knows_us, fixed_port=theirs) as archive,
    ):
        assert survive(server, step, work) > 1
        Holdings(archive.data).assert_holds(modality.acknowledged)
        with server:
            assert is_complete()


COMMITTED = "SELECT sop_instance_uid FROM deliveries WHERE committed_at IS NOT NULL"


# --- Deleting --------------------------------------------------------------------------------------------------------

DELETING = (
    *moments(COMMIT),
    Step(at="pacslite.archive.blobs.disk:Disk.link", moment="before"),
    Step(at="pacslite.archive.blobs.disk:Disk.unlink", moment="before"),
)


@pytest.mark.parametrize("step", DELETING, ids=str)
def test_deleting_leaves_no_row_without_its_file_and_no_file_without_its_row(
    tmp_path: Path, forge: Forge, step: Step
) -> None:
    """The next opening of the archive puts right what is left, and what was not deleted is whole."""
    studies = [list(objects(f"{number}", [500] * 3, per_series=2)) for number in range(20)]
    sender = Persistent("NOW")
    sender.add(itertools.chain.from_iterable(studies))
    with mortal_server(tmp_path / "data") as server:
        with server:
            asyncio.run(sender.send(server.port))
        for number, study in enumerate(studies, start=1):
            command = ["delete", "study", study[0].study, "--yes", "--data", str(server.data)]
            log, dying = tmp_path / "delete.log", replace(step, nth=number)
            code = forge.run(command, log=log, folder=tmp_path, die=dying).wait(30)
            with server:
                holdings = Holdings(server.data)
                holdings.assert_sound()
                left = [obj for obj in study if obj.sop_instance in holdings.instances]
                holdings.assert_holds([*left, *itertools.chain.from_iterable(studies[number:])])
            if code == 0:
                break
            assert code == -signal.SIGKILL, log.read_text()
        assert code == 0
        assert left == []
        assert number > 2
