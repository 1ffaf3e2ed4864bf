"""Probes of a container: one for each kind of readiness check.

The image needs no program for them, except for a command of the user's.
"""

from __future__ import annotations

import http.client
import re
from typing import Any

from lisa_container.config.identity import CONTAINER_PREFIX
from lisa_container.config.readiness import (
    AllCheck,
    AnyCheck,
    Check,
    CommandCheck,
    HttpCheck,
    LogCheck,
    PortCheck,
)
from lisa_container.container.command import RunningCommand
from lisa_container.container.log import log_pieces
from lisa_container.container.place import ContainerPlace
from lisa_container.container.request import CommandRequest
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.shell import shell_of
from lisa_container.engine.tcp import open_tcp
from lisa_container.errors import CommandTimeoutError, ConfigError
from lisa_container.escaping import printable, quote_output

PROBE_TIMEOUT = 30.0
"""Seconds that one probe may take."""

# Seconds for a connection, and bytes of an answer's body that are read.
_HTTP_TIMEOUT = 10.0
_MOST_BODY = 1 << 20
# Characters of a line of a log that are compared, and of an answer in a message.
_LONGEST_LINE = 1 << 16
_QUOTED = 200
# proc(5), /proc/net/tcp: the state TCP_LISTEN of the kernel's enum (net/tcp_states.h).
_LISTEN = "0A"


def run_check(engine: Engine, name: str, command: str | list[str]) -> tuple[int | None, str]:
    """Run a command in a container.

    Args:
        engine: Engine of the node.
        name: Name of the container.
        command: A string for the container's `sh`, or a list of words.

    Returns:
        Exit code, None if the command did not end in time; and its output in one line.

    Raises:
        ContainerDiedError: The container ended.
        EngineError: The engine refused or does not answer.
    """
    request = CommandRequest(command, merge_stderr=True)
    try:
        result = RunningCommand(ContainerPlace(engine, name), request).wait(PROBE_TIMEOUT)
    except CommandTimeoutError:
        return None, f"it did not end in {PROBE_TIMEOUT:g} seconds"
    return result.exit_code, printable(result.stdout)


def find_missing(engine: Engine, name: str, check: Check, details: dict[str, Any]) -> str:
    """Return why a check does not succeed now, or an empty string if it does.

    Args:
        engine: Engine of the node.
        name: Name of the container.
        check: The check.
        details: The engine's description of the container.

    Raises:
        ConfigError: The check can never succeed.
        ContainerDiedError: The container ended.
        EngineError: The engine refused or does not answer.
    """
    if isinstance(check, AllCheck):
        each = (find_missing(engine, name, one, details) for one in check.checks)
        return next((reason for reason in each if reason), "")
    if isinstance(check, AnyCheck):
        reasons = []
        for one in check.checks:
            reasons.append(find_missing(engine, name, one, details))
            if not reasons[-1]:
                return ""
        return "; ".join(reasons)
    if isinstance(check, CommandCheck):
        code, said = run_check(engine, name, check.command)
        answer = f": {said}" if said else ""
        return f"'{check.command}' ended with exit code {code}{answer}" if code != 0 else ""
    if isinstance(check, PortCheck):
        is_open = check.port in _listening_ports(engine, int(details["State"]["Pid"]))
        return "" if is_open else f"nothing in it listens on TCP port {check.port}"
    if isinstance(check, HttpCheck):
        return _answer(engine, check, _address(engine, details))
    if isinstance(check, LogCheck):
        has_line = _has_line(engine, name, check.pattern)
        return "" if has_line else f"no line of its log matches '{printable(check.pattern)}'"
    return _health(details)


def _health(details: dict[str, Any]) -> str:
    status = (details["State"].get("Health") or {}).get("Status", "none")
    if status == "none":
        raise ConfigError(
            "ready: given healthcheck, but the container's image has no HEALTHCHECK; legal: "
            "another check, such as a port or a command"
        )
    return "" if status == "healthy" else f"its HEALTHCHECK says '{status}'"


def _listening_ports(engine: Engine, pid: int) -> set[int]:
    """Return the TCP ports on which processes in a container's network listen."""
    table = shell_of(engine).run(f"cat /proc/{pid}/net/tcp /proc/{pid}/net/tcp6 2>/dev/null")
    rows = (line.split() for line in table.splitlines())
    return {
        int(row[1].rpartition(":")[2], 16)
        for row in rows
        if len(row) > 3 and row[3] == _LISTEN and ":" in row[1]
    }


def _address(engine: Engine, details: dict[str, Any]) -> str:
    """Return the address at which a container's node reaches it."""
    mode = str(details["HostConfig"].get("NetworkMode", ""))
    if mode.startswith(CONTAINER_PREFIX):
        other = mode[len(CONTAINER_PREFIX) :]
        with engine.errors(other):
            return _address(engine, engine.api.inspect_container(other))
    for network in (details["NetworkSettings"].get("Networks") or {}).values():
        address = network.get("IPAddress") or network.get("GlobalIPv6Address")
        if address:
            return str(address)
    return "127.0.0.1"  # the network of the node


def _answer(engine: Engine, check: HttpCheck, address: str) -> str:
    """Return what is wrong with the answer to a request, or an empty string."""
    what = f"GET {check.path} on port {check.port}"
    connection = http.client.HTTPConnection(address, check.port)
    try:
        # A channel of SSH has the methods that http.client uses.
        connection.sock = open_tcp(engine.node, address, check.port, _HTTP_TIMEOUT)
        connection.request("GET", check.path, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read(_MOST_BODY).decode("utf-8", "replace")
    except (http.client.HTTPException, OSError) as error:
        return f"{what} failed: {printable(error) or type(error).__name__}"
    finally:
        connection.close()
    if answer.status != check.status:
        return f"{what} was answered with status {answer.status} instead of {check.status}"
    if check.body and not re.search(check.body, body):
        quoted = quote_output(body, _QUOTED)
        return f"the answer to {what} does not match '{printable(check.body)}': {quoted}"
    return ""


def _has_line(engine: Engine, name: str, pattern: str) -> bool:
    expression, rest = re.compile(pattern), ""
    for piece in log_pieces(engine, name, PROBE_TIMEOUT):
        lines = (rest + piece.decode("utf-8", "replace")).split("\n")
        rest = lines.pop()[-_LONGEST_LINE:]
        if any(expression.search(line) for line in lines):
            return True
    return bool(expression.search(rest))
