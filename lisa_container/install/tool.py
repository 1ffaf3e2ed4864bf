"""What a user asks to have installed, and what was."""

# dataclasses-json evaluates the fields' annotations, and Python 3.9 has no `X | Y` to evaluate.
# ruff: noqa: UP007

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Union

from dataclasses_json import DataClassJsonMixin

from lisa_container.config import checks
from lisa_container.errors import ConfigError

# No manager may take a name for an option, nor a shell for anything but a word.
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
"""What `Tool.via` may be; the modules of `lisa_container.install.managers` are what they do."""

_URL = re.compile(r"https?://\S+")
_LEGAL_DIGEST = "64 hex digits of SHA-256 ('sha256:' in front is welcome), or 'sha512:' and 128"


@dataclass(frozen=True)
class Tool(DataClassJsonMixin):
    """A program that a container shall have.

    Every value is checked on construction; a wrong one raises `ConfigError` with the field, the
    value and what is legal.

    >>> Tool("ripgrep", via="apt", command="rg").version
    ''
    """

    name: str
    """The package's name, as its manager knows it."""

    version: str = ""
    """The version to have: whole (`1.6-2.1`) or its beginning (`1.6`). Default: the manager's
    choice."""

    via: str = ""
    """The manager: one of `MANAGER_NAMES`. Default: `release` where there is a
    `url` or `file`, else the image's own (apt, dnf, apk…)."""

    command: str = ""
    """The command it brings. Default: the one named as the package, or the only one in it."""

    verify: Union[str, Sequence[str]] = ""
    """The command that decides that it is ready, by exit code 0: a string for `sh`, or a list of
    words. Default: `<command> --version`, whose output must have the version that was asked for."""

    expect: str = ""
    """A regular expression that the output of the verifier must match somewhere. Default: none."""

    packages: Sequence[str] = ()
    """Further packages of the image's own manager that it needs, a compiler say. Default: none."""

    url: str = ""
    """For `release`: where the program, or an archive with it, is. It is fetched by this machine,
    not by the node."""

    file: str = ""
    """For `release`: the same as a file on this machine."""

    checksum: str = ""
    """For `release`: of the file; `sha256` (64 hex digits) or `sha512:…`. A `url` must have one."""

    def __post_init__(self) -> None:
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
            # Not the value: there may be a password in it.
            raise ConfigError(
                f"tool '{self.name}', url: it does not begin with http:// or https://"
            )
        if self.url and not self.checksum:
            raise ConfigError(
                f"tool '{self.name}', checksum: none given; legal: {_LEGAL_DIGEST}. What comes "
                "from a url is not run unless it is known."
            )
        if self.checksum and not has_source:
            raise ConfigError(
                f"tool '{self.name}', checksum: legal only with a url or a file; a package manager "
                "has checksums of its own"
            )

    @property
    def digest(self) -> tuple[str, str]:
        """The checksum's algorithm and hex digits, in lower case; empty strings where none is."""
        match = _DIGEST.fullmatch(self.checksum)
        if match is None:
            return "", ""
        kind = "sha256" if match["sha256"] else "sha512"
        return kind, match[kind].lower()

    # dataclasses-json would decode field by field, by type, with errors that name no field.
    @classmethod
    def from_dict(cls, kvs: Any, *, infer_missing: bool = False) -> Tool:
        return cls.of(kvs)

    @classmethod
    def of(cls, given: str | Mapping[str, Any] | Tool) -> Tool:
        """A tool from its name, or from a mapping as YAML has it.

        Raises:
            ConfigError: a field is unknown, missing or wrong.
        """
        if isinstance(given, Tool):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping) or "name" not in given:
            raise checks.illegal("tool", given, "a name, or a mapping of fields with a 'name'")
        legal = [each.name for each in fields(cls)]
        for key in given:
            if key not in legal:
                raise checks.illegal(
                    "tool, unknown field", key, ", ".join(legal), checks.nearest(key, legal)
                )
        return cls(**{key: value for key, value in given.items() if value is not None})


@dataclass(frozen=True)
class InstalledTool(DataClassJsonMixin):
    """What was installed, for the artifacts; `executor.installed` has one for each tool."""

    name: str
    version: str
    """As its manager has it; empty for a `release` without one."""
    manager: str
    """`apt`, `pip`, `release`…"""
    command: str
    """Absolute path in the container; empty where a verifier was given and no command."""
    origin: str
    """Where it came from, as far as the manager tells: an archive, an index, a URL; without
    passwords."""
    checksum: str
    """Of what was fetched, as the manager tells it: `sha256:…`, `sha512-…`, `h1:…`."""
    verified: str
    """What the verifier printed, its first line."""
    log: str = ""
    """The whole log of the installation, a file on this machine; empty where nothing had to be
    installed."""
    layer: str = ""
    """The image on the node that has it (`cached=True`); empty where only the container has it."""
    from_cache: bool = False
    """The image was there already: nothing had to be installed."""


def _check(given: Any, field: str, pattern: re.Pattern[str], legal: str) -> None:
    if not isinstance(given, str) or not pattern.fullmatch(given):
        raise checks.illegal(f"tool, {field}", given, legal)
