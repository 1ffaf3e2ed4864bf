"""Every runbook of this repository runs and passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import containers
from runs import ROOT, LisaProcess, Run, run_lisa

from lisa_container.platforms.sandbox import SandboxNode

RUNBOOKS = ROOT / "runbooks"

# The build machines' kernel has no modules at all, so this one is skipped, and says why.
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
    """A new runbook needs a test here; that of cli_tools.yml is in test_cli_tools.py."""
    tested = {"quickstart.yml", "local.yml", "remote.yml", "guest.yml", "cli_tools.yml"}
    assert {path.name for path in RUNBOOKS.glob("*.yml")} == tested


def test_quickstart(tmp_path: Path) -> None:
    check(run_lisa(RUNBOOKS / "quickstart.yml", tmp_path), CASES, MAY_SKIP)


def test_guest(tmp_path: Path) -> None:
    """LISA's stock OpenSSL suite, in a Debian made on the node."""
    check(run_lisa(RUNBOOKS / "guest.yml", tmp_path), {"verify_openssl_basic"}, {})


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("user", ["root", "sudo", "password"])
def test_remote(user: str, machine: SandboxNode, tmp_path: Path) -> None:
    """Containers show on the node during the run and no longer after it."""
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
    """An engine of this machine's own, started for the test, which touches nothing else here."""
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
    """This machine's engine without SSH, found by DOCKER_HOST."""
    assert os.geteuid() == 0, "this test needs root to start an engine"
    run = run_lisa(RUNBOOKS / "local.yml", tmp_path / "run")
    check(run, CASES, {**MAY_SKIP, "verify_later_mount": "private mount"})
    left = subprocess.run(
        ["docker", "-H", own_engine, "ps", "-aq"], capture_output=True, text=True, check=True
    )
    assert not left.stdout
