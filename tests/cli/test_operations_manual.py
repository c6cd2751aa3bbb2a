"""docs/operations.md names what there is: every exit code, every figure, every permission."""

from __future__ import annotations

import re
from pathlib import Path

from pacslite.cli.exits import Exit
from pacslite.dimse.permission import Permission
from pacslite.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]
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


def test_documents_that_the_readme_leads_to_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()]
