"""Servers and commands that kill themselves at a chosen step, and are started again: see :mod:`kit.dying`."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal

from kit.dying import LAST_WORDS
from kit.dying import Order as _Order
from kit.dying import Step as _Step
from kit.server import RunningServer
from kit.wait import eventually

_TESTS = Path(__file__).resolve().parent.parent
_GONE_S = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Right before or right after the ``nth`` call of the function ``at`` (``module:Class.name``) that carries one of
    the Command Fields, if any are given."""

    at: str
    moment: Literal["before", "after"]
    nth: int = 1
    fields: tuple[int, ...] = ()

    def __str__(self) -> str:
        words = [self.moment, self.at.rpartition(":")[2], *(f"{field:04X}H" for field in self.fields)]
        return " ".join([*words, f"number {self.nth}"] if self.nth > 1 else words)

    def encoded(self) -> _Step:
        return {"at": self.at, "moment": self.moment, "nth": self.nth, "fields": list(self.fields)}


class Forge:
    """A program that makes processes of pacslite, one after another. Close it: that kills the last one."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, (str(_TESTS), os.environ.get("PYTHONPATH", ""))))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PACSLITE_")}
        self._program = subprocess.Popen(
            [sys.executable, "-m", "kit.dying"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": path},
        )
        self._last: Process | None = None

    def run(self, command: Sequence[str], *, log: Path, folder: Path, die: Step | None = None) -> Process:
        """Start ``pacslite`` with these arguments. There is one process at a time: the one before is killed."""
        self._kill_last()
        order: _Order = {
            "command": list(command),
            "steps": [] if die is None else [die.encoded()],
            "log": str(log),
            "folder": str(folder),
        }
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(order).encode() + b"\n")
        self._program.stdin.flush()
        self._last = Process(int(self._program.stdout.readline()), self._program.stdout)
        return self._last

    def close(self) -> None:
        self._kill_last()
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        self._program.wait(_GONE_S)
        self._program.stdout.close()

    def _kill_last(self) -> None:
        if self._last is not None and self._last.poll() is None:
            self._last.kill()
            self._last.wait(_GONE_S)


class Process:
    """One that a :class:`Forge` has made: as much of ``subprocess.Popen`` as a server needs."""

    def __init__(self, pid: int, news: IO[bytes]) -> None:
        self.pid = pid
        self._handle: int | None = None
        with suppress(ProcessLookupError):  # dead already
            self._handle = os.pidfd_open(pid)  # its id may be another's once it is gone
        self._news = news
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None and select.select([self._news], [], [], 0)[0]:
            self._code = int(self._news.readline())
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None
        return self._code

    def wait(self, timeout: float) -> int:
        if self._code is None and not select.select([self._news], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("pacslite", timeout)
        code = self.poll()
        assert code is not None
        return code

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)


class MortalServer(RunningServer):
    """A :class:`~kit.server.RunningServer` that can be told at which step to die. With ``fixed_port`` it listens there
    each time."""

    def __init__(
        self, data: Path, forge: Forge, *, settings: Mapping[str, object] | None = None, fixed_port: int = 0
    ) -> None:
        super().__init__(data, settings=settings)
        self._forge = forge
        self._fixed_port = fixed_port
        self._die: Step | None = None

    def start_and_die(self, step: Step) -> bool:
        """Start it; whether it answers, for it may be dead before."""
        self._die = step
        before = len(self.log)
        try:
            self.start()
        except AssertionError:
            if LAST_WORDS not in self.log[before:]:
                raise
            return False
        finally:
            self._die = None
        return True

    @property
    def is_dead(self) -> bool:
        """Whether it has come to its step; an AssertionError if it has ended in any other way."""
        if self._process is None:
            return True
        code = self._process.poll()
        assert code in (None, -signal.SIGKILL), f"pacslite serve ended with exit code {code}:\n{self.log}"
        return code is not None

    def _spawn(self, command: Sequence[str]) -> Process:
        arguments = [*command[command.index("serve") :], "--port", str(self._fixed_port)]
        return self._forge.run(arguments, log=self.log_file, folder=self.data.parent, die=self._die)


@contextmanager
def forge() -> Iterator[Forge]:
    """One that is closed at the end of the block."""
    forge = Forge()
    try:
        yield forge
    finally:
        forge.close()


@contextmanager
def mortal_server(data: Path, *, settings: Mapping[str, object] | None = None) -> Iterator[MortalServer]:
    """One that is not started yet, with a forge of its own."""
    with forge() as own:
        yield MortalServer(data, own, settings=settings)


def survive(server: MortalServer, step: Step, work: Callable[[], bool], *, most: int = 60) -> int:
    """Start the server so that it dies at the first such step, start it again so that it dies at the second, and so on,
    each time over what the last death left; until ``work`` is done and the server has stopped in good order. ``work``
    answers whether it is done; if it is not, the server is dead. Answers how often it died."""
    for nth in range(1, most + 1):
        if server.start_and_die(replace(step, nth=nth)):
            if not work():
                eventually(lambda: server.is_dead, f"death {step}")
            elif server.stop() == 0:
                return nth - 1
            assert LAST_WORDS in server.log
        server.kill()
    raise AssertionError(f"there is no end to {step}:\n{server.log}")
