"""The associations on which we ask for storage commitment, while results are expected on them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pacslite.dimse.service import Invoker, Request


class Conversation:
    """With one destination: which questions it has not answered yet, over whichever association."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self._expected: set[str] = set()
        self._complete = asyncio.Event()
        self._complete.set()

    def expect(self, transaction_uid: str) -> None:
        """Before it is asked: the answer may come before the question is confirmed."""
        self._expected.add(transaction_uid)
        self._complete.clear()

    def told(self, transaction_uid: str) -> None:
        """It is answered, and the destination knows that we have the answer."""
        self._expected.discard(transaction_uid)
        if not self._expected:
            self._complete.set()

    async def wait_complete(self) -> None:
        """Until everything is answered."""
        await self._complete.wait()


class Conversations:
    """All that are going on."""

    def __init__(self) -> None:
        self._open: dict[Invoker, Conversation] = {}

    @contextmanager
    def over(self, association: Invoker, destination: str) -> Iterator[Conversation]:
        """We have called ``destination``: what comes over the association comes from there."""
        conversation = self._open[association] = Conversation(destination)
        try:
            yield conversation
        finally:
            del self._open[association]

    def teller(self, request: Request) -> str:
        """The AE title of whoever makes the request, be the association ours or its own."""
        conversation = self._open.get(request.invoker)
        return request.peer.calling_ae if conversation is None else conversation.destination

    def told(self, transaction_uid: str) -> None:
        for conversation in self._open.values():
            conversation.told(transaction_uid)
