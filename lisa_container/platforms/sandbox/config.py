"""What a user asks for when asking for a sandbox."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from lisa_container.config.checks import illegal

# More is no sandbox but a mistake; the subnet would hold some two hundred.
MAX_NODES = 64

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?")
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
# They separate options of an overlay mount.
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
    """A sandbox. Values are checked when it is created.

    Attributes:
        count: how many nodes, 1 to 64.
        rootfs: a folder or a tarball with the nodes' root file system; when empty, one is made from
            Debian packages. Yours needs a shell, sshd, sudo, useradd, and dockerd unless `docker`
            is not running.
        suite: the distribution's release, "bookworm" say; when empty, the machine's own.
        mirror: where the packages come from; when empty, from where the machine has its own.
        packages: names of further packages to install.
        docker: Docker Engine on the nodes; True means RUNNING, False means STOPPED.
        docker_group: whether the users may use Docker without sudo.
        user: name of the user who logs in by key and has sudo without a password.
        password_user: name of the user who logs in by key or password, and needs the password for
            sudo.
        name: what the nodes' host names start with; a number follows.
        cache_dir: where the rootfs and the nodes' files are kept, on a real file system; when
            empty, $XDG_CACHE_HOME/lisa_container, or /var/cache/lisa_container without that
            variable.
        ready_seconds: how long the nodes may take to be ready.

    Raises:
        ConfigError: a value is wrong; the message names it and what is legal.
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
        """`docker`, whatever way it was given."""
        assert isinstance(self.docker, DockerMode)
        return self.docker


def _docker_mode(value: DockerMode | bool | str) -> DockerMode:
    if isinstance(value, bool):
        return DockerMode.RUNNING if value else DockerMode.STOPPED
    text = str(getattr(value, "value", value)).lower()
    # A runbook's variable arrives as text.
    named = {"true": DockerMode.RUNNING, "false": DockerMode.STOPPED}
    named.update({mode.value: mode for mode in DockerMode})
    _check("docker", value, text in named, f"true, false, {', '.join(m.value for m in DockerMode)}")
    return named[text]


def _match(name: str, value: str, pattern: re.Pattern[str], legal: str) -> None:
    _check(name, value, bool(pattern.fullmatch(value)), legal)


def _check(name: str, value: object, is_legal: bool, legal: str) -> None:
    if not is_legal:
        raise illegal(f"sandbox.{name}", value, legal)
