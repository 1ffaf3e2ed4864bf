"""How a container is, or how it ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lisa_container.capture.evidence.inside import ask
from lisa_container.capture.files import now, write_json
from lisa_container.capture.masking import Masking
from lisa_container.capture.records import FORMAT, INSPECT_FILE, LOG_FILE, StateRecord
from lisa_container.engine.client import Engine
from lisa_container.engine.state import events_of
from lisa_container.errors import ContainerError

# cgroups(7), memory: version 2, and version 1.
_OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_PID = re.compile(r"\bpid=(\d+)")
_OOM_COUNT = re.compile(r"^oom_kill (\d+)$", re.M)
# Without LISA's `sudo`, whose first use on a node takes seconds.
_KERNEL_LOG = (
    "{ dmesg 2>/dev/null || sudo -n dmesg 2>/dev/null; } "
    "| grep -iE 'oom|out of memory|killed process' | tail -n 100"
)


def take_state(
    engine: Engine,
    container: str,
    folder: Path,
    masking: Masking,
    reason: str,
    seconds: float,
    limit: int,
) -> StateRecord:
    """Write `inspect.json` and `container.log`; what `state.json` will hold.

    Args:
        engine: of the node.
        container: name or id.
        folder: of the case and container.
        masking: for all that is written.
        reason: why it is taken.
        seconds: since the begin of the case.
        limit: so many bytes of the log are kept, the last ones.

    Raises:
        OSError: a file cannot be written.
    """
    state: StateRecord = {
        "format": FORMAT,
        "taken": now(),
        "reason": masking.command(reason),
        "running": None,
        "exit_code": None,
        "oom_killed": None,
        "oom_kills": None,
        "oom_events": None,
        "error": "",
        "kernel_log": [],
        "files": [],
        "problems": [],
    }

    def attempt(what: str, job: Callable[[], None]) -> None:
        try:
            job()
        except ContainerError as error:
            state["problems"].append(masking.command(f"{what}: {error}"))

    container_id = ""

    def inspect() -> None:
        nonlocal container_id
        with engine.errors(container):
            found: dict[str, Any] = engine.api.inspect_container(container)
        write_json(folder / INSPECT_FILE, masking.anything(found))
        said, container_id = found["State"], str(found["Id"])
        state["running"] = bool(said["Running"])
        state["oom_killed"] = bool(said.get("OOMKilled"))
        state["error"] = masking.command(str(said.get("Error") or ""))
        if not said["Running"]:
            state["exit_code"] = said.get("ExitCode")

    attempt("inspect", inspect)
    attempt("log", lambda: _write_log(engine, container, folder / LOG_FILE, masking, limit))
    if state["running"]:
        state["oom_kills"] = _oom_kills(engine, container)

    def count_events() -> None:
        state["oom_events"] = events_of(engine, container, seconds).count("oom")

    attempt("events", count_events)
    if state["oom_killed"] or state["oom_kills"] or state["oom_events"]:
        state["kernel_log"] = [masking.text(line) for line in _kernel_log(engine, container_id)]
    return state


def _write_log(engine: Engine, container: str, path: Path, masking: Masking, limit: int) -> None:
    """The end of what its first process wrote; whole lines, so that they can be masked."""
    kept = bytearray()
    with engine.errors(container):
        for piece in engine.api.logs(container, stream=True, follow=False):
            kept += piece
            if len(kept) > 2 * limit:
                del kept[:-limit]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(masking.data(bytes(kept[-limit:])))


def _oom_kills(engine: Engine, container: str) -> int | None:
    said = ask(engine, container, ["cat", *_OOM_FILES])
    match = _OOM_COUNT.search(said.decode("ascii", errors="replace")) if said else None
    return int(match[1]) if match else None


def _kernel_log(engine: Engine, container_id: str) -> list[str]:
    """Lines about memory and this container; none where the node's user may not read them."""
    said = engine.node.execute(
        _KERNEL_LOG, shell=True, no_info_log=True, no_error_log=True, no_debug_log=True
    )
    lines = said.stdout.splitlines()
    # The one that names the container has the process, and others name only that.
    pids = {pid for line in lines if container_id in line for pid in _PID.findall(line)}
    return [
        line
        for line in lines
        if container_id in line or any(f"process {pid} " in line for pid in pids)
    ]
