"""Attacks on the runner by archives that a container sends for a copy."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig, CopyError
from tests.support.nodes import BUSYBOX

# Programs of busybox by its own name: those in /bin may be replaced.
BB = "/bin/busybox"


@pytest.fixture(scope="module")
def hostile(each_engine_user: Node) -> Iterator[ContainerExecutor]:
    """Return a container with a tmpfs, whose files are copied by the container's own programs."""
    config = ContainerTestConfig(image=BUSYBOX, tmpfs={"/memory": "size=64m"})
    with ContainerExecutor(each_engine_user, config) as container:
        yield container


@pytest.fixture
def replace(hostile: ContainerExecutor) -> Iterator[Callable[..., None]]:
    """Put scripts in the place of the container's programs, for a test."""
    replaced: list[str] = []

    def put(program: str, script: str, data: bytes = b"") -> None:
        replaced.append(program)
        hostile.run(
            f"{BB} rm -f /bin/{program}; {BB} cat >/bin/{program}; {BB} chmod 755 /bin/{program}",
            stdin=f"#!/bin/sh\n{script}\n",
            expected_exit_code=0,
        )
        hostile.run(f"{BB} cat >/evil", stdin=data, expected_exit_code=0)

    hostile.run("mkdir -p /memory/loot; echo x >/memory/file", expected_exit_code=0)
    yield put
    for program in replaced:
        hostile.run(f"{BB} rm /bin/{program}; {BB} ln -s busybox /bin/{program}")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: Any) -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o777
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def crafted(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for each in members:
            each.size = 4 if each.isreg() else 0
            archive.addfile(each, io.BytesIO(b"evil"))
    return buffer.getvalue()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """Yield a file of the runner; check at the end that it and its folder are unchanged."""
    folder = tmp_path / "victim"
    folder.mkdir(0o700)
    file = folder / "file"
    file.write_text("untouched")
    file.chmod(0o600)
    os.utime(file, (1, 1_000_000_000))
    yield file
    assert file.read_text() == "untouched"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_mtime == 1_000_000_000
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [x.name for x in folder.iterdir()] == ["file"]


# --- links --------------------------------------------------------------------------------------


def test_root_is_a_link(
    hostile: ContainerExecutor, replace: Callable[..., None], tmp_path: Path, victim: Path
) -> None:
    """An unrequested link is not copied, and a second copy does not follow it."""
    evil = crafted(member("./file", tarfile.SYMTYPE, str(victim)))
    replace("tar", f"{BB} cat /evil", evil)
    for _ in range(2):
        with pytest.raises(CopyError, match="neither the requested one"):
            hostile.copy_from("/memory/file", tmp_path / "out")
        assert not (tmp_path / "out").is_symlink()
    replace("tar", f"{BB} cat /evil", crafted(member("./file")))
    hostile.copy_from("/memory/file", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "evil"


def test_collect_of_a_link(
    hostile: ContainerExecutor, replace: Callable[..., None], tmp_path: Path, victim: Path
) -> None:
    """Setting an artifact's mode, and masking secrets in it, do not follow a link."""
    evil = crafted(member("./file", tarfile.SYMTYPE, str(victim)))
    replace("tar", f"{BB} cat /evil", evil)
    for _ in range(2):
        assert hostile.collect(["/memory/file"], tmp_path / "out") == []
    assert list((tmp_path / "out" / "files" / "memory").iterdir()) == []


@pytest.mark.parametrize("target", ["file", ""])
def test_link_of_an_earlier_copy(
    hostile: ContainerExecutor, tmp_path: Path, victim: Path, target: str
) -> None:
    """A copied link, dangling in the container, is not followed to a file or folder here."""
    goal = victim.parent / target
    hostile.run(f"ln -sfn {goal} /link; mkdir -p /tree; ln -sfn {goal} /tree/d; echo new >/new")
    hostile.copy_from("/link", tmp_path / "out")
    assert (tmp_path / "out").readlink() == goal
    if target:
        hostile.copy_from("/new", tmp_path / "out")
        assert (tmp_path / "out").read_text() == "new\n"
    else:
        with pytest.raises(CopyError, match="symbolic link to a folder"):
            hostile.copy_from("/new", tmp_path / "out")
        with pytest.raises(CopyError, match="is a symbolic link that an earlier copy"):
            hostile.copy_from("/new", tmp_path / "out" / "evil")
    hostile.copy_from("/tree", tmp_path / "tree")
    hostile.copy_from("/tree", tmp_path / "tree2")
    with pytest.raises(CopyError, match=r"symbolic link|in it is"):
        hostile.copy_from("/new", tmp_path / "tree" / "d" / "evil")
    # The tree once more, with a folder and a file in the place of the link.
    hostile.run("rm /tree/d; mkdir -m 777 /tree/d; echo evil >/tree/d/file")
    hostile.copy_from("/tree", tmp_path / "tree2x")
    hostile.copy_from("/tree/d", tmp_path / "tree2")
    assert (tmp_path / "tree2x" / "d" / "file").read_text() == "evil\n"
    hostile.run("rm -r /tree /link")


def test_collect_below_a_link_of_a_copy(
    hostile: ContainerExecutor, tmp_path: Path, victim: Path
) -> None:
    hostile.run(f"mkdir -p /a/b; ln -sfn {victim.parent} /a/link; mkdir /c; echo evil >/c/file")
    hostile.copy_from("/a", tmp_path / "files")
    hostile.run("rm /a/link; mv /c /link")
    (tmp_path / "files" / "link").exists()
    assert hostile.collect(["/link/file"], tmp_path) == []
    hostile.run("rm -r /a /link")


# --- too much -----------------------------------------------------------------------------------


def test_header_without_end(
    hostile: ContainerExecutor, replace: Callable[..., None], tmp_path: Path
) -> None:
    """A header of a gibibyte is refused without being held in memory."""
    replace("tar", f"{BB} cat /evil /dev/zero", member("x", b"x", size=1 << 30).tobuf())
    with pytest.raises(CopyError, match="header of 1073741824 bytes"):
        hostile.copy_from("/memory/file", tmp_path / "out")
    assert hostile.run("echo usable").stdout == "usable"


def test_entries_without_end(
    hostile: ContainerExecutor, replace: Callable[..., None], tmp_path: Path
) -> None:
    replace("tar", f"while {BB} cat /evil; do :; done", member("./d", tarfile.DIRTYPE).tobuf() * 64)
    with pytest.raises(CopyError, match="more than 1000 entries.*max_entries"):
        hostile.copy_from("/memory/loot", tmp_path / "out", max_entries=1000)


def test_sparse_file_of_a_tebibyte(
    hostile: ContainerExecutor, replace: Callable[..., None], tmp_path: Path
) -> None:
    info = member("./file", size=512)
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "./file",
        "GNU.sparse.realsize": str(1 << 40),
    }
    evil = info.tobuf(tarfile.PAX_FORMAT) + b"0\n".ljust(512, b"\0") + bytes(1024)
    replace("tar", f"{BB} cat /evil", evil)
    with pytest.raises(CopyError, match="more than 68719476736 bytes.*max_bytes"):
        hostile.copy_from("/memory/file", tmp_path / "out")
    hostile.copy_from("/memory/file", tmp_path / "out", max_bytes=2 << 40)
    assert (tmp_path / "out").stat().st_size == 1 << 40
    assert (tmp_path / "out").stat().st_blocks < 1000
    assert hostile.collect(["/memory/file"], tmp_path / "artifacts") == []


def test_endless_output_of_find_and_stat(
    hostile: ContainerExecutor, replace: Callable[..., None], tmp_path: Path
) -> None:
    """Endless output of a container's `find` and `stat` neither hangs nor uses memory."""
    replace("find", f"exec {BB} yes /memory/loot/no-such-file")
    replace("xargs", f"exec {BB} yes 1 /memory/loot/no-such-file")
    began = time.monotonic()
    assert hostile.collect(["/memory/loot/*"], tmp_path / "out") == []
    assert time.monotonic() - began < 60
    assert hostile.run("echo usable").stdout == "usable"


# --- odd files ----------------------------------------------------------------------------------


def test_collect_goes_on(
    hostile: ContainerExecutor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Odd files do not prevent the collection of others."""
    hostile.run(
        "mkdir -p /odd; cd /odd; echo 1 >a.log; mkfifo b.log; ln -s none c.log; "
        "echo 2 >\"$(printf 'd\\351.log')\"; ln -s loop.log loop.log; mkdir e.log; "
        "echo 3 >\"$(printf 'new\\nline.log')\"; echo 4 >z.log; ln -s /dev/zero y.log",
        expected_exit_code=0,
    )
    copies = hostile.collect(["/odd/*.log", "/odd/b.log", "/odd/c.log"], tmp_path / "out")
    folder = tmp_path / "out" / "files" / "odd"
    names = ["a.log", os.fsdecode(b"d\xe9.log"), "new\nline.log", "z.log"]
    assert sorted(copies) == sorted(folder / name for name in names)
    assert [(folder / name).read_text() for name in names] == ["1\n", "2\n", "3\n", "4\n"]
    assert sorted(x.name for x in folder.iterdir() if not x.is_dir()) == sorted(names)
    hostile.run("rm -r /odd")


MEMORY = """
import resource, sys
sys.path[:0] = {path!r}
from pathlib import Path
from lisa_container.archives.destination import open_destination
from lisa_container.archives.unpack import unpack
from lisa_container.errors import CopyError
import tarfile

info = tarfile.TarInfo("x")
info.type, info.size = b"x", 1 << 30

def stream():
    yield info.tobuf()
    for _ in range(4096):
        yield bytes(1 << 18)

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with open_destination(Path({local!r})) as place:
        unpack(stream(), place)
except CopyError as error:
    print(error, file=sys.__stdout__)  # LISA takes the other one for its log
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print("grown by", grown, file=sys.__stdout__)
"""


def test_memory_for_a_header_of_a_gibibyte(tmp_path: Path) -> None:
    """The process's memory, which tracemalloc does not see, has no peak for a big header."""
    code = MEMORY.format(path=sys.path, local=str(tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "header of 1073741824 bytes; legal" in done.stdout
    assert int(done.stdout.split()[-1]) < 16 * 1024, "KiB"
