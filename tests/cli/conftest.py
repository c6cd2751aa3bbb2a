"""What the tests of the commands share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kit.commandline import Ended, RunCommand
from pacslite.cli import main as main_module


@pytest.fixture
def pacslite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCommand:
    """Run a command as a shell would, in the test's folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path | int) -> Ended:
        monkeypatch.setattr(sys, "argv", ["pacslite", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main_module.main()
        out, err = capsys.readouterr()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return Ended(code, out, err)

    return run
