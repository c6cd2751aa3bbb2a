"""What the long-running commands show: lines, and a progress bar below them when somebody is looking."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB")


def size_words(size: float) -> str:
    """A number of bytes for people, in powers of ten as disks and networks are sold."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def time_words(at: float) -> str:
    """Seconds since 1970-01-01 UTC as a clock on this machine shows them."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


def plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """``text`` on one line that any terminal takes: file names and what peers say may hold whatever they like."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


class Screen:
    """Standard output. On a terminal it has a progress bar, in bytes or in percent; elsewhere there are only lines."""

    def __init__(self, what: str, *, in_bytes: bool = False) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._progress = Progress(
            *_columns(in_bytes), console=self._console, disable=not self._console.is_terminal, transient=True
        )
        self._stage = what
        self._task: TaskID = self._progress.add_task(what, total=None, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def line(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._console.print(printable(text), markup=False)

    def advance(self, amount: int = 1) -> None:
        self._progress.advance(self._task, amount)

    def note(self, text: str) -> None:
        """A few words beside the bar."""
        self._progress.update(self._task, note=text)

    def expect(self, total: int) -> None:
        """How far the bar goes; this may change while more is being found."""
        self._progress.update(self._task, total=total)

    def reach(self, what: str, fraction: float) -> None:
        """So much of one stage of the work is done, from 0 to 1."""
        if what != self._stage:
            self._stage = what
            self._progress.reset(self._task, description=what, total=1.0, note="")
        self._progress.update(self._task, completed=fraction)


def _columns(in_bytes: bool) -> Sequence[ProgressColumn]:
    amount: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [TaskProgressColumn()]
    return [
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *amount,
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    ]
