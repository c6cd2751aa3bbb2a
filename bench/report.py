"""What is told about a session of benchmarks: tables on the terminal, the same as Markdown, and everything as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table as RichTable

from bench.durability import Durability
from bench.peers import Does, Peer
from bench.run import Run
from bench.summary import Aim, Line, aims, summarise
from bench.workloads import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    started: datetime
    quick: bool
    machine: dict[str, str]
    peers: Sequence[Peer]
    workloads: Sequence[Workload]
    runs: Sequence[Run]
    durability: dict[str, Durability | str]  # or why it was not observed


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def machine(folder: Path) -> dict[str, str]:
    """What the figures depend on."""
    cpus = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "")
    return {
        "processors": f"{os.cpu_count()} x {cpus[0].partition(':')[2].strip() if cpus else 'unknown'}",
        "memory": memory.partition(":")[2].strip(),
        "kernel": platform.release(),
        "file system": _file_system(folder),
        "python": platform.python_version(),
        "load before": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }


def tables(session: Session) -> Iterator[Table]:
    lines = summarise(session.runs)
    yield _peers_table(session)
    for workload in session.workloads:
        chosen = [line for line in lines if line.workload == workload.name]
        if chosen:
            yield _workload_table(workload, chosen)
    if reached := aims(lines):
        yield _aims_table(reached)


def show(session: Session, console: Console) -> None:
    for name, value in session.machine.items():
        console.print(f"{name}: {value}", highlight=False)
    for table in tables(session):
        shown = RichTable(title=table.title, title_justify="left", title_style="bold")
        for number, name in enumerate(table.header):
            is_text = number == 0 or table.header[0] in ("server", "aim")
            shown.add_column(name, justify="left" if is_text else "right", overflow="fold")
        for row in table.rows:
            shown.add_row(*row)
        console.print()
        console.print(shown)


def save(session: Session, folder: Path) -> Path:
    """Writes `<time>.json` and `<time>.md`; returns the first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{session.started:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(_as_json(session), indent=1) + "\n")
    path.with_suffix(".md").write_text(_as_markdown(session))
    return path


def _peers_table(session: Session) -> Table:
    rows = []
    for peer in session.peers:
        observed = session.durability.get(peer.name, "not observed")
        seen = observed if isinstance(observed, str) else observed.describe()
        rows.append((peer.name, peer.describe_version(), peer.configuration, peer.durable, seen))
    header = ("server", "version", "configuration", "makes durable before it answers", "observed")
    return Table("Servers", header, rows)


def _workload_table(workload: Workload, lines: Sequence[Line]) -> Table:
    columns = _COLUMNS[workload.needs]
    rows = [_workload_row(line, columns) for line in lines]
    return Table(workload.title, (workload.name, "rounds", *columns), rows)


Column = Callable[[Line], str]


def _of_processes(show: Column) -> Column:
    """For the line of the disk, which is no process, nothing is shown."""
    return lambda line: show(line) if line.peak_bytes else "-"


def _first(line: Line) -> str:
    return _number(line.first_p50_ms) if line.first_p50_ms else "-"


def _ratio(line: Line) -> str:
    return f"x {line.ratio:.2f}" if line.ratio is not None else "-"


_RATE: Final[dict[str, Column]] = {
    "objects": lambda line: str(line.objects),
    "objects/s": lambda line: _number(line.objects_per_s),
    "MB/s": lambda line: _number(line.megabytes_per_s),
}
_LATENCY: Final[dict[str, Column]] = {
    "p50 ms": lambda line: _number(line.p50_ms),
    "p99 ms": lambda line: _number(line.p99_ms),
}
_COST: Final[dict[str, Column]] = {
    "CPU ms/object": _of_processes(lambda line: _number(line.cpu_ms_per_object)),
    "peak MB": _of_processes(lambda line: f"{line.peak_bytes / 1e6:.0f}"),
    "other load": _of_processes(lambda line: f"{line.others_cpu_share:.0%}"),
    "pacslite": _ratio,
}
_COLUMNS: Final[dict[Does, dict[str, Column]]] = {
    Does.STORE: {**_RATE, **_LATENCY, **_COST},
    Does.FIND: {
        "queries": lambda line: str(line.requests),
        "answers": lambda line: str(line.objects),
        "answers/s": lambda line: _number(line.objects_per_s),
        "bytes/answer": lambda line: f"{line.bytes_per_object:.0f}",
        "first p50 ms": _first,
        **_LATENCY,
        **{name.replace("object", "answer"): column for name, column in _COST.items()},
    },
    Does.RETRIEVE: {
        "retrievals": lambda line: str(line.requests),
        **_RATE,
        "first p50 ms": _first,
        "p50 ms": lambda line: _number(line.p50_ms),
        **_COST,
    },
}


def _workload_row(line: Line, columns: Mapping[str, Column]) -> Sequence[str]:
    if not line.rounds:
        return (line.peer, line.problem, *[""] * len(columns))
    rounds = f"{line.rounds}{' (' + line.problem + ')' if line.problem else ''}"
    return (line.peer, rounds, *(column(line) for column in columns.values()))


def _aims_table(reached: Sequence[Aim]) -> Table:
    words = {True: "met", False: "MISSED", None: "not measured"}
    rows = [
        (
            aim.text,
            f"{'at most' if aim.at_most else 'at least'} {_number(aim.aimed)}",
            "-" if aim.measured is None else _number(aim.measured),
            words[aim.met],
        )
        for aim in reached
    ]
    return Table("Aims of pacslite", ("aim", "aimed", "measured", ""), rows)


def _number(value: float) -> str:
    """Three significant digits: the noise of such runs is in the second."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _as_json(session: Session) -> dict[str, object]:
    lines = summarise(session.runs)
    return {
        "started": session.started.isoformat(),
        "ended": datetime.now(UTC).isoformat(),
        "quick": session.quick,
        "machine": session.machine,
        "peers": [
            {
                "name": peer.name,
                "version": peer.describe_version(),
                "configuration": peer.configuration,
                "durable": peer.durable,
                "observed": dataclasses.asdict(seen)
                if isinstance(seen := session.durability.get(peer.name, "not observed"), Durability)
                else seen,
            }
            for peer in session.peers
        ],
        "workloads": [dataclasses.asdict(workload) for workload in session.workloads],
        "summary": [dataclasses.asdict(line) for line in lines],
        "aims": [dataclasses.asdict(aim) | {"met": aim.met} for aim in aims(lines)],
        "runs": [dataclasses.asdict(run) for run in session.runs],
    }


def _as_markdown(session: Session) -> str:
    parts = [f"Measured {session.started:%Y-%m-%d %H:%M} UTC{', --quick' if session.quick else ''}.", ""]
    parts += [f"- {name}: {value}" for name, value in session.machine.items()]
    for table in tables(session):
        parts += ["", f"### {table.title}", "", _markdown_row(table.header), _markdown_row(["---"] * len(table.header))]
        parts += [_markdown_row(row) for row in table.rows]
    return "\n".join(parts) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _file_system(folder: Path) -> str:
    """Type and options of the mount that holds `folder`."""
    mounts = [line.split() for line in _lines("/proc/mounts")]
    holding = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    best = max(holding, key=lambda mount: len(mount[1]), default=None)
    return f"{best[2]} ({best[3]})" if best else "unknown"
