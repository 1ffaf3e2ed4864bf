"""Script that compares a machine before and after a sandbox; see test_sandbox_undo.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from machine_state import machine_state

_RUNNER = Path(__file__).with_name("runner_script.py")
_SECONDS = 30


def main(how: str) -> None:
    before = machine_state()
    runner = subprocess.Popen(
        [sys.executable, str(_RUNNER), how], stdout=subprocess.PIPE, text=True
    )
    assert runner.stdout
    sandbox_id, *pids = runner.stdout.readline().split()
    node, keeper = map(int, pids)
    # Otherwise nothing would be compared with nothing.
    during: dict[str, Any] = {}
    if how not in ("stop", "exit", "os._exit"):
        during = machine_state(sandbox_id)
    if how == "SIGKILL":
        runner.kill()
    elif how == "SIGTERM":
        runner.terminate()
    elif how == "SIGINT":
        runner.send_signal(signal.SIGINT)
    elif how == "keeper":
        # The next sandbox cleans up.
        os.kill(keeper, signal.SIGKILL)
        _wait_end(node)
        runner.kill()
        runner.wait()
        _start_and_stop()
    runner.stdout.close()
    runner.wait(_SECONDS)
    _wait_end(keeper)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    after = machine_state(sandbox_id)
    found = {"during": _difference(before, during), "after": _difference(before, after)}
    os.write(1, f"{json.dumps(found)}\n".encode())


def _wait_end(pid: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while Path(f"/proc/{pid}").exists():
        # This is the first process of its namespace: orphans become its children.
        with suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        assert time.monotonic() < deadline, f"process {pid} did not end"
        time.sleep(0.02)


def _start_and_stop() -> None:
    code = (
        "from lisa_container.platforms.sandbox import start_sandbox as s; s(1, docker=False).stop()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _difference(before: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [_only(before[name], value), _only(value, before[name])]
        for name, value in other.items()
        if value != before[name]
    }


def _only(one: Any, other: Any) -> Any:
    """Return the lines, items or values that only one of two states has."""
    if isinstance(one, dict):
        return {key: value for key, value in one.items() if other.get(key) != value}
    if isinstance(one, str):
        one, other = one.splitlines(), other.splitlines()
    return [item for item in one if item not in other]


if __name__ == "__main__":
    main(sys.argv[1])
