"""Facts become figures."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import REGISTRY

from pacslite.facts import (
    AssociationAccepted,
    AssociationEnded,
    AssociationRefused,
    CommitmentReported,
    CommitmentRequested,
    CommitmentVerified,
    DestinationFailed,
    InstanceStored,
    JobGivenUp,
    JobsGivenUp,
    ListenerOpened,
    OperationServed,
    Peer,
    QueryServed,
    RoundEnded,
    TaskFailed,
)
from pacslite.observe.metrics import Metrics

PEER = Peer(association=1, address="10.1.2.3", port=1, calling_ae="CT1")


def value(metrics: Metrics, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    return metrics.registry.get_sample_value(name, dict(labels or {}))


def ended(*, established: bool = True, how: str = "released") -> AssociationEnded:
    return AssociationEnded(
        peer=PEER,
        how=how,
        established=established,
        seconds=2.0,
        operations=2,
        stored=1,
        failed=1,
        bytes_received=1000,
        bytes_sent=10,
    )


def test_associations_are_counted_in_and_out() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics(AssociationAccepted(peer=PEER, contexts=(), implementation="", async_window=1))
    metrics(AssociationRefused(peer=PEER, result=1, source=1, reason=3, why=""))
    metrics(ended())
    metrics(ended(how="aborted: whatever a peer did"))
    metrics(ended(established=False, how="silent"))
    assert value(metrics, "pacslite_associations_accepted_total") == 3
    assert value(metrics, "pacslite_associations_open") == 1
    assert value(metrics, "pacslite_associations_refused_total", {"result": "1", "source": "1", "reason": "3"}) == 1
    assert value(metrics, "pacslite_associations_ended_total", {"how": "released"}) == 1
    assert value(metrics, "pacslite_associations_ended_total", {"how": "aborted"}) == 1
    assert value(metrics, "pacslite_connections_unassociated_total") == 1
    assert value(metrics, "pacslite_received_bytes_total") == 2000
    assert value(metrics, "pacslite_association_seconds_count") == 2


def test_operations_are_counted_by_command_and_status() -> None:
    metrics = Metrics()
    for status in (0, 0, 0xA700):
        metrics(
            OperationServed(
                peer=PEER, command="C-STORE-RQ", status=status, comment="", sop_class="", sop_instance="", seconds=0.004
            )
        )
    assert value(metrics, "pacslite_operations_total", {"command": "C-STORE-RQ", "status": "0000"}) == 2
    assert value(metrics, "pacslite_operations_total", {"command": "C-STORE-RQ", "status": "A700"}) == 1
    assert value(metrics, "pacslite_operation_seconds_bucket", {"command": "C-STORE-RQ", "le": "0.005"}) == 3
    assert value(metrics, "pacslite_operation_seconds_bucket", {"command": "C-STORE-RQ", "le": "0.0025"}) == 0


def test_objects_are_counted_by_outcome_and_size() -> None:
    metrics = Metrics()
    for outcome in ("stored", "stored", "identical"):
        metrics(
            InstanceStored(
                sop_class="",
                sop_instance="",
                study="",
                series="",
                transfer_syntax="",
                source_ae="",
                outcome=outcome,
                size=500,
                seconds=0.1,
            )
        )
    assert value(metrics, "pacslite_instances_stored_total", {"outcome": "stored"}) == 2
    assert value(metrics, "pacslite_instances_stored_total", {"outcome": "identical"}) == 1
    assert value(metrics, "pacslite_instance_bytes_sum") == 1500


def test_queries_are_counted_by_level_and_outcome() -> None:
    metrics = Metrics()
    for level, outcome in (("STUDY", "complete"), ("STUDY", "cancelled"), ("IMAGE", "complete")):
        metrics(
            QueryServed(
                peer=PEER, model="", level=level, keys=(), answers=5, outcome=outcome, first_s=0.002, seconds=0.3
            )
        )
    assert value(metrics, "pacslite_queries_total", {"level": "STUDY", "outcome": "cancelled"}) == 1
    assert value(metrics, "pacslite_query_answers_total", {"level": "STUDY"}) == 10
    assert value(metrics, "pacslite_query_first_seconds_sum", {"level": "IMAGE"}) == 0.002


def test_storage_commitment_is_counted_by_stage_and_outcome() -> None:
    metrics = Metrics()
    metrics(CommitmentRequested(peer=PEER, request=1, transaction="1.2", instances=3))
    metrics(CommitmentVerified(requester="CT1", request=1, transaction="1.2", committed=2, failed=1, seconds=0.2))
    metrics(
        CommitmentReported(
            destination="CT1",
            request=1,
            transaction="1.2",
            committed=2,
            failed=1,
            over="new association",
            seconds=0.3,
        )
    )
    for stage in ("received", "verified", "reported"):
        assert value(metrics, "pacslite_commitment_requests_total", {"stage": stage}) == 1
    assert value(metrics, "pacslite_commitment_instances_total", {"outcome": "committed"}) == 2
    assert value(metrics, "pacslite_commitment_instances_total", {"outcome": "failed"}) == 1
    assert value(metrics, "pacslite_commitment_seconds_sum", {"stage": "reported"}) == 0.3


def test_what_is_owed_is_counted_by_kind_and_outcome() -> None:
    metrics = Metrics()
    metrics(
        RoundEnded(kind="forward", destination="A", rule="r", done=5, failed=2, given_back=1, seconds=1.0),
    )
    given_up = JobGivenUp(
        job=1, kind="forward", destination="A", rule="r", subject="1.2", attempts=9, reason="no", due_at=0.0
    )
    metrics(given_up)
    metrics(JobsGivenUp(kind="forward", destination="A", rule="r", jobs=10, reason="no"))
    metrics(DestinationFailed(destination="A", kind="forward", failures=1, retry_in_s=5.0, reason="no"))
    outcomes = {"done": 5, "failed": 2, "given up": 11}
    for outcome, count in outcomes.items():
        assert value(metrics, "pacslite_jobs_total", {"kind": "forward", "outcome": outcome}) == count
    assert value(metrics, "pacslite_destination_failures_total", {"destination": "A"}) == 1


def test_defects_are_counted_and_other_facts_are_none_of_its_business() -> None:
    metrics = Metrics()
    metrics(TaskFailed(where="", error="", trace=""))
    metrics(ListenerOpened(host="", port=1, tls=False))
    assert value(metrics, "pacslite_defects_total") == 1


def test_a_gauge_asks_when_it_is_read() -> None:
    metrics = Metrics()
    free = [1.0]
    metrics.gauge("free_bytes", "Free space.", lambda: free[0])
    free[0] = 2.0
    assert b"pacslite_free_bytes 2.0\n" in metrics.render()


def test_the_registry_is_its_own() -> None:
    first, second = Metrics(), Metrics()
    first(TaskFailed(where="", error="", trace=""))
    assert value(second, "pacslite_defects_total") == 0
    assert REGISTRY.get_sample_value("pacslite_defects_total") is None
