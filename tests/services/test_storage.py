"""The storage service on a real archive, without a network. PS3.4 Annex B; STANDARD ST-01 to ST-06."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from kit.operation import Bytes, Never, Nobody
from pacslite.archive.archive import Archive
from pacslite.archive.settings import ArchiveSettings
from pacslite.dicom.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN
from pacslite.dicom.uids import STORAGE_SOP_CLASSES, VERIFICATION
from pacslite.dimse.command import CommandField, CommandSet, Tag, Value
from pacslite.dimse.service import Context, Request, Response
from pacslite.errors import CannotUnderstand, DataSetMismatch, DimseError, InvalidObjectInstance, MistypedArgument
from pacslite.facts import Fact, InstanceStored, Peer
from pacslite.services.storage import StorableClasses, StorageService

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
HANGING_PROTOCOL = "1.2.840.10008.5.1.4.38.1"
PEER = Peer(association=1, address="127.0.0.1", port=1, calling_ae="CT1", called_ae="PACSLITE")


def encoded(**attributes: object) -> bytes:
    data_set = Dataset()
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def ct(**attributes: object) -> bytes:
    """A small CT image; None takes an attribute out."""
    usual: dict[str, object] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.3.3",
        "PatientID": "P1",
        "StudyInstanceUID": "1.2.3.1",
        "SeriesInstanceUID": "1.2.3.2",
        "ImageComments": "x" * 4000,
    }
    wanted = {**usual, **attributes}
    return encoded(**{keyword: value for keyword, value in wanted.items() if value is not None})


def request(data: bytes | None, *, sop_class: str = CT, sop_instance: str = "1.2.3.3") -> Request:
    elements: Mapping[int, Value] = {
        Tag.COMMAND_FIELD: CommandField.C_STORE_RQ,
        Tag.AFFECTED_SOP_CLASS_UID: sop_class,
        Tag.AFFECTED_SOP_INSTANCE_UID: sop_instance,
        Tag.MESSAGE_ID: 1,
    }
    return Request(
        peer=PEER,
        context=Context(1, sop_class, EXPLICIT_VR_LITTLE_ENDIAN),
        command=CommandSet(elements),
        data_set=None if data is None else Bytes(data),
        cancellation=Never(),
        invoker=Nobody(),
    )


@asynccontextmanager
async def storing(folder: Path, facts: list[Fact]) -> AsyncIterator[tuple[StorageService, Archive]]:
    async with Archive.open(ArchiveSettings(folder=folder / "data", min_free_bytes=0), observe=facts.append) as archive:
        yield StorageService(archive), archive


async def served(service: StorageService, asked: Request) -> Response:
    async with aclosing(service.serve(asked)) as responses:
        (response,) = [response async for response in responses]
        return response


async def test_st_02_and_st_04_what_is_stored_is_what_was_sent(tmp_path: Path) -> None:
    facts: list[Fact] = []
    data = ct()
    async with storing(tmp_path, facts) as (service, archive):
        assert await served(service, request(data)) == Response()
        stored = await archive.read("1.2.3.3")
        assert stored is not None
        assert stored.path.read_bytes()[stored.data_set_offset :] == data
        meta = pydicom.dcmread(stored.path).file_meta
        assert meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN
        assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3.3")
    (told,) = [fact for fact in facts if isinstance(fact, InstanceStored)]
    assert (told.outcome, told.study, told.series, told.source_ae) == ("stored", "1.2.3.1", "1.2.3.2", "CT1")


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (request(None), MistypedArgument, "without a data set"),
        (request(ct(), sop_instance=""), InvalidObjectInstance, "without a SOP Instance UID"),
        (request(ct(), sop_instance="1.2.3.4"), DataSetMismatch, "SOP Instance UID"),
        (request(ct(), sop_class=MR), DataSetMismatch, "SOP Class UID"),
        (request(ct(StudyInstanceUID=None)), CannotUnderstand, "Study Instance UID"),
        (request(ct(SeriesInstanceUID=None)), CannotUnderstand, "Series Instance UID"),
        (request(b""), CannotUnderstand, "Study Instance UID"),
        (request(b"\xff" * 500), CannotUnderstand, "UID"),
    ],
    ids=[
        "no data set",
        "no instance",
        "instance differs",
        "class differs",
        "no study",
        "no series",
        "empty",
        "garbage",
    ],
)
async def test_st_01_and_st_03_what_cannot_be_stored_says_why(
    tmp_path: Path, asked: Request, error: type[DimseError], words: str
) -> None:
    async with storing(tmp_path, []) as (service, archive):
        with pytest.raises(error, match=words) as caught:
            await served(service, asked)
        assert caught.value.comment
        assert (await archive.stats()).instances == 0
        assert not list((tmp_path / "data" / "blobs").rglob("*.dcm"))


async def test_st_03_offending_elements_are_named(tmp_path: Path) -> None:
    async with storing(tmp_path, []) as (service, _):
        with pytest.raises(DataSetMismatch) as caught:
            await served(service, request(ct(), sop_instance="1.2.3.4"))
        assert 0x00080018 in caught.value.offending


async def test_an_object_of_no_patient_is_stored(tmp_path: Path) -> None:
    data = encoded(SOPClassUID=HANGING_PROTOCOL, SOPInstanceUID="1.2.3.3", HangingProtocolName="X")
    async with storing(tmp_path, []) as (service, archive):
        assert await served(service, request(data, sop_class=HANGING_PROTOCOL)) == Response()
        assert await archive.read("1.2.3.3") is not None


async def test_st_01_a_data_set_without_its_own_uids_is_stored_with_a_warning(tmp_path: Path) -> None:
    async with storing(tmp_path, []) as (service, archive):
        response = await served(service, request(ct(SOPInstanceUID=None)))
        assert (response.status, bool(response.comment)) == (0xB007, True)
        assert await archive.read("1.2.3.3") is not None


@pytest.mark.parametrize(
    ("classes", "abstract_syntax", "related", "serves"),
    [
        (StorableClasses(unknown=False, private=False, related_general=False), CT, (), True),
        (StorableClasses(), VERIFICATION, (), False),
        (StorableClasses(), "1.2.840.10008.5.1.4.1.2.2.1", (), False),
        (StorableClasses(), "1.2.840.10008.1.20.1", (), False),
        (StorableClasses(), "1.2.840.10008.5.1.4.1.1.999", (), True),
        (StorableClasses(unknown=False), "1.2.840.10008.5.1.4.1.1.999", (), False),
        (StorableClasses(), "1.2.840.10008.5.1.1.999", (), False),
        (StorableClasses(), "1.3.12.2.1107.5.9.1", (), True),
        (StorableClasses(private=False), "1.3.12.2.1107.5.9.1", (), False),
        (StorableClasses(private=False), "1.3.12.2.1107.5.9.1", (CT,), True),
        (StorableClasses(private=False, related_general=False), "1.3.12.2.1107.5.9.1", (CT,), False),
        (StorableClasses(private=False), "1.3.12.2.1107.5.9.1", (VERIFICATION,), False),
    ],
)
def test_which_classes_are_taken(
    classes: StorableClasses, abstract_syntax: str, related: tuple[str, ...], serves: bool
) -> None:
    assert classes.serves(abstract_syntax, related) is serves


@pytest.mark.parametrize("uid", sorted(STORAGE_SOP_CLASSES))
def test_every_storage_sop_class_is_taken(uid: str) -> None:
    assert StorableClasses(unknown=False, private=False).serves(uid, ())
