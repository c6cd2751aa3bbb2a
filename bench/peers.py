"""The servers that are compared: how each is found, configured at its best, started fresh, and stopped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.measure import emptied_afterwards

SINK: Final = "SINK"
"""The AE title under which the peers know the destination of retrievals."""
START_S: Final = 30.0
STOP_S: Final = 15.0
_FIRST_PORT, _LAST_PORT = 12000, 19999


class StartError(Exception):
    """A peer that is installed did not answer in time; the message ends with the last of its log."""


class Does(Enum):
    """What can be measured of a peer."""

    STORE = "store"
    FIND = "find"
    RETRIEVE = "retrieve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running peer."""

    pid: int
    port: int
    title: str
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    name: str
    title: str
    configuration: str  # what makes it as fast as it can be; shown in the report
    durable: str  # what it makes durable before it answers, as its makers or its sources say
    program: Callable[[], str | None]
    version: Callable[[str], str]
    command: Callable[[str, Path, int, int | None], list[str]]  # program, folder, port, port of the destination SINK
    does: frozenset[Does] = frozenset(Does)
    by_default: bool = True

    @property
    def installed(self) -> bool:
        return self.program() is not None

    def describe_version(self) -> str:
        program = self.program()
        return self.version(program) if program else "not installed"


@contextmanager
def running(
    peer: Peer,
    folder: Path,
    *,
    answers: Callable[[Server], bool],
    nodelay: bool = True,
    prefix: Sequence[str] = (),
    extra: Sequence[str] = (),
    data: Path | None = None,
    destination: int | None = None,
) -> Iterator[Server]:
    """Starts the peer in the new folder `folder`, waits until it `answers` a C-ECHO, and leaves only empty files.

    With `data` it works in that folder instead, which stays as the peer leaves it.
    """
    program = peer.program()
    if program is None:
        raise StartError(f"{peer.name} is not installed")
    port = _free_port()
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    if nodelay:  # only DCMTK's network code reads it
        environment["TCP_NODELAY"] = "1"
    log = folder / "peer.log"
    folder.mkdir(parents=True)
    if data is None:
        data = folder / "peer"
    data.mkdir(parents=True, exist_ok=True)
    with emptied_afterwards(folder):
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*prefix, *peer.command(program, data, port, destination), *extra],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        try:
            server = Server(pid=process.pid, port=port, title=peer.title, folder=data)
            _wait_until(lambda: answers(server), process, log)
            yield server
        finally:
            _stop(process)


def _wait_until(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            state = "still running" if process.poll() is None else f"exit status {process.returncode}"
            raise StartError(f"no answer to C-ECHO, {state}: {log.read_text(errors='replace')[-400:].strip()}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    # The group that was made for the peer holds the peer and its children, nothing else. Nothing it has is kept, so
    # there is no need to wait for an orderly end.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_S)


def _free_port() -> int:
    """A free one that the system gives to nobody by itself before the peer has it: it gives those from 32768 on."""
    for port in random.sample(range(_FIRST_PORT, _LAST_PORT + 1), _LAST_PORT + 1 - _FIRST_PORT):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StartError(f"no port from {_FIRST_PORT} to {_LAST_PORT} is free")


def _first_line(*arguments: str) -> Callable[[str], str]:
    def version(program: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)
        lines = (done.stdout + done.stderr).strip().splitlines()
        # DCMTK's tools decorate the line, Orthanc begins it with its path.
        return lines[0].strip("$ ").removeprefix("dcmtk: ").replace(program, Path(program).name) if lines else "unknown"

    return version


# ---- pacslite ----


def _pacslite() -> str | None:
    beside = Path(sys.executable).with_name("pacslite")
    return str(beside) if beside.exists() else None


def _pacslite_command(program: str, folder: Path, port: int, destination: int | None) -> list[str]:
    command = [program, "serve", "--data", str(folder / "data"), "--port", str(port)]
    if destination is not None:
        peer = {"ae_title": SINK, "address": "127.0.0.1", "port": destination}
        command += [f"--set=peers.0.{key}={value}" for key, value in peer.items()]
    return command


# ---- DCMTK storescp ----


def _storescp_command(program: str, folder: Path, port: int, destination: int | None) -> list[str]:
    # One process serves one association at a time, so --fork; bit preserving mode writes a large object as it arrives
    # (measured: seven times faster for 1 GB, no slower for small ones); 131072 is the largest PDU that DCMTK takes.
    return [program, "-q", "--fork", "+B", "-dhl", "-pdu", "131072", "-od", str(folder), str(port)]


# ---- Orthanc ----


def _orthanc() -> str | None:
    return shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def _orthanc_command(
    program: str, folder: Path, port: int, destination: int | None, *, digest: bool = True
) -> list[str]:
    settings = {
        "Name": "bench",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "StorageCompression": False,
        "SyncStorageArea": True,
        "OverwriteInstances": False,
        "StoreMD5ForAttachments": digest,
        "MaximumStorageSize": 0,
        "Plugins": [],
        "HttpServerEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": False,
        "DicomPort": port,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {} if destination is None else {"sink": [SINK, "127.0.0.1", destination]},
        "StorageAccessOnFind": "Never",
        "UnknownSopClassAccepted": True,
        "DicomThreadsCount": 16,
        "ConcurrentJobs": 0,
        "MaximumPduLength": 131072,
    }
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(settings))
    return [program, str(configuration)]


def _orthanc_without_digest(program: str, folder: Path, port: int, destination: int | None) -> list[str]:
    return _orthanc_command(program, folder, port, destination, digest=False)


# ---- DCMTK dcmqrscp ----

_DCMQRSCP_CONFIGURATION: Final = """\
NetworkTCPPort = {port}
MaxPDUSize = 131072
MaxAssociations = 64
HostTable BEGIN
sink = ({sink}, 127.0.0.1, {destination})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQRSCP {folder} RW (500, 1000gb) ANY
AETable END
"""


def _dcmqrscp_command(program: str, folder: Path, port: int, destination: int | None) -> list[str]:
    configuration = folder.with_name("dcmqrscp.cfg")
    configuration.write_text(
        _DCMQRSCP_CONFIGURATION.format(port=port, sink=SINK, destination=destination or 104, folder=folder)
    )
    return [program, "-q", "-dhl", "-pdu", "131072", "-c", str(configuration)]


# ---- pynetdicom ----


def _pynetdicom() -> str | None:
    return sys.executable if find_spec("pynetdicom") else None


def _pynetdicom_command(program: str, folder: Path, port: int, destination: int | None) -> list[str]:
    script = Path(__file__).with_name("pynetdicom_scp.py")
    return [program, str(script), "--port", str(port), "--directory", str(folder)]


_ORTHANC_CONFIGURATION: Final = (
    "no plugins, HTTP off, SyncStorageArea true (its default), StorageCompression and OverwriteInstances false, "
    "16 DICOM threads, maximum PDU 131072, StorageAccessOnFind never"
)
_ORTHANC_DURABLE: Final = "the file (fsync); its directory entry and the index row are left to the system's write-back"

PACSLITE: Final = Peer(
    name="pacslite",
    title="PACSLITE",
    configuration="its defaults",
    durable="the file (fsync) in its final place, its directory entry, and the index row (synchronous=FULL)",
    program=_pacslite,
    version=_first_line("--version"),
    command=_pacslite_command,
)
PEERS: Final = (
    PACSLITE,
    Peer(
        name="storescp",
        title="STORESCP",
        configuration="--fork, +B (bit preserving), maximum PDU 131072, no host look-up",
        durable="nothing: the file is left to the system's write-back; there is no index",
        program=lambda: shutil.which("storescp"),
        version=_first_line("--version"),
        command=_storescp_command,
        does=frozenset({Does.STORE}),
    ),
    Peer(
        name="orthanc",
        title="ORTHANC",
        configuration=_ORTHANC_CONFIGURATION,
        durable=_ORTHANC_DURABLE,
        program=_orthanc,
        version=_first_line("--version"),
        command=_orthanc_command,
    ),
    Peer(
        name="dcmqrscp",
        title="DCMQRSCP",
        configuration="a process for each association (its default), maximum PDU 131072, no host look-up",
        durable="nothing: the file and its index are left to the system's write-back",
        program=lambda: shutil.which("dcmqrscp"),
        version=_first_line("--version"),
        command=_dcmqrscp_command,
        does=frozenset({Does.FIND, Does.RETRIEVE}),
    ),
    Peer(
        name="pynetdicom",
        title="PYNETDICOM",
        configuration="data sets streamed to files (STORE_RECV_CHUNKED_DATASET), maximum PDU 131072",
        durable="nothing: the file is left to the system's write-back; there is no index",
        program=_pynetdicom,
        version=_first_line("-c", "import pynetdicom; print('pynetdicom', pynetdicom.__version__)"),
        command=_pynetdicom_command,
        does=frozenset({Does.STORE}),
    ),
    Peer(
        name="orthanc-nodigest",
        title="ORTHANC",
        configuration=_ORTHANC_CONFIGURATION + ", StoreMD5ForAttachments false",
        durable=_ORTHANC_DURABLE,
        program=_orthanc,
        version=_first_line("--version"),
        command=_orthanc_without_digest,
        by_default=False,
    ),
)
