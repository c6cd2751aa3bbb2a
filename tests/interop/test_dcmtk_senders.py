"""DCMTK's own programs as clients: echoscu, storescu in all its transfer syntax modes, dcmsend."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataelem import DataElement
from pydicom.filereader import dcmread

from kit.encode import EXPLICIT_LITTLE
from kit.odd import DEFLATED, make, odd_objects
from kit.peers import dcmsend, echoscu, storescu
from kit.server import RunningServer
from kit.shipped import DicomObject, decoded_header, part10, shipped_objects
from kit.store import Store, StoredFile

SHIPPED = {one.name: one for one in shipped_objects()}
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
UNCOMPRESSED = (IMPLICIT, EXPLICIT, BIG_ENDIAN)

FILES = {
    EXPLICIT: "pydicom/CT_small.dcm",
    IMPLICIT: "pydicom/rtplan.dcm",
    BIG_ENDIAN: "pydicom/MR_small_bigendian.dcm",
    DEFLATED: "pydicom/image_dfl.dcm",
    "1.2.840.10008.1.2.4.50": "pydicom/SC_rgb_jpeg_dcmtk.dcm",
    "1.2.840.10008.1.2.4.51": "pydicom/JPGExtended.dcm",
    "1.2.840.10008.1.2.4.70": "data_store/JPEG-LL.dcm",
    "1.2.840.10008.1.2.4.80": "pydicom/MR_small_jpeg_ls_lossless.dcm",
    "1.2.840.10008.1.2.4.81": "data_store/emri_small_jpeg_ls_lossless.dcm",
    "1.2.840.10008.1.2.4.90": "pydicom/MR_small_jp2klossless.dcm",
    "1.2.840.10008.1.2.4.91": "pydicom/JPEG2000.dcm",
    "1.2.840.10008.1.2.5": "pydicom/MR_small_RLE.dcm",
}
VIDEO = {
    "-xm": "1.2.840.10008.1.2.4.100",
    "-xh": "1.2.840.10008.1.2.4.101",
    "-xn": "1.2.840.10008.1.2.4.102",
    "-xl": "1.2.840.10008.1.2.4.103",
    "-x2": "1.2.840.10008.1.2.4.104",
    "-x3": "1.2.840.10008.1.2.4.105",
    "-xo": "1.2.840.10008.1.2.4.106",
    "-x4": "1.2.840.10008.1.2.4.107",
    "-x5": "1.2.840.10008.1.2.4.108",
}
COMPRESSED = {
    "-xs": "1.2.840.10008.1.2.4.70",
    "-xy": "1.2.840.10008.1.2.4.50",
    "-xx": "1.2.840.10008.1.2.4.51",
    "-xv": "1.2.840.10008.1.2.4.90",
    "-xw": "1.2.840.10008.1.2.4.91",
    "-xt": "1.2.840.10008.1.2.4.80",
    "-xr": "1.2.840.10008.1.2.5",
}
"""The modes that send compressed files as they are, and the syntax of these."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """Files to send, each with UIDs of its own, so that every test finds what it sent and nothing else."""

    folder: Path

    def put(self, name: str, sent: DicomObject) -> tuple[Path, DicomObject]:
        """A copy of ``sent`` under another SOP Instance UID of the same length, and that object."""
        old = sent.sop_instance.encode()
        digits = str(int(hashlib.sha256(f"{self.folder.name}/{name}".encode()).hexdigest(), 16))
        new = (old[: len(old) - 12] + digits[:12].encode()) if len(old) > 24 else old
        data_set = sent.data_set.replace(old, new)
        assert new in data_set or sent.transfer_syntax == DEFLATED
        if sent.transfer_syntax == DEFLATED:
            new, data_set = old, sent.data_set
        copy = replace(sent, name=name, sop_instance=new.decode(), data_set=data_set)
        path = self.folder / f"{name}.dcm"
        path.write_bytes(part10(copy))
        return path, copy


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path)


def the_copy(store: Store, sent: DicomObject) -> StoredFile:
    copies = store.copies(sent.sop_instance)
    assert len(copies) == 1, copies
    return copies[0]


def assert_same_content(stored: StoredFile, sent: DicomObject) -> None:
    """What pydicom reads from both is the same; byte order and lengths may differ, for storescu converts."""
    left, right = _content(stored.path.read_bytes()), _content(part10(sent))
    assert left == right


def _content(file: bytes) -> dict[int, DataElement]:
    data_set = dcmread(BytesIO(file))
    data_set.remove_private_tags()
    pixels = data_set.get("PixelData")
    if pixels and data_set.file_meta.TransferSyntaxUID == BIG_ENDIAN and data_set["PixelData"].VR == "OW":
        swapped = bytearray(pixels)
        swapped[::2], swapped[1::2] = swapped[1::2], swapped[::2]
        data_set.PixelData = bytes(swapped)
    if pixels:
        data_set["PixelData"].VR = "OB"  # storescu corrects files that have the other one
    data_set.decode()
    return {element.tag: element for element in data_set if element.tag.element != 0 and element.tag != 0xFFFCFFFC}


# --- echoscu ----------------------------------------------------------------------------------------------------------


def test_echoscu(server: RunningServer) -> None:
    ran = echoscu(server.port)
    assert ran.code == 0, ran.output
    assert "Received Echo Response (Success)" in ran.output


def test_echoscu_repeats_and_proposes_every_syntax_it_knows(server: RunningServer) -> None:
    ran = echoscu(server.port, "--repeat", "20", "-pts", "38", "-ppc", "128")
    assert ran.code == 0, ran.output
    assert ran.output.count("Received Echo Response (Success)") == 20


def test_echoscu_that_aborts_leaves_the_server_well(server: RunningServer) -> None:
    assert echoscu(server.port, "--abort").code == 0
    assert echoscu(server.port).code == 0


# --- storescu ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("combine", [(), ("+C",), ("-R",), ("-R", "+C")], ids=["separate", "C", "R", "RC"])
@pytest.mark.parametrize("mode", ["-x=", "-xe", "-xb", "-xi", "-xd"])
def test_storescu_converts_uncompressed_files_to_what_was_agreed(
    server: RunningServer, store: Store, outbox: Outbox, mode: str, combine: tuple[str, ...]
) -> None:
    sent = [
        outbox.put(f"{mode}{''.join(combine)}{at}", SHIPPED[FILES[syntax]])
        for at, syntax in enumerate((EXPLICIT, BIG_ENDIAN))
    ]
    ran = storescu(server.port, [path for path, _ in sent], mode, *combine)
    assert ran.code == 0, ran.output
    for _, one in sent:
        stored = the_copy(store, one)
        expected = {
            "-xe": UNCOMPRESSED,
            "-xb": UNCOMPRESSED,
            "-xi": (IMPLICIT,),
            "-x=": UNCOMPRESSED,
            "-xd": (*UNCOMPRESSED, DEFLATED),
        }
        assert stored.transfer_syntax in expected[mode]
        assert_same_content(stored, one)


@pytest.mark.parametrize(
    ("mode", "syntax"), [("-xe", EXPLICIT), ("-xb", BIG_ENDIAN), ("-xi", IMPLICIT), ("-xd", DEFLATED)]
)
def test_combined_contexts_get_the_sender_s_first_choice(
    server: RunningServer, store: Store, outbox: Outbox, mode: str, syntax: str
) -> None:
    path, sent = outbox.put(f"first{mode}", SHIPPED[FILES[EXPLICIT]])
    ran = storescu(server.port, [path], "+C", mode)
    assert ran.code == 0, ran.output
    stored = the_copy(store, sent)
    assert stored.transfer_syntax == syntax
    assert_same_content(stored, sent)


@pytest.mark.parametrize("combine", [(), ("-R",)], ids=["all", "R"])
@pytest.mark.parametrize("mode", COMPRESSED)
def test_storescu_sends_compressed_files_as_they_are(
    server: RunningServer, store: Store, outbox: Outbox, mode: str, combine: tuple[str, ...]
) -> None:
    path, sent = outbox.put(f"compressed{mode}{''.join(combine)}", SHIPPED[FILES[COMPRESSED[mode]]])
    ran = storescu(server.port, [path], mode, *combine)
    assert ran.code == 0, ran.output
    stored = the_copy(store, sent)
    assert stored.transfer_syntax == COMPRESSED[mode]
    assert_same_content(stored, sent)


@pytest.mark.parametrize("mode", VIDEO)
def test_storescu_sends_video(server: RunningServer, store: Store, outbox: Outbox, mode: str) -> None:
    stream = EXPLICIT_LITTLE.encapsulated(bytes(1000), bytes(24))
    path, sent = outbox.put("video", replace(make(f"video{mode}", rest=stream), transfer_syntax=VIDEO[mode]))
    ran = storescu(server.port, [path], mode)
    assert ran.code == 0, ran.output
    assert the_copy(store, sent).transfer_syntax == VIDEO[mode]
    assert_same_content(the_copy(store, sent), sent)


def test_storescu_near_lossless_jpeg_ls(server: RunningServer, store: Store, outbox: Outbox) -> None:
    syntax = "1.2.840.10008.1.2.4.81"
    path, sent = outbox.put(
        "near", replace(make("near-lossless", rest=EXPLICIT_LITTLE.encapsulated(bytes(64))), transfer_syntax=syntax)
    )
    ran = storescu(server.port, [path], "-xu")
    assert ran.code == 0, ran.output
    assert the_copy(store, sent).transfer_syntax == syntax


def test_storescu_sends_a_deflated_file_as_deflated(server: RunningServer, store: Store) -> None:
    sent = SHIPPED[FILES[DEFLATED]]
    assert sent.path is not None
    ran = storescu(server.port, [sent.path], "-xd", "+C")
    assert ran.code == 0, ran.output
    assert store.copies(sent.sop_instance)


@pytest.mark.parametrize("size", ["4096", "131072"])
def test_storescu_with_other_pdu_sizes(server: RunningServer, store: Store, outbox: Outbox, size: str) -> None:
    path, sent = outbox.put(f"pdu{size}", SHIPPED["data_store/SC_rgb_16bit.dcm"])
    ran = storescu(server.port, [path], "-pdu", size, "--max-send-pdu", size)
    assert ran.code == 0, ran.output
    assert_same_content(the_copy(store, sent), sent)


def test_storescu_many_files_on_one_association(server: RunningServer, store: Store, outbox: Outbox) -> None:
    sent = [outbox.put(f"many{at}", SHIPPED[FILES[EXPLICIT]]) for at in range(50)]
    ran = storescu(server.port, [path for path, _ in sent])
    assert ran.code == 0, ran.output
    for _, one in sent:
        assert_same_content(the_copy(store, one), one)


def test_storescu_that_invents_uids_and_aborts_at_the_end(server: RunningServer, store: Store, outbox: Outbox) -> None:
    path, sent = outbox.put("invent", SHIPPED[FILES[EXPLICIT]])
    before = len(store.files())
    ran = storescu(server.port, [path], "--repeat", "5", "+IR", "2", "+IS", "2", "+IP", "1", "--abort")
    assert ran.code == 0, ran.output
    assert len(store.files()) == before + 5
    assert store.copies(sent.sop_instance) == []


def test_storescu_takes_every_shipped_file_it_can_read(server: RunningServer, store: Store) -> None:
    """Acceptance of the whole corpus by an unmodified sender, each file in a mode that does not convert it."""
    modes = {syntax: mode for mode, syntax in COMPRESSED.items()} | {"1.2.840.10008.1.2.4.81": "-xu", DEFLATED: "-xd"}
    for syntax, files in _by_syntax():
        ran = storescu(server.port, [path for path, _ in files], modes.get(syntax, "-x="), "-nh", "-R", "+C")
        answers = ran.output.count("Received Store Response")
        assert answers > 0, ran.output
        accepted = ran.output.count("Received Store Response (Success)")
        refused = ran.output.count("Received Store Response (Error")
        assert accepted + refused == answers, ran.output
        assert refused == sum(not _has_study(one) for _, one in files), ran.output
    assert len(store.files()) >= 200


def _by_syntax() -> Iterator[tuple[str, list[tuple[Path, DicomObject]]]]:
    syntaxes = sorted({one.transfer_syntax for one in SHIPPED.values()})
    for syntax in syntaxes:
        yield syntax, [(one.path, one) for one in SHIPPED.values() if one.transfer_syntax == syntax and one.path]


def _has_study(sent: DicomObject) -> bool:
    assert sent.path is not None
    header = decoded_header(sent.path.read_bytes())
    return bool(header.get("StudyInstanceUID") and header.get("SeriesInstanceUID"))


# --- dcmsend ----------------------------------------------------------------------------------------------------------


def test_dcmsend_sends_what_it_is_given(server: RunningServer, store: Store, outbox: Outbox) -> None:
    names = [FILES[EXPLICIT], FILES[BIG_ENDIAN], FILES[IMPLICIT], FILES["1.2.840.10008.1.2.5"]]
    sent = [outbox.put(f"dcmsend{at}", SHIPPED[name]) for at, name in enumerate(names)]
    ran = dcmsend(server.port, [path for path, _ in sent], "-dn")
    assert ran.code == 0, ran.output
    for _, one in sent:
        assert_same_content(the_copy(store, one), one)


def test_dcmsend_scans_a_folder_and_reports(
    server: RunningServer, store: Store, outbox: Outbox, tmp_path: Path
) -> None:
    sent = [outbox.put(f"scan{at}", SHIPPED[FILES[EXPLICIT]]) for at in range(10)]
    report = tmp_path / "report.txt"
    ran = dcmsend(server.port, [outbox.folder], "+sd", "+r", "+crf", report)
    assert ran.code == 0, ran.output
    assert "Number of SOP instances" in report.read_text()
    for _, one in sent:
        the_copy(store, one)


def test_dcmsend_uses_several_associations_for_more_than_128_contexts(
    server: RunningServer, store: Store, outbox: Outbox
) -> None:
    classes = [f"1.2.826.0.1.3680043.10.9999.77.{at}" for at in range(130)]
    sent = []
    for at, sop_class in enumerate(classes):
        base = make(f"class-{at}")
        private = replace(
            base,
            sop_class=sop_class,
            data_set=EXPLICIT_LITTLE.element(0x00080016, "UI", sop_class) + base.data_set[8 + 26 :],
        )
        path = outbox.folder / f"{at}.dcm"
        path.write_bytes(part10(private))
        sent.append((path, private))
    ran = dcmsend(server.port, [path for path, _ in sent])
    assert ran.code == 0, ran.output
    for _, one in sent:
        assert the_copy(store, one).sop_class == one.sop_class


def test_dcmsend_odd_objects_that_it_can_read(server: RunningServer, store: Store, outbox: Outbox) -> None:
    names = ("no-patient-at-all", "private-explicit", "sequences-of-undefined-length-explicit", "trailing-padding")
    odd = {one.object.name: one.object for one in odd_objects()}
    sent = [outbox.put(f"odd-{name}", odd[name]) for name in names]
    ran = dcmsend(server.port, [path for path, _ in sent])
    assert ran.code == 0, ran.output
    for _, one in sent:
        the_copy(store, one)
