"""Tar streams: an unpacked copy equals its source, and a hostile stream writes nothing outside."""

from __future__ import annotations

import io
import itertools
import os
import socket
import stat
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lisa_container.archives import destination as destinations
from lisa_container.archives import unpack as unpacking
from lisa_container.archives.destination import open_destination
from lisa_container.archives.pack import Packing, pack_bytes
from lisa_container.archives.unpack import CopyLimits
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


def unpack(stream: Iterable[bytes], local: Path, *args: Any, **kwargs: Any) -> list[str]:
    """Unpack an archive with the rights of a user."""
    with open_destination(local) as place:
        return unpacking.unpack(stream, place, *args, **kwargs)


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the folder to unpack in; anything else in its parent was written outside."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in" / "copy"


def tree(path: Path) -> dict[str, Any]:
    """Return all visible attributes of a folder's files: kinds, modes, times, contents, links."""
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
    """Return a tree's description with times in whole seconds."""
    return {name: x if isinstance(x, str) else (x[0], int(x[1]), x[2]) for name, x in found.items()}


# --- there and back -----------------------------------------------------------------------------

NAMES = ["a b", "ünï€𝄞", "new\nline", "-leading", "x" * 101, "'\"\\$`*?", os.fsdecode(b"\xff\xfe")]


def build(root: Path) -> Path:
    """Make a folder with every kind of file."""
    root.mkdir()
    for number, name in enumerate(NAMES):
        (root / name).write_bytes(bytes([number]) * number)
    (root / "empty").mkdir()
    deep = root
    for _ in range(30):
        deep = deep / "ten-letters"
        deep.mkdir()
    (deep / "deepest").write_text("deep")
    for name, mode in {"private": 0o600, "none": 0o000, "sticky": 0o1777}.items():
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
    """GNU tar unpacks both the engine's format and that of a container's tar."""
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


def test_pipes_are_copied_and_sockets_left_out(tmp_path: Path, place: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    os.mkfifo(source / "pipe", 0o640)
    os.link(source / "pipe", source / "pipe2")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
    unpack(Packing().pack(source, "x"), place)
    assert sorted(x.name for x in place.iterdir()) == ["pipe", "pipe2"]
    assert (place / "pipe2").is_fifo()
    assert stat.S_IMODE((place / "pipe").stat().st_mode) == 0o640
    unpack(Packing().pack(source / "pipe", "x"), place / "alone")
    assert (place / "alone").is_fifo()


def test_link_that_leads_nowhere(tmp_path: Path, place: Path) -> None:
    """A dangling link is copied as a link, like `docker cp` does."""
    (tmp_path / "link").symlink_to("none")
    unpack(Packing().pack(tmp_path / "link", "x"), place, kinds=[b"2"])
    assert place.readlink() == Path("none")


def test_file_that_shrinks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    stream = Packing().pack(tmp_path / "file", "x")
    next(stream), next(stream)
    os.truncate(tmp_path / "file", 1 << 20)
    with pytest.raises(CopyError, match="became shorter"):
        list(stream)


def test_file_that_grows(tmp_path: Path, place: Path) -> None:
    """A file that grows meanwhile is copied up to its first size."""
    (tmp_path / "file").write_bytes(bytes(3 << 20))
    stream = Packing().pack(tmp_path / "file", "x")
    first = next(stream)
    with (tmp_path / "file").open("ab") as file:
        file.write(b"more")
    unpack([first, *stream], place)
    assert place.stat().st_size == 3 << 20


def test_missing_source(tmp_path: Path) -> None:
    with pytest.raises(CopyNotFoundError, match=r"none.*No such file"):
        list(Packing().pack(tmp_path / "none", "x"))


def as_nobody(code: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code as the user `nobody`."""
    prefix = "import os, sys; sys.path[:0] = sys.argv[1].split(':')\n"
    prefix += "from pathlib import Path; from lisa_container.archives.pack import *\n"
    prefix += "from lisa_container.archives.unpack import *\n"
    prefix += "from lisa_container.archives.destination import *\n"
    prefix += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    words = [sys.executable, "-c", prefix + code, ":".join(sys.path), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_source_that_may_not_be_read(tmp_path: Path) -> None:
    secret = Path("/etc/shadow")
    done = as_nobody("list(Packing().pack(Path(sys.argv[2]), 'x'))", secret)
    assert "CopyDeniedError: cannot copy '/etc/shadow': Permission denied" in done.stderr


def test_target_that_may_not_be_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    code = (
        "with open_destination(Path('/etc/ours')) as there:\n"
        "    unpack([pack_bytes([(__import__('tarfile').TarInfo('x'), b'')])], there)"
    )
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
    "root is a link": [member("root", tarfile.SYMTYPE, "../../secret")],
    "root becomes a link": [FOLDER, member("root", tarfile.SYMTYPE, "../../secret")],
    "root becomes a file": [FOLDER, member("root")],
    "root is a device": [member("root", tarfile.CHRTYPE)],
    "nothing": [],
    "too deep": [FOLDER, member("root" + "/x" * 300)],
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
    with pytest.raises(CopyError, match="below the link 'link'"):
        unpack([crafted(FOLDER, link, member("root/link/evil"))], place)
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "in" / "evil").exists()


def test_nothing_is_written_through_a_link_of_an_earlier_copy(tmp_path: Path, place: Path) -> None:
    """A second copy does not follow a link that the first one made."""
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


def test_devices_are_not_made(place: Path) -> None:
    kinds = [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    made = [member(f"root/{i}", x) for i, x in enumerate(kinds)]
    link = member("root/l", tarfile.LNKTYPE, "root/0")
    assert unpack([crafted(FOLDER, *made, link)], place) == ["'0'", "'1'", "'l'"]
    assert [x.name for x in place.iterdir()] == ["2"]
    assert (place / "2").is_fifo()


def test_setuid_is_dropped(place: Path) -> None:
    """An unpacked file of root has no setuid bit, which would give any user root's rights."""
    unpack([crafted(FOLDER, member("root/x", mode=0o6755))], place)
    assert stat.S_IMODE((place / "x").stat().st_mode) == 0o755


def test_hard_links_to_links_and_pipes(place: Path) -> None:
    entries = [
        member("root/link", tarfile.SYMTYPE, "none"),
        member("root/pipe", tarfile.FIFOTYPE),
        member("root/link2", tarfile.LNKTYPE, "root/link"),
        member("root/pipe2", tarfile.LNKTYPE, "root/pipe"),
    ]
    unpack([crafted(FOLDER, *entries)], place)
    assert (place / "link2").readlink() == Path("none")
    assert (place / "pipe2").lstat().st_ino == (place / "pipe").lstat().st_ino


@pytest.mark.parametrize("target", ["file", "folder", "none"])
def test_link_at_the_destination_is_replaced(tmp_path: Path, place: Path, target: str) -> None:
    """A link that an earlier copy left at the destination is replaced, not followed."""
    (tmp_path / "file").write_text("untouched")
    (tmp_path / "folder").mkdir(0o700)
    place.symlink_to(tmp_path / target)
    unpack([crafted(member("x"))], place)
    assert not place.is_symlink()
    assert place.read_text() == "data"
    assert (tmp_path / "file").read_text() == "untouched"
    place.unlink()
    place.symlink_to(tmp_path / target)
    unpack([crafted(member("x", tarfile.DIRTYPE, mode=0o777))], place)
    assert not place.is_symlink()
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert not (tmp_path / "none").exists()


def test_link_in_the_path_of_a_later_copy(tmp_path: Path, place: Path) -> None:
    """Links inside an earlier copy are not followed; links of the user's own are."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "mine").symlink_to("in")
    with open_destination(tmp_path / "mine" / "copy") as there:
        destinations.mark_copied(there)
        unpacking.unpack([crafted(FOLDER, member("root/d", tarfile.SYMTYPE, str(outside)))], there)
    assert place.is_dir()
    for path in (place, tmp_path / "mine" / "copy"):
        with pytest.raises(CopyError, match="'d' in it is a symbolic link"):
            unpack([crafted(member("x"))], path / "d" / "evil")
    assert list(outside.iterdir()) == []
    unpack([crafted(member("x"))], place / "new" / "good")
    assert (place / "new" / "good").read_text() == "data"


@pytest.mark.parametrize("limits", [CopyLimits(max_bytes=7), CopyLimits(max_entries=2)])
def test_more_than_the_limit(place: Path, limits: CopyLimits) -> None:
    name, most = ("max_bytes", 7) if limits.max_bytes == 7 else ("max_entries", 2)
    unpack([crafted(FOLDER, member("root/a"))], place, limits)
    with pytest.raises(CopyError, match=f"more than {most} .*{name}"):
        unpack([crafted(FOLDER, member("root/a"), member("root/b"))], place, limits)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_header_of_a_gibibyte(place: Path, kind: bytes) -> None:
    """A header of one gibibyte is refused before any of its data is in memory."""
    head = member("x", kind, size=1 << 30).tobuf()
    sent = 0

    def stream() -> Iterator[bytes]:
        nonlocal sent
        yield head
        for _ in range(4096):
            sent += 1 << 18
            yield bytes(1 << 18)

    tracemalloc.start()
    try:
        with pytest.raises(CopyError, match="header of 1073741824 bytes; legal: at most 1048576"):
            unpack(stream(), place)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert sent < 4 << 20


def test_headers_without_end(place: Path) -> None:
    data = b"30 " + b"comment=" + b"x" * 18 + b"\n"
    info = member("x", b"g", size=len(data))
    head = info.tobuf() + data.ljust(512, b"\0")
    with pytest.raises(CopyError, match="more than 100 headers"):
        unpack(itertools.repeat(head), place)


def test_something_behind_the_end(place: Path) -> None:
    stream = itertools.chain([crafted(FOLDER)], itertools.repeat(bytes(10240)))
    with pytest.raises(CopyError, match="data follows its end"):
        unpack(stream, place)


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 1024, 1536, 2000, 2048, 2560])
def test_cut_off(place: Path, cut: int) -> None:
    """A stream that ends early is an error, also between two entries, where tarfile sees none."""
    whole = crafted(FOLDER, member("root/a"), member("root/b"))
    assert len(whole.rstrip(b"\0")) > 2048
    with pytest.raises(CopyError, match="damaged tar archive"):
        unpack(pieces(whole[:cut]), place)


def test_no_tar_at_all(place: Path) -> None:
    with pytest.raises(CopyError, match="damaged tar archive"):
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
    """Packed folders are named `.`, like by `tar -C folder .`."""
    unpack(
        [crafted(member(".", tarfile.DIRTYPE, mode=0o711), member("./a"), member("./b/c"))], place
    )
    assert sorted(x.name for x in place.iterdir()) == ["a", "b"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o711


def test_stream_is_read_to_its_end(place: Path) -> None:
    """Unpacking reads a stream to its end, so that its connection can be used again."""
    rest: list[bytes | None] = []

    def stream() -> Iterator[bytes]:
        yield crafted(FOLDER)
        yield bytes(10240)
        rest.append(None)

    unpack(stream(), place)
    assert rest == [None]
