"""kill -9 where nobody sends: a server that is just starting, and tools at work beside one."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kit.commands import fsck
from kit.holdings import Holdings
from kit.mortal import Forge, Process
from kit.mortal import forge as new_forge
from kit.server import RunningServer
from kit.storm import Book, StormObject, objects, storm
from kit.wait import eventually

LANES = 4


@pytest.fixture
def forge() -> Iterator[Forge]:
    with new_forge() as forge:
        yield forge


@contextmanager
def tool(forge: Forge, *arguments: str, data: Path) -> Iterator[Process]:
    """``pacslite`` at work; killed at the end of the block if it still is."""
    command = [*arguments, "--data", str(data)]
    process = forge.run(command, log=data.parent / "tool.log", folder=data.parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def run_for(process: Process, seconds: float) -> None:
    """Let it work for at most so long; ending sooner is fine."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def send(server: RunningServer, prefix: str, count: int) -> Book:
    book = Book()
    asyncio.run(storm(server.port, [objects(f"{prefix}.{lane}", [8_000] * count) for lane in range(LANES)], book))
    assert book.refused == []
    assert book.unanswered == []
    return book


def test_server_killed_while_it_makes_or_opens_a_store_starts_the_next_time(tmp_path: Path, forge: Forge) -> None:
    """From before the folder exists until it listens: the marker, the locks, the index's first migration."""
    chance = random.Random(1)
    for number in range(2):
        data = tmp_path / str(number)
        for _ in range(4):
            with tool(forge, "serve", "--port", "0", data=data) as process:
                wait_until_it_opens(data, process)
                run_for(process, chance.uniform(0.0, 0.08))
        with RunningServer(data) as server:
            book = send(server, "1", 3)
            holdings = Holdings(server.data)
            holdings.assert_sound()
            holdings.assert_holds(book.acknowledged)


def wait_until_it_opens(data: Path, process: Process) -> None:
    """Until the store is there, or else the part of it that belongs to this process."""
    is_new = not data.exists()
    eventually(
        lambda: data.exists() if is_new else list(data.glob(f"incoming/{process.pid}-*")), "the store being opened"
    )
    assert process.poll() is None, (data.parent / "tool.log").read_text()


def test_rebuild_and_repair_killed_at_work_lose_nothing(tmp_path: Path, forge: Forge) -> None:
    chance = random.Random(2)
    with RunningServer(tmp_path / "data") as server:
        known: list[StormObject] = []
        for attempt in range(5):
            known += send(server, str(attempt), 60).acknowledged
            option = "--repair" if attempt % 3 == 1 else "--rebuild"
            with tool(forge, "fsck", option, "--digest", data=server.data) as process:
                run_for(process, chance.uniform(0.1, 0.8))
            known += send(server, f"1{attempt}", 5).acknowledged
            Holdings(server.data).assert_holds(known)
        fsck(server.data, "--rebuild")
        holdings = Holdings(server.data)
        holdings.assert_sound()
        holdings.assert_holds(known)
        fsck(server.data, "--digest")


def test_check_repair_and_rebuild_are_safe_while_senders_store(tmp_path: Path, forge: Forge) -> None:
    """What is on its way is no problem to report, and no object stored meanwhile is missed by the new index."""
    with RunningServer(tmp_path / "data") as server:
        known = send(server, "0", 30).acknowledged
        for number, options in enumerate((["--repair", "--digest"], ["--rebuild", "--digest"])):
            with tool(forge, "fsck", *options, data=server.data) as process:
                rounds = 0
                while process.poll() is None:
                    known += send(server, f"{1 + number}.{rounds}", 20).acknowledged
                    rounds += 1
                assert process.poll() == 0, (tmp_path / "tool.log").read_text()
                assert rounds > 1
            Holdings(server.data).assert_holds(known)
        holdings = Holdings(server.data)
        holdings.assert_sound()
        fsck(server.data, "--digest")
