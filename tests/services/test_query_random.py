"""Whatever a requester asks, in whatever bytes: it is answered, or refused with a status of PS3.4 Table C.4-1."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pydicom._dicom_dict import DicomDictionary

from kit.asking import EVERYTHING, asking
from kit.encode import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding
from kit.finding import PATIENT_ROOT, PATIENT_STUDY_ONLY, STUDY_ROOT
from kit.hospital import EVERYTHING_STORED
from kit.identifiers import BIG_ENDIAN, EXPLICIT, IMPLICIT
from pacslite.dicom.decode import decode_data_set
from pacslite.dicom.levels import LEVEL_OF
from pacslite.dicom.transfer_syntax import transfer_syntax
from pacslite.dicom.vrs import LONG_VRS, NUMBER_FORMATS, TEXT_VRS
from pacslite.dimse.status import SUCCESS
from pacslite.errors import DimseError

REQUESTS = 300
REFUSALS = {0xA900, 0xC001}
ENCODINGS = {EXPLICIT: EXPLICIT_LITTLE, IMPLICIT: IMPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}
VRS = sorted(TEXT_VRS | LONG_VRS | NUMBER_FORMATS.keys())
VALUES = (
    *(b"*", b"?", b"1.1", b"1.1\\1.3", b"P1", b"Doe^*", b"*a*b*c*", b"20240101", b"20240101-", b"-", b"--", b"2024"),
    *(b"1200-1100", b'""', b"\\", b"\\A\\", b"=", b"^", b"=*=", b"a\\b", b"\0\0", b"\1\2\3", b"\xff" * 7, b"\x1b$B"),
    *(b"*" * 200, b"CT\\MR", b"12", b"-5", b"1e400", b"9" * 400, b"+0100", b"%_[", b"\xc3\xa9*", b"235960.999999"),
)


class Requester:
    """Asks at random, but mostly what means something."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.known = list(LEVEL_OF)
        self.all = list(DicomDictionary)

    def identifier(self, encoding: Encoding) -> bytes:
        usual = (
            (1.0, 0x00080052, "CS", ("STUDY", "SERIES", "IMAGE", "PATIENT")),
            (0.3, 0x00080005, "CS", ("ISO_IR 100", "\\ISO 2022 IR 87", "GBK", "nonsense", "ISO_IR 192")),
            (0.7, 0x0020000D, "UI", ("1.1",)),
            (0.6, 0x0020000E, "UI", ("1.1.1",)),
            (0.5, 0x00100020, "LO", ("P1",)),
            (0.3, 0x00080201, "SH", ("+0100", "-0330", "x")),
        )
        elements = [
            encoding.element(tag, vr, self.random.choice(values))
            for share, tag, vr, values in usual
            if self.random.random() < share
        ]
        elements += [self.element(encoding) for _ in range(self.random.randrange(6))]
        whole = b"".join(elements)
        return whole if self.random.random() < 0.95 else whole[: self.random.randrange(len(whole))]

    def element(self, encoding: Encoding, depth: int = 0) -> bytes:
        any_tag = self.random.randrange(0x00080000, 0x7FDFFFFF)
        tag = self.random.choice(
            (*self.random.choices(self.known, k=2), self.random.choice(self.all), any_tag, 0x00400275)
        )
        vr = DicomDictionary.get(tag, ("",))[0]
        if vr not in VRS or self.random.random() < 0.1:
            vr = self.random.choice(VRS)
        if vr == "SQ" and depth < 4:
            items = (
                b"".join(self.element(encoding, depth + 1) for _ in range(self.random.randrange(4)))
                for _ in range(self.random.choice((0, 1, 1, 1, 2)))
            )
            return encoding.sequence(tag, *items, undefined=self.random.random() < 0.5)
        value = self.random.choice(VALUES) if self.random.random() < 0.7 else b""
        return encoding.element(tag, vr, value, pad=self.random.random() < 0.9)


@pytest.mark.parametrize("seed", range(5))
async def test_every_request_has_an_answer_or_a_reason(tmp_path: Path, seed: int) -> None:
    requester = Requester(seed)
    endings: dict[int, int] = {}
    async with asking(tmp_path / "data", EVERYTHING_STORED) as ask:
        for _ in range(REQUESTS):
            syntax = requester.random.choice(list(ENCODINGS))
            sop_class = requester.random.choice((PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY))
            extended = requester.random.choice((b"", b"\1", EVERYTHING, EVERYTHING))
            data = requester.identifier(ENCODINGS[syntax])
            try:
                asked = await ask(data, sop_class, extended=extended, syntax=syntax)
            except DimseError as refused:
                ending = refused.status if refused.comment else 0
            else:
                ending = asked.final.status
                for response in asked.pending:
                    decode_data_set(response.data_set or b"", transfer_syntax(syntax))
            endings[ending] = endings.get(ending, 0) + 1
    assert endings.keys() == {SUCCESS, *REFUSALS}
