"""The documented defaults are those that the parts have without any configuration."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import pytest

from pacslite.archive.settings import ArchiveSettings
from pacslite.net.acceptor import AcceptorLimits
from pacslite.net.limits import ConnectionLimits
from pacslite.server.config import Config

CONFIG = Config()
SETTINGS = {
    **dict(CONFIG.limits),
    **dict(CONFIG.storage),
    **dict(CONFIG.negotiation),
    "header_limit_bytes": CONFIG.limits.max_header_bytes,
    "header_max_depth": CONFIG.limits.max_header_levels,
    # In the file 0 stands for none, since TOML has no word for it.
    "quota_bytes": CONFIG.storage.quota_bytes or None,
    "max_object_bytes": CONFIG.storage.max_object_bytes or None,
}


def defaults(part: Any) -> dict[str, object]:
    return {field.name: field.default for field in fields(part) if field.default is not MISSING}


@pytest.mark.parametrize("part", [ConnectionLimits, AcceptorLimits, ArchiveSettings])
def test_a_default_is_the_same_in_the_file_and_in_the_part(part: Any) -> None:
    shared = defaults(part).keys() & SETTINGS.keys()
    assert len(shared) >= 4
    assert {name: defaults(part)[name] for name in shared} == {name: SETTINGS[name] for name in shared}
