"""Names in every character set: stored in one, asked for in any, answered in the requester's or in UTF-8. PS3.5 6.1,
PS3.3 C.12.1.1.2; STANDARD QF-10, QF-20, QF-21. pydicom writes the objects and requests, and reads the answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.charset import python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from kit.alphabets import ALPHABETS, ASCII, GB_2312, UTF_8, Alphabet, read_text, terms_of, write_gb_2312
from kit.finding import finding
from kit.identifiers import IMPLICIT, identifier
from kit.peers import findscu, storescu
from kit.server import RunningServer

CT = "1.2.840.10008.5.1.4.1.1.2"
EACH = pytest.mark.parametrize("alphabet", ALPHABETS, ids=lambda alphabet: alphabet.name)
REQUESTERS = [ASCII, *dict.fromkeys(alphabet.terms for alphabet in ALPHABETS)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("alphabets")
    with RunningServer(folder / "data") as running:
        sent = storescu(running.port, [saved(alphabet, folder) for alphabet in ALPHABETS], "-aec", "PACSLITE")
        assert sent.code == 0, sent.output
        yield running


def saved(alphabet: Alphabet, folder: Path) -> Path:
    """An object as a modality of that country sends it."""
    number = ALPHABETS.index(alphabet)
    sent = request(
        alphabet.terms,
        None,
        SOPClassUID=CT,
        SOPInstanceUID=f"1.2.{number}.3",
        StudyInstanceUID=f"1.2.{number}.1",
        SeriesInstanceUID=f"1.2.{number}.2",
        Modality="CT",
        PatientName=alphabet.person,
        PatientID=alphabet.patient_id,
        StudyDescription=alphabet.description,
    )
    sent.file_meta = FileMetaDataset()
    sent.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{number}.dcm"
    sent.save_as(path, enforce_file_format=True)
    return path


def raw(data_set: Dataset, keyword: str) -> bytes:
    """The bytes of an attribute, without escape sequences that change nothing."""
    element = data_set.get_item(keyword)
    assert isinstance(element, RawDataElement)
    value = (element.value or b"").rstrip()
    # JIS X 0201 is what G1 begins with here; pydicom says so again.
    return value.replace(b"\x1b)I", b"") if terms_of(data_set)[0] == "ISO 2022 IR 13" else value


def request(terms: tuple[str, ...], level: str | None = "STUDY", /, **keys: object) -> Dataset:
    asked = identifier(level, **keys)
    if terms:
        asked.SpecificCharacterSet = list(terms) if len(terms) > 1 else terms[0]
    if terms == GB_2312:
        for element in [element for element in asked if not str(element.value or "").isascii()]:
            value = write_gb_2312(str(element.value))
            value += b" " * (len(value) % 2)
            asked[element.tag] = RawDataElement(element.tag, element.VR, len(value), value, 0, False, True)
    return asked


def same(name: str, person: str) -> bool:
    """But for empty component groups at the end, which mean nothing."""
    return name.rstrip("=") == person.rstrip("=")


def representable(text: str, terms: tuple[str, ...]) -> bool:
    """Whether the single-byte and whole sets can hold ``text``; with code extensions this test does not decide."""
    codec = python_encoding[terms[0]] if terms else "ascii"
    try:
        text.encode("ascii" if codec == "iso8859" and not terms else codec)
    except UnicodeEncodeError:
        return False
    return True


@EACH
@pytest.mark.parametrize("kind", ["person", "pattern", "one_character"])
def test_qf_10_and_qf_20_found_and_answered_in_its_own_set(
    server: RunningServer, alphabet: Alphabet, kind: str
) -> None:
    with finding(server.port) as peer:
        found = peer.find(
            request(alphabet.terms, PatientName=getattr(alphabet, kind), PatientID=None, StudyDescription=None)
        )
    (answer,) = [answer for answer in found.answers if answer.PatientID == alphabet.patient_id]
    assert found.final.status == 0
    assert terms_of(answer) == alphabet.terms
    assert same(read_text(answer, "PatientName"), alphabet.person)
    assert read_text(answer, "StudyDescription") == alphabet.description


@EACH
def test_qf_20_found_and_answered_in_utf_8(server: RunningServer, alphabet: Alphabet) -> None:
    for key in (alphabet.person, alphabet.pattern):
        with finding(server.port, syntax=IMPLICIT) as peer:
            found = peer.find(request(UTF_8, PatientName=key, PatientID=None))
        (answer,) = [answer for answer in found.answers if answer.PatientID == alphabet.patient_id]
        assert terms_of(answer) == UTF_8
        assert same(read_text(answer, "PatientName"), alphabet.person)


@EACH
def test_qf_10_a_question_mark_is_a_character_and_not_a_byte(server: RunningServer, alphabet: Alphabet) -> None:
    one_more = alphabet.one_character + "?"
    for terms in (alphabet.terms, UTF_8):
        with finding(server.port) as peer:
            found = peer.find(request(terms, PatientName=one_more, PatientID=None))
        assert alphabet.patient_id not in found.values("PatientID")


@pytest.mark.parametrize("terms", REQUESTERS, ids=lambda terms: "+".join(terms) or "none")
def test_qf_20_and_qf_21_every_requester_can_read_every_name(server: RunningServer, terms: tuple[str, ...]) -> None:
    """All names at once: each answer is in the requester's set, or in UTF-8 where that cannot hold it, and says so."""
    with finding(server.port) as peer:
        found = peer.find(request(terms, PatientID="ID-*", PatientName=None, StudyDescription=None))
    by_id = {answer.PatientID: answer for answer in found.answers}
    assert len(by_id) == len(found.answers) == len(ALPHABETS)
    for alphabet in ALPHABETS:
        answer = by_id[alphabet.patient_id]
        assert same(read_text(answer, "PatientName"), alphabet.person), alphabet.name
        assert read_text(answer, "StudyDescription") == alphabet.description
        assert terms_of(answer) in (terms, UTF_8)
        if terms == alphabet.terms:
            assert terms_of(answer) == terms
        if len(terms) == 1 and terms[0] != "ISO_IR 13":  # Python's codec for that one knows more than the set
            text = alphabet.person + alphabet.description
            assert (terms_of(answer) == terms) is representable(text, terms), alphabet.name


@EACH
def test_dcmtk_finds_each_and_gets_the_bytes_that_were_stored(
    server: RunningServer, tmp_path: Path, alphabet: Alphabet
) -> None:
    asked = request(alphabet.terms, PatientName=alphabet.pattern, PatientID=alphabet.patient_id, StudyDescription="")
    asked.file_meta = FileMetaDataset()
    asked.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    query = tmp_path / "query.dcm"
    asked.save_as(query, implicit_vr=False, little_endian=True)
    ran = findscu(server.port, "-S", "-X", "-od", tmp_path, files=[query])
    assert ran.code == 0, ran.output
    (path,) = tmp_path.glob("rsp*.dcm")
    answer, sent = dcmread(path), dcmread(saved(alphabet, tmp_path))
    assert terms_of(answer) == alphabet.terms
    for keyword in ("PatientName", "StudyDescription"):
        assert raw(answer, keyword) == raw(sent, keyword)
