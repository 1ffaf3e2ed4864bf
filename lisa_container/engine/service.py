"""Start of a node's engine by systemd, by a SysV script, or directly."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from lisa.node import Node
from lisa.operating_system import Posix

from lisa_container.config.current import current_settings
from lisa_container.engine.client import Engine
from lisa_container.engine.dial.local import ONLY_IF_ASKED
from lisa_container.engine.found import FIND_ENGINES, FoundEngine, describe, read_found
from lisa_container.engine.progress import NOTICE
from lisa_container.engine.script import run_script
from lisa_container.errors import EngineError, EngineMissingError, EngineNotFoundError
from lisa_container.escaping import find_cause, plain_lines, printable
from lisa_container.masking import Plain
from lisa_container.naming import node_name

LOG_PATH = "/var/log/lisa_container_engine.log"
"""Log file on the node of an engine that was started directly."""

# Seconds that an engine may take until it answers, if its process lives.
_WAIT = 30.0
# Seconds that the start itself may take; systemd waits for 90 by default.
_START_TIMEOUT = 120.0
# Seconds without a process of an engine after which its start has failed. A supervisor may need
# some until it starts the process again.
_GONE = 3.0

_CONFIG = "/etc/docker/daemon.json"
# Together they tell one machine from all others: proc_sys_kernel(5), pid_namespaces(7).
_BOOT, _PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
_HAS_SYSTEMD = "[ -d /run/systemd/system ]"
# Silent if the unit does not exist, since that is no failure.
_UNIT = f"{_HAS_SYSTEMD} && systemctl cat %s >/dev/null 2>&1 && systemctl %s %s"
# setsid and nohup: the engine must outlive the SSH session that starts it.
_IN_BACKGROUND = f"(setsid nohup %s >>{LOG_PATH} 2>&1 </dev/null &)"
_PODMAN = _IN_BACKGROUND % "podman system service -t 0 unix:///run/podman/podman.sock"
_TAIL = f"tail -n 20 {LOG_PATH}"


@dataclass(frozen=True)
class _Method:
    """Commands to start an engine and to show its log."""

    name: str
    start: str
    log: str
    exists: str
    """Command that succeeds where this method can be used."""


# Run as root, in this order, until the engine answers.
_METHODS = [
    _Method(
        "Docker by systemd",
        _UNIT % ("docker", "start", "docker"),
        "journalctl -n 20 -o cat -u docker",
        f"{_HAS_SYSTEMD} && systemctl cat docker",
    ),
    _Method(
        "podman by systemd",
        _UNIT % ("podman.socket", "start", "podman.socket"),
        "journalctl -n 20 -o cat -u podman",
        f"{_HAS_SYSTEMD} && systemctl cat podman.socket",
    ),
    _Method(
        "Docker by /etc/init.d/docker",
        "/etc/init.d/docker start",
        "tail -n 20 /var/log/docker.log",
        f"! {_HAS_SYSTEMD} && [ -x /etc/init.d/docker ]",
    ),
    _Method(
        "dockerd directly",
        _IN_BACKGROUND % "dockerd",
        _TAIL,
        "command -v dockerd",
    ),
    _Method(
        "podman's service directly",
        f"mkdir -p /run/podman && {_PODMAN}",
        _TAIL,
        "command -v podman",
    ),
]


def start_engine(node: Node) -> None:
    """Start the installed engine of a node, unless it runs, and wait until it answers.

    Raises:
        EngineNotFoundError: no engine is installed, or it did not start; the message begins with
            the cause and has the end of its log. Or the node is the runner's own machine, and
            nothing asks for the start there.
        SudoError: the node's user may neither reach nor start the engine.
    """
    silence = _silence(node)
    if silence is None:
        return
    if not current_settings().start_engine:
        if not node.is_remote:
            raise silence
        if _is_here(node):
            name = node_name(node)
            reason = f"{silence}\nNode '{name}' is the machine that LISA runs on. {ONLY_IF_ASKED}"
            raise EngineNotFoundError(reason)
    _require_sound_config(node)
    _require_none_elsewhere(node)
    failures: list[tuple[str, str]] = []
    for method in _METHODS:
        if not _run(node, f"{{ {method.exists}; }} >/dev/null 2>&1")[0]:
            continue
        node.log.info(
            Plain(
                f"starting the engine of node '{node_name(node)}' ({method.name}), since none "
                "answers there"
            ),
            extra=NOTICE,
        )
        started, output = _run(node, method.start)
        if started and _wait(node):
            return
        log = _run(node, method.log)[1]
        failures.append((method.name, f"{output}\n{log}".strip() or "(its log is empty)"))
    if not failures:
        raise EngineMissingError(
            f"no container engine is installed on node '{node_name(node)}'. Install Docker or "
            "podman; node.tools[DockerAdvanced] does so on distributions that LISA knows."
        )
    causes = [find_cause(plain_lines(output)) for _, output in failures]
    logs = "\n".join(f"{name}:\n" + "\n".join(plain_lines(output)) for name, output in failures)
    raise EngineNotFoundError(
        f"the engine of node '{node_name(node)}' does not start: {printable(causes[0])}\n"
        "Fix that, or start the engine by hand. This was tried; each has the end of its log:\n"
        f"{logs}"
    )


def _is_here(node: Node) -> bool:
    """Return whether a remote node is the runner's own machine, and no container or sandbox on it.

    Args:
        node: a node that is reached over SSH, perhaps at `localhost`.
    """
    try:
        here = f"{_BOOT.read_text('ascii')}{_PROCESSES.readlink()}"
    except OSError:
        return False  # no Linux
    return run_script(node, f"cat {_BOOT}; readlink {_PROCESSES}").stdout == here


def enable_engine(node: Node) -> None:
    """Let systemd start the engine at each boot, as LISA does after it installed Docker."""
    for unit in ("docker", "podman.socket"):
        if _run(node, _UNIT % (unit, "enable", unit))[0]:
            return


def install_podman(node: Node) -> None:
    """Install podman on a node from the distribution's packages.

    Raises:
        EngineError: LISA cannot install packages on the node.
    """
    if not isinstance(node.os, Posix):
        raise EngineError(
            f"LISA cannot install packages on node '{node_name(node)}'; install podman by hand"
        )
    node.os.install_packages("podman")


def _require_sound_config(node: Node) -> None:
    """Check that Docker's config is JSON; otherwise dockerd would not start."""
    found, text = _run(node, f"cat {_CONFIG}")
    if not found or not text:
        return
    try:
        json.loads(text)
    except ValueError as error:
        raise EngineNotFoundError(
            f"{_CONFIG} on node '{node_name(node)}' is not JSON, so Docker cannot start: {error}. "
            "Mend or remove that file."
        ) from error


def _require_none_elsewhere(node: Node) -> None:
    """Refuse to start a second engine beside one that listens at another socket."""
    engines = _engines_on(node)
    if engines and not _wait(node):
        still = [each for each in _engines_on(node) if each.pid in {x.pid for x in engines}]
        if still:
            raise EngineNotFoundError(
                f"an engine of node '{node_name(node)}' runs, but does not answer at a usual "
                f"socket, and a second one would harm it: {describe(still)}"
            )


def _engines_on(node: Node) -> list[FoundEngine]:
    return read_found(_run(node, FIND_ENGINES)[1])


def _run(node: Node, command: str) -> tuple[bool, str]:
    """Run a command as root; return whether it succeeded, and its output."""
    result = run_script(node, command, sudo=True, timeout=_START_TIMEOUT)
    return result.exit_code == 0, result.output


def _wait(node: Node) -> bool:
    """Wait until the engine answers; return False early if no process of an engine lives."""
    now = time.monotonic()
    deadline, gone = now + _WAIT, now + _GONE
    while time.monotonic() < deadline:
        if _silence(node) is None:
            return True
        time.sleep(0.2)
        if time.monotonic() > gone:
            engines = _engines_on(node)
            if not engines or all(engine.sockets for engine in engines):
                return _silence(node) is None
            gone = time.monotonic() + _GONE
    return False


def _silence(node: Node) -> EngineNotFoundError | None:
    """Return the error of the engine if neither the one in use answers nor another, else None."""
    try:
        if Engine.of(node).ping():
            return None
        Engine.forget(node)  # not before: requests to an engine that answers go on
        if Engine.of(node).ping():
            return None
    except EngineNotFoundError as error:
        return error
    return EngineNotFoundError(f"the engine of node '{node_name(node)}' does not answer")
