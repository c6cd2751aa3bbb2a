"""Results of storage commitment that come to us (PS3.4 J.3.3), on a real index, without a network.

STANDARD SC-01, SC-03, SC-04, SC-05.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from kit.delivering import ARCHIVE, Delivering, delivering
from kit.encode import EXPLICIT_LITTLE
from kit.operation import Bytes, Never, Nobody
from kit.samples import CT
from pacslite.archive.deliveries import Question
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from pacslite.dicom.uids import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE
from pacslite.dimse.command import CommandField, CommandSet, Tag
from pacslite.dimse.service import Context, Invoker, Request, Response
from pacslite.errors import (
    ClassInstanceConflict,
    DimseError,
    InvalidArgumentValue,
    MissingAttribute,
    MistypedArgument,
    NoSuchEventType,
    NoSuchObjectInstance,
    NotAuthorized,
    ProcessingFailure,
    ResourceLimitation,
)
from pacslite.facts import CommitmentAnswered, CommitmentRefused, CommitmentUnexpected, Fact, Peer
from pacslite.net.requestor import Remote
from pacslite.services.commitment_data_set import CommitmentResult, Reference, write_result
from pacslite.services.conversations import Conversations
from pacslite.services.destinations import Callee
from pacslite.services.events import EventService
from pacslite.services.held_bytes import HeldBytes

SUCCESSFUL, FAILURES_EXIST = 1, 2
NO_SUCH_OBJECT = 0x0112
PEER = Peer(association=1, address="192.0.2.7", port=1, calling_ae=ARCHIVE, called_ae="PACSLITE")
SYNTAX = transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN)


def result(transaction_uid: str, *committed: str, failed: tuple[str, ...] = ()) -> bytes:
    told = CommitmentResult(
        transaction_uid,
        [Reference(CT, uid) for uid in committed],
        [(Reference(CT, uid), NO_SUCH_OBJECT) for uid in failed],
    )
    return write_result(told, SYNTAX, retrieve_ae=ARCHIVE)


def event(
    data: bytes | None,
    *,
    event_type: int = SUCCESSFUL,
    sop_class: str = STORAGE_COMMITMENT_PUSH_MODEL,
    instance: str = STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE,
    peer: Peer = PEER,
    invoker: Invoker | None = None,
) -> Request:
    command = CommandSet(
        {
            Tag.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
            Tag.AFFECTED_SOP_CLASS_UID: sop_class,
            Tag.AFFECTED_SOP_INSTANCE_UID: instance,
            Tag.EVENT_TYPE_ID: event_type,
            Tag.MESSAGE_ID: 1,
        }
    )
    return Request(
        peer=peer,
        context=Context(1, STORAGE_COMMITMENT_PUSH_MODEL, EXPLICIT_VR_LITTLE_ENDIAN),
        command=command,
        data_set=None if data is None else Bytes(data),
        cancellation=Never(),
        invoker=invoker or Nobody(),
    )


@dataclass(slots=True)
class Asked:
    """A destination was asked about objects 1 and 2, which it has taken."""

    sent: Delivering
    service: EventService
    conversations: Conversations
    question: Question
    facts: list[Fact]

    async def tell(self, request: Request) -> Response:
        async with aclosing(self.service.serve(request)) as responses:
            (response,) = [response async for response in responses]
        return response

    @property
    def uid(self) -> str:
        return self.question.transaction_uid


@pytest_asyncio.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    async with delivering(tmp_path) as sent:
        await sent.store("1", "2")
        await sent.deliver("1", "2")
        sent.now += 10
        (question,) = await sent.ask()
        facts: list[Fact] = []
        conversations = Conversations()
        service = EventService(
            sent.deliveries,
            conversations,
            callees={ARCHIVE: Callee(remote=Remote(host="localhost", port=104, ae_title=ARCHIVE))},
            max_bytes=4096,
            max_instances=100,
            held=HeldBytes(4096),
            observe=facts.append,
            clock=lambda: sent.now,
        )
        yield Asked(sent, service, conversations, question, facts)


async def test_a_result_is_durable_before_it_is_answered(asked: Asked) -> None:
    asked.sent.now += 3
    response = await asked.tell(event(result(asked.uid, "1", "2")))
    assert response.status == 0x0000
    assert response.elements == {Tag.EVENT_TYPE_ID: SUCCESSFUL}
    assert response.data_set is None
    assert asked.sent.states() == {"1": "committed", "2": "committed"}
    assert asked.facts == [
        CommitmentAnswered(
            peer=PEER, destination=ARCHIVE, transaction=asked.uid, committed=2, resent=0, refused=0, seconds=3.0
        )
    ]


async def test_failures_are_sent_again(asked: Asked) -> None:
    """SC-03."""
    await asked.tell(event(result(asked.uid, "1", failed=("2",)), event_type=FAILURES_EXIST))
    assert asked.sent.states() == {"1": "committed", "2": "refused"}
    assert [forward[0] for forward in asked.sent.forwards()] == ["2"]


async def test_what_is_not_sent_again_is_told_object_by_object(asked: Asked) -> None:
    await asked.sent.change("UPDATE deliveries SET resent = 2")
    await asked.tell(event(result(asked.uid, "1", failed=("2",)), event_type=FAILURES_EXIST))
    refused, answered = asked.facts
    assert refused == CommitmentRefused(destination=ARCHIVE, sop_instance="2", failure_reason=NO_SUCH_OBJECT, resent=2)
    assert isinstance(answered, CommitmentAnswered)
    assert (answered.committed, answered.resent, answered.refused) == (1, 0, 1)


@pytest.mark.parametrize(
    ("event_type", "committed", "failed", "states"),
    [
        (SUCCESSFUL, ("1",), ("2",), {"1": "committed", "2": "refused"}),
        (FAILURES_EXIST, ("1", "2"), (), {"1": "committed", "2": "committed"}),
    ],
)
async def test_the_sequences_are_believed_rather_than_the_type(
    asked: Asked, event_type: int, committed: tuple[str, ...], failed: tuple[str, ...], states: dict[object, str]
) -> None:
    await asked.tell(event(result(asked.uid, *committed, failed=failed), event_type=event_type))
    assert asked.sent.states() == states


async def test_a_repeated_result_is_answered_the_same_and_changes_nothing(asked: Asked) -> None:
    """SC-05, SC-06."""
    data = result(asked.uid, "1", failed=("2",))
    first = await asked.tell(event(data, event_type=FAILURES_EXIST))
    again = await asked.tell(event(data, event_type=FAILURES_EXIST))
    assert (first.status, again.status) == (0x0000, 0x0000)
    told = asked.facts[-1]
    assert isinstance(told, CommitmentAnswered)
    assert (told.committed, told.resent, told.refused) == (0, 0, 0)


async def test_an_unknown_transaction_is_answered_with_success_and_told(asked: Asked) -> None:
    """Refused, an archive would repeat it for ever."""
    response = await asked.tell(event(result("1.2.3.4", "1")))
    assert response.status == 0x0000
    (fact,) = asked.facts
    assert isinstance(fact, CommitmentUnexpected)
    assert asked.sent.states() == {"1": "asked", "2": "asked"}


async def test_a_result_from_somebody_else_is_refused(asked: Asked) -> None:
    with pytest.raises(NotAuthorized):
        await asked.tell(event(result(asked.uid, "1", "2"), peer=replace(PEER, calling_ae="OTHER")))
    assert asked.sent.states() == {"1": "asked", "2": "asked"}
    (fact,) = asked.facts
    assert isinstance(fact, CommitmentUnexpected)


async def test_a_part_of_the_archive_with_a_title_of_its_own_may_report_from_its_address(asked: Asked) -> None:
    reporter = replace(PEER, calling_ae="ARCHIVE_STGCMT", address="127.0.0.1")
    await asked.tell(event(result(asked.uid, "1", "2"), peer=reporter))
    assert asked.sent.states() == {"1": "committed", "2": "committed"}


async def test_what_comes_over_our_association_comes_from_whom_we_called(asked: Asked) -> None:
    """SC-04: its peer's calling AE title is ours."""
    ours = replace(PEER, calling_ae="PACSLITE", called_ae=ARCHIVE)
    association = Nobody()
    with asked.conversations.over(association, ARCHIVE) as conversation:
        conversation.expect(asked.uid)
        response = await asked.tell(event(result(asked.uid, "1", "2"), peer=ours, invoker=association))
        assert asked.sent.states() == {"1": "committed", "2": "committed"}
        assert response.sent is not None
        response.sent()
        await conversation.wait_complete()
    with pytest.raises(NotAuthorized):
        await asked.tell(event(result(asked.uid, "1", "2"), peer=ours, invoker=association))


async def test_the_association_may_go_once_everything_was_told(asked: Asked) -> None:
    """Whether on it or on another one."""
    with asked.conversations.over(Nobody(), ARCHIVE) as conversation:
        conversation.expect("1.2.3")
        conversation.expect(asked.uid)
        asked.conversations.told(asked.uid)
        asked.conversations.told("1.2.3")
        await conversation.wait_complete()


TRUNCATED = result("1.2.3", "1")[:-3]


def a_result_without_end() -> bytes:
    """Short, but of more items than a result may have: each is eight bytes."""
    e = EXPLICIT_LITTLE
    return e.element(0x00081195, "UI", "1.2") + e.sequence(0x00081198, *[b""] * 101)


@pytest.mark.parametrize(
    ("request_", "error", "offending"),
    [
        (event(result("1.2", "1"), sop_class="1.2.3"), ClassInstanceConflict, Tag.AFFECTED_SOP_CLASS_UID),
        (event(result("1.2", "1"), instance="1.2.3"), NoSuchObjectInstance, Tag.AFFECTED_SOP_INSTANCE_UID),
        (event(result("1.2", "1"), event_type=3), NoSuchEventType, Tag.EVENT_TYPE_ID),
        (event(None), MistypedArgument, Tag.COMMAND_DATA_SET_TYPE),
        (event(TRUNCATED), ProcessingFailure, None),
        (event(b""), MissingAttribute, 0x00081195),
        (event(result("no.uid", "1")), InvalidArgumentValue, 0x00081195),
        (event(result("1.2", *(str(number) for number in range(200)))), ResourceLimitation, None),
        (event(a_result_without_end()), ResourceLimitation, None),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_what_is_no_result_is_refused(
    asked: Asked, request_: Request, error: type[DimseError], offending: int | None
) -> None:
    """SC-01."""
    with pytest.raises(error) as refused:
        await asked.tell(request_)
    assert len(str(refused.value)) <= 64
    if offending is not None:
        assert refused.value.offending == (offending,)
