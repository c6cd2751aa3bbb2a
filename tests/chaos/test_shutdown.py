"""SIGTERM, with associations idle, busy and stubborn; and a second server where one is running."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from kit.commands import pacslite
from kit.holdings import Holdings
from kit.hostile import how_it_ended
from kit.message import Packing, c_store_rq, pack_message
from kit.rawpeer import EXPLICIT, VERIFICATION_CONTEXT, RawPeer, contexts_for, is_answering
from kit.server import RunningServer, free_port
from kit.storm import CT_IMAGE_STORAGE, objects
from kit.wait import eventually

CT_CONTEXT = contexts_for((CT_IMAGE_STORAGE, EXPLICIT))
LONG_S = 300
"""Longer than the kit waits for a server to stop: whoever waits for the grace to pass is found out."""


def terminate(server: RunningServer) -> None:
    """SIGTERM, and wait until it is taken."""
    os.kill(server.pid, signal.SIGTERM)
    eventually(lambda: server.exit_code is not None or not is_answering(server.port), "no new associations")


def wait_for_exit(server: RunningServer) -> int:
    eventually(lambda: server.exit_code is not None, "the server's end", within_s=20)
    code = server.exit_code
    assert code is not None
    return code


def test_idle_associations_are_aborted_at_once_however_long_the_grace(tmp_path: Path) -> None:
    """Also those whose peer says nothing, and those who do not close when they are told to go."""
    with (
        RunningServer(tmp_path / "data", settings={"server.shutdown_grace_s": LONG_S}) as server,
        RawPeer(server.port),
        RawPeer(server.port) as peer,
        RawPeer(server.port) as stubborn,
    ):
        peer.associate(VERIFICATION_CONTEXT)
        stubborn.associate(VERIFICATION_CONTEXT)
        terminate(server)
        assert how_it_ended(peer) is not None
        assert wait_for_exit(server) == 0


def test_busy_association_finishes_its_request(tmp_path: Path) -> None:
    (obj,) = objects("1", [400_000])
    message = b"".join(pack_message(1, c_store_rq(CT_IMAGE_STORAGE, obj.sop_instance), obj.data_set(), Packing()))
    server = RunningServer(tmp_path / "data", settings={"server.shutdown_grace_s": LONG_S})
    with server:
        with RawPeer(server.port) as peer:
            peer.associate(CT_CONTEXT)
            peer.send(message[:200_000])
            terminate(server)
            assert server.exit_code is None
            peer.send(message[200_000:])
            assert peer.read_response().status == 0x0000
            assert how_it_ended(peer) is not None
        assert wait_for_exit(server) == 0
    with RunningServer(tmp_path / "data") as again:
        Holdings(again.data).assert_holds([obj])


def test_peer_that_stalls_in_its_request_is_aborted_when_the_grace_is_over(tmp_path: Path) -> None:
    (obj,) = objects("1", [400_000])
    message = b"".join(pack_message(1, c_store_rq(CT_IMAGE_STORAGE, obj.sop_instance), obj.data_set()))
    with RunningServer(tmp_path / "data", settings={"server.shutdown_grace_s": 0.5}) as server:
        with RawPeer(server.port) as peer:
            peer.associate(CT_CONTEXT)
            peer.send(message[:200_000])
            os.kill(server.pid, signal.SIGTERM)
            assert how_it_ended(peer) is not None
        assert wait_for_exit(server) == 0
    with RunningServer(tmp_path / "data") as again:
        holdings = Holdings(again.data)
        holdings.assert_sound()
        assert holdings.instances == {}


def test_second_server_on_the_same_folder_fails_with_one_line(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data") as server:
        done = serve(server, port=free_port())
        assert done != ""
        assert str(server.data) in done
        assert is_answering(server.port)


def test_second_server_on_the_same_port_fails_with_one_line(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "data") as server:
        done = serve(server, port=server.port, data=tmp_path / "other")
        assert f"{server.port}" in done
        assert is_answering(server.port)


def serve(server: RunningServer, *, port: int, data: Path | None = None) -> str:
    """``pacslite serve`` that is expected to fail; returns its one line."""
    done = pacslite(
        *("serve", "--data", str(data or server.data), "--port", str(port), "--set", 'listeners.0.host="127.0.0.1"'),
        folder=server.data.parent,
        timeout_s=20,
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode != 0
    assert len(lines) == 1, done.stdout + done.stderr
    return lines[0]
