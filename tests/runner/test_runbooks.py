"""Test that every runbook of this repository passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import containers
from tests.support.runs import ROOT, LisaProcess, Run, run_lisa

RUNBOOKS = ROOT / "runbooks"

# The kernel of the build machines has no modules, so LISA skips this case with a reason.
MAY_SKIP = {"verify_module": "no module 'dummy'"}

CASES = {
    *("verify_host_root", "verify_later_mount", "verify_one_kernel", "verify_privileged_calls"),
    *("verify_streams", "verify_inside", "verify_tools", "verify_memory_limit"),
    *("verify_module", "verify_stress"),
}


def check(run: Run, cases: set[str], may_skip: dict[str, str]) -> None:
    assert set(run.cases) == cases, run.output
    for name, case in run.cases.items():
        if case.status == "skipped" and name in may_skip:
            assert may_skip[name] in case.message
        else:
            assert case.status == "passed", run.output
    assert run.exit_code == 0


def test_each_has_a_test() -> None:
    """Every runbook has a test here, in test_cli_tools.py, or in tests/vm."""
    tested = {"quickstart.yml", "local.yml", "remote.yml", "guest.yml", "cli_tools.yml"}
    tested |= {"microvm.yml", "runtime.yml"}
    assert {path.name for path in RUNBOOKS.glob("*.yml")} == tested


def test_quickstart(tmp_path: Path) -> None:
    check(run_lisa(RUNBOOKS / "quickstart.yml", tmp_path), CASES, MAY_SKIP)


def test_guest(tmp_path: Path) -> None:
    """LISA's stock OpenSSL suite passes in a Debian image made on the node."""
    check(run_lisa(RUNBOOKS / "guest.yml", tmp_path), {"verify_openssl_basic"}, {})


@pytest.mark.sampled(1)
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("user", ["root", "sudo", "password"])
def test_remote(user: str, machine: SandboxNode, tmp_path: Path) -> None:
    """The node has containers during the run and none after it."""
    variables = {"address": machine.address, "port": machine.port}
    if user == "password":
        variables["username"] = machine.password_username
        variables["s:password"] = machine.password
    else:
        variables["username"] = "root" if user == "root" else machine.username
        variables["key"] = machine.private_key_file
    lisa = LisaProcess(RUNBOOKS / "remote.yml", tmp_path, variables)
    lisa.wait_for(lambda: any(name.startswith("lisa_test_") for name in containers(machine)))
    run = lisa.wait()
    check(run, CASES, MAY_SKIP)
    assert machine.password not in run.output
    for log in tmp_path.rglob("*.log"):
        if log.name == "messages.log":
            continue  # LISA's own file notifier writes each node's runbook there, as it stands
        assert machine.password not in log.read_text(errors="replace"), log


@pytest.fixture
def own_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a separate engine on this machine for the test; return its address."""
    dockerd = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/sbin")
    assert dockerd, "dockerd is missing: apt-get install docker.io"
    host = f"unix://{tmp_path}/docker.sock"
    with (tmp_path / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(dockerd, "-H", host, "--data-root", f"{tmp_path}/data"),
                *("--exec-root", f"{tmp_path}/exec", "--pidfile", f"{tmp_path}/pid"),
                *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "docker.sock").exists():
            assert process.poll() is None and time.monotonic() < deadline, (
                tmp_path / "dockerd.log"
            ).read_text()
            time.sleep(0.1)
        monkeypatch.setenv("DOCKER_HOST", host)
        yield host
    finally:
        process.terminate()
        process.wait(30)


def test_local(own_engine: str, tmp_path: Path) -> None:
    """The local engine, found by DOCKER_HOST, needs no SSH."""
    assert os.geteuid() == 0, "this test needs root to start an engine"
    run = run_lisa(RUNBOOKS / "local.yml", tmp_path / "run")
    check(run, CASES, {**MAY_SKIP, "verify_later_mount": "private mount"})
    left = subprocess.run(
        ["docker", "-H", own_engine, "ps", "-aq"], capture_output=True, text=True, check=True
    )
    assert not left.stdout
