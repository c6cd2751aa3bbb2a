"""Which file goes over which association next: pure bookkeeping for ``pacslite send``.

Theory of operation. A file needs a presentation context for its SOP class in its own transfer syntax, because data sets
are sent as they are. An association carries at most 128 contexts (their IDs are the odd numbers up to 255, UL-13), so
files wait here by the context they need. Whoever has an association takes the oldest file that its contexts cover; when
none of the waiting files is covered, a new association has to be asked for, with the contexts that are wanted now and,
in the room that is left, those that were wanted before: folders tend to come back to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from pacslite.ul.items import PresentationContext

MAX_CONTEXTS: Final = 128


class ContextKey(NamedTuple):
    """What a presentation context is asked for: one abstract syntax in one transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendableFile:
    """A DICOM file and what was read from its beginning; the data set is the rest, from ``data_set_offset`` on."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int
    data_set_bytes: int
    attempts: int = 0
    """How often an association was lost before the file was answered for."""

    @property
    def context(self) -> ContextKey:
        return ContextKey(self.sop_class_uid, self.transfer_syntax_uid)


def presentation_contexts(keys: Iterable[ContextKey]) -> tuple[PresentationContext, ...]:
    """The proposals for at most :data:`MAX_CONTEXTS` keys, with odd context IDs (UL-13), one transfer syntax each."""
    return tuple(
        PresentationContext(2 * position + 1, key.sop_class_uid, (key.transfer_syntax_uid,))
        for position, key in enumerate(keys)
    )


class SendingPlan:
    """The files that wait to be sent."""

    def __init__(self, *, max_contexts: int = MAX_CONTEXTS) -> None:
        self._max_contexts = max_contexts
        self._waiting: dict[ContextKey, deque[tuple[int, SendableFile]]] = {}
        self._known: dict[ContextKey, None] = {}  # ordered by when they were wanted last
        self._added = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, file: SendableFile) -> None:
        """Let ``file`` wait, behind all that wait already."""
        key = file.context
        self._known.pop(key, None)
        self._known[key] = None
        self._waiting.setdefault(key, deque()).append((self._added, file))
        self._added += 1
        self._length += 1

    def take(self, keys: Collection[ContextKey]) -> SendableFile | None:
        """The oldest waiting file that one of ``keys`` covers; None if there is none."""
        queues = [queue for key, queue in self._waiting.items() if key in keys]
        if not queues:
            return None
        _, file = min(queues, key=lambda queue: queue[0][0]).popleft()
        if not self._waiting[file.context]:
            del self._waiting[file.context]
        self._length -= 1
        return file

    def take_any(self) -> SendableFile | None:
        """The oldest waiting file of all."""
        return self.take(self._waiting.keys())

    def contexts_to_propose(self) -> tuple[ContextKey, ...]:
        """What to ask the next association for: what the longest waiting files need, then what was needed lately."""
        wanted = sorted(self._waiting, key=lambda key: self._waiting[key][0][0])
        earlier = (key for key in reversed(self._known) if key not in self._waiting)
        return tuple(islice((*wanted, *earlier), self._max_contexts))
