"""The data folder: its marker, its locks, and what an unclean stop left in it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from kit.samples import Sample, files, put, settings_for
from pacslite.archive.archive import Archive
from pacslite.archive.blobs.layout import open_layout, server_is_running
from pacslite.archive.settings import StoreMode
from pacslite.errors import StoreInUseError
from pacslite.facts import Fact, StoreReconciled, ignore


def test_a_new_folder_becomes_a_store(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with open_layout(folder, StoreMode.SERVER) as layout:
        assert layout.incoming.parent == folder / "incoming"
    assert {path.name for path in folder.iterdir()} == {
        "backups",
        "blobs",
        "conflicts",
        "incoming",
        "quarantine",
        "server.lock",
        "store.toml",
    }
    assert list((folder / "incoming").iterdir()) == []
    with open_layout(folder, StoreMode.SERVER):
        pass


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreInUseError, match="is a file"), open_layout(tmp_path / "thesis.tex", StoreMode.SERVER):
        pass


def test_a_second_server_is_refused_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    with open_layout(tmp_path, StoreMode.SERVER):
        assert server_is_running(tmp_path)
        words = rf"in use by another server \(process {os.getpid()}\)"
        with pytest.raises(StoreInUseError, match=words) as caught, open_layout(tmp_path, StoreMode.SERVER):
            pytest.fail("it was opened twice")
        assert "\n" not in str(caught.value)
        with open_layout(tmp_path, StoreMode.BESIDE), open_layout(tmp_path, StoreMode.BESIDE):
            pass
    assert not server_is_running(tmp_path)


def test_the_lock_goes_with_the_process_however_it_ends(tmp_path: Path) -> None:
    code = (
        "import os, pathlib\n"
        "from pacslite.archive.blobs.layout import open_layout\n"
        "from pacslite.archive.settings import StoreMode\n"
        f"with open_layout(pathlib.Path({str(tmp_path)!r}), StoreMode.SERVER): os._exit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 3
    assert len(list((tmp_path / "incoming").glob("*.lock"))) == 1
    with open_layout(tmp_path, StoreMode.SERVER) as layout:
        assert len(list(layout.stale_incoming())) == 1
        assert [path.stem for path in (tmp_path / "incoming").glob("*.lock")] == [layout.incoming.name]


@pytest.mark.parametrize(
    ("marker", "words"),
    [("layout = 2", "layout 2 is not known"), ("layout = ", "store.toml"), ("", "layout None")],
)
def test_another_layout_is_not_touched(tmp_path: Path, marker: str, words: str) -> None:
    (tmp_path / "store.toml").write_text(marker)
    with pytest.raises(StoreInUseError, match=words), open_layout(tmp_path, StoreMode.SERVER):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["store.toml"]


def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreInUseError, match=r"not empty \(thesis.tex\)"), open_layout(tmp_path, StoreMode.SERVER):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(StoreInUseError, match="data"), open_layout(tmp_path / "data", StoreMode.SERVER):
        pass


async def test_only_what_dead_processes_left_is_cleaned_up(quick_path: Path) -> None:
    facts: list[Fact] = []
    async with Archive.open(settings_for(quick_path), observe=ignore) as first:
        async with first.ingest(Sample().origin) as ingest:
            await ingest.write(Sample().data_set())
            await ingest.write(bytes(2 << 20))
            await ingest.write(bytes(2 << 20))
            dead = quick_path / "incoming" / "1-dead"
            dead.mkdir()
            dead.with_suffix(".lock").touch()
            (dead / "0").write_bytes(b"half")
            (dead / "1,blobs,ab,1.2,1.3,1.4.dcm").write_bytes(b"half, and nowhere else yet")
            async with Archive.open(settings_for(quick_path), observe=facts.append):
                assert not dead.exists()
        await put(first, Sample())
    (fact,) = facts
    assert isinstance(fact, StoreReconciled)
    assert (fact.examined, fact.discarded) == (2, 2)
    assert len(files(quick_path, "blobs")) == 1


async def test_a_clean_start_examines_nothing(quick_path: Path) -> None:
    facts: list[Fact] = []
    for number in range(2):
        async with Archive.open(settings_for(quick_path), observe=facts.append) as archive:
            await put(archive, Sample(instance=f"1.2.{number}"))
    assert [fact for fact in facts if isinstance(fact, StoreReconciled)] == []


def test_many_processes_may_start_on_a_new_folder_at_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        layouts = [stack.enter_context(open_layout(tmp_path, StoreMode.BESIDE)) for _ in range(5)]
        assert len({layout.incoming for layout in layouts}) == 5
