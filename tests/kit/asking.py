"""The query service on a real archive, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from kit.finding import STUDY_ROOT
from kit.identifiers import EXPLICIT, decoded, encoded
from kit.operation import Bytes, Never, Nobody
from kit.samples import Sample, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.dimse.command import CommandField, CommandSet, Tag
from pacslite.dimse.service import Cancellation, Context, Request, Response
from pacslite.facts import Fact, Peer
from pacslite.services.negotiated import find_negotiation
from pacslite.services.query import QueryService

PEER = Peer(association=1, address="127.0.0.1", port=1, calling_ae="WS1", called_ae="PACSLITE")
EVERYTHING = b"\1\1\1\1\1\1\1"


@dataclass(frozen=True, slots=True)
class Asked:
    """All responses to one request."""

    pending: list[Response]
    final: Response
    syntax: str

    @property
    def statuses(self) -> set[int]:
        """Of the pending responses."""
        return {response.status for response in self.pending}

    @property
    def answers(self) -> list[Dataset]:
        return [decoded(response.data_set or b"", self.syntax) for response in self.pending]

    def values(self, keyword: str) -> list[str]:
        """Of one attribute in every answer, in no order."""
        return sorted(str(answer[keyword].value) for answer in self.answers)


@dataclass(slots=True)
class Asking:
    """Asks ``service``; ``extended`` is what the requester offers in negotiation."""

    service: QueryService
    archive: Archive
    facts: list[Fact] = field(default_factory=list)

    async def __call__(
        self,
        identifier: Dataset | bytes,
        sop_class: str = STUDY_ROOT,
        *,
        extended: bytes = b"",
        syntax: str = EXPLICIT,
        cancellation: Cancellation | None = None,
    ) -> Asked:
        asked = request(identifier, sop_class, extended=extended, syntax=syntax, cancellation=cancellation)
        async with aclosing(self.service.serve(asked)) as responses:
            received = [response async for response in responses]
        *pending, final = received
        assert final.is_final
        assert not any(response.is_final for response in pending)
        assert final.data_set is None
        return Asked(pending, final, syntax)


def request(
    identifier: Dataset | bytes,
    sop_class: str = STUDY_ROOT,
    *,
    extended: bytes = b"",
    syntax: str = EXPLICIT,
    cancellation: Cancellation | None = None,
) -> Request:
    return Request(
        peer=PEER,
        context=Context(1, sop_class, syntax, extended=find_negotiation(extended) or b""),
        command=CommandSet(
            {Tag.COMMAND_FIELD: CommandField.C_FIND_RQ, Tag.AFFECTED_SOP_CLASS_UID: sop_class, Tag.MESSAGE_ID: 1}
        ),
        data_set=Bytes(identifier if isinstance(identifier, bytes) else encoded(identifier, syntax)),
        cancellation=cancellation or Never(),
        invoker=Nobody(),
    )


@asynccontextmanager
async def asking(
    folder: Path,
    samples: Iterable[Sample] = (),
    *,
    max_answers: int = 0,
    max_identifier_bytes: int = 1 << 20,
) -> AsyncIterator[Asking]:
    """With an archive in ``folder`` that holds ``samples``, besides what may be there already."""
    facts: list[Fact] = []
    async with Archive.open(settings_for(folder), observe=facts.append) as archive:
        for sample in samples:
            await put(archive, sample)
        service = QueryService(
            archive,
            ae_title="PACSLITE",
            max_identifier_bytes=max_identifier_bytes,
            max_answers=max_answers,
            observe=facts.append,
        )
        yield Asking(service, archive, facts)
