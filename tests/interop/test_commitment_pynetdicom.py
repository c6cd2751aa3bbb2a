"""Storage commitment as modalities ask for it, by pynetdicom, over the wire. PS3.4 Annex J; STANDARD SC-01 to SC-06."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from kit.commitment_wire import n_action, n_event_report_rsp, read_message
from kit.committing import ALL_SUCCESSFUL, FAILURES_EXIST, NEW, SAME, Abort, Modality, Reference
from kit.encode import EXPLICIT_LITTLE as LE
from kit.odd import SECONDARY_CAPTURE, make, uid_for
from kit.rawpeer import EXPLICIT, RawPeer, contexts_for
from kit.server import HOST, RunningServer, free_port
from kit.tls import Authority
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.services.commitment_data_set import read_result

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
QUICK: dict[str, object] = {"outbox.retry_first_s": 0.1, "outbox.retry_most_s": 0.3}
ON_THEIRS = ("SAME", "IMPLICIT", "PARTLY", "MANY", "ABORTS", "FAILSSAME", "WARNS")
"""Requesters that are told on their own association."""
CALLED = ("ROLES", "NOROLES", "REFUSES", "ALIAS", "TWICE", "DOWN", "FAILS", "TOGETHER", "NEVERSAME")


def peers(*titles: str, called: bool = True) -> tuple[dict[str, object], dict[str, int]]:
    """Settings for these requesters, and the port of each; ``called``: they are never told on their own association."""
    ports = {title: free_port() for title in titles}
    settings: dict[str, object] = {}
    for number, (title, port) in enumerate(ports.items()):
        settings |= {
            f"peers.{number}.ae_title": title,
            f"peers.{number}.address": HOST,
            f"peers.{number}.port": port,
            f"peers.{number}.permissions": ["store", "commit"],
            f"peers.{number}.commitment_wait_s": 0 if called and title not in ON_THEIRS else 60,
        }
    return settings, ports


class Site:
    """A server that knows its requesters, and holds a few objects."""

    def __init__(self, server: RunningServer, ports: dict[str, int], held: Sequence[Reference]) -> None:
        self.server = server
        self.ports = ports
        self.held = held

    def modality(self, title: str) -> Modality:
        return Modality(title, port=self.ports[title])


def store(port: int, names: Sequence[str]) -> list[Reference]:
    objects = [make(name) for name in names]
    with RawPeer(port) as peer:
        peer.associate(contexts_for((SECONDARY_CAPTURE, EXPLICIT)), calling="CT1")
        for number, one in enumerate(objects, start=1):
            answer = peer.store(1, one.sop_class, one.sop_instance, one.data_set, message_id=number)
            assert answer.status == 0x0000
        peer.release()
    return [(one.sop_class, one.sop_instance) for one in objects]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings, ports = peers(*ON_THEIRS, *CALLED)
    with RunningServer(tmp_path_factory.mktemp("commitment") / "data", settings={**settings, **QUICK}) as server:
        yield Site(server, ports, store(server.port, [f"commitment-{number}" for number in range(5)]))


# --- The three ways ---------------------------------------------------------------------------------------------------


def test_sc_01_the_result_comes_on_the_association_of_the_request(site: Site) -> None:
    modality = site.modality("SAME")
    with modality.calling(site.server.port) as association:
        transaction = modality.ask(association, site.held)
        told = modality.only()
        assert association.is_established
    assert told.over == SAME
    assert told.event_type == ALL_SUCCESSFUL
    assert told.instance == STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
    assert told.transaction == transaction
    assert told.committed == site.held
    assert told.failed == []
    assert told.retrieve_ae == "PACSLITE"


@pytest.mark.parametrize(
    ("title", "role", "proposed"), [("ROLES", True, (False, True)), ("NOROLES", None, (False, True))]
)
def test_sc_04_the_result_comes_on_a_new_association(
    site: Site, title: str, role: bool | None, proposed: tuple[bool, bool]
) -> None:
    """To one that answers role selection, and to one that has never heard of it."""
    modality = site.modality(title)
    modality.role = role
    with modality.listening():
        transaction = modality.ask_and_leave(site.server.port, site.held)
        told = modality.only()
    assert (told.over, told.by, told.to) == (NEW, "PACSLITE", title)
    assert told.role == proposed
    assert told.event_type == ALL_SUCCESSFUL
    assert told.transaction == transaction
    assert told.committed == site.held


def test_sc_04_one_that_refuses_the_role_is_called_without(site: Site) -> None:
    modality = site.modality("REFUSES")
    modality.role = False
    with modality.listening():
        modality.ask_and_leave(site.server.port, site.held)
        told = modality.only()
    assert told.over == NEW
    assert told.role is None


def test_one_that_wants_to_be_called_is_never_told_on_its_own_association(site: Site) -> None:
    modality = site.modality("NEVERSAME")
    with modality.listening(), modality.calling(site.server.port) as association:
        modality.ask(association, site.held)
        assert modality.only().over == NEW
        assert association.is_established


def test_sc_04_the_result_comes_from_the_title_that_was_called(site: Site) -> None:
    modality = site.modality("ALIAS")
    with modality.listening():
        modality.ask_and_leave(site.server.port, site.held, called="OLDPACS")
        told = modality.only()
        assert told.by == "OLDPACS"
        assert told.retrieve_ae == "OLDPACS"
        modality.ask_and_leave(site.server.port, site.held, called="PACSLITE")
        assert [one.by for one in modality.wait(2)] == ["OLDPACS", "PACSLITE"]


def test_implicit_vr_is_answered_in_implicit_vr(site: Site) -> None:
    modality = site.modality("IMPLICIT")
    with modality.calling(site.server.port, syntax=ImplicitVRLittleEndian) as association:
        modality.ask(association, [*site.held, (CT, "1.2.3.4.5")])
        told = modality.only()
    assert told.committed == site.held
    assert told.failed == [((CT, "1.2.3.4.5"), 0x0112)]


# --- What is told -----------------------------------------------------------------------------------------------------


def test_sc_03_both_sequences_together_are_what_was_asked_for(site: Site) -> None:
    modality = site.modality("PARTLY")
    unknown = (SECONDARY_CAPTURE, uid_for("commitment-unknown", 4))
    conflicting = (CT, site.held[1][1])
    nothing_stored = (VERIFICATION, uid_for("commitment-echo", 4))
    with modality.calling(site.server.port) as association:
        modality.ask(association, [site.held[0], unknown, conflicting, nothing_stored, site.held[2]])
        told = modality.only()
    assert told.event_type == FAILURES_EXIST
    assert told.committed == [site.held[0], site.held[2]]
    assert told.failed == [(unknown, 0x0112), (conflicting, 0x0119), (nothing_stored, 0x0122)]


def test_sc_05_the_same_request_again_is_reported_again(site: Site) -> None:
    modality = site.modality("TWICE")
    with modality.listening():
        transaction = modality.ask_and_leave(site.server.port, site.held)
        first = modality.only()
        modality.ask_and_leave(site.server.port, site.held, transaction=transaction)
        assert modality.wait(2)[1].committed == first.committed
        modality.ask_and_leave(site.server.port, site.held[:2], transaction=transaction)
        other = modality.wait(3)[2]
    assert other.event_type == FAILURES_EXIST
    assert other.transaction == transaction
    assert other.failed == [(reference, 0x0131) for reference in site.held[:2]]


def test_ten_thousand_instances(site: Site) -> None:
    """The bytes are made and looked at here: pydicom takes seconds for that."""
    asked = [*site.held, *((CT, f"1.2.826.0.1.3680043.10.9999.{number}") for number in range(9_995))]
    items = (LE.element(0x00081150, "UI", one) + LE.element(0x00081155, "UI", other) for one, other in asked)
    data_set = LE.element(0x00081195, "UI", "1.2.3.10000") + LE.sequence(0x00081199, *items)
    with RawPeer(site.server.port, timeout_s=30) as peer:
        peer.associate(contexts_for((STORAGE_COMMITMENT_PUSH_MODEL, EXPLICIT)), calling="MANY")
        peer.send_message(1, n_action(), data_set)
        assert peer.read_response().status == 0x0000
        command, answer = read_message(peer)
        peer.send_message(1, n_event_report_rsp(command))
        peer.release()
    result = read_result(answer, transfer_syntax(EXPLICIT))
    assert result.committed == site.held
    is_as_asked = result.failed == [(reference, 0x0112) for reference in asked[5:]]
    assert is_as_asked  # nobody wants to see how two such lists differ


# --- Requesters with troubles -----------------------------------------------------------------------------------------


def test_sc_06_one_that_is_down_is_told_when_it_is_up(site: Site) -> None:
    modality = site.modality("DOWN")
    before = len(site.server.log)
    modality.ask_and_leave(site.server.port, site.held)
    site.server.wait_for_log("DOWN", after=before)
    with modality.listening():
        assert modality.only().committed == site.held


def test_sc_06_one_that_aborts_is_told_until_it_answers(site: Site) -> None:
    modality = site.modality("ABORTS")

    def aborts(number: int) -> int:
        if number <= 3:
            raise Abort
        return 0x0000

    modality.answers = aborts
    with modality.listening(), modality.calling(site.server.port) as association:
        modality.ask(association, site.held)
        told = modality.only()
    assert told.over == NEW
    assert modality.received == 4


def test_sc_06_one_that_answers_failure_is_told_until_it_succeeds(site: Site) -> None:
    modality = site.modality("FAILS")
    modality.answers = lambda number: 0x0110 if number <= 2 else 0x0000
    with modality.listening():
        modality.ask_and_leave(site.server.port, site.held)
        modality.only()
    assert modality.received == 3


def test_one_that_answers_failure_on_its_own_association_is_called(site: Site) -> None:
    modality = site.modality("FAILSSAME")
    modality.answers = lambda number: 0x0110 if number == 1 else 0x0000
    with modality.listening(), modality.calling(site.server.port) as association:
        modality.ask(association, site.held)
        assert modality.only().over == NEW
        assert association.is_established


def test_a_warning_is_an_answer(site: Site) -> None:
    modality = site.modality("WARNS")
    modality.answers = lambda number: 0xB000
    with modality.calling(site.server.port) as association:
        modality.ask(association, site.held)
        modality.only()
        modality.ask(association, site.held[:1])
        modality.wait(2)
    assert modality.received == 2


def test_results_that_wait_for_one_requester_come_all(site: Site) -> None:
    modality = site.modality("TOGETHER")
    transactions = [modality.ask_and_leave(site.server.port, site.held) for _ in range(5)]
    with modality.listening():
        assert sorted(one.transaction for one in modality.wait(5)) == sorted(transactions)


def test_sc_06_a_result_survives_kill_9(tmp_path: Path) -> None:
    """Between the answer to the request and the report."""
    settings, ports = peers("MODALITY")
    server = RunningServer(tmp_path / "data", settings={**settings, **QUICK})
    try:
        server.start()
        held = store(server.port, ["commitment-killed"])
        modality = Modality(port=ports["MODALITY"])
        transaction = modality.ask_and_leave(server.port, held)
        server.kill()
        server.start()
        with modality.listening():
            told = modality.only()
        assert (told.transaction, told.committed) == (transaction, held)
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_requester_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls", "ours")
    ours, theirs = authority.issue("pacslite"), authority.issue("modality")
    settings, ports = peers("MODALITY", called=False)
    settings |= {"peers.0.tls": True, "calling.ca": str(authority.file)}
    listener = {"certificate": ours.certificate_file, "key": ours.key_file}
    answering = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    answering.load_cert_chain(theirs.certificate_file, theirs.key_file)
    calling = ssl.create_default_context(cafile=authority.file)
    with RunningServer(tmp_path / "data", settings={**settings, **QUICK}, tls=[listener]) as server:
        held = store(server.port, ["commitment-tls"])
        modality = Modality(port=ports["MODALITY"], tls=answering)
        modality.answers = lambda number: 0x0110 if number == 2 else 0x0000
        with modality.listening(), modality.calling(server.tls_ports[0], tls=(calling, HOST)) as association:
            modality.ask(association, held)
            modality.only()
            modality.ask(association, held)
            assert [one.over for one in modality.wait(2)] == [SAME, NEW]
