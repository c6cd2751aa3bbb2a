"""DCMTK's archive server, on a free loopback port, with a configuration of the test's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.peers import DCMTK, dcmsend, program
from kit.rawpeer import is_answering
from kit.server import HOST, free_port
from kit.wait import eventually

AE_TITLE = "PACSLITE"
"""The one that the kit calls everybody by."""
_MOST_STUDIES = 200


@dataclass(frozen=True, slots=True)
class Dcmqrscp:
    """A running one, with what it was given."""

    port: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def take(self, files: Sequence[Path]) -> None:
        """Store files, each in the transfer syntax that it has."""
        sent = dcmsend(self.port, files, "-aec", AE_TITLE, "--no-uid-checks")
        assert sent.code == 0, sent.output


@contextmanager
def dcmqrscp(folder: Path, *options: str, destinations: Mapping[str, int] | None = None) -> Iterator[Dcmqrscp]:
    """``destinations`` are the AE titles that it knows for C-MOVE, with their loopback ports."""
    storage = folder / "storage"
    storage.mkdir(parents=True)
    port = free_port()
    log_file = folder / "dcmqrscp.log"
    configuration = folder / "dcmqrscp.cfg"
    hosts = [f"{name.lower()} = ({name}, {HOST}, {number})" for name, number in (destinations or {}).items()]
    configuration.write_text(
        "\n".join(
            (
                f"NetworkTCPPort = {port}",
                "MaxPDUSize = 16384",
                "MaxAssociations = 16",
                *("HostTable BEGIN", *hosts, "HostTable END"),
                *("VendorTable BEGIN", "VendorTable END"),
                "AETable BEGIN",
                f"{AE_TITLE} {storage} RW ({_MOST_STUDIES}, 1024mb) ANY",
                "AETable END",
                "",
            )
        )
    )
    command = [program("dcmqrscp", DCMTK), "-v", "-c", str(configuration), *options]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: process.poll() is not None or is_answering(port), "dcmqrscp answering")
        assert process.poll() is None, f"dcmqrscp ended:\n{log_file.read_text()}"
        yield Dcmqrscp(port, log_file)
    finally:
        process.terminate()
        process.wait(10)
