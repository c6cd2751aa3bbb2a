"""The workloads of retrievals: a CT series of 500 slices, by C-MOVE to the sink or by C-GET."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from bench import corpus, measure
from bench.corpus import Shape
from bench.peers import Does, Peer, Server, running
from bench.requesters import Retrieved, Sink
from bench.run import Bench, Run, others_share
from bench.senders import SendError

_RUN: Final = 417  # of the raw sender: makes its UIDs, and with them the keys of the retrieval
_STUDY: Final = f"2.25.1{_RUN:08d}1{0:04d}{0:04d}{0:09d}"
_SERIES: Final = f"2.25.1{_RUN:08d}2{0:04d}{0:04d}{0:09d}"
_KEYS: Final = ("--level", "SERIES", "--key", f"0020000D={_STUDY}", "--key", f"0020000E={_SERIES}")
_STORING_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveWorkload:
    name: str
    title: str
    how: Literal["move", "get"]
    window: int = 1  # operations at once that the receiver offers; a server that cannot goes on one by one
    slices: int = 500
    shape: Shape = corpus.CT
    seconds: float = 3.0  # for one run, about: the retrieval that is under way then is the last
    rounds: int = 3
    quick: bool = False

    @property
    def needs(self) -> Does:
        return Does.RETRIEVE

    def hurried(self) -> RetrieveWorkload:
        return replace(self, seconds=1.0, rounds=1)

    def run(self, bench: Bench, peer: Peer, nothing: Run) -> Run:
        """Starts the peer on the series that was sent to it once, has it retrieved once unmeasured, measures."""
        data = self._stored(bench, peer)
        with ExitStack() as stack:
            sink = stack.enter_context(bench.tools.sink(window=self.window)) if self.how == "move" else None
            server = stack.enter_context(
                running(
                    peer,
                    bench.fresh_folder(peer.name),
                    answers=bench.sender.echo,
                    extra=bench.extra(peer),
                    data=data,
                    destination=sink.port if sink else None,
                )
            )
            warm = self._retrieve(bench, server, seconds=0.0)
            run, measured = self._measure(bench, server, sink, nothing)
        if sink and (sink.problem or sink.objects != warm.objects + measured.objects):
            raise SendError(sink.problem or f"{warm.objects + measured.objects} sent, the sink got {sink.objects}")
        return run

    def _measure(self, bench: Bench, server: Server, sink: Sink | None, nothing: Run) -> tuple[Run, Retrieved]:
        sink_before = sink.cpu_s if sink else 0.0
        with measure.watch(server.pid) as usage:
            retrieved = self._retrieve(bench, server, seconds=self.seconds)
        requester_cpu_s = retrieved.cpu_s + (sink.cpu_s - sink_before if sink else 0.0)
        run = replace(
            nothing,
            requests=retrieved.retrievals,
            objects=retrieved.objects,
            object_bytes=retrieved.objects * corpus.template(self.shape).size,
            elapsed_s=retrieved.elapsed_s,
            # Of a C-MOVE the requester sees only reports, which a server sends when it likes.
            first_p50_ms=measure.percentile(retrieved.first_s, 50) * 1e3 if sink is None else 0.0,
            p50_ms=measure.percentile(retrieved.final_s, 50) * 1e3,
            p99_ms=measure.percentile(retrieved.final_s, 99) * 1e3,
            server_cpu_s=usage.cpu_s,
            server_peak_bytes=usage.peak_bytes,
            sender_cpu_s=requester_cpu_s,
            others_cpu_share=others_share(usage, sender_cpu_s=requester_cpu_s, elapsed_s=retrieved.elapsed_s),
        )
        return run, retrieved

    def _retrieve(self, bench: Bench, server: Server, *, seconds: float) -> Retrieved:
        """At least once, and again until the time is over; every time has to bring all slices."""
        values = bench.folder / "values" / f"slices-{self.slices}"
        values.parent.mkdir(parents=True, exist_ok=True)
        values.write_text(f"{self.slices}\n")
        return bench.tools.get(
            server,
            [*_KEYS, "--values", str(values)],
            retrievals=1 if not seconds else 1000,
            seconds=seconds or 1e6,
            window=self.window,
            move=self.how == "move",
        )

    def _stored(self, bench: Bench, peer: Peer) -> Path:
        """The peer's data folder with the series in it, sent once."""
        if peer.name not in bench.stored:
            folder = bench.fresh_folder(f"{peer.name}-series")
            data = folder / "peer"
            with running(
                peer, folder / "storing", answers=bench.sender.echo, extra=bench.extra(peer), data=data
            ) as server:
                bench.sender.send(
                    server,
                    self.shape,
                    associations=1,
                    objects=self.slices,
                    seconds=_STORING_S,
                    run=_RUN,
                    per_series=self.slices,
                )
            bench.stored[peer.name] = data
        return bench.stored[peer.name]


RETRIEVING: Final = (
    RetrieveWorkload(
        name="move-ct", title="C-MOVE of 500 CT slices of 512 KB, one association, one by one", how="move", quick=True
    ),
    RetrieveWorkload(
        name="move-ct-window8",
        title="C-MOVE of 500 CT slices of 512 KB, one association, up to 8 at once where the server can",
        how="move",
        window=8,
    ),
    RetrieveWorkload(name="get-ct", title="C-GET of 500 CT slices of 512 KB, one by one", how="get", quick=True),
    RetrieveWorkload(
        name="get-ct-window8",
        title="C-GET of 500 CT slices of 512 KB, up to 8 at once where the server can",
        how="get",
        window=8,
    ),
)
