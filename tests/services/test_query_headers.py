"""Any attribute of a stored header is answered at IMAGE level when it is asked for: pydicom's files, pydicom's reading.
STANDARD QF-03."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from kit.asking import Asking, asking
from kit.finding import STUDY_ROOT
from kit.identifiers import EXPLICIT, IMPLICIT, encoded
from kit.shipped import DicomObject, decoded_header, part10, shipped_objects
from pacslite.archive.headers import MAX_VALUE_BYTES
from pacslite.archive.model import Origin
from pacslite.dimse.status import PENDING

PIXEL_GROUP = 0x7FE0
NOT_ASKED_FOR = {0x00080005, 0x00080052, 0x00080054, 0x00080056, 0x00080201, 0x00081190, 0x00880130, 0x00880140}
"""What belongs to requests and answers themselves, and what says where objects can be had."""
NAMES = (
    "pydicom/CT_small.dcm",
    "pydicom/MR_small_bigendian.dcm",
    "pydicom/MR_small_implicit.dcm",
    "pydicom/image_dfl.dcm",
    "pydicom/JPEG2000.dcm",
    "pydicom/rtdose.dcm",
    "pydicom/reportsi.dcm",
    "pydicom/waveform_ecg.dcm",
    "pydicom/liver_1frame.dcm",
    "pydicom/color3d_jpeg_baseline.dcm",
)
SHIPPED = {one.name: one for one in shipped_objects()}


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Asking]:
    async with asking(tmp_path / "data") as ask:
        yield ask


def asked_for(header: Dataset) -> Iterator[DataElement]:
    """All of the header, as pydicom reads it, but for private attributes and what is too long."""
    for element in header:
        if element.tag.group >= PIXEL_GROUP or element.tag.is_private or element.tag in NOT_ASKED_FOR:
            continue
        if len(encoded(Dataset({element.tag: element}))) <= MAX_VALUE_BYTES:
            yield element


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("name", [name for name in NAMES if name in SHIPPED])
async def test_qf_03_what_the_file_has_is_what_the_answer_has(ask: Asking, name: str, syntax: str) -> None:
    sent = SHIPPED[name]
    await store(ask, sent)
    header = decoded_header(part10(sent))
    wanted = [*asked_for(header)]
    if syntax == IMPLICIT:  # the requester cannot say that it expects a negative one (PS3.5 A.1)
        wanted = [element for element in wanted if element.keyword != "PixelPaddingValue"]
    request = Dataset()
    for element in wanted:
        request.add_new(element.tag, element.VR, None)
    request.QueryRetrieveLevel = "IMAGE"
    request.SOPInstanceUID = sent.sop_instance
    found = await ask(request, STUDY_ROOT, extended=b"\1", syntax=syntax)
    (answer,) = found.answers
    assert found.statuses == {PENDING}
    assert {element.tag for element in wanted} <= set(answer.keys())
    assert [(one, answer[one.tag]) for one in wanted if plain(one) != plain(answer[one.tag])] == []


async def store(ask: Asking, sent: DicomObject) -> None:
    origin = Origin(
        sop_class_uid=sent.sop_class,
        sop_instance_uid=sent.sop_instance,
        transfer_syntax_uid=sent.transfer_syntax,
        calling_ae="CT1",
        called_ae="PACSLITE",
        address="127.0.0.1",
    )
    async with ask.archive.ingest(origin) as ingest:
        await ingest.write(memoryview(sent.data_set))
        await ingest.commit()


def plain(element: DataElement) -> object:
    """The value without what two encodings of it may differ in: padding, the VR of what is empty."""
    if element.VR == "SQ":
        return [{inner.tag: plain(inner) for inner in item if inner.tag.element} for item in element.value]
    if element.is_empty:
        return None
    if isinstance(element.value, bytes):
        return element.value.rstrip(b"\0 ")
    values = element.value if element.VM > 1 else [element.value]
    return [str(value).strip(" \0").rstrip("=") for value in values]
