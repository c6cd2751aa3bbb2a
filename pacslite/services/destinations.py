"""Where objects go: to the requester over its own association (C-GET), or to a peer that we call (C-MOVE, forwards)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pacslite.archive.selection import Kind
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacslite.dicom.uids import MAX_UID_LENGTH
from pacslite.dimse.command import Tag, Value
from pacslite.dimse.service import Invoker
from pacslite.errors import AssociationError
from pacslite.net.limits import ConnectionLimits
from pacslite.net.requestor import Proposal, Remote, Requested, associate
from pacslite.ul.items import PresentationContext
from pacslite.ul.pdu import ABORT_BY_USER

MAX_CONTEXTS: Final = 128
"""Presentation Context IDs are odd and one byte (PS3.8 9.3.2.2)."""

_RELEASE_S: Final = 5.0
"""A destination that has answered for every object and does not answer the release keeps nobody waiting for longer."""


class Requester:
    """C-GET: the association on which the request came, on its contexts in which we may be SCU (STANDARD QR-07)."""

    associations: Final = 1
    may_reconnect: Final = False
    is_requester: Final = True
    elements: Final[Mapping[int, Value]] = {}

    def __init__(self, invoker: Invoker) -> None:
        self._invoker = invoker

    def portions(self, kinds: Iterable[Kind]) -> Iterator[Collection[Kind]]:
        yield frozenset(kinds)

    @asynccontextmanager
    async def connect(self, kinds: Collection[Kind]) -> AsyncIterator[Invoker]:
        yield self._invoker


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """A peer as the configuration has it: whom to call, over how many associations, how many objects at once."""

    remote: Remote
    associations: int = 1
    async_window: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How peers are called: as whom, and how long it may take."""

    calling_ae: str
    limits: ConnectionLimits
    connect_s: float
    answer_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Originator:
    """Whose C-MOVE it is: sent along with each object (PS3.7 9.1.1.1.7; STANDARD ST-05)."""

    ae_title: str
    message_id: int


class Called:
    """Associations that we open to a peer: C-MOVE, which has an ``originator``, and forwarding."""

    may_reconnect: Final = True
    is_requester: Final = False

    def __init__(self, callee: Callee, call: Call, originator: Originator | None = None) -> None:
        self._callee = callee
        self._call = call
        self.associations = callee.associations
        self.elements: Mapping[int, Value] = {}
        if originator is not None:
            self.elements = {
                Tag.MOVE_ORIGINATOR_AE_TITLE: originator.ae_title,
                Tag.MOVE_ORIGINATOR_MESSAGE_ID: originator.message_id,
            }

    def portions(self, kinds: Iterable[Kind]) -> Iterator[Collection[Kind]]:
        """As many SOP classes together as there are presentation contexts for; mostly that is all of them."""
        portion: set[Kind] = set()
        used = 0
        for sop_class, syntaxes in _by_class(kinds).items():
            needed = len(syntaxes) + 1
            if portion and used + needed > MAX_CONTEXTS:
                yield frozenset(portion)
                portion, used = set(), 0
            portion.update((sop_class, syntax) for syntax in syntaxes)
            used += needed
        if portion:
            yield frozenset(portion)

    @asynccontextmanager
    async def connect(self, kinds: Collection[Kind]) -> AsyncIterator[Invoker]:
        callee, call = self._callee, self._call
        contexts = tuple(proposed_contexts(kinds))
        if not contexts:
            raise AssociationError("the objects are of no SOP class that could be proposed")
        proposal = Proposal(calling_ae=call.calling_ae, contexts=contexts, async_window=callee.async_window)
        async with associate(
            callee.remote, proposal, limits=call.limits, connect_s=call.connect_s, answer_s=call.answer_s
        ) as requested:
            yield requested.association
            await release(requested)


async def release(requested: Requested) -> None:
    """In good order if the peer goes along; everything was answered, so nothing is lost if it does not."""
    association = requested.association
    try:
        async with asyncio.timeout(_RELEASE_S):
            await association.release()
    except TimeoutError:
        association.protocol.hang_up("release not answered", source=ABORT_BY_USER)


def proposed_contexts(kinds: Iterable[Kind]) -> Iterator[PresentationContext]:
    """For each SOP class its stored transfer syntaxes, each alone so that none is answered in another's place, and one
    context of those that every peer has to know one of (PS3.5 10.1)."""
    proposals = (
        (sop_class, transfer_syntaxes)
        for sop_class, syntaxes in _by_class(kinds).items()
        if _is_uid(sop_class)
        for transfer_syntaxes in (
            *((syntax,) for syntax in syntaxes if _is_uid(syntax)),
            (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN),
        )
    )
    for number, (sop_class, transfer_syntaxes) in enumerate(proposals):
        if number == MAX_CONTEXTS:
            return  # one SOP class in more than 127 transfer syntaxes
        yield PresentationContext(2 * number + 1, sop_class, transfer_syntaxes)


def _by_class(kinds: Iterable[Kind]) -> dict[str, list[str]]:
    """The transfer syntaxes of each SOP class, in an order that does not change from one time to the next."""
    classes: dict[str, list[str]] = {}
    for sop_class, syntax in sorted(kinds):
        classes.setdefault(sop_class, []).append(syntax)
    return classes


def _is_uid(uid: str) -> bool:
    """Whether it can be proposed: a store may hold what somebody once named by no UID at all."""
    return 0 < len(uid) <= MAX_UID_LENGTH
