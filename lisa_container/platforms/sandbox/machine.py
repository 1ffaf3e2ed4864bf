"""Whether this machine can have a sandbox, and what mends it where it cannot."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lisa_container.errors import SandboxMachineError
from lisa_container.platforms.sandbox import rootfs
from lisa_container.platforms.sandbox.apt import package_sources
from lisa_container.platforms.sandbox.config import SandboxConfig
from lisa_container.platforms.sandbox.keeper import cgroups
from lisa_container.platforms.sandbox.keeper.commands import KeeperError, environment, run
from lisa_container.platforms.sandbox.keeper.network import RANGE, masquerade

# The Debian packages that a machine must have, by a program of each.
REQUIRED_PACKAGES = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
    "tar": "tar",
    "unshare": "util-linux",
}
# Asked for only when a rootfs has to be made of packages.
_FOR_MAKING = "mmdebstrap"
_FREE_BYTES = 3 * 1024**3

# Each is tried in namespaces of its own and leaves nothing behind.
_KERNEL_TRIALS = (
    (
        "namespaces",
        ("true",),
        "",
        "run on a machine, or in a container, that may make them: `docker run --privileged`",
    ),
    (
        "virtual Ethernet and bridges",
        ("ip", "-batch", "-"),
        "link add end0 type veth peer name end1\n"
        "link add bridge0 type bridge\n"
        "link set end1 master bridge0\n",
        "`modprobe -a veth bridge`, or a kernel with CONFIG_VETH and CONFIG_BRIDGE",
    ),
    (
        "address translation by nftables",
        ("nft", "-f", "-"),
        masquerade("trial", RANGE, "lo"),
        "`modprobe -a nf_tables nft_chain_nat nft_masq`, or a kernel with CONFIG_NFT_MASQ",
    ),
)
_OVERLAY_TRIAL = """
set -e
trial=$(mktemp -d "$0/.lisa_container_XXXXXXXX")
trap 'umount "$trial/m" 2>/dev/null; rm -rf "$trial"' EXIT
mkdir "$trial/u" "$trial/w" "$trial/m"
mount -t overlay -o "lowerdir=/etc,upperdir=$trial/u,workdir=$trial/w" trial "$trial/m"
touch "$trial/m/file"
"""
_NEW_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork")


@dataclass(frozen=True)
class Problem:
    """Something that this machine lacks.

    Attributes:
        what: is missing.
        mend: what mends it, a command where there is one.
    """

    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.what}; {self.mend}"


def preflight(config: SandboxConfig | None = None) -> list[Problem]:
    """Look whether a sandbox is possible, changing nothing.

    Args:
        config: the sandbox in question; the default one when None.

    Returns:
        What stands in its way, all at once; empty when nothing does.
    """
    config = config or SandboxConfig()
    if not sys.platform.startswith("linux"):
        return [Problem(f"a sandbox needs Linux, this is {sys.platform}", "use a Linux machine")]
    if os.geteuid() != 0:
        # Without root nothing else can be tried.
        return [Problem("a sandbox needs root for its namespaces", "start this with `sudo`")]
    problems = [*_missing_packages(config), *_missing_sources(config)]
    if not problems:
        problems += _missing_kernel_features()
        problems += _unfit_folder(rootfs.cache_folder(config))
    return problems


def require(config: SandboxConfig) -> None:
    """Raise what `preflight` finds.

    Raises:
        SandboxMachineError: with all of it.
    """
    problems = preflight(config)
    if problems:
        listed = "".join(f"\n- {problem}" for problem in problems)
        raise SandboxMachineError(f"sandbox: this machine cannot have one as it is:{listed}")


def _missing_packages(config: SandboxConfig) -> Iterator[Problem]:
    path = environment()["PATH"]
    absent = [name for name in REQUIRED_PACKAGES if not shutil.which(name, path=path)]
    if _FOR_MAKING in absent:
        with suppress(SandboxMachineError):
            # Nothing has to be made of packages: no need of it.
            if config.rootfs or rootfs.is_ready(config):
                absent.remove(_FOR_MAKING)
    if absent:
        packages = " ".join(sorted({REQUIRED_PACKAGES[name] for name in absent}))
        yield Problem(f"{', '.join(absent)} not found", f"`apt-get install -y {packages}`")


def _missing_sources(config: SandboxConfig) -> Iterator[Problem]:
    """Whether it is known where the packages of a rootfs come from."""
    if not config.rootfs:
        try:
            package_sources(config.suite, config.mirror)
        except SandboxMachineError as error:
            what, _, mend = str(error).removeprefix("sandbox: ").partition("; ")
            yield Problem(what, mend)


@cache
def _missing_kernel_features() -> tuple[Problem, ...]:
    """What the kernel lacks; looked for once, for that does not change."""
    problems = []
    for what, command, stdin, mend in _KERNEL_TRIALS:
        try:
            run("unshare", *_NEW_NAMESPACES, *command, stdin=stdin)
        except KeeperError as error:
            problems.append(Problem(f"the kernel gives no {what} ({error})", mend))
            break
    try:
        cgroups.hierarchies()
    except KeeperError as error:
        problems.append(Problem("no cgroup hierarchy is mounted", str(error)))
    return tuple(problems)


def _unfit_folder(folder: Path) -> Iterator[Problem]:
    """Whether the nodes' files can be in a folder: its file system must carry an overlay."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if free < _FREE_BYTES:
        yield Problem(
            f"only {free // 1024**2} MiB free at {existing}, {_FREE_BYTES // 1024**2} are needed",
            "make room, or set cache_dir to a folder with more",
        )
        return
    # Tried, for there is no other way to know.
    try:
        run("unshare", "--mount", "/bin/sh", "-c", _OVERLAY_TRIAL, str(existing))
    except KeeperError as error:
        yield Problem(
            f"no overlay can be mounted at {existing} ({error})",
            "`modprobe overlay`, or set cache_dir to a folder on ext4 or xfs",
        )


def cores_and_memory() -> tuple[int, int]:
    """How many processor cores and how many MiB of memory a node has: as many as the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return len(os.sched_getaffinity(0)), memory // 1024**2
