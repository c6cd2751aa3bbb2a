"""``pacslite send`` against DCMTK, pynetdicom and our own server."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from kit.commandline import RunCommand
from kit.encode import EXPLICIT_LITTLE
from kit.odd import EXPLICIT, JPEG_BASELINE, SECONDARY_CAPTURE, make
from kit.peers import storescp
from kit.server import HOST, RunningServer, free_port
from kit.shipped import DicomObject, read_meta, shipped_objects
from kit.store import Store
from pacslite.cli.exits import Exit
from pacslite.dicom.part10 import file_meta

Handler = Callable[[evt.Event], int]


@contextmanager
def pynetdicom_scp(handler: Handler, *, sop_classes: Sequence[str] = (SECONDARY_CAPTURE,)) -> Iterator[int]:
    ae = AE(ae_title="PEER")
    ae.supported_contexts = [build_context(uid, [EXPLICIT]) for uid in sop_classes]
    port = free_port()
    server = ae.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)])
    try:
        yield port
    finally:
        server.shutdown()


def write(folder: Path, made: DicomObject, name: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"{made.name}.dcm")
    meta = file_meta(
        sop_class_uid=made.sop_class,
        sop_instance_uid=made.sop_instance,
        transfer_syntax_uid=made.transfer_syntax,
    )
    path.write_bytes(meta + made.data_set)
    return path


def write_some(folder: Path, count: int) -> list[DicomObject]:
    objects = [make(f"object-{number:02}") for number in range(count)]
    for made in objects:
        write(folder, made)
    return objects


def test_storescp_gets_the_bytes_that_are_in_the_files(pacslite: RunCommand, tmp_path: Path) -> None:
    """ST-02, ST-04: what storescp writes bit by bit is what was in the files, in every syntax it knows."""
    outbox = tmp_path / "outbox"
    sent: dict[tuple[str, str], bytes] = {}
    for made in shipped_objects():
        if made.name.startswith("pydicom/") and made.path is not None and len(made.data_set) % 2 == 0:
            sent.setdefault((made.sop_instance, made.transfer_syntax), made.data_set)
            if sent[made.sop_instance, made.transfer_syntax] is made.data_set:
                shutil.copy(made.path, outbox_file(outbox, made))
    with storescp(tmp_path / "received", "-fe", ".dcm", "+uf") as peer:
        ended = pacslite("send", f"{HOST}:{peer.port}", outbox, "-j", 2, "--report", "report.json")
        report = json.loads((tmp_path / "report.json").read_text())
        received = [path.read_bytes() for path in peer.files()]
    sent_ones = [entry for entry in report["files"] if entry["outcome"] == "sent"]
    assert len(sent_ones) > 60, ended
    assert len(received) == len(sent_ones) == report["summary"]["sent"]
    wanted = sorted(sent[entry["sop_instance_uid"], entry["transfer_syntax_uid"]] for entry in sent_ones)
    assert sorted(file[read_meta(file).data_set_offset :] for file in received) == wanted
    # storescp does not take every storage class, nor a few that are damaged: each such file has its reason.
    assert all(entry["reason"] for entry in report["files"] if entry["outcome"] != "sent")
    assert ended.code == (Exit.FAILED if report["summary"]["failed"] else Exit.OK)


def outbox_file(outbox: Path, made: DicomObject) -> Path:
    path = outbox / f"{made.name.replace('/', '_')}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_our_own_server_with_a_window_and_parallel_associations(pacslite: RunCommand, tmp_path: Path) -> None:
    objects = write_some(tmp_path / "outbox", 40)
    with RunningServer(tmp_path / "data") as server:
        ended = pacslite("send", f"{HOST}:{server.port}", "outbox", "-j", 3, "--window", 8)
        store = Store(server.data)
        for made in objects:
            store.copy_of(made)
    assert ended.code == Exit.OK, ended
    assert ended.out.startswith("sent 40 objects, ")


def test_what_fails_is_listed_and_the_rest_goes_on(pacslite: RunCommand, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    write_some(outbox, 3)
    write(
        outbox,
        make("compressed", syntax=JPEG_BASELINE, encoding=EXPLICIT_LITTLE),
        os.fsdecode(b"[red]compressed\n\xff.dcm"),
    )
    (outbox / "notes.txt").write_text("nothing that anybody would want in an archive " * 10)
    statuses = iter((0x0000, 0xB007, 0xA700))
    with pynetdicom_scp(lambda event: next(statuses)) as port:
        ended = pacslite("send", f"{HOST}:{port}", "outbox", "--report", "report.json")
    assert ended.code == Exit.FAILED
    *lines, summary = ended.lines
    assert sorted(lines) == [
        "failed  outbox/[red]compressed\\n\\udcff.dcm: the peer refuses Secondary Capture Image Storage in "
        "JPEG Baseline (Process 1): transfer syntax not supported",
        "failed  outbox/object-02.dcm: status A700H, out of resources",
        "warning outbox/object-01.dcm: status B007H, data set does not match SOP class",
    ]
    assert summary.startswith("sent 2 objects, ")
    assert summary.endswith("over 1 association, 1 with a warning, 2 failed, 1 skipped")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["summary"].items() >= {"sent": 1, "warning": 1, "failed": 2, "skipped": 1, "complete": True}.items()
    assert [entry["status"] for entry in report["files"] if "object" in entry["path"]] == ["0000", "B007", "A700"]


def test_strict_and_named_files(pacslite: RunCommand, tmp_path: Path) -> None:
    outbox = tmp_path / "outbox"
    write_some(outbox, 1)
    notes = outbox / "notes.txt"
    notes.write_text("nothing that anybody would want in an archive " * 10)
    with pynetdicom_scp(lambda event: 0x0000) as port:
        address = f"{HOST}:{port}"
        assert pacslite("send", address, outbox).code == Exit.OK
        strict = pacslite("send", address, outbox, "--strict")
        named = pacslite("send", address, notes, outbox / "object-00.dcm")
        verbose = pacslite("send", address, outbox, "-v")
        nothing = pacslite("send", address, (tmp_path / "empty"))
        (tmp_path / "empty").mkdir()
        empty = pacslite("send", address, (tmp_path / "empty"))
    assert strict.code == named.code == Exit.FAILED
    assert f"failed  {notes}: the file has no DICM prefix" in strict.out
    assert f"skipped {notes}: the file has no DICM prefix" in verbose.out
    assert f"sent    {outbox / 'object-00.dcm'}" in verbose.out
    assert nothing.code == Exit.USAGE
    assert (empty.code, empty.out) == (Exit.FAILED, "nothing to send\n")


def test_an_association_that_the_peer_aborts_is_opened_again(pacslite: RunCommand, tmp_path: Path) -> None:
    write_some(tmp_path / "outbox", 6)
    received: list[str] = []

    def handle(event: evt.Event) -> int:
        if len(received) == 3:
            received.append("")
            event.assoc.abort()
        else:
            received.append(event.request.AffectedSOPInstanceUID)
        return 0x0000

    with pynetdicom_scp(handle) as port:
        ended = pacslite("send", f"{HOST}:{port}", "outbox")
    assert ended.code == Exit.OK, ended
    assert "sent 6 objects" in ended.out
    assert "over 2 associations" in ended.out
    assert len({uid for uid in received if uid}) == 6


def test_nobody_there(pacslite: RunCommand, tmp_path: Path) -> None:
    write_some(tmp_path / "outbox", 2)
    ended = pacslite("send", f"{HOST}:{free_port()}", "outbox", "--report", "report.json")
    assert ended.code == Exit.UNREACHABLE
    assert len(ended.err.splitlines()) == 1
    assert ended.out == ""
    assert json.loads((tmp_path / "report.json").read_text())["summary"]["complete"] is False


# --- As a process of its own -----------------------------------------------------------------------------------------


def command(*arguments: str | Path) -> list[str]:
    return [str(Path(sys.executable).with_name("pacslite")), *map(str, arguments)]


def environment(**more: str) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PACSLITE_")}
    return {**inherited, "TERM": "xterm", **more}


def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    write_some(tmp_path / "outbox", 5)
    arrived, go_on = threading.Event(), threading.Event()

    def handle(event: evt.Event) -> int:
        if arrived.is_set():
            return 0x0000
        arrived.set()
        go_on.wait(20)
        return 0x0000

    with pynetdicom_scp(handle) as port:
        process = subprocess.Popen(
            command("send", f"{HOST}:{port}", tmp_path / "outbox", "--report", tmp_path / "report.json"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment(),
            text=True,
            # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            assert arrived.wait(20), process.communicate(timeout=5)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            go_on.set()
            process.kill()
            process.wait(10)
    assert process.returncode == Exit.INTERRUPTED, (out, err)
    assert err == "pacslite: interrupted\n"
    assert out.startswith("sent 0 objects")
    assert json.loads((tmp_path / "report.json").read_text())["summary"]["complete"] is False


def test_on_a_terminal_there_is_a_bar(tmp_path: Path) -> None:
    write_some(tmp_path / "outbox", 3)
    with pynetdicom_scp(lambda event: 0x0000) as port:
        code, shown = run_on_terminal(command("send", f"{HOST}:{port}", tmp_path / "outbox", "-v"), tmp_path)
    assert code == Exit.OK, shown
    assert "sending" in shown
    assert "\x1b[" in shown
    assert "sent 3 objects" in shown


def run_on_terminal(arguments: Sequence[str], folder: Path) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment())
    os.close(theirs)
    shown = bytearray()
    try:
        with suppress(OSError):  # how a pseudo-terminal ends
            while select.select([ours], [], [], 30)[0] and (data := os.read(ours, 4096)):
                shown += data
        return process.wait(30), shown.decode("utf-8", "replace")
    finally:
        os.close(ours)
        process.kill()
        process.wait(10)
