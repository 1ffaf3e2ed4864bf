"""Starting a node's engine, whatever its init is: systemd, SysV scripts, or none."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lisa.node import Node
from lisa.operating_system import Posix
from lisa.util.shell import SshShell

from lisa_container.engine.client import Engine
from lisa_container.engine.naming import node_name
from lisa_container.engine.ssh import read_command, transport_of
from lisa_container.errors import EngineError, EngineNotFoundError

LOG_PATH = "/var/log/lisa_container_engine.log"
"""Where the output of an engine goes that was started without an init."""

# How long an engine may take until it answers, in seconds.
_WAIT = 30.0

_HAS_SYSTEMD = "[ -d /run/systemd/system ]"
# Quiet where there is no such unit: then there is nothing to complain about.
_UNIT = f"{_HAS_SYSTEMD} && systemctl cat %s >/dev/null 2>&1 && systemctl %s %s"
# setsid and nohup: it must outlive the SSH session that starts it.
_IN_BACKGROUND = f"(setsid nohup %s >>{LOG_PATH} 2>&1 </dev/null &)"
_PODMAN = _IN_BACKGROUND % "podman system service -t 0 unix:///run/podman/podman.sock"
_TAIL = f"tail -n 20 {LOG_PATH}"


@dataclass(frozen=True)
class _Way:
    """A way to start an engine, and where the engine then says what goes wrong."""

    start: str
    log: str


# As root, tried in order until the engine answers.
_WAYS = [
    _Way(_UNIT % ("docker", "start", "docker"), "journalctl -n 20 -o cat -u docker"),
    _Way(_UNIT % ("podman.socket", "start", "podman.socket"), "journalctl -n 20 -o cat -u podman"),
    _Way(
        f"! {_HAS_SYSTEMD} && [ -x /etc/init.d/docker ] && /etc/init.d/docker start",
        "tail -n 20 /var/log/docker.log",
    ),
    _Way(f"command -v dockerd >/dev/null && {_IN_BACKGROUND % 'dockerd'}", _TAIL),
    _Way(f"command -v podman >/dev/null && mkdir -p /run/podman && {_PODMAN}", _TAIL),
]


def start_engine(node: Node) -> None:
    """Start the engine that is installed on a node, and wait until it answers.

    One that answers already is left alone.

    Args:
        node: where.

    Raises:
        EngineNotFoundError: none is installed, or none started; the end of its log is in the
            message.
        SudoError: it may neither be reached nor started by the node's user.
    """
    if _answers(node):
        return
    _require_root(node)
    failures: list[str] = []
    for way in _WAYS:
        started, said = _run(node, way.start)
        if started and _wait(node):
            node.log.debug(f"engine started on '{node_name(node)}' by: {way.start}")
            return
        if started:
            said = _run(node, way.log)[1] or "(its log is empty)"
        if said:
            failures.append(f"'{way.start}':\n{said}")
    if not failures:
        raise EngineNotFoundError(
            f"no container engine is installed on node '{node_name(node)}'. Install Docker or "
            "podman; node.tools[DockerAdvanced] does so where LISA knows how."
        )
    raise EngineNotFoundError(
        f"the engine of node '{node_name(node)}' does not start. Mend what it complains about, or "
        "start it by hand. What was tried, and the end of each log:\n" + "\n".join(failures)
    )


def enable_engine(node: Node) -> None:
    """Have systemd start the engine at each boot, as LISA does where it installs one."""
    for unit in ("docker", "podman.socket"):
        if _run(node, _UNIT % (unit, "enable", unit))[0]:
            return


def install_podman(node: Node) -> None:
    """Install podman from the distribution's packages.

    Args:
        node: where.

    Raises:
        EngineError: the node's distribution has no packages LISA can install.
    """
    if not isinstance(node.os, Posix):
        raise EngineError(
            f"LISA cannot install packages on node '{node_name(node)}'; install podman by hand"
        )
    node.os.install_packages("podman")


def _require_root(node: Node) -> None:
    """Else LISA would try to change the user's password, ten times over."""
    shell = node.shell
    if isinstance(shell, SshShell):
        transport = transport_of(shell)
        if read_command(transport, "id -u") != "0":
            read_command(transport, "true", True, shell.connection_info.password or None)


def _run(node: Node, command: str) -> tuple[bool, str]:
    """Run as root: whether it went well, and what was said."""
    result = node.execute(command, shell=True, sudo=True, no_info_log=True, no_error_log=True)
    return result.exit_code == 0, f"{result.stdout}\n{result.stderr}".strip()


def _wait(node: Node) -> bool:
    deadline = time.monotonic() + _WAIT
    while time.monotonic() < deadline:
        if _answers(node):
            return True
        time.sleep(0.2)
    return False


def _answers(node: Node) -> bool:
    try:
        Engine.forget(node)
        return Engine.of(node).ping()
    except EngineNotFoundError:
        return False
