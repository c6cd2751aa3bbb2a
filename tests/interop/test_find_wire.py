"""C-FIND byte by byte: what no decent requester sends, and what comes back. STANDARD QF-01 to QF-24, DM-08, DM-09."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from kit.encode import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from kit.finding import (
    CANCELLED,
    PATIENT_ROOT,
    PATIENT_STUDY_ONLY,
    PENDING,
    PENDING_WITH_WARNING,
    STUDY_ROOT,
    c_find_rq,
    finding,
)
from kit.hospital import EVERY_STUDY, files
from kit.identifiers import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, encoded, identifier
from kit.message import Packing, c_cancel_rq, pack_message
from kit.peers import storescu
from kit.population import fill, studies
from kit.rawpeer import RawPeer, contexts_for
from kit.server import RunningServer
from pacslite.dimse.command import CommandSet, Tag

KIB = 1024
MAX_IDENTIFIER = 1024 * KIB
LEVEL = EXPLICIT_LITTLE.element(0x00080052, "CS", "STUDY")
UID = EXPLICIT_LITTLE.element(0x0020000D, "UI", "")
ALL_STUDIES = identifier("STUDY", StudyInstanceUID="")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("find")
    with RunningServer(folder / "data") as running:
        sent = storescu(running.port, files(folder / "files"), "-aec", "PACSLITE")
        assert sent.code == 0, sent.output
        yield running
        assert "defect" not in running.log


@pytest.mark.parametrize(
    ("data", "status", "offending", "words"),
    [
        pytest.param(b"", 0xA900, 0x00080052, "is missing", id="qf_04, empty identifier"),
        pytest.param(UID, 0xA900, 0x00080052, "is missing; use STUDY, SERIES, IMAGE", id="qf_04, no level"),
        pytest.param(
            EXPLICIT_LITTLE.element(0x00080052, "CS", "PATIENT"),
            0xA900,
            0x00080052,
            "Study Root has no PATIENT level",
            id="qf_04, level of another model",
        ),
        pytest.param(
            EXPLICIT_LITTLE.element(0x00080052, "CS", "IMAGE"),
            0xA900,
            0x0020000D,
            "IMAGE level needs StudyInstanceUID, SeriesInstanceUID",
            id="qf_06, unique keys",
        ),
        pytest.param(
            LEVEL + EXPLICIT_LITTLE.element(0x0020000D, "UI", "1.2.*"),
            0xA900,
            0x0020000D,
            "no wild cards in UI",
            id="qf_10, wild card in UI",
        ),
        pytest.param(
            EXPLICIT_LITTLE.element(0x00080020, "DA", "2024*") + LEVEL,
            0xA900,
            0x00080020,
            "StudyDate",
            id="qf_10, wild card in DA",
        ),
        pytest.param(
            LEVEL + EXPLICIT_LITTLE.element(0x00100020, "LO", "P1\\P2"),
            0xA900,
            0x00100020,
            "PatientID: several values",
            id="qf_12, a list in LO",
        ),
        pytest.param(LEVEL + b"\x10\x00\x20", 0xC001, None, "identifier: ", id="qf_01, cut off in a head"),
        pytest.param(
            LEVEL + EXPLICIT_LITTLE.element(0x00100020, "LO", "P1", length=2000),
            0xC001,
            None,
            "identifier: ",
            id="qf_01, cut off in a value",
        ),
        pytest.param(b"\xff" * 4000, 0xC001, None, "identifier: ", id="qf_01, nonsense"),
    ],
)
def test_a_refusal_has_status_element_and_words(
    server: RunningServer, data: bytes, status: int, offending: int | None, words: str
) -> None:
    with finding(server.port) as peer:
        refused = peer.find(data)
        assert refused.final.status == status
        assert words in refused.final.text(Tag.ERROR_COMMENT)
        if offending is not None:
            elements = refused.final.elements.get(Tag.OFFENDING_ELEMENT)
            assert isinstance(elements, tuple)
            assert elements[0] == offending
        assert refused.raw == []
        assert len(peer.find(ALL_STUDIES, message_id=2).raw) == len(EVERY_STUDY)


def test_qf_01_an_identifier_that_is_too_long_is_a700_and_its_rest_is_drained(server: RunningServer) -> None:
    """DM-09: the answer may come before the end, and the association goes on."""
    filler = EXPLICIT_LITTLE.element(0x00104000, "UT", b"x" * MAX_IDENTIFIER)
    with finding(server.port) as peer:
        refused = peer.find(LEVEL + filler + UID)
        assert refused.final.status == 0xA700
        assert f"longer than {MAX_IDENTIFIER} bytes" in refused.final.text(Tag.ERROR_COMMENT)
        assert len(peer.find(ALL_STUDIES, message_id=2).raw) == len(EVERY_STUDY)


def test_an_identifier_just_short_enough_is_read(server: RunningServer) -> None:
    room = MAX_IDENTIFIER - len(LEVEL) - len(UID) - 12
    filler = EXPLICIT_LITTLE.element(0x00114001, "UN", bytes(room))
    with finding(server.port) as peer:
        found = peer.find(LEVEL + filler + UID)
    assert (found.final.status, set(found.statuses)) == (0, {PENDING_WITH_WARNING})


def test_qf_12_a_list_of_ten_thousand_uids(server: RunningServer) -> None:
    uids = [f"1.2.840.99999.{number}" for number in range(10_000)] + ["1.1", "1.3"]
    value = "\\".join(uids).encode()
    value += b"\0" * (len(value) % 2)
    implicit = IMPLICIT_LITTLE.element(0x00080052, "CS", "STUDY") + IMPLICIT_LITTLE.element(0x0020000D, "UI", value)
    with finding(server.port, syntax=IMPLICIT) as peer:
        assert peer.find(implicit).values("StudyInstanceUID") == ["1.1", "1.3"]
    # In explicit VR a value beyond 64 KiB has to be UN (PS3.5 6.2.2).
    explicit = LEVEL + EXPLICIT_LITTLE.element(0x0020000D, "UN", value)
    with finding(server.port) as peer:
        assert peer.find(explicit).values("StudyInstanceUID") == ["1.1", "1.3"]


def test_deep_nesting_is_refused_or_passed_over(server: RunningServer) -> None:
    nested = b""
    for _ in range(2000):
        nested = EXPLICIT_LITTLE.sequence(0x00400275, nested)
    with finding(server.port) as peer:
        refused = peer.find(LEVEL + UID + nested)
        assert refused.final.status & 0xF000 == 0xC000
        assert len(peer.find(ALL_STUDIES, message_id=2).raw) == len(EVERY_STUDY)


def test_many_attributes_are_refused(server: RunningServer) -> None:
    many = b"".join(EXPLICIT_LITTLE.element(0x00110000 + number, "LO", "") for number in range(0x1000, 0x8000))
    with finding(server.port) as peer:
        refused = peer.find(LEVEL + many + UID)
        assert refused.final.status & 0xF000 == 0xC000
        assert peer.find(ALL_STUDIES, message_id=2).final.status == 0


def test_a_pattern_of_many_stars_takes_no_longer_than_others(server: RunningServer) -> None:
    pattern = "*a" * 400 + "*"
    with finding(server.port) as peer:
        for keyword in ("PatientName", "StudyDescription", "AccessionNumber"):
            found = peer.find(identifier("STUDY", StudyInstanceUID="", **{keyword: pattern}))
            assert (found.final.status, found.raw) == (0, [])


@pytest.mark.parametrize("context", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
@pytest.mark.parametrize("data", [EXPLICIT, IMPLICIT])
def test_an_identifier_in_another_syntax_than_its_context_s_is_recognised_or_refused(
    server: RunningServer, context: str, data: str
) -> None:
    with finding(server.port, syntax=context) as peer:
        found = peer.find(encoded(ALL_STUDIES, data))
        assert found.final.status == 0 or found.final.status >> 12 in (0xA, 0xC)
        if found.final.status == 0:
            assert found.values("StudyInstanceUID") == EVERY_STUDY
        assert peer.find(ALL_STUDIES, message_id=2).values("StudyInstanceUID") == EVERY_STUDY


@pytest.mark.parametrize(
    "packing",
    [Packing(command_fragments=(7,), data_fragments=(1, 2, 3)), Packing(pdvs_per_pdu=50), Packing(empty_pdvs=True)],
    ids=["slivers", "all in one PDU", "empty PDVs"],
)
def test_ul_19_to_ul_23_an_identifier_in_any_packing(server: RunningServer, packing: Packing) -> None:
    with finding(server.port) as peer:
        assert peer.find(ALL_STUDIES, packing=packing).values("StudyInstanceUID") == EVERY_STUDY


def test_a_request_without_an_identifier(server: RunningServer) -> None:
    command = c_find_rq(STUDY_ROOT)
    without = command.replace(struct.pack("<HHIH", 0, 0x0800, 2, 1), struct.pack("<HHIH", 0, 0x0800, 2, 0x0101))
    with finding(server.port) as peer:
        peer.peer.send_message(1, without)
        final, data_set = peer.response()
        assert (final.status, data_set) == (0x0212, None)
        assert "without an identifier" in final.text(Tag.ERROR_COMMENT)


def test_qf_02_responses_repeat_the_sop_class_and_only_pending_ones_have_identifiers(server: RunningServer) -> None:
    with finding(server.port, PATIENT_ROOT) as peer:
        peer.ask(identifier("PATIENT", PatientID=""), message_id=77)
        responses: list[tuple[CommandSet, bytes | None]] = []
        while not responses or responses[-1][1] is not None:
            responses.append(peer.response())
    assert [command.status for command, _ in responses] == [PENDING] * 3 + [0]
    for command, _ in responses:
        assert command.responds_to == 77
        assert command.sop_class == PATIENT_ROOT
        assert command.sop_instance == ""


def test_qf_24_a_cancel_that_comes_with_the_request_is_honoured_within_fifty_answers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """One write holds both, so the server knows of the C-CANCEL as soon as it looks; thousands would match."""
    data = tmp_path_factory.mktemp("crowded") / "data"
    fill(data, studies(3000))
    with RunningServer(data) as crowded, finding(crowded.port) as peer:
        for message_id in range(1, 21):
            request = pack_message(1, c_find_rq(STUDY_ROOT, message_id), encoded(ALL_STUDIES))
            peer.peer.send(*request, *pack_message(1, c_cancel_rq(message_id), None))
            answered = peer.rest()
            assert (answered.final.status, answered.final.responds_to) == (CANCELLED, message_id)
            assert len(answered.raw) <= 50
        assert len(peer.find(ALL_STUDIES, message_id=99).raw) == 3000


def test_qf_01_a_limit_by_setting_is_a_failure_with_a_reason(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("limited") / "data"
    fill(data, studies(20))
    with RunningServer(data, settings={"query.max_answers": 19}) as limited, finding(limited.port) as peer:
        refused = peer.find(ALL_STUDIES)
        assert (refused.final.status, refused.raw) == (0xA700, [])
        assert refused.final.text(Tag.ERROR_COMMENT) == "more than 19 matches; ask for less"
        assert len(peer.find(identifier("STUDY", StudyInstanceUID="", PatientID="M1*"), message_id=2).raw) == 11


def test_dm_06_a_cancel_after_the_end_and_one_of_nothing_are_ignored(server: RunningServer) -> None:
    with finding(server.port) as peer:
        assert peer.find(ALL_STUDIES, message_id=1).final.status == 0
        peer.cancel(1)
        peer.cancel(999)
        assert peer.find(ALL_STUDIES, message_id=2).final.status == 0


def test_three_models_side_by_side_on_one_association(server: RunningServer) -> None:
    classes = (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY)
    with RawPeer(server.port) as peer:
        answer = peer.associate(contexts_for(*((sop_class, IMPLICIT) for sop_class in classes)))
        assert [context.result for context in answer.contexts] == [0, 0, 0]
        peer.release()


def test_a_known_peer_without_the_permission_is_not_answered(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {
        "peers.0.ae_title": "STORER",
        "peers.0.address": "127.0.0.1",
        "peers.0.permissions": ["echo", "store"],
    }
    data = tmp_path_factory.mktemp("rights") / "data"
    with RunningServer(data, settings=settings) as server, RawPeer(server.port) as peer:
        answer = peer.associate(contexts_for((STUDY_ROOT, IMPLICIT)), calling="STORER")
        assert [context.result for context in answer.contexts] == [1]
