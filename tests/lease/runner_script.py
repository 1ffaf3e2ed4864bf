"""Runner that tests kill: it works on a node until then. tests/support/runners.py starts it.

Its argument is its order in JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Callable

from lisa import schema
from lisa.node import Node, quick_connect
from lisa.util import constants
from lisa.util.logger import init_logger

from lisa_container import (
    ContainerExecutor,
    ContainerSettings,
    ContainerTestConfig,
    DockerAdvanced,
    ImageNotFoundError,
    use_settings,
)
from lisa_container.config import BuildSpec
from lisa_container.images import build_image, image_from_layers, ship
from lisa_container.images.send import send

BUSYBOX = "lisa_container/busybox"

DOCKERFILE = "FROM lisa_container/busybox\\nRUN head -c 1m /dev/urandom >/x\\nRUN sleep 1.23\\n"


class Works:
    """Kinds of work. Each method prepares one and returns a function that does one round of it."""

    def __init__(self, node: Node, name: str, image: str) -> None:
        self.node = node
        self.name = name
        self.image = image
        self.docker = node.tools[DockerAdvanced]
        self.config = ContainerTestConfig(image=BUSYBOX, volumes={f"{name}_volume": "/data"})
        self.folder = Path(tempfile.mkdtemp())
        self.file = self.folder / "file"
        self.file.write_bytes(b"x" * 4_000_000)

    def container(self) -> ContainerExecutor:
        return ContainerExecutor(self.node, self.config, self.name).start()

    def pull(self) -> Callable[[], Any]:
        def job() -> None:
            self.docker.pull_image(self.image)
            self.docker.run_in_container(self.image, "true")
            self.docker.remove_image(self.image)  # stays if another runner's container uses it

        return job

    def create(self) -> Callable[[], Any]:
        def job() -> None:
            network = self.docker.create_network(f"{self.name}_network")
            volume = self.docker.create_volume(f"{self.name}_made")
            self.container().stop()
            self.docker.remove_network(network)
            self.docker.remove_volume(volume)

        return job

    def build(self) -> Callable[[], Any]:
        self.docker.run_in_container(BUSYBOX, "true")
        target = f"{self.node.working_path}/Dockerfile"
        self.node.execute(f"printf '{DOCKERFILE}' >{target}", shell=True)

        def job() -> None:
            self.docker.build_image(f"built/{self.name}", "Dockerfile")
            self.docker.remove_image(f"built/{self.name}", force=True)

        return job

    def build_image(self) -> Callable[[], Any]:
        text = DOCKERFILE.replace("\\n", "\n") + f"RUN echo {self.name}\n"
        spec = BuildSpec(dockerfile_inline=text)
        return lambda: build_image(self.docker.engine, spec)

    def ship(self) -> Callable[[], Any]:
        send._PORTION = 1_000_000

        def job() -> None:
            image = image_from_layers([{str(each): os.urandom(2_000_000)} for each in range(4)])
            ship(image, [self.node], name=f"shipped/{self.name}")
            self.docker.remove_image(f"shipped/{self.name}")

        return job

    def run(self) -> Callable[[], Any]:
        container = self.container()
        return lambda: container.run("echo out; sleep 0.1; head -c 100k /dev/zero")

    def run_async(self) -> Callable[[], Any]:
        container = self.container()
        return lambda: (container.run_async("sleep 1000 & wait"), time.sleep(0.2))

    def copy_to(self) -> Callable[[], Any]:
        container = self.container()
        return lambda: container.copy_to(self.file, "/data/")

    def copy_from(self) -> Callable[[], Any]:
        container = self.container()
        container.copy_to(self.file, "/")
        return lambda: container.copy_from("/file", self.folder / "copied")

    def remove(self) -> Callable[[], Any]:
        container = self.container()
        return lambda: (container.stop(), container.start())

    def detach(self) -> Callable[[], Any]:
        self.docker.create_network(f"{self.name}_network")
        self.docker.run_in_container(BUSYBOX, "sleep 1000", detach=True, name=self.name)
        return lambda: time.sleep(0.1)

    def wait(self) -> Callable[[], Any]:
        container = self.container()
        container.run("true")
        return lambda: time.sleep(0.1)

    def end(self) -> Callable[[], Any]:
        """End normally, and leave nothing."""
        with ContainerExecutor(self.node, self.config, self.name) as container:
            container.run("true")
        self.docker.create_network(f"{self.name}_network")  # never removed here
        return lambda: sys.exit(0)

    def certificates(self) -> Callable[[], Any]:
        """Fail to pull from a registry with its own CA."""
        ca, key = self.folder / "ca.pem", self.folder / "key.pem"
        words = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=tests",
            "-days",
            "2",
        ]
        subprocess.run(["openssl", *words, "-keyout", key, "-out", ca], check=True)
        registry = "127.0.0.1:1"
        settings = {"registries": [{"host": registry, "ca": str(ca)}]}
        use_settings(ContainerSettings.from_mapping(settings))
        with contextlib.suppress(ImageNotFoundError):
            self.docker.pull_image(f"{registry}/image:1")
        return lambda: time.sleep(0.1)

    def keep(self) -> Callable[[], Any]:
        """End normally, and keep the container."""
        container = self.container()
        container.keep = True
        container.stop()
        return lambda: sys.exit(0)

    def keep_and_wait(self) -> Callable[[], Any]:
        container = self.container()
        container.keep = True
        container.stop()
        return lambda: time.sleep(0.1)


def main(order: dict[str, Any]) -> None:
    output = os.open(order["output"], os.O_WRONLY | os.O_APPEND)

    def say(word: str) -> None:
        os.write(output, f"{word}\n".encode())

    os.environ["LISA_CONTAINER_LEASE_TTL"] = str(order["ttl"])
    constants.RUN_ID = order["name"]
    constants.RUN_LOGIC_PATH = Path(order["name"])
    constants.RUN_LOCAL_LOG_PATH = constants.RUN_LOCAL_WORKING_PATH = Path(tempfile.mkdtemp())
    runbook = schema.RemoteNode(
        address=order["address"],
        public_address=order["address"],
        port=order["port"],
        public_port=order["port"],
        username=order["username"],
        password=order["password"],
        private_key_file=order["key"],
    )
    try:
        node = quick_connect(runbook, logger_name=order["name"])
        job = getattr(Works(node, order["name"], order["image"]), order["what"])()
        say("ready")
        while True:
            job()
            say("round")
    except Exception:
        say(traceback.format_exc())
        raise


if __name__ == "__main__":
    init_logger()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main(json.loads(sys.argv[1]))
