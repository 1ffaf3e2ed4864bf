"""A node behaves like a machine of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from lisa_container.errors import SandboxError
from lisa_container.platforms.sandbox import (
    Sandbox,
    SandboxConfig,
    SandboxNode,
    rootfs,
    start_sandbox,
)

NAMESPACES = ("mnt", "pid", "net", "uts", "ipc", "cgroup")


def connect(node: SandboxNode, username: str, password: str = "") -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    key = None if password else str(node.private_key_file)
    client.connect(
        node.address,
        node.port,
        username,
        password=password or None,
        key_filename=key,
        look_for_keys=False,
        allow_agent=False,
    )
    return client


@pytest.mark.parametrize("kind", NAMESPACES)
def test_namespaces_of_its_own(first: SandboxNode, second: SandboxNode, kind: str) -> None:
    pids = (os.getpid(), first.pid, second.pid)
    assert len({Path(f"/proc/{pid}/ns/{kind}").readlink() for pid in pids}) == 3


def test_sees_only_its_own_processes(first: SandboxNode) -> None:
    assert first.run("cat /proc/1/cmdline").stdout.split("\0")[1] == "/run/sandbox/init.sh"
    names = set(first.run("ps -eo comm=").stdout.split())
    assert names <= {"sh", "dockerd", "containerd", "sshd", "sleep", "ps"}


def test_pid_1_buries_the_dead(first: SandboxNode) -> None:
    # The shell in between ends first, so the sleeps become children of pid 1.
    first.run("for i in 1 2 3; do (sleep 0.1 >/dev/null 2>&1 &); done; sleep 0.5")
    assert "Z" not in first.run("ps -eo stat=").stdout


def test_identity_of_its_own(first: SandboxNode, second: SandboxNode) -> None:
    for command in ("hostname", "cat /etc/machine-id", "cat /etc/ssh/ssh_host_ed25519_key.pub"):
        assert first.run(command).stdout != second.run(command).stdout
    assert first.run("hostname").stdout.strip() == first.name == "node0"


def test_cgroups_look_like_a_machine_s(first: SandboxNode) -> None:
    lines = first.run("cat /proc/1/cgroup").stdout.splitlines()
    # Version 2 has its processes in a leaf; see keeper/cgroups.py.
    assert {line.split(":")[2] for line in lines} <= {"/", "/init"}


def test_files_are_its_own(first: SandboxNode, second: SandboxNode) -> None:
    first.run("echo mine >/etc/mine")
    assert second.run("test -e /etc/mine", check=False).returncode != 0
    assert not Path("/etc/mine").exists()
    first.run("rm /etc/mine")


def test_login_by_key(first: SandboxNode) -> None:
    for username in ("root", first.username, first.password_username):
        with connect(first, username) as client:
            _, out, _ = client.exec_command("id -un")
            assert out.read().decode().strip() == username


def test_login_by_password(first: SandboxNode) -> None:
    with connect(first, first.password_username, first.password):
        pass
    with pytest.raises(paramiko.AuthenticationException):
        connect(first, first.password_username, "not the password")
    with pytest.raises(paramiko.AuthenticationException):
        connect(first, "root", first.password)


def test_password_is_another_in_each_sandbox(pair: Sandbox) -> None:
    with start_sandbox(1, docker=False) as other:
        assert other.nodes[0].password != pair.nodes[0].password
        assert len(other.nodes[0].password) >= 12


def test_sudo_without_password(first: SandboxNode, login) -> None:
    assert login(first, "sudo -n id -u").stdout == "0\n"


def test_sudo_with_password(first: SandboxNode, login) -> None:
    user = first.password_username
    without = login(first, "sudo -n id -u", user)
    assert without.returncode != 0 and "password is required" in without.stderr
    given = login(first, "sudo -S -p '' id -u", user, f"{first.password}\n")
    assert given.stdout == "0\n", given.stderr


def test_sudo_does_not_wait_for_dns(pair: Sandbox, login) -> None:
    first, second = pair.nodes
    first.run("cp /etc/resolv.conf /root")
    # A server that says nothing at all, and is the only one.
    first.run(f"echo nameserver {second.address} >/etc/resolv.conf")
    second.run("iptables -I INPUT -p udp --dport 53 -j DROP")
    try:
        started = time.monotonic()
        assert login(first, "sudo -n true").returncode == 0
        assert time.monotonic() - started < 3
    finally:
        second.run("iptables -D INPUT -p udp --dport 53 -j DROP")
        first.run("cat /root/resolv.conf >/etc/resolv.conf; rm /root/resolv.conf")


def test_max_sessions_is_the_default(first: SandboxNode) -> None:
    with connect(first, first.username) as client:
        transport = client.get_transport()
        assert transport
        channels = [transport.open_session() for _ in range(10)]
        with pytest.raises(paramiko.ChannelException):
            transport.open_session()
        for channel in channels:
            channel.close()


def test_docker_needs_sudo(first: SandboxNode, login) -> None:
    assert login(first, "docker info").returncode != 0
    assert login(first, "sudo docker info").returncode == 0
    mode = first.run("stat -c '%U:%G %a' /var/run/docker.sock").stdout.strip()
    assert mode == "root:docker 660"


def test_docker_runs_containers_with_kernel_features(first: SandboxNode) -> None:
    first.run(
        "mkdir -p /root/image/bin && cp /bin/busybox /root/image/bin/sh"
        " && tar -C /root/image -c . | docker import - box"
    )
    try:
        # A file system below, a network, a limit: each takes something of the node's own.
        limited = "--memory 64m --cpus 1 --pids-limit 20 --publish 8080:80"
        first.run(f"docker run --rm {limited} box sh -c true")
        driver = first.run("docker info --format '{{.Driver}}'").stdout.strip()
        assert driver == "overlay2"
    finally:
        first.run("docker rmi box; rm -r /root/image")


def test_docker_data_is_not_on_an_overlay(first: SandboxNode) -> None:
    kind = first.run("stat -f -c %T /var/lib/docker").stdout.strip()
    assert kind != "overlayfs"


def test_mtu_is_the_machine_s(first: SandboxNode) -> None:
    routes = json.loads(subprocess.check_output(["ip", "-j", "-4", "route", "show", "default"]))
    links = json.loads(subprocess.check_output(["ip", "-j", "link"]))
    out = {route["dev"] for route in routes}
    mtu = min((link["mtu"] for link in links if link["ifname"] in out), default=1500)
    assert first.run("cat /sys/class/net/eth0/mtu").stdout.strip() == str(mtu)
    config = json.loads(first.run("cat /etc/docker/daemon.json").stdout)
    assert config["mtu"] == mtu


def test_services_by_their_usual_names(first: SandboxNode) -> None:
    assert first.run("service docker status && service ssh status").returncode == 0
    first.run("service docker restart")
    first.run("for i in $(seq 50); do docker info >/dev/null 2>&1 && exit; sleep 0.1; done; false")


def test_sysctls_of_the_machine_cannot_be_changed_by_accident(first: SandboxNode) -> None:
    for knob in ("/proc/sys/vm/swappiness", "/sys/kernel/mm/ksm/run", "/proc/sysrq-trigger"):
        command = f"test ! -e {knob} || echo 1 2>/dev/null >{knob}"
        assert first.run(command, check=False).returncode != 0 or not Path(knob).exists()
    # Settings of the network belong to the node.
    first.run("echo 1 >/proc/sys/net/ipv4/ip_forward && ip link add x type veth")
    first.run("echo 2 >/sys/class/net/x/tx_queue_len && ip link delete x")


def test_containers_without_root_can_mount_proc(first: SandboxNode) -> None:
    script = "unshare --user --map-root-user --pid --fork --mount-proc ps -eo pid="
    assert first.run(f"su {first.username} -c '{script}'").stdout.split() == ["1"]


@pytest.mark.parametrize("device", ["null", "zero", "full", "random", "urandom", "tty", "ptmx"])
def test_usual_devices(first: SandboxNode, device: str) -> None:
    first.run(f"test -c /dev/{device}")


@pytest.mark.parametrize("device", ["fuse", "net/tun", "kvm", "loop-control"])
def test_devices_of_the_machine(first: SandboxNode, device: str) -> None:
    there = Path("/dev", device).exists()
    assert (first.run(f"test -c /dev/{device}", check=False).returncode == 0) == there


def test_console_log(first: SandboxNode) -> None:
    assert "Starting Docker" in first.console


def test_run_names_the_failed_command(first: SandboxNode) -> None:
    with pytest.raises(SandboxError, match="failed with 3 on node0: oh"):
        first.run("echo oh >&2; exit 3")
    assert first.run(["cat"], stdin="what it reads").stdout == "what it reads"
    with pytest.raises(SandboxError, match=r"did not end within 0.2 s"):
        first.run("sleep 10", timeout=0.2)


def test_no_docker() -> None:
    with start_sandbox(1, docker=False) as sandbox:
        node = sandbox.nodes[0]
        assert "dockerd" not in node.run("ps -eo comm=").stdout
        # Yet it can be started, with no init system.
        node.run("dockerd >/root/dockerd.log 2>&1 &")
        node.run(
            "for i in $(seq 50); do docker info >/dev/null 2>&1 && exit; sleep .1; done; false"
        )


def test_stopped_docker_as_a_service() -> None:
    with start_sandbox(1, docker="stopped") as sandbox:
        node = sandbox.nodes[0]
        assert node.run("service docker status", check=False).returncode != 0
        node.run("service docker stop")
        # LISA's own tool starts a stopped engine like this.
        node.run("service docker restart && service docker status")


def test_docker_group(login) -> None:
    with start_sandbox(1, docker_group=True) as sandbox:
        assert login(sandbox.nodes[0], "docker info").returncode == 0


@pytest.mark.alone
def test_ready_within_two_seconds() -> None:
    started = time.monotonic()
    with start_sandbox(1):
        assert time.monotonic() - started < 2


def test_killed_node_leaves_the_other_alone() -> None:
    with start_sandbox(2, docker=False) as sandbox:
        first, second = sandbox.nodes
        first.kill()
        deadline = time.monotonic() + 5
        while Path(f"/proc/{first.pid}/ns/net").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert second.run("echo alive").stdout == "alive\n"
        # The node has ended, and now another process has its pid.
        with subprocess.Popen(["sleep", "1510"]) as other:
            replace(first, pid=other.pid).kill()
            first.kill()
            assert other.poll() is None
            other.kill()


def test_node_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    folder = rootfs.provide(SandboxConfig(), print)
    broken = tmp_path / "broken"
    subprocess.run(["cp", "-a", "--reflink=auto", str(folder), str(broken)], check=True)
    (broken / "etc/init.d/ssh").write_text("#!/bin/sh\necho no sshd today\nexit 1\n")
    sandbox = Sandbox(SandboxConfig(rootfs=str(broken), docker=False))
    with pytest.raises(SandboxError, match=r"node0: ended while booting(.|\n)*no sshd today"):
        sandbox.start()
    assert sandbox.nodes == []


def test_docker_absent() -> None:
    with start_sandbox(1, docker="absent") as sandbox:
        node = sandbox.nodes[0]
        for program in ("docker", "dockerd", "containerd", "runc"):
            assert node.run(f"command -v {program}", check=False).returncode != 0
        assert node.run("dpkg -s docker.io", check=False).returncode != 0
