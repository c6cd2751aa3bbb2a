"""Orthanc, which asks for storage commitment and gives it: another archive as it comes from Debian."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.peers import program
from kit.rawpeer import is_answering
from kit.server import AE_TITLE, HOST, free_port
from kit.wait import eventually

TITLE = "ORTHANC"
_US = "pacslite"
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running one; it knows one peer, which is a pacslite server."""

    port: int
    web: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def instances(self) -> dict[str, str]:
        """What it has: its own identifiers by SOP Instance UID."""
        return {
            self._get(f"/instances/{identifier}")["MainDicomTags"]["SOPInstanceUID"]: identifier
            for identifier in self._get("/instances")
        }

    def delete(self, sop_instance_uid: str) -> None:
        self._call("DELETE", f"/instances/{self.instances()[sop_instance_uid]}")

    def ask_to_commit(self, references: Iterable[tuple[str, str]]) -> str:
        """Have it ask pacslite for these SOP classes and instances; returns the Transaction UID."""
        answer = self._call("POST", f"/modalities/{_US}/storage-commitment", {"DicomInstances": list(references)})
        return str(answer["ID"])

    def result(self, transaction: str) -> dict[str, Any]:
        """What it was told, as soon as that is anything."""
        path = f"/storage-commitment/{transaction}"
        eventually(lambda: self._get(path)["Status"] != "Pending", "a result at Orthanc", within_s=30.0, every_s=0.1)
        answer: dict[str, Any] = self._get(path)
        return answer

    def _get(self, path: str) -> Any:
        return self._call("GET", path)

    def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{HOST}:{self.web}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}\n{self.log}") from None


@contextmanager
def orthanc(folder: Path, *, port: int, peer_port: int) -> Iterator[Orthanc]:
    """One that listens on ``port`` and calls the server on ``peer_port``."""
    folder.mkdir(parents=True)
    web, log_file, configuration = free_port(), folder / "orthanc.log", folder / "orthanc.json"
    peer = {"AET": AE_TITLE, "Host": HOST, "Port": peer_port, "AllowStorageCommitment": True}
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "HttpServerEnabled": True,
        "HttpPort": web,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": TITLE,
        "DicomPort": port,
        "DicomModalities": {_US: peer},
        "UnknownSopClassAccepted": True,
        "DicomScuTimeout": 20,
        "DicomAlwaysAllowEcho": True,
    }
    configuration.write_text(json.dumps(settings))
    command = [program("Orthanc", "orthanc"), "--verbose", str(configuration)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    running = Orthanc(port, web, log_file)
    try:
        eventually(
            lambda: process.poll() is not None or is_answering(port),
            "Orthanc answering",
            within_s=_START_S,
            every_s=0.1,
        )
        assert process.poll() is None, f"Orthanc ended:\n{running.log}"
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
