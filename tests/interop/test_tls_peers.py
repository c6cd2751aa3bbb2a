"""TLS (PS3.15 B.12) with DCMTK's programs, Python's own TLS and pynetdicom as callers."""

from __future__ import annotations

import os
import shutil
import ssl
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from kit.commands import pacslite
from kit.odd import make
from kit.peers import echoscu, storescu
from kit.rawpeer import RawPeer, is_answering
from kit.server import RunningServer
from kit.shipped import part10
from kit.store import Store
from kit.tls import Authority, KeyPair
from kit.wait import eventually

NONE, OPTIONAL, REQUIRED = range(3)


@dataclass(frozen=True, slots=True)
class Secured:
    """A server with three TLS listeners: without, with optional and with required client certificates."""

    server: RunningServer
    authority: Authority
    strangers: Authority
    certificate: Path
    key: Path
    client: KeyPair
    stranger: KeyPair

    def port(self, listener: int) -> int:
        return self.server.tls_ports[listener]

    def context(self, client: KeyPair | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.file))
        if client is not None:
            context.load_cert_chain(client.certificate_file, client.key_file)
        return context

    def options(self, client: KeyPair, authority: Authority) -> tuple[str | Path, ...]:
        """For DCMTK: this client certificate, and the authority that the server's is checked against."""
        return ("+tls", client.key_file, client.certificate_file, "+cf", authority.file)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    authority, strangers = Authority(folder / "ours", "ours"), Authority(folder / "theirs", "theirs")
    pair = authority.issue("server")
    certificate, key = folder / "server.crt", folder / "server.key"
    shutil.copy(pair.certificate_file, certificate)
    shutil.copy(pair.key_file, key)
    base = {"certificate": certificate, "key": key}
    listeners: list[Mapping[str, object]] = [
        base,
        {**base, "client_certificates": "optional", "ca": authority.file},
        {**base, "client_certificates": "required", "ca": authority.file},
    ]
    with RunningServer(folder / "data", tls=listeners) as running:
        client, stranger = authority.issue("client"), strangers.issue("stranger")
        yield Secured(running, authority, strangers, certificate, key, client, stranger)


# --- Client certificates ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listener", "who", "let_in"),
    [
        (NONE, "anonymous", True),
        (NONE, "client", True),
        (OPTIONAL, "anonymous", True),
        (OPTIONAL, "client", True),
        (OPTIONAL, "stranger", False),
        (REQUIRED, "client", True),
        (REQUIRED, "anonymous", False),
        (REQUIRED, "stranger", False),
    ],
)
def test_echoscu_over_tls(secured: Secured, listener: int, who: str, let_in: bool) -> None:
    options: tuple[str | Path, ...]
    if who == "anonymous":
        options = ("+tla", "+cf", secured.authority.file)
    else:
        options = secured.options(secured.client if who == "client" else secured.stranger, secured.authority)
    before = len(secured.server.log)
    ran = echoscu(secured.port(listener), *options)
    assert (ran.code == 0) is let_in, ran.output
    if not let_in:
        words = "showed no certificate" if who == "anonymous" else "not signed by our ca"
        secured.server.wait_for_log(words, after=before)


def test_a_client_that_does_not_trust_the_server_stays_away(secured: Secured) -> None:
    ran = echoscu(secured.port(NONE), *secured.options(secured.client, secured.strangers))
    assert ran.code != 0
    assert "TLS" in ran.output
    assert "certificate" in ran.output.lower()


@pytest.mark.parametrize("listener", [NONE, REQUIRED])
def test_storescu_over_tls(secured: Secured, tmp_path: Path, listener: int) -> None:
    sent = [make(f"tls-{listener}-{at}", rest=b"") for at in range(10)]
    paths = [tmp_path / f"{at}.dcm" for at in range(10)]
    for path, one in zip(paths, sent, strict=True):
        path.write_bytes(part10(one))
    ran = storescu(secured.port(listener), paths, *secured.options(secured.client, secured.authority))
    assert ran.code == 0, ran.output
    store = Store(secured.server.data)
    for one in sent:
        assert len(store.copies(one.sop_instance)) == 1


def test_pynetdicom_over_tls(secured: Secured) -> None:
    from pynetdicom import AE

    ae = AE(ae_title="PYTLS")
    ae.add_requested_context("1.2.840.10008.1.1")
    ae.network_timeout = ae.acse_timeout = ae.dimse_timeout = 10
    context = secured.context(secured.client)
    association = ae.associate("127.0.0.1", secured.port(REQUIRED), tls_args=(context, "127.0.0.1"))
    assert association.is_established
    assert association.send_c_echo().Status == 0
    association.release()


def test_a_large_object_over_tls(secured: Secured) -> None:
    from kit.encode import EXPLICIT_LITTLE
    from kit.rawpeer import contexts_for

    sent = make("tls-large", rest=EXPLICIT_LITTLE.element(0x7FE00010, "OW", os.urandom(3_000_000)))
    with RawPeer(secured.port(REQUIRED), tls=secured.context(secured.client)) as peer:
        peer.associate(contexts_for((sent.sop_class, sent.transfer_syntax)))
        assert peer.store(1, sent.sop_class, sent.sop_instance, sent.data_set).status == 0
        peer.release()
    Store(secured.server.data).copy_of(sent)


# --- What does not fit together ---------------------------------------------------------------------------------------


def test_a_plain_client_on_the_tls_port_gets_no_association(secured: Secured) -> None:
    before = len(secured.server.log)
    ran = echoscu(secured.port(NONE), "-ta", "5")
    assert ran.code != 0
    secured.server.wait_for_log("does not speak TLS", after=before)
    assert is_answering(secured.server.port)


def test_a_tls_client_on_the_plain_port_gets_no_association(secured: Secured) -> None:
    ran = echoscu(secured.server.port, "+tla", "-ic", "-ta", "5")
    assert ran.code != 0
    assert is_answering(secured.server.port)


def test_a_connection_that_never_shakes_hands_hinders_nobody(secured: Secured) -> None:
    with RawPeer(secured.port(NONE)):
        assert echoscu(secured.port(NONE), "+tla", "-ic").code == 0


def test_ul25_the_tls_port_is_another_one(secured: Secured) -> None:
    ports = [secured.server.port, *secured.server.tls_ports]
    assert len(set(ports)) == 4
    settings = {
        "listeners.0.port": ports[0],
        "listeners.1.port": ports[0],
        "listeners.1.tls.certificate": secured.certificate,
        "listeners.1.tls.key": secured.key,
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    done = pacslite("config", "check", *options, folder=secured.server.data.parent)
    assert done.returncode == 2, done.stdout
    assert "both plain and TLS" in done.stderr


# --- Versions ---------------------------------------------------------------------------------------------------------


def _only(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # otherwise our own OpenSSL would not even offer the old ones
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is what the test is about
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_before_1_2_is_refused(secured: Secured, version: ssl.TLSVersion) -> None:
    before = len(secured.server.log)
    with pytest.raises(ssl.SSLError):
        RawPeer(secured.port(NONE), tls=_only(version))
    secured.server.wait_for_log("minimum_version", after=before)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(secured: Secured, version: ssl.TLSVersion) -> None:
    with RawPeer(secured.port(NONE), tls=_only(version)) as peer:
        peer.associate()
        assert peer.echo() == 0
        assert isinstance(peer.socket, ssl.SSLSocket)
        assert peer.socket.version() == version.name.replace("_", ".")


def test_weak_ciphers_are_not_spoken(secured: Secured) -> None:
    context = _only(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("AES128-SHA:AES256-SHA256:DES-CBC3-SHA:@SECLEVEL=0")  # no forward secrecy, no AEAD
    with pytest.raises(ssl.SSLError):
        RawPeer(secured.port(NONE), tls=context)


# --- Reload -----------------------------------------------------------------------------------------------------------


def test_sighup_loads_the_certificate_anew_and_keeps_the_old_one_if_the_new_is_broken(secured: Secured) -> None:
    def shown() -> int:
        with RawPeer(secured.port(NONE), tls=secured.context()) as peer:
            assert isinstance(peer.socket, ssl.SSLSocket)
            certificate = peer.socket.getpeercert()
            assert certificate is not None
            peer.associate()
            assert peer.echo() == 0
            return int(str(certificate["serialNumber"]), 16)

    old = shown()
    with RawPeer(secured.port(NONE), tls=secured.context()) as open_before:
        open_before.associate()
        renewed = secured.authority.issue("server-renewed")
        assert renewed.serial != old
        shutil.copy(renewed.certificate_file, secured.certificate)
        shutil.copy(renewed.key_file, secured.key)
        secured.server.hang_up()
        eventually(lambda: shown() == renewed.serial, "the renewed certificate")
        assert open_before.echo() == 0  # an association that is open goes on

    before = len(secured.server.log)
    secured.certificate.write_text("not a certificate")
    secured.server.hang_up()
    eventually(lambda: "certificate" in secured.server.log[before:], "words about the broken certificate")
    assert shown() == renewed.serial
    shutil.copy(renewed.certificate_file, secured.certificate)
