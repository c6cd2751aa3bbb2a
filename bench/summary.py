"""From single runs to what is reported: medians over the rounds, ratios to pacslite, and the aims."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.measure import median
from bench.peers import PACSLITE
from bench.run import DISK, Run
from bench.storing import STORING

AIMED_PEAK_BYTES: Final = 120e6
AIMED_CPU_MS: Final = 1.2
_STORAGE: Final = frozenset(workload.name for workload in STORING)
BOTH_SIZES: Final = ("1e4", "1e6")
AIMED_P50_MS: Final = (
    ("StudyInstanceUID", "study-uid", BOTH_SIZES, 0.6),
    ("PatientID", "patient-id", BOTH_SIZES, 0.6),
    ("PatientName SM*", "name-prefix", ("1e6",), 20.0),
    ("date range and modality", "date-modality", ("1e6",), 10.0),
    ("the series of a study", "series", BOTH_SIZES, 1.0),
    ("the images of a series", "images", BOTH_SIZES, 5.0),
)
AIMED_ANSWERS_PER_S: Final = (
    ("all studies, 4 keys", "all-lean", 20_000.0),
    ("all studies, 14 keys", "all-14", 20_000.0),
    ("image level", "long-series", 10_000.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One peer in one workload: medians over its rounds; the peak is the highest one."""

    workload: str
    peer: str
    rounds: int
    problem: str
    requests: int  # queries or retrievals in all rounds
    objects: int  # in all rounds
    objects_per_s: float
    megabytes_per_s: float
    first_p50_ms: float
    p50_ms: float
    p99_ms: float
    bytes_per_object: float
    cpu_ms_per_object: float
    peak_bytes: int
    others_cpu_share: float  # in the noisiest round
    ratio: float | None  # pacslite's objects/s over this one's


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """`measured` is compared with `aimed`; None where a peer or a workload is missing."""

    text: str
    aimed: float
    measured: float | None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.aimed if self.at_most else self.measured >= self.aimed


def summarise(runs: Sequence[Run]) -> list[Line]:
    """Lines in the order in which workloads and peers first ran."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.workload, run.peer), []).append(run)
    rates = {key: median([run.objects_per_s for run in group if not run.problem]) for key, group in groups.items()}
    order = {name: place for place, name in enumerate(dict.fromkeys(run.peer for run in runs))}
    lines = [
        _line(workload, peer, group, ours=rates.get((workload, PACSLITE.name), 0.0))
        for (workload, peer), group in groups.items()
    ]
    workloads = list(dict.fromkeys(run.workload for run in runs))
    return sorted(lines, key=lambda line: (workloads.index(line.workload), order[line.peer]))


def _line(workload: str, peer: str, group: Sequence[Run], *, ours: float) -> Line:
    good = [run for run in group if not run.problem]
    rate = median([run.objects_per_s for run in good])
    return Line(
        workload=workload,
        peer=peer,
        rounds=len(good),
        problem="; ".join(dict.fromkeys(run.problem for run in group if run.problem)),
        requests=sum(run.requests for run in good),
        objects=sum(run.objects for run in good),
        objects_per_s=rate,
        megabytes_per_s=median([run.megabytes_per_s for run in good]),
        first_p50_ms=median([run.first_p50_ms for run in good]),
        p50_ms=median([run.p50_ms for run in good]),
        p99_ms=median([run.p99_ms for run in good]),
        bytes_per_object=median([run.object_bytes / run.objects for run in good if run.objects]),
        cpu_ms_per_object=median([run.cpu_ms_per_object for run in good]),
        peak_bytes=max((run.server_peak_bytes for run in good), default=0),
        others_cpu_share=max((run.others_cpu_share for run in good), default=0.0),
        ratio=ours / rate if rate and ours else None,
    )


def aims(lines: Sequence[Line]) -> list[Aim]:
    """What the project set out to reach, against what was measured; nothing where pacslite was not measured."""
    if all(line.peer != PACSLITE.name for line in lines):
        return []
    return list(_aims({(line.workload, line.peer): line for line in lines if line.rounds}))


def _aims(lines: dict[tuple[str, str], Line]) -> Iterator[Aim]:
    def ratio(workload: str, peer: str) -> float | None:
        line = lines.get((workload, peer))
        return line.ratio if line else None

    yield from _aims_of_storage(lines, ratio)
    yield from _aims_of_queries(lines)
    for how in ("move", "get"):
        yield Aim(
            text=f"C-{how.upper()} of 512 KB objects, one association: times dcmqrscp",
            aimed=1,
            measured=ratio(f"{how}-ct", "dcmqrscp"),
        )
    peaks = [line.peak_bytes for (_, peer), line in lines.items() if peer == PACSLITE.name]
    yield Aim(
        text="peak memory in every workload, MB",
        aimed=AIMED_PEAK_BYTES / 1e6,
        measured=max(peaks) / 1e6 if peaks else None,
        at_most=True,
    )


def _aims_of_queries(lines: dict[tuple[str, str], Line]) -> Iterator[Aim]:
    for words, question, sizes, aimed in AIMED_P50_MS:
        for size in sizes:
            ours = lines.get((f"find-{question}-{size}", PACSLITE.name))
            yield Aim(
                text=f"C-FIND, {words}, {size} instances: p50 ms",
                aimed=aimed,
                measured=ours.p50_ms if ours else None,
                at_most=True,
            )
    for words, question, aimed in AIMED_ANSWERS_PER_S:
        for size in BOTH_SIZES:
            ours = lines.get((f"find-{question}-{size}", PACSLITE.name))
            yield Aim(
                text=f"C-FIND, {words}, {size} instances: answers/s",
                aimed=aimed,
                measured=ours.objects_per_s if ours else None,
            )


def _aims_of_storage(lines: dict[tuple[str, str], Line], ratio: Callable[[str, str], float | None]) -> Iterator[Aim]:
    storing = dict.fromkeys(
        peer for workload, peer in lines if workload in _STORAGE and peer not in (PACSLITE.name, DISK)
    )
    for peer in storing:
        yield Aim(
            text=f"unmodified storescu, small objects: times {peer}",
            aimed=15,
            measured=ratio("storescu-small", peer),
        )
    for associations, aimed in ((1, 3.0), (4, 2.5)):
        name, words = f"raw-512k-{associations}", f"512 KB, {associations} association{'s' if associations > 1 else ''}"
        yield Aim(text=f"{words}: times orthanc", aimed=aimed, measured=ratio(name, "orthanc"))
        yield Aim(text=f"{words}: share of the disk's own rate", aimed=0.5, measured=ratio(name, DISK))
        yield Aim(
            text=f"{words}: times storescp, which makes nothing durable", aimed=1, measured=ratio(name, "storescp")
        )
        ours = lines.get((name, PACSLITE.name))
        cpu = ours.cpu_ms_per_object if ours else None
        yield Aim(text=f"{words}: server CPU ms per object", aimed=AIMED_CPU_MS, measured=cpu, at_most=True)
    yield Aim(text="16 KB, 4 associations: times orthanc", aimed=2, measured=ratio("raw-16k-4", "orthanc"))
    yield Aim(text="one object of 1.0 GB: times orthanc", aimed=3, measured=ratio("raw-1g", "orthanc"))
