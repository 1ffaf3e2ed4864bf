"""Privileges that a config asks for are those inside the container, above all "privileged"."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator

import pytest
from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.config.privileges import CAPABILITIES
from lisa_container.container.options import create_body
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.engines import engine_of
from tests.support.nodes import BUSYBOX
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def docker(node: Node) -> DockerAdvanced:
    return node.tools[DockerAdvanced]


def inside(docker: DockerAdvanced, script: str, **options: object) -> str:
    """Return the output of a shell in a container with some options."""
    result = docker.run_in_container(BUSYBOX, script, expected_exit_code=0, **options)  # type: ignore[arg-type]
    return result.stdout


def capabilities(docker: DockerAdvanced, **options: object) -> set[str]:
    bits = int(inside(docker, "grep CapEff /proc/self/status", **options).split()[1], 16)
    return {name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1}


# --- privileged


def test_the_engine_of_the_tests_lacks_capabilities(docker: DockerAdvanced) -> None:
    """The tests' engine lacks capabilities; otherwise they would test its own --privileged."""
    if not docker.engine.capabilities.missing:
        pytest.fail(
            "this machine has all capabilities: drop one from the bounding set of the tests"
        )


def test_bounding_set(docker: DockerAdvanced, machine: SandboxNode) -> None:
    bits = int(machine.run("grep CapBnd /proc/$(pidof dockerd)/status").stdout.split()[1], 16)
    has = {name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1}
    found = docker.engine.capabilities
    assert set(found.granted) <= has
    assert not set(found.missing) & has
    unknown = has - set(found.granted)
    assert unknown <= {"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"}, (
        "newer than Docker 20.10"
    )


def test_privileged_capabilities(docker: DockerAdvanced) -> None:
    """A privileged container has all that the engine can grant, except dropped ones."""
    granted = set(docker.engine.capabilities.granted)
    assert capabilities(docker, privileged=True) == granted
    assert capabilities(docker, privileged=True, cap_drop=["NET_RAW"]) == granted - {"CAP_NET_RAW"}
    assert capabilities(docker, privileged=True, cap_add=["ALL"]) == granted
    assert capabilities(docker) < granted


def test_privileged_boundaries_are_off(docker: DockerAdvanced) -> None:
    """A privileged container has no seccomp filter and no masked or read-only /proc."""
    script = "grep Seccomp: /proc/self/status; grep -c ' /proc/' /proc/mounts || true"
    assert inside(docker, script, privileged=True) == "Seccomp:\t0\n0"
    seccomp, masks = inside(docker, script).splitlines()
    assert seccomp == "Seccomp:\t2"
    assert int(masks) > 5
    masked = "head -c 5 /proc/timer_list"
    assert inside(docker, masked, privileged=True) == "Timer"
    assert inside(docker, masked) == ""


def test_privileged_writes_sysctls(docker: DockerAdvanced) -> None:
    script = "echo 1 > /proc/sys/net/ipv4/ip_forward && echo yes || echo no"
    assert inside(docker, script, privileged=True) == "yes"
    assert inside(docker, script) == "no"


def test_privileged_devices(docker: DockerAdvanced, machine: SandboxNode) -> None:
    """A privileged container has all devices of the node except its terminals."""
    find = "find /dev -type b -o -type c"
    terminal = machine.run("script -qc 'sleep 60' /dev/null >/dev/null 2>&1 & echo $!").stdout
    try:
        assert eventually(lambda: "/dev/pts/0" in machine.run("ls /dev/pts/*").stdout)
        found = set(inside(docker, find, privileged=True).split())
    finally:
        machine.run(["kill", terminal.strip()])
    devices = set(machine.run(find).stdout.split())
    ours = {name for name in devices if not name.startswith("/dev/pts/")}
    assert {"/dev/kmsg", "/dev/loop-control"} <= ours
    assert ours <= found
    assert "/dev/pts/0" not in found
    assert "/dev/kmsg" not in inside(docker, find).split()


def test_privileged_device_cgroup(docker: DockerAdvanced) -> None:
    """A privileged container can open a device that it has made."""
    script = "mknod /dev/made b 7 0 && head -c 0 /dev/made && echo opened"
    assert inside(docker, script, privileged=True) == "opened"
    failed = docker.run_in_container(BUSYBOX, script)
    assert failed.exit_code == 1
    assert "Operation not permitted" in failed.stderr


def test_note_is_logged_once(node: Node) -> None:
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    node.log.addHandler(handler)
    try:
        with engine_of(node) as engine:
            for _ in range(2):
                create_body(engine, ContainerTestConfig(image=BUSYBOX, privileged=True))
            missing = ", ".join(engine.capabilities.missing)
    finally:
        node.log.removeHandler(handler)
    (line,) = lines
    assert f"lack {missing}, which its engine does not have" in line


def test_parallel_first_use(node: Node) -> None:
    """Containers prepared at the same time all get what the engine can give."""
    docker = node.tools[DockerAdvanced]
    Engine.forget(node)
    found: list[set[str]] = []
    threads = [
        threading.Thread(target=lambda: found.append(capabilities(docker, privileged=True)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [set(docker.engine.capabilities.granted)] * 4


# --- piece by piece


def test_cap_add_and_drop(docker: DockerAdvanced) -> None:
    default = capabilities(docker)
    assert capabilities(docker, cap_add=["SYS_PTRACE"]) == default | {"CAP_SYS_PTRACE"}
    assert capabilities(docker, cap_drop=["CHOWN"]) == default - {"CAP_CHOWN"}
    assert capabilities(docker, cap_drop=["ALL"]) == set()
    assert capabilities(docker, cap_drop=["ALL"], cap_add=["KILL"]) == {"CAP_KILL"}
    assert capabilities(docker, cap_add=["ALL"]) == set(docker.engine.capabilities.granted)


def test_capability_the_engine_lacks(docker: DockerAdvanced) -> None:
    """A capability that the engine lacks is an error if the config names it."""
    missing = docker.engine.capabilities.missing[0]
    with pytest.raises(EngineError, match="caps|capabilit"):
        docker.run_in_container(BUSYBOX, "true", cap_add=[missing])
    assert docker.list(all=True) == []


def test_devices(docker: DockerAdvanced) -> None:
    script = "ls -l /dev/loops; head -c 0 /dev/loops && echo opened"
    shown = inside(docker, script, devices=["/dev/loop-control:/dev/loops:r"])
    assert re.search(r"^c.* 10, +237 ", shown)
    assert shown.endswith("opened")
    write = docker.run_in_container(
        BUSYBOX, "echo > /dev/loops", devices=["/dev/loop-control:/dev/loops:r"]
    )
    assert "Operation not permitted" in write.stderr


def test_tmpfs_and_read_only(docker: DockerAdvanced) -> None:
    script = "touch /file; touch /scratch/file && grep ' /scratch ' /proc/mounts"
    result = docker.run_in_container(
        BUSYBOX, script, read_only=True, tmpfs={"/scratch": "size=1m,mode=700"}
    )
    assert "Read-only file system" in result.stderr
    assert re.search(r"tmpfs /scratch tmpfs rw,.*size=1024k,mode=700", result.stdout)


def test_ulimits(docker: DockerAdvanced) -> None:
    limits = {"nofile": "100:200", "core": 0}
    shown = inside(docker, "ulimit -Sn; ulimit -Hn; ulimit -c", ulimits=limits)
    assert shown.split() == ["100", "200", "0"]


@pytest.fixture(scope="module")
def is_cgroup2(machine: SandboxNode) -> bool:
    return machine.run("stat -f -c %T /sys/fs/cgroup").stdout.strip() == "cgroup2fs"


def test_memory_cpus_and_pids(docker: DockerAdvanced, is_cgroup2: bool) -> None:
    files = (
        ["memory.max", "memory.swap.max", "cpu.max", "pids.max"]
        if is_cgroup2
        else ["memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us", "pids/pids.max"]
    )
    script = "; ".join(f"cat /sys/fs/cgroup/{name}" for name in files)
    shown = inside(docker, script, memory="64m", cpus=0.5, pids_limit=50)
    memory, *_, cpu, pids = shown.splitlines()
    assert int(memory) == 64 * 1024 * 1024
    assert cpu.split()[0] == "50000"
    assert pids == "50"


def test_no_more_memory_by_swapping(docker: DockerAdvanced) -> None:
    container = docker.create_container(BUSYBOX, "true", memory="64m")
    host = docker.inspect(container)["HostConfig"]
    docker.remove_container(container, force=True)
    assert host["MemorySwap"] == host["Memory"] == 64 * 1024 * 1024


def test_security_options(docker: DockerAdvanced) -> None:
    script = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; grep -c ' /proc/' /proc/mounts; true"
    shown = inside(
        docker,
        script,
        security_opt=["seccomp=unconfined", "no-new-privileges", "systempaths=unconfined"],
    )
    assert shown.split() == ["NoNewPrivs:", "1", "Seccomp:", "0", "0"]


def test_seccomp_profile(docker: DockerAdvanced, tmp_path_factory: pytest.TempPathFactory) -> None:
    profile = tmp_path_factory.mktemp("seccomp") / "no-chmod.json"
    calls = '["chmod", "fchmod", "fchmodat", "fchmodat2"]'
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", '
        f'"syscalls": [{{"names": {calls}, "action": "SCMP_ACT_ERRNO"}}]}}'
    )
    script = "chmod 700 /tmp"
    denied = docker.run_in_container(BUSYBOX, script, security_opt=[f"seccomp={profile}"])
    assert denied.exit_code == 1
    assert "Operation not permitted" in denied.stderr
    assert docker.run_in_container(BUSYBOX, script).exit_code == 0


def test_who_it_is(docker: DockerAdvanced) -> None:
    script = 'hostname; id -u; id -g; pwd; echo "$MODE"'
    shown = inside(
        docker,
        script,
        hostname="tester",
        user="1000:50",
        working_dir="/var/tests",
        environment={"MODE": "a b  c$HOME"},
    )
    assert shown.splitlines() == ["tester", "1000", "50", "/var/tests", "a b  c$HOME"]


def test_labels(docker: DockerAdvanced) -> None:
    container = docker.create_container(BUSYBOX, labels={"team": "kernel"})
    labels = docker.inspect(container)["Config"]["Labels"]
    docker.remove_container(container, force=True)
    assert labels["team"] == "kernel"
    assert labels["lisa_container.run"] == "tests"


@pytest.fixture()
def shared_file(machine: SandboxNode) -> Iterator[str]:
    machine.run("mkdir -p /srv/shared; echo given > /srv/shared/file")
    yield "/srv/shared"
    machine.run("rm -r /srv/shared")


def test_volumes(docker: DockerAdvanced, machine: SandboxNode, shared_file: str) -> None:
    script = "cat /data/file; echo made > /data/new; echo x > /other/new"
    result = docker.run_in_container(
        BUSYBOX, script, volumes={shared_file: "/data", "/srv": "/other:ro"}
    )
    assert result.stdout == "given"
    assert "Read-only file system" in result.stderr
    assert machine.run(f"cat {shared_file}/new").stdout == "made\n"


def test_host_root(docker: DockerAdvanced, machine: SandboxNode) -> None:
    shown = inside(docker, "cat /host/etc/hostname", mount_host_root=True)
    assert shown == machine.name


def test_networks(docker: DockerAdvanced, machine: SandboxNode) -> None:
    assert inside(docker, "ls /sys/class/net", network_mode="none") == "lo"
    names = inside(docker, "ls /sys/class/net", network_mode="host").split()
    assert "docker0" in names
