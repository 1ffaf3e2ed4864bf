"""How a container is: running, dead, out of memory."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone

from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import Lease
from lisa_container.errors import ContainerDiedError, EngineError

# How long (seconds) after a command's end the engine may still tell what killed it.
_SETTLE = 0.3


def is_missing(error: EngineError) -> bool:
    """Whether the engine refused because the container is not there (any more)."""
    return "no such container" in str(error).lower()


def death_of(engine: Engine, container: str) -> ContainerDiedError | None:
    """Why a container does not run, or None if it does or cannot be asked.

    Args:
        engine: of the node.
        container: name or id.
    """
    try:
        with engine.errors(container):
            state = engine.api.inspect_container(container)["State"]
    except EngineError as error:
        if is_missing(error):
            reason = Lease.of(engine).why_gone() or "it is not there"
            return ContainerDiedError(container, engine.name, reason, is_there=False)
        return None
    if state.get("Running"):
        return None
    if state.get("Status") == "created":
        return ContainerDiedError(container, engine.name, "it was created but not started")
    reason = f"it ended with exit code {state.get('ExitCode')}"
    if state.get("OOMKilled"):
        reason += ", out of memory: its memory limit was reached while it ran"
    if state.get("Error"):
        reason += f", {state['Error']}"
    return ContainerDiedError(container, engine.name, reason)


def was_out_of_memory(engine: Engine, container: str, seconds: float) -> bool:
    """Whether the kernel killed something in a container because its memory limit was reached.

    The engine sees a limit reached, or a container's death, a moment later than the death of the
    process in it, so this waits for that moment.

    Args:
        engine: of the node.
        container: name or id.
        seconds: how far to look back.

    Raises:
        ContainerDiedError: the container itself died meanwhile, or was restarted.
        EngineError: the engine failed.
    """
    actions = events_of(engine, container, seconds)
    died = death_of(engine, container)
    if died is None and "die" in actions:
        died = ContainerDiedError(container, engine.name, "it died, and was started again")
    if died is not None:
        raise died
    return "oom" in actions


def events_of(engine: Engine, container: str, seconds: float) -> list[str]:
    """The engine's events `oom` and `die` about a container, in order.

    Args:
        engine: of the node.
        container: name or id.
        seconds: how far to look back.

    Raises:
        EngineError: the engine failed.
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
    """Seconds since 1970 by the node's clock, which may be far from ours."""
    return _seconds(engine.api.info()["SystemTime"])


def _seconds(said: str) -> float:
    """An engine's time, as `2024-05-04T03:02:01.123456789+02:00` in seconds since 1970."""
    match = re.fullmatch(r"([\d-]+T[\d:]+)(\.\d+)?(Z|[+-]\d\d:\d\d)", said)
    if match is None:
        return time.time()
    base, fraction, zone = match.groups()
    moment = datetime.fromisoformat(base + ("+00:00" if zone == "Z" else zone))
    return moment.astimezone(timezone.utc).timestamp() + float(fraction or 0)
