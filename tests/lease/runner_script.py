"""A runner of its own, to be killed: it makes things on a node through one kind of work, for ever.

Arguments: the node's address, port, user and key file, what to do, a name for it all, and the
registry's image. It prints a line `ready` when it has begun, and one for each round of work.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

from lisa import schema
from lisa.node import quick_connect
from lisa.util import constants
from lisa.util.logger import init_logger

from lisa_container import ContainerExecutor, ContainerTestConfig, DockerAdvanced

address, port, user, key, what, name, image = sys.argv[1:]

init_logger()
root = Path(tempfile.mkdtemp())
constants.RUN_ID = name
constants.RUN_LOGIC_PATH = Path(name)
constants.RUN_LOCAL_LOG_PATH = constants.RUN_LOCAL_WORKING_PATH = root


def say(word: str) -> None:
    print(word, file=sys.__stdout__, flush=True)


runbook = schema.RemoteNode(
    address=address,
    public_address=address,
    port=int(port),
    public_port=int(port),
    username=user,
    private_key_file=key,
)
node = quick_connect(runbook, logger_name=name)
docker = node.tools[DockerAdvanced]
config = ContainerTestConfig(image="lisa_container/busybox", volumes={f"{name}_volume": "/data"})


def pull() -> None:
    docker.pull_image(image)
    docker.run_in_container(image, "true")
    docker.remove_image(image, force=True)


def create() -> None:
    network = docker.create_network(f"{name}_network")
    volume = docker.create_volume(f"{name}_made")
    container = ContainerExecutor(node, config).start()
    container.stop()
    docker.remove_network(network)
    docker.remove_volume(volume)


def build() -> None:
    lines = "FROM lisa_container/busybox\\nRUN head -c 1m /dev/urandom >/x\\nRUN sleep 0.2\\n"
    node.execute(f"printf '{lines}' >{node.working_path}/Dockerfile", shell=True)
    docker.build_image(f"built/{name}", "Dockerfile")
    docker.remove_image(f"built/{name}", force=True)


def work() -> Callable[[], object]:
    """The kinds of work inside of one container."""
    container = ContainerExecutor(node, config, name).start()
    file = root / "file"
    file.write_bytes(b"x" * 4_000_000)

    def copy_from() -> None:
        if not (root / "copied").exists():
            container.copy_to(file, "/copied")
        container.copy_from("/copied", root / "copied")

    kinds: dict[str, Callable[[], object]] = {
        "run": lambda: container.run("echo out; sleep 0.1; head -c 100k /dev/zero"),
        "run_async": lambda: container.run_async("sleep 1000 & wait"),
        "copy_to": lambda: container.copy_to(file, "/data/"),
        "copy_from": copy_from,
        "remove": lambda: (container.stop(), container.start()),
        "wait": lambda: time.sleep(0.1),
    }
    return kinds[what]


doing = {"pull": pull, "create": create, "build": build}.get(what)
if what == "end":
    with ContainerExecutor(node, config, name) as once:
        once.run("true")
    say("ready")
elif what == "keep":
    kept = ContainerExecutor(node, config, name).start()
    kept.keep = True
    kept.stop()
    say("ready")
else:
    doing = doing or work()
    say("ready")
    while True:
        doing()
        say("round")
