"""The real server as a process of its own, on a free loopback port, with a data folder of the test's."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from kit.rawpeer import is_answering
from kit.wait import eventually

AE_TITLE = "PACSLITE"
HOST = "127.0.0.1"
START_S = 60.0
STOP_S = 40.0
_LISTENING = re.compile(r"^  listening on  (.*)\n", re.MULTILINE)
_PORT = re.compile(r":(\d+)")

_DEFAULTS: Mapping[str, object] = {
    # The reserve is for production; a test must also pass on a machine whose disk is nearly full.
    "storage.min_free_bytes": 0,
    "storage.min_free_percent": 0,
    "server.shutdown_grace_s": 5,
}


_FIRST_OWN_PORT, _FIRST_OF_THE_SYSTEM = 15_000, 32_768
_tried = itertools.count(random.SystemRandom().randrange(_FIRST_OF_THE_SYSTEM - _FIRST_OWN_PORT))


def free_port() -> int:
    """A port that was free a moment ago, and is never given again here. It is none of those that the system gives to
    whoever asks for any: tests that run at the same time would get it until it is used."""
    while True:
        port = _FIRST_OWN_PORT + next(_tried) % (_FIRST_OF_THE_SYSTEM - _FIRST_OWN_PORT)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


class Process(Protocol):
    """What a server is of ``subprocess.Popen``."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class RunningServer:
    """``pacslite serve``, from entering the ``with`` block to leaving it, where it must end with exit code 0.

    ``settings`` become ``--set`` arguments, for example ``{"limits.artim_s": 0.5}``. Each of ``tls`` (the keys
    of a ``[listeners.tls]`` table) is a further listener, on the port of :attr:`tls_ports` in the same place. A server
    that was killed can be started again on the same data folder with :meth:`start`.
    """

    def __init__(
        self,
        data: Path,
        *,
        settings: Mapping[str, object] | None = None,
        tls: Sequence[Mapping[str, object]] = (),
        ae_title: str = AE_TITLE,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.data = data
        self.ae_title = ae_title
        self.port = 0
        self.tls_ports: list[int] = []
        self.log_file = data.with_name(f"{data.name}.log")
        self._settings = {**_DEFAULTS, "server.ae_title": ae_title, **(settings or {})}
        self._tls = tuple(tls)
        self._environment = environment or {}
        self._prefix = tuple(prefix)
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if kind is not None:
            self.kill()
            return
        code = self.stop()
        assert code == 0, f"pacslite serve ended with exit code {code}:\n{self.log}"

    # --- Life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers a C-ECHO; an AssertionError with its log if it does not."""
        before = len(self.log)
        self._launch()
        try:
            eventually(lambda: self._says_where(before) or self.exit_code is not None, "first lines", within_s=START_S)
            assert self.exit_code is None, f"pacslite serve ended with exit code {self.exit_code}:\n{self.log}"
            eventually(lambda: is_answering(self.port) or self.exit_code is not None, "C-ECHO", within_s=START_S)
            assert self.exit_code is None, f"pacslite serve ended with exit code {self.exit_code}:\n{self.log}"
        except BaseException:
            self.kill()
            raise

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        process = self._running
        process.terminate()
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"pacslite serve did not stop within {STOP_S:g} s:\n{self.log}") from None
        finally:
            self._process = None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_S)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: it does nothing more, but what the kernel is doing for it."""
        os.kill(self.pid, signal.SIGSTOP)

    def hang_up(self) -> None:
        """SIGHUP."""
        os.kill(self.pid, signal.SIGHUP)

    def _launch(self) -> None:
        settings: dict[str, object] = {"listeners.0.host": HOST, **self._settings}
        for number, table in enumerate(self._tls, start=1):
            settings |= {f"listeners.{number}.host": HOST, f"listeners.{number}.port": 0}
            settings |= {f"listeners.{number}.tls.{name}": str(value) for name, value in table.items()}
        command = [
            *self._prefix,
            str(Path(sys.executable).with_name("pacslite")),
            *("serve", "--data", str(self.data), "--port", "0"),
            *(part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")),
        ]
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self._process = self._spawn(command)

    def _spawn(self, command: Sequence[str]) -> Process:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PACSLITE_")}
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, **self._environment},
                # In the test's folder, so that a pacslite.toml where the tests are run from does not count.
                cwd=self.data.parent,
            )

    def _says_where(self, after: int) -> bool:
        """Whether the first lines are written; they name the ports that the system chose."""
        found = _LISTENING.search(self.log[after:])
        if found is None:
            return False
        self.port, *self.tls_ports = [int(port) for port in _PORT.findall(found[1])]
        return True

    # --- What there is to see ---------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def exit_code(self) -> int | None:
        return self._running.poll()

    @property
    def log(self) -> str:
        """Everything it has written so far, standard output and standard error, over all its starts."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def wait_for_log(self, text: str, *, after: int = 0, within_s: float = 10.0) -> str:
        """Wait until ``text`` is logged behind position ``after``; returns the log from there on."""
        eventually(lambda: text in self.log[after:], f"{text!r} in the server's log", within_s=within_s)
        return self.log[after:]

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory that the process has had resident (Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    @property
    def _running(self) -> Process:
        assert self._process is not None, "the server is not running"
        return self._process
