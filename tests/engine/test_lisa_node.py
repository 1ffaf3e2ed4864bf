"""Containers as LISA nodes: the same calls on the machine and in the container."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from lisa.node import Node
from lisa.tools import Cat, Chmod, Echo, Ls, Mkdir, Rm, Uname
from lisa.util import LisaException

from lisa_container import ContainerExecutor, ContainerNode, ContainerTestConfig
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.script import run_script
from lisa_container.errors import ConfigError
from tests.support.nodes import BUSYBOX


@pytest.fixture(scope="module")
def inside(node: Node) -> Iterator[ContainerNode]:
    with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
        yield container.node


@pytest.fixture(params=["machine", "container"])
def either(request: pytest.FixtureRequest, node: Node, inside: ContainerNode) -> Node:
    return node if request.param == "machine" else inside


def test_execute(either: Node) -> None:
    assert either.execute("echo a  b").stdout == "a b"
    assert either.execute("echo $((6*7))", shell=True).stdout == "42"
    assert either.execute("exit 3", shell=True).exit_code == 3
    assert either.execute("pwd", cwd=PurePosixPath("/tmp")).stdout == "/tmp"
    value = 'x"y z'
    assert either.execute('echo "$V"', shell=True, update_envs={"V": value}).stdout == value
    with pytest.raises(AssertionError, match="why"):
        either.execute(
            "false", expected_exit_code=0, expected_exit_code_failure_message="this is why"
        )


def test_sudo(either: Node) -> None:
    assert either.execute("id -u", sudo=True).stdout == "0"
    assert either.execute("echo `id -u`", shell=True, sudo=True).stdout == "0"


def test_process(either: Node) -> None:
    process = either.execute_async("echo begun; sleep 1000", shell=True)
    process.wait_output("begun", timeout=10, interval=0.1)
    assert process.is_running()
    process.kill()
    assert process.wait_result(timeout=10).exit_code != 0

    with pytest.raises(LisaException, match="timeout"):
        either.execute("sleep 1001", timeout=1)
    deadline = time.monotonic() + 5
    while "sleep 1001" in either.execute("ps -o args", shell=True).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_input(either: Node) -> None:
    process = either.execute_async("read line; echo got $line", shell=True)
    process.input("something\n")
    assert "got something" in process.wait_result(timeout=10).stdout
    assert either.execute("echo next").stdout == "next"


def test_nohup(either: Node) -> None:
    name = f"/tmp/nohup_{time.monotonic_ns()}"
    either.execute_async(f"sleep 1; touch {name}", shell=True, nohup=True)
    deadline = time.monotonic() + 10
    while not either.shell.exists(PurePosixPath(name)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    either.shell.remove(PurePosixPath(name))


def test_no_engine_inside(inside: ContainerNode) -> None:
    """Use of an engine on a container's node is an error that names the node to use."""
    config = ContainerTestConfig(image=BUSYBOX)
    for use in (
        lambda: ContainerExecutor(inside, config).start(),
        lambda: inside.tools[DockerAdvanced],
        lambda: run_script(inside, "true"),
    ):
        with pytest.raises(ConfigError, match=f"'{inside.name}' .* 'host', or 'node.parent'"):
            use()
    assert inside.parent is not None
    with ContainerExecutor(inside.parent, config) as beside:
        assert beside.run("echo beside").stdout == "beside"


def test_shell(either: Node, tmp_path: Path) -> None:
    """Every operation of LISA's shells works in a container."""
    shell = either.shell
    root = PurePosixPath(f"/tmp/shell {time.monotonic_ns()}")
    shell.mkdir(root / "a" / "b", parents=True)
    shell.mkdir(root / "a" / "b", exist_ok=True)
    assert shell.exists(root / "a") and shell.is_dir(root / "a" / "b")
    assert not shell.exists(root / "none")

    (tmp_path / "file").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "file").chmod(0o640)
    shell.copy(tmp_path / "file", root / "new" / "file")
    assert shell.stat(root / "new" / "file").st_size == 25600
    shell.chmod(root / "new" / "file", 0o751)
    assert shell.stat(root / "new" / "file").st_mode & 0o777 == 0o751
    shell.copy_back(root / "new" / "file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()

    shell.symlink(root / "new" / "file", root / "link")
    assert shell.is_symlink(root / "link") and not shell.is_symlink(root / "new" / "file")
    shell.remove(root / "link")
    assert shell.exists(root / "new" / "file") and not shell.exists(root / "link")
    shell.remove(root, recursive=True)
    assert not shell.exists(root)


def test_tools(either: Node) -> None:
    assert either.tools[Echo].run("hello", force_run=True).stdout == "hello"
    assert either.tools[Uname].get_linux_information().operating_system == "GNU/Linux"
    path = f"/tmp/tools_{time.monotonic_ns()}"
    either.tools[Mkdir].create_directory(path)
    assert either.tools[Ls].path_exists(path)
    either.execute(f"echo text > {path}/file", shell=True)
    either.tools[Chmod].chmod(f"{path}/file", "600")
    assert either.tools[Cat].read(f"{path}/file") == "text"
    either.tools[Rm].remove_directory(path)
    assert not either.tools[Ls].path_exists(path)
    assert str(either.working_path).startswith(either.execute("echo $HOME", shell=True).stdout)


def test_methods_of_a_container_only(inside: ContainerNode, node: Node) -> None:
    assert inside.host is node and inside.parent is node
    assert inside.is_remote and inside.is_posix
    assert inside.connection_info["address"].count(".") == 3
    assert inside.test_connection()
    with pytest.raises(FileNotFoundError):
        inside.shell.stat(PurePosixPath("/none"))
    result = inside.executor.run("echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out", "err")
    inside.execute("sleep 1002 >/dev/null 2>&1 &", shell=True)
    inside.execute("touch /kept", expected_exit_code=0)
    inside.reboot()
    assert "sleep 1002" not in inside.execute("ps").stdout
    inside.execute("test -e /kept", expected_exit_code=0)


SAME = {
    "streams": "for i in 1 2 3; do echo out $i; echo err $i >&2; done",
    "terminal": "for fd in 0 1 2; do test -t $fd && echo $fd; done; : </dev/tty && echo $TERM",
    "size": "stty size",
    "foreground": "read -r x </proc/$$/stat; set -- ${x##*) }; echo $(($3 == $$)) $(($6 == $$))",
    "settings": "stty -a | tr ' ' '\\n' | grep -xE -e '-?(echo|icanon|onlcr|icrnl|isig|opost)' | sort",
    "bytes": "printf 'a\\tb\\n\\nno end'; printf '\\303\\274'",
    "exit code": "echo said; exit 7",
    "user": 'test "$USER $LOGNAME" = "$(id -un) $(id -un)"; echo $?',
    "shell": 'test "$SHELL" = "$(grep "^$USER:" /etc/passwd | cut -d: -f7)"; echo $?',
    "home": 'test "$HOME" = "$(grep "^$USER:" /etc/passwd | cut -d: -f6)"; echo $?',
    "child": "sleep 3 & echo begun",
}


@pytest.mark.parametrize("sudo", [False, True])
def test_same_as_over_ssh(node: Node, inside: ContainerNode, sudo: bool) -> None:
    """LISA's commands see and give the same bytes as over SSH."""
    for name, script in SAME.items():
        theirs, ours = (each.execute(script, shell=True, sudo=sudo) for each in (node, inside))
        assert (ours.stdout, ours.stderr, ours.exit_code) == (
            theirs.stdout,
            theirs.stderr,
            theirs.exit_code,
        ), name
    assert "\r\n" in inside.execute(SAME["streams"], shell=True).stdout


@pytest.mark.parametrize("nohup", [False, True])
def test_children_over_ssh(either: Node, nohup: bool) -> None:
    """Processes in a command's group end with it, except with nohup, as over SSH."""
    command = "sh -c 'sleep 291 & echo $! >/tmp/child; sleep 0.3'"
    either.execute(command, nohup=nohup, expected_exit_code=0)
    time.sleep(0.3)
    alive = either.execute("kill -0 $(cat /tmp/child)", shell=True).exit_code == 0
    either.execute("kill $(cat /tmp/child); rm /tmp/child", shell=True)
    assert alive is nohup


def test_echo_of_input(node: Node, inside: ContainerNode) -> None:
    outputs = []
    for each in (node, inside):
        process = each.execute_async("echo ready; read line; echo got $line", shell=True)
        process.wait_output("ready", timeout=10, interval=0.1)
        process.input("some thing\n")
        outputs.append(process.wait_result(timeout=10).stdout)
    assert outputs[0] == outputs[1] == "ready\r\nsome thing\r\ngot some thing"


def test_changed_terminal(inside: ContainerNode) -> None:
    """A command that changes its terminal does not change that of the next command."""
    before = inside.execute("stty -a").stdout
    for change in ("raw", "-echo", "-onlcr", "-icanon"):
        inside.execute(f"stty {change}", expected_exit_code=0)
        assert inside.execute("stty -a").stdout == before


def test_interrupt_key(either: Node) -> None:
    process = either.execute_async("echo begun; sleep 1003; echo never", shell=True)
    process.wait_output("begun", timeout=10, interval=0.1)
    process.input("\x03")
    assert "never" not in process.wait_result(timeout=10).stdout
    assert either.execute("echo next").stdout == "next"


def test_closed_as_lisa_does_after_each_case(inside: ContainerNode, node: Node) -> None:
    inside.execute("true", expected_exit_code=0)
    inside.close()
    node.close()
    assert inside.execute("echo back").stdout == "back"


def test_os_information(inside: ContainerNode) -> None:
    """LISA reads it once per case; without a version it logs a traceback each time."""
    found = inside.os.information
    assert found.vendor == "BusyBox"
    assert found.release in inside.execute("busybox --help").stdout
    assert found.full_version == f"BusyBox {found.release} of the node"
