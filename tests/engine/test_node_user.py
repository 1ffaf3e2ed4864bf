"""Commands on a node behave like in its `sh`, whatever the user's login shell and profile do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig, SudoError
from lisa_container.config.privileges import CAPABILITIES
from lisa_container.engine.client import Engine
from lisa_container.engine.script import run_script
from lisa_container.engine.ssh import open_command, read_command, transport_of
from lisa_container.images import ensure_image
from lisa_container.install import PackageSettings
from lisa_container.platforms.sandbox import SandboxNode, start_sandbox
from tests.support.engines import MORE_PACKAGES
from tests.support.nodes import BUSYBOX, add_user, connect, connect_as, disconnect

# Name of the user -> login shell, name of a start file and its content.
USERS = {
    "plain": ("/bin/bash", "", ""),
    "welcome": ("/bin/bash", ".bashrc", "echo 'Welcome to node 7'"),
    "warned": ("/bin/bash", ".bashrc", "echo w >&2"),
    "banner": ("/bin/bash", ".bashrc", "printf 'no newline'; printf 'nor here' >&2"),
    "elsewhere": ("/bin/bash", ".bashrc", "export DOCKER_HOST=tcp://127.0.0.1:1"),
    "locale": ("/bin/bash", ".bashrc", "export LC_ALL=xx_YY.UTF-8"),
    "strict": ("/bin/bash", ".bashrc", "set -eu; alias sh=false"),
    "fish": ("/usr/bin/fish", ".config/fish/config.fish", "echo fish of mine"),
    "tcsh": ("/usr/bin/tcsh", ".cshrc", "echo csh of mine"),
    "zsh": ("/usr/bin/zsh", ".zshenv", "echo zsh of mine; setopt nomatch"),
}
SCRIPTS = [
    *("", ":", "true", "false", "exit 7", "(exit 9)", "sh -c 'kill -9 $$'; echo $?", "exit 300"),
    *("echo a", "echo a; echo b", "echo 'a  b'", 'echo "a  b"', "echo a\\ \\ b", "printf 'no end'"),
    *("echo it\\'s", "echo '\"'", 'echo "\'"', "echo '\\n'", "printf '\\n\\n'", "echo \\\\"),
    *("echo !", "echo 'a!b'", "echo !!", "echo $HOME", "echo '$HOME'", 'echo "$((1+2))"'),
    *(
        "echo `echo a`",
        "echo $(echo 'a)b')",
        "echo *",
        "echo '*'",
        "echo [",
        "echo {a,b}",
        "echo ~x",
    ),
    *("echo a >&2", "echo a; echo b >&2; exit 3", "nosuchcommand", "cd /nosuch", "echo 'open"),
    *("if true; then\n echo yes\nfi", "for x in 1 2 3; do\n  echo $x\ndone", "f() { echo f; }\nf"),
    *(
        "cat <<'END'\na $b \\ `c`\nEND",
        "cat <<END\n$((2*3))\nEND",
        "# only a comment",
        "echo a # b",
    ),
    *("echo ü€𝄞", "echo '\N{NO-BREAK SPACE}'", "printf '\\377\\376'", "printf 'a\\tb\\r\\n'"),
    *("echo $#", "echo $0", 'set -- a "b c"; echo $# "$2"', "echo ${x:-y}", "x='a b'; echo $x"),
    *(
        "trap 'echo bye' EXIT; echo hi",
        "echo a | tr a b",
        "sleep 0 & wait; echo done",
        "cat",
        "wc -c",
    ),
    *('read -r x; echo "[$x]"', "echo a;", "echo '%s %d'", "echo '\x01\x1b[31m'", "echo \\"),
    *(
        "set -e; false; echo no",
        "set -u; echo $nothing",
        "test -t 0 || echo no terminal",
        "echo -n x",
    ),
]


# Whatever a login sets, the scripts begin alike.
BEGIN = "cd /srv; HOME=/h; "


@pytest.fixture(scope="module")
def machine() -> Iterator[SandboxNode]:
    """Start a node with further shells, which the tests change for good."""
    with start_sandbox(1, packages=MORE_PACKAGES) as sandbox:
        machine = sandbox.nodes[0]
        for name, (shell, file, text) in USERS.items():
            add_user(machine, name)
            folder = file.rpartition("/")[0]
            machine.run(
                f"usermod -s {shell} {name}; cd ~{name} && mkdir -p ./{folder} && cat >{file or '/dev/null'} "
                f"<<'END'\n{text}\nEND\nchown -R {name} ~{name}; "
                f"echo '{name} ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/{name}"
            )
        yield machine


@pytest.fixture(scope="module", params=USERS)
def user(request: pytest.FixtureRequest, machine: SandboxNode) -> Iterator[Node]:
    node = connect(
        machine.address, request.param, machine.port, machine.private_key_file, name=request.param
    )
    yield node
    disconnect(node)


@pytest.fixture(scope="module")
def plain(machine: SandboxNode) -> dict[str, tuple[bytes, str, int]]:
    """Return stdout, stderr and exit code of each script, run by `sh` on the node without SSH."""
    found = {}
    show = 'sh -c "$1" </dev/null; printf "\\n=%s" $?'
    for script in SCRIPTS:
        words = machine._entering(["sh", "-c", show, "sh", BEGIN + script])
        done = subprocess.run(words, capture_output=True, check=True)
        stdout, _, code = done.stdout.rpartition(b"\n=")
        found[script] = (stdout, done.stderr.decode(errors="replace").strip(), int(code))
    return found


@pytest.mark.sampled(4)
def test_scripts_as_the_nodes_sh(user: Node, plain: dict[str, tuple[bytes, str, int]]) -> None:
    different = {}
    for number, (script, expected) in enumerate(plain.items()):
        for sudo in (False, True) if number % 5 == 0 else (False,):
            result = run_script(user, BEGIN + script, sudo)
            found = (result.stdout_bytes, result.stderr, result.exit_code)
            if found != expected:
                different[script, sudo] = (found, expected)
    assert not different
    assert run_script(user, "id -u", sudo=True).stdout == "0"
    assert run_script(user, "id -un").stdout == user.connection_info["username"]


@pytest.mark.sampled(4)
def test_features_that_run_commands_on_the_node(user: Node, machine: SandboxNode) -> None:
    """Capabilities, package settings and images on the node work in each login shell."""
    engine = Engine.of(user)
    bits = int(machine.run("grep CapBnd /proc/$(pidof dockerd)/status").stdout.split()[1], 16)
    has = {name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1}
    missing = set(engine.capabilities.missing)
    assert missing and not missing & has and len(engine.capabilities.granted) > 20
    settings = PackageSettings.of_node(user)
    assert b"BEGIN CERTIFICATE" in settings.files["certificates.pem"]
    machine.run(f"docker rmi -f {BUSYBOX}", check=False)
    config = ContainerTestConfig(image=BUSYBOX, privileged=True)
    with ContainerExecutor(user, config) as container:
        assert container.run("echo it\\'s here").stdout == "it's here"
        assert container.run("find /dev -type b -o -type c | head -1").stdout
    disconnect(user)


# Stands for mmdebstrap, which takes a minute: a tar with a file that says how it was called.
TOOL = r"""#!/bin/sh
mkdir -p /run/fake/bin; cp /bin/busybox /run/fake/bin/busybox; echo "$@" >/run/fake/arguments
exec tar -C /run/fake -c .
"""


@pytest.mark.parametrize("name", ["welcome", "elsewhere", "fish", "tcsh"])
def test_debian_image(machine: SandboxNode, name: str) -> None:
    machine.run(
        f"cat >/usr/local/bin/mmdebstrap <<'END'\n{TOOL}END\nchmod 755 /usr/local/bin/mmdebstrap"
    )
    node = connect(machine.address, name, machine.port, machine.private_key_file, name=name)
    image = "lisa_container/debian:bookworm"
    try:
        ensure_image(Engine.of(node), ContainerTestConfig(image=image))
        said = machine.run(
            f"docker run --rm --entrypoint /bin/busybox {image} cat /arguments"
        ).stdout
        assert said.startswith("--variant=apt --format=tar bookworm -")
    finally:
        disconnect(node)
        machine.run(f"docker rmi -f {image}; rm /usr/local/bin/mmdebstrap", check=False)


@pytest.mark.parametrize("kind", ["sudo", "password"])
def test_sudo_that_wants_a_terminal(
    machine: SandboxNode, kind: str, logged: Callable[[], str]
) -> None:
    machine.run("echo 'Defaults requiretty' >/etc/sudoers.d/terminal")
    node = connect_as(machine, kind)
    try:
        password = node.shell.connection_info.password or None
        transport = transport_of(node.shell)
        data = bytes(range(256)) * 20
        with open_command(transport, "cat; id -u", True, password, data) as channel:
            assert channel.makefile("rb").read() == data + b"0\n"
        assert read_command(transport, "cat; echo $#; echo e >&2", True, password) == "0\ne"
        for script in ("echo out; echo err >&2; exit 7", "printf 'a\\r\\n\\377'", "cat", "stty -a"):
            plain, ours = run_script(node, script), run_script(node, script, sudo=True)
            assert ours == plain
        with ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)) as container:
            assert Engine.of(node).dialer.name == "relay"
            assert container.run("echo in it").stdout == "in it"
        assert "hunter2" not in logged()
    finally:
        disconnect(node)
        machine.run("rm /etc/sudoers.d/terminal")


def test_sudo_that_refuses(machine: SandboxNode) -> None:
    add_user(machine, "nobodys")
    node = connect(machine.address, "nobodys", machine.port, machine.private_key_file)
    with pytest.raises(SudoError):
        run_script(node, "true", sudo=True)
    disconnect(node)
