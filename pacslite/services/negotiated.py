"""What SOP Class Extended Negotiation can agree on for queries (PS3.4 C.5.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SUPPORTED: Final = (
    True,  # 1 relational queries
    True,  # 2 combined date and time matching
    True,  # 3 fuzzy semantic matching of person names
    True,  # 4 time zone query adjustment
    False,  # 5 conversion between enhanced multi-frame and single images
    True,  # 6 Empty Value Matching
    True,  # 7 Multiple Value Matching
)
"""By byte of the Service-class-application-information (Table C.5-1)."""


def find_negotiation(information: bytes) -> bytes | None:
    """The answer to ``information``: 1 where something is asked for and supported, and no more bytes than were offered.

    No bytes ask for nothing and are not answered.
    """
    pairs = zip(information, _SUPPORTED, strict=False)
    return bytes(offered == 1 and supported for offered, supported in pairs) or None


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
    def by(cls, answer: bytes) -> Agreed:
        """From the answer that was given in negotiation, empty if there was none."""
        relational, combined, fuzzy, zone, _, empty, multiple = answer.ljust(len(_SUPPORTED), b"\0")[: len(_SUPPORTED)]
        return cls(
            relational=relational == 1,
            combined_date_time=combined == 1,
            fuzzy=fuzzy == 1,
            time_zone=zone == 1,
            empty_value=empty == 1,
            multiple_values=multiple == 1,
        )
