"""PDUs and items: what is sent is strict and comes back the same, what is received may be untidy."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings

from pacslite.errors import LocalProtocolError, RemoteProtocolError
from pacslite.ul.codec import PDU_HEADER, decode_pdu, encode_pdu
from pacslite.ul.items import (
    AsyncOperationsWindow,
    PresentationContext,
    PresentationContextAnswer,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UnknownItem,
    UserIdentity,
    UserInformation,
)
from pacslite.ul.pdu import (
    PDU,
    Abort,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    PDataTF,
    PresentationDataValue,
    ReleaseRP,
    ReleaseRQ,
    ae_title_field,
)
from ul.samples import AC, CT, EXPLICIT, IMPLICIT, RQ, p_data
from ul.strategies import pdus


def decode(raw: bytes) -> PDU:
    pdu_type, length = PDU_HEADER.unpack_from(raw)
    assert length == len(raw) - 6
    return decode_pdu(pdu_type, raw[6:])


def item(item_type: int, value: bytes, *, reserved: int = 0) -> bytes:
    return struct.pack(">BBH", item_type, reserved, len(value)) + value


def associate(*items: bytes, pdu_type: int = 1, version: int = 1, reserved: int = 0) -> PDU:
    """An A-ASSOCIATE written by hand; ``reserved`` fills every reserved byte of its fixed fields."""
    body = struct.pack(
        ">H2s16s16s32s", version, bytes([reserved]) * 2, RQ.called_ae_title, RQ.calling_ae_title, bytes(32)
    )
    return decode_pdu(pdu_type, body + b"".join(items))


def request(*items: bytes, reserved: int = 0) -> AssociateRQ:
    pdu = associate(*items, reserved=reserved)
    assert isinstance(pdu, AssociateRQ)
    return pdu


def user_information(*sub_items: bytes) -> UserInformation:
    return request(item(0x50, b"".join(sub_items))).user_information


@given(pdus)
@settings(max_examples=150, deadline=None)
def test_decoding_an_encoded_pdu_gives_it_back(pdu: PDU) -> None:
    assert decode(encode_pdu(pdu)) == pdu


# --- The bytes, as PS3.8 9.3 prints them ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pdu", "raw"),
    [
        (AssociateRJ(result=1, source=1, reason=7), "0300 00000004 00 01 01 07"),  # UL-07
        (PDataTF((PresentationDataValue(3, b"ab", True, True),)), "0400 00000008 00000004 03 03 6162"),
        (PDataTF((PresentationDataValue(255, b"", False, False),)), "0400 00000006 00000002 ff 00"),
        (ReleaseRQ(), "0500 00000004 00000000"),
        (ReleaseRP(), "0600 00000004 00000000"),
        (Abort(source=2, reason=6), "0700 00000004 00 00 02 06"),  # UL-06
    ],
)
def test_short_pdus_are_as_printed(pdu: PDU, raw: str) -> None:
    assert encode_pdu(pdu) == bytes.fromhex(raw)


def test_an_associate_rq_is_as_printed() -> None:
    """UL-24: PDU fields are big-endian."""
    rq = AssociateRQ(
        called_ae_title=ae_title_field("A"),
        calling_ae_title=ae_title_field("B"),
        contexts=(PresentationContext(1, "1.2", ("1.3", "1.4")),),
        user_information=UserInformation(
            max_length=0x4000,
            implementation_class_uid="9.9",
            implementation_version_name="V",
            async_window=AsyncOperationsWindow(2, 3),
            roles=(RoleSelection(sop_class="1.2", scu=False, scp=True),),
            extended=(SOPClassExtendedNegotiation("1.2", b"\1\2"),),
            common_extended=(
                SOPClassCommonExtendedNegotiation(sop_class="1.2", service_class="4.2", related_general=("1.5", "1.6")),
            ),
            user_identity=UserIdentity(kind=2, primary=b"me", secondary=b"pw", positive_response_requested=True),
        ),
        application_context="1.1",
    )
    information = (
        "51000004 00004000",
        "52000003 392e39",
        "53000004 0002 0003",
        "54000007 0003 312e32 00 01",
        "55000001 56",
        "56000007 0003 312e32 0102",
        "57000016 0003 312e32 0003 342e32 000a 0003 312e35 0003 312e36",
        "5800000a 02 01 0002 6d65 0002 7077",
    )
    sub_items = bytes.fromhex("".join(information))
    body = (
        bytes.fromhex("0001 0000")
        + b"A".ljust(16)
        + b"B".ljust(16)
        + bytes(32)
        + bytes.fromhex("10000003 312e31")
        + bytes.fromhex("20000019 01000000 30000003 312e32 40000003 312e33 40000003 312e34")
        + item(0x50, sub_items)
    )
    assert encode_pdu(rq) == bytes.fromhex("0100") + len(body).to_bytes(4, "big") + body


def test_an_associate_ac_is_as_printed() -> None:
    ac = replace(
        AC,
        contexts=(PresentationContextAnswer(1, 0, "1.3"), PresentationContextAnswer(3, 3, "1.3")),
        application_context="1.1",
        user_information=UserInformation(max_length=0, implementation_class_uid="9", user_identity_answer=b"ok"),
    )
    items = (
        "10000003 312e31"
        "2100000b 01000000 40000003 312e33"
        "2100000b 03000300 40000003 312e33"
        "50000013 51000004 00000000 52000001 39 59000004 0002 6f6b"
    )
    assert encode_pdu(ac)[6 + 68 :].hex() == bytes.fromhex(items.replace("50000013", "50000015")).hex()


# --- Liberal in what is accepted -----------------------------------------------------------------------------------


def test_reserved_fields_are_not_looked_at() -> None:
    """UL-16."""
    context = item(0x20, b"\1\xff\xff\xff" + item(0x30, b"1.2", reserved=0xFF) + item(0x40, b"1.3"), reserved=0xFF)
    assert request(context, reserved=0xEE).contexts == (PresentationContext(1, "1.2", ("1.3",)),)
    assert decode_pdu(7, b"\xff\xff\2\1") == Abort(source=2, reason=1)
    assert decode_pdu(5, b"\xff\xff\xff\xff") == ReleaseRQ()


def test_unknown_items_are_kept_aside_in_any_order() -> None:
    """UL-16."""
    rq = request(
        item(0x77, b"?"),
        item(0x50, item(0x5F, b"!") + item(0x52, b"9") + item(0x51, bytes.fromhex("00000100"))),
        item(0x20, b"\1\0\0\0" + item(0x40, b"1.3") + item(0x77, b"?") + item(0x30, b"1.2")),
        item(0x10, b"1.1"),
    )
    assert rq.application_context == "1.1"
    assert rq.contexts == (PresentationContext(1, "1.2", ("1.3",)),)
    assert rq.unknown == (UnknownItem(0x77, b"?"),)
    assert rq.user_information == UserInformation(
        max_length=256, implementation_class_uid="9", unknown=(UnknownItem(0x5F, b"!"),)
    )


def test_a_missing_maximum_length_is_no_limit() -> None:
    """UL-17: mandatory, but old modalities do without."""
    assert user_information(item(0x52, b"9")).max_length == 0
    assert request().user_information.max_length == 0


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0", b" \0"])
def test_uids_may_be_padded(padding: bytes) -> None:
    context = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode() + padding) + item(0x40, IMPLICIT.encode() + padding))
    sub_items = item(0x50, item(0x52, b"9.9" + padding))
    rq = request(item(0x10, b"1.1" + padding), context, sub_items)
    assert rq.application_context == "1.1"
    assert rq.contexts == (PresentationContext(1, CT, (IMPLICIT,)),)
    assert rq.user_information.implementation_class_uid == "9.9"


def test_titles_are_stripped_for_reading_and_kept_for_the_echo() -> None:
    """UL-12."""
    rq = replace(RQ, called_ae_title=b"  STORE SCP \0\0\0\0", calling_ae_title=b" " * 16)
    assert rq.called_ae == "STORE SCP"
    assert rq.calling_ae == ""
    echoed = decode(encode_pdu(replace(AC, called_ae_title=rq.called_ae_title, reserved=bytes(range(32)))))
    assert isinstance(echoed, AssociateAC)
    assert echoed.called_ae_title == b"  STORE SCP \0\0\0\0"
    assert echoed.reserved == bytes(range(32))


def test_control_bits_beyond_the_two_are_not_checked() -> None:
    """UL-21: and sent 0, see the printed bytes above."""
    pdu = decode_pdu(4, bytes.fromhex("00000004 01 ff 6162"))
    assert pdu == PDataTF((PresentationDataValue(1, b"ab", True, True),))


def test_common_extended_negotiation_without_a_list() -> None:
    information = user_information(item(0x57, bytes.fromhex("0003 312e32 0003 342e32")))
    assert information.common_extended == (SOPClassCommonExtendedNegotiation(sop_class="1.2", service_class="4.2"),)


def test_a_user_identity_never_shows_its_secrets() -> None:
    assert "secret" not in repr(UserIdentity(kind=2, primary=b"secret name", secondary=b"secret word"))


# --- Contradictions ------------------------------------------------------------------------------------------------


def context_item(context_id: int) -> bytes:
    return item(0x20, bytes([context_id, 0, 0, 0]) + item(0x30, b"1.2") + item(0x40, b"1.3"))


@pytest.mark.parametrize(
    ("pdu_type", "body"),
    [
        pytest.param(3, b"\0\1\1", id="short A-ASSOCIATE-RJ"),
        pytest.param(5, b"\0" * 5, id="long A-RELEASE-RQ"),
        pytest.param(6, b"", id="empty A-RELEASE-RP"),
        pytest.param(7, b"\0" * 8, id="long A-ABORT"),
        pytest.param(1, bytes(67), id="A-ASSOCIATE-RQ without its fixed fields"),
        pytest.param(1, bytes(68) + b"\x10\0", id="stray bytes"),
        pytest.param(1, bytes(68) + b"\x10\0\0\x05abcd", id="item longer than the PDU"),
        pytest.param(1, bytes(68) + item(0x20, b"\1\0"), id="presentation context too short"),
        pytest.param(1, bytes(68) + context_item(2), id="even context ID (UL-13)"),
        pytest.param(1, bytes(68) + context_item(0), id="context ID 0 (UL-13)"),
        pytest.param(2, bytes(68) + item(0x21, b"\4\0\0\0"), id="even context ID in the answer (UL-13)"),
        pytest.param(1, bytes(68) + context_item(3) * 2, id="context ID twice"),
        pytest.param(1, bytes(68) + item(0x50, item(0x51, b"\0\0\0")), id="maximum length of three bytes"),
        pytest.param(1, bytes(68) + item(0x50, item(0x51, b"\0\0\0\7")), id="maximum length without room for a PDV"),
        pytest.param(1, bytes(68) + item(0x50, item(0x53, b"\0\1")), id="half an async window"),
        pytest.param(1, bytes(68) + item(0x50, item(0x54, b"\0\x031.2\1")), id="one role only"),
        pytest.param(1, bytes(68) + item(0x50, item(0x56, b"\0\x201.2")), id="extended negotiation UID too long"),
        pytest.param(1, bytes(68) + item(0x50, item(0x58, b"\1\0\0\x09abc")), id="user identity too short"),
        pytest.param(2, bytes(68) + item(0x50, item(0x59, b"\0\x09abc")), id="server response too short"),
        pytest.param(4, b"", id="P-DATA-TF without a PDV"),
        pytest.param(4, b"\0\0\0\2\1", id="five bytes are no PDV"),
        pytest.param(4, b"\0\0\0\1\1\0", id="PDV without its own header"),
        pytest.param(4, b"\0\0\0\5\1\0ab", id="PDV longer than the PDU"),
        pytest.param(4, b"\0\0\0\4\1\0abc", id="stray byte after the PDV"),
        pytest.param(4, b"\0\0\0\4\2\0ab", id="even context ID in a PDV (UL-13)"),
    ],
)
def test_a_contradiction_is_an_invalid_parameter_value(pdu_type: int, body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_pdu(pdu_type, body)
    assert caught.value.reason == 6


def test_an_unknown_type_is_an_unrecognized_pdu() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_pdu(8, b"")
    assert caught.value.reason == 1


# --- Strict in what is sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pdu",
    [
        pytest.param(AssociateRJ(result=0, source=1, reason=1), id="result 0 (UL-07)"),
        pytest.param(AssociateRJ(result=1, source=1, reason=4), id="reserved reason (UL-07)"),
        pytest.param(AssociateRJ(result=2, source=3, reason=0), id="reserved presentation reason (UL-07)"),
        pytest.param(Abort(source=1, reason=0), id="reserved source (UL-06)"),
        pytest.param(Abort(source=2, reason=3), id="reserved abort reason (UL-06)"),
        pytest.param(Abort(source=0, reason=2), id="the user gives no reason (UL-06)"),
        pytest.param(replace(RQ, called_ae_title=b"SHORT"), id="title field too short"),
        pytest.param(replace(RQ, calling_ae_title=b" " * 16), id="title of spaces (UL-12)"),
        pytest.param(replace(RQ, reserved=b""), id="no reserved field"),
        pytest.param(replace(RQ, contexts=(PresentationContext(2, CT, (EXPLICIT,)),)), id="even ID (UL-13)"),
        pytest.param(replace(RQ, contexts=(PresentationContext(257, CT, (EXPLICIT,)),)), id="ID beyond 255 (UL-13)"),
        pytest.param(replace(RQ, contexts=(PresentationContext(1, CT, ()),)), id="no transfer syntax"),
        pytest.param(replace(RQ, contexts=(PresentationContext(1, "", (EXPLICIT,)),)), id="no abstract syntax"),
        pytest.param(replace(AC, contexts=(PresentationContextAnswer(1, 3, ""),)), id="no transfer syntax (UL-14)"),
        pytest.param(
            replace(RQ, user_information=replace(RQ.user_information, max_length=7)), id="maximum length too small"
        ),
        pytest.param(
            replace(RQ, user_information=replace(RQ.user_information, implementation_class_uid="")), id="no class UID"
        ),
        pytest.param(replace(RQ, unknown=(UnknownItem(0x60, bytes(65536)),)), id="item too long"),
        pytest.param(
            replace(
                RQ,
                user_information=replace(RQ.user_information, user_identity=UserIdentity(kind=3, primary=bytes(65536))),
            ),
            id="ticket too long",
        ),
    ],
)
def test_what_the_standard_forbids_is_not_sent(pdu: PDU) -> None:
    with pytest.raises(LocalProtocolError):
        encode_pdu(pdu)


def test_descriptions_have_words_for_every_code() -> None:
    assert AssociateRJ(result=1, source=1, reason=7).description == (
        "called AE title not recognized (rejected permanently, service-user)"
    )
    assert AssociateRJ(result=9, source=8, reason=7).description == "reason 7 (result 9, source 8)"
    assert Abort(source=2, reason=6).description == "invalid PDU parameter value (service-provider)"
    assert Abort(source=0, reason=6).description == "no reason given (service-user)"  # UL-06: not tested
    assert Abort(source=1, reason=9).description == "reason 9 (source 1)"
    assert p_data().pdvs[0].last


@pytest.mark.parametrize(
    "body",
    [
        bytes(68) + item(0x70, b"") * 600,
        bytes(68) + item(0x20, b"\x01\0\0\0" + item(0x40, b"") * 300),
        bytes(68) + item(0x50, item(0x70, b"") * 5000),
    ],
    ids=["in the PDU", "in a context", "in the user information"],
)
def test_a_flood_of_tiny_items_is_refused_before_it_costs_anybody_time(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="items in one place") as caught:
        decode_pdu(1, body)
    assert caught.value.reason == 6
