"""Settings of a run: registries with credentials and certificates, mirrors, kept containers.

A wrong value raises `ConfigError` with the field and the legal values, as in the other configs. No
message repeats a password.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lisa_container.config import checks, images
from lisa_container.config.choices import KeepContainers
from lisa_container.errors import ConfigError

_LEGAL_PREFIX = (
    "a registry 'host[:port]', perhaps with the start of a name behind it, such as 'docker.io', "
    "'docker.io/library' or 'registry.example.com:5000/team'"
)
# Hosts of Docker's own registry that no image's name begins with.
_HUB = ("index.docker.io", "registry-1.docker.io")
_LEGAL_PASSWORD = 'a string, best a secret variable of the runbook, such as "$(registry_password)"'
_LEGAL_CA = "the path of a file on this machine with one or more CA certificates in PEM"


@dataclass(frozen=True)
class RegistrySettings(checks.KnownFields):
    """Settings for a registry, or for a part of one.

    Attributes:
        host: `host[:port][/path]`, as in front of an image's name.
        username: name of an account; none by default.
        password: password or token of the account.
        certificates: PEM of CAs to trust for this registry, in addition to those that the engine
            trusts; none by default.
    """

    host: str
    username: str = ""
    password: str = field(default="", repr=False)
    certificates: str = field(default="", repr=False)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str, folder: Path) -> RegistrySettings:
        """Read an entry of a runbook, with the keys `host`, `username`, `password` and `ca`.

        Args:
            mapping: the entry.
            where: name of the entry, for messages.
            folder: start of a relative path in `ca`.

        Raises:
            ConfigError: a key or value is wrong; the message says what is legal.
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
class Mirror(checks.KnownFields):
    """Rule that replaces the start of an image's name when the image is pulled.

    Attributes:
        source: start of the name, in whole components of the path.
        target: replacement for `source`.
    """

    source: str
    target: str

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], where: str) -> Mirror:
        """Read an entry of a runbook, with the keys `from` and `to`.

        Args:
            mapping: the entry.
            where: name of the entry, for messages.

        Raises:
            ConfigError: a key or value is wrong; the message says what is legal.
        """
        given = _entry(where, mapping, ("from", "to"))
        source, target = (_prefix(f"{where}.{key}", given.get(key)) for key in ("from", "to"))
        if source == target:
            raise checks.illegal(f"{where}.to", target, "another name than 'from'")
        return cls(source, target)


@dataclass(frozen=True)
class ContainerSettings(checks.KnownFields):
    """Settings of a run. By default, the engine's own settings apply.

    Attributes:
        registries: credentials and certificates; the longest `host` that matches an image counts.
        mirrors: the longest `from` that matches an image counts.
        keep_containers: when a container stays on its node; a container's config may ask for more.
        start_engine: whether an engine of the runner's own machine may be started or installed.
        wait_for_nodes: seconds that the nodes of a runbook may take until they accept the login, at
            the begin of the run; give more for nodes that still boot.
    """

    registries: tuple[RegistrySettings, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    keep_containers: KeepContainers = KeepContainers.NO
    start_engine: bool = False
    wait_for_nodes: float = 10.0

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any],
        where: str = "container settings",
        folder: Path | None = None,
    ) -> ContainerSettings:
        """Read the settings of a runbook.

        Args:
            mapping: field names to values; None stands for a field that is not given.
            where: first words of every error's message.
            folder: start of relative paths; the working directory by default.

        Raises:
            ConfigError: a key or value is wrong; the message names the field and the legal values.
        """
        folder = folder or Path()
        try:
            checks.check_names(mapping, [each.name for each in fields(cls)])
            registries = tuple(
                RegistrySettings.from_mapping(each, name, folder)
                for name, each in _entries("registries", mapping.get("registries"))
            )
            mirrors = tuple(
                Mirror.from_mapping(each, name)
                for name, each in _entries("mirrors", mapping.get("mirrors"))
            )
            given = mapping.get("keep_containers")
            keep = checks.one_of(KeepContainers)(
                "keep_containers", False if given is None else given
            )
            _once("registries", "host", [each.host for each in registries])
            _once("mirrors", "from", [each.source for each in mirrors])
            start_engine = checks.flag("start_engine", _given(mapping, "start_engine", False))
            seconds = _given(mapping, "wait_for_nodes", cls.wait_for_nodes)
            wait_for_nodes = checks.positive_seconds("wait_for_nodes", seconds)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        return cls(registries, mirrors, keep, start_engine, wait_for_nodes)

    @property
    def secrets(self) -> frozenset[str]:
        """The passwords in it."""
        return frozenset(each.password for each in self.registries if each.password)


def _given(mapping: Mapping[str, Any], name: str, default: Any) -> Any:
    value = mapping.get(name)
    return default if value is None else value


def _entries(name: str, value: Any) -> list[tuple[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ConfigError(f"{name}: given {type(value).__name__}; legal: a list of mappings")
    return [(f"{name}[{index}]", each) for index, each in enumerate(value)]


def _entry(where: str, value: Any, legal: Iterable[str]) -> dict[str, Any]:
    """Return the given keys of a mapping, and refuse others."""
    if not isinstance(value, Mapping):  # do not show the value, it may be a misplaced password
        legal = ", ".join(legal)
        raise ConfigError(f"{where}: given {type(value).__name__}; legal: a mapping of {legal}")
    try:
        checks.check_names(value, list(legal))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return {key: each for key, each in value.items() if each is not None}


def _prefix(where: str, value: Any) -> str:
    if value in (None, ""):
        raise checks.illegal(where, value, _LEGAL_PREFIX)
    # The value may contain a password, as URLs do.
    shown = re.sub(r"[^/]*@", "***@", value) if isinstance(value, str) else value
    hint = ""
    if shown != value:
        hint = "credentials are given as 'username' and 'password'"
    elif "://" in str(value):
        hint = "leave the scheme out"
    elif str(value).partition("/")[0] in _HUB:
        hint = "did you mean 'docker.io'?"
    try:
        prefix = images.registry(where, value)
    except ConfigError:
        prefix = ""
    if not prefix or hint:
        raise checks.illegal(where, shown, _LEGAL_PREFIX, hint)
    return prefix


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
