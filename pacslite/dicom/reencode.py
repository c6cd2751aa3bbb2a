"""Reencoder: a data set in another transfer syntax, as its bytes arrive, without touching what its values mean.

Theory of operation. A :class:`~pacslite.dicom.walk.Walker` reads the data set and tells a
:class:`~pacslite.dicom.rewriting.Writer` what is in it; that writes it anew. Values keep their bytes, but for the order
in words where the byte order changes (PS3.5 7.3). Heads are written anew, so whatever holds other heads changes its
length, which is not known before its end: sequences and items are written with undefined length and delimiters. Where
heads stay as they are, sequences of defined length are copied like any other value. Group lengths, retired and only
right by chance afterwards, are left out, and so are elements that belong into File Meta Information or a command.

Not a byte is kept but the piece at hand, so neither a long value nor a long data set needs memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from pacslite.dicom.heads import MalformedDataSet
from pacslite.dicom.inflate import Inflater
from pacslite.dicom.rewriting import Output, Rewrite, Writer, even
from pacslite.dicom.transfer_syntax import TransferSyntax
from pacslite.dicom.walk import Walker

_NO_LIMIT: Final = 1 << 62


class Reencoder:
    """Feed it a data set, take what comes out, then finish. :class:`MalformedDataSet` for what cannot be understood.

    `pixel_representation` is the one of the data set, if it is known: some attributes that stand before it have their
    VR from it. `rewrites` are the exceptions: what is to be other than it was, by the offset where the data set (0) or
    the item with the Pixel Data begins.
    """

    def __init__(
        self,
        source: TransferSyntax,
        target: TransferSyntax,
        *,
        pixel_representation: int | None = None,
        rewrites: Mapping[int, Rewrite] | None = None,
    ) -> None:
        self._output = Output()
        writer = Writer(
            self._output, source, target, pixel_representation=pixel_representation, rewrites=rewrites or {}
        )
        self._writer = writer
        self._walker = Walker(source, writer)
        self._inflater = Inflater(_NO_LIMIT) if source.deflated else None
        self._deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS) if target.deflated else None
        self._odd = b""  # what would make a deflated piece odd

    @property
    def skippable(self) -> int:
        """How many of the next bytes need not be fed, as nothing of them will come out."""
        return self._walker.left if self._output.is_closed and self._inflater is None else 0

    def skip(self, size: int) -> None:
        """Go on as if `size` bytes, at most :attr:`skippable`, had been fed."""
        self._walker.skip(size)

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take the next piece, of any size; pieces of even length come out, not all of them at once."""
        for plain in self._inflater.feed(data) if self._inflater else (data,):
            self._walker.feed(plain)
            yield from self._pieces()
        self._look_for_damage()

    def finish(self) -> Iterator[bytes]:
        """The rest, when there is no more to feed."""
        for plain in self._inflater.finish() if self._inflater else ():
            self._walker.feed(plain)
            yield from self._pieces()
        self._look_for_damage()
        self._walker.finish()
        self._writer.finish()
        yield from self._pieces()
        if self._deflater is not None:
            yield from even(iter((self._odd, self._deflater.flush())))  # PS3.5 A.5: padded to even length

    def _look_for_damage(self) -> None:
        if self._inflater is not None and self._inflater.problem:
            raise MalformedDataSet(self._inflater.problem)

    def _pieces(self) -> Iterator[bytes]:
        for piece in self._output.take():
            if self._deflater is None:
                yield piece
            elif deflated := self._odd + self._deflater.compress(piece):
                end = len(deflated) & ~1
                self._odd = deflated[end:]
                if end:
                    yield deflated[:end]
