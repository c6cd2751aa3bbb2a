"""Workers: processes that decode and compress pixels, so that neither a slow nor a broken codec can harm the server.

They are started when there is work, with nothing inherited but their end of a socket pair, and end when they had none
for a while, when a conversion takes too long, when whoever wanted its result is gone, and with the server, however that
ends. A codec that kills its process fails that one conversion.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from pacslite.errors import CannotConvert
from pacslite.transcode.worker import MAX_MESSAGE_BYTES

_IDLE_S: Final = 60.0
# Conversions run side by side; threads within one would only get into each other's way.
_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


class Workers:
    """At most `processes` of them; as many conversions run at once, and `max_waiting` others may wait."""

    def __init__(self, *, processes: int, max_waiting: int, max_seconds: float) -> None:
        self._turn = asyncio.Semaphore(processes)
        self._max_waiting = max_waiting
        self._max_seconds = max_seconds
        self._waiting = 0
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._retirement: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of all workers there are now."""
        return tuple(worker.process_id for worker in self._all)

    async def run(self, request: Mapping[str, Any], descriptors: tuple[int, int]) -> None:
        """Have one conversion done; :class:`CannotConvert` if that failed, for whatever reason."""
        if self._closed:
            raise CannotConvert("the server is stopping")
        if self._turn.locked() and self._waiting >= self._max_waiting:
            raise CannotConvert(f"{self._waiting} other conversions are waiting already")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            await self._run(request, descriptors)
        finally:
            self._turn.release()

    async def _run(self, request: Mapping[str, Any], descriptors: tuple[int, int]) -> None:
        worker = await self._take_idle() or self._start()
        try:
            async with asyncio.timeout(self._max_seconds):
                answer = await worker.ask(request, descriptors)
        except BaseException as error:
            await asyncio.shield(self._end(worker))
            if isinstance(error, TimeoutError):
                raise CannotConvert(f"it takes longer than {self._max_seconds:g} s") from error
            if isinstance(error, (EOFError, OSError)):
                raise CannotConvert(f"its conversion ended unexpectedly: {worker.how_it_ended}") from error
            raise
        self._idle.append(worker)
        if not self._closed:
            self._retire_later()
        if "problem" in answer:
            raise CannotConvert(answer["problem"])

    async def aclose(self) -> None:
        """End all workers, whatever they are doing: conversions under way fail."""
        self._closed = True
        if self._retirement is not None:
            self._retirement.cancel()
        for worker in self._all:
            worker.kill()
        while self._all:
            self._retire()
            await asyncio.gather(*(asyncio.to_thread(worker.wait) for worker in tuple(self._all)), *self._ending)
            await asyncio.sleep(0)  # whoever waited for a worker learns that it is gone

    async def _take_idle(self) -> _Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            await self._end(worker)
        return None

    def _start(self) -> _Worker:
        if self._closed:
            raise CannotConvert("the server is stopping")
        try:
            worker = _Worker()
        except OSError as error:
            raise CannotConvert(f"no process can be started: {error.strerror}") from error
        self._all.add(worker)
        return worker

    async def _end(self, worker: _Worker) -> None:
        worker.kill()
        await asyncio.to_thread(worker.wait)
        worker.close()
        self._all.discard(worker)

    def _retire_later(self) -> None:
        if self._retirement is not None:
            self._retirement.cancel()
        self._retirement = asyncio.get_running_loop().call_later(_IDLE_S, self._retire)

    def _retire(self) -> None:
        while self._idle:
            task = asyncio.create_task(self._end(self._idle.pop()))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


class _Worker:
    """One process, and our end of the socket pair."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "pacslite.transcode.worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | _ENVIRONMENT,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                self._socket.close()
                raise
        self._socket.setblocking(False)

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def how_it_ended(self) -> str:
        code = self._process.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"

    async def ask(self, request: Mapping[str, Any], descriptors: tuple[int, int]) -> dict[str, Any]:
        """The answer to a request; EOFError or OSError if the process ends before that."""
        loop = asyncio.get_running_loop()
        socket.send_fds(self._socket, [json.dumps(request).encode()], list(descriptors))
        answer = b""
        while not answer.endswith(b"\n"):
            part = await loop.sock_recv(self._socket, MAX_MESSAGE_BYTES)
            if not part:
                raise EOFError
            answer += part
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def kill(self) -> None:
        self._process.kill()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> None:
        self._process.wait()

    def close(self) -> None:
        """When nobody waits for an answer any more."""
        self._socket.close()
