"""The operations that the peer invokes on us over one association.

Theory of operation. Each is a task from its command on, while its data set may still be arriving; as many of them as
was agreed perform at once, in the order they came (PS3.7 D.3.3.3), the others wait. One that has begun runs to its end
even if the association does not last so long: what it does may be half done. It is told that nobody waits any more by
its cancellation, and by the failure of its data set if that has not arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pacslite.dimse.service import Request
from pacslite.errors import AssociationError
from pacslite.net.cancellation import Cancellation
from pacslite.net.incoming import IncomingDataSet


@dataclass(slots=True)
class _Operation:
    """One operation that has not had its final answer."""

    request: Request
    data_set: IncomingDataSet | None
    cancellation: Cancellation
    task: asyncio.Task[None] | None = None

    @property
    def awaits_peer(self) -> bool:
        return self.data_set is not None and not self.data_set.complete


class Performer:
    """``perform`` performs one; at most ``most`` begin before :attr:`is_full`; ``ended`` is called after each."""

    def __init__(self, perform: Callable[[Request], Awaitable[None]], *, most: int, ended: Callable[[], None]) -> None:
        self._perform = perform
        self._most = most
        self._ended = ended
        self._places = asyncio.Semaphore(1)
        self._operations: dict[int, _Operation] = {}

    def perform_at_once(self, count: int) -> None:
        """How many perform at once, before the first comes; 0 is as many as may wait."""
        self._places = asyncio.Semaphore(count or self._most)

    @property
    def busy(self) -> bool:
        return bool(self._operations)

    @property
    def is_full(self) -> bool:
        return len(self._operations) >= self._most

    @property
    def running(self) -> list[asyncio.Task[None]]:
        return [operation.task for operation in self._operations.values() if operation.task is not None]

    @property
    def is_inside_a_data_set(self) -> bool:
        return any(operation.awaits_peer for operation in self._operations.values())

    @property
    def awaits_only_peer(self) -> bool:
        """Whether none has anything to do before more of its data set comes; so it is when there is none."""
        return all(operation.awaits_peer for operation in self._operations.values())

    def start(self, request: Request, data_set: IncomingDataSet | None, cancellation: Cancellation) -> None:
        operation = _Operation(request, data_set, cancellation)
        key = request.command.message_id
        while key in self._operations:  # reused while outstanding: it still needs its own answer (0210)
            key += 0x10000
        self._operations[key] = operation
        operation.task = asyncio.create_task(self._run(key, operation))

    def is_reused(self, request: Request) -> bool:
        """Whether the Message ID of ``request`` belongs to an earlier operation still outstanding (PS3.7 9.1)."""
        operation = self._operations.get(request.command.message_id)
        return operation is not None and operation.request is not request

    def cancel(self, message_id: int) -> None:
        """A C-CANCEL came; for an operation that has had its final answer it is ignored (PS3.7 9.3.2.3)."""
        operation = self._operations.get(message_id)
        if operation is not None:
            operation.cancellation.request()

    def fail_data_sets(self, error: AssociationError) -> None:
        """What has not arrived will not come any more."""
        for operation in self._operations.values():
            if operation.data_set is not None:
                operation.data_set.fail(error)

    def abandon(self) -> None:
        """Nobody waits for answers any more; what lacks its data set learns it from that."""
        for operation in self._operations.values():
            if operation.task is not None and not operation.awaits_peer:
                operation.cancellation.request()

    async def _run(self, key: int, operation: _Operation) -> None:
        try:
            async with self._places:
                await self._perform(operation.request)
        finally:
            del self._operations[key]
            if operation.data_set is not None:
                operation.data_set.discard()
            self._ended()
