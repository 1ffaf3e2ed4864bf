"""Test that odd answers of a container's programs raise no errors but those of this package."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from lisa.node import Node
from lisa.util import LisaException

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.evidence import take_state
from lisa_container.evidence.scan import scan_files
from lisa_container.install import MANAGERS, PackageSettings, Tool, ToolError
from lisa_container.plan.files import find_file_differences
from lisa_container.plan.model import FileCheck
from tests.support.nodes import BUSYBOX

MANY = "9" * 5000
DEEP = "[" * 100_000
FILE = "/etc/passwd"

# Instead of any program. A package manager makes the folders that the real one makes.
FAKE = r"""#!/bin/sh
PATH=/usr/bin:/bin
for last; do :; done
case "$*" in
*"-m venv "*)
    mkdir -p "$last/bin"
    cp "$0" "$last/bin/python"
    cp "$0" "$last/bin/pip" ;;
"install --prefix "*)
    mkdir -p "$3/node_modules/x"
    cp /answer "$3/node_modules/x/package.json"
    cp /answer "$3/node_modules/.package-lock.json" ;;
esac
cat /answer
"""
PROGRAMS = (
    *("apt-get", "dpkg-query", "apt-cache", "dnf", "tdnf", "yum", "microdnf", "rpm", "apk"),
    *("zypper", "pacman", "python3", "pipx", "npm", "cargo", "gem", "ruby", "go", "stat"),
)


@pytest.fixture(scope="module")
def hostile(each_engine_user: Node, debian_image: str) -> Iterator[ContainerExecutor]:
    """Yield a container whose programs print the content of the file /answer."""
    config = ContainerTestConfig(image=debian_image, privileged=True, measure=True, user="1000")
    with ContainerExecutor(each_engine_user, config) as container:
        links = "; ".join(f"ln -f fake {name}" for name in PROGRAMS)
        write = f"cd /usr/local/bin && cat >fake && chmod 755 fake; {links}"
        container.run(write, user="0", stdin=FAKE.encode(), expected_exit_code=0)
        yield container


def put(container: ContainerExecutor, path: str, text: str) -> None:
    """Write a file as root."""
    words = ["sh", "-c", 'cat >"$1"', "sh", path]
    container.run(words, user="0", stdin=text.encode(), expected_exit_code=0)


@pytest.mark.sampled(7)
@pytest.mark.parametrize(
    "answer",
    [
        *("", "²", "ffffffffffffffffffffffff 1 1", f"81a4 {MANY} 1", f"81a4 1 {MANY}"),
        f"ffffffffff{' 1' * 9}",
        f"81a4{' ²' * 9}",
    ],
    ids=lambda answer: answer[:12],
)
def test_stat(hostile: ContainerExecutor, tmp_path: Path, answer: str) -> None:
    put(hostile, "/answer", f"{answer} {FILE}" if answer else "")
    with pytest.raises(LisaException, match="printed"):
        hostile.node.shell.stat(PurePosixPath(FILE))
    assert hostile.collect([FILE], tmp_path) == [tmp_path / f"files{FILE}"]
    (difference,) = find_file_differences(hostile, {FILE: FileCheck(mode="0644")})
    assert "its mode cannot be read" in difference
    scan_files(hostile.engine, hostile.name, [FILE], 1 << 20, time.monotonic() + 9)


@pytest.mark.parametrize(
    "line", ["me:x:²:²", f"1000:x:{MANY}:1", "1000:x:²:5", f"x:x:1000:{MANY}"], ids=range(4)
)
def test_users(hostile: ContainerExecutor, tmp_path: Path, line: str) -> None:
    """Invalid lines of a container's /etc/passwd are ignored."""
    put(hostile, FILE, f"root:x:0:0::/root:/bin/sh\n{line}\nown:x:1000:7::/:/bin/sh\n")
    (tmp_path / "file").write_text("x")
    (tmp_path / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    try:
        hostile.copy_to(tmp_path / "file", "/tmp/file")
        words = ["/usr/bin/stat", "-c", "%u %g", "/tmp/file"]
        assert hostile.run(words, user="0").stdout == "1000 7"
    finally:
        # runc starts no command while ids are out of range.
        hostile.copy_to(tmp_path / "passwd", FILE)


def test_mounts(hostile: ContainerExecutor, tmp_path: Path) -> None:
    put(hostile, "/usr/local/bin/cat", FAKE)
    put(hostile, "/answer", "one\n\n a \\777 b\n")
    hostile.run("chmod 755 /usr/local/bin/cat", user="0")
    (tmp_path / "file").write_text("x")
    try:
        hostile.copy_to(tmp_path / "file", "/tmp/file")
        hostile.run(["tee", "/answer"], user="0", stdin=f"oom_kill {MANY}\n".encode())
        masking = hostile.capture.masking
        state = take_state(hostile.engine, hostile.name, tmp_path, masking, "why", 1.0, 1 << 20)
        assert (state["oom_kills"], state["problems"]) == (None, [])
    finally:
        hostile.run("rm /usr/local/bin/cat", user="0")


def test_resources(each_engine_user: Node, tmp_path: Path) -> None:
    """Invalid numbers in a container's control group files break no command."""
    config = ContainerTestConfig(image=BUSYBOX, privileged=True, measure=True)
    with ContainerExecutor(each_engine_user, config) as container:
        container.run("mount -t tmpfs x /sys/fs/cgroup", expected_exit_code=0)
        container.capture_to(tmp_path)
        for number in ("²", MANY, "-", "1_0"):
            put(container, "/sys/fs/cgroup/memory.current", f"{number}\n")
            put(container, "/sys/fs/cgroup/cpu.stat", f"usage_usec {number}\n")
            put(container, "/sys/fs/cgroup/io.stat", f"8:0 rbytes={number} wbytes={number}\n")
            assert container.run("echo x").stdout == "x"


# Without those that share the code of dnf, and releases, which no manager installs. Each kind of user
# has some of them.
_MANAGERS = sorted({*MANAGERS} - {"tdnf", "microdnf", "yum", "release"})
PAIRS = sorted(zip(itertools.cycle(("root", "sudo", "docker")), _MANAGERS))


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "each_engine_user, manager", PAIRS, indirect=["each_engine_user"], scope="module"
)
def test_package_managers(hostile: ContainerExecutor, manager: str) -> None:
    answers = (
        *("", "SHA256: \n1", "[]", DEEP, '{"install": [1], "venvs": [], "bin": [1]}'),
        r'{"bin": {"\ud800": 1, "a\u0000": 1}, "packages": {"node_modules/x": {"version": 1}}}',
        '{"bin": "x", "packages": {"node_modules/x": {"version": []}}}',
    )
    for answer in answers:
        put(hostile, "/answer", answer)
        with contextlib.suppress(ToolError):
            hostile.install(Tool("x", via=manager), settings=PackageSettings())
