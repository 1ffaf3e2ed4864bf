"""The check of a machine lists everything that is missing, each with a remedy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lisa_container.debian import apt
from lisa_container.errors import SandboxMachineError
from lisa_container.platforms.sandbox import (
    REQUIRED_PACKAGES,
    Sandbox,
    SandboxConfig,
    machine,
    preflight,
)
from lisa_container.platforms.sandbox.keeper import cgroups
from lisa_container.platforms.sandbox.keeper.commands import KeeperError

COMMAND = [sys.executable, "-m", "lisa_container.platforms.sandbox"]


def test_nothing_lacks_here() -> None:
    assert preflight() == []


def test_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (problem,) = preflight()
    assert "needs root" in problem.what and "`sudo`" in problem.remedy


def test_not_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    (problem,) = preflight()
    assert "needs Linux, this is win32" in problem.what


def test_missing_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "environment", lambda: {"PATH": str(tmp_path)})
    config = SandboxConfig(cache_dir=str(tmp_path / "cache"))
    (problem,) = preflight(config)
    for program, package in REQUIRED_PACKAGES.items():
        assert program in problem.what and package in problem.remedy
    assert problem.remedy.startswith("`apt-get install -y ")


def test_mmdebstrap_only_where_a_rootfs_has_to_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    which = machine.shutil.which
    hidden = lambda name, path: None if name == "mmdebstrap" else which(name, path=path)  # noqa: E731
    monkeypatch.setattr(machine.shutil, "which", hidden)
    (problem,) = preflight(SandboxConfig(cache_dir=str(tmp_path / "empty")))
    assert problem.remedy == "`apt-get install -y mmdebstrap`"
    assert preflight(SandboxConfig(rootfs=str(tmp_path), docker=False)) == []


def test_unknown_package_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(apt, "_machine", lambda: ("", ""))
    (problem,) = preflight()
    assert "neither Debian nor Ubuntu" in problem.what and "`rootfs`" in problem.remedy
    assert preflight(SandboxConfig(rootfs=str(tmp_path))) == []


@pytest.mark.parametrize(
    ("word", "what", "remedy"),
    [
        ("true", "no namespaces", "docker run --privileged"),
        ("ip", "no virtual Ethernet and bridges", "modprobe -a veth bridge"),
        ("nft", "no address translation by nftables", "modprobe -a nf_tables"),
    ],
)
def test_missing_kernel_feature(
    monkeypatch: pytest.MonkeyPatch, word: str, what: str, remedy: str
) -> None:
    real = machine.run

    def refusing(*command: str, **options: object) -> str:
        if word in command:
            raise KeeperError("Operation not supported")
        return real(*command, **options)  # type: ignore[arg-type]

    machine._check_kernel.cache_clear()
    monkeypatch.setattr(machine, "run", refusing)
    try:
        (problem,) = preflight()
    finally:
        machine._check_kernel.cache_clear()
    assert what in problem.what and "Operation not supported" in problem.what
    assert remedy in problem.remedy


def test_no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> list[cgroups.Hierarchy]:
        raise KeeperError("none; mount one")

    machine._check_kernel.cache_clear()
    monkeypatch.setattr(machine.cgroups, "hierarchies", nothing)
    try:
        (problem,) = preflight()
    finally:
        machine._check_kernel.cache_clear()
    assert "no cgroup hierarchy" in problem.what and "mount one" in problem.remedy


def test_folder_that_carries_no_overlay(monkeypatch: pytest.MonkeyPatch) -> None:
    # /proc is the one file system that is everywhere and never does.
    monkeypatch.setattr(machine, "_FREE_BYTES", 0)
    (problem,) = machine._check_folder(Path("/proc/self"))
    assert "no overlay can be mounted at /proc/self" in problem.what
    assert "cache_dir" in problem.remedy


def test_folder_without_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_FREE_BYTES", 2**60)
    (problem,) = preflight(SandboxConfig(cache_dir=str(tmp_path)))
    assert f"MiB free at {tmp_path}" in problem.what and "cache_dir" in problem.remedy


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    assert preflight(SandboxConfig(cache_dir=str(tmp_path / "not" / "there"))) == []
    assert list(tmp_path.iterdir()) == []


def test_sandbox_lists_all_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [machine.Problem("no this", "do that"), machine.Problem("no more", "do less")]
    monkeypatch.setattr(machine, "preflight", lambda config: problems)
    with pytest.raises(SandboxMachineError, match="- no this; do that\n- no more; do less"):
        Sandbox().start()


def test_check_command() -> None:
    done = subprocess.run([*COMMAND, "check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_check_command_without_root() -> None:
    # Another user may perhaps not read these files, so he appears after they are read.
    code = (
        "import os, sys; from lisa_container.platforms.sandbox.__main__ import main;"
        " from lisa.util.logger import uninit_logger; uninit_logger();"
        " os.setuid(65534); sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "needs root" in done.stdout and "sudo" in done.stdout


def test_packages_command() -> None:
    done = subprocess.run([*COMMAND, "packages"], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == set(REQUIRED_PACKAGES.values())


def test_up_command_until_ctrl_c() -> None:
    command = [*COMMAND, "up", "--nodes", "1", "--docker", "stopped"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout
        said = [runner.stdout.readline() for _ in range(3)]
        runner.send_signal(signal.SIGINT)
    assert runner.returncode == 0
    assert said[0].startswith("ssh -o ") and "the password is" in said[1]
    assert said[2] == "press Ctrl-C to stop the nodes\n"


def test_wrong_value_on_the_command_line() -> None:
    done = subprocess.run([*COMMAND, "up", "-n", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "sandbox.count: given 0; legal: a number from 1 to 64"
