"""``pacslite commitment``: what was promised to whom, from the machine it is on. STANDARD SC-03, SC-05."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest

from kit.commandline import RunCommand
from kit.committing import Modality
from kit.samples import CT, Sample, put, settings_for
from kit.server import RunningServer
from pacslite.archive.archive import Archive
from pacslite.archive.index.writer import IndexWriter
from pacslite.cli.exits import Exit
from pacslite.facts import ignore

KEPT, UNKNOWN, GIVEN, GONE = "1.2.3.1", "1.2.3.9", "1.2.3.2", "1.2.3.3"
NOON = 1_700_049_600.0

_DELIVERED = """
INSERT INTO deliveries (sop_instance_uid, sop_class_uid, destination, rule, delivered_at, wants_commitment, asked,
    committed_at, failure_reason, resent) VALUES (?, '1.2', ?, 'all', 1700049600, ?, ?, ?, ?, ?)
"""


async def fill(folder: Path) -> None:
    async with Archive.open(settings_for(folder), observe=ignore) as archive:
        commitments, index = archive.commitments, archive.workshop.index
        for uid in (KEPT, GIVEN):
            await put(archive, Sample(instance=uid))
        asked = (("1.9.1", "CT1", (KEPT, UNKNOWN, GIVEN)), ("1.9.1", "MR2", (KEPT,)), ("1.9.3", "CT1", (GIVEN,)))
        for transaction, requester, uids in asked:
            request = await commitments.receive(
                transaction_uid=transaction,
                calling_ae=requester,
                called_ae="US",
                address="192.0.2.1",
                references=[(CT, uid) for uid in uids],
                now=NOON,
            )
            if transaction != "1.9.3":
                await commitments.verify(request, digest=False, stores=lambda _: True)
                await index.run(commitments.verified(request))
        await index.run(commitments.reported(1, "new association"))
        await index.run(deliver)


def deliver(writer: IndexWriter) -> None:
    execute = writer.connection.execute
    execute("INSERT INTO commitments_asked VALUES (1, '1.8', 'ARCHIVE', 1700049600, 1700049601, 1700049602, 1, 2)")
    execute("INSERT INTO commitments_asked VALUES (2, '1.7', 'ARCHIVE', 1700049600, NULL, NULL, 0, 0)")
    execute("INSERT INTO commitments_asked VALUES (3, '1.6', 'ARCHIVE', 1700049600, 1700049601, NULL, 0, 0)")
    execute(_DELIVERED, (GONE, "ARCHIVE", 1, 1, 1700049602.0, None, 0))
    execute(_DELIVERED, (GONE, "SECOND", 1, 1, None, 0x0213, 2))
    execute(_DELIVERED, (GONE, "THIRD", 1, 2, None, None, 0))
    execute(_DELIVERED, (GONE, "FOURTH", 1, None, None, None, 0))
    execute(_DELIVERED, (GONE, "FIFTH", 0, None, None, None, 0))


@pytest.fixture
def commitment(pacslite: RunCommand, tmp_path: Path) -> RunCommand:
    asyncio.run(fill(tmp_path / "data"))
    return partial(pacslite, "commitment")


def cells(line: str) -> list[str]:
    return line.split("\t")


def test_requests_are_listed(commitment: RunCommand) -> None:
    ended = commitment("ls", "--data", "data")
    assert ended.code == 0
    heading, *lines = map(cells, ended.lines)
    assert heading[0] == "request"
    assert [(line[0], line[2], *line[4:7], line[8]) for line in lines] == [
        ("3", "CT1", "1", "0", "0", "1.9.3"),
        ("2", "MR2", "1", "0", "1", "1.9.1"),
        ("1", "CT1", "3", "2", "1", "1.9.1"),
    ]
    states = [line[7] for line in lines]
    assert states[:2] == ["being verified, 0 done", "to be reported"]
    assert states[2].startswith("reported 20")
    assert states[2].endswith(", new association")


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--requester", "CT1"), [3, 1]),
        (("--unreported",), [3, 2]),
        (("--unreported", "--requester", "CT1"), [3]),
        (("--limit", "2"), [3, 2]),
        (("-n", "0"), [3, 2, 1]),
        (("--requester", "NOBODY"), []),
    ],
)
def test_fewer_of_them_are_listed(commitment: RunCommand, options: tuple[str, ...], numbers: list[int]) -> None:
    ended = commitment("ls", "--data", "data", *options)
    assert [int(cells(line)[0]) for line in ended.lines[1:]] == numbers
    assert ("only the first 2" in ended.err) is ("2" in options)
    assert [json.loads(line)["id"] for line in commitment("ls", "--json", "--data", "data", *options).lines] == numbers


def test_an_object_has_a_history(commitment: RunCommand) -> None:
    ended = commitment("show", KEPT, "--data", "data")
    assert ended.code == 0
    assert ended.lines[0].startswith(f"object {KEPT}, CT Image Storage, stored 20")
    promises = [cells(line) for line in ended.lines if line.count("\t") == 7][1:]
    assert [(line[0], line[2], line[5], line[7]) for line in promises] == [
        ("1", "CT1", "committed", "1.9.1"),
        ("2", "MR2", "duplicate Transaction UID (0131H)", "1.9.1"),
    ]
    (known,) = map(json.loads, commitment("show", KEPT, "--json", "--data", "data").lines)
    assert [promise["failure_reason"] for promise in known["promises"]] == [0, 0x0131]
    assert known["deliveries"] == []


def test_an_object_that_never_came_has_one_too(commitment: RunCommand) -> None:
    ended = commitment("show", UNKNOWN, "--data", "data")
    assert ended.lines[0] == f"object {UNKNOWN}, not in the archive"
    assert "no such SOP instance (0112H)" in ended.out


def test_what_others_have_promised_is_shown(commitment: RunCommand) -> None:
    ended = commitment("show", GONE, "--data", "data")
    lines = [cells(line) for line in ended.lines if line.count("\t") == 5][1:]
    said = {line[0]: (line[3].partition(" 20")[0], line[4], line[5]) for line in lines}
    assert said == {
        "ARCHIVE": ("committed", "", "1.8"),
        "SECOND": ("refused: resource limitation (0213H)", "2", "1.8"),
        "THIRD": ("asked", "", "1.7"),
        "FOURTH": ("to be asked", "", ""),
        "FIFTH": ("not asked", "", ""),
    }
    (known,) = map(json.loads, commitment("show", GONE, "--json", "--data", "data").lines)
    assert [delivery["destination"] for delivery in known["deliveries"]] == list(said)


def test_an_object_of_which_nobody_has_asked_is_known(commitment: RunCommand, tmp_path: Path) -> None:
    async def store() -> None:
        async with Archive.open(settings_for(tmp_path / "data"), observe=ignore) as archive:
            await put(archive, Sample(instance="5.5"))

    asyncio.run(store())
    ended = commitment("show", "5.5", "--data", "data")
    assert ended.code == 0
    assert "nobody has asked us" in ended.out


def test_a_transaction_has_its_requests_and_their_failures(commitment: RunCommand) -> None:
    """SC-05: used twice, it is two requests."""
    ended = commitment("show", "1.9.1", "--data", "data")
    assert "request      1, from CT1 at 192.0.2.1" in ended.lines
    assert "objects      3: 2 committed, 1 not" in ended.lines
    assert "refused      the Transaction UID was in use for something else" in ended.lines
    failures = [cells(line) for line in ended.lines if line.count("\t") == 3]
    assert ["2", "CT Image Storage", "no such SOP instance (0112H)", UNKNOWN] in failures
    assert ["1", "CT Image Storage", "duplicate Transaction UID (0131H)", KEPT] in failures
    known = list(map(json.loads, commitment("show", "1.9.1", "--json", "--data", "data").lines))
    assert [(one.get("id"), one.get("sop_instance_uid")) for one in known] == [
        (2, None),
        (None, KEPT),
        (1, None),
        (None, UNKNOWN),
    ]


def test_a_request_is_known_by_its_number(commitment: RunCommand) -> None:
    """The log names it."""
    ended = commitment("show", "1", "--data", "data")
    assert "transaction  1.9.1" in ended.lines
    assert UNKNOWN in ended.out


@pytest.mark.parametrize(
    ("transaction", "words"),
    [
        ("1.8", "answered 20"),
        ("1.7", "may not have got it"),
        ("1.6", "has not answered"),
    ],
)
def test_a_transaction_of_ours_is_known(commitment: RunCommand, transaction: str, words: str) -> None:
    ended = commitment("show", transaction, "--data", "data")
    assert ended.out.startswith("asked of ARCHIVE 20")
    assert words in ended.out
    assert json.loads(commitment("show", transaction, "--json", "--data", "data").out)["destination"] == "ARCHIVE"


@pytest.mark.parametrize("what", ["7.7.7", "77", "9" * 60, "x\x1b[2J"])
def test_what_nobody_knows_is_said(commitment: RunCommand, what: str) -> None:
    ended = commitment("show", what, "--data", "data")
    assert (ended.code, ended.out) == (Exit.FAILED, "")
    assert "nothing is known of " in ended.err
    assert "\x1b" not in ended.err


def test_a_wrong_folder_is_told(pacslite: RunCommand) -> None:
    ended = pacslite("commitment", "ls", "--data", "nowhere")
    assert ended.code == Exit.USAGE
    assert "holds no archive" in ended.err


def test_it_works_beside_a_running_server(pacslite: RunCommand, tmp_path: Path) -> None:
    settings = {"access.unknown_permissions": ["echo", "commit"]}
    with RunningServer(tmp_path / "data", settings=settings) as server:
        modality = Modality()
        with modality.calling(server.port) as association:
            transaction = modality.ask(association, [(CT, UNKNOWN)])
            told = modality.only()
        assert told.failed == [((CT, UNKNOWN), 0x0112)]
        ended = pacslite("commitment", "show", transaction, "--data", "data")
        assert "objects      1: 0 committed, 1 not" in ended.lines
        assert ended.code == 0
