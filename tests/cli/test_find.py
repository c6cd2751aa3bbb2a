"""``pacslite find``: keys, output, and what odd peers answer. STANDARD 4."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

from kit.commandline import RunCommand
from kit.server import HOST, free_port
from pacslite.cli.exits import Exit
from pacslite.cli.find_keys import identifier
from pacslite.dicom import tags
from pacslite.dicom.elements import Element
from pacslite.dicom.levels import PATIENT_ROOT, STUDY_ROOT, Level, Model
from pacslite.errors import ConfigurationError

Answers = Iterator[tuple[int, Dataset | None]]
SUCCESS, PENDING, UNSUPPORTED_KEYS = 0x0000, 0xFF00, 0xFF01


def answer(**values: str) -> Dataset:
    found = Dataset()
    found.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


@contextmanager
def peer(
    respond: Callable[[Dataset], Answers], *, sop_class: str = StudyRootQueryRetrieveInformationModelFind
) -> Iterator[str]:
    """A query SCP; the address to call it by."""
    ae = AE(ae_title="PEER")
    ae.add_supported_context(sop_class)
    port = free_port()
    handlers = [(evt.EVT_C_FIND, lambda event: respond(event.identifier))]
    server = ae.start_server((HOST, port), block=False, evt_handlers=handlers)
    try:
        yield f"{HOST}:{port}"
    finally:
        server.shutdown()


def test_lines_for_programs(pacslite: RunCommand) -> None:
    """Off a terminal: tab-separated, the keys that were given first."""
    asked: list[Dataset] = []

    def respond(keys: Dataset) -> Answers:
        asked.append(keys)
        yield PENDING, answer(PatientName="Müller^Jörg", StudyInstanceUID="1.2", StudyID="S1")
        yield PENDING, answer(PatientName="山田^太郎", StudyInstanceUID="1.3")
        yield SUCCESS, None

    with peer(respond) as address:
        ended = pacslite("find", address, "-k", "StudyID", "-k", "patientname=M*\\x")
    assert ended.code == Exit.OK, ended
    headings, *rows = (line.split("\t") for line in ended.lines)
    assert headings[:2] == ["StudyID", "PatientName"]
    assert [row[:2] for row in rows] == [["S1", "Müller^Jörg"], ["", "山田^太郎"]]
    assert ended.err.startswith("2 answers in ")
    [keys] = asked
    assert (keys.QueryRetrieveLevel, keys.SpecificCharacterSet) == ("STUDY", "ISO_IR 192")
    assert [str(name) for name in keys.PatientName] == ["M*", "x"]
    assert (keys.StudyInstanceUID, keys.NumberOfStudyRelatedInstances) == ("", None)


def test_a_table_for_people(pacslite: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal: nothing is cut off, and what answers hold is no markup."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    uid = "1.2.840." + "1" * 56

    def respond(keys: Dataset) -> Answers:
        yield PENDING, answer(PatientName="[bold]Doe^Jane\x1b[2J", StudyInstanceUID=uid)
        yield SUCCESS, None

    with peer(respond) as address:
        ended = pacslite("find", address, "--bare", "-k", "PatientName")
    assert ended.code == Exit.OK
    assert "\t" not in ended.out
    words = re.sub(r"\x1b\[[0-9;]*m|\s", "", ended.out)
    assert "[bold]Doe^Jane" in words
    assert words.count("1") >= 57
    assert "\x1b[2J" not in ended.out
    assert uid not in ended.out
    monkeypatch.setenv("COLUMNS", "80")
    with peer(respond) as address:
        assert uid in pacslite("find", address, "--bare", "-k", "PatientName").out


def test_what_an_answer_holds_cannot_steer_a_terminal(pacslite: RunCommand) -> None:
    def respond(keys: Dataset) -> Answers:
        yield PENDING, answer(PatientName="A\x1b[2J\x07\x9b\u202e^\x7f", StudyDescription="line\nfeed\ttab")
        yield 0xC001, answer()

    for option in ((), ("--json",)):
        with peer(respond) as address:
            ended = pacslite("find", address, *option)
        assert len(ended.lines) == (1 if option else 2)
        told = ended.out + ended.err
        assert not [char for char in told if not char.isprintable() and char not in "\n\t"]


def test_json_lines(pacslite: RunCommand) -> None:
    def respond(keys: Dataset) -> Answers:
        yield PENDING, answer(PatientName="山田^太郎", StudyInstanceUID="1.2")
        yield SUCCESS, None

    with peer(respond) as address:
        ended = pacslite("find", address, "--json")
    assert ended.code == Exit.OK
    [line] = ended.lines
    assert json.loads(line) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "山田^太郎"}]},
        "0020000D": {"vr": "UI", "Value": ["1.2"]},
    }


def test_keys_that_the_peer_does_not_support_are_named(pacslite: RunCommand) -> None:
    """QF-01, FF01."""

    def respond(keys: Dataset) -> Answers:
        yield UNSUPPORTED_KEYS, answer(StudyInstanceUID="1.2")
        yield SUCCESS, None

    with peer(respond) as address:
        ended = pacslite("find", address, "--bare", "-k", "StudyID", "-k", "PatientComments")
    assert ended.code == Exit.OK
    assert ended.err.splitlines()[-1] == "the peer does not support PatientComments, StudyID"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "status A700H, out of resources"),
        (0xA900, "status A900H, identifier does not match SOP class"),
        (0xC001, "status C001H, cannot understand"),
        (0xFE00, "status FE00H, cancelled"),
        (0x1234, "status 1234H, unknown status"),
    ],
)
def test_a_peer_that_fails(pacslite: RunCommand, status: int, words: str) -> None:
    """QF-01: what was found before is shown all the same."""

    def respond(keys: Dataset) -> Answers:
        yield PENDING, answer(StudyInstanceUID="1.2")
        yield status, None

    with peer(respond) as address:
        ended = pacslite("find", address)
    assert ended.code == Exit.FAILED
    assert "1.2" in ended.lines[1]
    assert words in ended.err


def test_nothing_found(pacslite: RunCommand) -> None:
    """QF-02."""

    def respond(keys: Dataset) -> Answers:
        yield SUCCESS, None

    with peer(respond) as address:
        ended = pacslite("find", address)
    assert (ended.code, ended.out) == (Exit.FAILED, "")
    assert ended.err.startswith("0 answers")


def test_a_peer_without_queries(pacslite: RunCommand) -> None:
    def respond(keys: Dataset) -> Answers:
        yield SUCCESS, None

    with peer(respond, sop_class=Verification) as address:
        ended = pacslite("find", address)
    assert ended.code == Exit.FAILED
    assert "the peer refuses Study Root Query/Retrieve Information Model - FIND" in ended.err


def test_nobody_there(pacslite: RunCommand) -> None:
    port = free_port()
    ended = pacslite("find", f"{HOST}:{port}")
    assert ended.code == Exit.UNREACHABLE
    assert ended.err.splitlines() == [f"pacslite: cannot connect to {HOST}:{port}: Connection refused"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-k", "PatientNam=X"), "no attribute; the nearest is PatientName"),
        (("-k", "qqqqqq"), "write a keyword of PS3.6 or a number"),
        (("-k", "PatientID", "-k", "00100020=1"), "PatientID is given twice"),
        (("-k", "QueryRetrieveLevel=STUDY"), "--level says that"),
        (("-k", "SpecificCharacterSet=X"), "--charset says that"),
        (("-k", "00020010=1"), "is no key"),
        (("-k", "00100000"), "is no key"),
        (("-k", "PatientID.StudyID=1"), "PatientID is no sequence"),
        (("-k", "RequestAttributesSequence=1"), "is a sequence: name an attribute in it"),
        (("-k", "Rows=many"), "Rows is a number"),
        (("-k", "00091010=1"), "has no value that can be written here"),
        (("-l", "series"), "needs -k StudyInstanceUID=..., or --relational"),
        (("-l", "image", "-k", "StudyInstanceUID=1"), "needs -k SeriesInstanceUID=..., or --relational"),
        (("-l", "patient", "--model", "study-root"), "Study Root has no patient level"),
        (("-l", "series", "--model", "patient-study-only"), "Patient/Study Only has no series level"),
        (("-l", "worklist"), "worklist"),
        (("--charset", "KOI-7"), "is no Specific Character Set"),
        (("--limit", "-1"), "--limit"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_opened(
    pacslite: RunCommand, arguments: tuple[str, ...], words: str
) -> None:
    """QF-04, QF-06."""
    ended = pacslite("find", "localhost:104", *arguments)
    assert ended.code == Exit.USAGE
    assert words in ended.err


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_keys_in_a_sequence_are_one_item() -> None:
    """QF-17."""
    elements = identifier(
        [
            "RequestAttributesSequence.RequestedProcedureID=A",
            "(0040,0275).00400009",
            "ProcedureCodeSequence",
        ],
        Level.SERIES,
        STUDY_ROOT,
        defaults=False,
    )
    assert elements[tags.REQUEST_ATTRIBUTES_SEQUENCE] == Element(
        "SQ", ({0x00400009: Element("SH", ""), 0x00401001: Element("SH", "A")},)
    )
    assert elements[0x00081032] == Element("SQ", ({},))


@pytest.mark.parametrize(
    ("word", "element"),
    [
        ("Rows=512\\256", Element("US", (512, 256))),
        ("Rows", Element("US", ())),
        ("FrameIncrementPointer=00181063", Element("AT", (0x00181063,))),
        ("PatientName==山田", Element("PN", "=山田")),
        ('StudyDescription=""', Element("LO", '""')),
        ("StudyDescription=", Element("LO", "")),
        ("00091010", Element("UN", b"")),
    ],
)
def test_values_by_vr(word: str, element: Element) -> None:
    assert element in identifier([word], Level.STUDY, STUDY_ROOT).values()


@pytest.mark.parametrize(
    ("level", "model", "asked", "not_asked"),
    [
        (Level.PATIENT, PATIENT_ROOT, tags.PATIENT_NAME, tags.STUDY_INSTANCE_UID),
        (Level.STUDY, PATIENT_ROOT, tags.STUDY_INSTANCE_UID, tags.PATIENT_NAME),
        (Level.STUDY, STUDY_ROOT, tags.PATIENT_NAME, tags.SERIES_INSTANCE_UID),
        (Level.SERIES, STUDY_ROOT, tags.SERIES_INSTANCE_UID, tags.STUDY_INSTANCE_UID),
        (Level.IMAGE, STUDY_ROOT, tags.SOP_INSTANCE_UID, tags.SERIES_INSTANCE_UID),
    ],
)
def test_what_is_asked_for_by_itself_is_of_the_level(level: Level, model: Model, asked: int, not_asked: int) -> None:
    """QF-06, QF-07: keys of other levels would not be answered without relational queries."""
    elements = identifier([], level, model)
    assert asked in elements
    assert not_asked not in elements
    assert list(identifier([], level, model, defaults=False)) == [level.unique_key]


def test_a_bad_key_is_one_line() -> None:
    with pytest.raises(ConfigurationError, match="StudyDate"):
        identifier(["StudyDat=1"], Level.STUDY, STUDY_ROOT)
