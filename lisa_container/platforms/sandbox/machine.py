"""Check whether this machine can run a sandbox, and suggest how to fix what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lisa_container.debian.apt import package_sources
from lisa_container.errors import PackageSourceError, SandboxMachineError
from lisa_container.platforms.sandbox import rootfs
from lisa_container.platforms.sandbox.config import SandboxConfig
from lisa_container.platforms.sandbox.keeper import cgroups
from lisa_container.platforms.sandbox.keeper.commands import KeeperError, run
from lisa_container.platforms.sandbox.keeper.network import RANGE, masquerade
from lisa_container.system import environment, memory_of_machine

# Debian packages that a machine must have, by a program in each.
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
# Needed only to make a root file system from packages.
_FOR_MAKING = "mmdebstrap"
_FREE_BYTES = 3 * 1024**3

# Name, command, stdin and remedy of each trial. Trials run in new namespaces and leave no traces.
_KERNEL_TRIALS = (
    (
        "namespaces",
        ("true",),
        "",
        "use a machine or container that may create them: `docker run --privileged`",
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
        what: description of the problem.
        remedy: how to fix it; a command if there is one.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        """Return the problem and its remedy."""
        return f"{self.what}; {self.remedy}"


def preflight(config: SandboxConfig | None = None) -> list[Problem]:
    """Check whether a sandbox is possible. Changes nothing on the machine.

    Args:
        config: config of the sandbox; None means the defaults.

    Returns:
        All problems; empty if the machine is fit.
    """
    config = config or SandboxConfig()
    if not sys.platform.startswith("linux"):
        return [Problem(f"a sandbox needs Linux, this is {sys.platform}", "use a Linux machine")]
    if os.geteuid() != 0:
        # Without root, the other checks cannot run.
        return [Problem("a sandbox needs root for its namespaces", "start this with `sudo`")]
    problems = [*_check_packages(config), *_check_sources(config)]
    if not problems:
        problems += _check_kernel()
        problems += _check_folder(rootfs.cache_folder(config))
    return problems


def require(config: SandboxConfig) -> None:
    """Raise an error if the machine cannot run the sandbox.

    Raises:
        SandboxMachineError: `preflight` found problems; the message lists all.
    """
    problems = preflight(config)
    if problems:
        listed = "".join(f"\n- {problem}" for problem in problems)
        raise SandboxMachineError(f"sandbox: this machine cannot run a sandbox:{listed}")


def _check_packages(config: SandboxConfig) -> Iterator[Problem]:
    path = environment()["PATH"]
    absent = [name for name in REQUIRED_PACKAGES if not shutil.which(name, path=path)]
    if _FOR_MAKING in absent:
        with suppress(PackageSourceError):
            # An existing root file system needs no mmdebstrap.
            if config.rootfs or rootfs.is_ready(config):
                absent.remove(_FOR_MAKING)
    if absent:
        packages = " ".join(sorted({REQUIRED_PACKAGES[name] for name in absent}))
        yield Problem(f"{', '.join(absent)} not found", f"`apt-get install -y {packages}`")


def _check_sources(config: SandboxConfig) -> Iterator[Problem]:
    """Check that the package sources of a root file system are known."""
    if not config.rootfs:
        try:
            package_sources(config.suite, config.mirror)
        except PackageSourceError as error:
            what, _, remedy = str(error).partition("; ")
            yield Problem(what, f"{remedy}, or a `rootfs`")


@cache
def _check_kernel() -> tuple[Problem, ...]:
    """Check the kernel's features, once per process."""
    problems = []
    for what, command, stdin, remedy in _KERNEL_TRIALS:
        try:
            run("unshare", *_NEW_NAMESPACES, *command, stdin=stdin)
        except KeeperError as error:
            problems.append(Problem(f"the kernel gives no {what} ({error})", remedy))
            break
    try:
        cgroups.hierarchies()
    except KeeperError as error:
        problems.append(Problem("no cgroup hierarchy is mounted", str(error)))
    return tuple(problems)


def _check_folder(folder: Path) -> Iterator[Problem]:
    """Check that a folder's file system has free space and supports an overlay on top of it."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if free < _FREE_BYTES:
        yield Problem(
            f"only {free // 1024**2} MiB free at {existing}, {_FREE_BYTES // 1024**2} are needed",
            "free some space, or set cache_dir to a folder with more",
        )
        return
    # Only a trial can tell.
    try:
        run("unshare", "--mount", "/bin/sh", "-c", _OVERLAY_TRIAL, str(existing))
    except KeeperError as error:
        yield Problem(
            f"no overlay can be mounted at {existing} ({error})",
            "`modprobe overlay`, or set cache_dir to a folder on ext4 or xfs",
        )


def cores_and_memory() -> tuple[int, int]:
    """Return the machine's number of cores and its memory in MiB; each node has the same."""
    return len(os.sched_getaffinity(0)), memory_of_machine()
