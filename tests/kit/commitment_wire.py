"""The messages of storage commitment as bytes, made by hand."""

from __future__ import annotations

from kit.message import command_set, ui, us
from kit.rawpeer import RawPeer
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import CommandSet, Tag, decode_command
from pacslite.ul.pdu import PDataTF

N_ACTION_RQ = 0x0130


def n_action(message_id: int = 1, *, has_data_set: bool = True, **changes: bytes | None) -> bytes:
    """``changes`` are named by their element, ``e1001`` and so on; None leaves it out."""
    elements: dict[int, bytes | None] = {
        0x0003: ui(STORAGE_COMMITMENT_PUSH_MODEL),
        0x0100: us(N_ACTION_RQ),
        0x0110: us(message_id),
        0x0800: us(1 if has_data_set else 0x0101),
        0x1001: ui(STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE),
        0x1008: us(1),
    }
    elements |= {int(name[1:], 16): value for name, value in changes.items()}
    return command_set({element: value for element, value in elements.items() if value is not None})


def n_event_report_rsp(command: CommandSet, *, has_data_set: bool = False) -> bytes:
    """Success."""
    return command_set(
        {
            0x0002: ui(STORAGE_COMMITMENT_PUSH_MODEL),
            0x0100: us(0x8100),
            0x0120: us(command.message_id),
            0x0800: us(1 if has_data_set else 0x0101),
            0x0900: us(0),
            0x1000: ui(STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE),
            0x1002: us(command.integer(Tag.EVENT_TYPE_ID)),
        }
    )


def read_message(peer: RawPeer) -> tuple[CommandSet, bytes]:
    """The next message, which has a data set."""
    parts = {True: b"", False: b""}
    while True:
        answer = peer.read_pdu()
        assert isinstance(answer, PDataTF), answer
        for value in answer.pdvs:
            parts[value.command] += value.data
            if value.last and not value.command:
                return decode_command(parts[True]), parts[False]
