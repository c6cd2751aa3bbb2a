"""The workloads of queries: one question about one synthetic archive, asked again and again with other values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bench import measure
from bench.archives import prepared
from bench.peers import Does, Peer, Server, running
from bench.questions import QUESTIONS, Question
from bench.run import Bench, Run, others_share
from bench.senders import SendError

_WARM_UP_QUERIES: Final = 50
_WARM_UP_S: Final = 1.0
_MOST_QUERIES: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class FindWorkload:
    name: str
    title: str
    question: str
    instances: int
    seconds: float = 2.0  # for one run, about: the query that is being answered then is the last
    rounds: int = 3
    quick: bool = False

    @property
    def needs(self) -> Does:
        return Does.FIND

    def hurried(self) -> FindWorkload:
        return replace(self, seconds=0.5, rounds=1)

    def run(self, bench: Bench, peer: Peer, nothing: Run) -> Run:
        """Starts the peer on the archive made for it, warms it up with other queries, measures."""
        data = prepared(peer, self.instances, bench.folder, bench.sender)
        with running(
            peer, bench.fresh_folder(peer.name), answers=bench.sender.echo, extra=bench.extra(peer), data=data
        ) as server:
            return self._measure(bench, server, nothing)

    def _measure(self, bench: Bench, server: Server, nothing: Run) -> Run:
        question, values = QUESTIONS[self.question], bench.folder / "values"
        warm = QUESTIONS["study-uid"]
        if not question.all_matching:
            warm = question  # with values from the end of the list, of which a run mostly asks the beginning
        bench.tools.find(
            server,
            warm.options(),
            values=warm.write_values(values, self.instances),
            queries=_WARM_UP_QUERIES,
            seconds=_WARM_UP_S,
            first=max(0, len(warm.lines(self.instances)) - _WARM_UP_QUERIES),
        )
        written = question.write_values(values, self.instances)
        with measure.watch(server.pid) as usage:
            found = bench.tools.find(
                server, question.options(), values=written, queries=_MOST_QUERIES, seconds=self.seconds
            )
        if found.wrong:
            raise SendError(f"{found.wrong} of {found.queries} queries: other answers than there are matches")
        return replace(
            nothing,
            requests=found.queries,
            objects=found.answers,
            object_bytes=found.answer_bytes,
            elapsed_s=found.elapsed_s,
            first_p50_ms=measure.percentile(found.first_s, 50) * 1e3,
            p50_ms=measure.percentile(found.final_s, 50) * 1e3,
            p99_ms=measure.percentile(found.final_s, 99) * 1e3,
            server_cpu_s=usage.cpu_s,
            server_peak_bytes=usage.peak_bytes,
            sender_cpu_s=found.cpu_s,
            others_cpu_share=others_share(usage, sender_cpu_s=found.cpu_s, elapsed_s=found.elapsed_s),
        )


def _workload(question: Question, instances: int, suffix: str) -> FindWorkload:
    return FindWorkload(
        name=f"find-{question.name}-{suffix}",
        title=f"C-FIND, {question.title}, {instances:,} instances",
        question=question.name,
        instances=instances,
        rounds=3 if instances <= 10_000 else 2,
        quick=suffix == "1e4" and question.name in ("study-uid", "name-prefix", "all-14"),
    )


ASKING: Final = tuple(
    _workload(question, instances, suffix)
    for instances, suffix in ((10_000, "1e4"), (1_000_000, "1e6"))
    for question in QUESTIONS.values()
)
