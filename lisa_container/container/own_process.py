"""Containers whose first process is the image's own: a service, or a whole system with systemd."""

from __future__ import annotations

import time
from typing import Any

from lisa_container.config import ContainerTestConfig, Init
from lisa_container.container.command import RunningCommand
from lisa_container.container.keepalive import find_program, program_folders
from lisa_container.container.log import log_pieces
from lisa_container.container.output import Output
from lisa_container.container.place import ContainerPlace
from lisa_container.container.request import CommandRequest
from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine
from lisa_container.errors import (
    CommandTimeoutError,
    ContainerDiedError,
    ContainerError,
    ContainerStartError,
)
from lisa_container.escaping import find_cause, plain_lines, printable

STOP_TIMEOUT = 10
"""Seconds that the process has to end by itself before the engine kills it, as docker-stop(1)."""

# systemd(1), SIGNALS: halt the system. An interface of its container interface:
# https://systemd.io/CONTAINER_INTERFACE
_HALT = "SIGRTMIN+3"
_CGROUPS = "/sys/fs/cgroup"
# systemd wants these empty at each start. Without "exec" docker would mount them with noexec.
_TMPFS = {"/run": "exec,mode=755", "/run/lock": "exec,mode=1777"}
# Prints the state of the system: "running", or "degraded" if a unit failed (systemctl(1)).
_SYSTEM_STATE = ["systemctl", "is-system-running"]
_UP = ("running", "degraded")

# Seconds between two checks, that one may take, and after which the log tells of the wait.
_PERIOD = 0.2
_CHECK_TIMEOUT = 30.0
_QUIET = 1.0
_MOST_LINES = 20


def is_systemd(engine: Engine, container: str) -> bool:
    """Return whether the first process of a container that was created is systemd.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.

    Raises:
        EngineError: The engine refused.
    """
    with engine.errors(container):
        program = str(engine.api.inspect_container(container)["Path"])
    path = find_program(engine, container, program_folders(engine, container), program)
    return path is not None and path.rpartition("/")[2] == "systemd"


def prepare_systemd(engine: Engine, config: ContainerTestConfig, body: dict[str, Any]) -> None:
    """Change the creation request of a container as systemd needs it.

    Args:
        engine: Engine of the node.
        config: Config of the container; its own mounts and signals count more.
        body: Result of `options.create_body`, changed in place.
    """
    host = body["HostConfig"]
    body["Env"] = [f"container={engine.kind}", *body["Env"]]
    body["StopSignal"] = _HALT
    targets = {bind.split(":")[1] for bind in host["Binds"]}
    host["Tmpfs"] = {**{k: v for k, v in _TMPFS.items() if k not in targets}, **host["Tmpfs"]}
    if config.privileged and not host.get("Privileged") and _CGROUPS not in targets:
        # The engine lacks capabilities, and mounts the cgroups read-only then.
        host["Binds"] = [*host["Binds"], f"{_CGROUPS}:{_CGROUPS}:rw"]
        host["CgroupnsMode"] = "host"


def wait_until_ready(
    engine: Engine, container: str, name: str, config: ContainerTestConfig, has_systemd: bool
) -> None:
    """Wait until a container that was started is ready.

    `ready` of the config must succeed. If the first process is the image's own, systemd must have
    started its units, and a HEALTHCHECK of the image must have succeeded.

    Args:
        engine: Engine of the node.
        container: Id of the container.
        name: Its name, for messages.
        config: Config of the container.
        has_systemd: Whether its first process is systemd.

    Raises:
        ContainerStartError: The container ended, or was not ready in time.
        EngineError: The engine refused or does not answer.
    """
    deadline = time.monotonic() + config.startup_timeout
    missing = ""
    what = f"waiting until container '{name}' on node '{engine.name}' is ready"
    with Activity(what, engine.node.log, lambda: missing, delay=_QUIET):
        while True:
            with engine.errors(name):
                state = engine.api.inspect_container(container)["State"]
            if not state["Running"]:
                reason = f"it ended at once with exit code {state.get('ExitCode')}"
                advice = _SYSTEMD_ADVICE if has_systemd and not config.privileged else ""
                raise ContainerStartError(
                    name, engine.name, _with_logs(engine, container, reason, advice)
                )
            try:
                missing = _missing(engine, name, config, has_systemd, state)
            except ContainerDiedError as error:
                # It ended during a check. The next look at its state tells more.
                missing = str(error)
            if not missing:
                return
            if time.monotonic() > deadline:
                limit = f"{config.startup_timeout:g} seconds (startup_timeout)"
                reason = f"it was not ready in {limit}: {missing}"
                reason = _with_logs(engine, container, reason, before=". Its output says: ")
                raise ContainerStartError(name, engine.name, reason)
            time.sleep(_PERIOD)


_SYSTEMD_ADVICE = ". systemd needs the node's cgroups: give 'privileged: true'"


def _missing(
    engine: Engine,
    name: str,
    config: ContainerTestConfig,
    has_systemd: bool,
    state: dict[str, Any],
) -> str:
    """Return what is not ready, or "" for a container that is ready."""
    # A HEALTHCHECK is for the image's own service, which another first process does not start.
    is_own = config.first_process is not Init.KEEP
    health = (state.get("Health") or {}).get("Status", "")
    if is_own and health not in ("", "none", "healthy"):
        return f"its HEALTHCHECK says '{health}'"
    if has_systemd:
        said = _check(engine, name, _SYSTEM_STATE)[1]
        if said not in _UP:
            return f"'{' '.join(_SYSTEM_STATE)}' says '{said}'"
    if config.ready:
        code, said = _check(engine, name, config.ready)
        if code != 0:
            answer = f": {said}" if said else ""
            return f"'{config.ready}' ended with exit code {code}{answer}"
    return ""


def _check(engine: Engine, name: str, command: str | list[str]) -> tuple[int | None, str]:
    request = CommandRequest(command, merge_stderr=True)
    try:
        result = RunningCommand(ContainerPlace(engine, name), request).wait(_CHECK_TIMEOUT)
    except CommandTimeoutError:
        return None, f"it did not end in {_CHECK_TIMEOUT:g} seconds"
    return result.exit_code, printable(result.stdout)


def _with_logs(
    engine: Engine, container: str, reason: str, advice: str = "", before: str = ": "
) -> str:
    """Return a reason with the cause in the container's output, and the end of that."""
    end = Output(keep=False)
    try:
        for piece in log_pieces(engine, container, _CHECK_TIMEOUT, _MOST_LINES):
            end.add(piece)
    except ContainerError:
        return reason + advice
    lines = plain_lines(end.kept.decode(errors="replace"))
    if not lines:
        return reason + advice
    return f"{reason}{before}{find_cause(lines)}{advice}. The end of its output:\n" + "\n".join(
        lines
    )
