"""The benchmark's objects are what they claim to be, and its figures are computed right."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from bench import corpus, measure
from bench.run import Run
from bench.summary import aims, summarise


def test_files_are_conformant_and_differ_where_they_should(tmp_path: Path) -> None:
    paths = corpus.write_files(tmp_path / "files", corpus.SMALL, 30)
    data_sets = [pydicom.dcmread(path) for path in paths]
    assert len({data_set.SOPInstanceUID for data_set in data_sets}) == 30
    assert len({data_set.SeriesInstanceUID for data_set in data_sets}) == 2
    assert len({data_set.StudyInstanceUID for data_set in data_sets}) == 1
    for number, (path, data_set) in enumerate(zip(paths, data_sets, strict=True)):
        assert data_set.file_meta.MediaStorageSOPInstanceUID == data_set.SOPInstanceUID
        assert data_set.SOPInstanceUID.is_valid
        assert data_set.InstanceNumber == number
        assert 16_000 < corpus.data_set_bytes(path) < 42_000
        assert len(data_set.PixelData) == data_set.Rows * data_set.Columns * 2


def test_files_are_the_same_in_every_run(tmp_path: Path) -> None:
    first, second = (corpus.write_files(tmp_path / name, corpus.SMALL, 5) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_data_set_bytes_leave_out_the_file_meta_information(tmp_path: Path) -> None:
    (path,) = corpus.write_files(tmp_path / "files", (corpus.SMALLEST,), 1)
    assert corpus.data_set_bytes(path) == corpus.template(corpus.SMALLEST).size


@pytest.mark.parametrize("shape", [corpus.CT, corpus.GIGABYTE])
def test_offsets_point_at_the_values_of_the_identifiers(shape: corpus.Shape) -> None:
    template = corpus.template(shape)
    read = pydicom.dcmread(BytesIO(template.header), force=True, stop_before_pixels=True)
    values = {
        "study": read.StudyInstanceUID,
        "series": read.SeriesInstanceUID,
        "instance": read.SOPInstanceUID,
        "patient": read.PatientID,
        "number": read["InstanceNumber"].value.original_string,
    }
    for name, value in values.items():
        assert template.header[template.offsets[name] :].startswith(str(value).encode())


def test_percentile_is_the_nearest_rank() -> None:
    assert measure.percentile([], 50) == 0
    assert measure.percentile([5, 1, 3], 50) == 3
    assert measure.percentile(range(1, 101), 99) == 100


def test_disk_rate_writes_what_it_says(tmp_path: Path) -> None:
    rate = measure.disk_rate(tmp_path, file_bytes=100, threads=2, files=6, seconds=30)
    assert rate.files == len(rate.latencies_s) == 6
    assert measure.folder_bytes(tmp_path) == 600


def test_summary_takes_medians_and_keeps_problems_apart() -> None:
    def run(peer: str, number: int, elapsed_s: float, problem: str = "") -> Run:
        return Run(
            workload="raw-512k-1",
            peer=peer,
            round=number,
            objects=0 if problem else 100,
            object_bytes=100_000_000,
            elapsed_s=elapsed_s,
            server_cpu_s=0.1,
            problem=problem,
        )

    runs = [run("pacslite", number, elapsed) for number, elapsed in enumerate((0.1, 0.2, 0.9))]
    runs += [run("orthanc", 0, 0.8), run("orthanc", 1, 0.0, "fell over"), run("storescp", 0, 0.0, "not installed")]
    ours, orthanc, storescp = summarise(runs)
    assert ours.objects_per_s == pytest.approx(500)
    assert ours.cpu_ms_per_object == pytest.approx(1.0)
    assert orthanc.ratio == pytest.approx(4.0)
    assert (orthanc.rounds, orthanc.problem) == (1, "fell over")
    assert (storescp.rounds, storescp.ratio) == (0, None)
    reached = {aim.text: aim for aim in aims([ours, orthanc, storescp])}
    assert reached["512 KB, 1 association: times orthanc"].met is True
    assert reached["512 KB, 1 association: times storescp, which makes nothing durable"].met is None
    assert reached["512 KB, 1 association: server CPU ms per object"].met is True


def test_without_pacslite_there_are_no_aims() -> None:
    assert aims(summarise([Run(workload="raw-512k-1", peer="orthanc", round=0, objects=1, elapsed_s=1)])) == []
