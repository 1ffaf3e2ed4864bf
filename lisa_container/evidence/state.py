"""State of a container, or of its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lisa_container.container.log import log_pieces
from lisa_container.container.state import events_of
from lisa_container.engine.client import Engine
from lisa_container.engine.script import run_script
from lisa_container.errors import ContainerError
from lisa_container.evidence.inside import ask
from lisa_container.masking import Masking
from lisa_container.parsing import parse_int
from lisa_container.recording.files import now, write_json
from lisa_container.recording.records import FORMAT, INSPECT_FILE, LOG_FILE, StateRecord

# cgroups(7), memory: version 2, and version 1.
_OOM_FILES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
# A container may write endlessly, and faster than is read.
LOG_SECONDS = 30.0
_PID = re.compile(r"\bpid=(\d+)")
_OOM_COUNT = re.compile(r"^oom_kill (\d+)$", re.M)
# Without a password: it only adds to the evidence.
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
    """Write `inspect.json` and `container.log`; return the content of `state.json`.

    Args:
        engine: engine of the node.
        container: name or id.
        folder: folder of the case and container.
        masking: masking of all that is written.
        reason: why the state is taken.
        seconds: seconds since the case began.
        limit: number of bytes at the end of the log that are kept.

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
        answer, container_id = found["State"], str(found["Id"])
        state["running"] = bool(answer["Running"])
        state["oom_killed"] = bool(answer.get("OOMKilled"))
        state["error"] = masking.command(str(answer.get("Error") or ""))
        if not answer["Running"]:
            state["exit_code"] = answer.get("ExitCode")

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
    """Write the end of the first process's output, as far as it can be read."""
    kept = bytearray()
    try:
        for piece in log_pieces(engine, container, LOG_SECONDS):
            kept += piece
            if len(kept) > 2 * limit:
                del kept[:-limit]
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(masking.data(bytes(kept[-limit:])))


def _oom_kills(engine: Engine, container: str) -> int | None:
    answer = ask(engine, container, ["cat", *_OOM_FILES])
    match = _OOM_COUNT.search(answer.decode("ascii", errors="replace")) if answer else None
    return parse_int(match[1]) if match else None


def _kernel_log(engine: Engine, container_id: str) -> list[str]:
    """Return kernel messages about memory and this container; none without permission."""
    answer = run_script(engine.node, _KERNEL_LOG)
    lines = answer.stdout.splitlines()
    # One line names container and process; others name the process only.
    pids = {pid for line in lines if container_id in line for pid in _PID.findall(line)}
    return [
        line
        for line in lines
        if container_id in line or any(f"process {pid} " in line for pid in pids)
    ]
