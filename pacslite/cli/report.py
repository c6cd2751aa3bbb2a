"""The JSON report of ``pacslite send``: one object with every file in it, written as the files are done with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from pacslite.errors import ConfigurationError


class Report:
    """Valid JSON also when the sending ends early: ``summary`` is then what was known, and ``complete`` is false."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._separator = ""
        self._summary: Mapping[str, object] = {"complete": False}

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"--report {self._path}: {error.strerror}") from None
        self._file.write('{"files": [')
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        with self._file:
            self._file.write(f'\n], "summary": {json.dumps(self._summary)}}}\n')

    def add(self, entry: Mapping[str, object]) -> None:
        assert self._file is not None
        # Names that are no valid UTF-8 are escaped: JSON itself stays ASCII.
        self._file.write(f"{self._separator}\n{json.dumps(entry)}")
        self._separator = ","

    def summarise(self, summary: Mapping[str, object]) -> None:
        self._summary = summary
