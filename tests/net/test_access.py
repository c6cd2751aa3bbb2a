"""The access policy: who is let in, for what, and what a refused caller and our administrator are told."""

from __future__ import annotations

import ipaddress
import tomllib

import pytest

from pacslite.dimse.permission import EVERYTHING, Permission
from pacslite.net.access import AccessPolicy, Admission, KnownPeer, Refusal, UnknownCallers
from pacslite.ul.items import UserIdentity

CT_PERMISSIONS = frozenset({Permission.ECHO, Permission.STORE})


def known_peer(
    ae_title: str = "CT1", network: str = "10.1.2.3/32", *, tls: bool = False, user: str = "", passcode: str = ""
) -> KnownPeer:
    return KnownPeer(
        ae_title=ae_title,
        networks=(ipaddress.ip_network(network),),
        permissions=CT_PERMISSIONS,
        tls=tls,
        user=user,
        passcode=passcode,
    )


def ask(
    *peers: KnownPeer,
    calling_ae: str = "CT1",
    called_ae: str = "PACSLITE",
    address: str = "10.1.2.3",
    tls: bool = False,
    identity: UserIdentity | None = None,
    check_called_ae: bool = False,
    unknown: UnknownCallers = UnknownCallers.LOOPBACK,
    unknown_permissions: frozenset[Permission] = EVERYTHING,
) -> Admission | Refusal:
    policy = AccessPolicy(
        peers,
        ae_titles=("PACSLITE", "OLDPACS"),
        check_called_ae=check_called_ae,
        unknown=unknown,
        unknown_permissions=unknown_permissions,
    )
    return policy.admit(calling_ae=calling_ae, called_ae=called_ae, address=address, tls=tls, identity=identity)


def refused(answer: Admission | Refusal) -> Refusal:
    assert isinstance(answer, Refusal)
    return answer


def codes(answer: Admission | Refusal) -> tuple[int, int, int]:
    refusal = refused(answer)
    return refusal.rj.result, refusal.rj.source, refusal.rj.reason


def test_a_known_peer_gets_its_own_permissions() -> None:
    assert ask(known_peer()) == Admission(permissions=CT_PERMISSIONS, peer_name="CT1")


def test_ul_12_spaces_around_ae_titles_are_not_significant() -> None:
    answer = ask(known_peer(" CT1 "), calling_ae="  CT1   ", called_ae=" OLDPACS ", check_called_ae=True)
    assert isinstance(answer, Admission)


def test_ul_12_case_in_ae_titles_is_significant_and_the_log_says_so() -> None:
    assert 'there is a peer "CT1", but upper and lower case differ' in refused(ask(known_peer(), calling_ae="ct1")).why


@pytest.mark.parametrize("blank", ["", "   ", " " * 16])
def test_ul_12_ul_07_an_ae_title_of_spaces_is_refused_even_from_loopback(blank: str) -> None:
    assert codes(ask(calling_ae=blank, address="127.0.0.1")) == (1, 1, 3)
    assert codes(ask(called_ae=blank, address="127.0.0.1")) == (1, 1, 7)


def test_ul_07_an_unknown_calling_ae_is_refused_permanently_by_the_user_with_reason_3() -> None:
    assert codes(ask()) == (1, 1, 3)


def test_ul_07_a_wrong_called_ae_is_refused_with_reason_7_only_if_it_is_checked() -> None:
    answer = ask(known_peer(), called_ae="ANY-SCP", check_called_ae=True)
    assert codes(answer) == (1, 1, 7)
    assert '"ANY-SCP" to server.ae_title_aliases' in refused(answer).advice
    assert isinstance(ask(known_peer(), called_ae="ANY-SCP"), Admission)


def test_the_advice_for_an_unknown_caller_is_lines_that_let_it_in() -> None:
    refusal = refused(ask(calling_ae="MR7", address="10.9.8.7"))
    sentence, _, lines = refusal.advice.partition("\n")
    assert sentence == "to let it in, add to the configuration:"
    peer = tomllib.loads(lines)["peers"][0]
    assert peer == {"ae_title": "MR7", "address": "10.9.8.7", "permissions": ["echo", "store"]}
    assert isinstance(
        ask(known_peer(peer["ae_title"], peer["address"]), calling_ae="MR7", address="10.9.8.7"), Admission
    )


def test_an_ae_title_with_odd_bytes_stays_one_quoted_word() -> None:
    refusal = refused(ask(calling_ae='A"\n\x1b[2J', address="10.9.8.7"))
    assert "\n" not in refusal.why
    assert tomllib.loads(refusal.advice.partition("\n")[2])["peers"][0]["ae_title"] == 'A"\n\x1b[2J'


def test_the_right_title_from_the_wrong_address_is_an_unknown_caller() -> None:
    refusal = refused(ask(known_peer(), address="10.1.2.4"))
    assert codes(refusal) == (1, 1, 3)
    assert refusal.why == '"CT1" is a peer, but it may call from 10.1.2.3/32 and not from 10.1.2.4'
    assert 'address = "10.1.2.4"' in refusal.advice


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_unknown_callers_are_let_in_from_loopback_by_default(address: str) -> None:
    assert ask(address=address, calling_ae="ANYONE") == Admission(permissions=EVERYTHING)


def test_unknown_callers_get_what_the_setting_gives_them() -> None:
    answer = ask(unknown=UnknownCallers.ALL, unknown_permissions=frozenset({Permission.ECHO}))
    assert answer == Admission(permissions=frozenset({Permission.ECHO}))


def test_no_unknown_caller_is_let_in_when_none_may() -> None:
    assert codes(ask(unknown=UnknownCallers.NONE, address="127.0.0.1")) == (1, 1, 3)


@pytest.mark.parametrize("address", ["10.1.2.200", "::ffff:10.1.2.200"])
def test_a_peer_may_have_a_network_and_a_dual_stack_socket_changes_nothing(address: str) -> None:
    assert isinstance(ask(known_peer(network="10.1.2.0/24"), address=address), Admission)


def test_an_ipv6_zone_is_not_part_of_the_address() -> None:
    assert isinstance(ask(known_peer(network="fe80::1/128"), address="fe80::1%eth0"), Admission)


def test_two_peers_may_share_a_title_at_different_places() -> None:
    answer = ask(known_peer(network="10.0.0.1/32"), known_peer(network="10.0.0.2/32"), address="10.0.0.2")
    assert isinstance(answer, Admission)


def test_an_address_that_is_none_fits_nobody() -> None:
    assert codes(ask(known_peer(network="0.0.0.0/0"), address="not an address")) == (1, 1, 3)


def test_a_peer_that_must_use_tls_is_refused_without_it() -> None:
    assert codes(ask(known_peer(tls=True))) == (1, 1, 1)
    assert isinstance(ask(known_peer(tls=True), tls=True), Admission)


def test_dm_05_a_right_user_identity_is_reported_as_identified() -> None:
    peer = known_peer(user="ct", passcode="geheim ü")
    answer = ask(peer, identity=UserIdentity(kind=2, primary=b"ct", secondary="geheim ü".encode()))
    assert answer == Admission(permissions=CT_PERMISSIONS, peer_name="CT1", identified=True)
    assert isinstance(ask(known_peer(user="ct"), identity=UserIdentity(kind=1, primary=b"ct")), Admission)


@pytest.mark.parametrize(
    "identity",
    [
        None,
        UserIdentity(kind=1, primary=b"ct"),
        UserIdentity(kind=2, primary=b"ct", secondary=b"wrong"),
        UserIdentity(kind=2, primary=b"other", secondary=b"secret"),
        UserIdentity(kind=4, primary=b"<saml/>"),
    ],
)
def test_dm_05_a_failed_user_identity_is_refused_by_the_provider_not_the_user(identity: UserIdentity | None) -> None:
    answer = ask(known_peer(user="ct", passcode="secret"), identity=identity)
    assert codes(answer) == (1, 2, 1)
    assert "wrong" not in refused(answer).advice
    assert "secret" not in refused(answer).why + refused(answer).advice


def test_dm_05_an_identity_that_nobody_asked_for_is_not_confirmed() -> None:
    answer = ask(known_peer(), identity=UserIdentity(kind=2, primary=b"ct", secondary=b"x"))
    assert isinstance(answer, Admission)
    assert not answer.identified
