"""The cancellation of one operation that the peer invoked."""

from __future__ import annotations

from collections.abc import Callable


class Cancellation:
    """Requested by the C-CANCEL that names the operation, or by the end of its association."""

    __slots__ = ("_call", "requested")

    def __init__(self) -> None:
        self.requested = False
        self._call: Callable[[], None] | None = None

    def request(self) -> None:
        """The requester does not want to know any more; said again it changes nothing."""
        self.requested = True
        call, self._call = self._call, None
        if call is not None:
            call()

    def when_requested(self, call: Callable[[], None] | None) -> None:
        self._call = call
