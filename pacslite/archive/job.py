"""Work that is owed to others, as values: what is put into the outbox, and what is taken out of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class JobKind(StrEnum):
    """What is to be done. Doing it twice must be harmless: after a crash nobody knows whether it was done."""

    FORWARD = "forward"
    """Send an object; the subject is its SOP Instance UID."""
    VERIFY = "verify"
    """Look after the objects of a storage commitment request; the subject is its id, the destination empty."""
    REPORT = "report"
    """Tell the requester its result (N-EVENT-REPORT); the subject is the request's id."""
    ASK = "ask"
    """Ask the destination to commit to what it has taken (N-ACTION); the subject is the rule."""


class JobState(StrEnum):
    """What is done, or was cancelled, is in the outbox no more."""

    WAITING = "waiting"
    RUNNING = "running"
    DEAD = "dead"
    """Given up: it stays until somebody retries or cancels it."""


class JobStanding(StrEnum):
    """How a job stands, for people: what is held until its study is quiet does not wait for its turn."""

    WAITING = "waiting"
    HELD = "held"
    RUNNING = "running"
    DEAD = "dead"


class Priority(IntEnum):
    """In the order in which jobs are taken."""

    HIGH = 0
    MEDIUM = 1
    LOW = 2


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """Jobs that are done one after another, without regard to those of other lanes."""

    destination: str
    kind: JobKind
    rule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """Work to be owed. The same subject, kind and destination is the same job: it is made new, and done (again).

    With ``quiet_s`` it is held back until its rule has had nothing new of the study for that many seconds; it is due
    ``delay_s`` seconds from now, else at once.
    """

    lane: Lane
    subject: str
    study_uid: str = ""
    priority: Priority = Priority.MEDIUM
    time_window: str = ""
    wants_commitment: bool = False
    quiet_s: float = 0.0
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands in the outbox. Times are seconds since 1970-01-01 UTC."""

    id: int
    lane: Lane
    subject: str
    study_uid: str
    priority: Priority
    time_window: str
    wants_commitment: bool
    state: JobState
    created_at: float
    due_at: float
    attempts: int
    last_error: str
    lease: str
    """Empty, or the token of who has it; it is settled by nobody else."""
    failing_since: float | None = None
    """Of its first failure; None if it has not failed yet."""
    held_until: float | None = None
    """Held back until its study is quiet: until then, if nothing more comes."""

    @property
    def standing(self) -> JobStanding:
        return JobStanding.HELD if self.held_until is not None else JobStanding(self.state.value)
