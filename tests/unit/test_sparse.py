"""Sparse files in tar streams: expanded, with their holes, and never more than is allowed."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from lisa_container.archives.destination import open_destination
from lisa_container.archives.unpack import unpack
from lisa_container.errors import CopyError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the folder to unpack in."""
    return tmp_path / "copy"


def unpacked(data: bytes, local: Path) -> None:
    """Unpack an archive in small pieces."""
    with open_destination(local) as there:
        unpack((data[i : i + 1000] for i in range(0, len(data), 1000)), there)


def sparse(size: int, *numbers: int, data: bytes = b"") -> bytes:
    """Return a sparse file in format 1.0 of GNU tar."""
    lines = "".join(f"{n}\n" for n in (len(numbers) // 2, *numbers)).encode()
    content = lines + bytes(-len(lines) % 512) + data
    info = tarfile.TarInfo("GNUSparseFile.0/x")
    info.size = len(content)
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "x",
        "GNU.sparse.realsize": str(size),
    }
    head = info.tobuf(tarfile.PAX_FORMAT)
    return head + content + bytes(-len(content) % 512) + bytes(1024)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", "gnu"])
def test_sparse_file_of_gnu_tar(tmp_path: Path, place: Path, version: str) -> None:
    with (tmp_path / "x").open("wb") as file:
        for i in range(60):
            file.seek(i << 16)
            file.write(b"%d" % i)
        file.truncate(1 << 26)
    words = (
        ["--format=gnu"] if version == "gnu" else ["--format=pax", f"--sparse-version={version}"]
    )
    data = subprocess.run(
        ["tar", "-c", "-S", *words, "-f", "-", "-C", tmp_path, "x"], capture_output=True, check=True
    ).stdout
    unpacked(data, place)
    assert place.stat().st_size == 1 << 26
    assert place.stat().st_blocks * 512 < 4 << 20, "its holes stay holes"
    assert subprocess.run(["cmp", tmp_path / "x", place], check=False).returncode == 0


def test_sparse_file_of_a_tebibyte(place: Path) -> None:
    with pytest.raises(CopyError, match="more than 68719476736 bytes.*max_bytes"):
        unpacked(sparse(1 << 40), place)
    assert not place.exists()


@pytest.mark.parametrize(
    ("size", "numbers"),
    [
        (10, (0, 4, 2, 4)),
        (10, (8, 4)),
        (10, (0, 2)),
        (10, (0, 8)),
        (10, (4, 2, 0, 2)),
        (10, (0, 1 << 62, 1 << 62, 1 << 62)),
    ],
)
def test_wrong_sparse_map(place: Path, size: int, numbers: tuple[int, ...]) -> None:
    with pytest.raises(CopyError, match="the map of the sparse file 'x'"):
        unpacked(sparse(size, *numbers, data=b"data"), place)
