"""Starting a node's engine, whatever its init is: systemd, SysV scripts, or none."""

from __future__ import annotations

import time

from lisa.node import Node
from lisa.operating_system import Posix

from lisa_container.engine.client import Engine
from lisa_container.engine.naming import node_name
from lisa_container.errors import EngineError, EngineNotFoundError

LOG_PATH = "/var/log/lisa_container_engine.log"
"""Where the output of an engine goes that was started without an init."""

# How long an engine may take until it answers, in seconds.
_WAIT = 30.0

# One attempt a line, as root, tried in order until the engine answers.
_ATTEMPTS: list[str] = [
    "[ -d /run/systemd/system ] && systemctl start docker",
    "[ -d /run/systemd/system ] && systemctl start podman.socket",
    "[ ! -d /run/systemd/system ] && [ -x /etc/init.d/docker ] && service docker start",
    # setsid and nohup: it must outlive the SSH session that starts it.
    f"command -v dockerd && (setsid nohup dockerd >{LOG_PATH} 2>&1 </dev/null &)",
    "command -v podman && mkdir -p /run/podman && (setsid nohup podman system service -t 0 "
    f"unix:///run/podman/podman.sock >{LOG_PATH} 2>&1 </dev/null &)",
]


def start_engine(node: Node) -> None:
    """Start the engine that is installed on a node, and wait until it answers.

    Raises:
        EngineNotFoundError: none is installed, or none started; the end of its log is in the
            message.
    """
    tried = False
    for attempt in _ATTEMPTS:
        if _answers(node):
            return
        result = node.execute(attempt, shell=True, sudo=True, no_info_log=True, no_error_log=True)
        if result.exit_code != 0:
            continue
        tried = True
        deadline = time.monotonic() + _WAIT
        while time.monotonic() < deadline:
            if _answers(node):
                node.log.debug(f"engine started on '{node_name(node)}' by: {attempt}")
                return
            time.sleep(0.2)
    if not tried:
        raise EngineNotFoundError(
            f"no container engine is installed on node '{node_name(node)}', or nothing there starts it. "
            "Install Docker or podman; node.tools[DockerAdvanced] does so where LISA knows how."
        )
    log = node.execute(f"tail -n 20 {LOG_PATH}", sudo=True, no_info_log=True).stdout
    raise EngineNotFoundError(
        f"the engine of node '{node_name(node)}' was started but does not answer. The end of its log "
        f"({LOG_PATH}):\n{log}"
    )


def install_podman(node: Node) -> None:
    """Install podman from the distribution's packages and let its socket be found.

    Raises:
        EngineError: the node's distribution has no packages LISA can install.
    """
    if not isinstance(node.os, Posix):
        raise EngineError(f"LISA cannot install packages on node '{node_name(node)}'")
    node.os.install_packages("podman")


def _answers(node: Node) -> bool:
    try:
        Engine.forget(node)
        return Engine.of(node).ping()
    except EngineNotFoundError:
        return False
