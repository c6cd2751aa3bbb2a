"""Waiting for something until the requester cancels."""

from __future__ import annotations

import asyncio
from types import TracebackType

from pacslite.dimse.service import Cancellation


class Interrupted(Exception):
    """The requester has cancelled what was being waited for."""


class Interruptible:
    """``async with`` a block that ends with :class:`Interrupted` when the requester cancels, whatever it waits for.

    As :func:`asyncio.timeout` does, it cancels the task at the point where it waits and takes that back at the end of
    the block, unless somebody else has cancelled the task too.
    """

    __slots__ = ("_cancellation", "_cancelling", "_interrupting", "_task")

    def __init__(self, cancellation: Cancellation) -> None:
        self._cancellation = cancellation
        self._interrupting = False

    async def __aenter__(self) -> None:
        if self._cancellation.requested:
            raise Interrupted
        task = asyncio.current_task()
        assert task is not None, "outside of a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._cancellation.when_requested(self._interrupt)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cancellation.when_requested(None)
        if self._interrupting and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise Interrupted from None

    def _interrupt(self) -> None:
        self._interrupting = True
        self._task.cancel()
