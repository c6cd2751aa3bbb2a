"""Reading stored files again: the same header path as for arriving objects, for recovery, adoption and rebuilding."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from pacslite.archive.blobs.paths import blob_path
from pacslite.archive.identity import identify
from pacslite.archive.index.entry import Entry, instance_values, upper_key
from pacslite.archive.model import Origin
from pacslite.archive.settings import ArchiveSettings
from pacslite.dicom import tags
from pacslite.dicom.header import Header, HeaderReader
from pacslite.dicom.part10 import FileMeta, read_file_meta
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.uids import IMPLEMENTATION_CLASS_UID

HEAD_BYTES = 64 * 1024
_PIECE = 1 << 20
_LENGTH_AT = 140
_META_AT = 144


def read_meta(path: Path) -> FileMeta:
    """The File Meta Information of a file; :class:`NotPart10Error` if it has none that can be read."""
    with path.open("rb") as file:
        return meta_of(file.read(HEAD_BYTES))


def meta_of(head: bytes) -> FileMeta:
    """In a file that we wrote, the data set begins where the group length says.

    A data set may begin with group 0002 itself (illegal, and sent nevertheless); elsewhere that counts as File Meta.
    """
    end = _META_AT + int.from_bytes(head[_LENGTH_AT:_META_AT], "little")
    ours = head[: min(end, len(head))]
    if f"{IMPLEMENTATION_CLASS_UID}".encode() in ours:
        return replace(read_file_meta(ours), data_set_offset=end)
    return read_file_meta(head)


def examine(folder: Path, path: str, settings: ArchiveSettings) -> Entry:
    """Everything the index keeps of the file at ``path``, from the file alone.

    Raises :class:`NotPart10Error`, :class:`DataSetMismatch` or :class:`CannotUnderstand` for what cannot be indexed.
    """
    with (folder / path).open("rb") as file:
        status = os.fstat(file.fileno())
        meta = meta_of(file.read(HEAD_BYTES))
        reader = HeaderReader(
            transfer_syntax(meta.transfer_syntax_uid),
            limit_bytes=settings.header_limit_bytes,
            max_depth=settings.header_max_depth,
        )
        file.seek(meta.data_set_offset)
        digest, done = blake3(), False
        while piece := file.read(_PIECE):
            done = done or reader.feed(piece)
            digest.update(piece)
    header = reader.finish()
    origin = origin_of(meta, header)
    identity = identify(origin, header)
    return Entry(
        origin=origin,
        header=header,
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        path=path,
        usual_path=blob_path(
            study_uid=identity.study_uid,
            series_uid=identity.series_uid,
            sop_class_uid=origin.sop_class_uid,
            sop_instance_uid=origin.sop_instance_uid,
        ),
        size=status.st_size - meta.data_set_offset,
        data_set_offset=meta.data_set_offset,
        digest=digest.digest(),
        stored_at=status.st_mtime,
        upper=upper_key(header),
        attributes=instance_values(header),
    )


def origin_of(meta: FileMeta, header: Header) -> Origin:
    """What the file says about itself, completed from the data set where its File Meta is silent."""
    return Origin(
        sop_class_uid=meta.sop_class_uid or header.uid(tags.SOP_CLASS_UID),
        sop_instance_uid=meta.sop_instance_uid or header.uid(tags.SOP_INSTANCE_UID),
        transfer_syntax_uid=meta.transfer_syntax_uid,
        calling_ae=meta.source_ae,
        called_ae=meta.receiving_ae,
    )
