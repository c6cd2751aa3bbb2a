"""Forwarding by the running server to other people's programs: DCMTK's, pynetdicom's. STANDARD ST-05, §5."""

from __future__ import annotations

import socket
import sqlite3
import ssl
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import UID
from pynetdicom import AE, evt

from kit.dcmqrscp import dcmqrscp
from kit.peers import storescp
from kit.rawpeer import RawPeer
from kit.retrievable import Kept, assert_identical, peer, received, retrievable, store_all
from kit.server import HOST, RunningServer, free_port
from kit.shipped import decoded_header, part10
from kit.tls import Authority
from kit.wait import eventually

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
SOME = retrievable()[:40]
"""Of many SOP classes and transfer syntaxes."""
COMPRESSED = [one for one in SOME if one.object.transfer_syntax.startswith("1.2.840.10008.1.2.4")][:10]

SOON: Mapping[str, object] = {"outbox.retry_first_s": 0.1, "outbox.retry_most_s": 0.5}


def rule(number: int, name: str, *to: str, **more: object) -> Mapping[str, object]:
    """Settings of one of the [[forward]]."""
    values = {"name": name, "to": list(to), **more}
    return {f"forward.{number}.{key}": value for key, value in values.items()}


def owed(server: RunningServer) -> dict[str, int]:
    """How much is owed to whom."""
    with closing(sqlite3.connect(server.data / "index.sqlite", timeout=30)) as index:
        return dict(index.execute("SELECT destination, count(*) FROM jobs GROUP BY 1").fetchall())


def delivered(server: RunningServer, to: str) -> set[str]:
    with closing(sqlite3.connect(server.data / "index.sqlite", timeout=30)) as index:
        found = index.execute("SELECT sop_instance_uid FROM deliveries WHERE destination = ?", (to,))
        return {uid for (uid,) in found}


def await_empty(server: RunningServer, *, but_for: Collection[str] = ()) -> None:
    eventually(lambda: owed(server).keys() <= set(but_for), f"nothing owed but to {but_for}", within_s=30)


@contextmanager
def serving(folder: Path, *settings: Mapping[str, object]) -> Iterator[RunningServer]:
    merged: dict[str, object] = dict(SOON)
    for one in settings:
        merged |= one
    with RunningServer(folder / "data", settings=merged) as server:
        yield server
        assert "Traceback" not in server.log


def uids(kept: Sequence[Kept]) -> set[str]:
    return {one.uid for one in kept}


@contextmanager
def pynetdicom_scp(port: int, taken: dict[str, bytes], syntaxes: Mapping[str, Collection[str]]) -> Iterator[None]:
    ae = AE(ae_title="PYSCP")
    for abstract_syntax, some in syntaxes.items():
        ae.add_supported_context(abstract_syntax, [UID(one) for one in some])

    def store(event: Any) -> int:
        request = event.request
        assert request.MoveOriginatorApplicationEntityTitle is None
        taken[str(request.AffectedSOPInstanceUID)] = request.DataSet.getvalue()
        return 0xB007 if len(taken) % 2 else 0x0000

    scp = ae.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield
    finally:
        scp.shutdown()


def stored_syntaxes(kept: Sequence[Kept]) -> dict[str, set[str]]:
    classes: dict[str, set[str]] = {}
    for one in kept:
        classes.setdefault(one.object.sop_class, set()).add(one.object.transfer_syntax)
    return classes


# --- Everything arrives ----------------------------------------------------------------------------------------------


def test_st_05_everything_arrives_byte_for_byte_at_each_destination(tmp_path: Path) -> None:
    """Also while one of them is dead; and none of it goes back to where it came from."""
    taken: dict[str, bytes] = {}
    port = free_port()
    with (
        storescp(tmp_path / "one") as one,
        storescp(tmp_path / "two", "--disable-host-lookup") as two,
        pynetdicom_scp(port, taken, stored_syntaxes(SOME)),
        serving(
            tmp_path,
            peer(0, "ONE", one.port),
            peer(1, "TWO", two.port, associations=3, async_window=8),
            peer(2, "PYSCP", port),
            peer(3, "DEAD", free_port()),
            rule(0, "all", "ONE", "TWO", "DEAD"),
            rule(1, "python", "PYSCP", priority="high"),
            rule(2, "again", "ONE"),
        ) as server,
    ):
        store_all(server.port, SOME)
        await_empty(server, but_for=["DEAD"])
        assert_identical(received(one.folder), SOME)
        assert_identical(received(two.folder), SOME)
        assert taken == {one.uid: one.object.data_set for one in SOME}
        assert delivered(server, "ONE") == delivered(server, "TWO") == delivered(server, "PYSCP") == uids(SOME)
        assert owed(server) == {"DEAD": len(SOME)}
        assert delivered(server, "DEAD") == set()
        server.wait_for_log("DEAD")


def test_a_destination_that_starts_late(tmp_path: Path) -> None:
    taken: dict[str, bytes] = {}
    port = free_port()
    with serving(tmp_path, peer(0, "PYSCP", port), rule(0, "all", "PYSCP")) as server:
        store_all(server.port, SOME[:5])
        server.wait_for_log("cannot connect")
        assert owed(server) == {"PYSCP": 5}
        with pynetdicom_scp(port, taken, stored_syntaxes(SOME)):
            await_empty(server)
        assert taken == {one.uid: one.object.data_set for one in SOME[:5]}


def test_conditions_and_a_quiet_study(tmp_path: Path) -> None:
    expected = [one for one in SOME if decoded_header(part10(one.object)).get("Modality") in ("CT", "MR")]
    assert 0 < len(expected) < len(SOME)
    with (
        storescp(tmp_path / "some") as some,
        storescp(tmp_path / "studies") as studies,
        serving(
            tmp_path,
            peer(0, "SOME", some.port),
            peer(1, "STUDIES", studies.port),
            rule(0, "sections", "SOME", modality=["CT", "M?"]),
            rule(1, "studies", "STUDIES", on="study", quiet_s=1.5),
        ) as server,
    ):
        store_all(server.port, SOME)
        assert owed(server)["STUDIES"] > 0
        await_empty(server)
        assert_identical(received(some.folder), expected)
        assert_identical(received(studies.folder), SOME)


# --- What destinations do not take -----------------------------------------------------------------------------------


def test_qr_07_what_the_destination_does_not_take_is_converted(tmp_path: Path) -> None:
    """storescp that accepts only Implicit VR, the default transfer syntax."""
    plain = [one for one in SOME if one.object.transfer_syntax == EXPLICIT][:5]
    taken: dict[str, bytes] = {}
    port = free_port()
    with (
        pynetdicom_scp(port, taken, {one.object.sop_class: [IMPLICIT] for one in plain}),
        serving(tmp_path, peer(0, "PYSCP", port), rule(0, "all", "PYSCP")) as server,
    ):
        store_all(server.port, plain)
        await_empty(server)
        assert taken.keys() == uids(plain)
        assert "converted" in server.log


def test_what_can_go_no_way_is_tried_again_and_told(tmp_path: Path) -> None:
    """storescp that accepts Implicit VR only, and a server that converts nothing."""
    fit = [one for one in retrievable() if one.object.transfer_syntax == IMPLICIT][:5]
    settings = {"retrieve.convert": False, "outbox.retry_for_s": 1.0}
    with (
        storescp(tmp_path / "picky", "+xi") as picky,
        serving(tmp_path, peer(0, "PICKY", picky.port), rule(0, "all", "PICKY"), settings) as server,
    ):
        store_all(server.port, [*COMPRESSED, *fit])
        with closing(sqlite3.connect(server.data / "index.sqlite", timeout=30)) as index:

            def are_given_up() -> bool:
                dead = index.execute("SELECT subject, last_error FROM jobs WHERE state = 'dead'").fetchall()
                return uids(COMPRESSED) <= {uid for uid, _ in dead} and all("no suitable" in why for _, why in dead)

            eventually(are_given_up, "they are given up", within_s=20)
        assert_identical(received(picky.folder), fit)
        assert delivered(server, "PICKY") == uids(fit)


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_dcmtks_storescp_that_aborts_every_association(tmp_path: Path, option: str) -> None:
    """Before it has answered for an object, or inside of one; none is lost, and what it then takes it gets."""
    with ExitStack() as stack:
        with storescp(tmp_path / "rude", option) as rude:
            server = stack.enter_context(serving(tmp_path, peer(0, "RUDE", rude.port), rule(0, "all", "RUDE")))
            store_all(server.port, SOME[:6])
            server.wait_for_log("aborted by peer", within_s=20)
            assert owed(server) == {"RUDE": 6}
            assert delivered(server, "RUDE") == set()
        polite = stack.enter_context(storescp(tmp_path / "polite", port=rude.port))
        await_empty(server)
        assert_identical(received(polite.folder), SOME[:6])


def test_storescp_that_refuses_associations(tmp_path: Path) -> None:
    with (
        storescp(tmp_path / "received", "--refuse", answers=_is_listening) as rude,
        serving(tmp_path, peer(0, "RUDE", rude.port), rule(0, "all", "RUDE")) as server,
    ):
        store_all(server.port, SOME[:2])
        server.wait_for_log("rejected")
        assert owed(server) == {"RUDE": 2}


def test_dcmqrscp_has_what_it_was_sent(tmp_path: Path) -> None:
    with (
        dcmqrscp(tmp_path / "qr") as qrscp,
        serving(
            tmp_path, peer(0, "PACSLITE", qrscp.port), rule(0, "all", "PACSLITE"), {"server.ae_title": "US"}
        ) as server,
    ):
        kept = [one for one in SOME if one.object.transfer_syntax in (IMPLICIT, EXPLICIT)][:10]
        store_all(server.port, kept)
        await_empty(server)
        assert delivered(server, "PACSLITE") == uids(kept)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", "ours")
    scp, ours = authority.issue("scp"), authority.issue("us")

    def answers(port: int) -> bool:
        context = ssl.create_default_context(cafile=str(authority.file))
        context.load_cert_chain(ours.certificate_file, ours.key_file)
        try:
            with RawPeer(port, tls=context) as calling:
                calling.associate()
                return calling.echo() == 0
        except OSError:
            return False

    options = ("+tls", scp.key_file, scp.certificate_file, "+cf", authority.file)
    calling = {
        "calling.ca": str(authority.file),
        "calling.certificate": str(ours.certificate_file),
        "calling.key": str(ours.key_file),
    }
    with (
        storescp(tmp_path / "received", *options, answers=answers) as secure,
        serving(tmp_path, peer(0, "SECURE", secure.port, tls=True), rule(0, "all", "SECURE"), calling) as server,
    ):
        store_all(server.port, SOME[:10])
        await_empty(server)
        assert_identical(received(secure.folder), SOME[:10])
