"""What a service is given besides the command, without a network: a data set, a cancellation, an invoker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

from pacslite.dimse.command import CommandSet, Value
from pacslite.dimse.service import Context, OutgoingDataSet
from pacslite.errors import ConnectionLost, OutOfResources


class Bytes:
    """A data set that is there already: the seam's implementation for tests."""

    def __init__(self, data: bytes, *, piece: int = 1000) -> None:
        self._data = data
        self._piece = piece

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(self._data), self._piece):
            yield self._data[at : at + self._piece]

    async def read(self, limit: int) -> bytes:
        if len(self._data) > limit:
            raise OutOfResources(f"data set longer than {limit} bytes")
        return self._data


class Never:
    """Nobody cancels."""

    requested = False

    def when_requested(self, call: Callable[[], None] | None) -> None:
        """There is nothing to wait for."""


class Nobody:
    """A peer that performs nothing."""

    window = 1

    def __init__(self) -> None:
        self.contexts: Mapping[int, Context] = {}

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        raise ConnectionLost("there is nobody")
