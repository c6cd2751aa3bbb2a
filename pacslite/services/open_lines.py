"""The associations on which storage commitment was asked for, for as long as the result may go over them.

Theory of operation. A line is opened when a request has been received, and may be used from when its answer has left:
never before, since the requester takes what comes first for the answer. It is over when the peer's time for it is up,
when the association ends before the answer has left, or when there are too many; an association that ends later refuses
what is invoked on it. Whoever takes a line is the only one to have it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pacslite.dimse.service import Context, Invoker, Request

MOST_LINES: Final = 1000
"""Beyond, the oldest one is over: its result goes over a new association."""


@dataclass(slots=True)
class Line:
    """The way back to a requester."""

    calling_ae: str
    invoker: Invoker
    context: Context
    _usable: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def answered(self) -> None:
        """The requester has its answer: now it may be told more."""
        self._settle(usable=True)

    def end(self) -> None:
        """Nothing may go over it any more, unless somebody has taken it."""
        self._settle(usable=False)

    async def is_usable(self) -> bool:
        """Waits until that is known."""
        return await asyncio.shield(self._usable)

    def _settle(self, *, usable: bool) -> None:
        if not self._usable.done():
            self._usable.set_result(usable)


class OpenLines:
    """``wait_s`` tells for how many seconds a peer, by its AE title, is told results on the association on which it
    asked; 0 is never, infinity for as long as that is open."""

    def __init__(self, wait_s: Callable[[str], float]) -> None:
        self._wait_s = wait_s
        self._lines: dict[int, tuple[Line, asyncio.TimerHandle | None]] = {}

    def __contains__(self, request_id: int) -> bool:
        """Whether there is one, or may be, for the request with this number."""
        return request_id in self._lines

    def any_to(self, calling_ae: str) -> bool:
        """Whether there is one to this peer."""
        return any(line.calling_ae == calling_ae for line, _ in self._lines.values())

    def open(self, request_id: int, request: Request) -> Line | None:
        """The line for the request with this number, in place of one that it had; None if there is to be none."""
        self._drop(request_id)
        wait_s = self._wait_s(request.peer.calling_ae)
        if not wait_s or request.cancellation.requested:
            return None
        if len(self._lines) >= MOST_LINES:
            self._drop(next(iter(self._lines)))
        line = Line(request.peer.calling_ae, request.invoker, request.context)
        request.cancellation.when_requested(line.end)
        timer = None
        if wait_s < math.inf:
            timer = asyncio.get_running_loop().call_later(wait_s, self._drop, request_id)
        self._lines[request_id] = line, timer
        return line

    async def take(self, request_id: int) -> Line | None:
        """The line of the request with this number, once its answer has left; None if there is none to be used."""
        found = self._lines.get(request_id)
        if found is None:
            return None
        line, timer = found
        usable = await line.is_usable()
        if self._lines.get(request_id) is found:
            del self._lines[request_id]
            if timer is not None:
                timer.cancel()
        return line if usable else None

    def _drop(self, request_id: int) -> None:
        found = self._lines.pop(request_id, None)
        if found is not None:
            line, timer = found
            if timer is not None:
                timer.cancel()
            line.end()
