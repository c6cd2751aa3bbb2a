"""Figures for Prometheus, counted from facts. They are kept in a registry of their own, ready to be served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pacslite import facts
from pacslite.facts import Fact

OPERATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ASSOCIATION_BUCKETS_S = (0.01, 0.1, 1, 10, 60, 300, 1800, 7200)
COMMITMENT_BUCKETS_S = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 86400)
SIZE_BUCKETS_BYTES = (16e3, 64e3, 256e3, 1e6, 4e6, 16e6, 64e6, 256e6, 1e9, 4e9)


class Metrics:
    """Subscribes to facts. No label holds what a stranger may choose, such as the AE title of a caller: each makes a
    series. Destinations are named by the configuration."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._open = Gauge("pacslite_associations_open", "Associations open now.", registry=registry)
        self._accepted = Counter("pacslite_associations_accepted", "Associations accepted.", registry=registry)
        self._refused = Counter(
            "pacslite_associations_refused",
            "Associations refused, by the codes of A-ASSOCIATE-RJ.",
            ("result", "source", "reason"),
            registry=registry,
        )
        self._ended = Counter(
            "pacslite_associations_ended", "Associations ended: released, or otherwise.", ("how",), registry=registry
        )
        self._silent = Counter(
            "pacslite_connections_unassociated", "Connections that never became associations.", registry=registry
        )
        self._seconds = Histogram(
            "pacslite_association_seconds",
            "How long associations last.",
            buckets=ASSOCIATION_BUCKETS_S,
            registry=registry,
        )
        self._received = Counter("pacslite_received_bytes", "Bytes received on ended associations.", registry=registry)
        self._sent = Counter("pacslite_sent_bytes", "Bytes sent on ended associations.", registry=registry)
        self._operations = Counter(
            "pacslite_operations",
            "DIMSE operations answered, by final status.",
            ("command", "status"),
            registry=registry,
        )
        self._operation_seconds = Histogram(
            "pacslite_operation_seconds",
            "From the last fragment of a command to its final answer.",
            ("command",),
            buckets=OPERATION_BUCKETS_S,
            registry=registry,
        )
        self._queries = Counter(
            "pacslite_queries",
            "Queries that were run, by level and how they ended.",
            ("level", "outcome"),
            registry=registry,
        )
        self._query_answers = Counter(
            "pacslite_query_answers", "Answers to queries, by level.", ("level",), registry=registry
        )
        self._query_first_seconds = Histogram(
            "pacslite_query_first_seconds",
            "From a query's identifier to its first matches, or to its end if there are none.",
            ("level",),
            buckets=OPERATION_BUCKETS_S,
            registry=registry,
        )
        self._sub_operations = Counter(
            "pacslite_sub_operations",
            "Objects that were to be sent in retrievals, by what became of them.",
            ("command", "outcome"),
            registry=registry,
        )
        self._retrieved_bytes = Counter(
            "pacslite_retrieved_bytes",
            "Bytes of the objects sent, as they are stored.",
            ("command",),
            registry=registry,
        )
        self._unreadable = Counter(
            "pacslite_objects_unreadable", "Objects to be sent whose file could not be read.", registry=registry
        )
        self._forwards = Counter(
            "pacslite_forwards",
            "Objects that were to be forwarded, by destination and what became of the attempt.",
            ("destination", "outcome"),
            registry=registry,
        )
        self._forwarded_bytes = Counter(
            "pacslite_forwarded_bytes",
            "Bytes of the objects that destinations have taken, as they are stored.",
            ("destination",),
            registry=registry,
        )
        self._asked = Counter(
            "pacslite_commitment_asked",
            "Forwarded objects to which destinations were asked to commit.",
            ("destination",),
            registry=registry,
        )
        self._answered = Counter(
            "pacslite_commitment_answered",
            "Forwarded objects by what destinations told of them: committed, resent or refused for good.",
            ("destination", "outcome"),
            registry=registry,
        )
        self._instances = Counter(
            "pacslite_instances_stored", "Objects taken in, by what became of them.", ("outcome",), registry=registry
        )
        self._instance_bytes = Histogram(
            "pacslite_instance_bytes", "Sizes of objects taken in.", buckets=SIZE_BUCKETS_BYTES, registry=registry
        )
        self._commitments = Counter(
            "pacslite_commitment_requests",
            "Requests for storage commitment, by how far they have come.",
            ("stage",),
            registry=registry,
        )
        self._commitment_instances = Counter(
            "pacslite_commitment_instances",
            "Instances verified for storage commitment, by whether they could be committed.",
            ("outcome",),
            registry=registry,
        )
        self._commitment_seconds = Histogram(
            "pacslite_commitment_seconds",
            "From a request for storage commitment until it was verified, or its report taken.",
            ("stage",),
            buckets=COMMITMENT_BUCKETS_S,
            registry=registry,
        )
        self._deleted = Counter("pacslite_instances_deleted", "Objects deleted by this process.", registry=registry)
        self._deleted_bytes = Counter("pacslite_deleted_bytes", "Data set bytes of these.", registry=registry)
        self._above_bytes = Gauge(
            "pacslite_retention_above_bytes",
            "By how much all objects were above the high water mark after the last run of retention.",
            registry=registry,
        )
        self._retention_kept = Gauge(
            "pacslite_retention_kept_studies",
            "Studies that were due in the last run of retention and stay, by why.",
            ("why",),
            registry=registry,
        )
        self._jobs = Counter(
            "pacslite_jobs",
            "Work owed to others, by kind and outcome: done, failed (tried again), given up.",
            ("kind", "outcome"),
            registry=registry,
        )
        self._destination_failures = Counter(
            "pacslite_destination_failures",
            "How often a destination could not be reached, or was lost.",
            ("destination",),
            registry=registry,
        )
        self._defects = Counter(
            "pacslite_defects", "Failures that nobody expected; the log has them.", registry=registry
        )
        # labels() costs more than counting does; what is counted for every object or query is looked up here.
        self._by_operation: dict[tuple[str, int], Counter] = {}
        self._by_command: dict[str, Histogram] = {}
        self._by_query: dict[tuple[str, str], tuple[Counter, Counter, Histogram]] = {}
        self._by_outcome: dict[str, Counter] = {}
        self._count: dict[type[Fact], Callable[[Any], None]] = {
            facts.TaskFailed: self._task_failed,
            facts.AssociationAccepted: self._association_accepted,
            facts.AssociationRefused: self._association_refused,
            facts.AssociationEnded: self._association_ended,
            facts.OperationServed: self._operation_served,
            facts.QueryServed: self._query_served,
            facts.RetrievalServed: self._retrieval_served,
            facts.SubOperationFailed: self._sub_operation_failed,
            facts.ObjectsForwarded: self._objects_forwarded,
            facts.ForwardUnreadable: self._forward_unreadable,
            facts.CommitmentAsked: self._commitment_asked,
            facts.CommitmentAnswered: self._commitment_answered,
            facts.CommitmentRequested: self._commitment_requested,
            facts.CommitmentVerified: self._commitment_verified,
            facts.CommitmentReported: self._commitment_reported,
            facts.RoundEnded: self._round_ended,
            facts.JobGivenUp: self._job_given_up,
            facts.JobsGivenUp: self._jobs_given_up,
            facts.DestinationFailed: self._destination_failed,
            facts.InstanceStored: self._instance_stored,
            facts.ObjectsDeleted: self._objects_deleted,
            facts.RetentionEnded: self._retention_ended,
        }

    def __call__(self, fact: Fact) -> None:
        count = self._count.get(type(fact))
        if count is not None:
            count(fact)

    def gauge(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """Add a figure that is asked for when the metrics are read, such as the free space or dropped log lines."""
        Gauge(f"pacslite_{name}", documentation, registry=self.registry).set_function(value)

    def render(self) -> bytes:
        """All figures in the text format of Prometheus."""
        return generate_latest(self.registry)

    def _task_failed(self, fact: facts.TaskFailed) -> None:
        self._defects.inc()

    def _association_accepted(self, fact: facts.AssociationAccepted) -> None:
        self._accepted.inc()
        self._open.inc()

    def _association_refused(self, fact: facts.AssociationRefused) -> None:
        self._refused.labels(str(fact.result), str(fact.source), str(fact.reason)).inc()

    def _association_ended(self, fact: facts.AssociationEnded) -> None:
        if not fact.established:
            self._silent.inc()
            return
        self._open.dec()
        self._ended.labels(fact.how.partition(":")[0]).inc()
        self._seconds.observe(fact.seconds)
        self._received.inc(fact.bytes_received)
        self._sent.inc(fact.bytes_sent)

    def _operation_served(self, fact: facts.OperationServed) -> None:
        key = fact.command, fact.status
        counter = self._by_operation.get(key)
        if counter is None:
            counter = self._by_operation[key] = self._operations.labels(fact.command, f"{fact.status:04X}")
            self._by_command.setdefault(fact.command, self._operation_seconds.labels(fact.command))
        counter.inc()
        self._by_command[fact.command].observe(fact.seconds)

    def _query_served(self, fact: facts.QueryServed) -> None:
        key = fact.level, fact.outcome
        found = self._by_query.get(key)
        if found is None:
            found = self._by_query[key] = (
                self._queries.labels(*key),
                self._query_answers.labels(fact.level),
                self._query_first_seconds.labels(fact.level),
            )
        queries, answers, first_seconds = found
        queries.inc()
        answers.inc(fact.answers)
        first_seconds.observe(fact.first_s)

    def _retrieval_served(self, fact: facts.RetrievalServed) -> None:
        command = fact.command.removesuffix("-RQ")
        for outcome, count in (("completed", fact.completed), ("warning", fact.warning), ("failed", fact.failed)):
            self._sub_operations.labels(command, outcome).inc(count)
        self._retrieved_bytes.labels(command).inc(fact.bytes)

    def _objects_forwarded(self, fact: facts.ObjectsForwarded) -> None:
        for outcome, count in (("completed", fact.completed), ("warning", fact.warning), ("failed", fact.failed)):
            self._forwards.labels(fact.destination, outcome).inc(count)
        self._forwarded_bytes.labels(fact.destination).inc(fact.bytes)

    def _forward_unreadable(self, fact: facts.ForwardUnreadable) -> None:
        self._unreadable.inc()

    def _sub_operation_failed(self, fact: facts.SubOperationFailed) -> None:
        if fact.damaged:
            self._unreadable.inc()

    def _commitment_asked(self, fact: facts.CommitmentAsked) -> None:
        self._asked.labels(fact.destination).inc(fact.instances)

    def _commitment_answered(self, fact: facts.CommitmentAnswered) -> None:
        for outcome, count in (("committed", fact.committed), ("resent", fact.resent), ("refused", fact.refused)):
            self._answered.labels(fact.destination, outcome).inc(count)

    def _commitment_requested(self, fact: facts.CommitmentRequested) -> None:
        self._commitments.labels("received").inc()

    def _commitment_verified(self, fact: facts.CommitmentVerified) -> None:
        self._commitments.labels("verified").inc()
        self._commitment_seconds.labels("verified").observe(fact.seconds)
        self._commitment_instances.labels("committed").inc(fact.committed)
        self._commitment_instances.labels("failed").inc(fact.failed)

    def _commitment_reported(self, fact: facts.CommitmentReported) -> None:
        self._commitments.labels("reported").inc()
        self._commitment_seconds.labels("reported").observe(fact.seconds)

    def _round_ended(self, fact: facts.RoundEnded) -> None:
        self._jobs.labels(fact.kind, "done").inc(fact.done)
        self._jobs.labels(fact.kind, "failed").inc(fact.failed)

    def _job_given_up(self, fact: facts.JobGivenUp) -> None:
        self._jobs.labels(fact.kind, "given up").inc()

    def _jobs_given_up(self, fact: facts.JobsGivenUp) -> None:
        self._jobs.labels(fact.kind, "given up").inc(fact.jobs)

    def _destination_failed(self, fact: facts.DestinationFailed) -> None:
        self._destination_failures.labels(fact.destination).inc()

    def _instance_stored(self, fact: facts.InstanceStored) -> None:
        counter = self._by_outcome.get(fact.outcome)
        if counter is None:
            counter = self._by_outcome[fact.outcome] = self._instances.labels(fact.outcome)
        counter.inc()
        self._instance_bytes.observe(fact.size)

    def _objects_deleted(self, fact: facts.ObjectsDeleted) -> None:
        self._deleted.inc(fact.instances)
        self._deleted_bytes.inc(fact.bytes)

    def _retention_ended(self, fact: facts.RetentionEnded) -> None:
        if fact.error:
            return
        self._above_bytes.set(fact.above_bytes)
        self._retention_kept.clear()
        for why, count in fact.kept:
            self._retention_kept.labels(why).set(count)
