"""Registry passwords are only in the memory of the engine and of this process."""

from __future__ import annotations

import base64
import logging
import threading
from pathlib import Path

import pytest

from lisa_container import ContainerSettings, use_settings
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import ImageUnauthorizedError
from lisa_container.images.credentials import Credential
from tests.support.nodes import connect_as, disconnect
from tests.support.registries import OTHER_PASSWORD, PASSWORD, USER, Shelf

# Command lines and environments of all processes, all the time; each that is new is written down.
_WATCH = """
while [ -e /root/watching ]; do
    for process in /proc/[0-9]*; do
        cat $process/cmdline $process/environ
    done 2>/dev/null | tr '\\0' '\\n' | sort -u >/root/seen.new
    sort -u -o /root/watched /root/watched /root/seen.new
done
"""


def spellings(shelf: Shelf, username: str, password: str) -> list[str]:
    """Return all spellings of the credentials, such as that of a request's header."""
    pair = f"{username}:{password}".encode()
    header = Credential("", username, password).header(shelf.private)
    return [
        password,
        password[2:-4],
        base64.b64encode(pair).decode(),
        base64.b64encode(password.encode()).decode(),
        header.decode(),
    ]


def found_on(shelf: Shelf, words: list[str]) -> str:
    """Return the node's files that contain one of the words, except those of the registries."""
    machine = shelf.machine
    machine.run("cat > /root/words", stdin="".join(f"{word}\n" for word in words))
    # Not with `grep -r`, which reads pipes too, nor below mounts, such as of namespaces.
    said = machine.run(
        "find /root /home /etc /run /tmp /var/tmp /var/log /var/lib/docker/image "
        "/var/lib/docker/containers /dev/shm -xdev -type f ! -path /root/words ! -path /root/htpasswd "
        "-print0 | xargs -0 grep -lF -f /root/words || true"
    )
    machine.run("rm /root/words")
    return said.stdout


def test_nowhere(shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = shelf.machine
    log = logging.FileHandler(tmp_path / "lisa.log")
    log.setLevel(logging.DEBUG)
    logging.getLogger("lisa").addHandler(log)
    entry = {"host": shelf.private, "username": USER, "password": PASSWORD, "ca": str(shelf.ca)}
    use_settings(ContainerSettings.from_mapping({"registries": [entry]}))
    machine.run(": >/root/watched; : >/root/watching; cat >/root/watch.sh", stdin=_WATCH)
    watcher = threading.Thread(target=lambda: machine.run("sh /root/watch.sh", check=False))
    watcher.start()
    node = connect_as(machine, "sudo")
    try:
        docker = node.tools[DockerAdvanced]
        docker.pull_image(f"{shelf.private}/team/tool:1")
        docker.pull_image(f"{shelf.private}/team/large:1", username=USER, password=PASSWORD)
        docker.client.images.get(f"{shelf.private}/team/tool:1").tag(
            f"{shelf.private}/team/new", "1"
        )
        docker.push_image(f"{shelf.private}/team/new:1")
        with pytest.raises(ImageUnauthorizedError):
            docker.pull_image(
                f"{shelf.private}/team/tool:2", username=USER, password=OTHER_PASSWORD
            )
        docker.run_in_container(f"{shelf.private}/team/tool:1", "true", expected_exit_code=0)
        assert docker.client.images.get(f"{shelf.private}/team/tool:1")
    finally:
        machine.run("rm /root/watching")
        watcher.join(30)
        logging.getLogger("lisa").removeHandler(log)
    words = [*spellings(shelf, USER, PASSWORD), *spellings(shelf, USER, OTHER_PASSWORD)]
    seen = machine.run("cat /root/watched").stdout
    lasting = {"docker-registry", "/var/run/docker.sock"}  # words of the registries and the relay
    assert lasting <= set(seen.split("\n")), "it has watched"
    written = (tmp_path / "lisa.log").read_text()
    assert f"pulling image '{shelf.private}/team/tool:1'" in written, "it has logged"
    for word in words:
        assert word not in seen
        assert word not in written
    assert found_on(shelf, words) == ""
    disconnect(node)
    assert found_on(shelf, words) == ""
    machine.run("rm /root/watched /root/seen.new /root/watch.sh")


def test_search_finds(shelf: Shelf) -> None:
    """The search of this file finds a password in a file."""
    shelf.machine.run("cat > /var/log/leak", stdin=f"x{PASSWORD}y\n")
    assert found_on(shelf, spellings(shelf, USER, PASSWORD)) == "/var/log/leak\n"
    shelf.machine.run("rm /var/log/leak")
