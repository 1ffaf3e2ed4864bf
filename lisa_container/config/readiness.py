"""Readiness checks: signs that a container is ready, as the config's field `ready` has them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Union

from lisa_container.config.checks import (
    FrozenDict,
    FrozenList,
    check_names,
    illegal,
    shell_command,
    text,
    unknown,
)

_LARGEST_PORT = 65535
_STATUS = range(100, 600)


@dataclass(frozen=True)
class CommandCheck:
    """The container is ready when a command succeeds in it.

    Attributes:
        command: Command for the container's `sh`.
    """

    command: str


@dataclass(frozen=True)
class PortCheck:
    """The container is ready when a process in it listens on a TCP port.

    Attributes:
        port: The port.
    """

    port: int


@dataclass(frozen=True)
class HttpCheck:
    """The container is ready when it answers a GET request over HTTP.

    Attributes:
        port: Port of the server in the container.
        path: Path of the request, with its query.
        status: Status code of the answer.
        body: Regular expression for a part of the answer's body; empty accepts any body.
    """

    port: int
    path: str
    status: int
    body: str


@dataclass(frozen=True)
class LogCheck:
    """The container is ready when a line of its log matches.

    Attributes:
        pattern: Regular expression for a part of the line.
    """

    pattern: str


@dataclass(frozen=True)
class HealthCheck:
    """The container is ready when the HEALTHCHECK of its image has succeeded."""


@dataclass(frozen=True)
class AnyCheck:
    """The container is ready when one of several checks succeeds.

    Attributes:
        checks: The checks.
    """

    checks: tuple[Check, ...]


@dataclass(frozen=True)
class AllCheck:
    """The container is ready when all of several checks succeed.

    Attributes:
        checks: The checks.
    """

    checks: tuple[Check, ...]


Check = Union[CommandCheck, PortCheck, HttpCheck, LogCheck, HealthCheck, AnyCheck, AllCheck]


def ready(field: str, value: Any) -> Any:
    """Check the signs of a ready container; "" stands for none.

    A command is a string, another check a mapping; of a list, all must succeed.
    """
    parse_ready(field, value)
    return _frozen(field, value)


def parse_ready(field: str, value: Any) -> AllCheck:
    """Return the checks of a value of the field.

    Args:
        field: Name of the field, for errors.
        value: The value.

    Raises:
        ConfigError: The value is wrong.
    """
    if isinstance(value, str):
        command = shell_command(field, value)
        return AllCheck((CommandCheck(command),) if command else ())
    return AllCheck(_several(field, value) if _is_list(value) else (_one(field, value),))


def check_together(check: Check, network_mode: str, has_own_output: bool) -> None:
    """Refuse checks that can never succeed.

    Args:
        check: The checks.
        network_mode: Network of the container.
        has_own_output: Whether the first process of the container is not only a placeholder.

    Raises:
        ConfigError: There is such a check.
    """
    if isinstance(check, (AnyCheck, AllCheck)):
        for each in check.checks:
            check_together(each, network_mode, has_own_output)
    elif isinstance(check, HttpCheck) and network_mode == "none":
        legal = "a check without a network, such as a port, since network_mode is 'none'"
        raise illegal("ready, http", check.port, legal)
    elif isinstance(check, (LogCheck, HealthCheck)) and not has_own_output:
        what = "log" if isinstance(check, LogCheck) else "healthcheck"
        legal = (
            f"no check '{what}' where the first process only keeps the container running; give "
            "init: image, which starts the image's own command"
        )
        raise illegal(f"ready, {what}", getattr(check, "pattern", True), legal)


def _one(field: str, value: Any) -> Check:
    if isinstance(value, str) and value:
        return CommandCheck(shell_command(field, value))
    if not isinstance(value, Mapping) or not value:
        raise illegal(field, value, _LEGAL)
    kind = next((each for each in _KINDS if each in value), None)
    if kind is None:
        raise unknown(field, next(iter(value)), list(_KINDS))
    make, names = _KINDS[kind]
    check_names(value, [kind, *names], f"{field}, check '{kind}'")
    return make(field, value)


def _several(field: str, value: Any) -> tuple[Check, ...]:
    if not _is_list(value) or not value:
        raise illegal(field, value, f"a list of checks, each {_LEGAL}")
    return tuple(_one(field, each) for each in value)


def _http(field: str, value: Mapping[str, Any]) -> HttpCheck:
    path = text(f"{field}, path", value.get("path", "/"), legal := "a path that begins with '/'")
    if not path.startswith("/") or re.search(r"[\s\0-\x1f\x7f-\U0010ffff]", path):
        raise illegal(f"{field}, path", path, f"{legal}, of ASCII without spaces")
    status = value.get("status", 200)
    if isinstance(status, bool) or status not in _STATUS:
        raise illegal(f"{field}, status", status, "a status code of HTTP, from 100 to 599")
    body = _pattern(f"{field}, body", value["body"]) if value.get("body", "") != "" else ""
    return HttpCheck(_port(f"{field}, http", value["http"]), path, status, body)


def _health(field: str, value: Mapping[str, Any]) -> HealthCheck:
    if value["healthcheck"] is not True:
        raise illegal(f"{field}, healthcheck", value["healthcheck"], "true")
    return HealthCheck()


def _port(field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_PORT:
        raise illegal(field, value, f"a TCP port, from 1 to {_LARGEST_PORT}")
    return value


def _pattern(field: str, value: Any) -> str:
    pattern = text(field, value, legal := "a regular expression of Python, not empty")
    try:
        if not pattern:
            raise illegal(field, value, legal)
        re.compile(pattern)
    except re.error as error:
        raise illegal(field, value, legal, str(error)) from error
    return pattern


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _frozen(field: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return FrozenDict({key: _frozen(field, item) for key, item in value.items()}, field)
    if _is_list(value):
        return FrozenList((_frozen(field, item) for item in value), field)
    return value


_Make = Callable[[str, Mapping[str, Any]], Check]

# Name of a kind of check -> how to make it from its mapping, and the mapping's further names.
_KINDS: dict[str, tuple[_Make, tuple[str, ...]]] = {
    "port": (lambda field, value: PortCheck(_port(f"{field}, port", value["port"])), ()),
    "http": (_http, ("path", "status", "body")),
    "log": (lambda field, value: LogCheck(_pattern(f"{field}, log", value["log"])), ()),
    "healthcheck": (_health, ()),
    "any": (lambda field, value: AnyCheck(_several(f"{field}, any", value["any"])), ()),
    "all": (lambda field, value: AllCheck(_several(f"{field}, all", value["all"])), ()),
}
_LEGAL = (
    "a command for sh as a string, a mapping such as {port: 80}, {http: 80, path: /up}, "
    "{log: started}, {healthcheck: true}, {any: […]} or {all: […]}, or a list of these"
)
