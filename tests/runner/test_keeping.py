"""Kept containers: their records, their commands to enter, and the rest of the run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lisa import schema
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.container.enter import write_script
from lisa_container.platforms.sandbox import Sandbox, SandboxNode, start_sandbox
from tests.support import programs
from tests.support.nodes import (
    BUSYBOX,
    as_runbook,
    connect_as,
    containers,
    disconnect,
    disconnect_all,
)
from tests.support.programs import CLI
from tests.support.runs import Run, run_lisa, runbook


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Start a node whose user is named `lisa`."""
    with start_sandbox(1, user="lisa") as running:
        yield running
        disconnect_all()


def cli(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return programs.run(*CLI, *words, input=stdin)


def keep(machine: SandboxNode, user: str, names: str, folder: Path, when: str = "failed") -> Run:
    book = runbook([as_runbook(machine, user)], names)
    book["notifier"].append({"type": "container_settings", "keep_containers": when})
    return run_lisa(book, folder)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("user", ["sudo", "root"])
def test_names_in_records_are_unmasked(machine: SandboxNode, user: str, tmp_path: Path) -> None:
    """Records and names have the user's name, which LISA masks in its own log."""
    run = keep(machine, user, "keeping_.*", tmp_path)
    assert run.statuses() == {"keeping_failed": "failed", "keeping_later": "passed"}, run.output
    (kept,) = containers(machine)
    try:
        (case,) = tmp_path.glob("log/*/*/tests/*keeping_failed")
        record = json.loads((case / "case.json").read_text())
        assert record["containers"] == [kept]
        log, ours = case.parents[3], []
        for pattern in ("containers/**/*", "tests/*/case.json", "tests/*/containers/**/*"):
            ours += [path for path in case.parents[1].glob(pattern) if path.is_file()]
        names = {path.name for path in ours}
        assert names >= {"container.json", "case.json", "commands.jsonl", "enter.sh", "state.json"}
        for path in ours:
            assert "****" not in path.read_text(errors="replace"), path
        assert "/root/lisa/x" in (case / "containers" / kept / "commands.jsonl").read_text()

        shown = cli("history", "run", "--log", str(log)).stdout
        assert kept in shown and "****" not in shown
        found = json.loads(cli("history", "run", "--log", str(log), "--json").stdout)
        commands = {x["name"]: x["commands"] for x in found["cases"]}
        assert commands == {"keeping_failed": 2, "keeping_later": 1}

        assert f"evidence of container '{kept}' (lisa_container/busybox)" in run.output
        # The line to copy is not masked either; a terminal's user pastes it.
        (line,) = [line for line in run.output.splitlines() if "enter: ssh" in line]
        (script,) = case.glob("containers/*/enter.sh")
        assert f"(script: {script})" in line
        login = machine.username if user == "sudo" else "root"
        assert f"{login}@{machine.address}" in line and f"exec -it {kept} sh" in line
        assert str(machine.private_key_file) in line

        for name in (kept, "keeping_failed"):
            entered = cli("enter", name, "--log", str(log), stdin="cat /marker; exit 3\n")
            assert (entered.stdout, entered.returncode) == ("/root/lisa/x\n", 3), entered.stderr
        for name in ("keeping_later", "no_such"):
            refused = cli("enter", name, "--log", str(log))
            assert refused.returncode == 2 and kept in refused.stderr
    finally:
        machine.run(["docker", "rm", "-f", kept])


def test_always(machine: SandboxNode, tmp_path: Path) -> None:
    """`enter` by a case's name opens its container: of its suite, of its own, or made in its code."""
    run = keep(machine, "sudo", "(keeping_later|stays_.*)", tmp_path, "always")
    names = ["keeping_later", "stays_decorated", "stays_own"]
    assert run.statuses() == dict.fromkeys(names, "passed"), run.output
    ids = dict(line.split("/") for line in containers(machine, "{{.Names}}/{{.ID}}"))
    try:
        for name in names:
            (record,) = tmp_path.glob(f"log/*/*/tests/*-{name}/case.json")
            (kept,) = json.loads(record.read_text())["containers"]
            entered = cli("enter", name, "--log", str(tmp_path / "log"), stdin="hostname; exit 3\n")
            assert (entered.stdout.strip(), entered.returncode) == (ids.pop(kept), 3), (
                entered.stderr
            )
            lines = [x for x in run.output.splitlines() if f"'{kept}'" in x and "enter: ssh" in x]
            assert len(lines) == 1, run.output
        assert not ids
    finally:
        machine.run(["docker", "rm", "-f", *containers(machine)])


def test_setting_of_one_container(machine: SandboxNode, tmp_path: Path) -> None:
    run = run_lisa(runbook([as_runbook(machine)], "(not_)?kept.*"), tmp_path)
    assert set(run.statuses().values()) == {"failed"} and len(run.cases) == 3, run.output
    kept, running = containers(machine), machine.run("docker ps --format '{{.Names}}'").stdout
    machine.run(["docker", "rm", "-f", *kept])
    (script,) = tmp_path.glob("log/*/*/tests/*/containers/*/enter.sh")
    assert [script.parent.name] == running.split()
    assert {*kept} - {script.parent.name} == {"shot", "too-slow"}, run.output
    assert "'shot' (lisa_container/busybox) on" in run.output
    assert "its command has ended, so it cannot be entered" in run.output


def test_guest(machine: SandboxNode, tmp_path: Path) -> None:
    """A guest serves all cases, and is kept at the end if one of them failed."""
    book = runbook(
        [as_runbook(machine)],
        "guest_.*",
        guest_enabled=True,
        guests=[{"type": "container", "image": BUSYBOX, "keep_containers": "failed"}],
    )
    run = run_lisa(book, tmp_path)
    assert run.statuses() == {"guest_failed": "failed", "guest_later": "passed"}, run.output
    assert "OS release information not found" not in run.output, run.output
    kept = containers(machine)
    assert len(kept) == 1, run.output
    machine.run(["docker", "rm", "-f", *kept])


@pytest.fixture
def node_behind_itself(machine: SandboxNode) -> Node:
    """Return the node, reached through two jump boxes, which are the same machine."""
    node = connect_as(machine, "sudo")
    info = {
        "address": machine.address,
        "port": machine.port,
        "private_key_file": str(machine.private_key_file),
    }
    boxes = [
        schema.ProxyConnectionInfo(username=user, private_address="127.0.0.1", **info)
        for user in ("root", machine.username)
    ]
    node.close()
    node._is_initialized = False
    node.set_connection_info(  # type: ignore[attr-defined]
        **info, username=machine.username, proxy_jump_boxes=boxes
    )
    return node


def test_script_through_jump_boxes(node_behind_itself: Node, tmp_path: Path) -> None:
    with ContainerExecutor(node_behind_itself, ContainerTestConfig(image=BUSYBOX)) as container:
        write_script(container.engine, container.name, tmp_path / "a b%h" / "enter.sh")
        entered = subprocess.run(
            [tmp_path / "a b%h" / "enter.sh"],
            input=b"hostname; exit 3\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert entered.stdout.decode().strip() == container.id[:12], entered.stderr
        assert entered.returncode == 3
    disconnect(node_behind_itself)


@pytest.mark.parametrize("user", ["sudo", "root", "password"])
def test_removed_meanwhile(machine: SandboxNode, user: str, tmp_path: Path) -> None:
    """A list of kept containers has those that are still on the node."""
    node = connect_as(machine, user)
    (tmp_path / "run/containers").mkdir(parents=True)
    (tmp_path / "run/containers/run.json").write_text("{}")
    config = ContainerTestConfig(image=BUSYBOX)
    with ContainerExecutor(node, config) as left, ContainerExecutor(node, config) as gone:
        for each in (left, gone):
            path = tmp_path / "run/containers" / each.name / "enter.sh"
            write_script(each.engine, each.name, path)
        machine.run(["docker", "rm", "-f", gone.name])
        listed = cli("enter", "--log", str(tmp_path))
    disconnect(node)
    if user == "password":
        assert listed.stdout.count("not known: ") == 2, "it is not asked for"
        return
    _, *rows = listed.stdout.splitlines()
    assert [row.split() for row in rows] == [[left.name, "run", "kept"]], listed


def test_no_password_is_written(password_node: Node, machine: SandboxNode, tmp_path: Path) -> None:
    with ContainerExecutor(password_node, ContainerTestConfig(image=BUSYBOX)) as container:
        write_script(container.engine, container.name, tmp_path / "enter.sh")
        text = (tmp_path / "enter.sh").read_text() + container.enter_command
    assert machine.password not in text
    assert f"{machine.password_username}@{machine.address}" in text
    assert f"sudo docker -H unix:///var/run/docker.sock exec -it {container.name} sh" in text
