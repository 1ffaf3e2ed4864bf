"""Wait until a container that was started is ready."""

from __future__ import annotations

import time
from typing import Any

from lisa_container.config import ContainerTestConfig
from lisa_container.container.log import log_pieces
from lisa_container.container.output import Output
from lisa_container.container.probes import PROBE_TIMEOUT, find_missing, run_check
from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine
from lisa_container.errors import ContainerDiedError, ContainerError, ContainerStartError
from lisa_container.escaping import find_cause, plain_lines

# Prints the state of the system: "running", or "degraded" if a unit failed (systemctl(1)).
_SYSTEM_STATE = ["systemctl", "is-system-running"]
_UP = ("running", "degraded")

# Seconds between two checks, and after which the log tells of the wait.
_PERIOD = 0.2
_QUIET = 1.0
_MOST_LINES = 20


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
                details = engine.api.inspect_container(container)
            state = details["State"]
            if not state["Running"]:
                reason = f"it ended at once with exit code {state.get('ExitCode')}"
                advice = _SYSTEMD_ADVICE if has_systemd and not config.privileged else ""
                raise ContainerStartError(
                    name, engine.name, _with_logs(engine, container, reason, advice)
                )
            try:
                missing = _missing(engine, name, config, has_systemd, details)
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
    details: dict[str, Any],
) -> str:
    """Return what is not ready, or "" for a container that is ready."""
    # A HEALTHCHECK is for the image's own service, which another first process does not start.
    health = (details["State"].get("Health") or {}).get("Status", "")
    if config.has_own_output and health not in ("", "none", "healthy"):
        return f"its HEALTHCHECK says '{health}'"
    if has_systemd:
        said = run_check(engine, name, _SYSTEM_STATE)[1]
        if said not in _UP:
            return f"'{' '.join(_SYSTEM_STATE)}' says '{said}'"
    return find_missing(engine, name, config.ready_checks, details)


def _with_logs(
    engine: Engine, container: str, reason: str, advice: str = "", before: str = ": "
) -> str:
    """Return a reason with the cause in the container's output, and the end of that."""
    end = Output(keep=False)
    try:
        for piece in log_pieces(engine, container, PROBE_TIMEOUT, _MOST_LINES):
            end.add(piece)
    except ContainerError:
        return reason + advice
    lines = plain_lines(end.kept.decode(errors="replace"))
    if not lines:
        return reason + advice
    return f"{reason}{before}{find_cause(lines)}{advice}. The end of its output:\n" + "\n".join(
        lines
    )
