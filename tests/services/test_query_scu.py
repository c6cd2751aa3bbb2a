"""C-FIND as SCU: answers as they come, the limit, and what peers get wrong. STANDARD 4."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from kit.encode import EXPLICIT_LITTLE
from kit.scripted import SYNTAXES, Serve, scripted
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.elements import Element
from pacslite.dicom.encode import encode_data_set
from pacslite.dicom.levels import STUDY_ROOT
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dimse.command import CommandField, Tag
from pacslite.dimse.service import Request, Response
from pacslite.dimse.status import CANCEL, PENDING, PENDING_WITH_WARNING, SUCCESS
from pacslite.errors import AssociationError, InvalidKey
from pacslite.net.requestor import Proposal, Remote, Requested, associate
from pacslite.services.negotiated import Agreed, find_negotiation
from pacslite.services.query_scu import MOST_ANSWER_BYTES, Finished, Found, Unreadable, find, offered
from pacslite.ul.items import PresentationContext, SOPClassExtendedNegotiation

EXPLICIT = transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN)
NAME = 0x00100010
KEYS = {0x00080052: Element("CS", "STUDY"), NAME: Element("PN", "")}


def answer(name: str, status: int = PENDING) -> Response:
    data_set = encode_data_set({NAME: Element("PN", name)}, EXPLICIT, character_sets=("ISO_IR 144",))
    return Response(status=status, data_set=data_set)


def proposal(information: bytes = b"") -> Proposal:
    return Proposal(
        calling_ae="US",
        contexts=(PresentationContext(1, STUDY_ROOT.find, SYNTAXES),),
        extended=(SOPClassExtendedNegotiation(STUDY_ROOT.find, information),) if information else (),
    )


async def ask(requested: Requested, *, limit: int = 0, answer_s: float = 10) -> list[Found | Unreadable | Finished]:
    [context] = requested.contexts_for(STUDY_ROOT.find)
    events = find(requested.association, context, KEYS, limit=limit, answer_s=answer_s)
    async with aclosing(events):
        return [event async for event in events]


async def ask_peer(script: Serve, *, limit: int = 0) -> list[Found | Unreadable | Finished]:
    async with scripted(script) as (remote, _), associate(remote, proposal()) as requested:
        return await ask(requested, limit=limit)


async def test_answers_in_order_with_the_last_word_behind() -> None:
    """QF-01, QF-20: each read in the character set that it says."""

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        yield answer("Anna")
        yield answer("Жук", PENDING_WITH_WARNING)
        yield Response()

    first, second, last = await ask_peer(script)
    assert first == Found({NAME: Element("PN", "Anna")}, complete=True)
    assert isinstance(second, Found)
    assert (second.elements[NAME].value, second.complete) == ("Жук", False)
    assert isinstance(last, Finished)
    assert (last.response.status, last.cut) == (SUCCESS, False)


async def test_what_is_sent() -> None:
    """QF-04, QF-20: the identifier names a character set although it is plain."""
    seen: list[bytes] = []

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        assert request.data_set is not None
        seen.append(await request.data_set.read(10_000))
        yield Response()

    async with scripted(script) as (remote, services), associate(remote, proposal()) as requested:
        await ask(requested)
    [data] = seen
    [request] = services["find"].requests
    assert request.command.field == CommandField.C_FIND_RQ
    assert request.command.sop_class == STUDY_ROOT.find
    assert request.command.integer(Tag.PRIORITY) == 0
    decoded = decode_data_set(data, EXPLICIT)
    assert decoded.character_sets == ("ISO_IR 192",)
    assert {**decoded.elements, **KEYS} == decoded.elements


async def test_the_limit_cancels() -> None:
    """QF-24: after N answers the peer hears a C-CANCEL; what was on its way is dropped."""

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        for number in range(3):
            yield answer(f"N{number}")
        cancelled = asyncio.Event()
        request.cancellation.when_requested(cancelled.set)
        if not request.cancellation.requested:
            await cancelled.wait()
        yield answer("late")
        yield Response(status=CANCEL)

    *found, last = await ask_peer(script, limit=2)
    assert [one.elements[NAME].value for one in found if isinstance(one, Found)] == ["N0", "N1"]
    assert isinstance(last, Finished)
    assert (last.response.status, last.cut) == (CANCEL, True)


async def test_a_limit_that_is_not_crossed_cuts_nothing() -> None:
    async def script(request: Request) -> AsyncGenerator[Response, None]:
        yield answer("A")
        yield Response()

    for limit in (1, 2):
        first, last = await ask_peer(script, limit=limit)
        assert isinstance(first, Found)
        assert isinstance(last, Finished)
        assert not last.cut


async def test_a_failure_is_the_last_word() -> None:
    """QF-01: with its comment and the offending elements."""

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        yield answer("A")
        raise InvalidKey("no wildcards here", offending=(0x0020000D,))

    *_, last = await ask_peer(script)
    assert isinstance(last, Finished)
    assert last.response.status == 0xA900
    assert last.response.text(Tag.ERROR_COMMENT) == "no wildcards here"
    assert last.response.elements[Tag.OFFENDING_ELEMENT] == (0x0020000D,)


@pytest.mark.parametrize(
    "data_set",
    [
        None,
        EXPLICIT_LITTLE.element(NAME, "PN", "A^B ", length=200),
        EXPLICIT_LITTLE.element(0x00104000, "UT", b"x" * (MOST_ANSWER_BYTES + 2)),
    ],
    ids=["missing", "damaged", "too long"],
)
async def test_an_answer_that_cannot_be_read_does_not_end_the_others(data_set: bytes | None) -> None:
    async def script(request: Request) -> AsyncGenerator[Response, None]:
        yield Response(status=PENDING, data_set=data_set)
        yield answer("B")
        yield Response()

    bad, good, last = await ask_peer(script)
    assert isinstance(bad, Unreadable)
    assert bad.reason
    assert isinstance(good, Found)
    assert isinstance(last, Finished)


async def test_a_peer_that_vanishes() -> None:
    async def script(request: Request) -> AsyncGenerator[Response, None]:
        yield answer("A")
        await asyncio.Event().wait()
        yield Response()

    async def give_up(remote: Remote) -> None:
        async with associate(remote, proposal()) as requested:
            await ask(requested, answer_s=0.05)

    async with scripted(script) as (remote, _):
        with pytest.raises(AssociationError, match="no answer"):
            await give_up(remote)


@pytest.mark.parametrize(
    ("wish", "information"),
    [
        (Agreed(), b""),
        (Agreed(relational=True), b"\1\0\0"),
        (Agreed(fuzzy=True), b"\0\0\1"),
        (Agreed(relational=True, combined_date_time=True, fuzzy=True), b"\1\1\1"),
        (Agreed(time_zone=True), b"\0\0\0\1"),
        (Agreed(multiple_values=True), b"\0\0\0\0\0\0\1"),
        (Agreed(empty_value=True), b"\0\0\0\0\0\1"),
    ],
)
async def test_extended_negotiation(wish: Agreed, information: bytes) -> None:
    """QF-06, QF-15, QF-23: what is offered, and what comes of it."""

    async def script(request: Request) -> AsyncGenerator[Response, None]:
        yield Response()

    assert offered(wish) == information
    async with (
        scripted(script, extended=find_negotiation) as (remote, _),
        associate(remote, proposal(information)) as requested,
    ):
        [context] = requested.contexts_for(STUDY_ROOT.find)
        assert Agreed.by(context.extended) == wish
        await ask(requested)
