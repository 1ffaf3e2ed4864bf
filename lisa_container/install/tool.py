"""Request for a tool, and record of an installed tool."""

# dataclasses-json evaluates the fields' annotations, and Python 3.9 cannot evaluate `X | Y`.
# ruff: noqa: UP007

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Union

from dataclasses_json import DataClassJsonMixin

from lisa_container.config import checks
from lisa_container.errors import ConfigError

# A manager must not read a name as an option, and a shell must read it as one word.
_NAME = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@/._+:~-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~^_-]*")
_DIGEST = re.compile(r"(?:sha256:)?(?P<sha256>[0-9a-fA-F]{64})|sha512:(?P<sha512>[0-9a-fA-F]{128})")
MANAGER_NAMES = (
    "apt",
    "dnf",
    "tdnf",
    "microdnf",
    "yum",
    "apk",
    "zypper",
    "pacman",
    "pip",
    "pipx",
    "npm",
    "cargo",
    "gem",
    "go",
    "release",
)
"""Legal values of `Tool.via`; `lisa_container.install.managers` implements them."""

_URL = re.compile(r"https?://\S+")
_LEGAL_DIGEST = "64 hex digits of SHA-256 (with or without 'sha256:' before), or 'sha512:' and 128"


@dataclass(frozen=True)
class Tool(checks.KnownFields, DataClassJsonMixin):
    """Request for a program in a container.

    Construction checks every value. An illegal one raises `ConfigError` with the field, the value
    and what is legal.

    >>> Tool("ripgrep", via="apt", command="rg").version
    ''
    """

    name: str
    """Name of the package in its manager."""

    version: str = ""
    """Requested version, complete (`1.6-2.1`) or its beginning (`1.6`). Default: the manager's
    choice."""

    via: str = ""
    """Manager to use, one of `MANAGER_NAMES`. Default: `release` if `url` or `file` is given,
    otherwise the image's own (apt, dnf, apk…)."""

    command: str = ""
    """Command in the package. Default: the one with the package's name or a part of it (`ping` of
    `iputils-ping`), or the only one; else none, and all commands must be executable."""

    verify: Union[str, Sequence[str]] = ""
    """Verifier: a command that exits with 0 if the tool is ready, as a string for `sh` or a list of
    words. Default: `<command> --version`, else `-V` or `version`, whose output must contain the
    requested version."""

    expect: str = ""
    """Regular expression that must match somewhere in the verifier's output. Default: none."""

    packages: Sequence[str] = ()
    """Additional packages of the image's own manager, such as a compiler. Default: none."""

    url: str = ""
    """For `release`: URL of the program, or of an archive with it. This machine downloads it, not
    the node."""

    file: str = ""
    """For `release`: file on this machine with the program, or an archive with it."""

    checksum: str = ""
    """For `release`: SHA-256 (64 hex digits) or `sha512:…` of the file. Required for a `url`."""

    def __post_init__(self) -> None:
        """Check all fields.

        Raises:
            ConfigError: A value is illegal.
        """
        _check(self.name, "name", _NAME, "a package's name such as 'ripgrep', without spaces")
        if self.version:
            legal = "a version such as '1.6' or '1.6-2.1'; write it in quotes in YAML"
            _check(self.version, "version", _VERSION, legal)
        for field in ("command", "expect", "url", "file", "checksum", "via"):
            checks.text(f"tool '{self.name}', {field}", getattr(self, field), "a string")
        if self.via and self.via not in MANAGER_NAMES:
            legal = ", ".join(MANAGER_NAMES)
            hint = checks.nearest(self.via, MANAGER_NAMES)
            raise checks.illegal(f"tool '{self.name}', via", self.via, legal, hint)
        if self.command:
            _check(self.command, "command", re.compile(r"[^-\s/][^\s/]*"), "a name without '/'")
        object.__setattr__(self, "packages", checks.strings("packages", self.packages, "names"))
        for package in self.packages:
            _check(package, "packages", _NAME, "names of packages")
        if not isinstance(self.verify, str):
            words = checks.strings("verify", self.verify, "words of a command")
            object.__setattr__(self, "verify", words)
        self._check_expect()
        self._check_release()

    def _check_expect(self) -> None:
        try:
            re.compile(self.expect)
        except re.error as error:
            legal = f"a regular expression ({error})"
            raise checks.illegal("expect", self.expect, legal) from None

    def _check_release(self) -> None:
        if self.url and self.file:
            raise ConfigError(
                f"tool '{self.name}': both url and file are given; legal: one of them"
            )
        has_source = bool(self.url or self.file)
        if (self.via == "release" and not has_source) or (
            has_source and self.via not in ("", "release")
        ):
            raise checks.illegal(
                f"tool '{self.name}', via",
                self.via,
                "'release' with a url or file, and only then",
            )
        if self.checksum and not _DIGEST.fullmatch(self.checksum):
            raise checks.illegal("checksum", self.checksum, _LEGAL_DIGEST)
        if self.url and not _URL.fullmatch(self.url):
            # The message omits the value, which may contain a password.
            raise ConfigError(
                f"tool '{self.name}', url: it does not begin with http:// or https://"
            )
        if self.url and not self.checksum:
            raise ConfigError(
                f"tool '{self.name}', checksum: none given; legal: {_LEGAL_DIGEST}. A file from a "
                "url is only run after its checksum was checked."
            )
        if self.checksum and not has_source:
            raise ConfigError(
                f"tool '{self.name}', checksum: legal only with a url or a file; a package manager "
                "has its own checksums"
            )

    @property
    def digest(self) -> tuple[str, str]:
        """Algorithm and lower-case hex digits of the checksum; empty strings if none is given."""
        match = _DIGEST.fullmatch(self.checksum)
        if match is None:
            return "", ""
        kind = "sha256" if match["sha256"] else "sha512"
        return kind, match[kind].lower()

    # Replaces the method of dataclasses-json, whose errors do not name the field.
    @classmethod
    def from_dict(cls, kvs: Any, *, infer_missing: bool = False) -> Tool:
        """Return `Tool.of(kvs)`."""
        return cls.of(kvs)

    @classmethod
    def of(cls, given: str | Mapping[str, Any] | Tool) -> Tool:
        """Return a tool from its name or from a mapping of its fields.

        Raises:
            ConfigError: a field is unknown, missing or illegal.
        """
        if isinstance(given, Tool):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping) or "name" not in given:
            raise checks.illegal("tool", given, "a name, or a mapping of fields with a 'name'")
        legal = [each.name for each in fields(cls)]
        checks.check_names(given, legal, "tool, unknown field")
        return cls(**{key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True)
class InstalledTool(DataClassJsonMixin):
    """Record of an installed tool. `executor.installed` has one for each tool."""

    name: str
    version: str
    """Version in the manager's notation; empty for a `release` without one."""
    manager: str
    """Name of the manager: `apt`, `pip`, `release`…"""
    command: str
    """Absolute path in the container; empty if no command stands for the package."""
    origin: str
    """Source of the package if the manager reports it: an archive, an index or a URL, without
    passwords."""
    checksum: str
    """Checksum of the download as the manager reports it: `sha256:…`, `sha512-…`, `h1:…`."""
    verified: str
    """First line of the verifier's output."""
    log: str = ""
    """Path of the full log on this machine; empty if nothing had to be installed."""
    layer: str = ""
    """Image on the node with the tool (`cached=True`); empty if only the container has it."""
    from_cache: bool = False
    """Whether the image existed already, so that nothing had to be installed."""
    commands: tuple[str, ...] = ()
    """Absolute paths of all commands in the package."""


def _check(given: Any, field: str, pattern: re.Pattern[str], legal: str) -> None:
    if not isinstance(given, str) or not pattern.fullmatch(given):
        raise checks.illegal(f"tool, {field}", given, legal)
