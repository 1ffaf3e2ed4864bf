"""A trivial command in a container.

The program `/bin/true` runs in a Debian container with Python, and its exit code is checked:

- `executor.run`, as a user with sudo (through the relay) and as root (the engine's own socket);
- LISA's stock path, `node.execute("docker exec …", sudo=True)`, on a connection that
  lisa_container has not used;
- docker-py's own `ssh://`, as root: one client, with one `exec_run` after the other;
- Mitogen, as root over ssh and then docker: one context in the container that runs
  `subprocess.call`. It needs Python in the image;
- the lower bound: a bare `sh` in the container that one exec keeps open, over our stream. A line is
  written and the exit code is read. This shell does not separate stdout from stderr, has no time
  limit, and breaks if a command reads stdin. It is measured with the program, and with a builtin
  (`:`) that starts no program.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Callable

import docker
import mitogen.master
from lisa.node import Node

from bench.result import Line, Target
from bench.stage import Stage
from bench.timing import interleave, repeated
from lisa_container import ContainerExecutor, ContainerTestConfig, PullPolicy

IMAGE = "lisa_container_bench/python"
PROGRAM = "/bin/true"

SUDO = "executor.run, user with sudo"
ROOT = "executor.run, root"
STOCK = "LISA's stock path, user with sudo"
DOCKER_PY = "docker-py over ssh://, root"
MITOGEN = "Mitogen, ssh and docker, root"
BARE = "a bare resident sh, root"
BUILTIN = "a bare resident sh that starts no program, root"

# Calls of a way in one turn, so that all turns take about as long.
_TIMES = {SUDO: 100, ROOT: 100, BARE: 100, BUILTIN: 100, MITOGEN: 100}

Call = Callable[[], None]


def measure(stage: Stage) -> list[Line]:
    """Measure the row."""
    make_image(stage)
    config = ContainerTestConfig(image=IMAGE, pull_policy=PullPolicy.NEVER)
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(stage.user.node())
        container = stack.enter_context(ContainerExecutor(node, config))
        as_root = stack.enter_context(stage.root.node())
        beside = stack.enter_context(ContainerExecutor(as_root, config))
        calls: dict[str, Call] = {
            SUDO: lambda: _check(container.run([PROGRAM]).exit_code),
            STOCK: _stock(stack.enter_context(stage.user.node()), container.name),
            ROOT: lambda: _check(beside.run([PROGRAM]).exit_code),
            DOCKER_PY: stack.enter_context(_docker_py(stage, container.name)),
            MITOGEN: stack.enter_context(_mitogen(stage, container.name)),
            BARE: stack.enter_context(_bare_shell(beside, PROGRAM)),
            BUILTIN: stack.enter_context(_bare_shell(beside, ":")),
        }
        ways = {
            name: repeated(call, stage.pick(_TIMES.get(name, 1), 1)) for name, call in calls.items()
        }
        watches = interleave(ways, rounds=stage.pick(20, 2))

    def line(ours: str, other: str, limit: float | None) -> Line:
        return Line(
            ours,
            watches[ours].median(),
            other,
            watches[other].median(),
            target=None if limit is None else Target(limit),
            samples=len(watches[ours].samples[""]),
        )

    return [
        line(SUDO, STOCK, 0.01),
        line(ROOT, DOCKER_PY, None),
        line(ROOT, MITOGEN, 1.0),
        line(ROOT, BARE, 1.5),
        line(SUDO, BARE, None),
        line(BARE, STOCK, None),
        line(BUILTIN, BARE, None),
    ]


def make_image(stage: Stage) -> None:
    """Make an image with Python from the node's own root file system."""
    stage.machine.run(
        "tar -C / --one-file-system --exclude=usr/share -c bin sbin lib lib64 usr etc "
        f"| docker import - {IMAGE} && docker run --rm {IMAGE} python3 -c 'import zlib'",
        timeout=600,
    )


def _check(exit_code: int | None) -> None:
    assert exit_code == 0, f"exit code {exit_code}"


def _stock(node: Node, container: str) -> Call:
    command = f"docker exec {container} {PROGRAM}"
    return lambda: _check(node.execute(command, sudo=True).exit_code)


@contextlib.contextmanager
def _docker_py(stage: Stage, name: str) -> Iterator[Call]:
    # docker-py takes the key and the host key only from ~/.ssh.
    login = stage.root
    home = stage.folder / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text(f"Host *\n  IdentityFile {login.key}\n")
    scan = ["ssh-keyscan", "-p", str(login.port), login.address]
    keys = subprocess.run(scan, capture_output=True, text=True, check=True).stdout
    (home / ".ssh" / "known_hosts").write_text(keys)
    with _environment(HOME=str(home)):
        client = docker.DockerClient(f"ssh://{login.username}@{login.address}:{login.port}")
    with contextlib.closing(client):
        container = client.containers.get(name)
        yield lambda: _check(container.exec_run([PROGRAM]).exit_code)


@contextlib.contextmanager
def _mitogen(stage: Stage, name: str) -> Iterator[Call]:
    login = stage.root
    broker = mitogen.master.Broker()
    try:
        router = mitogen.master.Router(broker)
        node = router.ssh(
            hostname=login.address,
            port=login.port,
            username=login.username,
            identity_file=str(login.key),
            check_host_keys="ignore",
            python_path="/usr/bin/python3",
        )
        inside = router.docker(container=name, python_path="/usr/bin/python3", via=node)
        assert inside.call(os.path.exists, "/.dockerenv")
        yield lambda: _check(inside.call(subprocess.call, [PROGRAM]))
    finally:
        broker.shutdown()
        broker.join()


@contextlib.contextmanager
def _bare_shell(container: ContainerExecutor, command: str) -> Iterator[Call]:
    api = container.engine.api
    created = api.exec_create(container.id, ["sh"], stdin=True)
    stream = api.exec_stream(created["Id"])
    # A frame of the engine: a header of 8 bytes (moby, pkg/stdcopy) and the output of sh.
    expected = 8 + len("0\n")

    def call() -> None:
        stream._sock.sendall(f"{command}; echo $?\n".encode())
        answer = b""
        while len(answer) < expected:
            answer += stream.read(expected - len(answer))
        assert answer.endswith(b"0\n"), answer

    with contextlib.closing(stream):
        stream._sock.settimeout(60)
        yield call


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
