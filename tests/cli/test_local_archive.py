"""``pacslite import``, ``ls``, ``stats`` and ``fsck``: the archive from the machine it is on."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kit.commandline import RunCommand
from kit.encode import EXPLICIT_LITTLE
from kit.odd import SECONDARY_CAPTURE, make
from kit.peers import storescp, storescu
from kit.retrievable import peer, received
from kit.samples import rows as index_rows
from kit.server import RunningServer
from kit.shipped import DicomObject
from kit.store import Store
from kit.wait import eventually
from pacslite.cli.exits import Exit
from pacslite.dicom.part10 import file_meta

# The reserve is for production; a test must also pass on a machine whose disk is nearly full.
NO_RESERVE = ("--set", "storage.min_free_bytes=0", "--set", "storage.min_free_percent=0")
LATIN_1 = EXPLICIT_LITTLE.element(0x00080005, "CS", "ISO_IR 100")


def write(folder: Path, made: DicomObject, name: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"{made.name}.dcm")
    meta = file_meta(
        sop_class_uid=made.sop_class, sop_instance_uid=made.sop_instance, transfer_syntax_uid=made.transfer_syntax
    )
    path.write_bytes(meta + made.data_set)
    return path


def person(name: str, patient_id: str) -> bytes:
    return EXPLICIT_LITTLE.element(0x00100010, "PN", name) + EXPLICIT_LITTLE.element(0x00100020, "LO", patient_id)


def dated(date: str, modality: str) -> bytes:
    return EXPLICIT_LITTLE.element(0x00080020, "DA", date) + EXPLICIT_LITTLE.element(0x00080060, "CS", modality)


@pytest.fixture
def outbox(tmp_path: Path) -> tuple[Path, list[DicomObject]]:
    """Three patients: one with two objects in a study, one with a large object."""
    folder = tmp_path / "outbox"
    anna, pixels = person("Müller^Anna", "A"), EXPLICIT_LITTLE.element(0x7FE00010, "OB", bytes(3 << 20))
    ct = dated("20240131", "CT")
    objects = [
        make("a1", study="2.25.100", series="2.25.101", first=LATIN_1, group8=ct, patient=anna),
        make("a2", study="2.25.100", series="2.25.101", first=LATIN_1, group8=ct, patient=anna),
        make("b", group8=dated("20230515", "MR"), patient=person("Brown^Bob", "B")),
        make("c", group8=dated("20220101", "CT"), patient=person("Clark^Cy", "C"), rest=pixels),
    ]
    for made in objects:
        write(folder, made)
    (folder / "readme.txt").write_text("nothing that anybody would want in an archive " * 10)
    return folder, objects


@pytest.fixture
def filled(pacslite: RunCommand, tmp_path: Path, outbox: tuple[Path, list[DicomObject]]) -> Path:
    data = tmp_path / "data"
    ended = pacslite("import", outbox[0], "--data", data, *NO_RESERVE)
    assert ended.code == Exit.OK, ended
    return data


# --- import ----------------------------------------------------------------------------------------------------------


def test_import_stores_the_bytes_and_can_be_repeated(
    pacslite: RunCommand, tmp_path: Path, outbox: tuple[Path, list[DicomObject]]
) -> None:
    folder, objects = outbox
    data = tmp_path / "data"
    first = pacslite("import", folder, "--data", data, *NO_RESERVE)
    store = Store(data)
    for made in objects:
        store.copy_of(made)
    again = pacslite("import", folder, "--data", data, *NO_RESERVE)
    assert first.code == again.code == Exit.OK
    assert first.lines[-1].endswith(", 4 stored, 1 skipped")
    assert again.lines[-1].endswith(", 4 already there, 1 skipped")
    assert len(store.files()) == len(objects)


def test_import_obeys_the_forwarding_rules(
    pacslite: RunCommand, tmp_path: Path, outbox: tuple[Path, list[DicomObject]]
) -> None:
    """It has no calling AE title: a rule for what comes over the network says ``?*``."""
    rules = """
    [[peers]]
    ae_title = "ARCHIVE"
    address = "192.0.2.1"
    port = 104
    [[forward]]
    name = "ct"
    to = ["ARCHIVE"]
    modality = ["CT"]
    [[forward]]
    name = "network"
    to = ["ARCHIVE"]
    calling_ae = ["?*"]
    """
    (tmp_path / "site.toml").write_text(rules)
    data = tmp_path / "data"
    for _ in range(2):
        assert pacslite("import", outbox[0], "--data", data, "--config", "site.toml", *NO_RESERVE).code == Exit.OK
    found = index_rows(
        data, "SELECT rule, i.sop_instance_uid FROM jobs JOIN instances i ON i.sop_instance_uid = subject"
    )
    expected = [("ct", made.sop_instance) for made in outbox[1] if made.name in ("a1", "a2", "c")]
    assert sorted(found, key=str) == sorted(expected)


def test_import_tells_what_fails_and_goes_on(
    pacslite: RunCommand, tmp_path: Path, outbox: tuple[Path, list[DicomObject]]
) -> None:
    folder, objects = outbox
    data = tmp_path / "data"
    write(folder, make("b", group8=dated("20230516", "MR"), patient=person("Brown^Bob", "B")), "other-b.dcm")
    nameless = EXPLICIT_LITTLE.element(0x00080016, "UI", SECONDARY_CAPTURE)
    (folder / "nameless.dcm").write_bytes(
        file_meta(sop_class_uid=SECONDARY_CAPTURE, sop_instance_uid="", transfer_syntax_uid="1.2.840.10008.1.2.1")
        + nameless
    )
    ended = pacslite("import", folder, "--data", data, "-j", 1, *NO_RESERVE)
    assert ended.code == Exit.FAILED
    assert f"failed     {folder / 'nameless.dcm'}: no SOP Instance UID (0008,0018)" in ended.lines
    assert f"kept aside {folder / 'other-b.dcm'}" in ended.lines
    assert "4 stored, 1 kept aside" in ended.lines[-1]
    assert len(Store(data).files()) == len(objects) + 1


def test_import_beside_a_running_server(
    pacslite: RunCommand, tmp_path: Path, outbox: tuple[Path, list[DicomObject]]
) -> None:
    folder, objects = outbox
    with RunningServer(tmp_path / "data") as server:
        ended = pacslite("import", folder, "--data", server.data, *NO_RESERVE)
        assert ended.code == Exit.OK, ended
        sent = storescu(server.port, [folder / "a1.dcm", folder / "b.dcm"])
        assert sent.code == 0, sent
    counted = json.loads(pacslite("stats", "--data", server.data, "--json").out)
    assert (counted["instances"], counted["conflicts"]) == (len(objects), 0)


def test_what_is_imported_is_forwarded_by_the_server_that_runs(
    pacslite: RunCommand, tmp_path: Path, outbox: tuple[Path, list[DicomObject]]
) -> None:
    folder, objects = outbox
    with storescp(tmp_path / "archive") as archive:
        settings = {
            **peer(0, "ARCHIVE", archive.port),
            "forward.0.name": "all",
            "forward.0.to": ["ARCHIVE"],
        }
        with RunningServer(tmp_path / "data", settings=settings) as server:
            sets = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
            ended = pacslite("import", folder, "--data", server.data, *NO_RESERVE, *sets)
            assert ended.code == Exit.OK, ended
            eventually(lambda: not index_rows(server.data, "SELECT * FROM jobs"), "nothing is owed", within_s=20)
        got = received(tmp_path / "archive")
    assert {uid: one.data_set for uid, one in got.items()} == {one.sop_instance: one.data_set for one in objects}


def test_import_does_not_feed_on_itself(pacslite: RunCommand, filled: Path) -> None:
    for path in (filled / "blobs", filled.parent):
        ended = pacslite("import", path, "--data", filled)
        assert ended.code == Exit.USAGE
        assert "the archive's own files" in ended.err


def test_import_of_nothing(pacslite: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = pacslite("import", tmp_path / "empty", "--data", tmp_path / "data", *NO_RESERVE)
    assert (ended.code, ended.out) == (Exit.FAILED, "nothing to store\n")


# --- ls --------------------------------------------------------------------------------------------------------------


def rows(out: str) -> list[dict[str, str]]:
    headings, *lines = (line.split("\t") for line in out.splitlines())
    return [dict(zip(headings, line, strict=True)) for line in lines]


def test_ls_studies_newest_first(pacslite: RunCommand, filled: Path) -> None:
    found = rows(pacslite("ls", "--data", filled).out)
    assert [(row["date"], row["name"], row["modalities"], row["objects"]) for row in found] == [
        ("20240131", "Müller^Anna", "CT", "2"),
        ("20230515", "Brown^Bob", "MR", "1"),
        ("20220101", "Clark^Cy", "CT", "1"),
    ]


@pytest.mark.parametrize(
    ("options", "dates"),
    [
        (("--name", "muller*"), ["20240131"]),
        (("--name", "*b"), ["20230515"]),
        (("--name", "[ab]*"), []),
        (("--patient-id", "C"), ["20220101"]),
        (("--modality", "CT"), ["20240131", "20220101"]),
        (("--date", "20230101-"), ["20240131", "20230515"]),
        (("--date", "-20221231"), ["20220101"]),
        (("--date", "20230515"), ["20230515"]),
        (("--date", "20220101-20230515"), ["20230515", "20220101"]),
        (("--study", "2.25.100"), ["20240131"]),
        (("--limit", "1"), ["20240131"]),
    ],
)
def test_ls_filters(pacslite: RunCommand, filled: Path, options: tuple[str, ...], dates: list[str]) -> None:
    ended = pacslite("ls", "studies", "--data", filled, *options)
    assert [row["date"] for row in rows(ended.out)] == dates
    assert ("only the first" in ended.err) == ("--limit" in options)


def test_ls_other_levels(pacslite: RunCommand, filled: Path) -> None:
    assert {row["patient id"] for row in rows(pacslite("ls", "patients", "--data", filled).out)} == {"A", "B", "C"}
    (series,) = rows(pacslite("ls", "series", "--study", "2.25.100", "--data", filled).out)
    assert (series["series UID"], series["objects"]) == ("2.25.101", "2")
    instances = [json.loads(line) for line in pacslite("ls", "instances", "--json", "--data", filled).lines]
    assert len(instances) == 4
    assert {instance["sop_class_uid"] for instance in instances} == {SECONDARY_CAPTURE}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("series",), "--study"),
        (("patients", "--series", "1.2"), "--series is not for patients"),
        (("studies", "--date", "2024-2025"), "--date"),
        (("everything",), "everything"),
    ],
)
def test_ls_what_makes_no_sense(pacslite: RunCommand, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    ended = pacslite("ls", *options, "--data", tmp_path / "nowhere")
    assert ended.code == Exit.USAGE
    assert words in ended.err


@pytest.mark.parametrize("verb", ["ls", "stats", "fsck"])
def test_looking_into_a_folder_does_not_make_an_archive_of_it(pacslite: RunCommand, tmp_path: Path, verb: str) -> None:
    ended = pacslite(verb, "--data", tmp_path / "nowhere")
    assert ended.code == Exit.USAGE
    assert "holds no archive" in ended.err
    assert not (tmp_path / "nowhere").exists()


# --- stats -----------------------------------------------------------------------------------------------------------


def test_stats(pacslite: RunCommand, filled: Path, outbox: tuple[Path, list[DicomObject]]) -> None:
    size = sum(len(made.data_set) for made in outbox[1])
    counted = json.loads(pacslite("stats", "--data", filled, "--json").out)
    wanted = {"patients": 3, "studies": 3, "series": 3, "instances": 4, "bytes": size, "conflicts": 0}
    assert counted.items() >= wanted.items()
    assert counted["free_bytes"] > 0
    assert counted["modalities"].keys() == {"CT", "MR"}
    assert counted["modalities"]["CT"]["instances"] == 3
    assert counted["transfer_syntaxes"] == {"1.2.840.10008.1.2.1": {"instances": 4, "bytes": size}}
    assert counted["sop_classes"] == {SECONDARY_CAPTURE: {"instances": 4, "bytes": size}}
    text = pacslite("stats", "--data", filled).out
    assert "objects         4, 3.1 MB" in text
    assert "Secondary Capture Image Storage" in text


# --- fsck ------------------------------------------------------------------------------------------------------------


def test_fsck_of_a_sound_archive(pacslite: RunCommand, filled: Path) -> None:
    ended = pacslite("fsck", "--digest", "--data", filled)
    assert ended.code == Exit.OK, ended
    assert ended.lines[-1] == "no problems"


def test_fsck_finds_and_repairs(pacslite: RunCommand, filled: Path, outbox: tuple[Path, list[DicomObject]]) -> None:
    store = Store(filled)
    orphan, altered = store.copy_of(outbox[1][2]), store.copy_of(outbox[1][3])
    missing = store.copy_of(outbox[1][0])
    stray = orphan.path.with_name("1.2.3.dcm")
    stray.write_bytes(make_stray())
    missing.path.unlink()
    with altered.path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    found = pacslite("fsck", "--data", filled)
    assert found.code == Exit.FAILED
    assert {line.split()[0] for line in found.lines if ".dcm" in line} == {"orphan", "missing"}
    with_digest = pacslite("fsck", "--digest", "--repair", "--data", filled)
    assert with_digest.code == Exit.FAILED
    assert {line.split()[0] for line in with_digest.lines if ".dcm" in line} == {"orphan", "missing", "altered"}
    assert "restore these files from a backup" in with_digest.lines[-1]
    after = pacslite("fsck", "--data", filled)
    assert (after.code, after.lines[-1]) == (Exit.OK, "no problems")
    counted = json.loads(pacslite("stats", "--data", filled, "--json").out)
    assert counted["instances"] == 4


def make_stray() -> bytes:
    made = make("stray", instance="1.2.3")
    meta = file_meta(
        sop_class_uid=made.sop_class, sop_instance_uid=made.sop_instance, transfer_syntax_uid=made.transfer_syntax
    )
    return meta + made.data_set


def test_fsck_rebuilds_the_index_from_the_files(pacslite: RunCommand, filled: Path) -> None:
    before = json.loads(pacslite("stats", "--data", filled, "--json").out)
    for name in filled.glob("index.sqlite*"):
        name.unlink()
    (filled / "index.sqlite").write_bytes(b"this was a database once" * 100)
    assert pacslite("stats", "--data", filled).code == Exit.STORE
    ended = pacslite("fsck", "--rebuild", "--repair", "--data", filled)
    assert ended.code == Exit.OK, ended
    assert "was moved to" in ended.out
    after = json.loads(pacslite("stats", "--data", filled, "--json").out)
    for number in ("patients", "studies", "series", "instances", "bytes", "modalities"):
        assert after[number] == before[number]


def test_fsck_rebuild_saves_the_promises_of_a_damaged_index(pacslite: RunCommand, filled: Path) -> None:
    """SC-06: what is owed to others does not follow from the files."""
    index = filled / "index.sqlite"
    with closing(sqlite3.connect(index)) as connection, connection:
        connection.execute(
            "INSERT INTO jobs (kind, destination, subject, state, created_at, due_at)"
            " VALUES ('forward', 'THERE', '1.2.3', 'waiting', 0, 0)"
        )
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'instances'").fetchone()
    with index.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xee" * 4096)
    ended = pacslite("fsck", "--rebuild", "--repair", "--data", filled)
    assert ended.code == Exit.OK, ended
    assert "the index could not be read (it is damaged) and was moved to" in ended.out
    assert ended.lines[1].endswith("of it were saved: 1 of jobs")
    with closing(sqlite3.connect(index)) as connection:
        assert connection.execute("SELECT subject FROM jobs").fetchall() == [("1.2.3",)]
    assert json.loads(pacslite("stats", "--data", filled, "--json").out)["instances"] == 4
