"""Storage commitment that we ask of an archive after forwarding to it, an archive made of pynetdicom, over the wire.

PS3.4 Annex J; STANDARD SC-01 to SC-06.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kit.committer import Abort, Committer, Over, Question
from kit.odd import SECONDARY_CAPTURE, make
from kit.rawpeer import EXPLICIT, RawPeer, contexts_for
from kit.samples import rows
from kit.server import HOST, RunningServer
from kit.wait import eventually

TITLES = ("SAME", "ROLES", "PLAIN", "LACKS", "NEVERHAS", "FAILS", "ABORTS", "LEAVES", "UNKNOWN", "WITHOUT", "LATER")
QUICK: dict[str, object] = {
    "outbox.retry_first_s": 0.1,
    "outbox.retry_most_s": 0.3,
    "commitment.ask_after_s": 0.3,
    "commitment.answer_wait_s": 2,
    "commitment.max_resends": 1,
}


def settings_for(committers: Sequence[Committer]) -> dict[str, object]:
    """Whatever comes from TO_X is forwarded to X, which is asked to commit to it."""
    settings = dict(QUICK)
    for number, committer in enumerate(committers):
        settings |= {
            f"peers.{number}.ae_title": committer.title,
            f"peers.{number}.address": HOST,
            f"peers.{number}.port": committer.port,
            f"peers.{number}.permissions": ["commit"],
            f"forward.{number}.name": committer.title.lower(),
            f"forward.{number}.to": [committer.title],
            f"forward.{number}.calling_ae": [f"TO_{committer.title}"],
            f"forward.{number}.commit": True,
        }
    return settings


class Site:
    """A server that forwards, and the archives that it knows."""

    def __init__(self, server: RunningServer, committers: Sequence[Committer]) -> None:
        self.server = server
        self._committers = {committer.title: committer for committer in committers}

    def archive(self, title: str) -> Committer:
        committer = self._committers[title]
        committer.reports_to, committer.reports_as = self.server.port, title
        return committer

    def send(self, title: str, count: int = 3) -> list[str]:
        """Objects for that archive; returns their SOP Instance UIDs."""
        objects = [make(f"{title}-{number}") for number in range(count)]
        with RawPeer(self.server.port) as peer:
            peer.associate(contexts_for((SECONDARY_CAPTURE, EXPLICIT)), calling=f"TO_{title}")
            for number, one in enumerate(objects, start=1):
                answer = peer.store(1, one.sop_class, one.sop_instance, one.data_set, message_id=number)
                assert answer.status == 0x0000
            peer.release()
        return [one.sop_instance for one in objects]

    def wait_committed(self, title: str, count: int = 3) -> None:
        """Every object delivered there is committed to, and nothing is left to do."""
        committed = f"SELECT count(committed_at) FROM deliveries WHERE destination = '{title}'"
        eventually(lambda: self.ask(committed) == [(count,)], f"{title} has committed", within_s=30.0)
        eventually(lambda: not self.jobs(title), f"nothing left to do for {title}")

    def jobs(self, title: str) -> list[tuple[object, ...]]:
        return self.ask(f"SELECT kind, state, last_error FROM jobs WHERE destination = '{title}'")

    def ask(self, query: str) -> list[tuple[object, ...]]:
        return rows(self.server.data, query)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    committers = [Committer(title) for title in TITLES]
    data = tmp_path_factory.mktemp("asking") / "data"
    with RunningServer(data, settings=settings_for(committers)) as server:
        yield Site(server, committers)


# --- The ways in which archives tell the result ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "over"), [("SAME", Over.SAME), ("ROLES", Over.ROLES), ("PLAIN", Over.PLAIN)], ids=lambda value: str(value)
)
def test_sc_04_a_result_is_taken_on_any_association(site: Site, title: str, over: Over) -> None:
    archive = site.archive(title)
    archive.over = lambda question: over
    with archive.listening():
        uids = site.send(title)
        site.wait_committed(title)
        assert archive.wait_told() == [0x0000]
    assert archive.stored == uids
    assert sorted(uid for question in archive.questions for uid in question.instances) == sorted(uids)


# --- Failures --------------------------------------------------------------------------------------------------------


def test_sc_03_what_the_archive_lacks_is_sent_again_and_then_committed_to(site: Site) -> None:
    archive = site.archive("LACKS")
    archive.lacks = lambda question, uid: question.number == 1 and uid == uids[1]
    uids: list[str] = [make(f"LACKS-{number}").sop_instance for number in range(3)]
    archive.answers = lambda question: 0x0000
    with archive.listening():
        assert site.send("LACKS") == uids
        site.wait_committed("LACKS")
        first, second = archive.wait_asked(2)
    assert set(first.instances) == set(uids)
    assert second.instances == (uids[1],)
    assert first.transaction != second.transaction
    assert archive.stored == [*uids, uids[1]]


def test_what_the_archive_never_has_is_given_up_and_told(site: Site) -> None:
    archive = site.archive("NEVERHAS")
    archive.lacks = lambda question, uid: uid.endswith(uids[0])
    uids = [make(f"NEVERHAS-{number}").sop_instance for number in range(3)]
    before = len(site.server.log)
    with archive.listening():
        site.send("NEVERHAS")
        words = "not committed to: 1 object (0112H)"
        eventually(lambda: site.jobs("NEVERHAS") == [("ask", "dead", words)], "given up", within_s=30.0)
    assert archive.stored.count(uids[0]) == 2
    log = site.server.wait_for_log("does not commit to", after=before)
    (line,) = [line for line in log.splitlines() if "does not commit to" in line]
    assert "ERROR" in line
    assert "Failure Reason 0112" in line


@pytest.mark.parametrize("how", ["FAILS", "ABORTS"])
def test_an_archive_that_does_not_take_the_question_is_asked_again(site: Site, how: str) -> None:
    """SC-02: only success means that it was received."""

    def answers(question: Question) -> int:
        if question.number > 2:
            return 0x0000
        if how == "ABORTS":
            raise Abort
        return 0x0110

    archive = site.archive(how)
    archive.answers = answers
    with archive.listening():
        site.send(how)
        site.wait_committed(how)
    assert len({question.transaction for question in archive.questions}) == len(archive.questions) >= 3


def test_an_archive_that_leaves_instead_of_telling_tells_later(site: Site) -> None:
    archive = site.archive("LEAVES")
    archive.over = lambda question: Over.NEVER
    with archive.listening():
        site.send("LEAVES")
        question = archive.wait_asked()[0]
        eventually(lambda: site.jobs("LEAVES") == [("ask", "waiting", "no result yet")], "waiting for the result")
        archive.abort()
        assert archive.tell_from_elsewhere(question, title="LEAVES") == 0x0000
        site.wait_committed("LEAVES")
    assert len(archive.questions) == 1


def test_sc_05_a_result_is_taken_twice_and_one_of_nothing_once(site: Site) -> None:
    archive = site.archive("UNKNOWN")
    before = len(site.server.log)
    with archive.listening():
        site.send("UNKNOWN")
        site.wait_committed("UNKNOWN")
        question = archive.wait_asked()[0]
        assert archive.tell_from_elsewhere(question, title="UNKNOWN") == 0x0000
        assert archive.tell_from_elsewhere(question, title="UNKNOWN", transaction="1.2.3.4") == 0x0000
    site.server.wait_for_log("no longer know of it", after=before)
    site.wait_committed("UNKNOWN")


def test_an_archive_without_storage_commitment_has_its_objects_all_the_same(site: Site) -> None:
    archive = site.archive("WITHOUT")
    archive.supports = False
    with archive.listening():
        uids = site.send("WITHOUT")
        expected = [("ask", "waiting", "WITHOUT does not accept storage commitment")]
        eventually(lambda: site.jobs("WITHOUT") == expected, "told why", within_s=30.0)
    assert archive.stored == uids
    delivered = "SELECT count(*) FROM deliveries WHERE destination = 'WITHOUT' AND committed_at IS NULL"
    assert site.ask(delivered) == [(3,)]


def test_an_archive_that_does_not_answer_is_asked_again_with_another_transaction(tmp_path: Path) -> None:
    archive = Committer("SILENT", over=lambda question: Over.SAME if question.number > 1 else Over.NEVER)
    settings = {**settings_for([archive]), "commitment.ask_again_s": 1, "commitment.answer_wait_s": 0.1}
    with RunningServer(tmp_path / "data", settings=settings) as server, archive.listening():
        site = Site(server, [archive])
        site.send("SILENT")
        site.wait_committed("SILENT")
    assert len({question.transaction for question in archive.questions}) == len(archive.questions) >= 2


def test_a_result_is_taken_by_a_server_that_was_killed_since_it_asked(tmp_path: Path) -> None:
    archive = Committer("LATER", over=lambda question: Over.NEVER)
    with RunningServer(tmp_path / "data", settings=settings_for([archive])) as server, archive.listening():
        site = Site(server, [archive])
        site.archive("LATER")
        site.send("LATER")
        question = archive.wait_asked()[0]
        eventually(lambda: site.jobs("LATER") == [("ask", "waiting", "no result yet")], "waiting for the result")
        server.kill()
        server.start()
        site.archive("LATER")
        assert archive.tell_from_elsewhere(question, title="LATER") == 0x0000
        site.wait_committed("LATER")
    assert len(archive.questions) == 1
