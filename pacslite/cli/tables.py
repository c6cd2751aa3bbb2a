"""Rows for people and for programs: a table on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pacslite.cli.screen import printable


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print ``rows``. What is too long for the terminal is folded, not cut: UIDs are there to be copied.

    A UID stays on one line where the other columns have room beside it.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        for row in (headings, *rows):
            typer.echo("\t".join(map(printable, row)))
        return
    cells = [[printable(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, heading in enumerate(headings):
        width = max((len(row[column]) for row in cells), default=0)
        room = console.width - width - (len(headings) - 1) * _LEAST_WIDTH
        table.add_column(
            heading,
            overflow="fold",
            justify="right" if heading in _NUMBERS else "left",
            no_wrap=heading.endswith("UID") and room >= 0,
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


_LEAST_WIDTH = 10
"""Columns of each other column, the space between them included, that are wanted beside a UID on one line."""
_NUMBERS = frozenset({"studies", "series", "objects", "size", "no"})
