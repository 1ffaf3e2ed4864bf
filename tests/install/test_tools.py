"""Real tools by real package managers in real containers: apt, pip, pipx and npm."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lisa.node import Node
from lisa.util import constants

from lisa_container import ConfigError, ContainerExecutor, ContainerTestConfig
from lisa_container.config import ImageReference
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.lease.report import list_resources
from lisa_container.engine.lease.sweep import Findings, sweep
from lisa_container.images.find import find_image
from lisa_container.install import (
    PackageSettings,
    Tool,
    ToolConflictError,
    ToolError,
    ToolManagerError,
    ToolNoSpaceError,
    ToolNotFoundError,
    ToolTimeoutError,
    ToolUnauthorizedError,
    ToolUnreachableError,
    ToolVerifyError,
    ToolVersionError,
    installer,
    layer,
    remove_layers,
)
from tests.support.shop import PYTHON, open_shop, put, put_wheel

# Each takes seconds; see `sampled` in docs/testing.md.
pytestmark = pytest.mark.sampled(6, "tools")

SHOP = "http://127.0.0.1:8000/simple/"


def shop_settings(url: str = SHOP) -> PackageSettings:
    """Return settings with the tests' own index, without pip's own retries."""
    return PackageSettings({"PIP_INDEX_URL": url, "PIP_RETRIES": "0"})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the delays between attempts."""
    monkeypatch.setattr(installer, "_DELAYS", (0.1, 0.1, 0.1))


# --- layers ---------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_installed(
    make: Any, node: Node, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    monkeypatch.setattr(layer, "_QUIET", 0.0)
    first = make(network_mode="none", read_only=True, user="1000")
    engine = first.engine
    remove_layers(engine)
    before = first.id
    (jq, tree) = first.install(Tool("jq", version="1.6"), "tree", cached=True)
    assert first.id != before
    assert first.run("jq --version; tree --version").stdout.startswith("jq-1.6")
    assert first.inspect()["HostConfig"]["NetworkMode"] == "none"
    assert not jq.from_cache and jq.layer == tree.layer
    assert first.installed == [jq, tree]
    assert f"storing tools as image '{jq.layer}' on node '{engine.name}'…" in logged()
    # A layer has the command of its base image, and belongs to no lease.
    found = engine.api.inspect_image(jq.layer)["Config"]
    assert (found["Cmd"], found["Entrypoint"] or []) == (["/bin/bash"], [])
    assert found["Labels"]["lisa_container.lease"] == ""
    assert not [item for item in list_resources(engine) if item.what == "image"]

    second = make()
    (again, _) = second.install(Tool("jq", version="1.6"), "tree", cached=True)
    assert again.from_cache and again.log == ""
    assert (again.version, again.checksum, again.layer) == (jq.version, jq.checksum, jq.layer)
    assert second.run("jq --version").stdout == "jq-1.6"
    assert engine.api.inspect_image(jq.layer)["Id"] == second.inspect()["Image"]

    # Other tools, another layer; and one on top of another.
    (other,) = second.install("ripgrep", cached=True)
    assert other.layer != jq.layer
    assert second.run("jq --version && rg --version").exit_code == 0

    # Asked for again, as by the next case of a suite: it has them, whatever was changed in it.
    second.run("touch /mine")
    assert second.install(Tool("jq", version="1.6"), "tree", cached=True)[0] == again
    assert second.run("test -e /mine").exit_code == 0
    assert [tool.name for tool in second.installed] == ["jq", "tree", "ripgrep"]

    third = make()
    third.run("touch /mine")
    with pytest.raises(ToolError, match="files in it were changed already .*/mine"):
        third.install("tree", cached=True)
    assert third.run("test -e /mine").exit_code == 0

    # A layer in use stays, with the layers below it.
    assert not {jq.layer, other.layer} & set(remove_layers(engine))
    for executor in (first, second, third):
        executor.stop()
    # It outlives the run that made it, and the sweep of a later one.
    Lease.of(engine).release()
    sweep(engine, Findings.of(engine))
    assert find_image(engine, ImageReference.parse(jq.layer))
    assert {jq.layer, other.layer} <= set(remove_layers(engine))
    names = [name for image in engine.api.images() for name in image["RepoTags"] or []]
    assert not {jq.layer, other.layer} & set(names)


def test_no_layer_after_a_failure(make: Any) -> None:
    """Tools before the one that failed stay installed, and the next call continues."""
    container = make()
    images = {image["Id"] for image in container.engine.api.images(all=True)}

    def new_layers() -> list[list[str]]:
        found = container.engine.api.images(all=True)
        return [image["RepoTags"] for image in found if image["Id"] not in images]

    with pytest.raises(ToolVerifyError, match=f"'tree' in container '{container.name}'"):
        container.install(Tool("tree", expect="never"), "jq", cached=True)
    assert new_layers() == []
    with pytest.raises(ToolVerifyError, match=f"'tree' in container '{container.name}'"):
        container.install("jq", "xz-utils", Tool("tree", expect="never"), cached=True)
    assert len(new_layers()) == 2
    names = [each["Names"][0] for each in container.engine.api.containers(all=True)]
    assert names == [f"/{container.name}"], "the builder stayed"

    (jq, xz, tree) = container.install("jq", "xz-utils", "tree", cached=True)
    assert (jq.from_cache, xz.from_cache, tree.from_cache) == (True, True, False)
    assert container.run("jq --version && xz --version && tree --version").exit_code == 0
    assert len(new_layers()) == 3, "jq; jq and xz; all"
    container.stop()
    remove_layers(container.engine)


# --- apt ------------------------------------------------------------------------------------------


def test_apt(container: ContainerExecutor, logged: Callable[[], str]) -> None:
    (jq,) = container.install("jq")
    what = f"installing tool 'jq' by apt in {container!r}"
    lines = [line for line in logged().splitlines() if line.startswith(what)]
    assert lines[0] == f"{what}…" and f"{what}: done in" in lines[-1], lines
    assert container.run("echo '[3]' | jq '.[0]'").stdout == "3"
    assert (jq.name, jq.manager, jq.command, jq.verified) == ("jq", "apt", "/usr/bin/jq", "jq-1.6")
    assert jq.version == container.run("dpkg-query -W -f '${Version}' jq").stdout
    assert re.fullmatch("sha256:[0-9a-f]{64}", jq.checksum)
    assert re.match(r"\w+://\S+ ", jq.origin)
    assert container.installed == [jq]
    artifacts = constants.RUN_LOCAL_LOG_PATH / "containers" / container.name
    assert json.loads((artifacts / "tools.json").read_text()) == [jq.to_dict()]
    log = Path(jq.log).read_text()
    assert "$ apt-get" in log and "Setting up jq" in log and "exit code 0" in log


def test_the_command_has_another_name(container: ContainerExecutor) -> None:
    (tool,) = container.install(Tool("ripgrep", version="13", via="apt"))
    assert tool.command == "/usr/bin/rg"
    assert tool.verified.startswith("ripgrep 13.0.0")


def test_present_tool_is_not_installed_again(container: ContainerExecutor) -> None:
    first = container.install("tree")
    (again,) = container.install(Tool("tree", version="2.1"))
    assert container.installed == first
    assert "$ apt-get" not in Path(again.log).read_text()


def test_apt_pinned(container: ContainerExecutor) -> None:
    container.run("apt-get update", user="0", expected_exit_code=0)
    listed = container.run("apt-cache madison tree").stdout.split("|")[1].strip()
    (tool,) = container.install(Tool("tree", version=listed))
    assert tool.version == listed
    assert f"tree={listed}" in Path(tool.log).read_text()


def test_apt_wrong_version(container: ContainerExecutor) -> None:
    with pytest.raises(ToolVersionError, match=r"apt has no version 0.9 of it. It has: 1\.6") as e:
        container.install(Tool("jq", version="0.9"))
    assert Path(e.value.log).exists()
    assert container.run("command -v jq").exit_code != 0
    assert container.installed == []


def test_apt_no_such_package(container: ContainerExecutor, quick: None) -> None:
    with pytest.raises(ToolNotFoundError, match="Unable to locate package no-such-package") as e:
        container.install("no-such-package")
    assert Path(e.value.log).read_text().count("attempt") == 1, "tried again"


def test_apt_conflict(container: ContainerExecutor) -> None:
    """A version of jq that needs an older library than the installed one is an error."""
    container.install("jq")
    versions = container.run("apt-cache madison jq | cut -d '|' -f 2").stdout.split()
    assert len(versions) > 1, "Debian has only one jq now; this test needs another package"
    with pytest.raises(ToolConflictError, match="Depends: libjq1"):
        container.install(Tool("jq", version=versions[-1]))


def test_apt_no_space(make: Any) -> None:
    container = make(tmpfs={"/var/cache/apt/archives": "size=64k"})
    with pytest.raises(ToolNoSpaceError, match="don't have enough free space"):
        container.install("jq")


def test_apt_unreachable(container: ContainerExecutor, quick: None) -> None:
    container.run(
        "rm -f /etc/apt/sources.list.d/* && "
        "echo 'deb http://127.0.0.1:9/ x main' >/etc/apt/sources.list",
        expected_exit_code=0,
    )
    with pytest.raises(ToolUnreachableError, match=r"4 attempts.*cached=True") as e:
        container.install("jq")
    assert Path(e.value.log).read_text().count("attempt") == 4


def test_apt_takes_too_long(container: ContainerExecutor) -> None:
    put(container, "/usr/local/bin/apt-get", b"#!/bin/sh\necho hanging\nsleep 600\n")
    container.run("chmod 755 /usr/local/bin/apt-get", user="0")
    with pytest.raises(ToolTimeoutError, match="did not end in 2 seconds") as e:
        container.install("jq", timeout=2)
    assert "hanging" in Path(e.value.log).read_text()
    assert container.run("grep -lx apt-get /proc/[0-9]*/comm").stdout == ""


def test_apt_tries_again(python: ContainerExecutor, quick: None) -> None:
    """apt tries again after the archive's answer 503."""
    put(
        python,
        "/shop/p/DEBIAN/control",
        b"Package: pinger\nVersion: 4.2\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n",
    )
    put(python, "/shop/p/usr/bin/pinger", b"#!/bin/sh\necho pinger 4.2\n")
    python.run(
        "chmod 755 /shop/p/usr/bin/pinger && cd /shop && dpkg-deb --build p pinger.deb && "
        'echo "$(dpkg-deb --info pinger.deb control)\nFilename: ./pinger.deb\n'
        'Size: $(stat -c %s pinger.deb)\nSHA256: $(sha256sum pinger.deb | cut -c-64)" >Packages && '
        "rm -f /etc/apt/sources.list.d/* && "
        "echo 'deb [trusted=yes] http://127.0.0.1:8000 ./' >/etc/apt/sources.list",
        expected_exit_code=0,
    )
    open_shop(python, 8000, "/shop", failing=2)
    (tool,) = python.install("pinger", settings=PackageSettings.none())
    assert (tool.version, tool.verified) == ("4.2", "pinger 4.2")
    assert tool.origin.startswith("http://127.0.0.1:8000")
    assert "attempt 1 failed (unreachable)" in Path(tool.log).read_text()


# --- verifiers ------------------------------------------------------------------------------------


def test_the_verifier_decides(container: ContainerExecutor) -> None:
    with pytest.raises(ToolVerifyError, match="apt installed it, but .* exit code 7") as e:
        container.install(Tool("jq", verify="jq --version; exit 7"))
    assert "not ready" in Path(e.value.log).read_text()
    assert container.run("jq --version").exit_code == 0
    assert container.installed == []
    with pytest.raises(ToolVerifyError, match=r"does not match 'jq-9'.*'jq-1.6'"):
        container.install(Tool("jq", expect="jq-9"))
    (tool,) = container.install(Tool("jq", verify=["jq", "-n", "6*7"], expect="^42$"))
    assert tool.verified == "42"


def test_a_program_that_shows_another_version(python: ContainerExecutor) -> None:
    put_wheel(python, "/shop", "liar", "1.5", says="liar 1.50")
    open_shop(python, 8000, "/shop")
    with pytest.raises(ToolVerifyError, match="does not show version 1.5.*'liar 1.50'"):
        python.install(Tool("liar", version="1.5", via="pip"), settings=shop_settings())


def test_it_is_ready_for_the_containers_user(make: Any) -> None:
    container = make(user="1000:1000")
    (tool,) = container.install("jq")
    assert tool.command == "/usr/bin/jq"
    assert container.run("jq --version; id -u").stdout.split() == ["jq-1.6", "1000"]


# --- pip ------------------------------------------------------------------------------------------


def test_pip(container: ContainerExecutor) -> None:
    """apt installs Python before pip's tools if the image has none."""
    (tool,) = container.install(Tool("yq", version="3.2.1", via="pip"))
    assert (tool.version, tool.manager, tool.command) == ("3.2.1", "pip", "/usr/local/bin/yq")
    assert tool.verified == "yq 3.2.1"
    assert re.fullmatch("sha256:[0-9a-f]{64}", tool.checksum)
    assert tool.origin.endswith(".whl")
    # In an environment of its own: the image's Python has nothing of it.
    assert container.run("python3 -c 'import yq'").exit_code != 0


def test_pip_wrong_version(python: ContainerExecutor) -> None:
    with pytest.raises(ToolVersionError, match=r"pip has no version 99 of it. It has: \d"):
        python.install(Tool("yq", version="99", via="pip"))
    assert python.run("ls /opt/lisa_container/pip").stdout == ""


def test_pip_tries_again(python: ContainerExecutor, quick: None) -> None:
    digest = put_wheel(python, "/shop", "greeter", "1.5.2", says="greeter 1.5.2")
    open_shop(python, 8000, "/shop", failing=2)  # pip is asked why, before it is tried again
    tool = Tool("greeter", version="1.5", via="pip")  # the beginning of one
    (found,) = python.install(tool, settings=shop_settings())
    assert (found.version, found.checksum) == ("1.5.2", f"sha256:{digest}")
    assert "attempt 1 failed (unreachable)" in Path(found.log).read_text()
    put_wheel(python, "/flaky", "waver", "2", says="waver 2")
    open_shop(python, 8001, "/flaky", failing=1)  # by the time it is asked, it is well again
    settings = shop_settings(SHOP.replace("8000", "8001"))
    (found,) = python.install(Tool("waver", via="pip"), settings=settings)
    assert "attempt 1 failed (unreachable)" in Path(found.log).read_text()


def test_pip_no_such_package(python: ContainerExecutor) -> None:
    put_wheel(python, "/shop", "greeter", "1.5.2", says="greeter 1.5.2")
    open_shop(python, 8000, "/shop")
    with pytest.raises(ToolNotFoundError, match="No matching distribution found for absent"):
        python.install(Tool("absent", via="pip"), settings=shop_settings())


def test_pip_no_space(make: Any) -> None:
    container = make(PYTHON, tmpfs={"/opt": "size=1m"})
    with pytest.raises(ToolNoSpaceError, match="No space left on device"):
        container.install(Tool("yq", via="pip"))


def test_existing_command_conflicts(python: ContainerExecutor) -> None:
    put_wheel(python, "/shop", "greeter", "1.5.2", says="greeter 1.5.2")
    put(python, "/usr/local/bin/greeter", b"#!/bin/sh\necho mine\n")
    open_shop(python, 8000, "/shop")
    with pytest.raises(ToolConflictError, match="/usr/local/bin/greeter is in the way"):
        python.install(Tool("greeter", via="pip"), settings=shop_settings())
    assert python.run("sh /usr/local/bin/greeter").stdout == "mine"


def test_pipx(container: ContainerExecutor) -> None:
    (tool,) = container.install(Tool("yq", version="3.2.1", via="pipx"))
    assert (tool.version, tool.manager, tool.command) == ("3.2.1", "pipx", "/usr/local/bin/yq")
    assert tool.verified == "yq 3.2.1"


# --- npm ------------------------------------------------------------------------------------------


def test_npm(make: Any) -> None:
    container = make(Tool("npm"), PYTHON)
    (tool,) = container.install(Tool("cowsay", version="1.5.0", via="npm"))
    assert (tool.version, tool.manager, tool.command) == ("1.5.0", "npm", "/usr/local/bin/cowsay")
    assert tool.checksum.startswith("sha512-")
    assert tool.origin.endswith("/cowsay-1.5.0.tgz")
    assert "moo" in container.run("cowsay moo").stdout
    with pytest.raises(ToolVersionError, match=r"npm has no version 99.9 of it. It has: .*1\.5\.0"):
        container.install(Tool("cowsay", version="99.9", via="npm"))
    with pytest.raises(ToolNotFoundError, match="404"):
        container.install(Tool("@lisa-container/no-such-package", via="npm"))


@pytest.mark.sampled(0)
def test_npm_tries_again(make: Any, quick: None) -> None:
    container = make(Tool("npm"), PYTHON)
    package = {"name": "greeter", "version": "1.5.2", "bin": {"greeter": "greeter.js"}}
    put(container, "/src/package/package.json", json.dumps(package).encode())
    put(
        container,
        "/src/package/greeter.js",
        b"#!/usr/bin/env node\nconsole.log('greeter 1.5.2')\n",
    )
    container.run("mkdir /shop && tar -C /src -czf /shop/greeter.tgz package", expected_exit_code=0)
    dist = {"tarball": "http://127.0.0.1:8000/greeter.tgz"}
    document = {
        "name": "greeter",
        "dist-tags": {"latest": "1.5.2"},
        "versions": {"1.5.2": {**package, "dist": dist}},
    }
    put(container, "/shop/greeter", json.dumps(document).encode())
    open_shop(container, 8000, "/shop", failing=1)
    settings = PackageSettings({"npm_config_registry": "http://127.0.0.1:8000/"})
    (found,) = container.install(Tool("greeter", version="1.5", via="npm"), settings=settings)
    assert (found.version, found.verified) == ("1.5.2", "greeter 1.5.2")
    log = Path(found.log).read_text()
    assert "attempt 1 failed (unreachable)" in log
    assert "npm http fetch GET 200 http://127.0.0.1:8000/greeter" in log, "words for the progress"


# --- images that cannot, tools that are described wrongly -----------------------------------------


def test_an_image_without_a_manager(node: Node) -> None:
    config = ContainerTestConfig(image="lisa_container/busybox")
    with ContainerExecutor(node, config) as container:
        with pytest.raises(ToolManagerError, match="no package manager .looked for: apt, dnf"):
            container.install("jq")
        with pytest.raises(ToolManagerError, match="no npm .'npm'."):
            container.install(Tool("cowsay", via="npm"))


def test_wrong_tool_is_refused_first(node: Node) -> None:
    """A wrong tool is refused even for a container that was not started."""
    executor = ContainerExecutor(node, ContainerTestConfig(image="lisa_container/busybox"))
    with pytest.raises(ConfigError, match="did you mean 'via'"):
        executor.install("jq", {"name": "yq", "vai": "pip"})


# --- secrets --------------------------------------------------------------------------------------

PASSWORD = "s3cret-of/the shop"
QUOTED = "s3cret-of%2Fthe%20shop"


@pytest.fixture
def node_with_secrets(node: Node) -> Any:
    """Write a pip.conf with a password on the node."""
    url = f"http://keeper:{QUOTED}@127.0.0.1:8000/simple/"
    text = f"[global]\nindex-url = {url}\nretries = 0\nfind-links = /nowhere\n"
    write = f"mkdir -p ~/.config/pip && cat >~/.config/pip/pip.conf <<'END'\n{text}END"
    node.execute(write, shell=True, no_info_log=True, no_debug_log=True)
    yield node
    node.execute("rm -rf ~/.config/pip", shell=True)


def test_secrets_stay_secret(make: Any, node_with_secrets: Node, logged: Callable[[], str]) -> None:
    container = make(PYTHON)
    put_wheel(container, "/shop", "greeter", "1.5.2", says="greeter 1.5.2")
    running = open_shop(container, 8000, "/shop", login=f"keeper:{PASSWORD}")
    (tool,) = container.install(Tool("greeter", via="pip"))
    running.kill()
    assert "http://***@127.0.0.1:8000/simple/" in Path(tool.log).read_text()
    said = "\n".join([logged(), Path(tool.log).read_text(), str(tool)])
    assert "greeter" in said
    assert "s3cret" not in said
    # Nor is anything left in the container.
    assert container.run("ls -A /dev/shm").stdout == ""
    left = container.run("grep -rl s3cret / --exclude-dir=proc --exclude-dir=sys", timeout=60)
    assert left.stdout == ""


def test_no_secret_in_a_layer_nor_on_a_command_line(make: Any, node_with_secrets: Node) -> None:
    node = node_with_secrets
    shop = make(PYTHON, network_mode="host")
    put_wheel(shop, "/shop", "greeter", "1.5.2", says="greeter 1.5.2")
    running = open_shop(shop, 8000, "/shop", login=f"keeper:{PASSWORD}")
    container = make(PYTHON, network_mode="host")
    remove_layers(container.engine)  # of an earlier run, on a node that is given
    seen: set[str] = set()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            seen.update(node.execute("ps -eww -o args", no_debug_log=True).stdout.splitlines())

    looking = threading.Thread(target=look)
    looking.start()
    (tool,) = container.install(Tool("greeter", via="pip"), cached=True)
    is_over.set()
    looking.join()
    running.kill()
    assert any("pip install" in line for line in seen), "not looked while it ran"
    assert not [line for line in seen if "s3cret" in line]
    save = f"docker save {tool.layer} | grep -ac"
    assert int(node.execute(f"{save} 'greeter 1.5.2'", shell=True, sudo=True).stdout) > 0
    assert node.execute(f"{save} s3cret", shell=True, sudo=True).stdout == "0"


def test_a_wrong_password(make: Any, node_with_secrets: Node, logged: Callable[[], str]) -> None:
    container = make(PYTHON)
    put_wheel(container, "/shop", "greeter", "1.5.2", says="greeter 1.5.2")
    open_shop(container, 8000, "/shop", login="keeper:another")
    with pytest.raises(ToolUnauthorizedError, match="rejected the credentials") as e:
        container.install(Tool("greeter", via="pip"))
    said = "\n".join([logged(), Path(e.value.log).read_text(), str(e.value)])
    assert "s3cret" not in said
    assert container.run("ls -A /dev/shm").stdout == ""
