"""From fragments to messages: PS3.8 Annex E; STANDARD UL-19 to UL-22, DM-09."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacslite.dimse.command import DATA_SET_FOLLOWS, NO_DATA_SET, CommandField, Tag, encode_command
from pacslite.dimse.messages import CommandReceived, DataSetPiece, MessageEvent, MessageReader
from pacslite.errors import RemoteProtocolError

ECHO = encode_command(
    {Tag.COMMAND_FIELD: CommandField.C_ECHO_RQ, Tag.MESSAGE_ID: 1, Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET}
)
STORE = encode_command(
    {Tag.COMMAND_FIELD: CommandField.C_STORE_RQ, Tag.MESSAGE_ID: 2, Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS}
)


def reader() -> MessageReader:
    return MessageReader(max_command_length=65536)


def command_of(event: MessageEvent | None) -> CommandReceived:
    assert isinstance(event, CommandReceived)
    return event


@given(st.data())
def test_a_command_in_any_pieces_is_one_command(data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(STORE)), max_size=8)))
    bounds = [0, *cuts, len(STORE)]
    pieces = [STORE[a:b] for a, b in itertools.pairwise(bounds)]
    messages = reader()
    events = [
        messages.receive(1, piece, is_command=True, last=number == len(pieces) - 1)
        for number, piece in enumerate(pieces)
    ]
    assert all(event is None for event in events[:-1])
    assert command_of(events[-1]).command.message_id == 2


def test_ul_19_two_messages_follow_each_other_on_different_contexts() -> None:
    messages = reader()
    assert command_of(messages.receive(1, ECHO, is_command=True, last=True)).context_id == 1
    assert command_of(messages.receive(3, STORE, is_command=True, last=True)).context_id == 3
    assert messages.in_message
    assert messages.receive(3, b"ab", is_command=False, last=False) == DataSetPiece(b"ab", last=False)
    assert messages.receive(3, b"", is_command=False, last=True) == DataSetPiece(b"", last=True)
    assert not messages.in_message
    assert command_of(messages.receive(1, ECHO, is_command=True, last=True)).context_id == 1


def test_ul_22_a_context_may_not_change_inside_a_message() -> None:
    messages = reader()
    messages.receive(1, STORE, is_command=True, last=True)
    with pytest.raises(RemoteProtocolError, match="changed from 1 to 3"):
        messages.receive(3, b"", is_command=False, last=True)


def test_a_data_set_nobody_announced_is_refused() -> None:
    messages = reader()
    messages.receive(1, ECHO, is_command=True, last=True)
    with pytest.raises(RemoteProtocolError, match="where a command was expected"):
        messages.receive(1, b"x", is_command=False, last=True)


def test_a_command_inside_a_data_set_is_refused() -> None:
    messages = reader()
    messages.receive(1, STORE, is_command=True, last=True)
    with pytest.raises(RemoteProtocolError, match="where a data set was expected"):
        messages.receive(1, ECHO, is_command=True, last=True)


def test_a_data_fragment_before_the_last_command_fragment_is_refused() -> None:
    messages = reader()
    messages.receive(1, STORE[:10], is_command=True, last=False)
    with pytest.raises(RemoteProtocolError, match="where a command was expected"):
        messages.receive(1, b"x", is_command=False, last=False)


def test_a_command_beyond_its_limit_is_refused_before_it_is_whole() -> None:
    messages = reader()
    for _ in range(64):
        messages.receive(1, bytes(1024), is_command=True, last=False)
    with pytest.raises(RemoteProtocolError, match="longer than 65536 bytes"):
        messages.receive(1, b"\0", is_command=True, last=False)


def test_ul_20_empty_fragments_are_tolerated() -> None:
    messages = reader()
    assert messages.receive(1, b"", is_command=True, last=False) is None
    assert command_of(messages.receive(1, ECHO, is_command=True, last=True)).command.message_id == 1
