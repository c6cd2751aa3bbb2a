"""Query service class (PS3.4 Annex C, C-FIND): an identifier becomes a query of the archive, each row an answer.

Theory of operation. The identifier is read whole (it is small and bounded) and turned into a query (``identifier.py``).
Rows come from the archive in batches, the first one soon; each row is one pending answer, encoded by what was worked
out once for all. A C-CANCEL is honoured between rows, and while the archive searches: then the search is broken off.
The sender of the answers sees to it that C-CANCELs are read meanwhile (``net/sender.py``).
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache

from pacslite.archive.archive import Archive
from pacslite.archive.query import Query, Row, Wanted
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.elements import Element
from pacslite.dicom.encode import AnswerEncoder
from pacslite.dicom.levels import MODEL_OF, Level, Model
from pacslite.dicom.tags import keyword_of
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dimse.command import Tag
from pacslite.dimse.service import Cancellation, Request, Response
from pacslite.dimse.status import CANCEL, PENDING, PENDING_WITH_WARNING, SUCCESS
from pacslite.errors import BadDataSetError, MistypedArgument, OutOfResources, UnableToProcess
from pacslite.facts import Observe, Peer, QueryServed
from pacslite.services.identifier import Question, question
from pacslite.services.interruption import Interrupted, Interruptible
from pacslite.services.negotiated import Agreed
from pacslite.services.time_zone import AnswersInZone

MOST_REMEMBERED = 100
"""Attributes of answers whose encoder is kept."""


HELD_BACK = 1000
"""Answers that wait until it is known whether there are more than there may be; without a limit none does."""


class QueryService:
    """Answers queries from ``archive`` as ``ae_title``. ``max_answers`` of 0 is no limit."""

    def __init__(
        self, archive: Archive, *, ae_title: str, max_identifier_bytes: int, max_answers: int, observe: Observe
    ) -> None:
        self._archive = archive
        self._ae_title = ae_title
        self._max_identifier_bytes = max_identifier_bytes
        self._max_answers = max_answers
        self._observe = observe

    async def serve(self, request: Request) -> AsyncGenerator[Response, None]:
        model = MODEL_OF[request.context.abstract_syntax]
        asked, encoder = await self._understand(request, model)
        account = _Account(request.peer, model, asked)
        status = PENDING if asked.complete else PENDING_WITH_WARNING
        cancellation = request.cancellation
        try:
            async with aclosing(self._find(asked.query)) as batches:
                while rows := await _next(batches, cancellation):
                    account.found()
                    for row in rows:
                        if cancellation.requested:
                            raise Interrupted
                        yield Response(status=status, data_set=encoder.encode(row))
                        account.answers += 1
            account.outcome = "complete"
            final = SUCCESS
        except Interrupted:
            account.outcome = "cancelled"
            final = CANCEL
        except sqlite3.Error as error:
            raise UnableToProcess(f"the index cannot be read: {error}") from error
        except (GeneratorExit, asyncio.CancelledError):
            account.outcome = "broken off"
            raise
        finally:
            self._observe(account.closed())
        yield Response(status=final)

    def _find(self, query: Query) -> AsyncGenerator[Sequence[Row], None]:
        """The archive's rows, in the requester's time zone where that counts (no patient has one), and no more than
        there may be."""
        if query.utc_offset_minutes is None or query.level is Level.PATIENT:
            batches = self._archive.find(query)
        else:
            in_zone = AnswersInZone(
                query.wanted,
                wanted_minutes=query.utc_offset_minutes,
                usual_minutes=self._archive.settings.utc_offset_minutes,
            )
            batches = _moved(self._archive.find(replace(query, wanted=in_zone.wanted)), in_zone)
        return _limited(batches, self._max_answers) if self._max_answers else batches

    async def _understand(self, request: Request, model: Model) -> tuple[Question, AnswerEncoder]:
        """What is asked, and what encodes the answers to it in the requester's transfer syntax and character set."""
        if request.data_set is None:
            raise MistypedArgument("C-FIND without an identifier", offending=(Tag.COMMAND_DATA_SET_TYPE,))
        data = await request.data_set.read(self._max_identifier_bytes)
        syntax = transfer_syntax(request.context.transfer_syntax)
        try:
            identifier = decode_data_set(data, syntax)
        except BadDataSetError as error:
            raise UnableToProcess(f"identifier: {error}", offending=(error.tag,) if error.tag else ()) from error
        asked = question(identifier.elements, model, Agreed.by(request.context.extended), ae_title=self._ae_title)
        encoder_of = _encoder if _is_usual(asked.query.wanted) else _encoder.__wrapped__
        fixed = tuple(asked.fixed.items())
        return asked, encoder_of(asked.query.wanted, syntax.uid, identifier.character_sets, fixed)


async def _moved(
    batches: AsyncGenerator[Sequence[Row], None], in_zone: AnswersInZone
) -> AsyncGenerator[Sequence[Row], None]:
    async with aclosing(batches):
        async for rows in batches:
            yield [in_zone(row) for row in rows]


async def _limited(batches: AsyncGenerator[Sequence[Row], None], most: int) -> AsyncGenerator[Sequence[Row], None]:
    """At most ``most`` rows; raises :class:`OutOfResources` where there are more, before the first if that is soon."""
    held: list[Row] | None = []
    found = 0
    async with aclosing(batches):
        async for rows in batches:
            found += len(rows)
            if found > most:
                raise OutOfResources(f"more than {most} matches; ask for less")
            if held is None:
                yield rows
                continue
            held += rows
            if found >= HELD_BACK:
                yield held
                held = None
    if held:
        yield held


@lru_cache(maxsize=128)
def _encoder(
    wanted: tuple[Wanted, ...], syntax: str, character_sets: tuple[str, ...], fixed: tuple[tuple[int, Element], ...]
) -> AnswerEncoder:
    """Remembered, as workstations ask the same attributes over and over."""
    return AnswerEncoder(wanted, transfer_syntax(syntax), character_sets=character_sets, fixed=dict(fixed))


def _is_usual(wanted: tuple[Wanted, ...]) -> bool:
    """Nobody shall fill the memory with what is asked once."""
    return len(wanted) <= MOST_REMEMBERED and not any(one.items for one in wanted)


async def _next(batches: AsyncGenerator[Sequence[Row], None], cancellation: Cancellation) -> Sequence[Row]:
    """The next batch, none at the end; raises :class:`Interrupted` if the requester cancels before it comes."""
    async with Interruptible(cancellation):
        return await anext(batches, None) or ()


class _Account:
    """What became of one query, for whoever observes."""

    __slots__ = ("_asked", "_first_s", "_model", "_peer", "_started", "answers", "outcome")

    def __init__(self, peer: Peer, model: Model, asked: Question) -> None:
        self.answers = 0
        self.outcome = "failed"
        self._peer = peer
        self._model = model
        self._asked = asked
        self._started = time.perf_counter()
        self._first_s: float | None = None

    def found(self) -> None:
        if self._first_s is None:
            self._first_s = time.perf_counter() - self._started

    def closed(self) -> QueryServed:
        seconds = time.perf_counter() - self._started
        return QueryServed(
            peer=self._peer,
            model=self._model.name,
            level=self._asked.query.level.value,
            keys=tuple(keyword_of(key.tag) for key in self._asked.query.keys),
            answers=self.answers,
            outcome=self.outcome,
            first_s=seconds if self._first_s is None else self._first_s,
            seconds=seconds,
        )
