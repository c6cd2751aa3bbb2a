"""Peers that take what they are sent slowly, and peers that do not take it at all."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from kit.message import command_set, us
from kit.rawpeer import IMPLICIT, contexts_for
from kit.wait import eventually
from kit.wire import Wire
from pacslite.dimse.service import Request
from pacslite.errors import ConnectionLost
from pacslite.net.association import Association
from pacslite.net.limits import ConnectionLimits
from pacslite.net.transport import acknowledged_bytes

GETTING, CT = "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = contexts_for((GETTING, IMPLICIT), (CT, IMPLICIT))
GET_RQ = command_set({0x0100: us(0x0010), 0x0110: us(9), 0x0800: us(0x0101)})
RSP = {0x0100: 0x8010, 0x0120: 9, 0x0800: 0x0001, 0x0900: 0xFF00}


def streaming(limits: ConnectionLimits, *, drips: int) -> tuple[Wire, list[BaseException]]:
    """A peer that is sent 1 MiB and takes ``drips`` bytes of it, one at each look of ours."""
    errors: list[BaseException] = []

    async def perform(association: Association, request: Request) -> None:
        try:
            await association.send(1, RSP, bytes(1 << 20))
        except ConnectionLost as error:
            errors.append(error)

    wire = Wire(CONTEXTS, perform, limits=limits)
    wire.stuck, wire.drips = True, drips
    wire.send_message(1, GET_RQ)
    return wire, errors


@pytest.mark.parametrize("drips", [0, 5])
async def test_a_peer_is_cut_when_it_takes_nothing_and_not_while_it_takes_little(drips: int) -> None:
    wire, errors = streaming(ConnectionLimits(write_stall_s=0.02, idle_s=0.01), drips=drips)
    async with asyncio.timeout(10):
        await wire.aborted.wait()
    assert wire.looks > drips
    assert wire.drips == 0
    assert wire.protocol.closed_because == "peer took no data for 0.02 s"
    tasks = wire.association.running
    wire.vanish()
    await asyncio.gather(*tasks)
    assert len(errors) == 1


async def test_what_still_leaves_a_closed_connection_is_waited_for() -> None:
    wire, _ = streaming(ConnectionLimits(write_stall_s=0.02), drips=5)
    await asyncio.sleep(0)
    wire.protocol.hang_up("enough")
    async with asyncio.timeout(10):
        await wire.aborted.wait()
    assert wire.drips == 0
    wire.vanish()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the transport's own account is all there is")
def test_what_the_peer_s_tcp_took_is_known_whatever_lies_between() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
        server.accept()[0],
    ):
        before = acknowledged_bytes(ours)
        ours.sendall(bytes(1000))
        eventually(lambda: acknowledged_bytes(ours) == before + 1000, "the acknowledgement")
    assert acknowledged_bytes(None) == 0
