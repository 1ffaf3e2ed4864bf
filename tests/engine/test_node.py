"""Test a container as a LISA node: its life, its processes, and LISA's own code on it."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Callable

import pytest
from lisa import schema
from lisa.executable import CustomScript, CustomScriptBuilder
from lisa.node import Node
from lisa.operating_system import Debian, Linux
from lisa.tools import Df, Dmesg, Find, Kill, Lscpu, Uname
from lisa.util import LisaException
from lisa.util.logger import get_logger

from lisa_container import ContainerExecutor, ContainerNode, ContainerTestConfig
from lisa_container.errors import CommandNotStartedError, ConfigError
from lisa_container.guest import ContainerGuestSchema
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.boxes import processes
from tests.support.nodes import BUSYBOX
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.boxes"]

Fresh = Callable[..., ContainerExecutor]


@pytest.fixture(scope="module")
def inside(box: ContainerExecutor) -> ContainerNode:
    return box.node


@pytest.fixture(scope="module")
def debian(node: Node, debian_image: str) -> Iterator[ContainerNode]:
    """Yield the node of a container with a distribution."""
    with ContainerExecutor(node, ContainerTestConfig(image=debian_image)) as container:
        yield container.node


# --- commands -----------------------------------------------------------------------------------


def test_user_and_sudo(fresh: Fresh) -> None:
    """`sudo=True` needs neither sudo in the image nor a permission of the container's user."""
    container = fresh(user="nobody").node
    assert container.support_sudo
    assert container.execute("id -un").stdout == "nobody"
    assert container.execute("id -u", sudo=True).stdout == "0"
    assert (
        container.execute("echo $(id -u) $V", shell=True, sudo=True, update_envs={"V": "v"}).stdout
        == "0 v"
    )
    assert container.execute("command -v sudo", shell=True).exit_code != 0


def test_exit_codes(inside: ContainerNode) -> None:
    assert inside.execute("not-there").exit_code == 127
    assert inside.execute("not-there", shell=True).exit_code == 127
    assert inside.execute("/etc/passwd").exit_code == 126
    with pytest.raises(CommandNotStartedError, match="'/not/there'"):
        inside.execute("pwd", cwd=PurePosixPath("/not/there"))


def test_streams_of_a_guest(node: Node) -> None:
    """A guest keeps stderr apart, without a terminal, if the runbook says so."""
    guest = guest_of(node, image=BUSYBOX, merge_stderr=False)
    try:
        result = guest.execute("echo out; echo err >&2; echo $USER; test -t 1", shell=True)
        assert (result.stdout, result.stderr, result.exit_code) == ("out\nroot", "err", 1)
    finally:
        guest.cleanup()


def test_text_in_pieces(inside: ContainerNode) -> None:
    """A character that arrives in two pieces is decoded correctly."""
    process = inside.execute_async(
        "printf '\\303'; sleep 0.3; printf '\\274\\n'; sleep 1", shell=True
    )
    assert process.wait_output("ü", timeout=5, interval=0.1)
    assert process.wait_result().stdout == "ü"


def test_timeout_of_a_process(inside: ContainerNode, machine: SandboxNode) -> None:
    process = inside.execute_async("echo begun; sleep 1501 & sleep 1501", shell=True)
    with pytest.raises(LisaException, match="timeout after 1 seconds"):
        process.wait_result(timeout=1)
    assert processes(machine, "sleep 1501") == []
    late = inside.execute_async("sleep 1502")
    assert late.wait_result(timeout=1, raise_on_timeout=False).is_timeout


def test_kill_of_a_process(inside: ContainerNode, machine: SandboxNode) -> None:
    process = inside.execute_async("trap '' TERM; sleep 1503 & sleep 1503", shell=True)
    eventually(lambda: processes(machine, "sleep 1503"))
    assert process.is_running()
    process.kill()
    eventually(lambda: not process.is_running())
    assert processes(machine, "sleep 1503") == []
    assert process.wait_result(timeout=5).exit_code == 137


def test_close_ends_running_commands(fresh: Fresh, machine: SandboxNode) -> None:
    """`close` ends commands like a closed SSH connection, except those started with nohup.

    LISA closes its nodes after each case; the container can be used again.
    """
    container = fresh().node
    container.execute_async("sleep 1504")
    container.execute_async("trap 'echo >/hung; exit' HUP; while :; do sleep 0.1; done", shell=True)
    container.execute_async("sleep 1505", nohup=True)
    container.execute_async("sleep 1506", sudo=True)
    eventually(lambda: len(processes(machine, "sleep 150")) >= 3)
    time.sleep(0.3)
    container.close()
    eventually(lambda: container.shell.exists(PurePosixPath("/hung")))
    eventually(
        lambda: not processes(machine, "sleep 1504") and not processes(machine, "sleep 1506")
    )
    assert processes(machine, "sleep 1505")
    assert container.execute("echo usable").stdout == "usable"


# --- files and folders of LISA ------------------------------------------------------------------


def test_working_path(inside: ContainerNode) -> None:
    assert inside.expand_env_path("$HOME/x") == "/root/x"
    assert str(inside.get_working_path()).startswith("/root/lisa_working/")
    assert inside.shell.is_dir(inside.working_path)
    assert inside.shell.is_dir(inside.get_case_working_path("case"))
    assert inside.local_log_path.is_dir()


def test_custom_script(inside: ContainerNode, tmp_path: Path) -> None:
    """LISA's `CustomScript` works in a container."""
    (tmp_path / "script.sh").write_text("#!/bin/sh\necho script $1 of $(pwd)\n")
    builder = CustomScriptBuilder(tmp_path, ["script.sh"])
    script: CustomScript = inside.tools[builder]
    assert script.run("one").stdout.startswith("script one of /")


def test_tools(inside: ContainerNode) -> None:
    assert inside.tools[Uname].get_linux_information().kernel_version_raw
    assert inside.tools[Dmesg].run(force_run=True).exit_code in (0, 1)
    assert "/etc/passwd" in inside.tools[Find].find_files(PurePosixPath("/etc"), "passwd")
    tail = inside.execute_async("tail -f /dev/null")
    inside.tools[Kill].by_name("tail")
    eventually(lambda: not tail.is_running())


def test_tools_of_a_distribution(debian: ContainerNode) -> None:
    assert isinstance(debian.os, Debian)
    assert "Debian" in debian.os.information.vendor
    assert debian.tools[Lscpu].get_thread_count() > 0
    assert debian.is_path_mounted_noexec("/") is False
    assert debian.tools[Df].get_partition_by_path("/").total_blocks > 0


def test_packages(debian: ContainerNode) -> None:
    assert isinstance(debian.os, Debian)
    assert not debian.os.package_exists("tree")
    debian.os.install_packages("tree")
    assert debian.os.package_exists("tree")
    assert debian.execute("tree --version").exit_code == 0


def test_stock_suite(debian: ContainerNode) -> None:
    """An unmodified suite of LISA installs a package and uses it."""
    from lisa.microsoft.testsuites.security.openssl import OpenSSLTestSuite

    suite = OpenSSLTestSuite.__wrapped__.__new__(OpenSSLTestSuite.__wrapped__)
    suite.verify_openssl_basic(get_logger("openssl"), debian)


def test_information(debian: ContainerNode, node: Node) -> None:
    debian.capture_system_information("test")
    assert list(debian.local_log_path.glob("*_captured_test"))
    ours, theirs = debian.get_information(), node.get_information()
    assert ours["kernel_version"] == theirs["kernel_version"]
    assert "Debian" in ours["distro_version"]


def test_kernel_errors_are_found(fresh: Fresh, node: Node) -> None:
    """A privileged container reports the kernel errors of its node."""
    before, ours, after = (
        set(each.tools[Dmesg].check_kernel_errors(force_run=True, throw_error=False).splitlines())
        for each in (node, fresh(privileged=True).node, node)
    )
    # Meanwhile the kernel may find new errors, and forget old ones.
    assert before & after <= ours <= before | after


# --- life ---------------------------------------------------------------------------------------


def guest_of(node: Node, **fields: Any) -> ContainerNode:
    """Return a guest that is made as LISA makes it: from its schema, by `Node.create`."""
    platform = schema.load_by_type(
        schema.Platform,
        {"type": "ready", "guest_enabled": True, "guests": [{"type": "container", **fields}]},
    )
    runbook = platform.guests[0]
    assert isinstance(runbook, ContainerGuestSchema)
    guest = Node.create(index=0, runbook=runbook, logger_name="g", parent=node)
    assert isinstance(guest, ContainerNode)
    return guest


def test_guest_of_a_runbook(node: Node, machine: SandboxNode) -> None:
    guest = guest_of(node, image=BUSYBOX, hostname="a-guest", environment={"A": "1"}, memory="64m")
    assert "lisa_test" not in machine.run("docker ps --filter name=$(hostname)").stdout
    guest.initialize()
    try:
        assert guest.name == "g0"
        assert guest.execute("hostname").stdout == "a-guest"
        assert guest.execute("echo $A", shell=True).stdout == "1"
        assert guest.config.memory == "64m"
        assert guest.is_connected and guest.test_connection()
        guest.close()
        assert guest.execute("hostname").stdout == "a-guest"
        name = guest.executor.name
        assert name in machine.run("docker ps --format '{{.Names}}'").stdout
    finally:
        guest.cleanup()
    assert name not in machine.run("docker ps -a --format '{{.Names}}'").stdout
    guest.cleanup()


def test_guests_by_the_platform(node: Node) -> None:
    """LISA creates the guests of a node from the platform's runbook."""
    from lisa.platform_ import Platform
    from lisa.sut_orchestrator.ready import ReadyPlatform

    runbook = schema.load_by_type(
        schema.Platform,
        {
            "type": "ready",
            "guest_enabled": True,
            "guests": [
                {"type": "container", "image": BUSYBOX, "hostname": name} for name in ("one", "two")
            ],
        },
    )
    platform: Platform = ReadyPlatform(runbook)
    before = list(node.guests)
    try:
        platform._initialize_guest_nodes(node)
        guests = node.guests[len(before) :]
        assert [guest.execute("hostname").stdout for guest in guests] == ["one", "two"]
        assert [guest.parent for guest in guests] == [node, node]
    finally:
        for guest in node.guests[len(before) :]:
            guest.cleanup()
        del node.guests[len(before) :]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "image"),
        ({"image": "x", "memmory": "1g"}, "memory"),
        ({"image": "x", "memory": "1x"}, "memory"),
    ],
)
def test_wrong_runbook(node: Node, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"guest of type 'container'.*{says}"):
        guest_of(node, **fields)


def test_schema_makes_no_noise() -> None:
    """dataclasses-json, which warns of field types that it does not know, gives no warning."""
    code = (
        "import warnings; warnings.simplefilter('error', RuntimeWarning);"
        "from lisa import schema; from lisa_container.guest import ContainerGuestSchema as S;"
        "from lisa_container import ContainerTestConfig as C;"
        "config = C(image='debian:12', cpus=2, pids_limit=9, ulimits={'nofile': 5}, devices=['/dev/null']);"
        "found = schema.load_by_type(S, {'name': 'x', **config.to_dict()});"
        "assert found.config == config, found; assert found.to_dict()['image'] == 'debian:12'"
    )
    with warnings.catch_warnings():
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "Warning: Unknown" not in done.stderr


def test_reboot(fresh: Fresh, machine: SandboxNode) -> None:
    container = fresh().node
    container.execute("touch /kept")
    container.execute_async("sleep 1509")
    before = container.executor.inspect()["State"]["StartedAt"]
    container.reboot()
    assert container.executor.inspect()["State"]["StartedAt"] > before
    assert processes(machine, "sleep 1509") == []
    assert container.execute("ls /kept").exit_code == 0
    assert container.test_connection()


def test_gone_container(fresh: Fresh, machine: SandboxNode) -> None:
    container = fresh()
    inside = container.node
    machine.run(f"docker rm -f {container.name}")
    assert not inside.is_connected
    assert not inside.test_connection()
    inside.close()


def test_image_of_no_distribution(fresh: Fresh, no_shell: str) -> None:
    inside = fresh(image=no_shell).node
    inside.initialize()
    assert type(inside.os) is Linux
    assert inside.is_posix
    assert inside.execute("id -u").stdout == "0"


def test_address(fresh: Fresh, inside: ContainerNode, node: Node) -> None:
    info = inside.connection_info
    assert info["address"] == inside.execute("hostname -i").stdout
    assert (info["port"], info["username"]) == (22, "root")
    assert fresh(network_mode="host").node.address == node.internal_address  # type: ignore[attr-defined]
    assert fresh(network_mode="none").node.address == node.internal_address  # type: ignore[attr-defined]
