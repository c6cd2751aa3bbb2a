"""Bytes to and from the items of A-ASSOCIATE PDUs.

Every item is a type byte, a reserved byte, a two-byte length and its value; variable fields of PS3.8 are big-endian.
Decoding is liberal: reserved bytes are not looked at, order does not matter, unknown types are kept aside (UL-16),
UIDs may be padded, and where a single item comes twice the last one stands. What cannot be liberal is a length that
contradicts the one around it: there is no telling what was meant, so it is an invalid parameter value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pacslite.dicom.uids import clean_uid
from pacslite.errors import LocalProtocolError, RemoteProtocolError
from pacslite.ul.items import (
    AsyncOperationsWindow,
    ItemType,
    PresentationContext,
    PresentationContextAnswer,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentity,
    UserInformation,
)
from pacslite.ul.pdu import AbortReason

MAX_CONTEXT_ITEMS = 256
MAX_USER_INFORMATION_ITEMS = 4096
"""Several times what is of use: there are some sixty transfer syntaxes, and 128 contexts to say something about."""

MINIMUM_MAX_LENGTH = 8
"""A PDV item has six bytes of its own and carries an even number: a smaller limit leaves no room for any data."""

_ITEM_HEADER = struct.Struct(">BxH")
_CONTEXT_HEADER = struct.Struct(">BxBx")
_SHORT = struct.Struct(">H")
_SHORT_PAIR = struct.Struct(">HH")
_LONG = struct.Struct(">I")


def invalid(message: str) -> RemoteProtocolError:
    """The error for a value that PS3.8 does not allow."""
    return RemoteProtocolError(message, reason=AbortReason.INVALID_PARAMETER)


def split_items(data: bytes, *, at_most: int) -> Iterator[tuple[int, bytes]]:
    """The items laid end to end in ``data``. More than ``at_most`` are an invalid parameter value: a megabyte of empty
    ones would keep everybody else waiting while they are looked at."""
    at, end, left = 0, len(data), at_most
    while at < end:
        left -= 1
        if left < 0:
            raise invalid(f"more than {at_most} items in one place")
        if end - at < _ITEM_HEADER.size:
            raise invalid(f"{end - at} stray bytes after the last item")
        item_type, length = _ITEM_HEADER.unpack_from(data, at)
        at += _ITEM_HEADER.size
        if length > end - at:
            raise invalid(f"item {item_type:02X}H says {length} bytes where {end - at} are left")
        yield item_type, data[at : at + length]
        at += length


def item(item_type: int, value: bytes) -> bytes:
    """One item around ``value``."""
    if len(value) > 0xFFFF:
        raise LocalProtocolError(f"item {item_type:02X}H would be {len(value)} bytes, more than its length can say")
    return _ITEM_HEADER.pack(item_type, len(value)) + value


def encode_uid(uid: str) -> bytes:
    """A UID for the wire: never padded (PS3.8 Annex F). Odd ones from other people's objects travel as they are."""
    raw = uid.encode("latin-1", "replace")
    if not raw:
        raise LocalProtocolError("an empty UID cannot be sent")
    return raw


# --- Presentation contexts -------------------------------------------------------------------------------------------


def decode_context(value: bytes) -> PresentationContext:
    context_id, _, items = _context_parts(value)
    abstract_syntax = ""
    transfer_syntaxes: list[str] = []
    for item_type, data in items:
        if item_type == ItemType.ABSTRACT_SYNTAX:
            abstract_syntax = clean_uid(data)
        elif item_type == ItemType.TRANSFER_SYNTAX:
            transfer_syntaxes.append(clean_uid(data))
    return PresentationContext(context_id, abstract_syntax, tuple(transfer_syntaxes))


def decode_context_answer(value: bytes) -> PresentationContextAnswer:
    context_id, result, items = _context_parts(value)
    transfer_syntax = ""
    for item_type, data in items:
        if item_type == ItemType.TRANSFER_SYNTAX:
            transfer_syntax = clean_uid(data)
    return PresentationContextAnswer(context_id, result, transfer_syntax)


def _context_parts(value: bytes) -> tuple[int, int, Iterator[tuple[int, bytes]]]:
    if len(value) < _CONTEXT_HEADER.size:
        raise invalid(f"a presentation context item of {len(value)} bytes")
    context_id, result = _CONTEXT_HEADER.unpack_from(value)
    if not context_id & 1:
        raise invalid(f"presentation context ID {context_id} is not odd")  # UL-13
    return context_id, result, split_items(value[_CONTEXT_HEADER.size :], at_most=MAX_CONTEXT_ITEMS)


def encode_context(context: PresentationContext) -> bytes:
    if not context.transfer_syntaxes:
        raise LocalProtocolError(f"presentation context {context.context_id} proposes no transfer syntax")
    body = item(ItemType.ABSTRACT_SYNTAX, encode_uid(context.abstract_syntax))
    body += b"".join(item(ItemType.TRANSFER_SYNTAX, encode_uid(uid)) for uid in context.transfer_syntaxes)
    return item(ItemType.PRESENTATION_CONTEXT_RQ, _context_header(context.context_id, 0) + body)


def encode_context_answer(answer: PresentationContextAnswer) -> bytes:
    body = item(ItemType.TRANSFER_SYNTAX, encode_uid(answer.transfer_syntax))
    return item(ItemType.PRESENTATION_CONTEXT_AC, _context_header(answer.context_id, answer.result) + body)


def _context_header(context_id: int, result: int) -> bytes:
    if not (0 < context_id < 256 and context_id & 1):
        raise LocalProtocolError(f"presentation context ID {context_id} is not an odd number from 1 to 255")
    return _CONTEXT_HEADER.pack(context_id, result)


# --- User information ------------------------------------------------------------------------------------------------


def decode_user_information(value: bytes) -> UserInformation:
    max_length = 0
    class_uid = version_name = ""
    window: AsyncOperationsWindow | None = None
    roles: list[RoleSelection] = []
    extended: list[SOPClassExtendedNegotiation] = []
    common: list[SOPClassCommonExtendedNegotiation] = []
    identity: UserIdentity | None = None
    identity_answer: bytes | None = None
    unknown: list[UnknownItem] = []
    for item_type, data in split_items(value, at_most=MAX_USER_INFORMATION_ITEMS):
        fields = _Fields(item_type, data)
        match item_type:
            case ItemType.MAXIMUM_LENGTH:
                max_length = _decode_max_length(fields)
            case ItemType.IMPLEMENTATION_CLASS_UID:
                class_uid = clean_uid(data)
            case ItemType.ASYNC_OPERATIONS_WINDOW:
                window = AsyncOperationsWindow(fields.short(), fields.short())
            case ItemType.ROLE_SELECTION:
                roles.append(RoleSelection(sop_class=fields.uid(), scu=fields.flag(), scp=fields.flag()))
            case ItemType.IMPLEMENTATION_VERSION_NAME:
                version_name = data.decode("latin-1").strip(" \0")
            case ItemType.SOP_CLASS_EXTENDED:
                extended.append(SOPClassExtendedNegotiation(fields.uid(), fields.rest()))
            case ItemType.SOP_CLASS_COMMON_EXTENDED:
                common.append(_decode_common_extended(fields))
            case ItemType.USER_IDENTITY_RQ:
                identity = _decode_user_identity(fields)
            case ItemType.USER_IDENTITY_AC:
                identity_answer = fields.counted()
            case _:
                unknown.append(UnknownItem(item_type, data))
    return UserInformation(
        max_length=max_length,
        implementation_class_uid=class_uid,
        implementation_version_name=version_name,
        async_window=window,
        roles=tuple(roles),
        extended=tuple(extended),
        common_extended=tuple(common),
        user_identity=identity,
        user_identity_answer=identity_answer,
        unknown=tuple(unknown),
    )


def encode_user_information(information: UserInformation) -> bytes:
    if 0 < information.max_length < MINIMUM_MAX_LENGTH:
        raise LocalProtocolError(f"maximum length {information.max_length} leaves no room for a PDV")
    parts = [
        item(ItemType.MAXIMUM_LENGTH, _LONG.pack(information.max_length)),
        item(ItemType.IMPLEMENTATION_CLASS_UID, encode_uid(information.implementation_class_uid)),
    ]
    if (window := information.async_window) is not None:
        parts.append(item(ItemType.ASYNC_OPERATIONS_WINDOW, _SHORT_PAIR.pack(window.invoked, window.performed)))
    parts += [
        item(ItemType.ROLE_SELECTION, _counted(encode_uid(role.sop_class)) + bytes((role.scu, role.scp)))
        for role in information.roles
    ]
    if information.implementation_version_name:
        parts.append(
            item(ItemType.IMPLEMENTATION_VERSION_NAME, information.implementation_version_name.encode("latin-1"))
        )
    parts += [
        item(ItemType.SOP_CLASS_EXTENDED, _counted(encode_uid(one.sop_class)) + one.information)
        for one in information.extended
    ]
    parts += [_encode_common_extended(one) for one in information.common_extended]
    if (identity := information.user_identity) is not None:
        head = bytes((identity.kind, identity.positive_response_requested))
        parts.append(item(ItemType.USER_IDENTITY_RQ, head + _counted(identity.primary) + _counted(identity.secondary)))
    if information.user_identity_answer is not None:
        parts.append(item(ItemType.USER_IDENTITY_AC, _counted(information.user_identity_answer)))
    parts += [item(one.item_type, one.data) for one in information.unknown]
    return item(ItemType.USER_INFORMATION, b"".join(parts))


def _decode_max_length(fields: _Fields) -> int:
    max_length = fields.long()
    if 0 < max_length < MINIMUM_MAX_LENGTH:
        raise invalid(f"maximum length {max_length} leaves no room for a PDV")
    return max_length


def _decode_common_extended(fields: _Fields) -> SOPClassCommonExtendedNegotiation:
    sop_class, service_class = fields.uid(), fields.uid()
    # The list is optional at the end: version 0 of the sub-item is sent without it by some.
    listed = _Fields(ItemType.SOP_CLASS_COMMON_EXTENDED, fields.counted() if fields.left else b"")
    related: list[str] = []
    while listed.left:
        related.append(listed.uid())
    return SOPClassCommonExtendedNegotiation(
        sop_class=sop_class, service_class=service_class, related_general=tuple(related)
    )


def _encode_common_extended(negotiation: SOPClassCommonExtendedNegotiation) -> bytes:
    related = b"".join(_counted(encode_uid(uid)) for uid in negotiation.related_general)
    value = _counted(encode_uid(negotiation.sop_class)) + _counted(encode_uid(negotiation.service_class))
    # The second byte of the header, reserved elsewhere, is the version of this sub-item: 0.
    return item(ItemType.SOP_CLASS_COMMON_EXTENDED, value + _counted(related))


def _decode_user_identity(fields: _Fields) -> UserIdentity:
    kind, wants_answer = fields.byte(), fields.flag()
    primary = fields.counted()
    # The secondary field is there for type 2 only in some senders' reading.
    secondary = fields.counted() if fields.left else b""
    return UserIdentity(kind=kind, primary=primary, secondary=secondary, positive_response_requested=wants_answer)


def _counted(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise LocalProtocolError(f"a field of {len(value)} bytes is more than its length can say")
    return _SHORT.pack(len(value)) + value


class _Fields:
    """Reads the fields of one sub-item in order; what is missing is an invalid parameter value."""

    def __init__(self, item_type: int, data: bytes) -> None:
        self._item_type = item_type
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise invalid(f"sub-item {self._item_type:02X}H ends {size - self.left} bytes too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def flag(self) -> bool:
        return self.byte() != 0

    def short(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def long(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def counted(self) -> bytes:
        return self.take(self.short())

    def uid(self) -> str:
        return clean_uid(self.counted())

    def rest(self) -> bytes:
        return self.take(self.left)
