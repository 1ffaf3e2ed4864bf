"""State of a container: running, dead, out of memory."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from typing import Any

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease.shell import shell_of
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ContainerDiedError, EngineError, EngineTimeoutError
from lisa_container.parsing import parse_time

# Seconds after a command's end in which the engine may still report what killed it.
_SETTLE = 0.3
# Time limit, in seconds, to inspect a container in which a command does not start.
_LOOK = 1.0

# Print the kills that the kernel has counted in the memory cgroup of a process: version 1, then 2.
_COUNT_KILLS = """
while IFS=: read -r number kinds path; do
    case ,$kinds, in
    *,memory,*) file=/sys/fs/cgroup/memory$path/memory.oom_control ;;
    ,,) file=/sys/fs/cgroup$path/memory.events ;;
    *) continue ;;
    esac
    sed -n 's/^oom_kill //p' "$file" 2>/dev/null
done </proc/{pid}/cgroup 2>/dev/null
"""
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
# More seconds than any container has lived.
_ALWAYS = 1e9


@dataclass
class _Kills:
    """Numbers of kills at the memory limit found so far, by the container's id and start time."""

    counts: dict[str, int] = field(default_factory=dict)


def find_address(details: dict[str, Any]) -> str:
    """Return a container's own IPv4 address; empty if it has none.

    Args:
        details: The engine's description of the container.
    """
    networks = (details["NetworkSettings"].get("Networks") or {}).values()
    return next((str(each["IPAddress"]) for each in networks if each.get("IPAddress")), "")


def is_missing(error: EngineError) -> bool:
    """Return whether the engine refused because the container does not exist."""
    return "no such container" in str(error).lower()


def death_of(engine: Engine, container: str) -> ContainerDiedError | None:
    """Return an error that says why a container does not run.

    It is None if the container runs or the engine does not answer.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
    """
    try:
        with engine.errors(container):
            state = engine.api.inspect_container(container)["State"]
    except EngineError as error:
        return _gone(engine, container) if is_missing(error) else None
    if state.get("Running"):
        return None
    # Between its death and its end, a container that is removed looks like one that died by itself.
    if state.get("Status") == "removing":
        return _gone(engine, container)
    if state.get("Status") == "created":
        return ContainerDiedError(container, engine.name, "it was created but not started")
    reason = f"it ended with exit code {state.get('ExitCode')}"
    if state.get("OOMKilled"):
        reason += ", out of memory: its memory limit was reached while it ran"
    if state.get("Error"):
        reason += f", {state['Error']}"
    return ContainerDiedError(container, engine.name, reason)


def _gone(engine: Engine, container: str) -> ContainerDiedError:
    reason = Lease.of(engine).why_gone() or "it is not there"
    return ContainerDiedError(container, engine.name, reason, is_there=False)


def late_start(engine: Engine, container: str, seconds: float) -> EngineTimeoutError:
    """Return the error for a command that did not start in time, for example during a pause.

    Docker refuses commands in a paused container. Podman starts them only after the pause.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        seconds: The time limit, in seconds.
    """
    reason = ""
    with contextlib.suppress(EngineError, TimeoutError), engine.errors(container):
        details = bounded(lambda: engine.api.inspect_container(container), _LOOK)
        state = details["State"]
        if state.get("Paused") or state.get("Status") == "paused":
            reason = (
                f"container '{container}' is paused. '{engine.kind} unpause {container}' ends that."
            )
    return EngineTimeoutError(engine.name, "start a command", seconds, reason)


def was_out_of_memory(engine: Engine, container: str, seconds: float) -> bool:
    """Return whether the kernel killed a process of a container at the memory limit.

    The engine may report the reached limit, or the container's death, shortly after the process
    has died. This function waits for these reports.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        seconds: How far to look back, in seconds.

    Raises:
        ContainerDiedError: The container died meanwhile, or was restarted.
        EngineError: The engine failed.
    """
    actions = events_of(engine, container, seconds)
    died = death_of(engine, container)
    if died is None and "die" in actions:
        died = ContainerDiedError(container, engine.name, "it died, and was started again")
    if died is not None:
        raise died
    is_counted = was_kill_counted(engine, container, seconds)
    return "oom" in actions or is_counted


def was_kill_counted(engine: Engine, container: str, seconds: float) -> bool:
    """Return whether the kernel has counted a new kill at a container's memory limit.

    Some engines send no event `oom`. If an engine does, its events decide, since they have a time
    and the kernel's count has none.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        seconds: How far to look back for events, in seconds.
    """
    began = time.monotonic() - seconds
    try:
        with engine.errors(container):
            details = engine.api.inspect_container(container)
        if not details["HostConfig"].get("Memory"):
            return False
        answer = shell_of(engine).run(_COUNT_KILLS.format(pid=int(details["State"]["Pid"])))
        counts = [int(line) for line in answer.split() if _NUMBER.fullmatch(line)]
        if counts:
            if not note_kills(engine, details, max(counts)):
                return False
            if "oom" not in events_of(engine, container, _ALWAYS):
                return True
        return "oom" in events_of(engine, container, time.monotonic() - began)
    except EngineError:
        return False  # the container or the connection has gone meanwhile


def note_kills(engine: Engine, details: dict[str, Any], count: int) -> bool:
    """Store the number of kills that the kernel has counted; return whether it has increased.

    Args:
        engine: Engine of the node.
        details: The engine's details of the container.
        count: Number of kills since the container's last start.
    """
    known = engine.state(_Kills).counts
    key = f"{details['Id']} {details['State']['StartedAt']}"
    before = known.get(key, 0)
    known[key] = max(before, count)
    return count > before


def events_of(engine: Engine, container: str, seconds: float) -> list[str]:
    """Return the engine's events `oom` and `die` about a container, in order.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        seconds: How far to look back, in seconds.

    Raises:
        EngineError: The engine failed.
    """
    with engine.errors(container):
        now = time_of(engine)
        events = engine.api.events(
            since=f"{now - seconds:.9f}",
            until=f"{now + _SETTLE:.9f}",
            filters={"container": [container], "event": ["oom", "die"]},
            decode=True,
        )
        return [str(event.get("Action") or event.get("status")) for event in events]


def time_of(engine: Engine) -> float:
    """Return the node's time in seconds since 1970; its clock may differ from the runner's."""
    found = parse_time(engine.api.info()["SystemTime"])
    return time.time() if found is None else found
