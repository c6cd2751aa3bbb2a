"""[query] and [retrieve]: each setting reaches the part that it is about in the whole server. STANDARD QF-16, QR-06."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset

from kit.finding import finding
from kit.identifiers import identifier
from kit.mover import mover
from kit.rawpeer import EXPLICIT
from kit.retrievable import Kept, archive_with, peer, retrievable
from kit.server import RunningServer, free_port
from kit.wait import eventually
from pacslite.dimse.command import CommandSet, Tag

JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
COMPRESSED = next(one for one in retrievable() if one.object.transfer_syntax == JPEG_2000_LOSSLESS)
PLAIN = [one for one in retrievable() if one.object.transfer_syntax == EXPLICIT and one.patient][:3]
TIMED = next(one for one in retrievable() if one.patient == "ID1")
OUT_OF_RESOURCES, ALL_FAILED = 0xA700, 0xA702


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"retrieve.convert": False, "query.max_answers": 2, "query.timezone": "+0100"}
    with archive_with(tmp_path_factory.mktemp("strict"), [COMPRESSED, *PLAIN, TIMED], settings) as (running, _):
        yield running


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"retrieve.max_convert_bytes": 1000, "query.max_identifier_bytes": 4096, **peer(0, "WS1", free_port())}
    with archive_with(tmp_path_factory.mktemp("small"), [COMPRESSED], settings) as (running, _):
        yield running


def got(server: RunningServer, kept: Kept) -> tuple[CommandSet, list[str]]:
    """The final response to a C-GET by somebody who takes Explicit VR Little Endian alone, and what came."""
    with mover(server.port, (kept.object.sop_class, EXPLICIT)) as asking:
        asking.get(identifier("STUDY", StudyInstanceUID=kept.study))
        final, _ = asking.final()
        asking.peer.release()
    return final, asking.stored


def test_without_conversion_a_compressed_object_fails(strict: RunningServer) -> None:
    final, stored = got(strict, COMPRESSED)
    assert (final.status, stored) == (ALL_FAILED, [])
    assert "no suitable presentation context" in final.text(Tag.ERROR_COMMENT)
    eventually(lambda: "and conversion is off" in strict.log, "the log says why")


def test_what_is_larger_than_may_be_converted_fails(small: RunningServer) -> None:
    final, stored = got(small, COMPRESSED)
    assert (final.status, stored) == (ALL_FAILED, [])
    assert "1000 are allowed" in final.text(Tag.ERROR_COMMENT)


def test_more_answers_than_allowed_are_none(strict: RunningServer) -> None:
    with finding(strict.port) as asking:
        answered = asking.find(identifier("STUDY", StudyInstanceUID=None))
        assert (answered.final.status, answered.statuses) == (OUT_OF_RESOURCES, [])
        assert len(asking.find(identifier("STUDY", StudyInstanceUID=TIMED.study)).statuses) == 1


@pytest.mark.parametrize("service", ["find", "move", "get"])
def test_an_identifier_that_is_longer_than_allowed(small: RunningServer, service: str) -> None:
    asked = identifier("STUDY", StudyInstanceUID=[f"1.2.840.99999.{number}" for number in range(1000)])
    assert final_of(small, service, asked).status == OUT_OF_RESOURCES


def final_of(server: RunningServer, service: str, asked: Dataset) -> CommandSet:
    if service == "find":
        with finding(server.port) as asking:
            return asking.find(asked).final
    with mover(server.port) as retrieving:
        if service == "move":
            retrieving.move(asked, "WS1")
        else:
            retrieving.get(asked)
        final, _ = retrieving.final()
        retrieving.peer.release()
        return final


def test_qf_16_the_zone_of_objects_that_name_none(strict: RunningServer) -> None:
    """Noon of the server's zone is two o'clock of the requester's."""
    with finding(strict.port, extended=b"\0\0\0\1") as asking:
        keys = identifier("STUDY", StudyInstanceUID=TIMED.study, StudyDate=None, StudyTime=None)
        keys.TimezoneOffsetFromUTC = "+0300"
        (answer,) = asking.find(keys).answers
    assert (answer.StudyDate, answer.StudyTime) == ("20170101", "140000")
