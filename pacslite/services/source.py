"""What is still to be sent: C-STORE sub-operations, and where they come from."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

from pacslite.archive.model import StoredObject
from pacslite.archive.selection import Gone


@dataclass(slots=True, eq=False)
class SubOperation:
    """One C-STORE that is owed; ``attempts`` is how often it was begun."""

    stored: StoredObject
    attempts: int = 0


class Feed(Protocol):
    """Where they come from. Any number of associations share it."""

    @property
    def at_hand(self) -> bool:
        """Whether there is a next one now, or that is soon known: nobody outside of the archive is waited for."""

    async def next(self) -> SubOperation | None:
        """The next one; None at the end."""

    def give_back(self, operation: SubOperation) -> None:
        """It was taken and not performed; with ``attempts``, an association was lost with it."""


class Source:
    """A :class:`Feed` of objects that were selected.

    What was given back unsent comes first. What an association was lost with comes last: it may be what ended it, and
    would end the next one too before the others had their turn. An object that is gone from the archive is not given
    but told to ``gone``. Leaving the block closes ``pages``.
    """

    at_hand: Final = True

    def __init__(
        self, pages: AsyncGenerator[Sequence[StoredObject | Gone], None], *, gone: Callable[[Gone], None]
    ) -> None:
        self._pages = pages
        self._gone = gone
        self._operations: deque[SubOperation] = deque()
        self._suspects: deque[SubOperation] = deque()
        self._turning: asyncio.Task[None] | None = None
        self._at_end = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._turning is not None:
            self._turning.cancel()
            await asyncio.wait({self._turning})
        await self._pages.aclose()

    async def next(self) -> SubOperation | None:
        """The next one; None at the end."""
        while not self._operations and not self._at_end:
            # Whoever waits for the page may be cancelled, and the others still want it.
            if self._turning is None or self._turning.done():
                self._turning = asyncio.create_task(self._turn_page())
            await asyncio.shield(self._turning)
        operations = self._operations or self._suspects
        return operations.popleft() if operations else None

    def give_back(self, operation: SubOperation) -> None:
        (self._suspects if operation.attempts else self._operations).appendleft(operation)

    async def _turn_page(self) -> None:
        page = await anext(self._pages, None)
        if page is None:
            self._at_end = True
            return
        for found in page:
            match found:
                case Gone():
                    self._gone(found)
                case stored:
                    self._operations.append(SubOperation(stored))
