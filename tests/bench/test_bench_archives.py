"""The synthetic archives are what they claim to be, the same everywhere, and asked with the right expectations."""

from __future__ import annotations

import fnmatch
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import archives, corpus
from bench.asking import FindWorkload
from bench.peers import PACSLITE, PEERS, Peer, StartError, running
from bench.population import LONG_SERIES, Study, population
from bench.questions import QUESTIONS
from bench.report import Session, tables
from bench.requesters import Tools
from bench.retrieving import RETRIEVING, RetrieveWorkload
from bench.run import Bench, Run
from bench.senders import RawSender, SendError
from bench.workloads import WORKLOADS, run

SIZE = 10_000
DCMQRSCP = next(peer for peer in PEERS if peer.name == "dcmqrscp")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    return Bench(folder, RawSender.build(folder), Tools.build(folder))


def test_a_population_has_exactly_so_many_instances_and_long_series() -> None:
    for size in (1, 777, SIZE):
        studies = population(size)
        assert sum(study.images for study in studies) == size
        uids = [study.uid for study in studies] + [series.uid for study in studies for series in study.series]
        assert len(set(uids)) == len(uids)
    usual = [series.images for study in population(SIZE) for series in study.series]
    assert sorted(usual)[-LONG_SERIES[SIZE][0] :] == [LONG_SERIES[SIZE][1]]
    assert 15 < (SIZE - 1000) / (len(usual) - 1) < 25


def test_a_population_is_the_same_in_every_run() -> None:
    assert population.__wrapped__(777) == population(777)
    first = population(777)[0]
    assert (first.patient.patient_id, first.uid) == ("P00007919", population(777)[0].uid)
    assert population(777)[0].uid != population(778)[0].uid


def test_one_patient_in_a_hundred_is_found_by_sm() -> None:
    names = {study.patient.patient_id: study.patient.name for study in population(300_000)}.values()
    begin = sum(name.startswith("SM") for name in names) / len(names)
    contain = sum("SM" in name for name in names) / len(names)
    assert 0.006 < begin < 0.015
    assert 1.5 * begin < contain < 0.08


def test_expected_answers_are_those_of_a_plain_comparison() -> None:
    studies = population(SIZE)

    def matching(study: Study, pattern: str) -> bool:
        return fnmatch.fnmatchcase(study.patient.name, pattern)

    for name in ("name-prefix", "name-infix", "name-long-infix"):
        for line in QUESTIONS[name].lines(SIZE)[:40]:
            expected, pattern = line.split("\t")
            assert int(expected) == sum(matching(study, pattern) for study in studies)
    for line in QUESTIONS["date-modality"].lines(SIZE)[:40]:
        expected, dates, modality = line.split("\t")
        begin, end = dates.split("-")
        assert int(expected) == sum(
            begin <= study.date <= end and any(series.modality == modality for series in study.series)
            for study in studies
        )


def test_pacslite_answers_every_question_about_an_archive_without_files(bench: Bench) -> None:
    data = archives.prepared(PACSLITE, SIZE, bench.folder, bench.sender)
    assert archives.prepared(PACSLITE, SIZE, bench.folder, bench.sender) == data  # made once
    with running(PACSLITE, bench.fresh_folder("peer"), answers=bench.sender.echo, data=data) as server:
        for question in QUESTIONS.values():
            values = question.write_values(bench.folder, SIZE)
            found = bench.tools.find(server, question.options(), values=values, queries=20, seconds=20)
            assert (found.wrong, found.unsupported) == (0, 0), question.name
            assert found.queries == 20
    assert (data / "data" / "index.sqlite").stat().st_size > 1 << 20  # what is kept is not emptied


def test_dcmqrscp_finds_what_several_indexes_held(bench: Bench, tmp_path: Path) -> None:
    size = 700  # more than one call of dcmqridx
    archives.fill_dcmqrscp(DCMQRSCP, population(size), tmp_path / "peer", bench.sender)
    with running(DCMQRSCP, bench.fresh_folder("peer"), answers=bench.sender.echo, data=tmp_path / "peer") as server:
        for name in ("study-uid", "series", "images", "all-14"):
            values = QUESTIONS[name].write_values(bench.folder, size)
            found = bench.tools.find(server, QUESTIONS[name].options(), values=values, queries=10, seconds=20)
            assert (found.wrong, found.queries) == (0, 10), name


def test_indexes_of_dcmqrscp_that_are_of_another_version_are_not_merged() -> None:
    with pytest.raises(StartError, match="version"):
        archives.merged([b"QRDB04" + bytes(50_000)])


def test_rows_for_orthanc_are_a_tree_with_identifiers_in_upper_case() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(
            "CREATE TABLE Resources(internalId, resourceType, publicId, parentId);"
            "CREATE TABLE MainDicomTags(id, tagGroup, tagElement, value);"
            "CREATE TABLE DicomIdentifiers(id, tagGroup, tagElement, value);"
            "CREATE TABLE Metadata(id, type, value)"
        )
        studies = population(777)
        archives.insert_resources(connection, studies)
        levels = dict(connection.execute("SELECT resourceType, COUNT(*) FROM Resources GROUP BY 1").fetchall())
        patients = len({study.patient for study in studies})
        assert levels == {1: patients, 2: len(studies), 3: sum(len(study.series) for study in studies), 4: 777}
        lonely = "SELECT COUNT(*) FROM Resources c LEFT JOIN Resources p ON p.internalId = c.parentId"
        odd = f"{lonely} WHERE c.resourceType > 1 AND p.resourceType IS NOT c.resourceType - 1"
        assert connection.execute(odd).fetchone() == (0,)
        written = connection.execute("SELECT value FROM DicomIdentifiers WHERE tagGroup = 8 AND tagElement = 4144")
        assert {value for (value,) in written} == {study.description.upper() for study in studies}


def test_what_a_peer_cannot_hold_or_answer_is_its_problem_and_not_a_figure(bench: Bench) -> None:
    workload = FindWorkload(name="find-study-uid-1e6", title="", question="study-uid", instances=1_000_000)
    told = run(bench, workload, DCMQRSCP, 0)
    assert (told.problem, told.objects) == ("holds at most 500 studies and 10,000 images", 0)


@pytest.mark.parametrize("workload", RETRIEVING, ids=lambda workload: str(workload.name))
@pytest.mark.parametrize("peer", [PACSLITE, DCMQRSCP], ids=lambda peer: str(peer.name))
def test_a_series_is_retrieved_whole(bench: Bench, workload: RetrieveWorkload, peer: Peer) -> None:
    small = replace(workload, slices=5, shape=corpus.SMALLEST, seconds=0.05)
    told = run(bench, small, peer, 0)
    assert told.problem == ""
    assert told.objects == 5 * told.requests > 0
    assert told.object_bytes == told.objects * corpus.template(corpus.SMALLEST).size


def test_a_server_that_does_not_know_the_destination_is_told_of(bench: Bench) -> None:
    data = archives.prepared(PACSLITE, SIZE, bench.folder, bench.sender)
    study = population(SIZE)[0].uid
    with (
        running(PACSLITE, bench.fresh_folder("peer"), answers=bench.sender.echo, data=data) as server,
        pytest.raises(SendError, match="status 0xA801"),
    ):
        bench.tools.get(server, ["--level", "STUDY", "--key", f"0020000D={study}"], retrievals=1, seconds=20, move=True)


def test_each_kind_of_workload_has_its_columns() -> None:
    runs = [
        Run(
            workload=name, peer="pacslite", round=0, requests=2, objects=4, elapsed_s=1, p50_ms=0.5, server_peak_bytes=9
        )
        for name in ("find-study-uid-1e4", "get-ct", "raw-512k-1")
    ]
    chosen = [workload for workload in WORKLOADS if workload.name in {one.workload for one in runs}]
    session = Session(
        started=datetime.now(UTC), quick=False, machine={}, peers=[PACSLITE], workloads=chosen, runs=runs, durability={}
    )
    headers = {table.header[0]: table.header for table in tables(session)}
    assert "answers/s" in headers["find-study-uid-1e4"]
    assert "retrievals" in headers["get-ct"]
    assert "objects/s" in headers["raw-512k-1"]
    (aims,) = (table for table in tables(session) if table.header[0] == "aim")
    met = {row[0]: row[3] for row in aims.rows}
    assert met["C-FIND, StudyInstanceUID, 1e4 instances: p50 ms"] == "met"
    assert met["C-FIND, StudyInstanceUID, 1e6 instances: p50 ms"] == "not measured"
