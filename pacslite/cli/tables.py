"""Rows for people and for programs: a table on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, console: Console | None = None) -> None:
    """Print ``rows``. What is too long for the terminal is folded, not cut: UIDs are there to be copied."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        for row in (headings, *rows):
            console.print("\t".join(map(_one_line, row)), markup=False, soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in _NUMBERS else "left")
    for row in rows:
        table.add_row(*(Text(_one_line(cell)) for cell in row))
    console.print(table)


_NUMBERS = frozenset({"studies", "series", "objects", "size", "no"})


def _one_line(cell: str) -> str:
    # A name may hold anything, control characters for the terminal included.
    return "".join(char if char.isprintable() else " " for char in cell)
