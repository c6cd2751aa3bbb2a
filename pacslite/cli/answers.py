"""The answers of a query for people and for programs: a table, tab-separated lines, or JSON, one answer to a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import typer
from rich.console import Console

from pacslite.cli.screen import printable
from pacslite.cli.tables import print_table
from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.json_model import json_model
from pacslite.dicom.tags import keyword_of

MOST_ROWS: Final = 10_000
"""A table is laid out when all of its rows are known; one that nobody can read any more goes out in parts."""


class Answers(Protocol):
    """Where answers go, one by one; ``close`` when there are no more."""

    def add(self, elements: Elements) -> None: ...

    def close(self) -> None: ...


class JSONLines:
    """The DICOM JSON Model (PS3.18 F), one object to a line. ASCII, so that no answer can steer a terminal."""

    def add(self, elements: Elements) -> None:
        typer.echo(json.dumps(json_model(elements)).replace("\x7f", "\\u007f"))

    def close(self) -> None:
        pass


class Columns:
    """A column for each key: a table on a terminal, elsewhere tab-separated lines as they come."""

    def __init__(self, keys: Sequence[int]) -> None:
        self._keys = keys
        self._headings = [keyword_of(tag) for tag in keys]
        self._rows: list[list[str]] = []
        self._is_terminal = Console().is_terminal
        self._begun = False

    def add(self, elements: Elements) -> None:
        row = [_cell(elements.get(tag)) for tag in self._keys]
        if self._is_terminal:
            self._rows.append(row)
            if len(self._rows) >= MOST_ROWS:
                self.close()
            return
        if not self._begun:
            typer.echo("\t".join(self._headings))
            self._begun = True
        typer.echo("\t".join(map(printable, row)))

    def close(self) -> None:
        if self._rows:
            print_table(self._headings, self._rows)
            self._rows = []


def _cell(element: Element | None) -> str:
    match element.value if element is not None else None:
        case None:
            return ""
        case str() as text:
            return text
        case bytes() as raw:
            return f"{len(raw)} bytes" if raw else ""
        case int() as number:
            return str(number)
        case parts if any(isinstance(part, Mapping) for part in parts):
            return "; ".join(_item(part) for part in parts if isinstance(part, Mapping))
        case parts:
            return "\\".join(map(str, parts))


def _item(item: Elements) -> str:
    return ", ".join(f"{keyword_of(tag)}={_cell(element)}" for tag, element in sorted(item.items()))
