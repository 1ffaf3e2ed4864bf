"""What a user says once for a whole run: which registries there are, and what stands in for them.

The rules are those of the other configs: a wrong value raises `ConfigError` with the field and what
is legal. No message repeats a password.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lisa_container.config import checks, images
from lisa_container.config.model import check_names
from lisa_container.errors import ConfigError

_LEGAL_PREFIX = (
    "a registry 'host[:port]', perhaps with the begin of a name behind it, such as 'docker.io', "
    "'docker.io/library' or 'registry.example.com:5000/team'"
)
# Docker's own registry, by names that stand in front of no image.
_HUB = ("index.docker.io", "registry-1.docker.io")
_LEGAL_PASSWORD = 'a string, best a secret variable of the runbook, such as "$(registry_password)"'
_LEGAL_CA = "the path of a file on this machine with one or more CA certificates in PEM"


@dataclass(frozen=True)
class RegistrySettings:
    """A registry, or a part of one.

    Attributes:
        host: as in front of an image's name, perhaps with the begin of that: `host[:port][/path]`.
        username: of the account there; none by default.
        password: its password or token.
        certificates: PEM of the CAs that sign the registry's certificate, beside those that the
            engine trusts anyhow; none by default.
    """

    host: str
    username: str = ""
    password: str = field(default="", repr=False)
    certificates: str = field(default="", repr=False)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str, folder: Path) -> RegistrySettings:
        """Read it as a runbook has it, with the keys `host`, `username`, `password` and `ca`.

        Args:
            mapping: the entry.
            where: names it in messages.
            folder: what a relative path of `ca` starts from.

        Raises:
            ConfigError: something is wrong; the message says what is legal.
        """
        given = _entry(where, mapping, ("host", "username", "password", "ca"))
        host = _prefix(f"{where}.host", given.get("host"))
        username = checks.text(f"{where}.username", given.get("username", ""), "a string")
        password = given.get("password", "")
        if not isinstance(password, str):
            raise ConfigError(
                f"{where}.password: given {type(password).__name__}; legal: {_LEGAL_PASSWORD}"
            )
        if bool(username) != bool(password):
            has, lacks = ("username", "password") if username else ("password", "username")
            raise ConfigError(f"{where}: given a {has} without a {lacks}; legal: both or none")
        ca = checks.text(f"{where}.ca", given.get("ca", ""), _LEGAL_CA)
        return cls(host, username, password, _certificates(f"{where}.ca", ca, folder))


@dataclass(frozen=True)
class Mirror:
    """A rule of substitution for images that are pulled.

    Attributes:
        source: names that begin so, at the boundary of a path's component…
        target: … are pulled by a name that begins so.
    """

    source: str
    target: str

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str) -> Mirror:
        """Read it as a runbook has it, with the keys `from` and `to`.

        Raises:
            ConfigError: something is wrong; the message says what is legal.
        """
        given = _entry(where, mapping, ("from", "to"))
        source, target = (_prefix(f"{where}.{key}", given.get(key)) for key in ("from", "to"))
        if source == target:
            raise checks.illegal(f"{where}.to", target, "another name than that of 'from'")
        return cls(source, target)


@dataclass(frozen=True)
class ContainerSettings:
    """The settings of a run. Without any, all is as the engine has it.

    Attributes:
        registries: credentials and certificates; for an image the longest `host` counts.
        mirrors: for an image the longest `from` counts.
    """

    registries: tuple[RegistrySettings, ...] = ()
    mirrors: tuple[Mirror, ...] = ()

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any],
        where: str = "container settings",
        folder: Path | None = None,
    ) -> ContainerSettings:
        """Read them as a runbook has them.

        Args:
            mapping: field names to values; None stands for a field that is not named.
            where: opens every error's message.
            folder: what relative paths start from; the current one by default.

        Raises:
            ConfigError: something is wrong; the message names the field and what is legal.
        """
        folder = folder or Path()
        try:
            check_names(mapping, [each.name for each in fields(cls)])
            registries = tuple(
                RegistrySettings.from_mapping(each, name, folder)
                for name, each in _entries("registries", mapping.get("registries"))
            )
            mirrors = tuple(
                Mirror.from_mapping(each, name)
                for name, each in _entries("mirrors", mapping.get("mirrors"))
            )
            _once("registries", "host", [each.host for each in registries])
            _once("mirrors", "from", [each.source for each in mirrors])
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        return cls(registries, mirrors)

    @property
    def secrets(self) -> frozenset[str]:
        """The passwords in it, in each spelling in which a log or a report may show them."""
        found: set[str] = set()
        for each in self.registries:
            password = each.password
            found |= {password, repr(password)[1:-1], json.dumps(password)[1:-1]}
            found |= {quote(password, safe="")}
        return frozenset(found - {""})


def _entries(name: str, value: Any) -> list[tuple[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ConfigError(f"{name}: given {type(value).__name__}; legal: a list of mappings")
    return [(f"{name}[{index}]", each) for index, each in enumerate(value)]


def _entry(where: str, value: Any, legal: Iterable[str]) -> dict[str, Any]:
    """The named keys of a mapping, which has no others."""
    if not isinstance(value, Mapping):  # the value may be a password that was misplaced
        legal = ", ".join(legal)
        raise ConfigError(f"{where}: given {type(value).__name__}; legal: a mapping of {legal}")
    try:
        check_names(value, list(legal))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return {key: each for key, each in value.items() if each is not None}


def _prefix(where: str, value: Any) -> str:
    if value in (None, ""):
        raise checks.illegal(where, value, _LEGAL_PREFIX)
    # A password may be in it, as in a URL.
    shown = re.sub(r"[^/]*@", "***@", value) if isinstance(value, str) else value
    hint = ""
    if shown != value:
        hint = "credentials are given as 'username' and 'password'"
    elif "://" in str(value):
        hint = "leave the scheme out"
    elif str(value).partition("/")[0] in _HUB:
        hint = "did you mean 'docker.io'?"
    try:
        found = images.registry(where, value)
    except ConfigError:
        found = ""
    if not found or hint:
        raise checks.illegal(where, shown, _LEGAL_PREFIX, hint)
    return found


def _certificates(where: str, path: str, folder: Path) -> str:
    if not path:
        return ""
    file = folder / Path(path).expanduser()
    try:
        text = file.read_text(encoding="ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:  # also ssl.SSLError, UnicodeDecodeError
        raise checks.illegal(where, path, _LEGAL_CA, f"'{file}': {error}") from error
    return text


def _once(name: str, key: str, values: list[str]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise checks.illegal(f"{name}[{index}].{key}", value, "each one once")
