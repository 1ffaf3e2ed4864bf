"""The LISA tool DockerAdvanced: every method, and every way in which a container can fail."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from func_timeout import FunctionTimedOut, func_timeout
from lisa.node import Node
from lisa.tools import Docker

from lisa_container.container.result import CommandResult
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import MARK_LABEL
from lisa_container.errors import (
    CommandNotStartedError,
    CommandTimeoutError,
    ConfigError,
    ContainerDiedError,
    CopyError,
    EngineError,
    ImageNotFoundError,
    NameTakenError,
    SshLostError,
    WaitTimeoutError,
)
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.engines import cut_connections
from tests.support.nodes import BUSYBOX, connect_as
from tests.support.waiting import eventually

BARE = "tests/bare"
WITH_ENTRYPOINT = "tests/entrypoint"


@pytest.fixture(scope="module")
def docker(node: Node) -> Iterator[DockerAdvanced]:
    docker = node.tools[DockerAdvanced]
    docker.run_in_container(BUSYBOX, "true")
    yield docker
    assert docker.list(all=True, label="lisa_container.call") == [], (
        "of run_in_container nothing stays"
    )


@pytest.fixture()
def container(docker: DockerAdvanced) -> Iterator[str]:
    """Return the name of a container that runs `sleep`."""
    docker.run_in_container(BUSYBOX, ["sleep", "1000"], detach=True, remove=False, name="idle")
    yield "idle"
    docker.remove_container("idle", force=True)


@pytest.fixture(scope="module")
def images(docker: DockerAdvanced) -> Iterator[None]:
    """Make an image without a shell, and one with an entrypoint."""
    api = docker.client.api
    base = api.create_container(BUSYBOX, ["true"])["Id"]
    api.commit(base, WITH_ENTRYPOINT, changes='ENTRYPOINT ["echo", "entered"]')
    remover = api.create_container(BUSYBOX, ["rm", "/bin/sh"])["Id"]
    api.start(remover)
    api.wait(remover)
    api.commit(remover, BARE)
    for container in (base, remover):
        api.remove_container(container)
    yield
    for image in (BARE, WITH_ENTRYPOINT):
        docker.remove_image(image, force=True)


# --- run_in_container: what comes back


def test_streams_and_exit_code(docker: DockerAdvanced) -> None:
    result = docker.run_in_container(BUSYBOX, "echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3)


def test_binary_output(docker: DockerAdvanced) -> None:
    result = docker.run_in_container(BUSYBOX, r"printf '\377\000\r\n'; printf '\001\002' >&2")
    assert isinstance(result, CommandResult)
    assert (result.stdout_bytes, result.stderr_bytes) == (b"\xff\x00\r\n", b"\x01\x02")


def test_large_output(docker: DockerAdvanced) -> None:
    result = docker.run_in_container(BUSYBOX, ["head", "-c", "10000000", "/dev/zero"])
    assert isinstance(result, CommandResult)
    assert result.stdout_bytes == bytes(10_000_000)


def test_output_of_a_quick_command_is_never_lost(docker: DockerAdvanced) -> None:
    for number in range(10):
        assert docker.run_in_container(BUSYBOX, ["echo", str(number)]).stdout == str(number)


def test_results_are_not_cached(docker: DockerAdvanced) -> None:
    """Results of the engine and of the docker command are not cached."""
    read = "cat /proc/sys/kernel/random/uuid"
    first, second = (docker.run_in_container(BUSYBOX, read).stdout for _ in range(2))
    assert first != second
    names = []
    for name in ("first", "second"):
        container = docker.create_container(BUSYBOX, name=name)
        names.append(docker.run("ps -a --format {{.Names}}", sudo=True).stdout)
        docker.remove_container(container, force=True)
    assert names == ["first", "second"]


@pytest.mark.parametrize(
    "text",
    ["two  words", "it's", 'a "quoted" one', "one\ntwo", "$HOME `id` \\ ; | & > * ?", "ü €", "-n"],
)
def test_words_arrive_as_they_are(docker: DockerAdvanced, text: str) -> None:
    """No shell changes a sequence's words, on the node or in the container."""
    result = docker.run_in_container(BUSYBOX, ["printf", "%s|", text, ""], environment={"X": text})
    assert isinstance(result, CommandResult)
    assert result.stdout_bytes.decode() == f"{text}||"
    result = docker.run_in_container(BUSYBOX, 'printf %s "$X"', environment={"X": text})
    assert isinstance(result, CommandResult)
    assert result.stdout_bytes.decode() == text


def test_output_may_end_before_the_command(docker: DockerAdvanced) -> None:
    result = docker.run_in_container(BUSYBOX, "echo out; exec >&- 2>&-; sleep 0.3; exit 4")
    assert (result.stdout, result.exit_code) == ("out", 4)
    assert result.elapsed > 0.3


def test_expected_exit_code(docker: DockerAdvanced) -> None:
    docker.run_in_container(BUSYBOX, "exit 3", expected_exit_code=3)
    with pytest.raises(AssertionError, match="(?s)in a container of.*what went wrong"):
        docker.run_in_container(BUSYBOX, "echo what went wrong; exit 3", expected_exit_code=0)


@pytest.mark.parametrize("driver", ["none", "local", "json-file"])
def test_any_log_driver(docker: DockerAdvanced, machine: SandboxNode, driver: str) -> None:
    """The output is complete with any log driver, since it is followed from the start."""
    body_of = docker.engine.api.create_container_from_config

    def with_driver(body: dict[str, object], *args: object) -> object:
        host = dict(body["HostConfig"], LogConfig={"Type": driver})  # type: ignore[call-overload]
        return body_of({**body, "HostConfig": host}, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docker.engine.api, "create_container_from_config", with_driver)
        result = docker.run_in_container(BUSYBOX, "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out", "err")


# --- run_in_container: commands that cannot run, or are ended


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["there-is-none"], 127, "not found"),
        (["/etc/there-is-none"], 127, "no such file"),
        (["/etc/passwd"], 126, "permission denied"),
        (["/etc"], 126, "permission denied|is a directory"),
    ],
)
def test_command_that_cannot_run(
    docker: DockerAdvanced, words: list[str], exit_code: int, said: str, detach: bool
) -> None:
    """A missing command has exit code 127, one that may not be executed 126."""
    result = docker.run_in_container(BUSYBOX, words, detach=detach, name="cannot-run")
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert re.search(said, result.stderr)
    assert docker.list(all=True, name="cannot-run") == []


def test_the_same_through_a_shell(docker: DockerAdvanced) -> None:
    assert docker.run_in_container(BUSYBOX, "there-is-none").exit_code == 127
    assert docker.run_in_container(BUSYBOX, "/etc/passwd").exit_code == 126


def test_killed_by_a_signal(docker: DockerAdvanced) -> None:
    assert docker.run_in_container(BUSYBOX, "sh -c 'kill -TERM $$'; exit $?").exit_code == 143


def test_working_directory_is_a_file(docker: DockerAdvanced) -> None:
    """A working directory that is a file is an error, not an exit code."""
    with pytest.raises(EngineError, match="passwd"):
        docker.run_in_container(BUSYBOX, "true", working_dir="/etc/passwd")


def test_out_of_memory(docker: DockerAdvanced) -> None:
    eat = "head -c 100m /dev/zero | tail > /dev/null; exit $?"
    result = docker.run_in_container(BUSYBOX, eat, memory="16m")
    assert isinstance(result, CommandResult)
    assert (result.exit_code, result.oom_killed) == (137, True)
    with pytest.raises(AssertionError, match="out of memory: the container's memory limit"):
        docker.run_in_container(BUSYBOX, eat, memory="16m", expected_exit_code=0)
    killed = docker.run_in_container(BUSYBOX, "sh -c 'kill -KILL $$'; exit $?")
    assert isinstance(killed, CommandResult)
    assert (killed.exit_code, killed.oom_killed) == (137, False), "137, but there was memory enough"


@pytest.mark.parametrize("remove", [True, False])
def test_timeout(docker: DockerAdvanced, remove: bool) -> None:
    started = time.monotonic()
    with pytest.raises(
        CommandTimeoutError, match="(?s)did not end in 0.5 seconds.*so far"
    ) as caught:
        docker.run_in_container(
            BUSYBOX, "echo so far; sleep 100", timeout=0.5, name="slow", remove=remove
        )
    assert caught.value.stdout == "so far\n"
    assert time.monotonic() - started < 5
    assert docker.list(all=True, name="slow") == []


@pytest.mark.alone
def test_the_pull_does_not_count_in_the_timeout(docker: DockerAdvanced) -> None:
    docker.remove_image(BUSYBOX, force=True)
    assert docker.run_in_container(BUSYBOX, "echo out", timeout=0.5).stdout == "out"


def test_timeout_of_the_case(docker: DockerAdvanced) -> None:
    """A container is removed when LISA ends its case by an exception in the thread."""
    with pytest.raises(FunctionTimedOut):
        func_timeout(0.7, docker.run_in_container, (BUSYBOX, "sleep 100"), {"name": "of-the-case"})
    assert eventually(lambda: docker.list(all=True, name="of-the-case") == [])


# --- run_in_container: the container


def test_detach(docker: DockerAdvanced) -> None:
    result = docker.run_in_container(BUSYBOX, ["sleep", "0.5"], detach=True)
    assert result.exit_code == 0
    assert docker.inspect(result.stdout)["State"]["Running"]
    assert eventually(lambda: docker.list(all=True, id=result.stdout) == []), "removed at its end"


def test_no_removal(docker: DockerAdvanced) -> None:
    docker.run_in_container(BUSYBOX, "echo out", name="stays", remove=False)
    try:
        assert docker.logs("stays") == "out\n"
    finally:
        docker.remove_container("stays", force=True)


def test_anonymous_volumes_go_with_it(docker: DockerAdvanced) -> None:
    api = docker.client.api
    base = api.create_container(BUSYBOX)["Id"]
    api.commit(base, "tests/volume", changes="VOLUME /data")
    api.remove_container(base)
    before = docker.list_volumes()
    try:
        assert (
            docker.run_in_container("tests/volume", "grep -c ' /data ' /proc/mounts").stdout == "1"
        )
        assert docker.list_volumes() == before
    finally:
        docker.remove_image("tests/volume", force=True)


def test_name_taken(docker: DockerAdvanced, container: str) -> None:
    """A container that has the wanted name already is not changed."""
    before = docker.inspect(container)["State"]
    for call in (docker.run_in_container, docker.create_container):
        with pytest.raises(NameTakenError, match=f"remove_container\\('{container}'"):
            call(BUSYBOX, "true", name=container)
    assert docker.inspect(container)["State"] == before


def test_image_not_found(docker: DockerAdvanced) -> None:
    with pytest.raises(ImageNotFoundError, match="pull_policy is 'never'"):
        docker.run_in_container("tests/there-is-none", "true", pull_policy="never")
    assert docker.list(all=True) == []


def test_wrong_option(docker: DockerAdvanced) -> None:
    with pytest.raises(ConfigError, match="memry"):
        docker.run_in_container(BUSYBOX, "true", memry="1g")
    with pytest.raises(ConfigError, match="working_dir"):
        docker.run_in_container(BUSYBOX, "true", working_dir="relative")
    assert docker.list(all=True) == []


@pytest.mark.usefixtures("images")
def test_image_with_an_entrypoint(docker: DockerAdvanced) -> None:
    assert docker.run_in_container(WITH_ENTRYPOINT).stdout == "entered"
    assert docker.run_in_container(WITH_ENTRYPOINT, "a 'b  c'").stdout == "entered a b  c"
    assert docker.run_in_container(WITH_ENTRYPOINT, ["a", "b  c"]).stdout == "entered a b  c"


@pytest.mark.usefixtures("images")
def test_image_without_a_shell(docker: DockerAdvanced) -> None:
    assert docker.run_in_container(BARE, ["echo", "hello"]).stdout == "hello"
    with pytest.raises(CommandNotStartedError, match="has no shell.*as a list of words"):
        docker.run_in_container(BARE, "echo hello")
    assert docker.list(all=True) == []


def test_own_command_of_the_image(docker: DockerAdvanced) -> None:
    """Without a command the image's own runs: a shell, which finds no input."""
    assert docker.run_in_container(BUSYBOX).exit_code == 0


def test_connection_cut(machine: SandboxNode, docker: DockerAdvanced) -> None:
    """A container is removed over the next connection after its own was cut."""
    node = connect_as(machine, "password")
    errors: list[BaseException] = []

    def run() -> None:
        try:
            node.tools[DockerAdvanced].run_in_container(BUSYBOX, "sleep 100", name="cut")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert eventually(lambda: docker.list(name="cut"), 10)
    time.sleep(0.2)
    cut_connections(machine, machine.password_username)
    thread.join(20)
    assert isinstance(errors[0], SshLostError)
    assert docker.list(all=True, name="cut") == []
    Engine.forget(node)
    node.close()


# --- exec_in_container


def test_exec(docker: DockerAdvanced, container: str) -> None:
    result = docker.exec_in_container(
        container,
        'cat; pwd; id -u; echo "$X" >&2; exit 3',
        working_dir="/var",
        environment={"X": "a  b"},
        user="50",
        stdin="given\n",
    )
    assert (result.stdout, result.stderr, result.exit_code) == ("given\n/var\n50", "a  b", 3)


def test_exec_codes(docker: DockerAdvanced, container: str) -> None:
    assert docker.exec_in_container(container, ["there-is-none"]).exit_code == 127
    assert docker.exec_in_container(container, ["/etc/passwd"]).exit_code == 126
    with pytest.raises(AssertionError, match="wrong"):
        docker.exec_in_container(container, "echo wrong; exit 3", expected_exit_code=0)


def test_exec_timeout(docker: DockerAdvanced, container: str) -> None:
    with pytest.raises(CommandTimeoutError, match="so far"):
        docker.exec_in_container(container, "echo so far; sleep 54321", timeout=0.5)
    listed = docker.exec_in_container(container, ["ps"]).stdout
    assert "54321" not in listed


def test_exec_where_nothing_runs(docker: DockerAdvanced) -> None:
    with pytest.raises(ContainerDiedError, match="there-is-none"):
        docker.exec_in_container("there-is-none", "true")


# --- the life of a container


def test_life(docker: DockerAdvanced) -> None:
    """A container is created, started, stopped, restarted, killed, waited for and removed."""
    script = "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.1; done"
    identifier = docker.create(BUSYBOX, script, name="life", labels={"of": "tests"})
    try:
        assert docker.inspect("life")["Id"] == identifier
        assert docker.inspect("life")["State"]["Status"] == "created"
        docker.start("life")
        assert eventually(lambda: "up" in docker.logs("life"))
        docker.stop("life", timeout=5)
        assert docker.wait("life") == 7
        assert docker.logs("life", tail=1) == "asked\n"
        docker.start("life")
        with pytest.raises(WaitTimeoutError, match="'life'.*did not end in 0.5 seconds"):
            docker.wait("life", timeout=0.5)
        assert docker.inspect("life")["State"]["Running"]
        docker.kill("life")
        assert docker.wait("life", timeout=5) == 137
        docker.restart("life")
        assert docker.inspect("life")["State"]["Running"]
        docker.kill("life", "SIGTERM")
        assert docker.wait("life", timeout=5) == 7
        with pytest.raises(EngineError, match="is not running"):
            docker.kill("life")
    finally:
        docker.remove_container("life", force=True)
    assert isinstance(DockerAdvanced.create(docker.node), DockerAdvanced)


def test_pause(docker: DockerAdvanced, container: str) -> None:
    docker.pause(container)
    assert docker.inspect(container)["State"]["Paused"]
    assert [x["Names"] for x in docker.list(status="paused")] == [[f"/{container}"]]
    docker.unpause(container)
    assert not docker.inspect(container)["State"]["Paused"]
    with pytest.raises(EngineError, match="not paused"):
        docker.unpause(container)


def test_list(docker: DockerAdvanced, container: str) -> None:
    stopped = docker.create_container(BUSYBOX, labels={"of": "list"})
    try:
        assert stopped not in [x["Id"] for x in docker.list()]
        assert [x["Id"] for x in docker.list(all=True, label="of=list")] == [stopped]
        assert docker.list(name="there-is-none") == []
    finally:
        docker.remove_container(stopped, force=True)


def test_stats(docker: DockerAdvanced, container: str) -> None:
    assert docker.stats(container)["memory_stats"]["usage"] > 0


def test_logs_of_both_streams(docker: DockerAdvanced) -> None:
    docker.run_in_container(BUSYBOX, "echo 1; echo 2 >&2; echo 3", name="logs", remove=False)
    try:
        assert sorted(docker.logs("logs").splitlines()) == ["1", "2", "3"]
        assert docker.logs("logs", tail=0) == ""
    finally:
        docker.remove_container("logs", force=True)


def test_copies(docker: DockerAdvanced, container: str, tmp_path: Path) -> None:
    content = os.urandom(100_000)
    (tmp_path / "blob").write_bytes(content)
    (tmp_path / "blob").chmod(0o640)
    docker.copy_to(container, tmp_path / "blob", "/made/on/the/way")
    assert docker.exec_in_container(container, "stat -c %a /made/on/the/way").stdout == "640"
    docker.copy_from(container, "/made/on/the/way", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o640
    with pytest.raises(CopyError, match="there-is-none"):
        docker.copy_from(container, "/there-is-none", tmp_path / "x")


def test_removal(docker: DockerAdvanced, container: str) -> None:
    """A refused removal is an error if `force` is given, and else logged, like LISA's."""
    with pytest.raises(EngineError, match="cannot remove a running container"):
        docker.remove_container(container, force=False)
    docker.remove_container(container)
    assert docker.inspect(container)["State"]["Running"]
    with pytest.raises(EngineError, match="No such container"):
        docker.remove_container("there-is-none", force=True)
    docker.remove_container("there-is-none")
    with pytest.raises(ImageNotFoundError):
        docker.remove_image("tests/there-is-none", force=False)
    docker.remove_image("tests/there-is-none tests/nor-this")


def test_remove_image_in_use(docker: DockerAdvanced, container: str) -> None:
    with pytest.raises(EngineError, match="is using its referenced image"):
        docker.remove_image(BUSYBOX, force=False)
    docker.remove_image(BUSYBOX)
    assert docker.client.images.get(BUSYBOX)


# --- networks and volumes


def without_mark(labels: dict[str, str]) -> dict[str, str]:
    """Return labels without the mark, which is new for each thing that is made."""
    assert labels[MARK_LABEL]
    return {name: value for name, value in labels.items() if name != MARK_LABEL}


def test_networks(docker: DockerAdvanced, container: str) -> None:
    identifier = docker.create_network("tests-net", labels={"of": "tests"})
    try:
        (network,) = [x for x in docker.list_networks() if x["Name"] == "tests-net"]
        assert network["Id"] == identifier
        assert without_mark(network["Labels"]) == {"of": "tests", **without_mark(docker.labels)}
        docker.connect_network("tests-net", container, aliases=["idle-one"])
        ping = docker.run_in_container(BUSYBOX, "ping -c 1 idle-one", network_mode="tests-net")
        assert ping.exit_code == 0
        with pytest.raises(EngineError, match="active endpoints"):
            docker.remove_network("tests-net")
        docker.disconnect_network("tests-net", container)
        assert "tests-net" not in docker.inspect(container)["NetworkSettings"]["Networks"]
    finally:
        docker.remove_network("tests-net")
    assert "tests-net" not in [x["Name"] for x in docker.list_networks()]


def test_volumes(docker: DockerAdvanced) -> None:
    assert docker.create_volume("tests-vol", labels={"of": "tests"}) == "tests-vol"
    try:
        docker.run_in_container(BUSYBOX, "echo kept > /data/file", volumes={"tests-vol": "/data"})
        read = docker.run_in_container(BUSYBOX, "cat /data/file", volumes={"tests-vol": "/data:ro"})
        assert read.stdout == "kept"
        (volume,) = [x for x in docker.list_volumes() if x["Name"] == "tests-vol"]
        assert without_mark(volume["Labels"]) == {"of": "tests", **without_mark(docker.labels)}
    finally:
        docker.remove_volume("tests-vol")
    with pytest.raises(EngineError, match="no such volume"):
        docker.remove_volume("tests-vol")


# --- as a LISA tool


def test_tool(docker: DockerAdvanced, node: Node) -> None:
    assert node.tools[DockerAdvanced] is docker
    assert isinstance(docker, Docker)
    assert docker.exists
    assert "Server Version" in docker.info()
    assert docker.client.version()["Version"] == docker.engine.version
