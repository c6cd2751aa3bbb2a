"""What an identifier of C-MOVE and C-GET may hold; STANDARD QR-01, QR-08."""

from __future__ import annotations

import pytest

from pacslite.dicom import tags
from pacslite.dicom.elements import Element, Elements
from pacslite.dicom.levels import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT, Level, Model
from pacslite.errors import InvalidKey
from pacslite.services.retrieve_keys import wanted

LEVEL, PATIENT, STUDY = tags.QUERY_RETRIEVE_LEVEL, tags.PATIENT_ID, tags.STUDY_INSTANCE_UID
SERIES, IMAGE = tags.SERIES_INSTANCE_UID, tags.SOP_INSTANCE_UID


def identifier(level: str, **keys: str | bytes) -> Elements:
    found = {LEVEL: Element("CS", level)}
    found |= {names[name]: Element("UI", value) for name, value in keys.items()}
    return found


names = {"patient": PATIENT, "study": STUDY, "series": SERIES, "image": IMAGE, "modality": tags.MODALITY}


@pytest.mark.parametrize(
    ("model", "asked", "relational", "keys"),
    [
        (PATIENT_ROOT, identifier("PATIENT", patient="P1"), False, {PATIENT: ("P1",)}),
        (PATIENT_ROOT, identifier("STUDY", patient="P1", study="1"), False, {PATIENT: ("P1",), STUDY: ("1",)}),
        (PATIENT_ROOT, identifier("STUDY", study="1"), False, {STUDY: ("1",)}),
        (PATIENT_ROOT, identifier("STUDY", patient="", study="1"), False, {STUDY: ("1",)}),
        (PATIENT_STUDY_ONLY, identifier("STUDY", study="1\\2"), False, {STUDY: ("1", "2")}),
        (STUDY_ROOT, identifier("STUDY", study="1\\2\\1\\"), False, {STUDY: ("1", "2")}),
        (STUDY_ROOT, identifier("STUDY", study="1", series="", image=""), False, {STUDY: ("1",)}),
        (STUDY_ROOT, identifier("STUDY", study="1", modality="C*"), False, {STUDY: ("1",)}),
        (STUDY_ROOT, identifier("STUDY", patient="P1", study="1"), False, {PATIENT: ("P1",), STUDY: ("1",)}),
        (STUDY_ROOT, identifier("SERIES", study="1", series="3\\4"), False, {STUDY: ("1",), SERIES: ("3", "4")}),
        (
            STUDY_ROOT,
            identifier("IMAGE", study="1", series="3", image="5\\6"),
            False,
            {STUDY: ("1",), SERIES: ("3",), IMAGE: ("5", "6")},
        ),
        (STUDY_ROOT, identifier("IMAGE", image="5\\6"), True, {IMAGE: ("5", "6")}),
        (STUDY_ROOT, identifier("IMAGE", series="3\\4", image="5"), True, {SERIES: ("3", "4"), IMAGE: ("5",)}),
        (STUDY_ROOT, identifier("STUDY", study=b"1\\2 "), False, {STUDY: ("1", "2")}),
    ],
)
def test_qr_08_unique_keys(model: Model, asked: Elements, relational: bool, keys: dict[int, tuple[str, ...]]) -> None:
    found = wanted(asked, model, relational=relational)
    assert found.keys == keys
    assert found.level is Level(asked[LEVEL].value)


@pytest.mark.parametrize(
    ("model", "asked", "relational", "offending"),
    [
        (STUDY_ROOT, {STUDY: Element("UI", "1")}, False, LEVEL),
        (STUDY_ROOT, identifier(""), False, LEVEL),
        (STUDY_ROOT, identifier("FRAME"), False, LEVEL),
        (STUDY_ROOT, identifier("PATIENT", patient="P1"), False, LEVEL),
        (PATIENT_STUDY_ONLY, identifier("SERIES", study="1", series="2"), False, LEVEL),
        (STUDY_ROOT, identifier("STUDY"), False, STUDY),
        (STUDY_ROOT, identifier("STUDY", study=""), True, STUDY),
        (PATIENT_ROOT, identifier("PATIENT", patient="  "), False, PATIENT),
        (PATIENT_ROOT, identifier("PATIENT", patient="P1\\P2"), False, PATIENT),
        (PATIENT_ROOT, identifier("PATIENT", patient="P1\\P2"), True, PATIENT),
        (PATIENT_ROOT, identifier("PATIENT", patient="P*"), False, PATIENT),
        (PATIENT_ROOT, identifier("STUDY", patient="P?", study="1"), False, PATIENT),
        (STUDY_ROOT, identifier("STUDY", study="1.*"), False, STUDY),
        (STUDY_ROOT, identifier("STUDY", study="1\\?"), True, STUDY),
        (STUDY_ROOT, identifier("SERIES", series="3"), False, STUDY),
        (STUDY_ROOT, identifier("SERIES", study="1\\2", series="3"), False, STUDY),
        (STUDY_ROOT, identifier("IMAGE", study="1", image="5"), False, SERIES),
        (STUDY_ROOT, identifier("STUDY", study="1", series="3"), False, SERIES),
        (STUDY_ROOT, identifier("SERIES", study="1", series="3", image="5"), True, IMAGE),
    ],
)
def test_qr_08_what_is_wrong_is_refused_with_the_element_and_words(
    model: Model, asked: Elements, relational: bool, offending: int
) -> None:
    with pytest.raises(InvalidKey) as caught:
        wanted(asked, model, relational=relational)
    assert caught.value.status == 0xA900
    assert caught.value.offending == (offending,)
    assert 0 < len(str(caught.value)) <= 64


def test_qr_08_ten_thousand_uids() -> None:
    uids = tuple(f"1.2.3.{number}" for number in range(10_000))
    asked = identifier("IMAGE", study="1", series="3", image="\\".join(uids))
    assert wanted(asked, STUDY_ROOT, relational=False).keys[IMAGE] == uids
