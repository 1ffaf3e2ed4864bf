"""Test that a file is replaced as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container.atomic import create_once, replace_file


def test_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    mask = os.umask(0o027)
    try:
        replace_file(path, [b"n", b"ew"])
    finally:
        os.umask(mask)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        replace_file(path, pieces())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "missing" / "file", [b""])


def test_folder_is_created_once(tmp_path: Path) -> None:
    folder = tmp_path / "all" / "one"
    with create_once(folder, print) as temporary:
        assert temporary
        temporary.mkdir()
        (temporary / "file").touch()
        assert not folder.exists()
    assert (folder / "file").exists()
    with create_once(folder, print) as temporary:
        assert temporary is None


def test_damaged_folder_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "all" / "one"
    folder.mkdir(parents=True)
    (folder / "old").touch()
    with create_once(folder, print, lambda path: (path / "file").exists()) as temporary:
        assert temporary
        temporary.mkdir()
        (temporary / "file").touch()
    assert [file.name for file in folder.iterdir()] == ["file"]


def test_failed_creation_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "all" / "one"
    with pytest.raises(ValueError, match="half way"), create_once(folder, print) as temporary:
        assert temporary
        temporary.mkdir()
        raise ValueError("half way")
    assert [file.name for file in folder.parent.iterdir()] == ["one.lock"]
