"""Command sets (PS3.7 6.3.1, Annex E): group 0000 elements, always Implicit VR Little Endian (PS3.5 10.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pacslite.errors import RemoteProtocolError
from pacslite.ul.pdu import AbortReason

Value = int | str | tuple[int, ...]
"""A command element's value: US as int, UI, AE and LO as str, AT as a tuple of tags."""

NO_DATA_SET: Final = 0x0101
"""Command Data Set Type: this value means no data set follows, any other that one does (PS3.7 E.1)."""

DATA_SET_FOLLOWS: Final = 0x0001


class CommandField(IntEnum):
    """Command Field (0000,0100), PS3.7 Table E.1-1; a response has the top bit of its request set."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


RESPONSE_BIT: Final = 0x8000


class Tag(IntEnum):
    """The elements of PS3.7 Table E.1-1, by their names there."""

    GROUP_LENGTH = 0x00000000
    AFFECTED_SOP_CLASS_UID = 0x00000002
    REQUESTED_SOP_CLASS_UID = 0x00000003
    COMMAND_FIELD = 0x00000100
    MESSAGE_ID = 0x00000110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x00000120
    MOVE_DESTINATION = 0x00000600
    PRIORITY = 0x00000700
    COMMAND_DATA_SET_TYPE = 0x00000800
    STATUS = 0x00000900
    OFFENDING_ELEMENT = 0x00000901
    ERROR_COMMENT = 0x00000902
    ERROR_ID = 0x00000903
    AFFECTED_SOP_INSTANCE_UID = 0x00001000
    REQUESTED_SOP_INSTANCE_UID = 0x00001001
    EVENT_TYPE_ID = 0x00001002
    ATTRIBUTE_IDENTIFIER_LIST = 0x00001005
    ACTION_TYPE_ID = 0x00001008
    REMAINING_SUB_OPERATIONS = 0x00001020
    COMPLETED_SUB_OPERATIONS = 0x00001021
    FAILED_SUB_OPERATIONS = 0x00001022
    WARNING_SUB_OPERATIONS = 0x00001023
    MOVE_ORIGINATOR_AE_TITLE = 0x00001030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x00001031


_UI: Final = frozenset(
    {
        Tag.AFFECTED_SOP_CLASS_UID,
        Tag.REQUESTED_SOP_CLASS_UID,
        Tag.AFFECTED_SOP_INSTANCE_UID,
        Tag.REQUESTED_SOP_INSTANCE_UID,
    }
)
_TEXT: Final = frozenset({Tag.MOVE_DESTINATION, Tag.ERROR_COMMENT, Tag.MOVE_ORIGINATOR_AE_TITLE})
_TAG_LISTS: Final = frozenset({Tag.OFFENDING_ELEMENT, Tag.ATTRIBUTE_IDENTIFIER_LIST})
_US: Final = frozenset(set(Tag) - _UI - _TEXT - _TAG_LISTS - {Tag.GROUP_LENGTH})

_ELEMENT: Final = struct.Struct("<HHI")
_US_ELEMENT: Final = struct.Struct("<HHIH")
_GROUP_LENGTH: Final = struct.Struct("<HHII")
_US_VALUE: Final = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class CommandSet:
    """One command, by tag. The properties are those that every operation needs; the rest is in ``elements``."""

    elements: Mapping[int, Value]

    @property
    def field(self) -> int:
        return self.integer(Tag.COMMAND_FIELD)

    @property
    def is_response(self) -> bool:
        return bool(self.field & RESPONSE_BIT)

    @property
    def message_id(self) -> int:
        return self.integer(Tag.MESSAGE_ID)

    @property
    def responds_to(self) -> int:
        """Message ID Being Responded To."""
        return self.integer(Tag.MESSAGE_ID_BEING_RESPONDED_TO)

    @property
    def status(self) -> int:
        return self.integer(Tag.STATUS)

    @property
    def has_data_set(self) -> bool:
        return self.elements.get(Tag.COMMAND_DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET

    @property
    def sop_class(self) -> str:
        """Affected, else Requested SOP Class UID, else an empty string."""
        return self.text(Tag.AFFECTED_SOP_CLASS_UID) or self.text(Tag.REQUESTED_SOP_CLASS_UID)

    @property
    def sop_instance(self) -> str:
        """Affected, else Requested SOP Instance UID, else an empty string."""
        return self.text(Tag.AFFECTED_SOP_INSTANCE_UID) or self.text(Tag.REQUESTED_SOP_INSTANCE_UID)

    @property
    def name(self) -> str:
        """``C-STORE-RQ`` and the like; a number for what PS3.7 does not know."""
        try:
            return CommandField(self.field).name.replace("_", "-")
        except ValueError:
            return f"command {self.field:04X}H"

    def integer(self, tag: int) -> int:
        """The value of a US element; 0 if it is absent."""
        value = self.elements.get(tag, 0)
        return value if isinstance(value, int) else 0

    def text(self, tag: int) -> str:
        """The value of a UI, AE or LO element; empty if it is absent."""
        value = self.elements.get(tag, "")
        return value if isinstance(value, str) else ""


def decode_command(data: bytes) -> CommandSet:
    """Decode a whole command set.

    Group Length is not believed; elements out of order and retired ones are passed over: old devices send them.
    Raises :class:`RemoteProtocolError` if the bytes are no command set or cannot be answered.
    """
    elements: dict[int, Value] = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < 8:
            raise RemoteProtocolError(
                f"command set ends inside an element header at byte {position}", reason=AbortReason.INVALID_PARAMETER
            )
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += 8
        if group != 0:
            raise RemoteProtocolError(
                f"element ({group:04X},{element:04X}) in a command set", reason=AbortReason.INVALID_PARAMETER
            )
        if length > end - position:
            raise RemoteProtocolError(
                f"command element (0000,{element:04X}) is longer than the command set",
                reason=AbortReason.INVALID_PARAMETER,
            )
        value = data[position : position + length]
        position += length
        if element in _US:
            if length < 2:
                raise RemoteProtocolError(
                    f"command element (0000,{element:04X}) has no value", reason=AbortReason.INVALID_PARAMETER
                )
            elements[element] = _US_VALUE.unpack_from(value)[0]
        elif element in _UI:
            elements[element] = value.rstrip(b"\0 ").decode("latin-1")
        elif element in _TEXT:
            elements[element] = value.decode("latin-1").strip(" \0")
        elif element in _TAG_LISTS:
            elements[element] = _tags(value)
    _check_answerable(elements)
    return CommandSet(elements)


def _tags(value: bytes) -> tuple[int, ...]:
    whole = len(value) // 4 * 4
    return tuple(group << 16 | element for group, element in struct.iter_unpack("<HH", value[:whole]))


def _check_answerable(elements: Mapping[int, Value]) -> None:
    """What has no Command Field, or no Message ID to answer to, cannot be answered but by an abort."""
    field = elements.get(Tag.COMMAND_FIELD)
    if not isinstance(field, int):
        raise RemoteProtocolError("command set without Command Field (0000,0100)", reason=AbortReason.INVALID_PARAMETER)
    names_another = field & RESPONSE_BIT or field == CommandField.C_CANCEL_RQ
    needed = Tag.MESSAGE_ID_BEING_RESPONDED_TO if names_another else Tag.MESSAGE_ID
    if needed not in elements:
        raise RemoteProtocolError(
            f"command set without {needed.name.replace('_', ' ').title()}", reason=AbortReason.INVALID_PARAMETER
        )


def encode_command(elements: Mapping[int, Value]) -> bytes:
    """Encode a command set, elements ascending and Group Length first (PS3.7 6.3.1)."""
    body = b"".join(_encode_elements(elements))
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def _encode_elements(elements: Mapping[int, Value]) -> Iterable[bytes]:
    for tag, value in sorted(elements.items()):
        if isinstance(value, int):
            yield _US_ELEMENT.pack(0, tag, 2, value)
            continue
        if isinstance(value, tuple):
            encoded = b"".join(struct.pack("<HH", item >> 16, item & 0xFFFF) for item in value)
        else:
            encoded = value.encode("latin-1", "replace")
            if len(encoded) % 2:
                encoded += b"\0" if tag in _UI else b" "
        yield _ELEMENT.pack(0, tag, len(encoded)) + encoded
