"""Tar streams: what is packed is unpacked the same, and a hostile one writes nothing outside."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lisa_container.engine.archive import Packing, pack_bytes, unpack
from lisa_container.errors import CopyError, CopyNotFoundError, EngineError


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **fields: Any
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def crafted(*members: tarfile.TarInfo, data: bytes = b"data") -> bytes:
    return pack_bytes([(x, data if x.isreg() else b"") for x in members])


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where to unpack; whatever else is in the parent afterwards was written outside."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in" / "copy"


def tree(path: Path) -> dict[str, Any]:
    """All that can be seen of a folder: kinds, modes, times, contents, links."""
    found: dict[str, Any] = {}
    for each in [path, *sorted(path.rglob("*"))]:
        status = each.lstat()
        name = os.fsencode(each.relative_to(path))
        if each.is_symlink():
            found[name] = str(each.readlink())
        else:
            content = None if each.is_dir() else each.read_bytes()
            found[name] = (oct(status.st_mode), round(status.st_mtime, 5), content)
    return found


def without_fractions(found: dict[str, Any]) -> dict[str, Any]:
    """The same with times in whole seconds."""
    return {name: x if isinstance(x, str) else (x[0], int(x[1]), x[2]) for name, x in found.items()}


# --- there and back -----------------------------------------------------------------------------

NAMES = ["a b", "ünï€𝄞", "new\nline", "-leading", "x" * 101, "'\"\\$`*?", os.fsdecode(b"\xff\xfe")]


def build(root: Path) -> Path:
    """A folder with everything a file system has."""
    root.mkdir()
    for number, name in enumerate(NAMES):
        (root / name).write_bytes(bytes([number]) * number)
    (root / "empty").mkdir()
    deep = root
    for _ in range(30):
        deep = deep / "ten-letters"
        deep.mkdir()
    (deep / "deepest").write_text("deep")
    for name, mode in {"setuid": 0o4755, "private": 0o600, "none": 0o000, "sticky": 0o1777}.items():
        (root / name).write_text(name)
        (root / name).chmod(mode)
    (root / "read-only").mkdir()
    (root / "read-only" / "file").write_text("x")
    os.utime(root / "private", (1, 1_000_000_000.25))
    os.utime(root / "empty", (1, 123_456_789))
    (root / "dangling").symlink_to("not/there")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "to-folder").symlink_to("empty")
    os.link(root / "private", root / "hard")
    (root / "read-only").chmod(0o555)
    return root


@pytest.mark.parametrize("size", [1, 512, 1_000_000])
def test_there_and_back(tmp_path: Path, place: Path, size: int) -> None:
    source = build(tmp_path / "source")
    unpack(pieces(b"".join(Packing().pack(source, "any/name")), size), place)
    assert tree(place) == tree(source)
    assert (place / "hard").samefile(place / "private")
    # And again over what is there, read-only folders included.
    unpack(Packing().pack(source, "any/name"), place)
    assert tree(place) == tree(source)


def test_a_file_there_and_back(tmp_path: Path, place: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 4097)
    (tmp_path / "link").symlink_to("file")
    unpack(Packing().pack(tmp_path / "link", "name"), place)
    assert not place.is_symlink(), "the link itself is followed"
    assert place.read_bytes() == bytes(range(256)) * 4097


def test_gnu_tar_understands_both_formats(tmp_path: Path) -> None:
    """What the engine gets and what a container's tar gets."""
    source = build(tmp_path / "source")
    for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        target = tmp_path / f"out{format_}"
        target.mkdir()
        data = b"".join(Packing(format=format_).pack(source, "deep/er", ["deep"]))
        subprocess.run(["tar", "-x", "-p", "-f", "-", "-C", target], input=data, check=True)
        ours, theirs = tree(source), tree(target / "deep" / "er")
        if format_ == tarfile.GNU_FORMAT:  # it knows no fractions of a second
            ours, theirs = (
                {n: x if isinstance(x, str) else (x[0], int(x[1]), x[2]) for n, x in y.items()}
                for y in (ours, theirs)
            )
        assert theirs == ours
        assert stat.S_IMODE((target / "deep").stat().st_mode) == 0o755


def test_owner_and_parents(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    stream = b"".join(Packing(7, 8).pack(tmp_path / "file", "a/b/c", ["a", "a/b"]))
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        members = archive.getmembers()
    assert [(x.name, x.isdir(), x.uid, x.gid) for x in members] == [
        ("a", True, 7, 8),
        ("a/b", True, 7, 8),
        ("a/b/c", False, 7, 8),
    ]


def test_sockets_pipes_and_devices_are_left_out(tmp_path: Path, place: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.mkfifo(source / "pipe")
    (source / "file").write_text("x")
    unpack(Packing().pack(source, "x"), place)
    assert [x.name for x in place.iterdir()] == ["file"]


def test_file_that_shrinks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    stream = Packing().pack(tmp_path / "file", "x")
    next(stream), next(stream)
    os.truncate(tmp_path / "file", 1 << 20)
    with pytest.raises(CopyError, match="became shorter"):
        list(stream)


def test_file_that_grows(tmp_path: Path, place: Path) -> None:
    """What was there at the beginning is copied."""
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    stream = Packing().pack(tmp_path / "file", "x")
    first = next(stream)
    with (tmp_path / "file").open("ab") as file:
        file.write(b"more")
    unpack([first, *stream], place)
    assert place.stat().st_size == 3 << 20


def test_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CopyNotFoundError, match=r"none.*No such file"):
        list(Packing().pack(tmp_path / "none", "x"))


def as_nobody(code: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code without root's rights."""
    prefix = "import os, sys; sys.path[:0] = sys.argv[1].split(':')\n"
    prefix += "from pathlib import Path; from lisa_container.engine.archive import *\n"
    prefix += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    words = [sys.executable, "-c", prefix + code, ":".join(sys.path), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_source_that_may_not_be_read(tmp_path: Path) -> None:
    secret = Path("/etc/shadow")
    done = as_nobody("list(Packing().pack(Path(sys.argv[2]), 'x'))", secret)
    assert "CopyDeniedError: cannot copy '/etc/shadow': Permission denied" in done.stderr


def test_target_that_may_not_be_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code = "unpack([pack_bytes([(__import__('tarfile').TarInfo('x'), b'')])], Path('/etc/ours'))"
    done = as_nobody(code, data)
    assert "CopyDeniedError: cannot copy '/etc/ours': Permission denied" in done.stderr
    assert not Path("/etc/ours").exists()


# --- hostile and broken streams -----------------------------------------------------------------

FOLDER = member("root", tarfile.DIRTYPE)
HOSTILE: dict[str, list[tarfile.TarInfo]] = {
    "dots": [FOLDER, member("root/../evil")],
    "dots in the middle": [FOLDER, member("root/a/../../evil")],
    "dots at the top": [FOLDER, member("../evil")],
    "another name": [FOLDER, member("evil")],
    "absolute": [FOLDER, member("/tmp/evil")],
    "root of dots": [member("..", tarfile.DIRTYPE), member("../evil")],
    "hard link out": [FOLDER, member("root/x", tarfile.LNKTYPE, "../../secret")],
    "absolute hard link": [FOLDER, member("root/x", tarfile.LNKTYPE, "/etc/passwd")],
    "hard link to nothing": [FOLDER, member("root/x", tarfile.LNKTYPE, "root/none")],
    "hard link to a folder": [FOLDER, member("root/x", tarfile.LNKTYPE, "root")],
    "folder over a file": [FOLDER, member("root/x"), member("root/x/y")],
    "file over a folder": [FOLDER, member("root/x", tarfile.DIRTYPE), member("root/x")],
    "link over a folder": [
        FOLDER,
        member("root/x", tarfile.DIRTYPE),
        member("root/x", tarfile.SYMTYPE, "/etc"),
    ],
    "zero byte": [FOLDER, member("root/x", pax_headers={"path": "root/a\0b"})],
    "time after all time": [FOLDER, member("root/x", pax_headers={"mtime": "1e300"})],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive(tmp_path: Path, place: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(CopyError, match=str(place)):
        unpack([crafted(*HOSTILE[name])], place)
    assert {x.name for x in tmp_path.iterdir()} == {"in", "secret"}
    assert {x.name for x in (tmp_path / "in").iterdir()} <= {"copy"}
    assert (tmp_path / "secret").stat().st_nlink == 1
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("target", ["..", "/", "../../outside"])
def test_nothing_is_written_through_a_link(tmp_path: Path, place: Path, target: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = member("root/link", tarfile.SYMTYPE, target)
    with pytest.raises(CopyError, match="a folder is in the way"):
        unpack([crafted(FOLDER, link, member("root/link/evil"))], place)
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "in" / "evil").exists()


def test_nothing_is_written_through_a_link_of_an_earlier_copy(tmp_path: Path, place: Path) -> None:
    """Copied twice, the first archive could prepare the way for the second."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    outside.chmod(0o700)
    links = [
        member("root/a", tarfile.SYMTYPE, str(outside)),
        member("root/b", tarfile.SYMTYPE, str(outside / "file")),
    ]
    unpack([crafted(FOLDER, *links)], place)
    evil = [member("root/a", tarfile.DIRTYPE, mode=0o777), member("root/a/evil"), member("root/b")]
    unpack([crafted(FOLDER, *evil)], place)
    assert [x.name for x in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "untouched"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o700
    assert (place / "b").read_text() == "data"


def test_modes_go_to_no_link(tmp_path: Path, place: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o700)
    place.mkdir()
    (place / "x").symlink_to(outside)
    unpack([crafted(FOLDER, member("root/x", tarfile.DIRTYPE, mode=0o777))], place)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "x").stat().st_mode) == 0o777


def test_devices_and_pipes_are_not_made(place: Path) -> None:
    kinds = [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    unpack([crafted(FOLDER, *(member(f"root/{i}", x) for i, x in enumerate(kinds)))], place)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 1024, 1536, 2000, 2048, 2560])
def test_cut_off(place: Path, cut: int) -> None:
    """Also between two entries, where tarfile itself sees nothing wrong."""
    whole = crafted(FOLDER, member("root/a"), member("root/b"))
    assert len(whole.rstrip(b"\0")) > 2048
    with pytest.raises(CopyError, match="no sound tar"):
        unpack(pieces(whole[:cut]), place)


def test_no_tar_at_all(place: Path) -> None:
    with pytest.raises(CopyError, match="no sound tar"):
        unpack([b"Cannot connect to the Docker daemon" * 100], place)


@pytest.mark.parametrize("error", [EngineError("the engine went away"), KeyError("x")])
def test_stream_that_fails(place: Path, error: Exception) -> None:
    def stream() -> Iterator[bytes]:
        yield crafted(FOLDER, member("root/a"))[:1024]
        raise error

    with pytest.raises(type(error)) as caught:
        unpack(stream(), place)
    assert caught.value is error


def test_folder_is_named_by_dots(place: Path) -> None:
    """As `tar -C folder .` has it."""
    unpack(
        [crafted(member(".", tarfile.DIRTYPE, mode=0o711), member("./a"), member("./b/c"))], place
    )
    assert sorted(x.name for x in place.iterdir()) == ["a", "b"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o711


def test_stream_is_read_to_its_end(place: Path) -> None:
    """Else the connection it comes from could not be used again."""
    rest: list[bytes | None] = []

    def stream() -> Iterator[bytes]:
        yield crafted(FOLDER)
        yield bytes(10240)
        rest.append(None)

    unpack(stream(), place)
    assert rest == [None]
