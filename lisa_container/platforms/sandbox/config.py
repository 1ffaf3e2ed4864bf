"""Config of a sandbox."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from lisa_container.config.checks import illegal

# A larger number is probably a mistake. The subnet has room for about 200.
MAX_NODES = 64

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
# These characters separate the options of an overlay mount.
_NOT_IN_PATHS = re.compile(r"[,:\\\s]")


class DockerMode(str, Enum):
    """Docker Engine on the nodes.

    RUNNING: installed and started; a node is ready when its socket answers.
    STOPPED: installed and not started; `service docker start` or plain `dockerd` starts it.
    ABSENT: not installed; a rootfs without it is made.
    """

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


@dataclass(frozen=True)
class SandboxConfig:
    """Config of a sandbox. Construction checks all values.

    Attributes:
        count: number of nodes, 1 to 64.
        rootfs: folder or tarball with the nodes' root file system; empty makes one from Debian
            packages. Your own needs a shell, sshd, sudo and useradd, and for a running Docker also
            dockerd and iptables.
        suite: release of the distribution, such as "bookworm"; empty means the machine's.
        mirror: URL of the package mirror; empty means the machine's own package sources.
        packages: names of additional packages to install.
        docker: state of Docker Engine on the nodes; True means RUNNING, False means STOPPED.
        docker_group: whether the users may use Docker without sudo.
        user: user who logs in with a key and has sudo without a password.
        password_user: user who logs in with a key or a password, and needs the password for sudo.
        name: prefix of the nodes' host names; a number follows.
        cache_dir: folder for the root file system and the nodes' files, on a real file system;
            empty means $XDG_CACHE_HOME/lisa_container, or /var/cache/lisa_container if that
            variable is not set.
        ready_seconds: time limit for the nodes to become ready, in seconds.

    Raises:
        ConfigError: a value is illegal. The message names it and what is legal.
    """

    count: int = 1
    rootfs: str = ""
    suite: str = ""
    mirror: str = ""
    packages: tuple[str, ...] = field(default_factory=tuple)
    docker: DockerMode | bool | str = DockerMode.RUNNING
    docker_group: bool = False
    user: str = "tester"
    password_user: str = "asker"
    name: str = "node"
    cache_dir: str = ""
    ready_seconds: float = 30

    def __post_init__(self) -> None:
        """Check and normalise all fields."""
        _check("count", self.count, 1 <= self.count <= MAX_NODES, f"a number from 1 to {MAX_NODES}")
        object.__setattr__(self, "docker", _docker_mode(self.docker))
        object.__setattr__(self, "packages", tuple(self.packages))
        for package in self.packages:
            _match("packages", package, _PACKAGE_NAME, "names of Debian packages")
        _match("user", self.user, _USER_NAME, "a user name: a-z, 0-9, _ and -")
        _match("password_user", self.password_user, _USER_NAME, "a user name: a-z, 0-9, _ and -")
        different = len({self.user, self.password_user, "root"}) == 3
        _check("password_user", self.password_user, different, "neither root nor the same as user")
        _match("name", self.name, _HOST_NAME, "the start of a host name: a-z, 0-9 and -")
        if self.suite:
            _match("suite", self.suite, _SUITE, "a release's code name, like bookworm")
        if self.mirror:
            is_url = re.match(r"[a-z+]+:/", self.mirror) and not re.search(r"\s", self.mirror)
            _check("mirror", self.mirror, bool(is_url), "the URL of a package mirror")
        _check("ready_seconds", self.ready_seconds, self.ready_seconds > 0, "a time in seconds")
        for name in ("rootfs", "cache_dir"):
            value = getattr(self, name)
            fits = not _NOT_IN_PATHS.search(value)
            _check(name, value, fits, "a path without comma, colon, backslash and blank")
        if self.rootfs:
            exists = Path(self.rootfs).exists()
            _check("rootfs", self.rootfs, exists, "an existing folder or tarball")
            made_here = self.suite or self.mirror or self.packages
            _check("rootfs", self.rootfs, not made_here, "empty beside suite, mirror or packages")

    @property
    def docker_mode(self) -> DockerMode:
        """The value of `docker` as an enum."""
        assert isinstance(self.docker, DockerMode)
        return self.docker


def _docker_mode(value: DockerMode | bool | str) -> DockerMode:
    if isinstance(value, bool):
        return DockerMode.RUNNING if value else DockerMode.STOPPED
    text = str(getattr(value, "value", value)).lower()
    # A runbook variable is always a string.
    named = {"true": DockerMode.RUNNING, "false": DockerMode.STOPPED}
    named.update({mode.value: mode for mode in DockerMode})
    _check("docker", value, text in named, f"true, false, {', '.join(m.value for m in DockerMode)}")
    return named[text]


def _match(name: str, value: str, pattern: re.Pattern[str], legal: str) -> None:
    _check(name, value, bool(pattern.fullmatch(value)), legal)


def _check(name: str, value: object, is_legal: bool, legal: str) -> None:
    if not is_legal:
        raise illegal(f"sandbox.{name}", value, legal)
