"""The Docker SDK's own client works the same on each way to the engine as on a local socket."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import select
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import requests
from docker.models.containers import Container
from func_timeout import FunctionTimedOut, func_timeout

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.images import ensure_image
from lisa_container.platforms.sandbox import SandboxNode
from tests.support.engines import closed_sshd, engine_of
from tests.support.nodes import BUSYBOX, connect, connect_as
from tests.support.waiting import eventually

PORT = 2230


@pytest.fixture(scope="module", params=["streamlocal", "relay", "stdio"])
def engine(request: pytest.FixtureRequest, machine: SandboxNode) -> Iterator[Engine]:
    """Return the engine of the node, reached each way in turn."""
    with contextlib.ExitStack() as stack:
        if request.param == "stdio":
            stack.enter_context(closed_sshd(machine, PORT))
            node = connect(machine.address, "root", PORT, machine.private_key_file, name="stdio")
        else:
            node = connect_as(machine, "root" if request.param == "streamlocal" else "sudo")
        stack.callback(node.close)
        engine = stack.enter_context(engine_of(node))
        assert engine.dialer.name == request.param
        ensure_image(engine, ContainerTestConfig(image=BUSYBOX))
        yield engine


@pytest.fixture()
def repeats(engine: Engine) -> int:
    """Return the number of tries for tests that depend on luck."""
    return 200 if engine.dialer.name == "streamlocal" else 20


@pytest.fixture(scope="module")
def client(engine: Engine) -> docker.DockerClient:
    return engine.client


@pytest.fixture(scope="module")
def container(client: docker.DockerClient) -> Iterator[Container]:
    """Return a container that runs `sleep`."""
    container = client.containers.run(BUSYBOX, ["sleep", "1000"], detach=True)
    yield container
    container.remove(force=True)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        stream, length = struct.unpack(">BxxxL", data[:8])
        found.append((stream, data[8 : 8 + length]))
        data = data[8 + length :]
    return found


def read_all(stream: socket.SocketIO) -> bytes:
    return b"".join(iter(lambda: stream.read(65536), b""))


def exec_socket(container: Container, *words: str) -> socket.SocketIO:
    result = container.exec_run(list(words), socket=True, stdin=True)
    stream: socket.SocketIO = result.output
    return stream


def test_run(client: docker.DockerClient) -> None:
    command = ["sh", "-c", "echo out; echo err >&2"]
    assert client.containers.run(BUSYBOX, command, remove=True) == b"out\n"
    both = client.containers.run(BUSYBOX, command, remove=True, stdout=True, stderr=True)
    assert sorted(both.splitlines()) == [b"err", b"out"]
    with pytest.raises(docker.errors.ContainerError, match="exit status 3"):
        client.containers.run(BUSYBOX, ["sh", "-c", "exit 3"], remove=True)


def test_exec(container: Container) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; exit 5"]
    assert container.exec_run(command, demux=True) == (5, (b"out\n", b"err\n"))
    assert container.exec_run(["stty", "-a"]).exit_code == 1, "no terminal"
    terminal = container.exec_run(["sh", "-c", "test -t 0 && echo yes"], tty=True)
    assert terminal == (0, b"yes\r\n")


def test_exec_stream(container: Container) -> None:
    """Output of an exec arrives when it is written, not when the command ends."""
    script = "echo one; sleep 0.5; echo two"
    started = time.monotonic()
    times = []
    for data in container.exec_run(["sh", "-c", script], stream=True).output:
        times.append((data, time.monotonic() - started))
    (one, first), (two, second) = times
    assert (one, two) == (b"one\n", b"two\n")
    assert second - first > 0.4


def test_exec_socket_is_a_real_socket(container: Container) -> None:
    """`_sock.sendall`, `os.write`, `select` and half-close work like on a unix socket."""
    stream = exec_socket(container, "cat")
    assert isinstance(stream._sock, socket.socket)
    assert select.select([stream], [], [], 0.2)[0] == []
    stream._sock.sendall(b"one\n")
    assert select.select([stream], [], [], 5)[0] == [stream]
    assert frames(stream.read(100)) == [(1, b"one\n")]
    os.write(stream.fileno(), b"two\n")
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLIN)
    assert poll.poll(5000)
    assert frames(os.read(stream.fileno(), 100)) == [(1, b"two\n")]
    stream._sock.shutdown(socket.SHUT_WR)
    assert stream.read(100) == b"", "cat has seen the end of its input"
    stream.close()


def test_nothing_is_lost_and_nothing_leaks(
    engine: Engine, container: Container, repeats: int
) -> None:
    """Output in the packet of the response's headers is not lost.

    No thread, descriptor or channel is left, whether a socket is read to its end or given up.
    """

    def held() -> tuple[int, int, int]:
        gc.collect()
        client = engine.node.shell._inner_shell._spur._client
        channels = len(client.get_transport()._channels)
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), channels

    read_all(exec_socket(container, "true"))
    assert eventually(lambda: not any(t.name == "engine-socket" for t in threading.enumerate()))
    before = held()
    for number in range(repeats):
        stream = exec_socket(container, "echo", str(number))
        assert frames(read_all(stream)) == [(1, f"{number}\n".encode())]
        stream.close()
        if number % 20 == 0:
            exec_socket(container, "sleep", "1").close()
    assert eventually(lambda: all(x <= y for x, y in zip(held(), before))), (before, held())


def test_large_output(container: Container) -> None:
    """20 MB of output arrive complete in frames of all sizes."""
    result = container.exec_run(["head", "-c", "20000000", "/dev/zero"])
    assert result.exit_code == 0
    assert result.output == bytes(20_000_000)


def test_large_input(container: Container) -> None:
    """A large input is sent as fast as it is read, even if the response is not read meanwhile."""
    stream = exec_socket(container, "wc", "-c")
    stream._sock.sendall(bytes(5_000_000))
    stream._sock.shutdown(socket.SHUT_WR)
    assert frames(read_all(stream)) == [(1, b"5000000\n")]


def test_attach(client: docker.DockerClient) -> None:
    """A socket attached before the start of a container gets all output and takes input."""
    container = client.containers.create(BUSYBOX, ["cat"], stdin_open=True)
    try:
        stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        container.start()
        stream._sock.sendall(b"hello\n")
        assert frames(stream.read(100)) == [(1, b"hello\n")]
        lines = container.attach(stream=True, logs=True)
        assert next(lines) == b"hello\n"
        stream._sock.sendall(b"again\n")
        assert next(lines) == b"again\n"
        stream.close()
    finally:
        container.remove(force=True)


def test_logs(client: docker.DockerClient) -> None:
    script = "echo one; sleep 0.3; echo two >&2"
    container = client.containers.run(BUSYBOX, ["sh", "-c", script], detach=True)
    try:
        assert b"".join(container.logs(stream=True, follow=True)) == b"one\ntwo\n"
        assert container.logs(stderr=False) == b"one\n"
        assert container.logs(tail=1) == b"two\n"
    finally:
        container.remove(force=True)


def test_follow_is_cancelled(container: Container) -> None:
    """`close()` of a stream ends a thread that waits for its next piece."""
    stream = container.logs(stream=True, follow=True)
    ended = threading.Event()

    def follow() -> None:
        for _ in stream:
            pass
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    assert not ended.wait(0.3)
    stream.close()
    assert ended.wait(5)


def test_events(client: docker.DockerClient, container: Container) -> None:
    events = client.events(decode=True, filters={"container": container.id})
    container.pause()
    container.unpause()
    assert [next(events)["Action"], next(events)["Action"]] == ["pause", "unpause"]
    events.close()


def test_stats(container: Container) -> None:
    stream = container.stats(stream=True, decode=True)
    assert next(stream)["memory_stats"]["usage"] > 0
    assert next(stream)["id"] == container.id
    stream.close()


def test_build(client: docker.DockerClient, tmp_path: object) -> None:
    """A build context of this machine is sent, and the engine's messages arrive."""
    context = io.BytesIO()
    files = {
        "Dockerfile": f"FROM {BUSYBOX}\nCOPY greeting /\nRUN cat greeting\n",
        "greeting": "hi\n",
    }
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    context.seek(0)
    image, log = client.images.build(
        fileobj=context, custom_context=True, tag="built:here", rm=True, forcerm=True
    )
    try:
        assert "hi\n" in [line.get("stream") for line in log]
        assert client.containers.run("built:here", ["cat", "/greeting"], remove=True) == b"hi\n"
    finally:
        client.images.remove(image.id, force=True)


def test_archives(container: Container) -> None:
    content = os.urandom(3_000_000)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("blob")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    data = archive.getvalue()
    # a stream of unknown length goes in chunks
    assert container.put_archive(
        "/tmp", (data[i : i + 70_000] for i in range(0, len(data), 70_000))
    )
    stream, status = container.get_archive("/tmp/blob")
    assert status["size"] == len(content)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        extracted = tar.extractfile("blob")
        assert extracted is not None and extracted.read() == content


def test_image_there_and_back(client: docker.DockerClient) -> None:
    """An image is saved to this machine and loaded again, and a container is exported."""
    client.images.get(BUSYBOX).tag("saved", "here")
    saved = b"".join(client.images.get("saved:here").save(named=True))
    client.images.remove("saved:here")
    (loaded,) = client.images.load(saved)
    assert "saved:here" in loaded.tags
    client.images.remove("saved:here")
    container = client.containers.create(BUSYBOX)
    try:
        exported = b"".join(container.export())
    finally:
        container.remove()
    with tarfile.open(fileobj=io.BytesIO(exported)) as tar:
        assert "bin/busybox" in tar.getnames()


def test_close(engine: Engine, client: docker.DockerClient) -> None:
    """`close` releases idle connections, and the client can be used again."""
    client.close()
    assert client.ping()


def test_errors_of_the_sdk(client: docker.DockerClient, container: Container) -> None:
    with pytest.raises(docker.errors.NotFound, match="No such container"):
        client.containers.get("there-is-none")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("there-is-none")
    with pytest.raises(docker.errors.APIError, match="is already in use"):
        client.containers.create(BUSYBOX, name=container.name)


def test_timeout(client: docker.DockerClient, container: Container) -> None:
    """A request's own timeout applies, and its stream is not used again."""
    started = time.monotonic()
    with pytest.raises(requests.ConnectionError, match="timed out"):
        container.wait(timeout=0.5)
    assert 0.4 < time.monotonic() - started < 3
    assert client.ping()


def test_interrupted_from_outside(client: docker.DockerClient, container: Container) -> None:
    """An exception put into the thread, like LISA's case timeout, ends a wait."""
    started = time.monotonic()
    with pytest.raises(FunctionTimedOut):
        func_timeout(0.5, container.wait)
    workers = [t for t in threading.enumerate() if type(t).__name__ == "StoppableThread"]
    assert eventually(lambda: not any(t.is_alive() for t in workers), 10), "the thread has ended"
    assert time.monotonic() - started < 6
    assert client.ping()
