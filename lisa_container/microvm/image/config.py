"""Configs of images that are made on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lisa_container.config.checks import EMPTY, FrozenDict, illegal, strings

_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
_KEY = re.compile(r"(ssh|ecdsa|sk)-[^\s]+ [A-Za-z0-9+/=]+( [^\n]*)?")
_LEAST_GIB, _MOST_GIB = 1, 1024


@dataclass(frozen=True)
class MadeImageConfig:
    """Config of an image that is made on this machine. Construction checks all values.

    Attributes:
        kernel: path of a bzImage; empty means the kernel that comes with the root file system.
        modules: folder of the modules of `kernel`, with `modules.dep`; empty means none.
        keys: public SSH keys that may log in, in addition to the image's own.
        files: files to put into the image: absolute path in the image to path on this machine.
        user: user who logs in with a key and has sudo without a password; root logs in too.
        disk_gib: size of the disk in GiB. Only used parts take space on this machine.
        cache_dir: folder for images; empty means the usual one.
    """

    kernel: str = ""
    modules: str = ""
    keys: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    user: str = "tester"
    disk_gib: int = 8
    cache_dir: str = ""

    def __post_init__(self) -> None:
        """Check and normalise all fields."""
        object.__setattr__(self, "keys", strings("keys", self.keys, "public SSH keys"))
        object.__setattr__(self, "files", FrozenDict(self.files, "files"))
        for key in self.keys:
            _match("keys", key, _KEY, "public SSH keys, as in a file that ends with .pub")
        check_user(self.user)
        fits = isinstance(self.disk_gib, int) and _LEAST_GIB <= self.disk_gib <= _MOST_GIB
        legal = f"a whole number of GiB from {_LEAST_GIB} to {_MOST_GIB}"
        check("disk_gib", self.disk_gib, fits, legal)
        has_kernel = bool(self.kernel) or not self.modules
        check("modules", self.modules, has_kernel, "empty, if `kernel` is")
        if self.kernel:
            check("kernel", self.kernel, Path(self.kernel).is_file(), "path of a bzImage")
        if self.modules:
            has_list = Path(self.modules, "modules.dep").is_file()
            legal = "a folder lib/modules/VERSION of the kernel, with modules.dep"
            check("modules", self.modules, has_list, legal)
        for target, source in self.files.items():
            plain = re.fullmatch(r"(/[^/]+)+", target) and ".." not in target.split("/")
            check("files", target, bool(plain), "absolute paths of files in the image")
            check("files", source, Path(source).is_file(), "existing files of this machine")


@dataclass(frozen=True)
class ImageConfig(MadeImageConfig):
    """Config of an image that is made of Debian packages. Construction checks all values.

    Attributes:
        suite: release of the distribution, such as "bookworm"; empty means the machine's.
        mirror: URL of the package mirror; empty means the machine's own package sources.
        packages: names of additional packages.
        docker: whether Docker Engine is installed and started.
    """

    suite: str = ""
    mirror: str = ""
    packages: tuple[str, ...] = ()
    docker: bool = True

    def __post_init__(self) -> None:
        """Check and normalise all fields."""
        super().__post_init__()
        names = strings("packages", self.packages, "names of Debian packages")
        object.__setattr__(self, "packages", names)
        for package in self.packages:
            _match("packages", package, _PACKAGE_NAME, "names of Debian packages")
        if self.suite:
            _match("suite", self.suite, _SUITE, "a release's code name, like bookworm")
        if self.mirror:
            is_url = re.match(r"[a-z+]+:/", self.mirror) and not re.search(r"\s", self.mirror)
            check("mirror", self.mirror, bool(is_url), "the URL of a package mirror")


@dataclass(frozen=True)
class RootImageConfig(MadeImageConfig):
    """Config of an image that is made of a root file system. Construction checks all values.

    The root file system is one of Debian or Ubuntu with systemd and sshd; the error names packages
    that it lacks. Programs of it run as root while the image is made, so trust it.

    Attributes:
        root: folder with the root file system, which is copied.
        archive: archive of an OCI image or of `docker save`, instead of a folder.
        docker: whether Docker Engine is in the root file system, and is started.
    """

    root: str = ""
    archive: str = ""
    docker: bool = False

    def __post_init__(self) -> None:
        """Check and normalise all fields."""
        super().__post_init__()
        given = f"root={self.root!r}, archive={self.archive!r}"
        check("root", given, bool(self.root) != bool(self.archive), "one of root and archive")
        if self.root:
            check("root", self.root, Path(self.root).is_dir(), "a folder")
        if self.archive:
            exists = Path(self.archive).exists()
            check("archive", self.archive, exists, "a file of `docker save`, or an OCI layout")


def _match(name: str, value: str, pattern: re.Pattern[str], legal: str) -> None:
    check(name, value, bool(pattern.fullmatch(value)), legal)


def check_user(user: str) -> None:
    """Refuse what is no name of a user other than root.

    Args:
        user: the name.

    Raises:
        ConfigError: the name is illegal.
    """
    _match("user", user, _USER_NAME, "a user name: a-z, 0-9, _ and -")
    check("user", user, user != "root", "a user other than root")


def check(name: str, value: object, is_legal: bool, legal: str) -> None:
    """Refuse an illegal value of a field of an image's config.

    Args:
        name: name of the field.
        value: its value.
        is_legal: whether the value is legal.
        legal: legal values, for the error.

    Raises:
        ConfigError: the value is illegal.
    """
    if not is_legal:
        raise illegal(f"vm image, {name}", value, legal)
