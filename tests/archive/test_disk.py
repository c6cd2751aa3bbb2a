"""Writing past the page cache: the same bytes as plainly, whatever the lengths and whatever the device says."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacslite.archive.blobs.disk import Disk


def written(path: Path, buffers: Sequence[bytes]) -> bytes:
    disk = Disk()
    descriptor = disk.create(str(path))
    try:
        disk.write_past_cache(descriptor, buffers)
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)
    return path.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 511, 4095, 4096, 4097, 65_536, 100_001, 1_300_000])
def test_a_file_is_as_long_as_what_was_written(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    assert written(tmp_path / "file", [data[:100], data[100:]]) == data


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=9000), max_size=6))
def test_any_buffers(tmp_path_factory: pytest.TempPathFactory, buffers: list[bytes]) -> None:
    assert written(tmp_path_factory.mktemp("disk") / "file", buffers) == b"".join(buffers)


def test_a_longer_file_before_leaves_nothing_in_a_shorter_one(tmp_path: Path) -> None:
    assert written(tmp_path / "long", [b"x" * 50_000]) == b"x" * 50_000
    assert written(tmp_path / "short", [b"y" * 5_000]) == b"y" * 5_000


def refusing(error: int, *, times: int) -> Callable[[int, bytes | memoryview], int]:
    """``os.write`` on a device that takes a part first, then says ``error`` so many times."""
    real, calls = os.write, 0

    def write(descriptor: int, data: bytes | memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return real(descriptor, data[:4096])
        if calls <= 1 + times:
            raise OSError(error, os.strerror(error))
        return real(descriptor, data)

    return write


def test_the_rest_of_a_short_write_goes_the_plain_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacslite.archive.blobs.disk.os.write", refusing(errno.EINVAL, times=1))
    assert written(tmp_path / "file", [b"z" * 20_000]) == b"z" * 20_000


@pytest.mark.parametrize(("error", "times"), [(errno.EINVAL, 9), (errno.ENOSPC, 1), (errno.EIO, 1)])
def test_a_device_that_goes_on_refusing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, times: int
) -> None:
    monkeypatch.setattr("pacslite.archive.blobs.disk.os.write", refusing(error, times=times))
    with pytest.raises(OSError, match=os.strerror(error)):
        written(tmp_path / "file", [b"z" * 20_000])
