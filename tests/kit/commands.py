"""The command line as an administrator uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def pacslite(*arguments: str, folder: Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run ``pacslite`` in ``folder`` to its end."""
    command = [str(Path(sys.executable).with_name("pacslite")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=folder)


def fsck(data: Path, *options: str) -> str:
    """``pacslite fsck`` must find nothing wrong; returns what it said."""
    done = pacslite("fsck", "--data", str(data), *options, folder=data.parent)
    assert done.returncode == 0, f"fsck {' '.join(options)} is not content:\n{done.stdout}{done.stderr}"
    return done.stdout
