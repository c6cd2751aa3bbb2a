"""TLS listeners: who gets in, and what is told about those who do not. STANDARD UL-25, SE-01."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from kit.rawpeer import VERIFICATION_CONTEXT, PeerClosed, RawPeer
from kit.tls import Authority, KeyPair
from pacslite.dimse.registry import ServiceRegistry
from pacslite.facts import AssociationEnded, Fact, HandshakeFailed
from pacslite.net.acceptor import Acceptor, AcceptorLimits
from pacslite.net.access import AccessPolicy
from pacslite.net.dispatch import Dispatcher
from pacslite.net.limits import ConnectionLimits
from pacslite.net.tls import ClientCertificates, ServerCertificate, client_context
from pacslite.ul.negotiation import Order


def client(ca: Path, own: KeyPair | None = None) -> ssl.SSLContext:
    if own is None:
        return client_context(ca=ca)
    return client_context(ca=ca, certificate=own.certificate_file, key=own.key_file)


def call(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether an association is had; TLS 1.3 tells a client of its refusal only when it reads."""
    try:
        with RawPeer(port, tls=context) as peer:
            peer.associate(VERIFICATION_CONTEXT)
            return not peer.is_closed()
    except (OSError, PeerClosed):
        return False


async def calls(listener: ServerCertificate, attempt: Callable[[int], bool]) -> tuple[bool, list[Fact]]:
    facts: list[Fact] = []
    ended = asyncio.Event()

    def observe(fact: Fact) -> None:
        facts.append(fact)
        if isinstance(fact, AssociationEnded | HandshakeFailed):
            ended.set()

    registry = ServiceRegistry([])
    acceptor = Acceptor(
        registry=registry,
        perform=Dispatcher(registry, observe).perform,
        access=AccessPolicy((), ae_titles=["PACSLITE"]),
        limits=AcceptorLimits(),
        connection_limits=ConnectionLimits(),
        order=Order.SENDER,
        observe=observe,
    )
    port = await acceptor.listen("127.0.0.1", 0, listener.context())
    try:
        let_in = await asyncio.to_thread(attempt, port)
        async with asyncio.timeout(10):
            await ended.wait()
        return let_in, facts
    finally:
        await acceptor.close(0)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def ours(authority: Authority) -> KeyPair:
    return authority.issue("server")


def listener(ours: KeyPair, authority: Authority, clients: ClientCertificates) -> ServerCertificate:
    return ServerCertificate(
        certificate=ours.certificate_file,
        key=ours.key_file,
        client_certificates=clients,
        ca=None if clients is ClientCertificates.NONE else authority.file,
    )


async def told(listener: ServerCertificate, attempt: Callable[[int], bool]) -> str:
    """The words about a caller who was not let in."""
    let_in, facts = await calls(listener, attempt)
    assert not let_in
    (failed,) = [fact for fact in facts if isinstance(fact, HandshakeFailed)]
    assert not any(isinstance(fact, AssociationEnded) for fact in facts)
    assert failed.address == "127.0.0.1"
    return failed.why


async def test_a_required_certificate_that_is_not_shown(authority: Authority, ours: KeyPair) -> None:
    required = listener(ours, authority, ClientCertificates.REQUIRED)
    why = await told(required, lambda port: call(port, client(authority.file)))
    assert why == "the caller showed no certificate"


async def test_a_certificate_of_somebody_else_s_authority(authority: Authority, ours: KeyPair, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").issue("stranger")
    required = listener(ours, authority, ClientCertificates.REQUIRED)
    why = await told(required, lambda port: call(port, client(authority.file, stranger)))
    assert why == "the caller's certificate is not signed by our ca, or not valid"


async def test_a_caller_without_tls(authority: Authority, ours: KeyPair) -> None:
    why = await told(listener(ours, authority, ClientCertificates.NONE), lambda port: call(port, None))
    assert why == "the caller does not speak TLS"


async def test_a_caller_who_does_not_trust_us(authority: Authority, ours: KeyPair, tmp_path: Path) -> None:
    elsewhere = Authority(tmp_path, "elsewhere")
    why = await told(
        listener(ours, authority, ClientCertificates.NONE), lambda port: call(port, client(elsewhere.file))
    )
    assert why == "the caller does not trust our certificate"


@pytest.mark.parametrize("clients", list(ClientCertificates))
async def test_a_caller_with_the_right_certificate_gets_in(
    authority: Authority, ours: KeyPair, clients: ClientCertificates
) -> None:
    own = authority.issue("client")
    _, facts = await calls(listener(ours, authority, clients), lambda port: call(port, client(authority.file, own)))
    (ended,) = [fact for fact in facts if isinstance(fact, AssociationEnded)]
    assert ended.established
    assert ended.peer.tls
