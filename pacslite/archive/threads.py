"""A few threads for calls that wait for the disk, and their answers back in the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# A future is of the type its function returns, which differs from task to task.
_Task = tuple[Callable[..., object], tuple[object, ...], "asyncio.Future[Any] | None"]


class FileThreads:
    """``concurrent.futures`` in the small: a fifth of its cost per call, which counts at thousands of objects a second.

    A task may answer its future later itself: :meth:`start` gives it none.
    """

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"files-{number}") for number in range(count)]
        for thread in self._threads:
            thread.start()

    def start(self, function: Callable[..., object], *arguments: object) -> None:
        """Have it called, and do not ask what becomes of it: it must not raise."""
        self._queue.put((function, arguments, None))

    def submit(self, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Have it called; the future has its result. Called it is, even if nobody waits any more."""
        reply: asyncio.Future[T] = self._loop.create_future()
        self._queue.put((function, arguments, reply))
        return reply

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call it and wait, undisturbed by cancellation as far as the call itself goes."""
        return await asyncio.shield(self.submit(function, *arguments))

    def fail(self, reply: asyncio.Future[Any], error: BaseException) -> None:
        """From one of the threads: what a task that was started has to say."""
        self._answer(reply, None, error)

    def close(self) -> None:
        """Blocks until everything that was submitted has been called."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            function, arguments, reply = task
            result, error = None, None
            try:
                result = function(*arguments)
            except BaseException as caught:  # belongs to whoever submitted it
                if reply is None:
                    raise
                error = caught
            if reply is not None:
                self._answer(reply, result, error)
            del task, function, arguments, reply, result, error  # nothing is kept alive while waiting

    def _answer(self, reply: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it everybody who waited
            self._loop.call_soon_threadsafe(_resolve, reply, result, error)


def _resolve(reply: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if reply.done():
        return
    if error is None:
        reply.set_result(result)
    else:
        reply.set_exception(error)
