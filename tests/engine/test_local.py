"""A local node: the engine of this very machine, without SSH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lisa.node import Node, local_node_connect

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.config import BuildSpec, ContainerSettings
from lisa_container.config.current import use_settings
from lisa_container.container.enter import write_script
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.engine.found import FIND_ENGINES, engines_here, read_found
from lisa_container.engine.service import start_engine
from lisa_container.errors import EngineNotFoundError
from lisa_container.images import build_image, ship
from lisa_container.platforms.sandbox import SandboxConfig, SandboxNode
from lisa_container.platforms.sandbox.rootfs import provide
from tests.support.engines import container_of, engine_of
from tests.support.nodes import BUSYBOX
from tests.support.plans import run_sample
from tests.support.waiting import eventually

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start an engine that touches nothing else on this machine; return its socket."""
    folder = tmp_path_factory.mktemp("engine")
    dockerd = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert dockerd, "dockerd is missing: apt-get install docker.io"
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(dockerd, "-H", f"unix://{folder}/docker.sock", "--data-root", f"{folder}/data"),
                *("--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"),
                *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
                *("--cgroup-parent", f"/{folder.name}"),
            ],
            stdout=output,
            stderr=output,
        )
    try:
        assert eventually((folder / "docker.sock").exists, 30), log.read_text()
        yield folder / "docker.sock"
    finally:
        process.terminate()
        process.wait(30)
        for cgroup in Path("/sys/fs/cgroup").glob(f"**/{folder.name}"):
            cgroup.rmdir()


@pytest.fixture()
def local(own_engine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """Return this machine as a node whose engine DOCKER_HOST names."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{own_engine}")
    node = local_node_connect()
    yield node
    Engine.forget(node)
    node.close()


def test_docker_host(local: Node, own_engine: Path) -> None:
    with engine_of(local) as engine:
        assert engine.dialer.name == "unix"
        assert engine.api.info()["DockerRootDir"] == str(own_engine.parent / "data")


def test_run(local: Node) -> None:
    docker = local.tools[DockerAdvanced]
    result = docker.run_in_container(BUSYBOX, "echo out; echo err >&2; exit 3", network_mode="none")
    assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3)


def test_executor(local: Node) -> None:
    config = ContainerTestConfig(image=BUSYBOX, network_mode="none")
    with ContainerExecutor(local, config) as container:
        assert container.run("cat", stdin=b"hello").stdout_bytes == b"hello"


def test_enter(local: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both commands to enter a container name the socket, as a shell may lack DOCKER_HOST."""
    config = ContainerTestConfig(image=BUSYBOX, network_mode="none", hostname="inside")
    with ContainerExecutor(local, config) as container:
        write_script(container.engine, container.name, tmp_path / "enter.sh")
        monkeypatch.delenv("DOCKER_HOST")
        for command in (
            str(tmp_path / "enter.sh"),
            container.enter_command.replace(" -it ", " -i "),
        ):
            done = subprocess.run(
                command, shell=True, input="hostname", capture_output=True, text=True, timeout=60
            )
            assert done.stdout == "inside\n", done.stderr


def test_images(local: Node) -> None:
    """Images are built, and shipped from this machine's engine to itself under another name."""
    engine = Engine.of(local)
    text = f'FROM {BUSYBOX}\nCMD ["echo", "built"]\n'
    built = build_image(engine, BuildSpec(dockerfile_inline=text, network="none"))
    (shipped,) = ship(built, [local], source=local, name="tests/shipped")
    assert shipped.layers == 0
    docker = local.tools[DockerAdvanced]
    result = docker.run_in_container("tests/shipped", network_mode="none", pull_policy="never")
    assert result.stdout == "built"


def test_exec_socket(local: Node) -> None:
    with engine_of(local) as engine, container_of(engine, network_mode="none") as container:
        stream = engine.client.containers.get(container).exec_run("cat", socket=True, stdin=True)
        stream.output._sock.sendall(b"hello\n")
        assert stream.output.read(100)[8:] == b"hello\n"
        stream.output.close()


def test_sys_of_a_privileged_container(local: Node) -> None:
    """/sys, which is read-only at first, can be remounted in a privileged container."""
    docker = local.tools[DockerAdvanced]
    script = "mount -o remount,rw /sys; grep ' /sys sysfs ' /proc/mounts"
    result = docker.run_in_container(BUSYBOX, script, privileged=True, network_mode="none")
    assert result.stdout.startswith("sysfs /sys sysfs rw,"), result


def test_no_listener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/there-is-none")
    with pytest.raises(EngineNotFoundError, match="there-is-none on this machine.*No such file"):
        Engine(local_node_connect())


def test_never_started_unasked(
    own_engine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An engine at another socket is named, and no second one is started."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/usual.sock")
    before = engines_here()
    (ours,) = [x for x in before if str(own_engine) in x.sockets]
    for ask in (
        lambda node: ContainerExecutor(node, ContainerTestConfig(image=BUSYBOX)).start(),
        lambda node: node.tools[DockerAdvanced],
        lambda node: start_engine(node),
    ):
        node = local_node_connect()
        with pytest.raises(EngineNotFoundError) as caught:
            ask(node)
        said = str(caught.value).splitlines()[0]
        assert f"'dockerd' (pid {ours.pid}) runs and listens at {own_engine}" in said
        assert f"{tmp_path}/usual.sock" in said and "No such file" in said
        node.close()
    assert engines_here() == before
    monkeypatch.setattr("lisa_container.engine.dial.local.engines_here", list)
    with pytest.raises(EngineNotFoundError, match="only if asked: .*--start-engine"):
        Engine(local_node_connect())


def test_engines_inside(
    machine: SandboxNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Engines of sandbox nodes are not this machine's, but mentioned."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/usual.sock")
    with pytest.raises(EngineNotFoundError) as caught:
        Engine(local_node_connect())
    assert re.search(
        r"The \d+ other engines? on this machine can only be reached as part of a container or a "
        r"sandbox node: connect to the sandbox node over SSH\.$",
        str(caught.value),
    )


def test_engine_of_another_user(own_engine: Path) -> None:
    """A user who may not look into the engine's process finds it, too."""
    words = ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", FIND_ENGINES]
    found = read_found(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert any(str(own_engine) in each.command for each in found)


def test_start_that_was_asked_for(
    own_engine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A requested start is refused if an engine listens at another socket."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/usual.sock")
    before = engines_here()
    use_settings(ContainerSettings(start_engine=True))
    try:
        with pytest.raises(EngineNotFoundError, match="a second one would harm it: 'dockerd'"):
            start_engine(local_node_connect())
    finally:
        use_settings(ContainerSettings())
    assert engines_here() == before


def test_docker_host_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://198.51.100.1:2375")
    with pytest.raises(
        EngineNotFoundError, match="only reached through a unix socket.*use a remote node"
    ):
        Engine(local_node_connect())


# Program of a user who may not open the socket, in a root file system that has sudo.
SCRIPT = """
import sys
from pathlib import Path
from lisa.node import local_node_connect
from lisa.util import constants
from lisa_container.engine.client import Engine
from lisa_container.errors import SudoError

constants.RUN_LOCAL_LOG_PATH = constants.RUN_LOCAL_WORKING_PATH = Path("/tmp/lisa")
constants.RUN_LOGIC_PATH = Path("run")
try:
    engine = Engine(local_node_connect())
    print(engine.dialer.name, engine.ping(), file=sys.stderr)
    engine.close()
    print(list(Path("/run").glob("lisa_container_*")), file=sys.stderr)
except SudoError as error:
    print(error, file=sys.stderr)
"""

# Makes that root file system, in a mount namespace of its own, from a sandbox node's.
ENTER = """
set -eu
mount -t tmpfs tmpfs "$WORK"
mkdir "$WORK/upper" "$WORK/work" "$WORK/root"
layers="lowerdir=$ROOTFS,upperdir=$WORK/upper,workdir=$WORK/work"
mount -t overlay -o "$layers" root "$WORK/root"
cd "$WORK/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
chmod 755 root
for folder in "$PYTHON" "$REPOSITORY" "$ENGINE"; do
    mkdir -p ".$folder"
    mount --bind "$folder" ".$folder"
done
chmod 755 ".$(dirname "$ENGINE")" 2>/dev/null || :
echo "$RULE" >etc/sudoers.d/test
cat >tmp/script.py
exec chroot --userspec=65534:65534 . env HOME=/tmp DOCKER_HOST="unix://$ENGINE/docker.sock" \
    "$REPOSITORY/.venv/bin/python" /tmp/script.py
"""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("nobody ALL=(ALL) NOPASSWD: ALL", "relay True\n[]"),
        ("", "sudo: a password is required. Give"),
    ],
)
def test_sudo_user(own_engine: Path, tmp_path: Path, rule: str, said: str) -> None:
    """A sudo user reaches the engine by a relay, as on a remote node; sudo never prompts."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "WORK": str(tmp_path),
        "ROOTFS": str(provide(SandboxConfig(), print)),
        "PYTHON": sys.base_prefix,
        "REPOSITORY": str(REPOSITORY),
        "ENGINE": str(own_engine.parent),
        "RULE": rule,
    }
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER]
    done = subprocess.run(
        words,
        env=environment,
        input=SCRIPT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said in done.stderr, done.stderr[-1000:]


def test_plan(local: Node, tmp_path: Path) -> None:
    run_sample(local, tmp_path)
