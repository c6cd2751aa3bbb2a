"""Other people's DICOM programs, as they come from Debian. One that is missing is a failure, never a skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.rawpeer import is_answering
from kit.server import HOST, free_port
from kit.wait import eventually

RUN_S = 60.0
DCMTK = "dcmtk"
GDCM = "libgdcm-tools"


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended."""

    code: int
    output: str


def program(name: str, package: str) -> str:
    """Where the program is; pynetdicom puts namesakes of DCMTK's beside Python, and those are not meant."""
    beside_python = str(Path(sys.executable).parent)
    path = os.pathsep.join(folder for folder in os.get_exec_path() if folder != beside_python)
    found = shutil.which(name, path=path)
    assert found is not None, f"{name} is missing: apt-get install {package}"
    return found


def run(name: str, *arguments: str | Path, package: str = DCMTK, timeout_s: float = RUN_S) -> Ran:
    """Run to the end; what it wrote on both streams is in ``output``."""
    command = [program(name, package), *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        wrote = (late.stdout or b"").decode("utf-8", "replace")
        raise AssertionError(f"{name} did not end within {timeout_s:g} s:\n{wrote}") from None
    return Ran(done.returncode, done.stdout.decode("utf-8", "replace"))


def echoscu(port: int, *options: str | Path) -> Ran:
    return run("echoscu", "-v", *options, HOST, str(port))


def storescu(port: int, files: Sequence[Path], *options: str | Path) -> Ran:
    return run("storescu", "-v", *options, HOST, str(port), *files)


def dcmsend(port: int, files: Sequence[Path], *options: str | Path) -> Ran:
    return run("dcmsend", "-v", *options, HOST, str(port), *files)


def findscu(port: int, *options: str | Path, files: Sequence[Path] = ()) -> Ran:
    """DCMTK's, with query files or keys; every response it gets is in the output."""
    return run("findscu", "-v", "+sr", "-aec", "PACSLITE", *options, HOST, str(port), *files)


def gdcmscu(port: int, *options: str | Path) -> Ran:
    return run("gdcmscu", "-H", HOST, "-p", str(port), *options, package=GDCM)


@dataclass(frozen=True, slots=True)
class ReceivingPeer:
    """A storage SCP that writes what it gets into a folder."""

    port: int
    folder: Path
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())


@contextmanager
def storescp(
    folder: Path, *options: str | Path, answers: Callable[[int], bool] = is_answering, port: int = 0
) -> Iterator[ReceivingPeer]:
    """DCMTK's storescp, all transfer syntaxes accepted and the bytes written as they come; on ``port``, or a free one.

    ``answers`` is given its port and tells whether it is up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder.with_name(f"{folder.name}.log")
    port = port or free_port()
    command = [program("storescp", DCMTK), "-v", "+xa", "+B", "-od", str(folder), *map(str, options), str(port)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: process.poll() is not None or answers(port), "storescp answering")
        assert process.poll() is None, f"storescp ended:\n{log_file.read_text()}"
        yield ReceivingPeer(port, folder, log_file)
    finally:
        process.terminate()
        process.wait(10)
