"""Who is let in, seen from outside: the codes of a refusal on the wire and the advice in the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from kit.odd import BIG_ENDIAN, JPEG_BASELINE, SECONDARY_CAPTURE, make
from kit.peers import Ran, echoscu, storescu
from kit.rawpeer import EXPLICIT, IMPLICIT, VERIFICATION_CONTEXT, RawPeer, associate_rq, contexts_for, user_information
from kit.server import RunningServer
from kit.shipped import part10
from pacslite.dicom.uids import VERIFICATION
from pacslite.ul.items import (
    PresentationContext,
    SOPClassCommonExtendedNegotiation,
    UserIdentity,
    UserIdentityType,
    UserInformation,
)
from pacslite.ul.pdu import AssociateAC, AssociateRJ

CONTEXTS = contexts_for((VERIFICATION, IMPLICIT), (SECONDARY_CAPTURE, EXPLICIT))
USER_REFUSED = AssociateRJ(result=1, source=2, reason=1)
PRIVATE = "1.2.826.0.1.3680043.10.9999.77"
NEWER_STANDARD_CLASS = "1.2.840.10008.5.1.4.1.1.999.1"
PEERS: list[dict[str, object]] = [
    {"ae_title": "CT1", "address": "127.0.0.1"},
    {"ae_title": "CT9", "address": "127.0.0.9"},
    {"ae_title": "ECHOONLY", "address": "127.0.0.0/8", "permissions": ["echo"]},
    {"ae_title": "WITHUSER", "address": "127.0.0.1", "user": "ct1", "passcode": "s3cret"},
    {"ae_title": "NAMEONLY", "address": "127.0.0.1", "user": "ct1"},
    {"ae_title": "NEEDSTLS", "address": "127.0.0.1", "tls": True},
    {"ae_title": "RAWPEER", "address": "127.0.0.1"},
]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that knows its peers, insists on its own titles and stores only classes that it knows."""
    settings: dict[str, object] = {
        "access.unknown": "none",
        "server.check_called_ae": True,
        "server.ae_title_aliases": ["OLDPACS"],
        "negotiation.accept_private_sop_classes": False,
        "negotiation.accept_unknown_sop_classes": False,
        "negotiation.transfer_syntaxes": [EXPLICIT, IMPLICIT],
        "negotiation.prefer": "configured",
    }
    settings |= {f"peers.{at}.{key}": value for at, peer in enumerate(PEERS) for key, value in peer.items()}
    with RunningServer(tmp_path_factory.mktemp("strict") / "data", settings=settings) as running:
        yield running


def ask(
    server: RunningServer,
    calling: str,
    *,
    called: str = "PACSLITE",
    source: str = "127.0.0.1",
    identity: UserIdentity | None = None,
    contexts: list[PresentationContext] = CONTEXTS,
) -> AssociateAC | AssociateRJ:
    rq = associate_rq(contexts, calling=calling, called=called, information=user_information(identity=identity))
    with RawPeer(server.port, source=source) as peer:
        answer = peer.request(rq)
    assert isinstance(answer, AssociateAC | AssociateRJ)
    return answer


# --- AE titles --------------------------------------------------------------------------------------------------------


def test_an_unknown_caller_is_refused_and_the_log_says_how_to_let_it_in(strict: RunningServer) -> None:
    before = len(strict.log)
    ran = echoscu(strict.port, "-aet", "STRANGER", "-aec", "PACSLITE")
    assert ran.code != 0
    assert "Rejected Permanent" in ran.output
    assert "Calling AE Title Not Recognized" in ran.output
    log = strict.wait_for_log('permissions = ["echo", "store"]', after=before)
    assert 'ae_title = "STRANGER"' in log
    assert 'address = "127.0.0.1"' in log


@pytest.mark.parametrize(
    ("calling", "source", "reason"), [("STRANGER", "127.0.0.1", 3), ("ct1", "127.0.0.1", 3), ("CT1", "127.0.0.2", 3)]
)
def test_a_caller_is_known_by_title_and_address(strict: RunningServer, calling: str, source: str, reason: int) -> None:
    assert ask(strict, calling, source=source) == AssociateRJ(result=1, source=1, reason=reason)


def test_the_right_title_from_the_wrong_address_is_explained(strict: RunningServer) -> None:
    before = len(strict.log)
    assert isinstance(ask(strict, "CT9"), AssociateRJ)
    assert 'address = "127.0.0.1"' in strict.wait_for_log("127.0.0.9", after=before)
    assert isinstance(ask(strict, "CT9", source="127.0.0.9"), AssociateAC)


@pytest.mark.parametrize(
    ("called", "accepted"), [("PACSLITE", True), ("OLDPACS", True), ("pacslite", False), ("X", False)]
)
def test_the_called_title_is_checked_by_setting(strict: RunningServer, called: str, accepted: bool) -> None:
    answer = ask(strict, "CT1", called=called)
    if accepted:
        assert isinstance(answer, AssociateAC)
    else:
        assert answer == AssociateRJ(result=1, source=1, reason=7)


def test_any_called_title_is_served_by_default(server: RunningServer) -> None:
    assert echoscu(server.port, "-aec", "WHOEVER").code == 0


def test_a_peer_without_a_permission_has_its_contexts_refused(strict: RunningServer, tmp_path: Path) -> None:
    answer = ask(strict, "ECHOONLY")
    assert isinstance(answer, AssociateAC)
    assert [one.accepted for one in answer.contexts] == [True, False]
    path = tmp_path / "one.dcm"
    path.write_bytes(part10(make("without-permission")))
    ran = storescu(strict.port, [path], "-aet", "ECHOONLY", "-aec", "PACSLITE")
    assert ran.code != 0
    assert "No presentation context" in ran.output or "No Acceptable Presentation Contexts" in ran.output, ran.output


def test_a_peer_that_must_use_tls_is_refused_without(strict: RunningServer) -> None:
    assert ask(strict, "NEEDSTLS") == AssociateRJ(result=1, source=1, reason=1)


# --- User identity (DM-05) --------------------------------------------------------------------------------------------


def passcode(user: str, secret: str, *, response: bool = False) -> UserIdentity:
    return UserIdentity(
        kind=UserIdentityType.USERNAME_AND_PASSCODE,
        primary=user.encode(),
        secondary=secret.encode(),
        positive_response_requested=response,
    )


@pytest.mark.parametrize("response", [False, True])
def test_dm05_the_right_user_is_let_in_and_answered_only_when_asked(strict: RunningServer, response: bool) -> None:
    answer = ask(strict, "WITHUSER", identity=passcode("ct1", "s3cret", response=response))
    assert isinstance(answer, AssociateAC)
    assert (answer.user_information.user_identity_answer is not None) is response


@pytest.mark.parametrize(
    "identity",
    [
        None,
        passcode("ct1", "wrong"),
        passcode("other", "s3cret"),
        passcode("ct1", ""),
        UserIdentity(kind=UserIdentityType.USERNAME, primary=b"ct1"),
        UserIdentity(kind=UserIdentityType.KERBEROS, primary=b"ticket"),
        UserIdentity(kind=UserIdentityType.SAML, primary=b"<assertion/>"),
        UserIdentity(kind=UserIdentityType.JWT, primary=b"a.b.c"),
        UserIdentity(kind=77, primary=b"?"),
    ],
    ids=["none", "passcode", "user", "empty", "type1", "kerberos", "saml", "jwt", "type77"],
)
def test_dm05_a_wrong_user_is_rejected_by_the_provider(strict: RunningServer, identity: UserIdentity | None) -> None:
    assert ask(strict, "WITHUSER", identity=identity) == USER_REFUSED


def test_dm05_a_user_name_alone_where_no_passcode_is_set(strict: RunningServer) -> None:
    assert isinstance(ask(strict, "NAMEONLY", identity=UserIdentity(kind=1, primary=b"ct1")), AssociateAC)
    assert ask(strict, "NAMEONLY", identity=UserIdentity(kind=1, primary=b"ct2")) == USER_REFUSED


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_dm05_an_identity_that_nobody_asked_for_does_no_harm(server: RunningServer, kind: int) -> None:
    identity = UserIdentity(kind=kind, primary=b"who", secondary=b"", positive_response_requested=True)
    with RawPeer(server.port) as peer:
        answer = peer.associate(VERIFICATION_CONTEXT, information=user_information(identity=identity))
        assert answer.user_information.user_identity_answer is None
        assert peer.echo() == 0


def test_dm05_storescu_with_user_and_passcode(strict: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(part10(make("with-user")))

    def send(secret: str, *more: str) -> Ran:
        titles = ("-aet", "WITHUSER", "-aec", "PACSLITE")
        return storescu(strict.port, [path], *titles, "-usr", "ct1", "-pwd", secret, *more)

    ran = send("s3cret", "-rsp")
    assert ran.code == 0, ran.output
    ran = send("guess")
    assert ran.code != 0
    assert "Service Provider (ACSE Related)" in ran.output, ran.output
    assert "s3cret" not in strict.log
    assert "guess" not in strict.log


@pytest.mark.parametrize(
    ("calling", "secret", "codes"),
    [("WITHUSER", b"s3cret", None), ("WITHUSER", b"wrong", (1, 2, 1)), ("STRANGER", b"s3cret", (1, 1, 3))],
)
def test_pynetdicom_reads_the_codes_of_a_refusal(
    strict: RunningServer, calling: str, secret: bytes, codes: tuple[int, int, int] | None
) -> None:
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.network_timeout = 20
    ae.add_requested_context(VERIFICATION)
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field, identity.secondary_field = b"ct1", secret
    association = ae.associate("127.0.0.1", strict.port, ae_title="PACSLITE", ext_neg=[identity])
    assert association.is_rejected is (codes is not None)
    if codes is None:
        assert association.send_c_echo().Status == 0
        association.release()
    else:
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == codes


# --- SOP classes by setting -------------------------------------------------------------------------------------------


def with_common_extended(sop_class: str, general: str) -> UserInformation:
    item = SOPClassCommonExtendedNegotiation(
        sop_class=sop_class, service_class="1.2.840.10008.4.2", related_general=(general,)
    )
    return replace(user_information(), common_extended=(item,))


@pytest.mark.parametrize("sop_class", [PRIVATE, NEWER_STANDARD_CLASS])
def test_unknown_and_private_classes_are_stored_by_setting(
    server: RunningServer, strict: RunningServer, sop_class: str
) -> None:
    contexts = contexts_for((sop_class, EXPLICIT))
    for running, accepted in ((server, True), (strict, False)):
        answer = ask(running, "CT1", contexts=contexts)
        assert isinstance(answer, AssociateAC)
        assert [one.result for one in answer.contexts] == [0 if accepted else 3]


def test_a_private_class_with_a_known_related_general_class_is_stored(strict: RunningServer) -> None:
    rq = associate_rq(
        contexts_for((PRIVATE, EXPLICIT)), calling="CT1", information=with_common_extended(PRIVATE, SECONDARY_CAPTURE)
    )
    with RawPeer(strict.port) as peer:
        answer = peer.request(rq)
        assert isinstance(answer, AssociateAC)
        assert answer.contexts[0].accepted
        sent = make("related-general")
        data_set = sent.data_set.replace(SECONDARY_CAPTURE.encode() + b"\0", PRIVATE.encode(), 1)
        assert len(PRIVATE) % 2 == 0
        data_set = data_set[:6] + len(PRIVATE).to_bytes(2, "little") + data_set[8:]
        assert peer.store(1, PRIVATE, sent.sop_instance, data_set).status == 0


# --- Transfer syntaxes by setting -------------------------------------------------------------------------------------


def test_our_order_counts_where_it_is_set(server: RunningServer, strict: RunningServer) -> None:
    contexts = [PresentationContext(1, SECONDARY_CAPTURE, (BIG_ENDIAN, IMPLICIT, EXPLICIT))]
    for running, chosen in ((server, BIG_ENDIAN), (strict, EXPLICIT)):
        answer = ask(running, "CT1", contexts=contexts)
        assert isinstance(answer, AssociateAC)
        assert answer.contexts[0].transfer_syntax == chosen


def test_a_syntax_that_is_not_listed_is_refused(strict: RunningServer) -> None:
    answer = ask(strict, "CT1", contexts=[PresentationContext(1, SECONDARY_CAPTURE, (JPEG_BASELINE,))])
    assert isinstance(answer, AssociateAC)
    assert answer.contexts[0].result == 4


@pytest.mark.parametrize("option", ["-kt", "--saml", "--jwt"])
def test_dm05_storescu_with_a_token_that_nobody_asked_for(server: RunningServer, tmp_path: Path, option: str) -> None:
    token, path = tmp_path / "token", tmp_path / "one.dcm"
    token.write_bytes(b"opaque" * 100)
    path.write_bytes(part10(make(f"token{option}")))
    ran = storescu(server.port, [path], option, token)
    assert ran.code == 0, ran.output
