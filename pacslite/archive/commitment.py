"""Storage commitment that others ask of us, as values: what they named, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple


class Reference(NamedTuple):
    """An object as storage commitment names it; what the requester left out is empty."""

    sop_class_uid: str
    sop_instance_uid: str


class RequestState(StrEnum):
    RECEIVED = "received"
    """It is on stable storage and being verified."""
    VERIFIED = "verified"
    """The requester is to be told the result."""
    REPORTED = "reported"
    """The requester has taken it."""


class FailureReason(IntEnum):
    """Failure Reason (0008,1197) (PS3.3 C.14.1.1), as far as we give them. Zero is ours: there is none."""

    NONE = 0
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSummary:
    """A request for storage commitment as it stands. Times are seconds since 1970-01-01 UTC."""

    id: int
    transaction_uid: str
    calling_ae: str
    called_ae: str
    address: str
    received_at: float
    instances: int
    state: RequestState
    is_duplicate: bool
    """The Transaction UID was in use for something else."""
    checked: int
    """How many instances are verified; of these ``committed`` and ``failed``."""
    committed: int
    failed: int
    verified_at: float | None
    reported_at: float | None
    """When the requester took a result last; the request may have been repeated since."""
    reported_over: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a request, complete: all that a report needs."""

    request: RequestSummary
    committed: Sequence[Reference]
    failed: Sequence[tuple[Reference, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What became of one object in one request. With ``failure_reason`` 0 we are committed to it."""

    request: RequestSummary
    number: int
    """From 0, in the order of the request."""
    reference: Reference
    failure_reason: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySummary:
    """What a destination has taken of ours, and whether it is committed to it."""

    destination: str
    rule: str
    delivered_at: float
    wants_commitment: bool
    transaction_uid: str
    """In which its commitment was last asked for; empty if it was not."""
    asked_at: float | None
    committed_at: float | None
    failure_reason: int | None
    """Of the last refusal."""
    resent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSummary:
    """A transaction in which we asked a destination to commit to what it has taken."""

    transaction_uid: str
    destination: str
    asked_at: float
    accepted_at: float | None
    """When it said that it has the question."""
    answered_at: float | None
    committed: int
    failed: int
