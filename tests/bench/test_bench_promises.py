"""The workloads of forwarding and of storage commitment work, and what they tell adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench import committing, forwarding
from bench.requesters import Tools
from bench.run import Bench
from bench.senders import RawSender


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    reserve = ("--set=storage.min_free_bytes=0", "--set=storage.min_free_percent=0")
    return Bench(folder, RawSender.build(folder), Tools.build(folder), reserve)


def test_a_round_of_forwarding(bench: Bench) -> None:
    plan = replace(forwarding.Plan(), slices=20, quiet_s=1.0, after_s=0.5, slowest_per_s=4.0)
    found = forwarding.measured(bench, plan)
    assert min(found.received_alone, found.received_beside, found.forwarded_beside, found.moved) > 0
    header, _, *lines = forwarding.table([found])
    assert all(line.count("|") == header.count("|") for line in lines)


@pytest.mark.parametrize("digest", [False, True])
def test_a_request_for_commitment(bench: Bench, *, digest: bool) -> None:
    case = replace(committing.CASES[0], objects=30, digest=digest)
    data = committing.store(bench, case.shape, case.objects)
    found = [*committing.asking(bench, case, data, rounds=2)]
    assert all(0 < one.answered_s < one.reported_s for one in found)
    assert all((one.reading_s > 0) == digest for one in found)
    assert committing.line(case, found).startswith(f"| {case.words} |")
