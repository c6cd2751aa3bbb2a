"""How a logged event becomes a line: for people, or as JSON for a log collector."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime

EVENT = "event"
FIELDS = "fields"
"""The extra attributes of a log record that tells a fact."""

# Text from a peer must not move the cursor, clear the screen or begin a line that looks like one of ours.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS_BUT_NEWLINE = {code: text for code, text in _CONTROLS.items() if code != 0x0A}


def clean(text: str) -> str:
    """``text`` from a peer, on one line."""
    return text.translate(_CONTROLS)


class HumanFormatter(logging.Formatter):
    """``2026-01-31 23:59:59.123 WARNING message``; what follows a line break is indented."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        origin = "" if record.name.startswith("pacslite") else f"{record.name}: "
        text = message.translate(_CONTROLS_BUT_NEWLINE).rstrip("\n").replace("\n", "\n    ")
        return f"{time} {record.levelname:<7} {origin}{text}"


class JSONFormatter(logging.Formatter):
    """One object a line: time with zone, level, logger, message, and for facts their name and fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        event: str | None = getattr(record, EVENT, None)
        if event is not None:
            fields: Mapping[str, object] = getattr(record, FIELDS, {})
            line.update({EVENT: event, **fields})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
