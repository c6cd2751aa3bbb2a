"""Who is told what is in a data set: see :mod:`pacslite.dicom.walk`."""

from __future__ import annotations

from typing import Protocol

from pacslite.dicom.heads import Head


class Visitor(Protocol):
    """Who is told. A value is one `value`, or a `begin_value`, some `piece` and an `end_value`."""

    def enters(self, head: Head) -> bool:
        """Whether to go into this sequence of defined length; otherwise it is told like any other value."""

    def value(self, head: Head, value: bytes) -> None: ...
    def begin_value(self, head: Head) -> None: ...
    def piece(self, piece: bytes) -> None: ...
    def end_value(self) -> None: ...

    def begin_sequence(self, head: Head) -> None: ...
    def begin_item(self, offset: int) -> None:
        """An item, whose first element (if it has any) begins at `offset`."""

    def end_item(self) -> None: ...
    def end_sequence(self) -> None: ...

    def begin_fragments(self, head: Head) -> None:
        """Encapsulated data (PS3.5 A.4): fragments follow, the first is the Basic Offset Table."""

    def begin_fragment(self, length: int) -> None:
        """A fragment: some `piece` and an `end_value` follow."""

    def end_fragments(self) -> None: ...
