"""The fuzz target, for a fixed number of rounds; ``fuzz.py`` runs it for longer."""

from __future__ import annotations

from ul import fuzz


def test_damaged_conversations_give_events_or_remote_protocol_errors() -> None:
    assert fuzz.run(20_240_101, rounds=2000) == 2000
