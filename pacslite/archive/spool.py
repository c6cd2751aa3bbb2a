"""Pieces of a data set on their way to the disk, kept as they came."""

from __future__ import annotations

from pacslite.archive.blobs.disk import Buffer

_SMALL = 4096  # below this a copy costs less than an object of its own, and many of them cannot pile up


class Spool:
    """Collects pieces without copying the large ones. What is given must not be changed afterwards."""

    __slots__ = ("_open", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[Buffer] = []
        self.size = 0
        self._open: bytearray | None = None

    def append(self, data: bytes | memoryview) -> None:
        size = len(data)
        self.size += size
        if size >= _SMALL:
            self.pieces.append(data)
            self._open = None
        elif self._open is None:
            self._open = bytearray(data)
            self.pieces.append(self._open)
        else:
            self._open += data

    def take(self) -> list[Buffer]:
        """Everything collected so far; the spool starts anew."""
        pieces, self.pieces, self.size, self._open = self.pieces, [], 0, None
        return pieces
