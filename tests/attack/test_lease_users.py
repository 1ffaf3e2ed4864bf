"""Attacks of a node's other users on the lease of a run; each one worked once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.container.live import release_lease
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.lease import TTL_VARIABLE, Lease
from lisa_container.engine.lease.shell import run_program, shell_of
from lisa_container.engine.lease.sweep import Findings, sweep
from lisa_container.images import ensure_image
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.nodes import BUSYBOX, DOCKER_USER, add_user, connect, connect_as, disconnect
from tests.support.runners import Runner, Runners, wait_until

BOX = ContainerTestConfig(image=BUSYBOX)
USERS = ["root", "sudo", "docker"]

# Forge folders of leases: for a living run by name and, in `state`, for a dead run.
FORGE = """
mkdir -m 777 /tmp/loot
cd /tmp
for folder in lisa_container.{id} lisa_container.{id}.60.AAAAAAAA .lisa_container.{id}; do
    mkdir -m 700 $folder || continue
    printf '%s\\n' run runner since 60 docker /run/docker.sock {pid} >$folder/state
    echo 1 >$folder/beat
    echo 'id -un >>/tmp/loot/who' >$folder/node.sh
    : >$folder/files
    {more}
done
for name in lisa_container. lisa_container.x lisa_container..60.AAAAAAAA; do mkdir -p $name; done
mkfifo -m 666 lisa_container.{id}.60.AAAAAAAA/fifo
for mark in {item} {item}.AAAAAAAA; do mkdir -p /var/tmp/lisa_container_kept.$mark; done
"""
CLEAN = """
find /tmp /var/tmp -maxdepth 1 -user "$(id -u)" \\( -name '*lisa_container*' -o -name loot \\) \\
    -exec rm -rf {} +
:
"""

# Take each name for a lease's folder that its id and TTL, which are on a command line, tell.
RACE = """
rm -rf /tmp/loot; mkdir -m 777 /tmp/loot
exec perl -e 'umask 0; while (-d "/tmp/loot") { for my $file (glob "/proc/[0-9]*/cmdline") {
    open my $input, "<", $file or next; local $/; my $text = <$input> // "";
    $text =~ m{node\\.sh.arm.([0-9a-f]{16}).([0-9]+)}s or next;
    next if $seen{$1}++;
    for my $name ("lisa_container.$1", "lisa_container.$1.$2", ".lisa_container.$1") {
        mkdir "/tmp/$name" or next;
        open my $program, ">", "/tmp/$name/node.sh";
        print $program "id -un >>/tmp/loot/who; sleep 100\n";
        open my $state, ">", "/tmp/$name/state";
        print $state join "\n", qw(run runner since 60 docker /run/docker.sock 1), "";
    }
    open my $tries, ">>", "/tmp/loot/tries"; print $tries "x";
} }'
"""

# Make folders and remove them, so that they vanish while another user lists them.
VANISH = """
rm -rf /tmp/loot; mkdir -m 777 /tmp/loot
exec perl -e 'while (-d "/tmp/loot") {
    for my $step (sub { mkdir $_[0] }, sub { rmdir $_[0] }) {
        $step->("/tmp/lisa_container.$_") for 1 .. 500;
    }
}'
"""

# Take each name in /var/tmp that appears on a command line.
WATCH = """
rm -rf /tmp/loot; mkdir -m 777 /tmp/loot
exec perl -e 'umask 0; while (-d "/tmp/loot") { for my $file (glob "/proc/[0-9]*/cmdline") {
    open my $input, "<", $file or next; local $/; my $text = <$input> // "";
    while ($text =~ m{(/var/tmp/lisa_container\\.[0-9A-Za-z]{8,})}g) {
        next if -e $1; open my $output, ">>", $1;
} } }'
"""


@pytest.fixture(scope="module")
def nodes(machine: SandboxNode) -> Iterator[dict[str, Node]]:
    """Connect as each user that may reach the engine; two are in the docker group."""
    connected = {user: connect_as(machine, user) for user in USERS}
    add_user(machine, "other", "docker")
    connected["other"] = connect(
        machine.address, "other", machine.port, machine.private_key_file, name="other"
    )
    ensure_image(Engine.of(connected["root"]), BOX)
    yield connected
    for node in connected.values():
        disconnect(node)


@pytest.fixture(autouse=True)
def clean(machine: SandboxNode, nodes: dict[str, Node], stranger: Node) -> Iterator[None]:
    """Remove what the stranger has made after each test."""
    yield
    stranger.execute(CLEAN, shell=True)
    machine.run("docker ps -aq | xargs -r docker rm -f -v")


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> str:
    """Return each kind of user that may reach the engine."""
    return str(request.param)


@pytest.fixture
def node(nodes: dict[str, Node], user: str) -> Iterator[Node]:
    """Return the node of that user."""
    yield nodes[user]
    release_lease(nodes[user])


def sweep_as(node: Node) -> None:
    """Do a sweep like at a first contact, or by `lisa-container reap`."""
    engine = Engine.of(node)
    sweep(engine, Findings.of(engine))


def dead_run(machine: SandboxNode, runners: Runners, user: str) -> Runner:
    """Start a run, kill it and its watcher, and wait until its lease has expired."""
    runner = runners.start(machine, "detach", user, ttl=2)
    runner.wait_for("ready")
    container = machine.run(["docker", "inspect", runner.name]).stdout
    id = container.split('"lisa_container.lease": "')[1][:16]
    runner.kill()
    machine.run(["pkill", "-9", "-f", f"node.sh watch .*{id}"])
    machine.run("sleep 3")
    assert is_there(machine, runner.name)
    return runner


def is_there(machine: SandboxNode, container: str) -> bool:
    return container in machine.run("docker ps -a --format '{{.Names}}'").stdout.split()


def id_of(machine: SandboxNode, container: str) -> str:
    return machine.run(["docker", "inspect", "-f", "{{.Id}}", container]).stdout.strip()


def test_forged_lease_ends_no_run(
    machine: SandboxNode, nodes: dict[str, Node], node: Node, stranger: Node
) -> None:
    """A stranger's forged lease, in several forms, does not make a living run dead."""
    with ContainerExecutor(node, BOX, "living") as container:
        lease = Lease.of(container.engine).id
        forge = FORGE.format(id=lease, pid="../../tmp/x", more=": >$folder/expired", item="x")
        stranger.execute(forge, shell=True)
        for sweeper in nodes.values():
            sweep_as(sweeper)
            assert container.run("echo alive").stdout == "alive"
        assert machine.run("ls /tmp/loot").stdout == "", "what the stranger wrote was run"


def test_forged_lease_keeps_nothing(
    machine: SandboxNode, runners: Runners, stranger: Node, node: Node, user: str
) -> None:
    """A stranger's forged lease, mark or process do not make a dead run alive or its container kept."""
    runner = dead_run(machine, runners, user)
    labels = machine.run(["docker", "inspect", runner.name]).stdout
    lease = labels.split('"lisa_container.lease": "')[1][:16]
    tags = f"LISA_CONTAINER_WATCHER={lease} LISA_CONTAINER_LEASE={lease}"
    # setsid may fork, so the process itself tells its pid.
    sleep = f"echo $$ >/tmp/sleeper; exec env {tags} sleep 300"
    # The end of LISA's terminal would end a process that has no session of its own yet.
    there = "while [ ! -s /tmp/sleeper ]; do sleep 0.1; done"
    stranger.execute(f"setsid sh -c '{sleep}' </dev/null >/dev/null 2>&1 & {there}", shell=True)
    pid = stranger.execute("cat /tmp/sleeper; rm /tmp/sleeper", shell=True).stdout.strip()
    # The process has got the pid of the dead watcher, and of the runner's connection.
    folder = machine.run(
        f"ls -d /run/lisa_container.{lease} /tmp/lisa_container.{lease}.*", check=False
    )
    machine.run(f"cd {folder.stdout.strip()} && echo {pid} >>state && echo >link.{pid}")
    wait_until(lambda: machine.run(["cat", f"/proc/{pid}/comm"]).stdout == "sleep\n", "its sleep")
    item = id_of(machine, runner.name)
    stranger.execute(FORGE.format(id=lease, pid=pid, more=":", item=item), shell=True)
    try:
        sweep_as(node)
        assert not is_there(machine, runner.name)
    finally:
        stranger.execute(f"kill {pid}")


def test_root_sweeps_for_others(
    machine: SandboxNode, nodes: dict[str, Node], runners: Runners, stranger: Node
) -> None:
    """Root removes what a docker-group user's dead run left, despite forged leases and marks."""
    runner = dead_run(machine, runners, "docker")
    labels = machine.run(["docker", "inspect", runner.name]).stdout
    lease = labels.split('"lisa_container.lease": "')[1][:16]
    item = id_of(machine, runner.name)
    stranger.execute(FORGE.format(id=lease, pid="1", more=":", item=item), shell=True)
    sweep_as(nodes["other"])
    assert is_there(machine, runner.name), "another user cannot know"
    sweep_as(nodes["sudo"])
    assert not is_there(machine, runner.name)


def test_stranger_runs_no_code_as_the_user(
    machine: SandboxNode, stranger: Node, node: Node, user: str
) -> None:
    """A stranger who takes the names of new folders runs no code as the user."""
    process = stranger.execute_async(RACE, shell=True)
    try:
        wait_until(
            lambda: machine.run("ls -d /tmp/loot", check=False).stdout, "the stranger's start"
        )
        tries = "cat /tmp/loot/tries"
        for number in range(30):
            if number >= 5 and machine.run(tries, check=False).stdout:
                break
            with ContainerExecutor(node, BOX) as container:
                folder = Lease.of(container.engine)._renewal.folder  # type: ignore[union-attr]
                mode = machine.run(["stat", "-c", "%a", folder]).stdout.strip()
                owner = machine.run(["stat", "-c", "%U", folder]).stdout.strip()
                assert (mode, owner) == ("700", DOCKER_USER if user == "docker" else "root")
            release_lease(node)
        assert machine.run(tries).stdout, "the stranger was too slow"
        assert machine.run("cat /tmp/loot/who", check=False).stdout == ""
    finally:
        stranger.execute("rm -rf /tmp/loot")
        process.wait_result(30)


def test_living_run_of_another_user(
    machine: SandboxNode, nodes: dict[str, Node], node: Node
) -> None:
    """Other users' sweeps leave a living run alone, even if its watcher has just died."""
    with ContainerExecutor(node, BOX) as container:
        watch = ["-f", f"node.sh watch .*{Lease.of(container.engine).id}"]
        machine.run(["pkill", "-9", *watch])
        for sweeper in nodes.values():
            sweep_as(sweeper)
            assert container.run("echo alive").stdout == "alive"
        assert machine.run(["pgrep", *watch], check=False).stdout == "", "none was needed yet"


def test_watcher_is_started_again(
    machine: SandboxNode, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose watcher was killed goes on, and a new watcher ends the lease later."""
    monkeypatch.setenv(TTL_VARIABLE, "4")
    with ContainerExecutor(node, BOX) as container:
        lease = Lease.of(container.engine)
        watch = ["-f", f"node.sh watch .*{lease.id}"]

        def watchers() -> set[str]:
            return {*machine.run(["pgrep", *watch], check=False).stdout.split()}

        for _ in range(2):
            killed = watchers()
            machine.run(["pkill", "-9", *watch])
            wait_until(lambda old=killed: bool(watchers() - old), "another watcher", 30)  # type: ignore[misc]
        assert container.run("echo alive").stdout == "alive"
        assert lease.why_gone() == ""
        id = lease.id
    release_lease(node)
    assert machine.run(["pgrep", "-f", id], check=False).stdout == ""
    assert machine.run(f"ls -d /run/*{id}* /tmp/*{id}*", check=False).stdout == ""


def test_watcher_started_again_ends_the_run(machine: SandboxNode, runners: Runners) -> None:
    """A second watcher removes what a killed run left."""
    runner = runners.start(machine, "wait", "docker", ttl=3)
    runner.wait_for("ready")
    watch = ["-u", DOCKER_USER, "-f", "node.sh watch"]
    machine.run(["pkill", "-9", *watch])
    wait_until(lambda: machine.run(["pgrep", *watch], check=False).stdout, "a watcher", 20)
    runner.kill()
    wait_until(lambda: not is_there(machine, runner.name), "the end of the container", 30)


def test_malformed_leases(machine: SandboxNode, node: Node) -> None:
    """Root's own folders with garbage block nothing, and no id is read from them."""
    garbage = {
        "lisa_container.": "",
        "lisa_container.0123": "",
        "lisa_container.../../etc": "",
        "lisa_container.00000000000000a1": "r\\nr\\ns\\n4\\ndocker\\n/x\\n../self",
        "lisa_container.00000000000000a2": "r\\nr\\ns\\n4;id\\ndocker\\n/x\\n1",
        "lisa_container.00000000000000a3": "r\\nr\\ns\\n4\\n/bin/sh\\n/x\\n1",
    }
    for name, state in garbage.items():
        machine.run(
            f"mkdir -p -m 700 /run/{name} && printf '{state}\\n' >/run/{name}/state", check=False
        )
    try:
        with ContainerExecutor(node, BOX) as container:
            assert container.run("echo alive").stdout == "alive"
            said = run_program(shell_of(container.engine), "leases")
            rows = [line.split("\t") for line in said.splitlines()]
            ids = {row[1] for row in rows if row[0] == "lease"}
            assert Lease.of(container.engine).id in ids
            assert all(len(id) == 16 for id in ids)
    finally:
        machine.run("rm -rf /run/lisa_container. /run/lisa_container.0*")


@pytest.mark.parametrize("user", ["docker"])
def test_thousands_of_marks(machine: SandboxNode, node: Node, stranger: Node) -> None:
    """More forged marks than a command line may have do not remove a kept container."""
    with ContainerExecutor(node, BOX, "kept") as container:
        container.keep = True
        item = container.id
    name = f"lisa_container_kept.{item}"
    stranger.execute(f"cd /var/tmp && seq -f {name}.%08g 20000 | xargs mkdir", shell=True)
    release_lease(node)
    assert is_there(machine, "kept")
    machine.run(f"find /var/tmp -maxdepth 1 -name '{name}.*' -exec rm -rf {{}} +")


def test_vanishing_folders(machine: SandboxNode, node: Node, stranger: Node) -> None:
    """Folders that a stranger removes meanwhile do not make the list of leases incomplete."""
    process = stranger.execute_async(VANISH, shell=True)
    try:
        wait_until(
            lambda: machine.run("ls -d /tmp/loot", check=False).stdout, "the stranger's start"
        )
        with ContainerExecutor(node, BOX) as container:
            lease, shell = Lease.of(container.engine).id, shell_of(container.engine)
            for _ in range(5):
                said = run_program(shell, "leases")
                assert f"lease\t{lease}\talive\t" in said and said.endswith("\nend\n")
    finally:
        stranger.execute("rm -rf /tmp/loot")
        process.wait_result(30)


def test_folders_that_inherit_a_group(
    machine: SandboxNode, nodes: dict[str, Node], node: Node
) -> None:
    """A living lease is seen in a parent whose new folders have mode 2700."""
    machine.run("chmod g+s /run /tmp")
    try:
        with ContainerExecutor(node, BOX) as container:
            for sweeper in nodes.values():
                sweep_as(sweeper)
                assert container.run("echo alive").stdout == "alive"
    finally:
        machine.run("chmod g-s /run /tmp")


@pytest.mark.parametrize("user", ["sudo"])
def test_stranger_does_not_read_the_root(machine: SandboxNode, node: Node, stranger: Node) -> None:
    """A stranger cannot make the archive's file before root writes to it."""
    machine.run("rm -rf /tmp/loot")
    process = stranger.execute_async(WATCH, shell=True)
    try:
        wait_until(
            lambda: machine.run("ls -d /tmp/loot", check=False).stdout, "the stranger's start"
        )
        ensure_image(Engine.of(node), ContainerTestConfig(image="lisa_container/root"))
        assert machine.run("find /var/tmp -user stranger -size +0").stdout == ""
    finally:
        stranger.execute("rm -rf /tmp/loot")
        process.wait_result(30)
