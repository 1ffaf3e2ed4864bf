"""Programs by URL and by file: downloaded by the runner, checked, and copied into the container."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig, DockerAdvanced
from lisa_container.install import (
    Tool,
    ToolChecksumError,
    ToolError,
    ToolNotFoundError,
    ToolUnauthorizedError,
    ToolUnreachableError,
    installer,
    remove_layers,
)

PROGRAM = b"#!/bin/sh\necho hello 1.2.3\n"


class Handler(http.server.BaseHTTPRequestHandler):
    """Handler that serves bytes by path, with the faults that a test wants."""

    files: ClassVar[dict[str, bytes]] = {}
    failing: ClassVar[list[str]] = []
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization", ""))
        fault = self.failing.pop(0) if self.failing else ""
        data = self.files.get(self.path)
        if fault == "busy":
            self.send_error(503)
        elif fault == "denied":
            self.send_error(403)
        elif data is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.files.clear()
    Handler.failing.clear()
    Handler.asked.clear()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "_DELAYS", (0.1, 0.1, 0.1))


@pytest.fixture
def busybox(node: Node) -> Iterator[ContainerExecutor]:
    """Return a container without package manager, certificates and curl."""
    config = ContainerTestConfig(image="lisa_container/busybox", user="1000")
    with ContainerExecutor(node, config) as container:
        yield container


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tarball(mode: str = "w:gz", **entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in entries.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_a_program_by_url(busybox: ContainerExecutor, server: str) -> None:
    Handler.files["/v1.2.3/hello"] = PROGRAM
    tool = Tool("hello", "1.2.3", url=f"http://{server}/v1.2.3/hello", checksum=digest(PROGRAM))
    (found,) = busybox.install(tool)
    assert (found.manager, found.version, found.command) == ("release", "1.2.3", "/bin/hello")
    assert found.checksum == f"sha256:{digest(PROGRAM)}"
    assert found.origin == tool.url
    assert busybox.run("hello").stdout == "hello 1.2.3"
    assert busybox.run("stat -Lc '%u %a' /bin/hello").stdout == "0 755"


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_an_archive_by_url(busybox: ContainerExecutor, server: str, mode: str) -> None:
    """An archive with a folder is installed, with files that the program needs beside it."""
    script = (
        b'#!/bin/sh\nread -r line <"$(dirname "$(readlink -f "$0")")/../share/line"; echo $line\n'
    )
    data = tarball(
        mode,
        hello_1__share__line=b"from 1.2.3\n",
        hello_1__doc__hello=b"no program",
        hello_1__bin__hello=script,
    )
    Handler.files["/hello.tar"] = data
    tool = Tool(
        "hello-all", command="hello", url=f"http://{server}/hello.tar", checksum=digest(data)
    )
    (found,) = busybox.install(tool)
    assert found.verified == "from 1.2.3"


def test_a_zip_by_file(busybox: ContainerExecutor, tmp_path: Path) -> None:
    file = tmp_path / "hello.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello-1/hello", PROGRAM)
    sha512 = hashlib.sha512(file.read_bytes()).hexdigest()
    (found,) = busybox.install(Tool("hello", file=str(file), checksum=f"sha512:{sha512}"))
    assert found.checksum == f"sha512:{sha512}"
    assert found.origin == file.as_uri()
    assert busybox.run("hello").stdout == "hello 1.2.3"


def test_a_file_without_a_checksum(busybox: ContainerExecutor, tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(PROGRAM)
    (found,) = busybox.install(Tool("hello", file=str(tmp_path / "hello")))
    assert found.checksum == f"sha256:{digest(PROGRAM)}"


def test_a_wrong_checksum(busybox: ContainerExecutor, server: str, tmp_path: Path) -> None:
    wrong = digest(b"another")
    Handler.files["/hello"] = PROGRAM
    with pytest.raises(ToolChecksumError, match=f"is sha256:{digest(PROGRAM)}, not sha256:{wrong}"):
        busybox.install(Tool("hello", url=f"http://{server}/hello", checksum=wrong))
    assert len(Handler.asked) == 1, "tried again"
    (tmp_path / "hello").write_bytes(PROGRAM)
    with pytest.raises(ToolChecksumError):
        busybox.install(Tool("hello", file=str(tmp_path / "hello"), checksum=wrong))
    assert busybox.run("command -v hello").exit_code != 0
    assert busybox.run("ls -A /opt/lisa_container/release").stdout == ""


@pytest.mark.parametrize("fault", ["busy", "cut"])
def test_temporary_failure_is_tried_again(
    busybox: ContainerExecutor, server: str, fault: str
) -> None:
    Handler.files["/hello"] = PROGRAM
    Handler.failing += [fault, fault]
    busybox.install(Tool("hello", url=f"http://{server}/hello", checksum=digest(PROGRAM)))
    assert len(Handler.asked) == 3


def test_permanent_failure(busybox: ContainerExecutor, server: str, tmp_path: Path) -> None:
    tool = Tool("hello", url=f"http://{server}/hello", checksum=digest(PROGRAM))
    with pytest.raises(ToolNotFoundError, match="404"):
        busybox.install(tool)
    assert len(Handler.asked) == 1
    Handler.failing.append("denied")
    with pytest.raises(ToolUnauthorizedError, match="403"):
        busybox.install(tool)
    Handler.failing += ["busy"] * 4
    with pytest.raises(ToolUnreachableError, match="503"):
        busybox.install(tool)
    with pytest.raises(ToolNotFoundError, match="this machine has no file"):
        busybox.install(Tool("hello", file=str(tmp_path / "absent")))


def test_a_password_in_the_url(
    busybox: ContainerExecutor, server: str, logged: Callable[[], str]
) -> None:
    Handler.files["/hello"] = PROGRAM
    url = f"http://me:s3cret-word@{server}/hello?signature=s3cret"
    Handler.files["/hello?signature=s3cret"] = PROGRAM
    (found,) = busybox.install(Tool("hello", url=url, checksum=digest(PROGRAM)))
    assert Handler.asked[0].startswith("Basic ")
    assert found.origin == f"http://***@{server}/hello?***"
    Handler.failing.append("denied")
    with pytest.raises(ToolUnauthorizedError) as e:
        busybox.install(Tool("hello", url=url, checksum=digest(PROGRAM)))
    nobody = url.replace(server, "127.0.0.1:9")
    with pytest.raises(ToolUnreachableError, match="refused") as unreachable:
        busybox.install(Tool("hello", url=nobody, checksum=digest(PROGRAM)))
    logs = "".join(Path(log).read_text() for log in (found.log, e.value.log, unreachable.value.log))
    said = "\n".join(
        [
            logs,
            str(e.value),
            str(unreachable.value),
            logged(),
        ]
    )
    assert "hello" in said and "s3cret" not in said


def test_another_file_of_the_same_name(busybox: ContainerExecutor, tmp_path: Path) -> None:
    file = tmp_path / "hello"
    for number in (b"1", b"2"):
        file.write_bytes(b"#!/bin/sh\necho number " + number + b"\n")
        (found,) = busybox.install(Tool("hello", file=str(file)))
        assert found.verified == f"number {number.decode()}"


def test_a_file_in_a_layer(node: Node, tmp_path: Path) -> None:
    """A layer's key depends on the content of a file, not on its path."""
    config = ContainerTestConfig(image="lisa_container/busybox")
    remove_layers(node.tools[DockerAdvanced].engine)  # of an earlier run, on a node that is given
    layers = []
    for name, number in (("a", b"1"), ("b", b"1"), ("a", b"2")):
        (tmp_path / name).write_bytes(b"#!/bin/sh\necho number " + number + b"\n")
        with ContainerExecutor(node, config) as container:
            tool = Tool("hello", file=str(tmp_path / name))
            (found,) = container.install(tool, cached=True)
            assert container.run("hello").stdout == f"number {number.decode()}"
            layers.append((found.layer, found.from_cache))
    assert layers[0][0] == layers[1][0] != layers[2][0]
    assert [is_old for _, is_old in layers] == [False, True, False]


def test_archives_that_lead_out(busybox: ContainerExecutor, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(f"../../../../../../../../..{outside}")
        archive.addfile(info)
        info = tarfile.TarInfo("hello")
        info.size = len(PROGRAM)
        archive.addfile(info, io.BytesIO(PROGRAM))
    file = tmp_path / "evil.tar"
    file.write_bytes(buffer.getvalue())
    with pytest.raises(ToolError, match="archive is damaged or unsafe"):
        busybox.install(Tool("hello", file=str(file)))
    assert not outside.exists()
    file.write_bytes(tarball(hello=os.urandom(4096))[:-2000])
    with pytest.raises(ToolError, match="archive is damaged or unsafe"):
        busybox.install(Tool("hello", file=str(file)))


def test_an_archive_without_the_program(busybox: ContainerExecutor, tmp_path: Path) -> None:
    file = tmp_path / "hello.tgz"
    file.write_bytes(tarball(bin__greet=PROGRAM))
    with pytest.raises(ToolError, match="the archive has no file 'hello'.*it contains: bin/greet"):
        busybox.install(Tool("hello", file=str(file)))
