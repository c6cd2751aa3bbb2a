"""All workloads, and how one of them is run against one peer."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bench.asking import ASKING, FindWorkload
from bench.peers import Peer, StartError
from bench.retrieving import RETRIEVING, RetrieveWorkload
from bench.run import Bench, Run
from bench.senders import SendError
from bench.storing import STORING, StoreWorkload

Workload = StoreWorkload | FindWorkload | RetrieveWorkload

WORKLOADS: Final[tuple[Workload, ...]] = (*STORING, *ASKING, *RETRIEVING)


def run(bench: Bench, workload: Workload, peer: Peer, round_number: int) -> Run:
    """One measurement; what a peer cannot or does wrong is the run's problem."""
    nothing = Run(workload=workload.name, peer=peer.name, round=round_number)
    if not peer.installed:
        return replace(nothing, problem="not installed")
    try:
        return workload.run(bench, peer, nothing)
    except (StartError, SendError) as error:
        return replace(nothing, problem=str(error))
