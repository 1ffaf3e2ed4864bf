"""The command `lisa-container`, run like a user's."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lisa_container.platforms.sandbox import SandboxNode
from tests.support import programs
from tests.support.nodes import as_runbook
from tests.support.programs import CLI
from tests.support.runners import Runner, Runners, left, wait_until_clean

ROOT = Path(__file__).parents[2]


def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return programs.run(*CLI, *words, timeout=300, folder=ROOT, environment=environment)


def target(machine: SandboxNode) -> list[str]:
    return [f"{machine.username}@{machine.address}", "-i", str(machine.private_key_file)]


@pytest.fixture(scope="module")
def three(machine: SandboxNode, runners: Runners) -> Iterator[dict[str, Runner]]:
    """Start three runs: a living one, a dead one without a watcher, and one with a kept container."""
    runners.start(machine, "end").wait()  # makes the image
    runs = {
        "alive": runners.start(machine, "wait", ttl=60),
        "expired": runners.start(machine, "detach", ttl=4),
        "kept": runners.start(machine, "keep", ttl=60),
    }
    for runner in runs.values():
        runner.wait_for("ready")
    runs["kept"].wait()
    dead = runs["expired"]
    dead.kill()
    # A run counts as alive for the TTL after a renewal.
    machine.run(f"kill -9 $(tail -n 1 $(grep -l {dead.name} /run/lisa_container.*/state)); sleep 5")
    yield runs
    runs["alive"].stop()


def states(machine: SandboxNode) -> dict[str, set[str]]:
    """Return for each state the runs that have a resource in it."""
    shown = run("ps", "--json", *target(machine))
    assert shown.returncode == 0, shown.stderr
    result: dict[str, set[str]] = {}
    for row in json.loads(shown.stdout):
        result.setdefault(row["state"], set()).add(row["run"])
    return result


def test_incomplete_list(machine: SandboxNode, three: dict[str, Runner]) -> None:
    """A node that cannot list all leases reports that, and no run counts as dead."""
    before = left(machine)
    try:
        machine.run("printf 'kill -9 $$' >/usr/local/bin/stat && chmod +x /usr/local/bin/stat")
        done = run("reap", *target(machine))
        assert (done.returncode, done.stdout) == (2, "")
        assert "list of leases is incomplete" in done.stderr
    finally:
        machine.run("rm /usr/local/bin/stat")
    assert {line for line in before if line.startswith("container")} <= set(left(machine))


def test_ps_and_reap(machine: SandboxNode, three: dict[str, Runner]) -> None:
    everything = {state: {runner.name} for state, runner in three.items()}
    alive, expired, kept = (three[state].name for state in ("alive", "expired", "kept"))
    assert states(machine) == everything

    table = run("ps", *target(machine)).stdout
    title, *rows = (re.split("  +", line) for line in table.splitlines())
    assert title == ["WHAT", "NAME", "STATE", "RUN", "RUNNER", "CREATED", "LEASE SINCE", "NODE"]
    assert ["container", alive, "alive", alive] in [row[:4] for row in rows]
    assert ["network", f"{expired}_network", "expired", expired] in [row[:4] for row in rows]
    assert ["volume", f"{kept}_volume", "kept", kept] in [row[:4] for row in rows]
    assert all(row[4].endswith(f":{three[row[2]].pid}") for row in rows)
    for made, since in (row[5:7] for row in rows if row[0] != "image"):
        assert since <= made < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "its own age"

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

    place = f"{machine.address}:{machine.port}"
    nothing = f"nothing to remove on '{place}'\n"
    for more in ([], ["--dry-run"], ["--caches", "--dry-run"]):
        said = run("reap", *more, *target(machine)).stdout
        assert said == nothing or ("--caches" in more and "would remove image" in said)
    for name, says in (("no_such", "which no run left on"), (alive, "belongs to a living run")):
        wrong = run("reap", "--only", name, *target(machine))
        assert (wrong.returncode, wrong.stdout) == (2, "") and says in wrong.stderr
    rows = json.loads(run("ps", "--json", *target(machine)).stdout)
    (volume,) = [row for row in rows if row["state"] == "kept" and row["what"] == "volume"]
    dry = run("reap", "--only", kept, "--dry-run", *target(machine))
    assert dry.stdout.splitlines() == [
        f"would remove container '{kept}' of run '{kept}' on '{machine.address}:{machine.port}'"
    ]
    one = run("reap", "--only", kept, *target(machine))
    assert one.stdout == dry.stdout.replace("would remove", "removed")
    assert states(machine)["kept"] == {kept}, "its volume stays"
    assert volume["id"] in run("ps", "--json", *target(machine)).stdout
    real = run("reap", "--kept", *target(machine))
    assert f"removed volume '{kept}_volume'" in real.stdout
    assert states(machine) == {"alive": {alive}}
    assert not any("mark " in line for line in left(machine))

    three["alive"].stop()
    assert left(machine) == [], "the command itself leaves nothing"
    assert run("ps", *target(machine)).stdout == f"no run has anything on '{place}'\n"
    assert run("ps", "--json", *target(machine)).stdout == "[]\n"


def test_resource_in_use_stays(machine: SandboxNode, runners: Runners) -> None:
    """A resource in use stays; the output has the reason, and the exit code is 1."""
    runners.start(machine, "end").wait()  # makes the image
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
    else:  # the platform may set it for all nodes
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
    """The password comes from the environment and is on no command line."""
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
        (["root@host:²"], "legal: 'user@host[:port]' or 'local'"),
        (["root@127.0.0.1:1"], "Give the user's private key with --identity"),
        (["root@127.0.0.1:1", "-i", "/dev/null"], "port 1 of '127.0.0.1' is closed (Connection"),
        (
            ["root@no.such.host.invalid", "-i", "/dev/null"],
            "host name 'no.such.host.invalid' is unknown (",
        ),
        (["root@a..b", "-i", "/dev/null"], "host name 'a..b' is unknown ("),
        (["-r", "no_such_runbook.yml"], "there is no file 'no_such_runbook.yml'"),
        (["-r", "runbooks/quickstart.yml"], "names no nodes"),
    ],
)
def test_wrong(words: list[str], says: str) -> None:
    result = run("reap", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr, result.stderr
    assert "Traceback" not in result.stderr


def test_silent(machine: SandboxNode) -> None:
    """A host that does not exist, and a port at which no SSH server is, are told apart."""
    network, _, _ = machine.address.rpartition(".")
    silent = run("ps", f"root@{network}.250", "-i", "/dev/null")
    assert (silent.returncode, silent.stdout) == (2, "")
    assert f"no answer from {network}.250:22 (" in silent.stderr
    assert "check the address, that the node is up" in silent.stderr
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        other = run("ps", f"root@127.0.0.1:{port}", "-i", "/dev/null")
    assert f"no SSH server answers at 127.0.0.1:{port}, though the port is open" in other.stderr


def test_help() -> None:
    for words in ([], ["ps"], ["reap"]):
        result = run(*words, "--help")
        assert result.returncode == 0
        assert "usage: lisa-container" in result.stdout
    assert "--dry-run" in result.stdout and "--kept" in result.stdout


def test_wrong_key(machine: SandboxNode, tmp_path: Path) -> None:
    """A refused key is an error at once, not after LISA's ten minutes; by a runbook, too."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    node = {**as_runbook(machine), "private_key_file": str(key)}
    runbook = {"name": "x", "environment": {"environments": [{"nodes": [node]}]}}
    path = tmp_path / "runbook.yml"
    path.write_text(yaml.safe_dump({**runbook, "platform": [{"type": "ready"}]}))
    who = f"{machine.username}@{machine.address}"
    for words in ([who, "-i", str(key)], ["-r", str(path)]):
        result = run("ps", *words)
        assert (result.returncode, result.stdout) == (2, "")
        assert "cannot log in at" in result.stderr and "Traceback" not in result.stderr
        assert "Check the user, and the key or password" in result.stderr


def test_version() -> None:
    result = run("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("lisa-container ")


def test_docs() -> None:
    """Pages are shown, and a wrong name suggests the nearest one first."""
    assert '"share/doc/lisa-container" = ["docs/*.md"]' in (ROOT / "pyproject.toml").read_text()
    listed = run("docs")
    assert listed.returncode == 0 and "Recipes" in listed.stdout
    pages = {line.split()[0] for line in listed.stdout.splitlines()}
    assert pages == {path.stem for path in (ROOT / "docs").glob("*.md")}
    for name in ("config", "config.md", "docs/config.md"):
        shown = run("docs", name)
        assert shown.stdout.startswith("# Container configuration\n"), shown
    wrong = run("docs", "confg")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("page: given 'confg'; did you mean 'config'? legal: ")


def test_is_installed_as_a_command() -> None:
    assert '\nlisa-container = "lisa_container.cli:main"\n' in (ROOT / "pyproject.toml").read_text()


def test_caches(machine: SandboxNode, runners: Runners) -> None:
    """Cache images are removed only with the option, and only if no container uses them."""
    runners.start(machine, "end").wait()  # makes the image
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
