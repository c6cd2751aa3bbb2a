"""Rows for people and for programs: a table on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pacslite.cli.screen import printable


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print ``rows``. What is too long for the terminal is folded, not cut: UIDs are there to be copied."""
    console = Console(highlight=False)
    if not console.is_terminal:
        for row in (headings, *rows):
            typer.echo("\t".join(map(printable, row)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in _NUMBERS else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


_NUMBERS = frozenset({"studies", "series", "objects", "size", "no"})
