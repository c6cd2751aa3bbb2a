"""What SOP Class Extended Negotiation can agree on for queries (PS3.4 C.5.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

NEGOTIABLE: Final = (
    ("Relational queries", True),
    ("Combined date and time matching", True),
    ("Fuzzy semantic matching of person names", True),
    ("Time zone query adjustment", True),
    ("Enhanced multi-frame image conversion", False),
    ("Empty Value Matching", True),
    ("Multiple Value Matching", True),
)
"""By byte of the Service-class-application-information (Table C.5-1), and whether it is supported here."""


def find_negotiation(information: bytes) -> bytes | None:
    """The answer to ``information``: 1 where something is asked for and supported, and no more bytes than were offered.

    No bytes ask for nothing and are not answered.
    """
    pairs = zip(information, NEGOTIABLE, strict=False)
    return bytes(offered == 1 and supported for offered, (_, supported) in pairs) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What a requester may use beyond the baseline; without negotiation, nothing."""

    relational: bool = False
    combined_date_time: bool = False
    fuzzy: bool = False
    time_zone: bool = False
    empty_value: bool = False
    multiple_values: bool = False

    @classmethod
    @lru_cache(maxsize=128)  # every query asks, and the answers are few
    def by(cls, answer: bytes) -> Agreed:
        """From the answer that was given in negotiation, empty if there was none."""
        whole = answer.ljust(len(NEGOTIABLE), b"\0")[: len(NEGOTIABLE)]
        relational, combined, fuzzy, zone, _, empty, multiple = whole
        return cls(
            relational=relational == 1,
            combined_date_time=combined == 1,
            fuzzy=fuzzy == 1,
            time_zone=zone == 1,
            empty_value=empty == 1,
            multiple_values=multiple == 1,
        )
