"""The senders: rawsend (our C program, compiled here) and DCMTK's unmodified storescu and dcmsend."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.corpus import Shape, data_set_bytes, template, write_template
from bench.peers import Server

SOURCES: Final = Path(__file__).parent
_SLACK_S: Final = 60.0  # beyond its own time limit, before a sender is given up


class SendError(Exception):
    """The sender did not do what it was asked to; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    objects: int
    object_bytes: int  # data set bytes in all
    elapsed_s: float
    latencies_s: tuple[float, ...]
    sender_cpu_s: float


def compiled(name: str, folder: Path) -> Path:
    """Compiles one of our C programs into `folder`."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SendError(f"{name} needs a C compiler (Debian: gcc, libc6-dev)")
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-o", str(program)]
    built = subprocess.run(
        [*command, str(SOURCES / f"{name}.c")], capture_output=True, text=True, timeout=60, check=False
    )
    if built.returncode:
        raise SendError(f"{name} does not compile: {built.stderr.strip()}")
    return program


@dataclass(frozen=True, slots=True)
class RawSender:
    program: Path
    templates: Path

    @classmethod
    def build(cls, folder: Path) -> RawSender:
        return cls(compiled("rawsend", folder), folder / "templates")

    def echo(self, server: Server) -> bool:
        command = [str(self.program), "--echo", "--port", str(server.port), "--called", server.title, "--timeout", "2"]
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0

    def send(
        self,
        server: Server,
        shape: Shape,
        *,
        associations: int,
        objects: int,
        seconds: float,
        run: int,
        pause_s: float = 0.0,
        per_series: int = 100,
    ) -> Sent:
        """Sends until `objects` are answered or `seconds` have passed. `run` makes the UIDs differ from other runs'."""
        chosen = template(shape)
        header, pool = write_template(self.templates, f"{shape.rows}x{shape.columns}x{shape.frames}", shape)
        options: dict[str, object] = {
            "--port": server.port, "--called": server.title, "--sop-class": chosen.sop_class_uid,
            "--header": header, "--pool": pool, "--pixel-bytes": chosen.pixel_bytes,
            "--associations": associations, "--objects": objects, "--seconds": seconds,
            "--pause-us": int(pause_s * 1e6), "--run": run, "--per-series": per_series,
        }  # fmt: skip
        command = [str(self.program)] + [str(word) for pair in options.items() for word in pair]
        for name, offset in chosen.offsets.items():
            command += ["--at", f"{name}:{offset}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _SLACK_S, check=False)
        except subprocess.TimeoutExpired:
            raise SendError(f"no end after {seconds + _SLACK_S:.0f} s") from None
        return _read_raw(done)


def _read_raw(done: subprocess.CompletedProcess[str]) -> Sent:
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or not lines:
        errors = sorted({str(line["error"]) for line in lines if line.get("error")})
        raise SendError("; ".join(errors) or done.stderr.strip() or f"exit status {done.returncode}")
    *each, total = lines
    return Sent(
        objects=total["sent"],
        object_bytes=total["sent"] * total["bytes_each"],
        elapsed_s=total["elapsed_s"],
        latencies_s=tuple(latency / 1e6 for line in each for latency in line["latencies_us"]),
        sender_cpu_s=total["cpu_s"],
    )


# Timestamps in microseconds, written by the sender itself into a buffered file: a pipe would cost a wake-up per line.
_LOG_CONFIGURATION: Final = """\
log4cplus.rootLogger = INFO, file
log4cplus.appender.file = log4cplus::FileAppender
log4cplus.appender.file.File = {path}
log4cplus.appender.file.ImmediateFlush = false
log4cplus.appender.file.layout = log4cplus::PatternLayout
log4cplus.appender.file.layout.ConversionPattern = %D{{%H:%M:%S.%Q}} %m%n
"""
_REQUEST: Final = re.compile(r"(\S+) Sending (?:Store|C-STORE) Request")
_RESPONSE: Final = re.compile(r"(\S+) Received (?:Store|C-STORE) Response \((.*)\)")


def dcmtk_send(tool: str, server: Server, files: Sequence[Path], *, folder: Path, nodelay: bool) -> Sent:
    """Runs storescu or dcmsend on `files` with their defaults; elapsed is the command's whole run."""
    program = shutil.which(tool)
    if program is None:
        raise SendError(f"{tool} is not installed (Debian: dcmtk)")
    log, configuration = folder / f"{tool}.log", folder / f"{tool}.cfg"
    log.unlink(missing_ok=True)
    configuration.write_text(_LOG_CONFIGURATION.format(path=log))
    command = [program, "-lc", str(configuration), "-aec", server.title, "127.0.0.1", str(server.port)]
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    if nodelay:
        environment["TCP_NODELAY"] = "1"
    cpu_before, started = _children_cpu_s(), time.perf_counter()
    try:
        done = subprocess.run(
            [*command, *(path.name for path in files)],
            cwd=files[0].parent, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SendError(f"{tool}: no end after 300 s") from None
    elapsed = time.perf_counter() - started
    latencies, successes = _read_log(log)
    log.unlink(missing_ok=True)
    configuration.unlink()
    if done.returncode or successes != len(files):
        raise SendError(
            f"{tool}: {successes} of {len(files)} stored, exit status {done.returncode} {done.stderr[:200]}"
        )
    return Sent(
        objects=len(files),
        object_bytes=sum(data_set_bytes(path) for path in files),
        elapsed_s=elapsed,
        latencies_s=latencies,
        sender_cpu_s=_children_cpu_s() - cpu_before,
    )


def _read_log(log: Path) -> tuple[tuple[float, ...], int]:
    latencies, successes, requested = [], 0, 0.0
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    for line in lines:
        if match := _REQUEST.match(line):
            requested = _seconds(match[1])
        elif match := _RESPONSE.match(line):
            latencies.append((_seconds(match[1]) - requested) % 86400)
            successes += "Success" in match[2]
    return tuple(latencies), successes


def _seconds(clock: str) -> float:
    # log4cplus writes milliseconds with their own fraction: 17:04:05.123.456
    hours, minutes, rest = clock.split(":")
    seconds, milliseconds, *fraction = rest.split(".")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"{milliseconds}.{''.join(fraction)}") / 1000


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
