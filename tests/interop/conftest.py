"""One running server for the tests that need nothing special of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit.server import RunningServer
from kit.store import Store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with default settings, called PACSLITE, on loopback."""
    with RunningServer(tmp_path_factory.mktemp("interop") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def store(server: RunningServer) -> Store:
    """What lies in that server's data folder."""
    return Store(server.data)
