"""Command sets: PS3.7 6.3.1 and Annex E; STANDARD DM-01, DM-06, UL-24."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dimse.command import (
    DATA_SET_FOLLOWS,
    NO_DATA_SET,
    CommandField,
    CommandSet,
    Tag,
    Value,
    decode_command,
    encode_command,
)
from pacslite.errors import RemoteProtocolError

US = st.integers(0, 0xFFFF)
UID = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5}){1,6}", fullmatch=True)
AE = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", min_size=1, max_size=16)
TAG_LIST = st.lists(st.integers(0, 0xFFFFFFFF), min_size=1, max_size=5).map(tuple)

STORE_RQ: dict[int, Value] = {
    Tag.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.2",
    Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
    Tag.MESSAGE_ID: 7,
    Tag.PRIORITY: 0,
    Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
    Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.3.4",
}


def element(number: int, value: bytes, *, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


commands = st.fixed_dictionaries(
    {Tag.COMMAND_FIELD: st.just(int(CommandField.C_STORE_RQ)), Tag.MESSAGE_ID: US},
    optional={
        Tag.AFFECTED_SOP_CLASS_UID: UID,
        Tag.AFFECTED_SOP_INSTANCE_UID: UID,
        Tag.STATUS: US,
        Tag.PRIORITY: US,
        Tag.COMMAND_DATA_SET_TYPE: US,
        Tag.MOVE_ORIGINATOR_AE_TITLE: AE,
        Tag.ERROR_COMMENT: AE,
        Tag.OFFENDING_ELEMENT: TAG_LIST,
    },
)


@given(commands)
def test_decoding_is_the_inverse_of_encoding(elements: dict[int, Value]) -> None:
    assert decode_command(encode_command(elements)).elements == elements


@given(commands)
def test_dm_01_elements_ascend_after_a_right_group_length(elements: dict[int, Value]) -> None:
    data = encode_command(elements)
    assert data[:8] == struct.pack("<HHI", 0, 0, 4)
    assert struct.unpack_from("<I", data, 8)[0] == len(data) - 12
    numbers, position = [], 0
    while position < len(data):
        group, number, length = struct.unpack_from("<HHI", data, position)
        assert group == 0
        assert length % 2 == 0
        numbers.append(number)
        position += 8 + length
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("kind", "follows"), [(NO_DATA_SET, False), (0, True), (1, True), (0x0102, True), (0xFFFF, True)]
)
def test_dm_01_any_type_but_0101_announces_a_data_set(kind: int, follows: bool) -> None:
    command = decode_command(encode_command({**STORE_RQ, Tag.COMMAND_DATA_SET_TYPE: kind}))
    assert command.has_data_set is follows


def test_dm_01_a_wrong_group_length_and_a_missing_one_are_tolerated() -> None:
    data = encode_command(STORE_RQ)
    assert decode_command(data[:8] + b"\xff\xff\xff\x7f" + data[12:]).elements == STORE_RQ
    assert decode_command(data[12:]).elements == STORE_RQ


def test_elements_out_of_order_unknown_and_retired_are_tolerated() -> None:
    data = element(0x0110, b"\x07\0") + element(0x0010, b"ACR-NEMA") + element(0x0100, b"\x30\0")
    command = decode_command(data)
    assert (command.field, command.message_id, command.name) == (CommandField.C_ECHO_RQ, 7, "C-ECHO-RQ")


@pytest.mark.parametrize("padding", [b"\0", b" ", b""])
def test_uids_lose_their_padding(padding: bytes) -> None:
    data = element(0x0002, b"1.2.3" + padding) + element(0x0100, b"\x30\0") + element(0x0110, b"\x01\0")
    assert decode_command(data).sop_class == "1.2.3"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (element(0x0100, b"\x30\0")[:5], "inside an element header"),
        (struct.pack("<HHI", 0, 0x0100, 0xFFFFFFFF), "longer than the command set"),
        (element(0x0016, b"1.2", group=8), "(0008,0016) in a command set"),
        (element(0x0100, b""), "has no value"),
        (element(0x0110, b"\x01\0"), "without Command Field"),
        (element(0x0100, b"\x30\0"), "without Message Id"),
        (element(0x0100, b"\x30\x80"), "without Message Id Being Responded To"),
        (element(0x0100, b"\xff\x0f"), "without Message Id Being Responded To"),
        (b"", "without Command Field"),
    ],
)
def test_what_cannot_be_answered_is_a_protocol_error(data: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words.replace("(", r"\(").replace(")", r"\)")) as caught:
        decode_command(data)
    assert caught.value.reason == 6


@given(st.binary(max_size=200))
def test_random_bytes_give_a_command_or_a_protocol_error(data: bytes) -> None:
    try:
        command = decode_command(data)
    except RemoteProtocolError:
        return
    assert isinstance(command, CommandSet)
    assert command.name


def test_an_unknown_command_field_is_named_by_its_number() -> None:
    assert CommandSet({Tag.COMMAND_FIELD: 0x0999}).name == "command 0999H"


def test_responses_are_told_from_requests() -> None:
    assert CommandSet({Tag.COMMAND_FIELD: CommandField.C_STORE_RSP}).is_response
    assert not CommandSet({Tag.COMMAND_FIELD: CommandField.C_CANCEL_RQ}).is_response
