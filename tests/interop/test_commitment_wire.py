"""Requests for commitment byte by byte: each status, and requesters that leave. STANDARD SC-01, SC-02, SC-04, SC-06."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from kit.commitment_wire import n_action, n_event_report_rsp, read_message
from kit.committing import NEW, Modality
from kit.encode import EXPLICIT_LITTLE as LE
from kit.message import pack_message, ui, us
from kit.odd import SECONDARY_CAPTURE
from kit.rawpeer import A_ABORT, EXPLICIT, RELEASE_RQ, RawPeer, contexts_for, user_information
from kit.server import HOST, RunningServer, free_port
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import CommandSet, Tag
from pacslite.ul.items import RoleSelection
from pacslite.ul.pdu import ReleaseRP

CONTEXTS = contexts_for((STORAGE_COMMITMENT_PUSH_MODEL, EXPLICIT))
N_GET_RQ = 0x0110
TRANSACTION = "1.2.826.0.1.3680043.10.9999.50.1"
MAX_INSTANCES = 50
MAX_BYTES = 1 << 20


@pytest.fixture(scope="module")
def listening() -> int:
    return free_port()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, listening: int) -> Iterator[RunningServer]:
    settings: dict[str, object] = {
        "commitment.max_instances": MAX_INSTANCES,
        "commitment.max_request_bytes": MAX_BYTES,
        "outbox.retry_first_s": 0.1,
        "outbox.retry_most_s": 0.3,
        "peers.0.ae_title": "LEAVES",
        "peers.0.address": HOST,
        "peers.0.port": listening,
        "peers.0.permissions": ["commit"],
        "peers.1.ae_title": "STOREONLY",
        "peers.1.address": HOST,
    }
    with RunningServer(tmp_path_factory.mktemp("wire") / "data", settings=settings) as running:
        yield running


def item(number: int) -> bytes:
    return LE.element(0x00081150, "UI", SECONDARY_CAPTURE) + LE.element(0x00081155, "UI", f"1.2.3.{number}")


def references(count: int) -> bytes:
    return LE.sequence(0x00081199, *map(item, range(count)))


def transaction(uid: str = TRANSACTION) -> bytes:
    return LE.element(0x00081195, "UI", uid)


ONE = transaction() + references(1)


def asked(server: RunningServer, command: bytes, data_set: bytes | None, *, calling: str = "RAWPEER") -> CommandSet:
    with RawPeer(server.port) as peer:
        peer.associate(CONTEXTS, calling=calling)
        peer.send_message(1, command, data_set)
        answer = peer.read_response()
        peer.send(A_ABORT)
        return answer


def test_sc_02_the_answer_to_a_request(strict: RunningServer) -> None:
    answer = asked(strict, n_action(77), ONE)
    assert answer.status == 0x0000
    assert answer.responds_to == 77
    assert answer.text(Tag.AFFECTED_SOP_CLASS_UID) == STORAGE_COMMITMENT_PUSH_MODEL
    assert answer.text(Tag.AFFECTED_SOP_INSTANCE_UID) == STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
    assert answer.integer(Tag.ACTION_TYPE_ID) == 1
    assert not answer.has_data_set


REFUSED: Sequence[tuple[str, bytes, bytes | None, int, str]] = (
    ("another instance", n_action(e1001=ui("1.2.3")), ONE, 0x0112, "1.2.840.10008.1.20.1.1"),
    ("no instance", n_action(e1001=None), ONE, 0x0112, "1.2.840.10008.1.20.1.1"),
    ("another class", n_action(e0003=ui("1.2.840.10008.1.20.2")), ONE, 0x0119, "Push Model"),
    ("another action", n_action(e1008=us(2)), ONE, 0x0123, "Action Type ID 2"),
    ("no action", n_action(e1008=None), ONE, 0x0123, "Action Type ID"),
    ("no data set", n_action(has_data_set=False), None, 0x0212, "without a data set"),
    ("no transaction", n_action(), references(1), 0x0120, "Transaction UID"),
    ("an empty transaction", n_action(), transaction("") + references(1), 0x0120, "Transaction UID"),
    ("a transaction that is no UID", n_action(), transaction("abc") + references(1), 0x0115, "Transaction UID"),
    ("no sequence", n_action(), transaction(), 0x0120, "Referenced SOP Sequence"),
    ("an empty sequence", n_action(), transaction() + references(0), 0x0115, "Referenced SOP Sequence"),
    ("what is no data set", n_action(), b"\x08\x00\x95\x11UI\xff\x7f12", 0x0110, "cannot be read"),
    ("too many instances", n_action(), transaction() + references(MAX_INSTANCES + 1), 0x0213, str(MAX_INSTANCES)),
    ("too many bytes", n_action(), LE.element(0x00081195, "UN", bytes(MAX_BYTES)) + references(1), 0x0213, "bytes"),
    ("another operation", n_action(e0100=us(N_GET_RQ)), ONE, 0x0211, "command 0110H"),
)


@pytest.mark.parametrize(
    ("command", "data_set", "status", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_each_refusal(strict: RunningServer, command: bytes, data_set: bytes | None, status: int, words: str) -> None:
    """SC-01: with the status of PS3.7 10.1.4 and words that help; the association goes on."""
    with RawPeer(strict.port) as peer:
        peer.associate(CONTEXTS)
        peer.send_message(1, command, data_set)
        answer = peer.read_response()
        assert (answer.status, words in answer.text(Tag.ERROR_COMMENT)) == (status, True), answer
        peer.send_message(1, n_action(2), ONE)
        assert peer.read_response().status == 0x0000
        peer.send(A_ABORT)


def test_dm_09_what_is_too_long_is_refused_before_it_has_arrived(strict: RunningServer) -> None:
    with RawPeer(strict.port) as peer:
        peer.associate(CONTEXTS)
        *first, last = pack_message(1, n_action(), transaction() + bytes(2 * MAX_BYTES))
        peer.send(*first)
        assert peer.read_response().status == 0x0213
        peer.send(last)
        peer.send_message(1, n_action(2), ONE)
        assert peer.read_response().status == 0x0000
        peer.send(A_ABORT)


@pytest.mark.parametrize(
    ("proposed", "status"), [((True, False), 0x0000), ((True, True), 0x0000), ((False, True), 0x0124)]
)
def test_dm_03_who_proposes_to_be_scp_alone_may_not_ask(
    strict: RunningServer, proposed: tuple[bool, bool], status: int
) -> None:
    """Both roles are granted to one with the permission: an archive may ask us, and tell us what we asked of it."""
    scu, scp = proposed
    role = RoleSelection(sop_class=STORAGE_COMMITMENT_PUSH_MODEL, scu=scu, scp=scp)
    with RawPeer(strict.port) as peer:
        answer = peer.associate(CONTEXTS, information=user_information(roles=[role]))
        assert answer.user_information.roles == (role,)
        peer.send_message(1, n_action(), ONE)
        assert peer.read_response().status == status
        peer.send(A_ABORT)


@pytest.mark.parametrize("leaving", [RELEASE_RQ, A_ABORT], ids=["release", "abort"])
def test_sc_04_one_that_leaves_at_once_is_called(strict: RunningServer, listening: int, leaving: bytes) -> None:
    """Nothing is said on the association any more once it has begun to release."""
    modality = Modality("LEAVES", port=listening)
    with modality.listening():
        with RawPeer(strict.port) as peer:
            peer.associate(CONTEXTS, calling="LEAVES")
            peer.send(*pack_message(1, n_action(), ONE), leaving)
            if leaving is RELEASE_RQ:
                assert peer.read_response().status == 0x0000
                assert isinstance(peer.read_pdu(), ReleaseRP)
        told = modality.only()
    assert told.over == NEW
    assert told.transaction == TRANSACTION


def test_a_report_is_a_message_of_its_own_behind_the_answer(strict: RunningServer) -> None:
    """SC-01: N-EVENT-REPORT-RQ with its own Message ID; its answer has no data set (SC-06), and one is passed over."""
    with RawPeer(strict.port) as peer:
        peer.associate(CONTEXTS)
        peer.send_message(1, n_action(9), ONE)
        assert peer.read_response().responds_to == 9
        command, data_set = read_message(peer)
        assert command.name == "N-EVENT-REPORT-RQ"
        assert command.has_data_set
        assert command.integer(Tag.EVENT_TYPE_ID) == 2
        assert command.text(Tag.AFFECTED_SOP_CLASS_UID) == STORAGE_COMMITMENT_PUSH_MODEL
        assert command.text(Tag.AFFECTED_SOP_INSTANCE_UID) == STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
        assert transaction() in data_set
        peer.send_message(1, n_event_report_rsp(command, has_data_set=True), b"")
        before = len(strict.log)
        peer.release()
        assert "aborted" not in strict.wait_for_log("released", after=before)


def test_one_that_we_cannot_call_is_told_so_in_the_log(strict: RunningServer) -> None:
    before = len(strict.log)
    assert asked(strict, n_action(), ONE, calling="NOBODY").status == 0x0000
    log = strict.wait_for_log("NOBODY is no peer with a port", after=before)
    assert "NOBODY" in log


def test_one_without_the_permission_is_refused_and_the_log_says_what_to_add(strict: RunningServer) -> None:
    before = len(strict.log)
    with RawPeer(strict.port) as peer:
        (answer,) = peer.associate(CONTEXTS, calling="STOREONLY").contexts
        assert not answer.accepted
        peer.release()
    strict.wait_for_log('add "commit" to its permissions', after=before)
