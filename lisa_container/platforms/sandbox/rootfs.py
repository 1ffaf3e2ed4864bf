"""Root file system that all nodes share, made or unpacked once and then kept in the cache.

The folder's name contains a hash of all inputs, so a changed input makes a new root file system. To
get newer packages, remove the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

from lisa_container.atomic import create_once
from lisa_container.debian.apt import PackageSources, package_sources
from lisa_container.debian.bootstrap import (
    DOCKER_PACKAGES,
    EXCLUDED,
    NODE_PACKAGES,
    Report,
    bootstrap,
)
from lisa_container.errors import BootstrapError, SandboxError, SandboxMachineError
from lisa_container.escaping import quote_output
from lisa_container.platforms.sandbox.config import DockerMode, SandboxConfig
from lisa_container.system import environment

# Increase this when the way to make a root file system changes.
_VERSION = "1"
_PACKAGES = (
    # for a node
    *NODE_PACKAGES,
    # for tests
    "ca-certificates",
    "curl",
    "busybox-static",
    # for building images on the node without a registry
    "debootstrap",
    "mmdebstrap",
)
# Files that each node gets for itself.
_NOT_SHARED = ("etc/ssh/ssh_host_*", "etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf")
_BUILD_SECONDS = 1200
# Programs that a root file system must have, with the Debian package of each.
_NEEDED = {
    "sh": "dash",
    "umount": "mount",
    "useradd": "passwd",
    "chpasswd": "passwd",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "sudo": "sudo",
}
_NEEDED_FOR_DOCKER = {"dockerd": "docker.io", "iptables": "iptables"}
_BIN_FOLDERS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")


def cache_folder(config: SandboxConfig) -> Path:
    """Return the folder for root file systems and the nodes' files."""
    if config.cache_dir:
        return Path(config.cache_dir).absolute()
    home = os.environ.get("XDG_CACHE_HOME", "")
    return Path(home or "/var/cache", "lisa_container")


def is_ready(config: SandboxConfig) -> bool:
    """Return whether the root file system exists, so that nothing has to be made or unpacked."""
    if config.rootfs:
        return Path(config.rootfs).is_dir() or _unpacked_folder(config).is_dir()
    return _made_folder(config, package_sources(config.suite, config.mirror)).is_dir()


def provide(config: SandboxConfig, report: Report) -> Path:
    """Make the root file system unless it exists.

    Args:
        config: config of the sandbox.
        report: function that gets the progress, line by line.

    Returns:
        The folder of the root file system. Do not write to it.

    Raises:
        SandboxError: the root file system could not be made, or lacks a program.
        PackageSourceError: this machine's apt configuration has no source for it.
    """
    if config.rootfs:
        given = Path(config.rootfs).absolute()
        folder = given if given.is_dir() else _unpacked_folder(config)
        if folder != given:
            with create_once(folder, report) as temporary:
                if temporary:
                    report(f"unpacking {given}")
                    _unpack(given, temporary)
    else:
        sources = package_sources(config.suite, config.mirror)
        folder = _made_folder(config, sources)
        with create_once(folder, report) as temporary:
            if temporary:
                report(f"making a root file system of {sources.suite} once; this takes about 20 s")
                _make(config, sources, temporary, report)
    _check(folder, config)
    return folder


def _packages(config: SandboxConfig) -> list[str]:
    docker = () if config.docker_mode is DockerMode.ABSENT else DOCKER_PACKAGES
    return sorted({*_PACKAGES, *docker, *config.packages})


def _made_folder(config: SandboxConfig, sources: PackageSources) -> Path:
    parts = (_VERSION, sources.suite, sources.lines, sources.options, _packages(config), EXCLUDED)
    return cache_folder(config) / "rootfs" / f"{sources.suite}-{_key(parts)}"


def _unpacked_folder(config: SandboxConfig) -> Path:
    tarball = Path(config.rootfs).absolute()
    status = tarball.stat()
    parts = (_VERSION, str(tarball), status.st_size, status.st_mtime_ns)
    return cache_folder(config) / "rootfs" / f"tarball-{_key(parts)}"


def _key(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _make(config: SandboxConfig, sources: PackageSources, folder: Path, report: Report) -> None:
    hooks = "; ".join(f'rm -f "$1"/{path}' for path in _NOT_SHARED)
    options = ("--format=directory", f"--customize-hook={hooks}")
    packages = _packages(config)
    try:
        bootstrap(sources, packages, options, folder, report, temporary=folder.parent)
    except BootstrapError as error:
        raise SandboxError(f"sandbox: {error}") from error


def _unpack(tarball: Path, folder: Path) -> None:
    folder.mkdir()
    done = subprocess.run(
        ["tar", "--extract", "--preserve-permissions", "--numeric-owner", "--file", str(tarball)],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        env=environment(),
        timeout=_BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        message = quote_output(done.stderr, 500)
        raise SandboxError(f"sandbox: {tarball} could not be unpacked: {message}")


def _check(folder: Path, config: SandboxConfig) -> None:
    needed = dict(_NEEDED)
    if config.docker_mode is DockerMode.RUNNING:
        needed.update(_NEEDED_FOR_DOCKER)
    missing = [name for name in needed if not _has(folder, name)]
    if missing:
        packages = " ".join(sorted({needed[name] for name in missing}))
        raise SandboxMachineError(
            f"sandbox: the root file system {folder} has no {', '.join(missing)};"
            f" install these Debian packages in it, or their equivalents: {packages}"
        )


def _has(folder: Path, program: str) -> bool:
    # lexists, because an absolute symbolic link points elsewhere when seen from here.
    return any(os.path.lexists(folder / place / program) for place in _BIN_FOLDERS)
