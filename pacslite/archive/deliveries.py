"""What destinations have taken, and whether they have committed to it."""

from __future__ import annotations

from pacslite.archive.index import delivery_rows
from pacslite.archive.index.writer import IndexWriter
from pacslite.archive.job import Job
from pacslite.archive.jobs import Change
from pacslite.archive.model import StoredObject


def record(job: Job, stored: StoredObject, *, now: float, ask_after_s: float) -> Change:
    """The destination of ``job`` has taken the object: for the settlement of the job.

    If the job wants commitment, the destination is asked for it once nothing more has been delivered to it by the same
    rule for ``ask_after_s`` seconds, or ten times as long after the first.
    """

    def change(writer: IndexWriter) -> None:
        delivery_rows.deliver(
            writer,
            job.lane,
            sop_class_uid=stored.sop_class_uid,
            sop_instance_uid=stored.sop_instance_uid,
            wants_commitment=job.wants_commitment,
            now=now,
            ask_after_s=ask_after_s,
        )

    return change
