"""docs/conformance.md is what the server says of itself, and cannot grow old."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pacslite.dicom.uids import STORAGE_SOP_CLASSES
from pacslite.server.config import Config
from pacslite.server.conformance import conformance_statement

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_the_document_is_the_statement_of_the_defaults() -> None:
    assert DOCUMENT.read_text() == asyncio.run(conformance_statement(Config())), "run: pacslite config conformance"


def test_every_storage_sop_class_is_listed() -> None:
    text = DOCUMENT.read_text()
    assert [uid for uid in STORAGE_SOP_CLASSES if f"| {uid} |" not in text] == []
