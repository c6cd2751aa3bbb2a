"""The DICOM JSON Model, against pydicom's reading of it. PS3.18 Annex F."""

from __future__ import annotations

import json

import pytest
from pydicom.dataset import Dataset

from pacslite.dicom.elements import Element, Value
from pacslite.dicom.json_model import JSON, json_model


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("LO", "A\\\\B", {"Value": ["A", None, "B"]}),
        ("LO", "", {}),
        ("LO", None, {}),
        ("LT", "a\\b", {"Value": ["a\\b"]}),
        ("PN", "A^B=山田=やま", {"Value": [{"Alphabetic": "A^B", "Ideographic": "山田", "Phonetic": "やま"}]}),
        ("PN", "=山田\\C", {"Value": [{"Ideographic": "山田"}, {"Alphabetic": "C"}]}),
        ("IS", "4\\x", {"Value": [4, "x"]}),
        ("IS", 4, {"Value": [4]}),
        ("DS", "1.5\\1e400\\nan\\1_0", {"Value": [1.5, "1e400", "nan", "1_0"]}),
        ("US", (1, 2), {"Value": [1, 2]}),
        ("US", (), {}),
        ("UV", (2**63,), {"Value": [str(2**63)]}),
        ("FD", (1.5, float("inf"), float("nan")), {"Value": [1.5, None, None]}),
        ("AT", (0x00181063,), {"Value": ["00181063"]}),
        ("OB", b"\1\2", {"InlineBinary": "AQI="}),
        ("UN", b"", {}),
        ("UR", "http://x?a=b\\c", {"Value": ["http://x?a=b\\c"]}),
        ("SQ", ({0x00080060: Element("CS", "CT")}, {}), {"Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}}, {}]}),
    ],
)
def test_values(vr: str, value: Value, expected: dict[str, JSON]) -> None:
    model = json_model({0x00091010: Element(vr, value)})
    assert model == {"00091010": {"vr": vr, **expected}}
    json.loads(json.dumps(model, allow_nan=False))


def test_the_character_set_is_that_of_json() -> None:
    assert json_model({0x00080005: Element("CS", "ISO_IR 100")}) == {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}


def test_pydicom_reads_it() -> None:
    model = json_model(
        {
            0x0020000D: Element("UI", "1.2.3"),
            0x00100010: Element("PN", "Yamada^Tarou=山田^太郎"),
            0x00201208: Element("IS", "12"),
            0x00400275: Element("SQ", ({0x00401001: Element("SH", "RP")},)),
            0x00080061: Element("CS", "CT\\MR"),
        }
    )
    assert list(model) == sorted(model)
    read = Dataset.from_json(json.dumps(model))
    assert read.PatientName.ideographic == "山田^太郎"
    assert read.NumberOfStudyRelatedInstances == 12
    assert read.RequestAttributesSequence[0].RequestedProcedureID == "RP"
    assert list(read.ModalitiesInStudy) == ["CT", "MR"]
