"""How far a retrieval has come: its sub-operations counted, and when the requester is told (PS3.4 C.4.2.1, C.4.3.1)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from pacslite.dicom import tags
from pacslite.dicom.elements import Element, Elements
from pacslite.dimse.command import Tag, Value

SIGN_OF_LIFE_S: Final = 5.0
"""A report is due after so long even if nothing has changed: requesters give up on silence (STANDARD QR-10)."""

_MOST_COUNTABLE: Final = 0xFFFF
"""The counters are US (PS3.7 Table E.1-1): more than this cannot be said."""


@dataclass(slots=True)
class Progress:
    """The sub-operations of one retrieval. ``reasons`` are what failed ones failed of, in words for the log."""

    total: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    converted: int = 0
    bytes: int = 0
    failed_uids: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        return self.completed + self.failed + self.warning

    @property
    def remaining(self) -> int:
        return self.total - self.done

    def fail(self, sop_instance_uid: str, reason: str) -> None:
        self.failed += 1
        self.reasons[reason] += 1
        if len(self.failed_uids) < _MOST_COUNTABLE:
            self.failed_uids.append(sop_instance_uid)

    @property
    def why_failed(self) -> str:
        """The commonest reasons, and how often each if there are several."""
        if len(self.reasons) == 1:
            return next(iter(self.reasons))
        return "; ".join(f"{count}: {reason}" for reason, count in self.reasons.most_common(4))

    def counters(self, *, remaining: bool) -> dict[int, Value]:
        """The command elements; ``remaining`` is only for answers that are not the last, and for a cancelled one
        (STANDARD QR-02)."""
        counters: dict[int, Value] = {
            Tag.COMPLETED_SUB_OPERATIONS: min(self.completed, _MOST_COUNTABLE),
            Tag.FAILED_SUB_OPERATIONS: min(self.failed, _MOST_COUNTABLE),
            Tag.WARNING_SUB_OPERATIONS: min(self.warning, _MOST_COUNTABLE),
        }
        if remaining:
            counters[Tag.REMAINING_SUB_OPERATIONS] = min(self.remaining, _MOST_COUNTABLE)
        return counters

    @property
    def failed_list(self) -> Elements:
        """Failed SOP Instance UID List and nothing else (STANDARD QR-05); empty if there is nothing to list."""
        if not self.failed_uids:
            return {}
        return {tags.FAILED_SOP_INSTANCE_UID_LIST: Element("UI", "\\".join(self.failed_uids))}


class Reports:
    """When a pending answer is due: ``pending_s`` after the last one if something has changed, else as a sign of life.

    Time is the caller's, in seconds from anywhere.
    """

    def __init__(self, pending_s: float, now: float) -> None:
        self._pending_s = min(pending_s, SIGN_OF_LIFE_S)
        self._last = now
        self._said = 0

    def wait_s(self, now: float) -> float:
        """How long to wait before asking again."""
        since = now - self._last
        if since < self._pending_s:
            return self._pending_s - since
        return min(self._pending_s, max(SIGN_OF_LIFE_S - since, 0.0))

    def is_due(self, progress: Progress, now: float, *, requester_has_the_turn: bool = False) -> bool:
        """Whether to report now; if so, it counts as done. There are no signs of life to a requester that has yet to
        answer us: it waits for nothing, and what we send would pass for a sign of its own."""
        since = now - self._last
        changed = progress.done != self._said
        if since < (self._pending_s if changed else SIGN_OF_LIFE_S):
            return False
        self._last, self._said = now, progress.done
        return changed or not requester_has_the_turn
