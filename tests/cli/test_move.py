"""``pacslite move``: what is named, what the peer says. STANDARD 5."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from kit.commandline import RunCommand
from kit.scripted import scripted_in_thread
from kit.server import HOST, free_port
from pacslite.cli.exits import Exit
from pacslite.cli.retrieval import retrieval
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.encode import encode_data_set
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dimse.command import Tag, Value
from pacslite.dimse.service import Request, Response
from pacslite.dimse.status import PENDING

DESTINATION_UNKNOWN = 0xA801


async def nothing(request: Request) -> AsyncGenerator[Response, None]:
    yield Response()


def test_what_the_peer_is_asked(pacslite: RunCommand) -> None:
    """QR-08: the keys of the level and above, and nothing else; QR-09: no match is no success for a shell."""
    asked: list[Elements] = []

    async def move(request: Request) -> AsyncGenerator[Response, None]:
        assert request.data_set is not None
        syntax = transfer_syntax(request.context.transfer_syntax)
        asked.append(decode_data_set(await request.data_set.read(10_000), syntax).elements)
        yield Response()

    with scripted_in_thread(move=move) as (address, services):
        ended = pacslite("move", address, "--to", "DEST", "--study", "1.2", "--series", "1.3", "--series", "1.4")
    assert ended.code == Exit.FAILED
    assert "the peer has nothing of that" in ended.err
    assert asked == [
        {
            0x00080052: Element("CS", "SERIES"),
            0x0020000D: Element("UI", "1.2"),
            0x0020000E: Element("UI", "1.3\\1.4"),
        }
    ]
    [request] = services["move"].requests
    assert request.command.text(Tag.MOVE_DESTINATION) == "DEST"


def counted(completed: int, failed: int = 0, warning: int = 0) -> dict[int, Value]:
    return {
        Tag.COMPLETED_SUB_OPERATIONS: completed,
        Tag.FAILED_SUB_OPERATIONS: failed,
        Tag.WARNING_SUB_OPERATIONS: warning,
    }


def test_all_were_sent(pacslite: RunCommand) -> None:
    async def move(request: Request) -> AsyncGenerator[Response, None]:
        yield Response(status=PENDING, elements={**counted(1), Tag.REMAINING_SUB_OPERATIONS: 2})
        yield Response(elements=counted(2, warning=1))

    with scripted_in_thread(move=move) as (address, _):
        ended = pacslite("move", address, "--to", "DEST", "--study", "1.2")
    assert ended.code == Exit.OK
    assert ended.lines[0].startswith("DEST was sent 3 objects, 1 with a warning in ")
    assert ended.err == ""


def test_some_were_not_sent(pacslite: RunCommand) -> None:
    """QR-04, QR-05: the first of them are listed."""
    uids = [f"1.2.{number}" for number in range(12)]

    async def move(request: Request) -> AsyncGenerator[Response, None]:
        syntax = transfer_syntax(request.context.transfer_syntax)
        listed = encode_data_set({0x00080058: Element("UI", "\\".join(uids))}, syntax)
        yield Response(status=0xB000, comment="\x07disk full", elements=counted(1, failed=12), data_set=listed)

    with scripted_in_thread(move=move) as (address, _):
        ended = pacslite("move", address, "--to", "DEST", "--study", "1.2")
    assert ended.code == Exit.FAILED
    assert ended.lines[0].startswith("DEST was sent 1 object, 12 failed in ")
    assert ended.lines[1:11] == [f"failed  {uid}" for uid in uids[:10]]
    assert ended.lines[11] == "failed  and 2 more"
    assert ended.err == "status B000H, some could not be sent: \\x07disk full\n"


def test_an_unknown_destination(pacslite: RunCommand) -> None:
    """QR-01."""

    async def move(request: Request) -> AsyncGenerator[Response, None]:
        yield Response(status=DESTINATION_UNKNOWN, comment="add DEST to [[peers]]", offending=(0x00000600,))

    with scripted_in_thread(move=move) as (address, _):
        ended = pacslite("move", address, "--to", "DEST", "--study", "1.2")
    assert ended.code == Exit.FAILED
    assert ended.err == "status A801H, move destination unknown: add DEST to [[peers]] (MoveDestination)\n"


def test_a_peer_without_retrieval(pacslite: RunCommand) -> None:
    with scripted_in_thread(find=nothing) as (address, _):
        ended = pacslite("move", address, "--to", "DEST", "--study", "1.2")
    assert ended.code == Exit.FAILED
    assert "the peer refuses Study Root Query/Retrieve Information Model - MOVE" in ended.err


def test_relational_retrieval_that_the_peer_does_not_do(pacslite: RunCommand) -> None:
    with scripted_in_thread(move=nothing) as (address, _):
        ended = pacslite("move", address, "--to", "DEST", "--image", "1.2", "--relational")
    assert "the peer does not do relational queries" in ended.err


def test_nobody_there(pacslite: RunCommand) -> None:
    ended = pacslite("move", f"{HOST}:{free_port()}", "--to", "DEST", "--study", "1.2")
    assert ended.code == Exit.UNREACHABLE
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name what to retrieve"),
        (("--series", "1.2"), "--series needs --study, or --relational"),
        (("--image", "1.2", "--study", "1.1"), "--image needs --series, or --relational"),
        (("--patient", "A", "--image", "1.2"), "--image needs --study and --series, or --relational"),
        (("--study", "1.2", "--study", "1.3", "--series", "1.4"), "--study is given 2 times; here it can be one"),
        (("--patient", "A", "--patient", "B"), "--patient is given 2 times"),
        (("--patient", "A*"), "without *, ?"),
        (("--patient", " "), "without *, ?"),
        (("--study", "1.2\\1.3"), "a UID has digits and dots"),
        (("--study", ""), "a UID has digits and dots"),
        (("--patient", "A", "--model", "study-root"), "Study Root has no --patient"),
        (("--study", "1", "--series", "2", "--model", "patient-study-only"), "Patient/Study Only has no --series"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_opened(
    pacslite: RunCommand, arguments: tuple[str, ...], words: str
) -> None:
    """QR-08."""
    ended = pacslite("move", "localhost:104", "--to", "DEST", *arguments)
    assert ended.code == Exit.USAGE
    assert words in ended.err


def test_a_destination_that_is_no_ae_title(pacslite: RunCommand) -> None:
    ended = pacslite("move", "localhost:104", "--to", "A" * 17, "--study", "1.2")
    assert (ended.code, "--to" in ended.err) == (Exit.USAGE, True)
    assert pacslite("move", "localhost:104", "--study", "1.2").code == Exit.USAGE


def test_the_deepest_key_names_the_level() -> None:
    _, elements = retrieval(None, None, ["1.1"], ["1.2"], ["1.3", "1.4"], relational=False)
    assert elements == {
        0x00080052: Element("CS", "IMAGE"),
        0x0020000D: Element("UI", "1.1"),
        0x0020000E: Element("UI", "1.2"),
        0x00080018: Element("UI", "1.3\\1.4"),
    }
