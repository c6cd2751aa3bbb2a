"""The raw sender speaks DICOM: what pynetdicom receives from it is what the template says."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from bench import corpus
from bench.peers import PEERS, Server, running
from bench.requesters import Tools
from bench.run import Bench
from bench.senders import RawSender, SendError, dcmtk_send

PEER = next(peer for peer in PEERS if peer.name == "pynetdicom")


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> RawSender:
    return RawSender.build(tmp_path_factory.mktemp("rawsend"))


def test_each_object_arrives_whole_under_its_own_uids(sender: RawSender, tmp_path: Path) -> None:
    with running(PEER, tmp_path / "peer", answers=sender.echo) as server:
        sent = sender.send(server, corpus.CT, associations=3, objects=10, seconds=30, run=7)
        received = [pydicom.dcmread(path) for path in server.folder.glob("*.dcm")]
    assert sent.objects == len(sent.latencies_s) == len(received) == 10
    assert sent.object_bytes == 10 * corpus.template(corpus.CT).size
    assert len({data_set.SOPInstanceUID for data_set in received}) == 10
    # One association is one study of one patient.
    studies = {data_set.StudyInstanceUID for data_set in received}
    assert 1 <= len(studies) == len({data_set.PatientID for data_set in received}) <= 3
    pool = corpus.pool() * 2
    assert all(data_set.PixelData in pool for data_set in received)


def test_a_server_that_is_not_there_is_told(sender: RawSender, tmp_path: Path) -> None:
    nobody = Server(pid=0, port=1, title="NOBODY", folder=tmp_path)
    assert not sender.echo(nobody)
    with pytest.raises(SendError, match="connect"):
        sender.send(nobody, corpus.SMALLEST, associations=1, objects=1, seconds=1, run=1)


@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_latencies_of_dcmtk_senders_are_read_from_their_logs(sender: RawSender, tmp_path: Path, tool: str) -> None:
    files = corpus.write_files(tmp_path / "files", (corpus.SMALLEST,), 4)
    with running(PEER, tmp_path / "peer", answers=sender.echo) as server:
        sent = dcmtk_send(tool, server, files, folder=tmp_path, nodelay=True)
    assert sent.objects == len(sent.latencies_s) == 4
    assert all(0 < latency < sent.elapsed_s for latency in sent.latencies_s)


def test_no_process_and_no_bytes_are_left_behind(sender: RawSender, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    bench = Bench(work, sender, Tools.build(tmp_path / "tools"))
    with running(PEER, bench.fresh_folder("peer"), answers=sender.echo) as server:
        pid = server.pid
        (server.folder / "object").write_bytes(b"stored")
    assert [path for path in work.rglob("*") if path.is_file() and path.stat().st_size] == []
    assert not Path(f"/proc/{pid}").exists()
