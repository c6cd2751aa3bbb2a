"""What an :class:`~pacslite.ul.connection.UpperLayer` tells its user: the indications and confirmations of PS3.8 7."""

from __future__ import annotations

from dataclasses import dataclass

from pacslite.ul.pdu import AssociateAC, AssociateRJ, AssociateRQ


@dataclass(frozen=True, slots=True)
class AssociationRequested:
    """A-ASSOCIATE indication: answer with ``accept`` or ``reject``."""

    rq: AssociateRQ


@dataclass(frozen=True, slots=True)
class AssociationAccepted:
    """A-ASSOCIATE confirmation, accepted."""

    ac: AssociateAC


@dataclass(frozen=True, slots=True)
class AssociationRejected:
    """A-ASSOCIATE confirmation, rejected; the connection is to be closed."""

    rj: AssociateRJ


@dataclass(frozen=True, slots=True)
class DataFragment:
    """P-DATA indication: some bytes of a PDV, as they arrived; ``data`` is a view into what ``receive_data`` was given.

    A PDV may come in several of these. ``last`` is set on the one that ends the command set or data set, which is
    empty if the PDV had nothing left or nothing at all in it.
    """

    context_id: int
    command: bool
    last: bool
    data: memoryview


@dataclass(frozen=True, slots=True)
class ReleaseRequested:
    """A-RELEASE indication: answer with ``answer_release`` when nothing is left to send, in a collision too."""


@dataclass(frozen=True, slots=True)
class ReleaseConfirmed:
    """A-RELEASE confirmation."""


@dataclass(frozen=True, slots=True)
class Aborted:
    """The association, or the attempt at one, ended with an A-ABORT.

    By the peer: A-ABORT or A-P-ABORT indication, ``source`` and ``reason`` are the peer's. By us: the peer broke the
    protocol and ``message`` says how. An abort asked for by the local user is not told back to it.
    """

    source: int
    reason: int
    message: str
    by_peer: bool


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """A-P-ABORT indication: the transport closed under an association, or an attempt at one (UL-26)."""


UpperLayerEvent = (
    AssociationRequested
    | AssociationAccepted
    | AssociationRejected
    | DataFragment
    | ReleaseRequested
    | ReleaseConfirmed
    | Aborted
    | ConnectionClosed
)
