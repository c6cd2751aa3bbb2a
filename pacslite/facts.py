"""What can be observed. Each fact is told once, by the part that knows it; logs, metrics and audit subscribe.

Facts carry identifiers, counts and seconds; text that may identify a patient is never in them, except UIDs, which
the subscribers mask by setting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened."""


Observe = Callable[[Fact], None]
"""The seam: whoever tells facts calls this; it must not raise and must not wait."""


def ignore(fact: Fact) -> None:
    """An :data:`Observe` for those who do not want to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of an association, and which one it is (``association`` counts from 1 in a process)."""

    association: int
    address: str
    port: int
    calling_ae: str = ""
    called_ae: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAnswer:
    """One proposed presentation context and what became of it; ``result`` as in PS3.8 Table 9-18, 0 is accepted.

    ``lacks`` is the permission that the peer would need for it."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int
    lacks: str = ""


# --- The server ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerOpened(Fact):
    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownStarted(Fact):
    """The server stops taking associations and waits at most ``grace_s`` seconds for the open ones."""

    associations: int
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatesReloaded(Fact):
    listeners: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFailed(Fact):
    """A caller of a TLS listener was not let in, or went away, before DICOM began."""

    address: str
    port: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed(Fact):
    """A part of the server raised what nobody expected: a defect; ``trace`` is for the log only."""

    where: str
    error: str
    trace: str


# --- Associations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationAccepted(Fact):
    peer: Peer
    contexts: tuple[ContextAnswer, ...]
    implementation: str
    async_window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationRefused(Fact):
    """``result``, ``source`` and ``reason`` as in PS3.8 Table 9-21; ``advice`` tells the administrator what to do."""

    peer: Peer
    result: int
    source: int
    reason: int
    why: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationEnded(Fact):
    """``how``: released, rejected, aborted by peer, aborted: <why>, connection lost, or silent (never asked for)."""

    peer: Peer
    how: str
    established: bool
    seconds: float
    operations: int
    stored: int
    failed: int
    bytes_received: int
    bytes_sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationServed(Fact):
    """One DIMSE operation was answered for the last time. ``seconds`` run from its command to its final answer."""

    peer: Peer
    command: str
    status: int
    comment: str
    sop_class: str
    sop_instance: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryServed(Fact):
    """A query ended: complete, cancelled (by the requester, or because it went away), failed or broken off.

    ``keys`` are the keywords of what was matched, never a value. ``first_s`` is until the first matches were there.
    """

    peer: Peer
    model: str
    level: str
    keys: tuple[str, ...]
    answers: int
    outcome: str
    first_s: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalServed(Fact):
    """A C-MOVE or C-GET ended: complete, cancelled (by the requester, or because it went away) or broken off.

    ``destination`` is an AE title; ``bytes`` are those of the data sets that it took, as they are stored; ``converted``
    are those of them that were sent in another transfer syntax; ``reason`` tells why sub-operations failed.
    """

    peer: Peer
    command: str
    model: str
    level: str
    destination: str
    objects: int
    completed: int
    warning: int
    failed: int
    converted: int
    bytes: int
    outcome: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SubOperationFailed(Fact):
    """One object was not sent, or not taken; ``damaged`` says that the archive's own file is to blame."""

    peer: Peer
    destination: str
    sop_instance: str
    reason: str
    damaged: bool


# --- Forwarding ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsForwarded(Fact):
    """Objects were sent to a destination by a rule. Told when a round ends, and each minute while it lasts.

    ``outcome``: complete, going on, broken off (the server stops), or why the destination was given up for now.
    ``completed`` and those with a ``warning`` were taken; ``bytes`` are theirs, as they are stored. ``converted`` are
    those of them that were sent in another transfer syntax; ``reason`` tells why others failed.
    """

    destination: str
    rule: str
    completed: int
    warning: int
    failed: int
    converted: int
    bytes: int
    outcome: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardUnreadable(Fact):
    """An object could not be sent, because the archive's own file of it is damaged."""

    destination: str
    rule: str
    sop_instance: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardNotNeeded(Fact):
    """An object that was to be forwarded is not in the archive any more."""

    destination: str
    rule: str
    sop_instance: str


# --- Storage commitment ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRequested(Fact):
    """A peer asked for storage commitment, and its request is on stable storage; ``request`` is its number there."""

    peer: Peer
    request: int
    transaction: str
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentVerified(Fact):
    """The instances of a request have been looked after, and the requester is to be told."""

    requester: str
    request: int
    transaction: str
    committed: int
    failed: int
    seconds: float
    """Since the request was received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReported(Fact):
    """A requester has taken the result. ``over``: same association, or new association."""

    destination: str
    request: int
    transaction: str
    committed: int
    failed: int
    over: str
    seconds: float
    """Since the request was received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentAsked(Fact):
    """A destination has taken our question whether it commits to what it was sent by a rule."""

    destination: str
    rule: str
    transaction: str
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentOverdue(Fact):
    """A destination took our question and has told no result for too long. It is asked anew, or ``given_up``."""

    destination: str
    rule: str
    instances: int
    given_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentAnswered(Fact):
    """A destination has told a result; only what is new in it counts, so a repetition counts nothing.

    What it does not commit to is ``resent``, or ``refused`` for good.
    """

    peer: Peer
    destination: str
    transaction: str
    committed: int
    resent: int
    refused: int
    seconds: float
    """Since it was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRefused(Fact):
    """A destination does not commit to an object, and it is not sent again: ``resent`` says how often it was."""

    destination: str
    sop_instance: str
    failure_reason: int
    resent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentUnexpected(Fact):
    """A peer told a result that nobody waits for, or that it may not tell."""

    peer: Peer
    transaction: str
    why: str


# --- The outbox ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(Fact):
    """A job was not done, and is tried again at ``due_at``. ``subject`` may be a SOP Instance UID. ``with_others``: its
    destination failed, which :class:`DestinationFailed` tells for all of its jobs."""

    job: int
    kind: str
    destination: str
    rule: str
    subject: str
    attempts: int
    reason: str
    due_at: float
    with_others: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobGivenUp(Fact):
    """A job has failed for too long: it stays until somebody retries or cancels it."""

    job: int
    kind: str
    destination: str
    rule: str
    subject: str
    attempts: int
    reason: str
    due_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsGivenUp(Fact):
    """Several jobs of a lane were given up for the same reason, which may be that their destination is gone."""

    kind: str
    destination: str
    rule: str
    jobs: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFailed(Fact):
    """A destination could not be reached, or was lost; nothing more is begun there for ``retry_in_s`` seconds."""

    destination: str
    kind: str
    failures: int
    retry_in_s: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationRecovered(Fact):
    """A destination that failed has taken something, ``seconds`` after the first failure."""

    destination: str
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundEnded(Fact):
    """A lane of the outbox has had its turn."""

    kind: str
    destination: str
    rule: str
    done: int
    failed: int
    given_back: int
    seconds: float


# --- The archive -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStored(Fact):
    """``outcome``: stored, identical (it was there already), kept_aside (differs, first one stays) or replaced."""

    sop_class: str
    sop_instance: str
    study: str
    series: str
    transfer_syntax: str
    source_ae: str
    outcome: str
    size: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsDeleted(Fact):
    """A deletion ended: ``completed``, or broken off, or refused half-way.

    ``level`` is study, series or instance, and that UID is given; ``deleted_by`` a user of this machine, or retention;
    ``forced`` that protected objects were among them; ``forwards`` how many forwards were given up with them.
    """

    level: str
    study: str
    series: str
    sop_instance: str
    deleted_by: str
    forced: bool
    completed: bool
    instances: int
    conflicts: int
    bytes: int
    forwards: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionEnded(Fact):
    """Retention has looked through the archive: studies that went (or would have, if ``dry_run``), and how many stayed
    though their time had come, by why. ``above_bytes`` is by how much all is still above the high water mark."""

    dry_run: bool
    studies: int
    instances: int
    bytes: int
    kept: tuple[tuple[str, int], ...]
    above_bytes: int
    error: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReconciled(Fact):
    """Start-up after an unclean stop: in-flight files looked at, and what was done with them."""

    examined: int
    discarded: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexMigrated(Fact):
    from_revision: str
    to_revision: str
    backup: str
