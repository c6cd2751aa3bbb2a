"""Who may call, and what they may do: a pure function of what a caller says and where it calls from.

A caller is known when its AE title and its address both fit one peer. An AE title alone proves nothing, since any
machine can send it; so the right title from the wrong address makes an unknown caller. Unknown callers are let in by
a policy of their own. Every refusal says which lines of the configuration would let the caller in, because the
administrator who reads it usually stands next to a scanner that does not send.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from pacslite.dimse.permission import EVERYTHING, Permission
from pacslite.ul.items import UserIdentity, UserIdentityType
from pacslite.ul.negotiation import Rejection
from pacslite.ul.pdu import AssociateRJ

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class UnknownCallers(StrEnum):
    """Which callers that fit no peer are let in."""

    LOOPBACK = "loopback"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPeer:
    """One caller we know. With ``user`` it must present that user name, and with ``passcode`` that passcode too."""

    ae_title: str
    networks: tuple[Network, ...]
    permissions: frozenset[Permission]
    tls: bool = False
    user: str = ""
    passcode: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The caller may associate. ``peer_name`` is "" for an unknown caller.

    ``identified`` is True when the user identity was checked and found right: only then may the answer hold sub-item
    59H (PS3.7 D.3.3.7.2).
    """

    permissions: frozenset[Permission]
    peer_name: str = ""
    identified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The caller is sent ``rj``; ``why`` and ``advice`` are for our administrator only."""

    rj: AssociateRJ
    why: str
    advice: str = ""


class AccessPolicy:
    """The rules of ``[server]``, ``[access]`` and ``[[peers]]``, ready to be asked. A reload makes another policy."""

    def __init__(
        self,
        peers: Iterable[KnownPeer] = (),
        *,
        ae_titles: Iterable[str],
        check_called_ae: bool = False,
        unknown: UnknownCallers = UnknownCallers.LOOPBACK,
        unknown_permissions: frozenset[Permission] = EVERYTHING,
    ) -> None:
        self._ae_titles = tuple(title.strip(" ") for title in ae_titles)
        self._check_called_ae = check_called_ae
        self._unknown = unknown
        self._unknown_permissions = unknown_permissions
        self._peers: dict[str, list[KnownPeer]] = {}
        for peer in peers:
            self._peers.setdefault(peer.ae_title.strip(" "), []).append(peer)

    def admit(
        self, *, calling_ae: str, called_ae: str, address: str, tls: bool, identity: UserIdentity | None = None
    ) -> Admission | Refusal:
        """Whether the caller may associate, and what for. ``address`` is the transport's, as text."""
        # Leading and trailing spaces are not significant, and a title of spaces alone is illegal (PS3.8 Table 9-11).
        calling_ae, called_ae = calling_ae.strip(" "), called_ae.strip(" ")
        if not called_ae or (self._check_called_ae and called_ae not in self._ae_titles):
            return self._refuse_called(called_ae)
        if not calling_ae:
            return _refuse(
                Rejection.CALLING_AE_NOT_RECOGNIZED, "the calling AE title is empty", "set an AE title on the caller"
            )
        origin = _parse_address(address)
        for peer in self._peers.get(calling_ae, ()):
            if origin is not None and any(origin in network for network in peer.networks):
                return _admit_known(peer, tls=tls, identity=identity)
        if self._unknown is UnknownCallers.ALL or (
            self._unknown is UnknownCallers.LOOPBACK and origin is not None and origin.is_loopback
        ):
            return Admission(permissions=self._unknown_permissions)
        return self._refuse_unknown(calling_ae, str(origin or address))

    def _refuse_called(self, called_ae: str) -> Refusal:
        if not called_ae:
            return _refuse(
                Rejection.CALLED_AE_NOT_RECOGNIZED,
                "the called AE title is empty",
                f'set the called AE title to "{self._ae_titles[0]}" on the caller',
            )
        return _refuse(
            Rejection.CALLED_AE_NOT_RECOGNIZED,
            f"the called AE title {_quote(called_ae)} is not ours",
            f'set it to "{self._ae_titles[0]}" on the caller, or add {_quote(called_ae)} to server.ae_title_aliases, '
            "or set server.check_called_ae = false",
        )

    def _refuse_unknown(self, calling_ae: str, address: str) -> Refusal:
        namesakes = self._peers.get(calling_ae)
        if namesakes:
            places = ", ".join(str(network) for peer in namesakes for network in peer.networks) or "nowhere"
            return _refuse(
                Rejection.CALLING_AE_NOT_RECOGNIZED,
                f"{_quote(calling_ae)} is a peer, but it may call from {places} and not from {address}",
                f'if the caller moved, set address = "{address}" for it in [[peers]]',
            )
        why = f"nobody may call as {_quote(calling_ae)} from {address}"
        for known in self._peers:
            if known.casefold() == calling_ae.casefold():
                why += f'; there is a peer "{known}", but upper and lower case differ'
        return _refuse(
            Rejection.CALLING_AE_NOT_RECOGNIZED,
            why,
            f"to let it in, add to the configuration:\n{_lines(calling_ae, address)}",
        )


def _admit_known(peer: KnownPeer, *, tls: bool, identity: UserIdentity | None) -> Admission | Refusal:
    if peer.tls and not tls:
        return _refuse(
            Rejection.NO_REASON,
            f'peer "{peer.ae_title}" must call over TLS and did not',
            "let it call the TLS port, or set tls = false for it in [[peers]]",
        )
    if not peer.user:
        return Admission(permissions=peer.permissions, peer_name=peer.ae_title)
    problem = _identity_problem(peer, identity)
    if problem:
        return _refuse(
            Rejection.USER_IDENTITY_REFUSED,
            f'peer "{peer.ae_title}" {problem}',
            "set the user name and passcode of [[peers]] on the caller, or remove user and passcode from [[peers]]",
        )
    return Admission(permissions=peer.permissions, peer_name=peer.ae_title, identified=True)


def _identity_problem(peer: KnownPeer, identity: UserIdentity | None) -> str:
    """What is wrong with the identity, or ""; the log never repeats what was presented."""
    if identity is None:
        return "must present a user identity and did not"
    wanted = UserIdentityType.USERNAME_AND_PASSCODE if peer.passcode else UserIdentityType.USERNAME
    if not wanted <= identity.kind <= UserIdentityType.USERNAME_AND_PASSCODE:
        return f"presented a user identity of type {identity.kind}, not {wanted}"
    # compare_digest: how long a wrong guess takes must not tell how much of it was right.
    right_user = hmac.compare_digest(identity.primary, peer.user.encode())
    right_passcode = not peer.passcode or hmac.compare_digest(identity.secondary, peer.passcode.encode())
    return "" if right_user and right_passcode else "presented a wrong user name or passcode"


def _refuse(rejection: Rejection, why: str, advice: str) -> Refusal:
    return Refusal(rj=rejection.rj, why=why, advice=advice)


def _lines(calling_ae: str, address: str) -> str:
    """Lines to paste as they are; subscribers print a multi-line advice as lines."""
    return f'[[peers]]\nae_title = {_quote(calling_ae)}\naddress = "{address}"\npermissions = ["echo", "store"]'


def _quote(text: str) -> str:
    """``text`` as a TOML and JSON string, so that an AE title with odd bytes cannot break a log line."""
    return json.dumps(text)


def _parse_address(text: str) -> Address | None:
    """The address, without zone; an IPv4 caller on a dual-stack socket is the IPv4 address it is."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
