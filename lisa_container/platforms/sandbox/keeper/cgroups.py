"""Subtree of a node in every cgroup hierarchy of the machine: version 1, version 2, or both."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .commands import KeeperError

# Mount options of version 1 that are not names of controllers.
_NOT_CONTROLLERS = {"rw", "ro", "xattr", "clone_children", "cpuset_v2_mode", "noprefix"}
# A killed process leaves its cgroup a little later than its parent learns of its death.
_REMOVAL_SECONDS = 10.0


@dataclass(frozen=True)
class Hierarchy:
    """Cgroup hierarchy.

    Attributes:
        mount: mount point on the machine.
        options: mount options, such as "cpu,cpuacct" or "name=systemd"; empty for version 2.
    """

    mount: Path
    options: str

    @property
    def is_v2(self) -> bool:
        """Whether this is the unified hierarchy of version 2."""
        return not self.options

    @property
    def folder(self) -> str:
        """Mount point on a node, relative to /sys/fs/cgroup; empty for /sys/fs/cgroup itself."""
        return "" if self.mount == Path("/sys/fs/cgroup") else self.mount.name

    @property
    def leaf(self) -> str:
        """Child of the node's cgroup that holds its processes. Version 2 requires such a child."""
        return "init" if self.is_v2 else ""


def hierarchies() -> list[Hierarchy]:
    """Return the hierarchies of this machine without repetition.

    Raises:
        KeeperError: no hierarchy is mounted.
    """
    result: dict[str, Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.split(" ")[:3]
        if kind not in ("cgroup", "cgroup2"):
            continue
        wanted = ""
        if kind == "cgroup":
            names = [name for name in options.split(",") if name not in _NOT_CONTROLLERS]
            wanted = ",".join(name for name in names if not name.startswith("release_agent="))
        result.setdefault(wanted, Hierarchy(Path(mount.split(" ")[4]), wanted))
    if not result:
        raise KeeperError(
            "no cgroup hierarchy is mounted on this machine; mount one:"
            " `mount -t cgroup2 none /sys/fs/cgroup`"
        )
    return list(result.values())


def missing_controllers(hierarchy: Hierarchy) -> list[str]:
    """Return the version 2 controllers that are not enabled for the machine's top-level cgroups.

    The result is empty if version 1 is mounted too, because engines use its controllers then.
    """
    if not hierarchy.is_v2 or hierarchy.folder:
        return []
    present = (hierarchy.mount / "cgroup.controllers").read_text(encoding="ascii").split()
    handed = (hierarchy.mount / "cgroup.subtree_control").read_text(encoding="ascii").split()
    return [name for name in present if name not in handed]


def create(hierarchy: Hierarchy, name: str) -> Path:
    """Create a top-level cgroup and return its folder."""
    folder = hierarchy.mount / name
    folder.mkdir(exist_ok=True)
    if "cpuset" in hierarchy.options.split(","):
        # A new cpuset of version 1 is empty and accepts no process until both files are set.
        for file in ("cpuset.cpus", "cpuset.mems"):
            value = (hierarchy.mount / file).read_text(encoding="ascii")
            (folder / file).write_text(value, encoding="ascii")
    return folder


def own(hierarchy: Hierarchy) -> Path:
    """Return the folder of this process's cgroup."""
    path = ""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, options, path_here = line.split(":", 2)
        # A path with "/.." is outside of this process's cgroup namespace; use the top instead.
        if options == hierarchy.options and not path_here.startswith("/.."):
            path = path_here.lstrip("/")
    return hierarchy.mount / path


def enter(folder: Path, pid: int = 0) -> None:
    """Move a process into a cgroup.

    Args:
        folder: the cgroup.
        pid: the process; 0 means the calling one.
    """
    (folder / "cgroup.procs").write_text(str(pid), encoding="ascii")


def remove_all(prefix: str) -> None:
    """Remove every top-level cgroup with a name prefix, and all cgroups below it.

    Args:
        prefix: start of the names. All processes in these cgroups must have been killed.

    Raises:
        KeeperError: a cgroup is still in use after ten seconds.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    for hierarchy in hierarchies():
        for top in hierarchy.mount.glob(f"{prefix}*"):
            # Deepest first, because only a cgroup without children can be removed.
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
                processes = ""
                with suppress(OSError):
                    processes = (folder / "cgroup.procs").read_text(encoding="ascii").strip()
                raise KeeperError(
                    f"the cgroup {folder} could not be removed: {error.strerror}"
                    f" (processes in it: {processes.split() or 'none'})"
                ) from error
            time.sleep(0.02)
