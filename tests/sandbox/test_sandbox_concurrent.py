"""Many sandboxes at a time, in one process and in many."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lisa_container.platforms.sandbox import Sandbox, SandboxConfig, rootfs, start_sandbox
from lisa_container.platforms.sandbox.keeper import state

COUNT = 4
ONE = "from lisa_container.platforms.sandbox import start_sandbox as s; import os;" + (
    "n = s(1, docker=False).nodes[0]; os.write(1, f'{n.address} {n.pid}\\n'.encode());"
    "import time; time.sleep(60)"
)


def test_in_one_process() -> None:
    sandboxes = [Sandbox(SandboxConfig(docker=False)) for _ in range(COUNT)]
    _in_parallel([sandbox.start for sandbox in sandboxes])
    addresses = {sandbox.nodes[0].address for sandbox in sandboxes}
    names = {sandbox.nodes[0].run("hostname").stdout for sandbox in sandboxes}
    _in_parallel([sandbox.stop for sandbox in sandboxes])
    assert len(addresses) == COUNT
    assert names == {"node0\n"}


def test_in_many_processes() -> None:
    runners = [
        subprocess.Popen([sys.executable, "-c", ONE], stdout=subprocess.PIPE, text=True)
        for _ in range(COUNT)
    ]
    try:
        told = [runner.stdout.readline().split() for runner in runners if runner.stdout]
    finally:
        for runner in runners:
            runner.kill()
            runner.wait()
    assert len({address for address, _ in told}) == COUNT
    _wait(lambda: not any(Path(f"/proc/{pid}").exists() for _, pid in told))


def test_last_holder_of_the_machine_removes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others take the lock at the moment in which its folder is removed."""
    monkeypatch.setattr(state, "ROOT", tmp_path / "root")
    holders = []

    def hold_often() -> None:
        for _ in range(500):
            with state.machine_lock():
                holders.append(1)
                assert len(holders) == 1
                holders.pop()

    _in_parallel([hold_often] * COUNT)
    assert not (tmp_path / "root").exists()


def test_living_sandboxes_of_others_are_not_swept() -> None:
    with start_sandbox(1, docker=False) as mine:
        with start_sandbox(1, docker=False):
            pass
        assert mine.nodes[0].run("echo alive").stdout == "alive\n"
        assert mine.nodes[0].private_key_file.exists()


def test_starting_and_stopping_twice() -> None:
    sandbox = Sandbox(SandboxConfig(docker=False))
    with sandbox:
        nodes = sandbox.nodes
        assert sandbox.start() is sandbox and sandbox.nodes == nodes
    sandbox.stop()
    assert sandbox.nodes == []
    with sandbox:
        assert sandbox.nodes[0].pid != nodes[0].pid


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_start_leaves_nothing(number: signal.Signals) -> None:
    # Others may start sandboxes on this machine at the same time: this name tells ours.
    name = f"interrupted{number}"
    code = f"from lisa_container.platforms.sandbox import start_sandbox as s; s(4, name={name!r})"
    nodes = rootfs.cache_folder(SandboxConfig()) / "nodes"
    runner = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    _wait(lambda: list(nodes.glob(f"*/{name}0")))
    (data,) = {path.parent for path in nodes.glob(f"*/{name}0")}
    runner.send_signal(number)
    assert runner.wait(20) != 0
    _wait(lambda: not data.exists() and not (state.ROOT / data.name).exists())


def _in_parallel(calls: list) -> None:
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()


def _wait(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
