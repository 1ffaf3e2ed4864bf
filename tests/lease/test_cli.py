"""The command `lisa-container`, run as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from runners import Runner, Runners, left, wait_until_clean

from lisa_container.platforms.sandbox import SandboxNode

ROOT = Path(__file__).parents[2]


def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lisa_container.cli", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )


def target(machine: SandboxNode) -> list[str]:
    return [f"{machine.username}@{machine.address}", "-i", str(machine.private_key_file)]


@pytest.fixture(scope="module")
def three(machine: SandboxNode, runners: Runners) -> Iterator[dict[str, Runner]]:
    """Runs on the node: one lives, one is dead and so is its watcher, one has kept its container."""
    runners.start(machine, "end").wait()  # has made the image
    runs = {
        "alive": runners.start(machine, "wait", ttl=60),
        "expired": runners.start(machine, "detach", ttl=60),
        "kept": runners.start(machine, "keep", ttl=60),
    }
    for runner in runs.values():
        runner.wait_for("ready")
    runs["kept"].wait()
    dead = runs["expired"]
    dead.kill()
    machine.run(f"kill -9 $(tail -n 1 $(grep -l {dead.name} /run/lisa_container.*/state))")
    yield runs
    runs["alive"].stop()


def states(machine: SandboxNode) -> dict[str, set[str]]:
    """Of all that is there: state, and the runs of which something is in that state."""
    shown = run("ps", "--json", *target(machine))
    assert shown.returncode == 0, shown.stderr
    result: dict[str, set[str]] = {}
    for row in json.loads(shown.stdout):
        result.setdefault(row["state"], set()).add(row["run"])
    return result


def test_ps_and_reap(machine: SandboxNode, three: dict[str, Runner]) -> None:
    everything = {state: {runner.name} for state, runner in three.items()}
    alive, expired, kept = (three[state].name for state in ("alive", "expired", "kept"))
    assert states(machine) == everything

    table = run("ps", *target(machine)).stdout
    title, *rows = (line.split() for line in table.splitlines())
    assert title == ["WHAT", "NAME", "STATE", "RUN", "RUNNER", "SINCE", "NODE"]
    assert ["container", alive, "alive", alive] in [row[:4] for row in rows]
    assert ["network", f"{expired}_network", "expired", expired] in [row[:4] for row in rows]
    assert ["volume", f"{kept}_volume", "kept", kept] in [row[:4] for row in rows]
    assert all(row[4].endswith(f":{three[row[2]].pid}") for row in rows)

    dry = run("reap", "--dry-run", "--kept", *target(machine))
    assert dry.returncode == 0, dry.stderr
    assert f"would remove container '{expired}'" in dry.stdout
    assert f"would remove container '{kept}'" in dry.stdout
    assert "would remove lease" in dry.stdout
    assert alive not in dry.stdout
    assert states(machine) == everything

    real = run("reap", *target(machine))
    assert (real.returncode, real.stderr) == (0, "")
    assert f"removed container '{expired}'" in real.stdout
    assert f"removed network '{expired}_network'" in real.stdout
    assert states(machine) == {"alive": {alive}, "kept": {kept}}
    assert not any(expired in line for line in left(machine))

    assert run("reap", *target(machine)).stdout == "", "nothing is left to do"
    real = run("reap", "--kept", *target(machine))
    assert f"removed container '{kept}'" in real.stdout
    assert states(machine) == {"alive": {alive}}
    assert not any("mark " in line for line in left(machine))

    three["alive"].stop()
    assert left(machine) == [], "the command itself leaves nothing"
    assert run("ps", *target(machine)).stdout.split() == title


def test_what_stays(machine: SandboxNode, runners: Runners) -> None:
    """Something else uses it: said, with the reason, and the exit code is 1."""
    runners.start(machine, "end").wait()  # has made the image
    label = "--label lisa_container.lease=0123456789abcdef"
    machine.run(f"docker volume create {label} in_use && docker create -v in_use:/x --name user "
                "$(docker images -q | head -n 1) true")  # fmt: skip
    try:
        result = run("reap", *target(machine))
        assert result.returncode == 1
        assert "volume 'in_use'" in result.stderr and "in use" in result.stderr
        assert "user" in machine.run("docker ps -a").stdout
    finally:
        machine.run("docker rm user && docker volume rm in_use")
    wait_until_clean(machine)


@pytest.mark.parametrize("user", ["root", "password"])
def test_runbook(machine: SandboxNode, tmp_path: Path, user: str) -> None:
    node: dict[str, Any] = {
        "type": "remote",
        "public_address": "$(address)",
        "public_port": machine.port,
    }
    platform: dict[str, Any] = {"type": "ready"}
    if user == "password":
        node |= {"username": machine.password_username, "password": "$(secret)"}
    else:  # the platform may say it for all nodes
        node |= {"username": "root"}
        platform |= {"admin_private_key_file": str(machine.private_key_file)}
    runbook = {
        "name": "reap",
        "variable": [{"name": "address", "value": ""}, {"name": "secret", "value": ""}],
        "environment": {"environments": [{"nodes": [node]}]},
        "platform": [platform],
    }
    path = tmp_path / "runbook.yml"
    path.write_text(yaml.safe_dump(runbook))
    words = ["-r", str(path), "-v", f"address:{machine.address}"]
    if user == "password":
        words += ["-v", f"s:secret:{machine.password}"]
    machine.run("docker network create --label lisa_container.lease=0123456789abcdef orphan")
    shown = run("ps", *words)
    assert shown.returncode == 0, shown.stderr
    assert "orphan" in shown.stdout
    assert "removed network 'orphan'" in run("reap", *words).stdout
    assert left(machine) == []


def test_password(machine: SandboxNode) -> None:
    """From the environment; it is on no command line."""
    who = f"{machine.password_username}@{machine.address}:{machine.port}"
    shown = run("ps", who, environment={"LISA_CONTAINER_PASSWORD": machine.password})
    assert (shown.returncode, shown.stderr) == (0, "")
    shown = run("ps", who, environment={"LISA_CONTAINER_PASSWORD": "wrong"})
    assert shown.returncode == 2
    assert "cannot log in" in shown.stderr
    assert "wrong" not in shown.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give either a target"),
        (["local", "-r", "x.yml"], "give either a target"),
        (["nobody"], "legal: 'user@host[:port]' or 'local'"),
        (["root@host:ssh"], "legal: 'user@host[:port]' or 'local'"),
        (["root@127.0.0.1:1"], "Give the user's private key with --identity"),
        (["root@127.0.0.1:1", "-i", "/dev/null"], "nobody answers at 127.0.0.1:1"),
        (
            ["root@no.such.host.invalid", "-i", "/dev/null"],
            "nobody answers at no.such.host.invalid:22",
        ),
        (["-r", "no_such_runbook.yml"], "there is no file 'no_such_runbook.yml'"),
        (["-r", "runbooks/quickstart.yml"], "names no nodes"),
    ],
)
def test_wrong(words: list[str], says: str) -> None:
    result = run("reap", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_help() -> None:
    for words in ([], ["ps"], ["reap"]):
        result = run(*words, "--help")
        assert result.returncode == 0
        assert "usage: lisa-container" in result.stdout
    assert "--dry-run" in result.stdout and "--kept" in result.stdout


def test_is_installed_as_a_command() -> None:
    assert '\nlisa-container = "lisa_container.cli:main"\n' in (ROOT / "pyproject.toml").read_text()


def test_caches(machine: SandboxNode, runners: Runners) -> None:
    """Only when asked for, and not what a container uses."""
    runners.start(machine, "end").wait()  # has made the image
    image = "lisa_container/busybox:latest"
    machine.run(f"docker create --name user {image} true")
    machine.run(f"docker tag {image} lisa_container/other:1; docker tag {image} not_ours:1")
    try:
        assert "image" not in run("reap", "--caches", "--dry-run", *target(machine)).stdout
    finally:
        machine.run("docker rm user")
    assert "image" not in run("reap", *target(machine)).stdout
    dry = run("reap", "--caches", "--dry-run", *target(machine)).stdout
    assert dry.count("would remove image 'lisa_container/") == dry.count("image") == 2
    done = run("reap", "--caches", *target(machine))
    assert (done.returncode, done.stdout) == (0, dry.replace("would remove", "removed"))
    assert machine.run("docker images --format '{{.Repository}}'").stdout.split() == ["not_ours"]
    machine.run("docker rmi not_ours:1")
