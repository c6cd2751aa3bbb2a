"""Storage service class (PS3.4 Annex B): a C-STORE becomes an object in the archive, or an answer that says why not.

Success is answered only after the archive has made the object durable; the level of support is 2 (Full, PS3.4 B.4.1):
every attribute is kept as it was sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from pacslite.archive.archive import Archive
from pacslite.archive.model import Origin
from pacslite.dicom.uids import STORAGE_SOP_CLASSES, name_of
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, CommandSet, Tag
from pacslite.dimse.service import Context, Request, Response
from pacslite.dimse.status import DATA_SET_DOES_NOT_MATCH_SOP_CLASS, SUCCESS
from pacslite.errors import InvalidObjectInstance, MistypedArgument
from pacslite.net.association import Association

MEDIUM_PRIORITY = 0
"""Priority (0000,0700): 0 medium, 1 high, 2 low (PS3.7 Table E.1-1)."""

_STANDARD_UIDS = "1.2.840.10008."
_STANDARD_STORAGE = ("1.2.840.10008.5.1.4.1.1.", "1.2.840.10008.5.1.4.34.")
"""Where PS3.4 B.5 puts its Storage SOP Classes; new ones of later editions come there too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorableClasses:
    """Which abstract syntaxes are taken for storage: all that this edition knows, and by setting those it does not."""

    unknown: bool = True
    private: bool = True
    related_general: bool = True

    def serves(self, abstract_syntax: str, related_general: tuple[str, ...]) -> bool:
        """Whether ``abstract_syntax`` is one, or one of its Related General SOP Classes is (PS3.4 B.3.1.4)."""
        if abstract_syntax in STORAGE_SOP_CLASSES:
            return True
        if self.related_general and any(general in STORAGE_SOP_CLASSES for general in related_general):
            return True
        if abstract_syntax.startswith(_STANDARD_UIDS):
            is_new = name_of(abstract_syntax) == abstract_syntax  # a name: known, and no storage
            return self.unknown and is_new and abstract_syntax.startswith(_STANDARD_STORAGE)
        return self.private


class StorageService:
    """Stores what it is sent into ``archive``."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        command, data_set = request.command, request.data_set
        if data_set is None:
            raise MistypedArgument("C-STORE without a data set", offending=(Tag.COMMAND_DATA_SET_TYPE,))
        if not command.sop_instance:
            raise InvalidObjectInstance(
                "C-STORE without a SOP Instance UID", offending=(Tag.AFFECTED_SOP_INSTANCE_UID,)
            )
        origin = Origin(
            sop_class_uid=command.sop_class,
            sop_instance_uid=command.sop_instance,
            transfer_syntax_uid=request.context.transfer_syntax,
            calling_ae=request.peer.calling_ae,
            called_ae=request.peer.called_ae,
            address=request.peer.address,
        )
        async with self._archive.ingest(origin) as ingest:
            async for piece in data_set.pieces():
                await ingest.write(piece)
            stored = await ingest.commit()
        yield Response(status=DATA_SET_DOES_NOT_MATCH_SOP_CLASS if stored.warning else SUCCESS, comment=stored.warning)


async def store(
    association: Association,
    context: Context,
    data_set: bytes | AsyncIterator[bytes],
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    answer_s: float = 60.0,
) -> CommandSet:
    """C-STORE as SCU: send one object, already in the context's transfer syntax, and return the response.

    An iterator's pieces are of even length and not empty. Raises :class:`AssociationError`.
    """
    return await association.call(
        context.context_id,
        {
            Tag.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Tag.PRIORITY: MEDIUM_PRIORITY,
            Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
            Tag.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
        },
        data_set,
        answer_s=answer_s,
    )
