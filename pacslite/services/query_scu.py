"""C-FIND as SCU (PS3.4 C.4.1): ask a peer, and take its answers as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from pacslite.dicom.charset_encoding import UTF_8
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.elements import Elements
from pacslite.dicom.encode import encode_data_set
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import Context
from pacslite.dimse.status import CANCEL, PENDING
from pacslite.errors import BadDataSetError, OutOfResources
from pacslite.net.association import Association
from pacslite.net.invoker import IncomingResponse
from pacslite.services.negotiated import Agreed

MOST_ANSWER_BYTES: Final = 1 << 20
"""A longer answer is not read: it is no list of keys, whatever it is."""

_MEDIUM_PRIORITY: Final = 0


@dataclass(frozen=True, slots=True)
class Found:
    """An answer. ``complete`` is false where the peer says that it does not support some key (FF01)."""

    elements: Elements
    complete: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An answer that is no data set."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last word. ``cut`` says that there was, or may have been, more than the limit."""

    response: CommandSet
    cut: bool


def offered(wish: Agreed) -> bytes:
    """What SOP Class Extended Negotiation offers for ``wish`` (PS3.4 Table C.5-1); empty if nothing is wished for."""
    information = bytes(
        (
            wish.relational,
            wish.combined_date_time,
            wish.fuzzy,
            wish.time_zone,
            False,
            wish.empty_value,
            wish.multiple_values,
        )
    ).rstrip(b"\0")
    # The first three bytes are those of every edition; older peers know no more.
    return information.ljust(3, b"\0") if information else b""


async def find(
    association: Association,
    context: Context,
    identifier: Elements,
    *,
    limit: int = 0,
    character_sets: Sequence[str] = (UTF_8,),
    answer_s: float = 60.0,
) -> AsyncGenerator[Found | Unreadable | Finished, None]:
    """Ask with ``identifier`` and yield the answers, :class:`Finished` last.

    After ``limit`` answers (0: no limit) the peer is asked to stop (C-CANCEL), and what it still sends is dropped. The
    identifier is labelled with ``character_sets`` also where it is plain ASCII: many peers answer in the set that they
    were asked in. Raises :class:`AssociationError`.
    """
    syntax = transfer_syntax(context.transfer_syntax)
    request: dict[int, Value] = {
        Tag.AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
        Tag.COMMAND_FIELD: CommandField.C_FIND_RQ,
        Tag.PRIORITY: _MEDIUM_PRIORITY,
        Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
    }
    encoded = encode_data_set(identifier, syntax, character_sets=character_sets, labelled=bool(character_sets))
    answers = dropped = 0
    async with association.invoke(context.context_id, request, encoded, answer_s=answer_s) as invocation:
        async for response in invocation:
            asked_to_stop = bool(limit) and answers >= limit
            if response.is_final:
                if response.data_set is not None:
                    response.data_set.discard()
                yield Finished(
                    response.command, cut=dropped > 0 or (asked_to_stop and response.command.status == CANCEL)
                )
            elif asked_to_stop:
                dropped += 1
                if response.data_set is not None:
                    response.data_set.discard()
            else:
                answers += 1
                yield await _answer(response, context.transfer_syntax)
                if answers == limit:
                    await invocation.cancel()


async def _answer(response: IncomingResponse, syntax_uid: str) -> Found | Unreadable:
    if response.data_set is None:
        return Unreadable("an answer without an identifier")
    try:
        data = await response.data_set.read(MOST_ANSWER_BYTES)
        decoded = decode_data_set(data, transfer_syntax(syntax_uid))
    except (BadDataSetError, OutOfResources) as error:
        response.data_set.discard()
        return Unreadable(str(error))
    return Found(decoded.elements, complete=response.command.status == PENDING)
