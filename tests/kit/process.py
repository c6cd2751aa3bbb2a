"""What the kernel says about a process of the test's (Linux)."""

from __future__ import annotations

import os
from contextlib import suppress


def open_descriptors(pid: int) -> list[str]:
    """What each open file descriptor leads to."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed since it was listed
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return sorted(found)


def open_sockets(pid: int) -> int:
    """How many of them are sockets: listeners, connections, and what the event loop keeps for itself."""
    return sum(target.startswith("socket:") for target in open_descriptors(pid))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))
