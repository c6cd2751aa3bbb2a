"""Storage commitment with Orthanc, both ways: it asks us, and we ask it after forwarding to it.

PS3.4 Annex J; STANDARD SC-01 to SC-04.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from kit.odd import SECONDARY_CAPTURE, make
from kit.orthanc import TITLE, Orthanc, orthanc
from kit.rawpeer import EXPLICIT, RawPeer, contexts_for
from kit.samples import rows
from kit.server import HOST, RunningServer, free_port
from kit.wait import eventually

NO_SUCH_OBJECT = 0x0112
NOBODYS = "1.2.826.0.1.3680043.10.9999.404"


@dataclass(frozen=True, slots=True)
class Site:
    """What comes from CT1 is forwarded to Orthanc, what comes from anybody else is kept."""

    server: RunningServer
    orthanc: Orthanc

    def store(self, name: str, count: int, *, calling: str) -> list[str]:
        objects = [make(f"{name}-{number}") for number in range(count)]
        with RawPeer(self.server.port) as peer:
            peer.associate(contexts_for((SECONDARY_CAPTURE, EXPLICIT)), calling=calling)
            for number, one in enumerate(objects, start=1):
                answer = peer.store(1, one.sop_class, one.sop_instance, one.data_set, message_id=number)
                assert answer.status == 0x0000
            peer.release()
        return [one.sop_instance for one in objects]

    def delivered(self, uids: list[str]) -> list[tuple[object, ...]]:
        """Of each: whether it is committed to, and how often it was sent again."""
        wanted = ", ".join(f"'{uid}'" for uid in uids)
        query = f"SELECT committed_at IS NOT NULL, resent FROM deliveries WHERE sop_instance_uid IN ({wanted})"
        return rows(self.server.data, query)

    def ask_until_committed(self, uids: list[str]) -> None:
        """As often as something is to be asked about."""

        def committed() -> bool:
            with closing(sqlite3.connect(self.server.data / "index.sqlite", timeout=20)) as connection, connection:
                connection.execute("UPDATE jobs SET due_at = 0 WHERE kind = 'ask' AND last_error = ''")
            return self.delivered(uids) == [(1, 0)] * len(uids)

        eventually(committed, "Orthanc has committed", within_s=60.0, every_s=0.2)

    def jobs(self) -> list[tuple[object, ...]]:
        return rows(self.server.data, "SELECT kind, destination, state, last_error FROM jobs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port = tmp_path_factory.mktemp("orthanc"), free_port()
    settings: dict[str, object] = {
        "peers.0.ae_title": TITLE,
        "peers.0.address": HOST,
        "peers.0.port": port,
        "peers.0.permissions": ["commit"],
        "forward.0.name": "all",
        "forward.0.to": [TITLE],
        "forward.0.calling_ae": ["CT1"],
        "forward.0.commit": True,
        "outbox.retry_first_s": 0.1,
        "outbox.retry_most_s": 0.5,
        "commitment.ask_after_s": 3600,  # when the test says so
        "commitment.answer_wait_s": 0.5,
    }
    with (
        RunningServer(folder / "data", settings=settings) as server,
        orthanc(folder / "orthanc", port=port, peer_port=server.port) as peer,
    ):
        yield Site(server, peer)


# --- Orthanc is the archive -----------------------------------------------------------------------------------------


def test_orthanc_commits_to_what_is_forwarded_to_it(site: Site) -> None:
    """SC-04: it reports on an association of its own."""
    uids = site.store("forwarded", 5, calling="CT1")
    eventually(lambda: len(site.delivered(uids)) == 5, "delivered", within_s=30.0)
    site.ask_until_committed(uids)
    assert set(uids) <= site.orthanc.instances().keys()
    eventually(lambda: not site.jobs(), "nothing left to do")


def test_what_orthanc_has_lost_meanwhile_is_sent_again_and_committed_to(site: Site) -> None:
    """SC-03."""
    uids = site.store("lost", 3, calling="CT1")
    eventually(lambda: len(site.delivered(uids)) == 3, "delivered", within_s=30.0)
    site.orthanc.delete(uids[1])
    site.ask_until_committed(uids)
    assert set(uids) <= site.orthanc.instances().keys()


# --- Orthanc asks ---------------------------------------------------------------------------------------------------


def test_orthanc_is_told_that_everything_is_committed_to(site: Site) -> None:
    """SC-01."""
    references = [(SECONDARY_CAPTURE, uid) for uid in site.store("asked", 5, calling="MR1")]
    result = site.orthanc.result(site.orthanc.ask_to_commit(references))
    assert result["Status"] == "Success"
    assert {(one["SOPClassUID"], one["SOPInstanceUID"]) for one in result["Success"]} == set(references)
    assert result["Failures"] == []


def test_orthanc_is_told_what_is_not_committed_to_and_why(site: Site) -> None:
    """SC-03."""
    references = [(SECONDARY_CAPTURE, uid) for uid in site.store("partly", 2, calling="MR1")]
    result = site.orthanc.result(site.orthanc.ask_to_commit([*references, (SECONDARY_CAPTURE, NOBODYS)]))
    assert result["Status"] == "Failure"
    assert {(one["SOPClassUID"], one["SOPInstanceUID"]) for one in result["Success"]} == set(references)
    (failure,) = result["Failures"]
    assert (failure["SOPInstanceUID"], failure["FailureReason"]) == (NOBODYS, NO_SUCH_OBJECT)
