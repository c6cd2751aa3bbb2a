"""Commands and their answers (PS3.7, PS3.4 B), from a peer that writes its bytes by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kit.encode import EXPLICIT_LITTLE
from kit.message import (
    c_cancel_rq,
    c_echo_rq,
    c_store_rq,
    command_set,
    pack_message,
    ui,
    us,
)
from kit.odd import SECONDARY_CAPTURE, make
from kit.rawpeer import (
    EXPLICIT,
    IMPLICIT,
    RawPeer,
    association,
    contexts_for,
    user_information,
)
from kit.server import RunningServer
from kit.shipped import DicomObject
from kit.store import Store
from pacslite.dicom.uids import VERIFICATION
from pacslite.dimse.command import CommandField, Tag
from pacslite.ul.pdu import Abort

BOTH_CONTEXTS = contexts_for((VERIFICATION, IMPLICIT), (SECONDARY_CAPTURE, EXPLICIT))


def _pixels(size: int) -> bytes:
    return EXPLICIT_LITTLE.element(0x7FE00010, "OW", bytes(size))


def test_dm01_any_data_set_type_but_0101h_means_that_one_follows(server: RunningServer, store: Store) -> None:
    with association(server.port, BOTH_CONTEXTS) as peer:
        for value in (0x0000, 0x0001, 0x0102, 0xFEFE):
            sent = make(f"data-set-type-{value:04x}")
            command = c_store_rq(sent.sop_class, sent.sop_instance, value or 9, more={0x0800: us(value)})
            peer.send_message(3, command, sent.data_set)
            assert peer.read_response().status == 0
            store.copy_of(sent)


def test_dm06_a_cancel_without_an_operation_is_ignored(server: RunningServer) -> None:
    with association(server.port) as peer:
        peer.send_message(1, c_cancel_rq(77))
        assert peer.echo(message_id=5) == 0


def test_dm07_dm08_failures_have_words_and_elements(server: RunningServer) -> None:
    good, other = make("words"), make("words-other")
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(3, good.sop_class, good.sop_instance, other.data_set)
        assert response.status == 0xA900  # ST-03
        assert response.elements[Tag.OFFENDING_ELEMENT] == (0x00080018,)
        assert 0 < len(response.text(Tag.ERROR_COMMENT)) <= 64
        response = peer.store(3, good.sop_class, good.sop_instance, b"\x00" * 64)
        assert response.status >> 12 == 0xC
        assert response.text(Tag.ERROR_COMMENT)


def test_dm09_the_data_set_of_a_refused_store_is_drained(server: RunningServer, store: Store) -> None:
    big = bytes(3_000_000)
    sent = make("after-a-refused-one")
    with association(server.port, BOTH_CONTEXTS) as peer:
        # An object whose SOP Class is not that of its context, and one without a SOP Instance UID.
        peer.send_message(3, c_store_rq(SECONDARY_CAPTURE, ""), big)
        assert peer.read_response().status == 0x0117
        assert peer.store(3, sent.sop_class, sent.sop_instance, sent.data_set).status == 0
    store.copy_of(sent)


def test_dm10_a_message_id_in_use_is_refused(server: RunningServer) -> None:
    first, second = make("message-id-first"), make("message-id-second")
    with RawPeer(server.port) as peer:
        peer.associate(BOTH_CONTEXTS, information=user_information(window=(4, 1)))
        # The second comes at once behind the first: it may or may not still be outstanding, but both are answered.
        peer.send(
            *pack_message(3, c_store_rq(first.sop_class, first.sop_instance, 7), first.data_set),
            *pack_message(3, c_store_rq(second.sop_class, second.sop_instance, 7), second.data_set),
        )
        statuses = {peer.read_response().status, peer.read_response().status}
        assert statuses in ({0}, {0, 0x0210})
        peer.release()


@pytest.mark.parametrize("field", [CommandField.C_FIND_RQ, CommandField.N_CREATE_RQ, 0x0777])
def test_dm11_an_operation_that_is_not_served_is_answered(server: RunningServer, field: int) -> None:
    command = command_set({0x0002: SECONDARY_CAPTURE.encode() + b"\0", 0x0100: us(field), 0x0110: us(3), 0x0800: us(1)})
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(3, command, b"\x00" * 40)
        response = peer.read_response()
        assert response.status == 0x0211
        assert response.responds_to == 3
        assert peer.echo() == 0


def test_store_on_a_verification_context_is_answered(server: RunningServer) -> None:
    sent = make("on-the-wrong-context", syntax=IMPLICIT)
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(1, sent.sop_class, sent.sop_instance, sent.data_set)
        assert response.status in (0x0211, 0x0122)
        assert peer.echo() == 0


def test_a_message_on_a_refused_context_is_aborted(server: RunningServer) -> None:
    with RawPeer(server.port) as peer:
        peer.associate()
        peer.send_message(99, c_echo_rq())
        answer = peer.read_pdu()
        assert isinstance(answer, Abort)
        assert answer.source == 2


def test_st06_the_response_names_the_object_and_has_no_data_set(server: RunningServer) -> None:
    sent = make("response-names-the-object")
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(3, sent.sop_class, sent.sop_instance, sent.data_set, message_id=0xFFFF)
    assert response.field == CommandField.C_STORE_RSP
    assert response.responds_to == 0xFFFF
    assert (response.sop_class, response.sop_instance) == (sent.sop_class, sent.sop_instance)
    assert not response.has_data_set


def test_st05_move_originator_elements_are_tolerated(server: RunningServer, store: Store) -> None:
    sent = make("move-originator")
    command = c_store_rq(sent.sop_class, sent.sop_instance, more={0x1030: b"OTHERPACS ", 0x1031: us(44)})
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(3, command, sent.data_set)
        assert peer.read_response().status == 0
    store.copy_of(sent)


def test_uids_padded_with_a_space_are_the_same_uids(server: RunningServer, store: Store) -> None:
    uid = "1.2.826.0.1.3680043.10.9999.4.778"
    assert len(uid) % 2
    plain = make("space-padded", instance=uid)
    sent = replace(plain, data_set=plain.data_set.replace(uid.encode() + b"\0", uid.encode() + b" "))
    assert sent.data_set != plain.data_set
    command = c_store_rq(sent.sop_class, "", more={0x1000: uid.encode() + b" "})
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(3, command, sent.data_set)
        assert peer.read_response().status == 0
    store.copy_of(sent)


def test_without_sop_uids_in_the_data_set_those_of_the_command_count_with_a_warning(
    server: RunningServer, store: Store
) -> None:
    whole = make("uids-in-the-command-only")
    start = whole.data_set.index(b"\x10\x00\x10\x00")
    sent = replace(whole, data_set=whole.data_set[start:])
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(3, sent.sop_class, sent.sop_instance, sent.data_set)
    assert response.status == 0xB007
    assert "missing in the data set" in response.text(Tag.ERROR_COMMENT)
    store.copy_of(sent)


def test_with_a_window_answers_come_for_every_operation(server: RunningServer, store: Store) -> None:
    """Eight C-STOREs are sent without waiting for an answer; each gets its own, in whatever order."""
    sent = [make(f"window-{at}", rest=_pixels(20_000)) for at in range(24)]
    with RawPeer(server.port) as peer:
        window = peer.associate(
            BOTH_CONTEXTS, information=user_information(window=(8, 1))
        ).user_information.async_window
        assert window is not None
        answered = _send_all(peer, sent, window.invoked)
        peer.release()
    assert answered == {at + 1: 0 for at in range(len(sent))}
    for one in sent:
        store.copy_of(one)


def _send_all(peer: RawPeer, sent: list[DicomObject], window: int) -> dict[int, int]:
    answered: dict[int, int] = {}
    for at, one in enumerate(sent):
        if at - len(answered) == window:
            response = peer.read_response()
            answered[response.responds_to] = response.status
        peer.send_message(3, c_store_rq(one.sop_class, one.sop_instance, at + 1), one.data_set)
    while len(answered) < len(sent):
        response = peer.read_response()
        answered[response.responds_to] = response.status
    return answered


def test_without_a_window_messages_sent_at_once_are_answered_in_their_order(
    server: RunningServer, store: Store
) -> None:
    sent = [make(f"pipelined-{at}", rest=_pixels(1000 * at)) for at in range(6)]
    messages = [
        pdu
        for at, one in enumerate(sent)
        for pdu in pack_message(3, c_store_rq(one.sop_class, one.sop_instance, at + 1), one.data_set)
    ]
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send(*messages)
        answers = [peer.read_response() for _ in sent]
    assert [(answer.responds_to, answer.status) for answer in answers] == [(at + 1, 0) for at in range(6)]
    for one in sent:
        store.copy_of(one)


def test_a_data_set_behind_a_c_echo_is_drained(server: RunningServer) -> None:
    elements = {0x0002: ui(VERIFICATION), 0x0100: us(CommandField.C_ECHO_RQ), 0x0110: us(3), 0x0800: us(1)}
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(1, command_set(elements), bytes(100_000))
        assert peer.read_response().responds_to == 3
        assert peer.echo(message_id=4) == 0


def test_a_store_without_a_data_set_is_refused(server: RunningServer) -> None:
    sent = make("without-a-data-set")
    command = c_store_rq(sent.sop_class, sent.sop_instance, more={0x0800: us(0x0101)})
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(3, command)
        response = peer.read_response()
        assert response.status == 0x0212
        assert response.text(Tag.ERROR_COMMENT)
        assert peer.echo() == 0


def test_a_store_of_another_class_than_its_context_s_is_refused(server: RunningServer, store: Store) -> None:
    sent = make("another-class")
    with association(server.port, BOTH_CONTEXTS) as peer:
        response = peer.store(3, "1.2.840.10008.5.1.4.1.1.2", sent.sop_instance, sent.data_set)
        assert response.status in (0x0118, 0x0122, 0xA900)
        assert response.text(Tag.ERROR_COMMENT)
        assert peer.echo() == 0
    assert store.copies(sent.sop_instance) == []


def test_strange_elements_in_a_command_are_passed_over(server: RunningServer, store: Store) -> None:
    """Retired ones, unknown ones, and no Priority at all."""
    sent = make("strange-command")
    more = {0x0001: bytes(4), 0x0010: b"ACR-NEMA", 0x0850: us(7), 0x7777: b"????", 0x5110: b"text"}
    command = c_store_rq(sent.sop_class, sent.sop_instance, more=more)
    with association(server.port, BOTH_CONTEXTS) as peer:
        peer.send_message(3, command.replace(bytes.fromhex("0000000702000000" + "0000"), b""), sent.data_set)
        assert peer.read_response().status == 0
    store.copy_of(sent)


@pytest.mark.parametrize(
    "command",
    [
        b"",
        b"\x00\x00\x00\x00",
        command_set({0x0110: us(1), 0x0800: us(0x0101)}),
        command_set({0x0100: us(0x0030), 0x0800: us(0x0101)}),
        command_set({0x0100: us(0x8001), 0x0120: us(4711), 0x0800: us(0x0101), 0x0900: us(0)}),
        c_echo_rq()[:-1],
        b"\x08\x00\x16\x00\x04\x00\x00\x001.2\0",
    ],
    ids=["empty", "stump", "no-command-field", "no-message-id", "response-to-nothing", "cut", "group-8"],
)
def test_a_command_that_cannot_be_answered_is_aborted(server: RunningServer, command: bytes) -> None:
    with RawPeer(server.port) as peer:
        peer.associate()
        peer.send_message(1, command)
        answer = peer.read_pdu()
        assert isinstance(answer, Abort)
        assert answer.source == 2
