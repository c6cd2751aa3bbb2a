"""The shape of a service: one request in, an async stream of responses out.

A C-ECHO yields one response, a C-FIND a thousand, a C-MOVE reports its progress. Whoever serves raises
:class:`~pacslite.errors.DimseError` to fail; the dispatcher turns it into the failing response.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pacslite.dimse.command import CommandSet, Value
from pacslite.dimse.status import PENDINGS, SUCCESS
from pacslite.facts import Peer

OutgoingDataSet = bytes | memoryview | AsyncIterator[bytes | memoryview]
"""A data set to be sent, in its context's transfer syntax: whole, or in pieces of even length that are not empty. It is
not copied, so memory under a view must not change until it has been sent."""


class DataSet(Protocol):
    """The bytes of a data set that may still be arriving, in its context's transfer syntax."""

    def pieces(self) -> AsyncIterator[bytes | memoryview]:
        """The bytes as they arrive, once; raises :class:`AssociationError` if the association ends before they do."""

    async def read(self, limit: int) -> bytes:
        """All of it; raises :class:`OutOfResources` when it is longer than ``limit`` bytes."""


class Cancellation(Protocol):
    """Whether the requester has sent C-CANCEL for this operation (PS3.7 9.3.2.3)."""

    @property
    def requested(self) -> bool:
        """True once the C-CANCEL-RQ has arrived."""

    def when_requested(self, call: Callable[[], None] | None) -> None:
        """Have ``call`` called when it arrives, once; None is nobody again. It must not raise and must not wait."""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context (PS3.8 7.1.1.13), with the Related General SOP Classes named for it.

    ``scu`` and ``scp`` are the roles that this side may play on it (PS3.7 D.3.3.4). ``extended`` is the agreed service
    class application information of SOP Class Extended Negotiation, empty if there is none (PS3.7 D.3.3.5).
    """

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    related_general: tuple[str, ...] = ()
    scu: bool = False
    scp: bool = True
    extended: bytes = b""


class Invoker(Protocol):
    """The way to invoke operations on a peer: an association, whoever asked for it."""

    @property
    def contexts(self) -> Mapping[int, Context]:
        """The accepted presentation contexts by their ID."""

    @property
    def window(self) -> int:
        """How many operations of ours may be outstanding (PS3.7 D.3.3.3); 0 is no limit."""

    async def call(
        self,
        context_id: int,
        elements: Mapping[int, Value],
        data_set: OutgoingDataSet | None = None,
        *,
        answer_s: float = 60.0,
    ) -> CommandSet:
        """Invoke an operation that has one response and return that; a Message ID is supplied.

        Raises :class:`AssociationError` if the association ends first or nothing passes over it for ``answer_s``
        seconds. Calls beyond ``window`` wait for their turn.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One operation that a peer invoked. ``data_set`` is None when the command announced none.

    ``invoker`` invokes operations on that peer, over the association on which the request came.
    """

    peer: Peer
    context: Context
    command: CommandSet
    data_set: DataSet | None
    cancellation: Cancellation
    invoker: Invoker


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer; ``elements`` are command elements beyond those that every response has.

    ``sent`` is called once a final response has been handed to the connection; it must not raise and must not wait.
    """

    status: int = SUCCESS
    comment: str = ""
    offending: tuple[int, ...] = ()
    elements: Mapping[int, Value] = field(default_factory=dict)
    data_set: bytes | None = None
    sent: Callable[[], None] | None = None

    @property
    def is_final(self) -> bool:
        return self.status not in PENDINGS


class Service(Protocol):
    """The seam between the dispatcher and what PS3.4 defines."""

    def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        """Perform ``request``: any number of pending responses, then one final one."""
