"""C-MOVE and C-GET as SCU (PS3.4 C.4.2, C.4.3): have a peer send objects to another, or to us on this association."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Final

from pacslite.dicom import tags
from pacslite.dicom.charset_encoding import UTF_8
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.elements import Elements
from pacslite.dicom.encode import encode_data_set
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dimse.command import DATA_SET_FOLLOWS, CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import Context
from pacslite.errors import BadDataSetError, OutOfResources
from pacslite.net.association import Association
from pacslite.net.invoker import IncomingResponse

_MOST_LIST_BYTES: Final = 1 << 23
"""Failed SOP Instance UID List: 65,535 UIDs, more than the counters can count, take half of it."""

_MEDIUM_PRIORITY: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Sub-operations, as a response counts them; ``remaining`` is None where it does not say."""

    remaining: int | None
    completed: int
    failed: int
    warning: int

    @classmethod
    def of(cls, response: CommandSet) -> Counters:
        remaining = response.elements.get(Tag.REMAINING_SUB_OPERATIONS)
        return cls(
            remaining=remaining if isinstance(remaining, int) else None,
            completed=response.integer(Tag.COMPLETED_SUB_OPERATIONS),
            failed=response.integer(Tag.FAILED_SUB_OPERATIONS),
            warning=response.integer(Tag.WARNING_SUB_OPERATIONS),
        )

    @property
    def done(self) -> int:
        return self.completed + self.failed + self.warning


@dataclass(frozen=True, slots=True)
class Underway:
    """A pending answer: how far it is."""

    counters: Counters


@dataclass(frozen=True, slots=True)
class Ended:
    """The last word, and which objects could not be sent, if the peer lists them."""

    response: CommandSet
    counters: Counters
    failed_uids: tuple[str, ...]


async def move(
    association: Association, context: Context, identifier: Elements, *, destination: str, answer_s: float = 300.0
) -> AsyncGenerator[Underway | Ended, None]:
    """Have the peer send what ``identifier`` names to the AE ``destination``; :class:`Ended` comes last.

    Raises :class:`AssociationError`, also if the peer says nothing for ``answer_s`` seconds: peers need not tell how
    far they are (STANDARD QR-10).
    """
    elements: dict[int, Value] = {Tag.COMMAND_FIELD: CommandField.C_MOVE_RQ, Tag.MOVE_DESTINATION: destination}
    async for event in _retrieve(association, context, identifier, elements, answer_s):
        yield event


async def get(
    association: Association, context: Context, identifier: Elements, *, answer_s: float = 300.0
) -> AsyncGenerator[Underway | Ended, None]:
    """Have the peer send what ``identifier`` names to us; :class:`Ended` comes last.

    The association must have been opened with somebody who performs the peer's C-STORE operations, and with the SCP
    role proposed for their SOP classes (STANDARD QR-07). Raises :class:`AssociationError`.
    """
    async for event in _retrieve(
        association, context, identifier, {Tag.COMMAND_FIELD: CommandField.C_GET_RQ}, answer_s
    ):
        yield event


async def _retrieve(
    association: Association, context: Context, identifier: Elements, elements: Mapping[int, Value], answer_s: float
) -> AsyncGenerator[Underway | Ended, None]:
    request: dict[int, Value] = {
        Tag.AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
        Tag.PRIORITY: _MEDIUM_PRIORITY,
        Tag.COMMAND_DATA_SET_TYPE: DATA_SET_FOLLOWS,
        **elements,
    }
    encoded = encode_data_set(identifier, transfer_syntax(context.transfer_syntax), character_sets=(UTF_8,))
    async with association.invoke(context.context_id, request, encoded, answer_s=answer_s) as invocation:
        async for response in invocation:
            counters = Counters.of(response.command)
            if response.is_final:
                yield Ended(response.command, counters, await _failed_uids(response, context.transfer_syntax))
            else:
                if response.data_set is not None:
                    response.data_set.discard()
                yield Underway(counters)


async def _failed_uids(response: IncomingResponse, syntax_uid: str) -> tuple[str, ...]:
    """Failed SOP Instance UID List (0008,0058); nothing if it is not there or cannot be read."""
    if response.data_set is None:
        return ()
    try:
        data = await response.data_set.read(_MOST_LIST_BYTES)
        element = decode_data_set(data, transfer_syntax(syntax_uid)).elements.get(tags.FAILED_SOP_INSTANCE_UID_LIST)
    except (BadDataSetError, OutOfResources):
        response.data_set.discard()
        return ()
    text = element.value if element is not None else ""
    return tuple(text.split("\\")) if isinstance(text, str) and text else ()
