"""Small disks of this machine that tests can fill."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SOURCE = "lisa_container_test"


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs, and unmount it at the end.

    A test run that was killed leaves its disks; the next one that needs a disk removes them.

    Args:
        path: of the folder, which is made.
        size: as `mount` takes it, such as "2m".
    """
    _remove_left_disks()
    path.mkdir()
    source = f"{_SOURCE}:{os.getpid()}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", source, path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte on a disk; return the file that takes the room."""
    path = folder / "filler"
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return path


def _remove_left_disks() -> None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        source, path, *_ = line.split()
        name, _, pid = source.partition(":")
        if name == _SOURCE and not Path("/proc", pid).exists():
            subprocess.run(["umount", "--lazy", path], check=False)
