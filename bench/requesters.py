"""The requesters and the sink: rawfind, rawget and rawsink, our C programs, compiled here."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.measure import cpu_seconds
from bench.peers import SINK, Server
from bench.senders import SendError, compiled

_SLACK_S: Final = 60.0  # beyond its own time limit, before a requester is given up
_SINK_IDLE_S: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What queries were answered with, and when."""

    queries: int
    answers: int
    answer_bytes: int
    elapsed_s: float
    first_s: tuple[float, ...]
    final_s: tuple[float, ...]
    wrong: int  # queries with another number of answers than there are matches
    unsupported: int  # answers that say that keys were not supported (FF01)
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    retrievals: int
    objects: int
    elapsed_s: float
    first_s: tuple[float, ...]
    final_s: tuple[float, ...]
    cpu_s: float


@dataclass(slots=True)
class Sink:
    """A running sink; what it swallowed is known when it has ended."""

    pid: int
    port: int
    objects: int = 0
    object_bytes: int = 0
    window: int = 0
    problem: str = ""

    @property
    def cpu_s(self) -> float:
        return cpu_seconds(self.pid)


@dataclass(frozen=True, slots=True)
class Tools:
    """The compiled programs."""

    rawfind: Path
    rawget: Path
    rawsink: Path

    @classmethod
    def build(cls, folder: Path) -> Tools:
        return cls(compiled("rawfind", folder), compiled("rawget", folder), compiled("rawsink", folder))

    def find(
        self,
        server: Server,
        question: Sequence[str],
        *,
        values: Path,
        queries: int,
        seconds: float,
        first: int = 0,
        timeout_s: int = 120,
    ) -> Found:
        """Asks `question` (rawfind's options) with one line of `values` after the other, from line `first` on."""
        told = self._run(
            self.rawfind, server,
            ["--values", str(values), *question, "--queries", str(queries), "--first", str(first)],
            seconds=seconds, timeout_s=timeout_s,
        )  # fmt: skip
        return Found(
            queries=told["queries"],
            answers=told["answers"],
            answer_bytes=told["bytes"],
            elapsed_s=told["elapsed_s"],
            first_s=_seconds(told["first_us"]),
            final_s=_seconds(told["final_us"]),
            wrong=told["wrong"],
            unsupported=told["unsupported"],
            cpu_s=told["cpu_s"],
        )

    def get(
        self,
        server: Server,
        keys: Sequence[str],
        *,
        retrievals: int,
        seconds: float,
        window: int = 1,
        move: bool = False,
        timeout_s: int = 60,
    ) -> Retrieved:
        """Retrieves by C-GET, or by C-MOVE to the sink that the server knows as its destination."""
        options = [*keys, "--retrievals", str(retrievals), *(["--move", SINK] if move else ["--window", str(window)])]
        told = self._run(self.rawget, server, options, seconds=seconds, timeout_s=timeout_s)
        return Retrieved(
            retrievals=told["retrievals"],
            objects=told["objects"],
            elapsed_s=told["elapsed_s"],
            first_s=_seconds(told["first_us"]),
            final_s=_seconds(told["final_us"]),
            cpu_s=told["cpu_s"],
        )

    @contextmanager
    def sink(self, *, window: int = 1) -> Iterator[Sink]:
        """A storage SCP of its own process; at the end it is told to end and says what it got."""
        command = [str(self.rawsink), "--window", str(window), "--idle", str(_SINK_IDLE_S)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                sink = Sink(process.pid, json.loads(process.stdout.readline())["port"])
                yield sink
                process.send_signal(signal.SIGTERM)
                told = json.loads(process.communicate(timeout=10)[0])
                sink.objects, sink.object_bytes = told["objects"], told["bytes"]
                sink.window, sink.problem = told["window"], told["error"]
            finally:
                process.kill()

    @staticmethod
    def _run(
        program: Path, server: Server, options: Sequence[str], *, seconds: float, timeout_s: int
    ) -> dict[str, Any]:
        command = [str(program), "--port", str(server.port), "--called", server.title, "--timeout", str(timeout_s)]
        limit = seconds + timeout_s + _SLACK_S
        try:
            done = subprocess.run(
                [*command, "--seconds", str(seconds), *options],
                capture_output=True, text=True, timeout=limit, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise SendError(f"no end after {limit:.0f} s") from None
        if not done.stdout:
            raise SendError(done.stderr.strip() or f"exit status {done.returncode}")
        told: dict[str, Any] = json.loads(done.stdout)
        if told["error"] or done.returncode:
            raise SendError(told["error"] or f"exit status {done.returncode}")
        return told


def _seconds(microseconds: Sequence[int]) -> tuple[float, ...]:
    return tuple(value / 1e6 for value in microseconds)
