"""What the archive owes and has promised, as tables: the outbox, deliveries, storage commitment, deletions.

None of it follows from the files, so a rebuild of the index leaves these tables as they are (``PROMISED``). They name
objects by SOP Instance UID, never by the number of a row that a rebuild may give to another object.
Times are seconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, Table, Text, text

from pacslite.archive.index.schema import metadata


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _time(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Float, nullable=nullable)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


job_holds = Table(
    "job_holds",
    metadata,
    _id(),
    # Forwards of a study that wait until it has been quiet: one row for a rule and a study.
    Column("rule", Text, nullable=False),
    Column("study_uid", Text, nullable=False),
    _time("until"),
    # Put off with each object of the study.
    Index("job_holds_by_study", "rule", "study_uid", unique=True),
    # Which ones are over.
    Index("job_holds_by_time", "until"),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    # AE title; empty for what is done here.
    _text("destination"),
    # Name of the forwarding rule; empty for what follows from no rule.
    _text("rule"),
    # What it is about: a SOP Instance UID, the id of a commitment request.
    Column("subject", Text, nullable=False),
    _text("study_uid"),
    # 0 high, 1 medium, 2 low: in the order in which they are taken.
    Column("priority", Integer, nullable=False, server_default="1"),
    # Times of day between which it may be done, such as 22:00-06:00; empty is always.
    _text("time_window"),
    # Whether the destination is to be asked to commit to it afterwards.
    Column("wants_commitment", Integer, nullable=False, server_default="0"),
    # waiting, running or dead; what is done or cancelled has no row any more.
    Column("state", Text, nullable=False),
    Column("hold", Integer, ForeignKey("job_holds.id")),
    _time("created_at"),
    _time("due_at"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # Since when it fails; None: it has not yet.
    _time("failing_since", nullable=True),
    _text("last_error"),
    # Whose it is while it runs, and until when: then it is anybody's.
    _text("lease"),
    _time("leased_until", nullable=True),
    # Owed once, however often it is caused; and what is still owed of an object before that is deleted.
    Index("jobs_by_subject", "subject", "destination", "kind", unique=True),
    # What is next in a lane.
    Index(
        "jobs_waiting",
        "destination",
        "kind",
        "rule",
        "priority",
        "due_at",
        sqlite_where=text("state = 'waiting' AND hold IS NULL"),
    ),
    # Leases that have run out.
    Index("jobs_running", "leased_until", sqlite_where=text("state = 'running'")),
    # A hold that is over lets its jobs go.
    Index("jobs_held", "hold", sqlite_where=text("hold IS NOT NULL")),
    # What is still owed of a study, before that is deleted.
    Index("jobs_of_study", "study_uid", sqlite_where=text("study_uid <> ''")),
    sqlite_autoincrement=True,  # people name jobs by number
)

commitments_asked = Table(
    "commitments_asked",
    metadata,
    _id(),
    # Storage commitment that we ask of others: one transaction each.
    Column("transaction_uid", Text, nullable=False, unique=True),
    Column("destination", Text, nullable=False),
    _time("asked_at"),
    # When the destination said that it has the question; until then it may not have come to it at all.
    _time("accepted_at", nullable=True),
    _time("answered_at", nullable=True),
    _count("committed"),
    _count("failed"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    # What a destination has taken, and whether it has committed to it.
    Column("sop_instance_uid", Text, nullable=False),
    Column("sop_class_uid", Text, nullable=False),
    Column("destination", Text, nullable=False),
    _text("rule"),
    _time("delivered_at"),
    Column("wants_commitment", Integer, nullable=False, server_default="0"),
    # The transaction in which its commitment was last asked for.
    Column("asked", Integer, ForeignKey("commitments_asked.id")),
    _time("committed_at", nullable=True),
    # Failure Reason of the last refusal, and how often it was sent again for one.
    Column("failure_reason", Integer),
    _count("resent"),
    Index("deliveries_by_object", "sop_instance_uid", "destination", unique=True),
    # What is to be asked for next.
    Index(
        "deliveries_uncommitted",
        "destination",
        "rule",
        "asked",
        sqlite_where=text("wants_commitment = 1 AND committed_at IS NULL"),
    ),
    # What an answer is about.
    Index("deliveries_by_transaction", "asked", sqlite_where=text("asked IS NOT NULL")),
)

commitment_requests = Table(
    "commitment_requests",
    metadata,
    _id(),
    # Storage commitment that others ask of us. A careless requester uses a Transaction UID again, so it is no key.
    Column("transaction_uid", Text, nullable=False),
    Column("calling_ae", Text, nullable=False),
    # The title under which we were asked, and under which we report.
    Column("called_ae", Text, nullable=False),
    _text("address"),
    _time("received_at"),
    _count("instances"),
    # received, verified or reported
    Column("state", Text, nullable=False),
    # The Transaction UID was in use for something else: every instance fails for that.
    Column("is_duplicate", Integer, nullable=False, server_default="0"),
    # The references, deflated: a line each, SOP Class UID, blank, SOP Instance UID. Empty once all are verified.
    Column("objects", LargeBinary, nullable=False),
    # Of them, to know a repetition by.
    Column("digest", LargeBinary, nullable=False),
    # How many are verified: there it goes on after a crash. Of these we are committed to so many, and to others not.
    _count("checked"),
    _count("committed"),
    _count("failed"),
    _time("verified_at", nullable=True),
    _time("reported_at", nullable=True),
    # same association, or new association
    _text("reported_over"),
    Index("commitment_requests_by_transaction", "transaction_uid", "calling_ae"),
)

commitment_items = Table(
    "commitment_items",
    metadata,
    _id(),
    Column("request", Integer, ForeignKey("commitment_requests.id"), nullable=False),
    # From 0, in the order of the request.
    Column("number", Integer, nullable=False),
    _text("sop_class_uid"),
    _text("sop_instance_uid"),
    # 0: we are committed to it; else the Failure Reason (0008,1197).
    Column("failure_reason", Integer, nullable=False),
    # The answer to a request, in its order; verifying again changes nothing.
    Index("commitment_items_by_request", "request", "number", unique=True),
    # The history of an object, and whether it is protected.
    Index("commitment_items_by_object", "sop_instance_uid"),
)

deletions = Table(
    "deletions",
    metadata,
    _id(),
    # What was asked for: study, series or instance, and its UID.
    Column("level", Text, nullable=False),
    Column("uid", Text, nullable=False),
    _text("study_uid"),
    # Who: a user of this machine, or a retention rule; and whether protection was overridden.
    Column("deleted_by", Text, nullable=False),
    Column("forced", Integer, nullable=False, server_default="0"),
    _time("began_at"),
    # None: it was broken off; what is counted is gone all the same.
    _time("ended_at", nullable=True),
    _count("instances"),
    _count("bytes"),
    Index("deletions_by_uid", "uid"),
)

PROMISED = (job_holds, jobs, commitments_asked, deliveries, commitment_requests, commitment_items, deletions)
