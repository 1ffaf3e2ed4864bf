"""Files into and out of containers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
from lisa.node import Node

from lisa_container import (
    ContainerDiedError,
    ContainerExecutor,
    CopyError,
    CopyNotFoundError,
    DockerAdvanced,
)
from lisa_container.container.paths import archive_chunks
from lisa_container.platforms.sandbox import SandboxNode

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]

# Where the engine sees the files, and where it does not.
PLACES = ["/copied", "/root", "/data", "/srv", "/memory", "/dev/shm"]


def look(container: ContainerExecutor, path: str) -> list[str]:
    """Return the attributes of a file in a container: kind, mode, owner, time, size, name."""
    found = container.run(
        f"cd {path} && find . | sort | xargs -d '\\n' stat -c '%n %A %u:%g %Y %s'"
    )
    return found.stdout.splitlines()


# --- there and back -----------------------------------------------------------------------------


def build(root: Path) -> Path:
    root.mkdir()
    (root / "file").write_bytes(bytes(range(256)) * 300)
    (root / "empty folder").mkdir()
    (root / ("l" * 120)).mkdir()
    (root / ("l" * 120) / ("m" * 150)).write_text("long")
    for name in ("ünï€𝄞", "new\nline", "-leading", "a b"):
        (root / name).write_text(name)
    for name, mode in {"private": 0o600, "sticky": 0o1777}.items():
        (root / name).write_text(name)
        (root / name).chmod(mode)
    os.utime(root / "private", (1, 1_000_000_000))
    (root / "links").mkdir()
    (root / "links" / "dangling").symlink_to("not/there")
    (root / "links" / "absolute").symlink_to("/etc/passwd")
    (root / "links" / "first").write_text("first")
    os.link(root / "links" / "first", root / "links" / "hard")
    (root / "read-only").mkdir()
    (root / "read-only" / "x").write_text("x")
    os.utime(root / "read-only", (1, 1_100_000_000))
    (root / "read-only").chmod(0o555)
    os.utime(root, (1, 1_200_000_000))
    return root


def tree(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in [path, *sorted(path.rglob("*"))]:
        name, status = str(each.relative_to(path)), each.lstat()
        if each.is_symlink():
            found[name] = str(each.readlink())
        else:
            content = None if each.is_dir() else each.read_bytes()
            # busybox's tar makes links last, which changes the time of their folder.
            time = 0 if name == "links" else int(status.st_mtime)
            found[name] = (oct(status.st_mode), time, content)
    return found


@pytest.mark.parametrize("place", PLACES)
def test_there_and_back(places: ContainerExecutor, tmp_path: Path, place: str) -> None:
    source = build(tmp_path / "source")
    target = f"{place}/made/on the way/copy"
    places.copy_to(source, target)
    try:
        # A process in the container sees it, not only the engine.
        assert places.run(["cat", f"{target}/private"]).stdout == "private"
        assert (
            places.run(["stat", "-c", "%a %u %Y", f"{target}/private"]).stdout == "600 0 1000000000"
        )
        assert places.run(["readlink", f"{target}/links/dangling"]).stdout == "not/there"
        assert places.run(f"[ '{target}/links/hard' -ef '{target}/links/first' ]").exit_code == 0
        assert places.run(["stat", "-c", "%a", f"{place}/made"]).stdout == "755"
        places.copy_from(target, tmp_path / "back")
        assert tree(tmp_path / "back") == tree(source)
        assert (tmp_path / "back" / "links" / "hard").samefile(
            tmp_path / "back" / "links" / "first"
        )
    finally:
        places.run(["rm", "-rf", f"{place}/made"])


@pytest.mark.parametrize("place", ["/root", "/memory"])
def test_names_of_the_copy(places: ContainerExecutor, tmp_path: Path, place: str) -> None:
    """A target that is a folder, or ends with a slash, gets the copy inside, like with cp."""
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to("file")
    places.run(["mkdir", f"{place}/folder"])
    places.copy_to(tmp_path / "file", f"{place}/named")
    places.copy_to(tmp_path / "file", f"{place}/folder")
    places.copy_to(tmp_path / "link", f"{place}/folder/")
    places.copy_to(tmp_path / "file", f"{place}/new/")
    places.copy_to(tmp_path / "file", f"{place}/folder/../dots")
    found = places.run(f"cd {place}; ls -d named folder/* new/* dots; [ ! -h folder/link ]")
    assert found.exit_code == 0
    assert found.stdout.split() == ["dots", "folder/file", "folder/link", "named", "new/file"]
    back = tmp_path / "back"
    back.mkdir()
    places.copy_from(f"{place}/named", back)
    places.copy_from(f"{place}/named", back / "deep" / "other")
    places.copy_from(f"{place}/folder", back)
    assert sorted(str(x.relative_to(back)) for x in back.rglob("*") if x.is_file()) == [
        "deep/other",
        "folder/file",
        "folder/link",
        "named",
    ]
    places.run(f"rm -rf {place}/named {place}/folder {place}/new {place}/dots")


@pytest.mark.parametrize("place", ["/root", "/memory"])
def test_copied_over(places: ContainerExecutor, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("new")
    places.run(f"echo an older and longer one >{place}/x; chmod 600 {place}/x")
    places.copy_to(tmp_path / "file", f"{place}/x")
    assert places.run(["cat", f"{place}/x"]).stdout == "new"
    (tmp_path / "back").write_text("an older and longer one")
    places.copy_from(f"{place}/x", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "new"
    places.run(["rm", f"{place}/x"])


def test_folder_into_a_folder_of_that_name(places: ContainerExecutor, tmp_path: Path) -> None:
    """A folder is merged with one of its name, and /tmp keeps its mode."""
    (tmp_path / "tmp").mkdir(0o700)
    (tmp_path / "tmp" / "ours").write_text("x")
    places.run("echo x >/tmp/theirs")
    places.copy_to(tmp_path / "tmp" / "ours", "/tmp/deep/ours")
    assert places.run("stat -c %a /tmp; ls /tmp").stdout.split() == ["1777", "deep", "theirs"]
    places.copy_to(tmp_path / "tmp", "/")
    assert places.run("ls /tmp").stdout.split() == ["deep", "ours", "theirs"]
    places.run("rm -rf /tmp/*; chmod 1777 /tmp")


def test_symbolic_links_on_the_way(places: ContainerExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    places.run("mkdir -p /real/inner; ln -s /real/inner /link; ln -s ../../memory /real/inner/m")
    places.copy_to(tmp_path / "file", "/link/by-link")
    places.copy_to(tmp_path / "file", "/link/m/in-memory")
    assert places.run("ls /real/inner/by-link /memory/in-memory").exit_code == 0
    places.copy_from("/link/m/in-memory", tmp_path / "one")
    places.copy_from("/link", tmp_path / "two")
    assert (tmp_path / "one").read_text() == (tmp_path / "two" / "by-link").read_text() == "x"
    places.run("ln -s loop2 /loop1; ln -s loop1 /loop2")
    with pytest.raises(CopyError, match=r"/loop1"):
        places.copy_to(tmp_path / "file", "/loop1/x")
    places.run("rm -rf /real /link /loop* /memory/in-memory")


def test_link_is_followed_to_its_file(places: ContainerExecutor, tmp_path: Path) -> None:
    places.run("mkdir /l; echo x >/l/file; ln -s file /l/link; ln -s l/link /link")
    places.copy_from("/link", tmp_path / "got")
    assert (tmp_path / "got").read_text() == "x\n"
    places.copy_from("/link", tmp_path)
    assert (tmp_path / "link").read_text() == "x\n"
    places.run("rm -rf /l /link")


def test_files_of_the_kernel(places: ContainerExecutor, tmp_path: Path) -> None:
    """Files of the kernel, whose size is unknown before the read, are copied."""
    for path in ("/proc/version", "/sys/class/net/lo/mtu"):
        places.copy_from(path, tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == places.run(["cat", path]).stdout_bytes


def test_files_the_engine_mounts(places: ContainerExecutor, tmp_path: Path) -> None:
    """/etc/hosts, a mount point, is overwritten, not replaced."""
    places.copy_from("/etc/hosts", tmp_path / "hosts")
    assert "localhost" in (tmp_path / "hosts").read_text()
    with (tmp_path / "hosts").open("a") as file:
        file.write("198.51.100.1 written\n")
    places.copy_to(tmp_path / "hosts", "/etc/hosts")
    assert "written" in places.run(["cat", "/etc/hosts"]).stdout


def test_mounted_from_within(fresh: Fresh, tmp_path: Path) -> None:
    """A copy reaches a mount that the container has made itself, which the engine does not see."""
    container = fresh(privileged=True)
    (tmp_path / "file").write_text("x")
    container.run("mkdir '/mnt point'; mount -t tmpfs none '/mnt point'", expected_exit_code=0)
    container.copy_to(tmp_path / "file", "/mnt point/file")
    assert container.run(["cat", "/mnt point/file"]).stdout == "x"
    container.copy_from("/mnt point/file", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "x"
    container.copy_to(tmp_path / "file", "/elsewhere")
    assert container.run(["cat", "/elsewhere"]).stdout == "x"


@pytest.mark.parametrize(
    "options",
    [
        {"mount_host_root": True},
        {"volumes": {"/var/lib": "/host"}},
        {"volumes": {"/dev": "/host:rslave"}},
    ],
)
def test_root_of_the_node(
    fresh: Fresh, machine: SandboxNode, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Copies with the node's root mounted are complete and add no mounts.

    Docker 20.10 copies all mounts of the node into the container for each access to its files,
    which doubles their number until the kernel refuses more.
    """
    container = fresh(user="nobody", **options)
    mounts = container.run("wc -l </proc/self/mounts").stdout
    source = build(tmp_path / "source")
    for target in ("/tmp/made/copy", "/host/copied by test"):
        container.copy_to(source, target)
        container.copy_from(target, tmp_path / "back")
        assert tree(tmp_path / "back") == tree(source)
        assert container.run(["stat", "-c", "%u", target]).stdout == "65534"
        subprocess.run(["rm", "-r", tmp_path / "back"], check=True)
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n198.51.100.1 written\n")
    container.copy_to(tmp_path / "hosts", "/etc/hosts")
    assert "written" in container.run(["cat", "/etc/hosts"]).stdout
    assert container.run("wc -l </proc/self/mounts").stdout == mounts
    machine.run("rm -r '/copied by test' '/var/lib/copied by test'", check=False)


# --- who owns it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "owner"),
    [("nobody", "65534:65534"), ("12", "12:0"), ("12:34", "12:34"), ("0:nogroup", "0:65534")],
)
def test_owner_is_the_containers_user(fresh: Fresh, tmp_path: Path, user: str, owner: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    container = fresh(user=user, tmpfs={"/memory": ""})
    for place in ("/place", "/memory"):
        container.copy_to(tmp_path / "folder", f"{place}/on/way")
        owners = container.run(f"stat -c %u:%g {place}/on/way {place}/on/way/file").stdout.split()
        assert owners == [owner, owner]
    # New parent folders belong to the user, too, who can add files to them.
    assert container.run("touch /place/on/more").exit_code == 0


# --- what goes wrong ----------------------------------------------------------------------------


def test_source_is_missing(box: ContainerExecutor, tmp_path: Path) -> None:
    with pytest.raises(CopyNotFoundError, match=r"none.*does not exist on this machine"):
        box.copy_to(tmp_path / "none", "/x")
    for path in ("/none", "/none/x", "/dev/shm/none", "/proc/none"):
        with pytest.raises(CopyNotFoundError, match=f"{path}.*not in container '{box.name}'"):
            box.copy_from(path, tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        box.copy_from("/none", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("path", ["relative", "", "./x"])
def test_path_is_not_absolute(box: ContainerExecutor, tmp_path: Path, path: str) -> None:
    with pytest.raises(CopyError, match="must be absolute"):
        box.copy_to(tmp_path, path)
    with pytest.raises(CopyError, match="must be absolute"):
        box.copy_from(path, tmp_path / "x")


@pytest.mark.parametrize("place", ["/root", "/dev/shm"])
def test_something_else_is_in_the_way(box: ContainerExecutor, tmp_path: Path, place: str) -> None:
    (tmp_path / "thing").write_text("x")
    (tmp_path / "folder").mkdir()
    box.run(f"mkdir -p {place}/a/thing; echo kept >{place}/file")
    with pytest.raises(CopyError, match="there is a folder of that name"):
        box.copy_to(tmp_path / "thing", f"{place}/a")
    with pytest.raises(CopyError, match="there is a file of that name"):
        box.copy_to(tmp_path / "folder", f"{place}/file")
    with pytest.raises(CopyError, match="file"):
        box.copy_to(tmp_path / "thing", f"{place}/file/below")
    assert box.run(["cat", f"{place}/file"]).stdout == "kept"
    box.run(["rm", "-rf", f"{place}/a", f"{place}/file"])


def test_file_in_the_way_here(box: ContainerExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CopyError, match="file"):
        box.copy_from("/etc", tmp_path / "file")
    with pytest.raises(CopyError, match="file"):
        box.copy_from("/etc/passwd", tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "kept"


def test_read_only_container(fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    container = fresh(read_only=True, volumes={"ro_volume": "/data"}, tmpfs={"/memory": ""})
    with pytest.raises(CopyError, match=r"/root/x.*read-only.*volume"):
        container.copy_to(tmp_path / "file", "/root/x")
    for place in ("/data", "/memory"):
        container.copy_to(tmp_path / "file", f"{place}/new/x")
        assert container.run(["cat", f"{place}/new/x"]).stdout == "x"
    container.copy_from("/etc/passwd", tmp_path / "passwd")
    assert "root" in (tmp_path / "passwd").read_text()


def test_full_tmpfs(fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(8 << 20))
    container = fresh(tmpfs={"/memory": "size=2m"})
    with pytest.raises(CopyError, match=r"/memory/big.*No space left"):
        container.copy_to(tmp_path / "big", "/memory/big")
    assert container.run(["echo", "usable"]).stdout == "usable"


def _truncate_once_open(path: Path) -> None:
    while True:
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if link.readlink() == path:
                    return os.truncate(path, 1 << 20)


def test_file_that_shrinks(box: ContainerExecutor, tmp_path: Path) -> None:
    """A copy of a file that shrinks leaves no data in the connection for the next call."""
    path = tmp_path / "shrinks"
    for place in ("/root/x", "/dev/shm/x"):
        path.write_bytes(b"")
        os.truncate(path, 1 << 30)
        cut = threading.Thread(target=_truncate_once_open, args=(path,))
        cut.start()
        with pytest.raises(CopyError, match="became shorter"):
            box.copy_to(path, place)
        cut.join()
        assert box.run(["echo", "usable"]).stdout == "usable"
        box.run(["rm", "-f", place])


def test_container_is_not_there_any_more(
    fresh: Fresh, machine: SandboxNode, tmp_path: Path
) -> None:
    container = fresh()
    machine.run(f"docker rm -f {container.name}")
    with pytest.raises(ContainerDiedError, match="not there"):
        container.copy_to(tmp_path, "/x")
    with pytest.raises(ContainerDiedError, match="not there"):
        container.copy_from("/etc", tmp_path / "x")


def test_hostile_container(fresh: Fresh, tmp_path: Path) -> None:
    """An arbitrary tar of a hostile container writes nothing outside the target."""
    container = fresh(tmpfs={"/memory": ""})
    container.run(
        "mkdir /evil /memory/loot && cd /evil && echo evil >f && tar -c -f all.tar f && "
        # The name in the header is the first field of a tar; its sum is at 148.
        "rm /bin/tar && printf '#!/bin/sh\\ncat /evil/all.tar\\n' >/bin/tar && chmod 755 /bin/tar",
        expected_exit_code=0,
    )
    name = b"../../../escaped"
    archive = bytearray(container.run(["cat", "/evil/all.tar"]).stdout_bytes)
    archive[: len(name)] = name
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    container.run("cat >/evil/all.tar", stdin=bytes(archive))
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    with pytest.raises(CopyError, match=r"path outside itself: '../../../escaped'"):
        container.copy_from("/memory/loot", tmp_path / "a" / "b" / "c" / "loot")
    assert not list(tmp_path.rglob("*escaped*"))


def test_no_shell(fresh: Fresh, no_shell: str, tmp_path: Path) -> None:
    container = fresh(image=no_shell, tmpfs={"/memory": ""})
    (tmp_path / "file").write_text("x")
    container.copy_to(tmp_path / "file", "/deep/file")
    container.copy_from("/deep/file", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "x"
    with pytest.raises(CopyError, match=r"/memory/file.*no shell"):
        container.copy_to(tmp_path / "file", "/memory/file")


def test_container_that_does_not_run(node: Node, fresh: Fresh, tmp_path: Path) -> None:
    """DockerAdvanced copies into a created container, but not to its future tmpfs."""
    docker = node.tools[DockerAdvanced]
    (tmp_path / "file").write_text("x")
    created = docker.create_container(
        "lisa_container/busybox", ["sleep", "9"], tmpfs={"/memory": ""}
    )
    try:
        docker.copy_to(created, tmp_path / "file", "/root/new/file")
        docker.copy_from(created, "/root/new/file", tmp_path / "back")
        assert (tmp_path / "back").read_text() == "x"
        with pytest.raises(CopyError, match="only while it runs"):
            docker.copy_to(created, tmp_path / "file", "/memory/file")
    finally:
        docker.remove_container(created, force=True)


# --- big files ----------------------------------------------------------------------------------

BIG_FILE = """
import resource, sys, tempfile
from pathlib import Path
sys.path[:0] = {path!r}
from tests.support.nodes import connect
from lisa.util import constants
from lisa_container.engine.client import Engine
from lisa_container.container.copy import copy_from, copy_to

root = Path(tempfile.mkdtemp())
constants.RUN_ID, constants.RUN_LOGIC_PATH, constants.RUN_LOCAL_LOG_PATH = "big", Path("big"), root
node = connect({address!r}, {user!r}, {port!r}, Path({key!r}))
engine = Engine.of(node)
local = Path({local!r})
(local / "small").write_bytes(bytes(1 << 20))
copy_to(engine, {name!r}, local / "small", {target!r})
copy_from(engine, {name!r}, {target!r}, local / "back")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
copy_to(engine, {name!r}, local / "big", {target!r})
copy_from(engine, {name!r}, {target!r}, local / "back")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert (local / "back").stat().st_size == (local / "big").stat().st_size
print("grown by", after - before, file=sys.__stdout__, flush=True)
engine.close()
node.close()
"""


@pytest.mark.parametrize(("target", "mebibytes"), [("/root/big", 384), ("/memory/big", 96)])
def test_memory_for_a_big_file(
    fresh: Fresh, machine: SandboxNode, tmp_path: Path, target: str, mebibytes: int
) -> None:
    """Memory for a copy does not depend on the file's size, in each direction."""
    container = fresh(tmpfs={"/memory": "size=400m"})
    with (tmp_path / "big").open("wb") as file:
        file.write(b"begin")
        file.truncate(mebibytes << 20)  # sparse: it is the way through us that is measured
    code = BIG_FILE.format(
        path=[str(Path(__file__).parents[2]), *sys.path],
        address=machine.address,
        user=machine.username,
        port=machine.port,
        key=str(machine.private_key_file),
        name=container.name,
        local=str(tmp_path),
        target=target,
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    grown = next(x for x in done.stdout.splitlines() if x.startswith("grown by"))
    assert int(grown.split()[-1]) < 16 * 1024, f"KiB: {grown}"
    with (tmp_path / "back").open("rb") as back:
        assert back.read(5) == b"begin"


# --- speed --------------------------------------------------------------------------------------


def test_archive_is_not_compressed(box: ContainerExecutor) -> None:
    """An archive from the engine is not compressed, which would take ten times as long."""
    chunks = archive_chunks(box.engine, box.name, "/bin/busybox")
    with contextlib.closing(chunks):
        assert next(chunks).startswith(b"busybox\0")
