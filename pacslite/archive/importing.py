"""Files straight into the archive, by the same way as objects from the network.

Started again after an interruption, what is in the archive already is found identical and costs no writing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from pacslite.archive.archive import Archive
from pacslite.archive.examine import HEAD_BYTES, meta_of, origin_of
from pacslite.archive.model import Origin, Stored
from pacslite.dicom.header import HeaderReader
from pacslite.dicom.transfer_syntax import transfer_syntax

_PIECE = 1 << 20  # also how far the SOP UIDs are looked for in a file whose File Meta does not have them


async def import_file(archive: Archive, path: Path, *, source_ae: str = "") -> Stored:
    """Store the data set of a DICOM file, with or without File Meta Information; the file is only read.

    Raises :class:`NotPart10Error` for what is none, :class:`OSError` for what cannot be read, and what
    :meth:`Ingest.commit` raises. ``source_ae`` is recorded where the file does not say whence it came.
    """
    run = archive.workshop.threads.run
    file = await run(_open, path)
    try:
        origin, piece = await run(_begin, file, source_ae)
        async with archive.ingest(origin) as ingest:
            while piece:
                await ingest.write(piece)
                piece = await run(file.read, _PIECE)
            return await ingest.commit()
    finally:
        await run(file.close)


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _begin(file: BinaryIO, source_ae: str) -> tuple[Origin, bytes]:
    """Who the object is, and the first piece of its data set."""
    meta = meta_of(file.read(HEAD_BYTES))
    file.seek(meta.data_set_offset)
    piece = file.read(_PIECE)
    reader = HeaderReader(transfer_syntax(meta.transfer_syntax_uid))
    if not (meta.sop_class_uid and meta.sop_instance_uid):
        reader.feed(piece)
    origin = origin_of(meta, reader.finish())
    return (replace(origin, calling_ae=source_ae) if source_ae and not origin.calling_ae else origin), piece
