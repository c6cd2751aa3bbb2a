"""The way to a file is durable also when others remove it and make it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pacslite.archive.blobs.directories import Directories
from pacslite.archive.blobs.disk import Disk


class SyncedDisk(Disk):
    """Remembers which directories have been synced."""

    __slots__ = ("synced",)

    def __init__(self) -> None:
        self.synced: list[int] = []

    def sync_directory(self, descriptor: int) -> None:
        self.synced.append(os.fstat(descriptor).st_ino)
        super().sync_directory(descriptor)


def test_the_parent_that_is_synced_is_the_one_that_is_there(tmp_path: Path) -> None:
    """One that was removed and made again by somebody else is another one, though we have the first one open."""
    disk = SyncedDisk()
    directories = Directories(disk, str(tmp_path))
    directories.durable("study/1")
    (tmp_path / "study/1").rmdir()
    held = os.open(tmp_path / "study", os.O_RDONLY)  # or its number might be given to the new one
    (tmp_path / "study").rmdir()
    (tmp_path / "study").mkdir()
    directory = directories.durable("study/2")
    assert os.path.samestat(os.fstat(directory.descriptor), os.stat(tmp_path / "study/2"))
    assert disk.synced[-2:] == [tmp_path.stat().st_ino, (tmp_path / "study").stat().st_ino]
    os.close(held)


def test_a_parent_that_is_gone_is_made_again(tmp_path: Path) -> None:
    directories = Directories(Disk(), str(tmp_path))
    directories.durable("study/1")
    (tmp_path / "study/1").rmdir()
    (tmp_path / "study").rmdir()
    directories.durable("study/2")
    assert (tmp_path / "study/2").is_dir()


def test_a_way_that_can_never_be_made_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    directories = Directories(Disk(), str(root))
    root.rmdir()
    with pytest.raises(FileNotFoundError, match="study"):
        directories.durable("study")


@pytest.mark.parametrize("times", [1, 3])
def test_one_that_is_removed_as_soon_as_it_is_made_is_made_again(tmp_path: Path, times: int) -> None:
    class Contested(Disk):
        """Somebody removes the directory before it is opened."""

        __slots__ = ("left",)

        def __init__(self) -> None:
            self.left = times

        def open_directory(self, path: str) -> int:
            if path.endswith("series") and self.left:
                self.left -= 1
                os.rmdir(path)
            return super().open_directory(path)

    Directories(Contested(), str(tmp_path)).durable("study/series")
    assert (tmp_path / "study/series").is_dir()
