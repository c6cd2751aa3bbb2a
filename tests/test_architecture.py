"""The layers of the house (docs/architecture.md): who may import whom, read from the source without running it.

A part is a package or module directly below ``pacslite``. Imports point down: a part imports parts of lower rank and
itself, never one of its own rank or above. An import counts wherever it stands, inside functions and under
``TYPE_CHECKING`` too, because what a part knows is a matter of reading it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "pacslite"
ROOT = Path(__file__).parents[1] / PACKAGE

RANKS = {
    "errors": 0,
    "facts": 0,
    "dicom": 0,
    "ul": 1,
    "dimse": 2,
    "net": 3,
    "archive": 3,
    "transcode": 3,
    "services": 4,
    "web": 4,
    "observe": 5,
    "server": 6,
    "cli": 7,
}
SIDEWAYS = {("dicom", "errors")}
"""The exception tree is under everything; it shares rank 0 only because it imports nothing either."""

PURE = {"dicom", "ul", "dimse"}
IMPURE_MODULES = {"asyncio", "socket", "time", "logging", "threading"}

WIRED = ("net", "archive", "services")
WIRING = {"pacslite.server.application", "pacslite.server.parts"}
"""Where the network, the archive and the services meet, and nowhere else."""


def modules() -> dict[str, str]:
    """Every module of the package by its dotted name, with its source."""
    paths = sorted(ROOT.rglob("*.py"))
    return {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in paths
    }


def imported(module: str, source: str) -> Iterator[str]:
    """The dotted names that ``module`` imports; ``from a import b`` gives ``a.b``, be ``b`` a module or not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: -node.level]
                base = ".".join([*parents, base] if base else parents)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str | None:
    """The part of our package that a dotted name belongs to."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] or None if package == PACKAGE else None


def problems(module: str, source: str) -> list[str]:
    """What is wrong with the imports of one module."""
    part = part_of(module)
    if part == "__init__":
        return [f"{module} imports {name}" for name in imported(module, source) if part_of(name)]
    if part not in RANKS:
        return [f"{module}: {part} has no rank"]
    names = list(imported(module, source))
    others = {other for name in names if (other := part_of(name)) not in (None, part)}
    found = [
        f"{module} of rank {RANKS[part]} imports {other}"
        for other in sorted(filter(None, others))
        if RANKS.get(other, 99) >= RANKS[part] and (part, other) not in SIDEWAYS
    ]
    if part in PURE:
        impure = {name.partition(".")[0] for name in names} & IMPURE_MODULES
        found += [f"{module} is pure and imports {name}" for name in sorted(impure)]
    if others.issuperset(WIRED) and module not in WIRING:
        found.append(f"{module} wires parts together")
    return found


def test_every_import_points_down() -> None:
    found = [problem for module, source in modules().items() for problem in problems(module, source)]
    assert found == []


def test_the_whole_package_is_looked_at() -> None:
    names = modules().keys()
    assert {"pacslite.__init__", "pacslite.errors", "pacslite.ul.__init__", "pacslite.ul.fsm"} <= names


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        pytest.param("pacslite.ul.bad", "from pacslite.dimse.command import X", "rank 1 imports dimse", id="upwards"),
        pytest.param("pacslite.ul.bad", "import pacslite.net.tls as tls", "rank 1 imports net", id="import statement"),
        pytest.param("pacslite.net.bad", "from pacslite import archive", "rank 3 imports archive", id="sideways"),
        pytest.param("pacslite.archive.a.b", "from ...net import tls", "rank 3 imports net", id="relative"),
        pytest.param("pacslite.archive.a.b", "from ... import net", "rank 3 imports net", id="relative, bare"),
        pytest.param("pacslite.errors", "from pacslite.facts import Fact", "rank 0 imports facts", id="rank 0"),
        pytest.param(
            "pacslite.dimse.bad",
            "def f() -> None:\n    from pacslite.net.tls import X",
            "rank 2 imports net",
            id="inside a function",
        ),
        pytest.param(
            "pacslite.dimse.bad",
            "if TYPE_CHECKING:\n    from pacslite.services.storage import X",
            "rank 2 imports services",
            id="for typing only",
        ),
        pytest.param("pacslite.net.bad", "from pacslite.novelty import X", "rank 3 imports novelty", id="no rank"),
        pytest.param("pacslite.novelty", "", "novelty has no rank", id="module without a rank"),
        pytest.param(
            "pacslite.__init__", "from pacslite.ul import fsm", "imports pacslite.ul.fsm", id="the package itself"
        ),
        *(
            pytest.param(f"pacslite.{part}.bad", f"import {name}", f"is pure and imports {name}", id=f"{part}, {name}")
            for part in sorted(PURE)
            for name in sorted(IMPURE_MODULES)
        ),
        pytest.param("pacslite.dicom.bad", "from socket import socket", "pure and imports socket", id="from socket"),
        pytest.param("pacslite.ul.bad", "import logging.handlers", "pure and imports logging", id="submodule"),
        pytest.param(
            "pacslite.server.bad",
            "import pacslite.net\nimport pacslite.archive\nimport pacslite.services",
            "wires parts together",
            id="wiring",
        ),
    ],
)
def test_a_bad_module_is_found(module: str, source: str, problem: str) -> None:
    (found,) = problems(module, source)
    assert problem in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pacslite.ul.good", "import struct\nfrom pacslite.dicom.uids import X\nfrom pacslite.errors import Y"),
        ("pacslite.ul.good", "from pacslite.ul.pdu import PDU\nfrom .items import Z"),
        ("pacslite.archive.index.good", "from pacslite.archive.blobs.base import X\nimport asyncio, threading"),
        ("pacslite.dicom.good", "from pacslite.errors import PacsliteError"),
        ("pacslite.services.good", "from pacslite.archive.archive import X\nfrom pacslite.net.association import Y"),
        ("pacslite.server.application", "import pacslite.net\nimport pacslite.archive\nimport pacslite.services"),
        ("pacslite.__init__", "import sys"),
    ],
)
def test_a_good_module_is_let_be(module: str, source: str) -> None:
    assert problems(module, source) == []
