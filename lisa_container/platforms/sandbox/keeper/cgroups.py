"""A node's own subtree in every cgroup hierarchy of the machine: version 1, version 2, or both."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .commands import KeeperError

# What a version 1 mount's options may say besides the names of its controllers.
_NOT_CONTROLLERS = {"rw", "ro", "xattr", "clone_children", "cpuset_v2_mode", "noprefix"}
# A killed process leaves its cgroup some time after its parent has heard of its death.
_REMOVAL_SECONDS = 10.0


@dataclass(frozen=True)
class Hierarchy:
    """One cgroup hierarchy.

    Attributes:
        mount: where the machine has it mounted.
        options: what to mount it with: "cpu,cpuacct" or "name=systemd"; empty for version 2.
    """

    mount: Path
    options: str

    @property
    def is_v2(self) -> bool:
        """Whether it is the unified hierarchy."""
        return not self.options

    @property
    def folder(self) -> str:
        """Where a node mounts it below /sys/fs/cgroup: "memory"; "" for /sys/fs/cgroup itself."""
        return "" if self.mount == Path("/sys/fs/cgroup") else self.mount.name

    @property
    def leaf(self) -> str:
        """Where below a node's cgroup its processes are: version 2 allows none in that itself."""
        return "init" if self.is_v2 else ""


def hierarchies() -> list[Hierarchy]:
    """The hierarchies of this machine, each once.

    Raises:
        KeeperError: there are none.
    """
    found: dict[str, Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.split(" ")[:3]
        if kind not in ("cgroup", "cgroup2"):
            continue
        wanted = ""
        if kind == "cgroup":
            names = [name for name in options.split(",") if name not in _NOT_CONTROLLERS]
            wanted = ",".join(name for name in names if not name.startswith("release_agent="))
        found.setdefault(wanted, Hierarchy(Path(mount.split(" ")[4]), wanted))
    if not found:
        raise KeeperError(
            "no cgroup hierarchy is mounted on this machine; mount one:"
            " `mount -t cgroup2 none /sys/fs/cgroup`"
        )
    return list(found.values())


def missing_controllers(hierarchy: Hierarchy) -> list[str]:
    """Version 2's controllers that the machine does not hand to its top-level cgroups.

    None beside version 1: engines take them from there, then.
    """
    if not hierarchy.is_v2 or hierarchy.folder:
        return []
    present = (hierarchy.mount / "cgroup.controllers").read_text(encoding="ascii").split()
    handed = (hierarchy.mount / "cgroup.subtree_control").read_text(encoding="ascii").split()
    return [name for name in present if name not in handed]


def create(hierarchy: Hierarchy, name: str) -> Path:
    """Make a top-level cgroup and return its folder."""
    folder = hierarchy.mount / name
    folder.mkdir(exist_ok=True)
    if "cpuset" in hierarchy.options.split(","):
        # Version 1 starts a cpuset empty, and refuses processes until it has both.
        for file in ("cpuset.cpus", "cpuset.mems"):
            value = (hierarchy.mount / file).read_text(encoding="ascii")
            (folder / file).write_text(value, encoding="ascii")
    return folder


def own(hierarchy: Hierarchy) -> Path:
    """The folder of the cgroup that this process is in."""
    path = ""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, options, path_here = line.split(":", 2)
        # Outside of what its cgroup namespace shows: then the top.
        if options == hierarchy.options and not path_here.startswith("/.."):
            path = path_here.lstrip("/")
    return hierarchy.mount / path


def enter(folder: Path, pid: int = 0) -> None:
    """Move a process into a cgroup.

    Args:
        folder: the cgroup.
        pid: the process; 0 is the calling one.
    """
    (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")


def remove_all(prefix: str) -> None:
    """Remove every top-level cgroup whose name starts with a prefix, and what is below it.

    Args:
        prefix: of the name; all processes in them must be killed already.

    Raises:
        KeeperError: one is still in use after ten seconds.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    for hierarchy in hierarchies():
        for top in hierarchy.mount.glob(f"{prefix}*"):
            # Deepest first: only a cgroup without children can be removed.
            for folder, _, _ in os.walk(top, topdown=False):
                _remove(Path(folder), deadline)


def _remove(folder: Path, deadline: float) -> None:
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                left = ""
                with suppress(OSError):
                    left = (folder / "cgroup.procs").read_text(encoding="ascii").strip()
                raise KeeperError(
                    f"the cgroup {folder} could not be removed: {error.strerror}"
                    f" (processes in it: {left.split() or 'none'})"
                ) from error
            time.sleep(0.02)
