"""The limits one connection lives under (all from the configuration; the defaults are the documented ones)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Beyond a length the association is aborted; beyond a number of bytes waiting, reading pauses."""

    max_pdu_bytes: int = 256 * 1024
    max_associate_bytes: int = 1024 * 1024
    max_command_bytes: int = 64 * 1024
    receive_high_water_bytes: int = 4 * 1024 * 1024
    receive_low_water_bytes: int = 1024 * 1024
    max_waiting_operations: int = 64
    artim_s: float = 30.0
    idle_s: float = 60.0
    write_stall_s: float = 60.0
