"""Bytes to and from PDUs (PS3.8 9.3). Bad bytes raise :class:`RemoteProtocolError` with the A-ABORT reason to send."""

from __future__ import annotations

import struct

from pacslite.dicom.uids import clean_uid
from pacslite.errors import LocalProtocolError, RemoteProtocolError
from pacslite.ul.item_codec import (
    decode_context,
    decode_context_answer,
    decode_user_information,
    encode_context,
    encode_context_answer,
    encode_uid,
    encode_user_information,
    invalid,
    item,
    split_items,
)
from pacslite.ul.items import ItemType, PresentationContext, PresentationContextAnswer, UnknownItem, UserInformation
from pacslite.ul.pdu import (
    ABORT_BY_PROVIDER,
    ABORT_BY_USER,
    AE_TITLE_LENGTH,
    PDU,
    Abort,
    AbortReason,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    PDUType,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
)

PDU_HEADER = struct.Struct(">BxI")
PDV_HEADER = struct.Struct(">IBB")
"""Length, context ID and message control header. The length counts the latter two."""

PDV_OVERHEAD = PDV_HEADER.size
COMMAND_BIT = 0x01
LAST_BIT = 0x02

CONTROL_PDU_LENGTH = 4
"""A-ASSOCIATE-RJ, A-RELEASE-RQ, A-RELEASE-RP and A-ABORT are all four bytes long."""

MAX_ITEMS = 512
"""In an A-ASSOCIATE PDU: 128 presentation contexts, two others, and what this edition does not know."""

_ASSOCIATE_HEADER = struct.Struct(">Hxx16s16s32s")
_CONTROL_BODY = struct.Struct(">xBBB")
_LEGAL_REJECTIONS = frozenset({(1, 1), (1, 2), (1, 3), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)})
_NO_USER_INFORMATION = UserInformation(max_length=0, implementation_class_uid="")


def decode_pdu(pdu_type: int, body: bytes) -> PDU:
    """The PDU of this type whose bytes after the six of the header are ``body``."""
    match pdu_type:
        case PDUType.ASSOCIATE_RQ | PDUType.ASSOCIATE_AC:
            return _decode_associate(pdu_type, body)
        case PDUType.P_DATA_TF:
            return _decode_p_data(body)
        case PDUType.ASSOCIATE_RJ | PDUType.RELEASE_RQ | PDUType.RELEASE_RP | PDUType.ABORT:
            return _decode_control(pdu_type, body)
    raise RemoteProtocolError(f"unrecognized PDU type {pdu_type:02X}H", reason=AbortReason.UNRECOGNIZED_PDU)


def encode_pdu(pdu: PDU) -> bytes:
    """The whole PDU; what the standard forbids to send raises :class:`LocalProtocolError`."""
    match pdu:
        case AssociateRQ():
            return _framed(PDUType.ASSOCIATE_RQ, _encode_associate(pdu, [encode_context(one) for one in pdu.contexts]))
        case AssociateAC():
            answers = [encode_context_answer(one) for one in pdu.contexts]
            return _framed(PDUType.ASSOCIATE_AC, _encode_associate(pdu, answers))
        case AssociateRJ(result=result, source=source, reason=reason):
            if result not in (1, 2) or (source, reason) not in _LEGAL_REJECTIONS:  # UL-07
                raise LocalProtocolError(f"no such rejection: result {result}, source {source}, reason {reason}")
            return _framed(PDUType.ASSOCIATE_RJ, _CONTROL_BODY.pack(result, source, reason))
        case PDataTF(pdvs):
            return _framed(PDUType.P_DATA_TF, b"".join(map(_encode_pdv, pdvs)))
        case ReleaseRQ():
            return _framed(PDUType.RELEASE_RQ, bytes(CONTROL_PDU_LENGTH))
        case ReleaseRP():
            return _framed(PDUType.RELEASE_RP, bytes(CONTROL_PDU_LENGTH))
        case Abort(source=source, reason=reason):
            _check_abort(source, reason)
            return _framed(PDUType.ABORT, _CONTROL_BODY.pack(0, source, reason))


def _framed(pdu_type: PDUType, body: bytes) -> bytes:
    return PDU_HEADER.pack(pdu_type, len(body)) + body


def _check_abort(source: int, reason: int) -> None:
    by_user = source == ABORT_BY_USER and reason == 0
    by_provider = source == ABORT_BY_PROVIDER and reason in AbortReason.__members__.values()
    if not (by_user or by_provider):  # UL-06
        raise LocalProtocolError(f"no such abort: source {source}, reason {reason}")


def _decode_control(pdu_type: int, body: bytes) -> AssociateRJ | ReleaseRQ | ReleaseRP | Abort:
    if len(body) != CONTROL_PDU_LENGTH:
        raise invalid(f"a PDU of type {pdu_type:02X}H has {len(body)} bytes instead of {CONTROL_PDU_LENGTH}")
    first, second, third = _CONTROL_BODY.unpack(body)
    match pdu_type:
        case PDUType.ASSOCIATE_RJ:
            return AssociateRJ(result=first, source=second, reason=third)
        case PDUType.RELEASE_RQ:
            return ReleaseRQ()
        case PDUType.RELEASE_RP:
            return ReleaseRP()
    return Abort(source=second, reason=third)


def _decode_associate(pdu_type: int, body: bytes) -> AssociateRQ | AssociateAC:
    if len(body) < _ASSOCIATE_HEADER.size:
        raise invalid(f"an A-ASSOCIATE PDU of {len(body)} bytes has no room for its fixed fields")
    version, called, calling, reserved = _ASSOCIATE_HEADER.unpack_from(body)
    application_context = ""
    proposals: list[PresentationContext] = []
    answers: list[PresentationContextAnswer] = []
    information = _NO_USER_INFORMATION
    unknown: list[UnknownItem] = []
    for item_type, data in split_items(body[_ASSOCIATE_HEADER.size :], at_most=MAX_ITEMS):
        if item_type == ItemType.APPLICATION_CONTEXT:
            application_context = clean_uid(data)
        elif item_type == ItemType.PRESENTATION_CONTEXT_RQ and pdu_type == PDUType.ASSOCIATE_RQ:
            proposals.append(decode_context(data))
        elif item_type == ItemType.PRESENTATION_CONTEXT_AC and pdu_type == PDUType.ASSOCIATE_AC:
            answers.append(decode_context_answer(data))
        elif item_type == ItemType.USER_INFORMATION:
            information = decode_user_information(data)
        else:
            unknown.append(UnknownItem(item_type, data))
    _check_unique([one.context_id for one in proposals or answers])
    if pdu_type == PDUType.ASSOCIATE_RQ:
        return AssociateRQ(
            called_ae_title=called,
            calling_ae_title=calling,
            contexts=tuple(proposals),
            user_information=information,
            application_context=application_context,
            protocol_version=version,
            reserved=reserved,
            unknown=tuple(unknown),
        )
    return AssociateAC(
        called_ae_title=called,
        calling_ae_title=calling,
        contexts=tuple(answers),
        user_information=information,
        application_context=application_context,
        protocol_version=version,
        reserved=reserved,
        unknown=tuple(unknown),
    )


def _check_unique(context_ids: list[int]) -> None:
    """An ID given twice would make every P-DATA on it ambiguous, so it is refused like any other impossible ID."""
    if len(set(context_ids)) != len(context_ids):
        twice = next(one for one in context_ids if context_ids.count(one) > 1)
        raise invalid(f"presentation context ID {twice} is there twice")


def _encode_associate(pdu: AssociateRQ | AssociateAC, contexts: list[bytes]) -> bytes:
    titles = (pdu.called_ae_title, pdu.calling_ae_title)
    if any(len(title) != AE_TITLE_LENGTH for title in titles) or len(pdu.reserved) != 32:
        raise LocalProtocolError("an AE title field is 16 bytes, the reserved field 32")
    if isinstance(pdu, AssociateRQ) and any(not title.strip() for title in titles):
        raise LocalProtocolError("an AE title of spaces only cannot be sent")  # UL-12
    return b"".join(
        [
            _ASSOCIATE_HEADER.pack(pdu.protocol_version, *titles, pdu.reserved),
            item(ItemType.APPLICATION_CONTEXT, encode_uid(pdu.application_context)),
            *contexts,
            encode_user_information(pdu.user_information),
            *(item(one.item_type, one.data) for one in pdu.unknown),
        ]
    )


def _decode_p_data(body: bytes) -> PDataTF:
    pdvs: list[PresentationDataValue] = []
    at, end = 0, len(body)
    while at < end or not pdvs:
        if end - at < PDV_OVERHEAD:
            raise invalid(f"{end - at} bytes are no PDV")
        length, context_id, control = PDV_HEADER.unpack_from(body, at)
        check_pdv(length, context_id, end - at)
        after = at + 4 + length
        data = body[at + PDV_OVERHEAD : after]
        pdvs.append(PresentationDataValue(context_id, data, bool(control & COMMAND_BIT), bool(control & LAST_BIT)))
        at = after
    return PDataTF(tuple(pdvs))


def check_pdv(length: int, context_id: int, left: int) -> None:
    """A PDV item must fit in the ``left`` bytes of its PDU, its own header included, and have an odd context ID."""
    if length < PDV_OVERHEAD - 4 or length > left - 4:
        raise invalid(f"a PDV says {length} bytes where {left - 4} are left in its PDU")
    if not context_id & 1:
        raise invalid(f"presentation context ID {context_id} is not odd")  # UL-13


def _encode_pdv(pdv: PresentationDataValue) -> bytes:
    control = (COMMAND_BIT if pdv.command else 0) | (LAST_BIT if pdv.last else 0)
    return PDV_HEADER.pack(len(pdv.data) + 2, pdv.context_id, control) + pdv.data
