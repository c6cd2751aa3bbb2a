"""docs/operations.md names what there is: every exit code, every figure, every permission."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

from pacslite.cli.exits import Exit
from pacslite.cli.main import program
from pacslite.dimse.permission import Permission
from pacslite.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MANUAL = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_exit_code_is_explained() -> None:
    assert re.findall(r"^\| (\d+) \|", MANUAL, flags=re.MULTILINE) == [str(int(code)) for code in Exit]


def test_every_figure_is_named() -> None:
    metrics = Metrics()
    metrics.gauge("log_lines_dropped", "", lambda: 0)  # as serve adds it
    there = {family.name + ("_total" if family.type == "counter" else "") for family in metrics.registry.collect()}
    assert set(re.findall(r"`(pacslite_\w+)`", MANUAL)) == there


def test_every_permission_is_named() -> None:
    assert all(re.search(rf"\b{permission}\b", MANUAL) for permission in Permission)


def test_every_option_that_is_shown_is_there() -> None:
    """Of the commands in the examples: what is copied from the manual must run."""
    verbs = {command.name: command for command in get_command(program()).commands.values()}  # type: ignore[attr-defined] # a group
    examples = re.findall(r"^    pacslite (\w+) (.*)$", MANUAL + README, flags=re.MULTILINE)
    assert {"find", "move", "get", "send", "echo", "jobs", "commitment"} <= {verb for verb, _ in examples}
    for verb, rest in examples:
        arguments = shlex.split(re.split(r"\s(?:&&|\||>)\s", rest)[0])
        command = verbs[verb]
        while isinstance(command, TyperGroup):
            command = command.commands[arguments.pop(0)]
        there = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in arguments if word.startswith("-")} <= there, f"pacslite {verb} {rest}"


def test_documents_that_the_readme_leads_to_are_there() -> None:
    assert not [link for link in re.findall(r"\]\(([^)#:]+)\)", README) if not (ROOT / link).exists()]
