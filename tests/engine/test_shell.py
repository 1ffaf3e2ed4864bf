"""Each operation of LISA's SshShell has the same result with a container's shell."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Callable

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from tests.support.nodes import BUSYBOX

pytest_plugins = ["tests.support.boxes"]

Act = Callable[[Any, PurePosixPath, Path], Any]


@pytest.fixture(scope="module")
def container_node(node: Node) -> Iterator[Node]:
    """Start a container whose user has no more rights than the node's; return its node."""
    config = ContainerTestConfig(image=BUSYBOX, user="nobody")
    with ContainerExecutor(node, config) as container:
        yield container.node


def prepare(node: Node, root: PurePosixPath) -> None:
    """Make files of several kinds in a folder of a node."""
    commands = f"""
        set -e; umask 022; mkdir {root}; cd {root}
        mkdir folder empty 'a b' -- -dash; echo text >file; echo x >folder/x; echo y >'a b/ü€'
        ln -s file link; ln -s folder to-folder; ln -s none dangling; chmod 640 file
    """
    node.execute(commands, shell=True, expected_exit_code=0)
    denied = f"mkdir {root}/denied {root}/denied/in; echo s >{root}/denied/secret; chmod 700 {root}/denied"
    node.execute(denied, shell=True, sudo=True, expected_exit_code=0)


def state(node: Node, root: PurePosixPath) -> str:
    """Return all files with kinds and modes."""
    script = f"cd {root} && find . | sort | while read -r x; do stat -c '%n %A %s' \"$x\"; done"
    lines = node.execute(script, shell=True, sudo=True).stdout.replace("\r", "").splitlines()
    # The size of a folder depends on the file system.
    return "\n".join(x.rpartition(" ")[0] if " d" in x else x for x in lines)


def outcome(act: Act, node: Node, root: PurePosixPath, local: Path) -> Any:
    """Return the result of an operation, or the kind of its error."""
    try:
        return act(node.shell, root, local)
    except OSError as error:
        kinds = (FileNotFoundError, PermissionError, FileExistsError)
        return next((kind for kind in kinds if isinstance(error, kind)), OSError)


def local_file(local: Path, mode: int = 0o644) -> Path:
    (local / "ours").write_bytes(bytes(range(256)))
    (local / "ours").chmod(mode)
    return local / "ours"


def got(shell: Any, path: PurePosixPath, local: Path) -> bytes:
    shell.copy_back(path, local / "deep" / "got")
    return (local / "deep" / "got").read_bytes()


SAME: dict[str, Act] = {
    "mkdir": lambda s, r, p: s.mkdir(r / "new"),
    "mkdir deep": lambda s, r, p: s.mkdir(r / "new" / "deep" / "er"),
    "mkdir deep with a mode": lambda s, r, p: s.mkdir(r / "new" / "deep", mode=0o700),
    "mkdir with a mode": lambda s, r, p: s.mkdir(r / "new", mode=0o777),
    "mkdir without parents": lambda s, r, p: s.mkdir(r / "new" / "deep", parents=False),
    "mkdir that is there": lambda s, r, p: s.mkdir(r / "folder"),
    "mkdir that is there and may": lambda s, r, p: s.mkdir(r / "folder", exist_ok=True),
    "mkdir where a file is": lambda s, r, p: s.mkdir(r / "file"),
    "mkdir with a blank": lambda s, r, p: s.mkdir(r / "c d"),
    "mkdir with a dash": lambda s, r, p: s.mkdir(r / "-p"),
    "mkdir as root": lambda s, r, p: s.mkdir(r / "denied" / "in" / "new"),
    "exists": lambda s, r, p: [s.exists(r / x) for x in ("file", "folder", "a b", "-dash")],
    "exists, link": lambda s, r, p: [s.exists(r / x) for x in ("link", "to-folder", "dangling")],
    "exists not": lambda s, r, p: [s.exists(r / x) for x in ("none", "none/none", "file/none")],
    "exists denied": lambda s, r, p: s.exists(r / "denied" / "secret"),
    "is_dir": lambda s, r, p: [s.is_dir(r / x) for x in ("file", "folder", "link", "to-folder")],
    "is_dir of nothing": lambda s, r, p: s.is_dir(r / "none"),
    "is_symlink": lambda s, r, p: [s.is_symlink(r / x) for x in ("file", "link", "dangling")],
    "is_symlink of nothing": lambda s, r, p: s.is_symlink(r / "none"),
    "chmod": lambda s, r, p: s.chmod(r / "file", 0o751),
    "chmod with special bits": lambda s, r, p: s.chmod(r / "file", 0o4711),
    "chmod of nothing": lambda s, r, p: s.chmod(r / "none", 0o751),
    "chmod of what is not ours": lambda s, r, p: s.chmod(r / "denied", 0o777),
    "stat": lambda s, r, p: (s.stat(r / "file").st_size, oct(s.stat(r / "file").st_mode)),
    "stat of a folder": lambda s, r, p: stat.S_ISDIR(s.stat(r / "folder").st_mode),
    "stat of a link": lambda s, r, p: oct(s.stat(r / "link").st_mode),
    "stat, times": lambda s, r, p: abs(s.stat(r / "file").st_mtime - time.time()) < 60,
    "stat denied": lambda s, r, p: s.stat(r / "denied" / "secret"),
    "symlink": lambda s, r, p: s.symlink(PurePosixPath("none"), r / "new"),
    "symlink over a file": lambda s, r, p: s.symlink(r / "file", r / "folder" / "x"),
    "symlink over a folder": lambda s, r, p: s.symlink(r / "file", r / "folder"),
    "symlink over a link": lambda s, r, p: s.symlink(r / "file", r / "dangling"),
    "symlink into nothing": lambda s, r, p: s.symlink(r / "file", r / "none" / "x"),
    "remove": lambda s, r, p: s.remove(r / "file"),
    "remove a link": lambda s, r, p: s.remove(r / "link"),
    "remove an empty folder": lambda s, r, p: s.remove(r / "empty"),
    "remove a full folder": lambda s, r, p: s.remove(r / "folder"),
    "remove all of a folder": lambda s, r, p: s.remove(r / "folder", recursive=True),
    "remove all of a file": lambda s, r, p: s.remove(r / "file", recursive=True),
    "remove nothing": lambda s, r, p: s.remove(r / "none"),
    "remove all of nothing": lambda s, r, p: s.remove(r / "none", recursive=True),
    "copy": lambda s, r, p: s.copy(local_file(p), r / "copied"),
    "copy deep": lambda s, r, p: s.copy(local_file(p), r / "deep" / "a b" / "copied"),
    "copy over": lambda s, r, p: s.copy(local_file(p, 0o640), r / "file"),
    "copy nothing": lambda s, r, p: isinstance(
        outcome_of(lambda: s.copy(p / "none", r / "copied")), OSError
    ),
    "copy_back": lambda s, r, p: got(s, r / "file", p),
    "copy_back of a link": lambda s, r, p: got(s, r / "link", p),
    "copy_back with a blank": lambda s, r, p: got(s, r / "a b" / "ü€", p),
    "copy_back of nothing": lambda s, r, p: got(s, r / "none", p),
}


def outcome_of(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except OSError as error:
        return error


@pytest.mark.sampled(20)
@pytest.mark.parametrize("name", SAME)
def test_same_as_ssh(node: Node, container_node: Node, tmp_path: Path, name: str) -> None:
    root = PurePosixPath(f"/tmp/same_{time.monotonic_ns()}")
    outcomes, states = [], []
    for number, each in enumerate((node, container_node)):
        local = tmp_path / str(number)
        local.mkdir()
        prepare(each, root)
        try:
            outcomes.append(outcome(SAME[name], each, root, local))
            states.append(state(each, root))
        finally:
            each.execute(f"rm -rf {root}", shell=True, sudo=True)
    theirs, ours = outcomes
    if isinstance(theirs, type) and isinstance(ours, type):
        assert issubclass(ours, theirs), "ours may say more"
    else:
        assert ours == theirs
    assert states[1] == states[0]
    assert "file" in states[0] or name == "remove" or "all of a file" in name


# --- where it does better -----------------------------------------------------------------------


def test_better_than_ssh(container_node: Node, tmp_path: Path) -> None:
    """Errors are specific where SshShell raises an unspecific one, or none."""
    shell, root = container_node.shell, PurePosixPath(f"/tmp/better_{time.monotonic_ns()}")
    prepare(container_node, root)
    with pytest.raises(FileNotFoundError, match=r"none"):
        shell.stat(root / "none")
    shell.remove(root / "dangling")
    shell.remove(root / "to-folder", recursive=True)
    assert shell.exists(root / "folder" / "x"), "of a link, the link is removed"
    assert not shell.exists(root / "to-folder")

    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "program").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "folder" / "program").chmod(0o755)
    shell.copy(tmp_path / "folder", root / "copied")
    assert container_node.execute(f"{root}/copied/program").stdout == "ran"
    shell.copy_back(root / "copied", tmp_path / "back")
    assert (tmp_path / "back" / "program").stat().st_mode & 0o777 == 0o755

    with pytest.raises(FileNotFoundError):
        shell.copy(tmp_path / "none", root / "x")
    found = shell.stat(root / "file")
    assert (found.st_uid, found.st_nlink) == (65534, 1)
    assert found.st_ino > 0
    container_node.execute(f"rm -rf {root}", shell=True, sudo=True)


def test_programs_the_image_lacks(fresh: Any, no_shell: str) -> None:
    shell = fresh(image=no_shell).node.shell
    assert shell.exists(PurePosixPath("/bin"))
    with pytest.raises(Exception, match=r"chmod.*not found"):
        shell.chmod(PurePosixPath("/bin"), 0o700)
