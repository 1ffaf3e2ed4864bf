"""Checks of a container runtime and its handlers, for LISA suites and for pytest alike."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

from assertpy import assert_that

from lisa_container.errors import HandlerExistsError, LeakError
from lisa_container.runtimes import (
    DescriptorPassing,
    Expect,
    Handler,
    HandlerHost,
    Machine,
    OciRuntime,
    no_leaks,
)

Check = Callable[[HandlerHost, Path], None]
"""Check of the handlers that a host makes of an image's archive."""


def check_deployment(host: HandlerHost, archive: Path) -> None:
    """A handler deployed from an archive answers, and is listed and registered."""
    handler = host.deploy("hello", archive)
    expect = Expect(host.machine)
    expect.http(handler.url, status=200, body="hello from hello")
    expect.http(f"{handler.url}/missing", status=404)
    assert_that(host.list()).is_equal_to([handler])
    assert_that(host.registry()).is_equal_to({"hello": handler})
    remove(host, [handler])


def check_reuse(host: HandlerHost, archive: Path) -> None:
    """Handlers of an image share the files of its root file system, which stays for later ones."""
    expect = Expect(host.machine)
    handlers = host.deploy_all(["first", "second"], archive)
    assert_that(host.count_bundles()).is_equal_to(2)
    folders = {handler.rootfs for handler in handlers}
    assert_that(folders).is_length(1)
    roots = [f"{handler.bundle}/rootfs" for handler in handlers]
    expect.same_root_file_system([*folders, *roots])
    remove(host, handlers)
    assert_that(host.count_bundles()).is_equal_to(0)
    expect.root_file_system(folders.pop(), files=["bin/busybox", "www"])


def check_network(host: HandlerHost, archive: Path) -> None:
    """A handler's address and socket come with it and go with it."""
    expect = Expect(host.machine)
    handler = host.deploy("network", archive)
    expect.address(handler.address, device="lo", label=host.label)
    expect.listening(handler.port, handler.address)
    remove(host, [handler])
    expect.no_address(label=host.label)
    expect.not_listening(handler.port, handler.address)


def check_requests(host: HandlerHost, archive: Path) -> None:
    """A handler answers ten requests at once, and a hundred one after the other."""
    host.deploy("busy", archive)
    path = "/cgi-bin/echo"
    answers = host.invoke("busy", path, count=10, concurrency=10, method="POST", body="data")
    assert_that([answer.text for answer in answers]).is_equal_to(["busy got data\n"] * 10)
    answers = host.invoke("busy", count=100)
    assert_that([(x.status, x.text) for x in answers]).is_equal_to(
        [(200, "hello from busy\n")] * 100
    )
    host.remove("busy")


def check_many(host: HandlerHost, archive: Path, count: int = 15) -> None:
    """Many handlers start at once; meanwhile the registry is whole at each look.

    Of two deployments with one name, one wins and the other is told so.
    """
    names = [f"many-{number}" for number in range(count)]
    problems: list[BaseException] = []
    losers: list[HandlerExistsError] = []
    done = threading.Event()

    def read() -> None:
        seen = 0
        while not done.wait(0.1):
            try:
                registry = host.registry()
                assert_that(names).contains(*(registry or names))
                assert_that(len(registry)).is_greater_than_or_equal_to(seen)
                seen = len(registry)
            except BaseException as error:
                problems.append(error)

    def deploy_first() -> None:
        try:
            host.deploy(names[0], archive)
        except HandlerExistsError as error:
            losers.append(error)

    threads = [threading.Thread(target=each) for each in (read, deploy_first, deploy_first)]
    for thread in threads:
        thread.start()
    handlers = host.deploy_all(names[1:], archive)
    for thread in threads[1:]:
        thread.join()
    done.set()
    threads[0].join()
    assert_that(problems).is_empty()
    assert_that(losers).is_length(1)
    registry = host.registry()
    assert_that(sorted(registry)).is_equal_to(sorted(names))
    assert_that(len({x.address for x in registry.values()})).is_equal_to(count)
    assert_that(sorted(x.name for x in host.list())).is_equal_to(sorted(names))
    assert_that(host.count_bundles()).is_equal_to(count)
    for handler in (handlers[0], handlers[-1]):
        assert_that(host.invoke(handler.name)[0].text).is_equal_to(f"hello from {handler.name}\n")


def check_descriptors(runtime: OciRuntime, archive: Path) -> None:
    """Open files are passed from the machine to a container, and the other way round."""
    machine = runtime.workspace.machine
    secret = f"{runtime.workspace.folder}/secret"
    machine.run(f"echo of the host >{secret}", expected_exit_code=0)
    passing = DescriptorPassing(runtime)
    (received,) = passing.to_container(archive, [secret], text="of the container\n")
    # The container has no such path, but reads and writes the very file.
    inode = machine.run(f"stat -c %i {secret}").stdout
    assert_that(received.content).is_equal_to(b"of the host\n")
    assert_that(str(received.inode)).is_equal_to(inode)
    assert_that(machine.run(f"cat {secret}").stdout).ends_with("of the container")

    files = ["/bin/handler", "/dev/null"]
    handler, null = passing.to_machine(archive, files)
    assert_that(handler.content.decode()).contains("exec httpd")
    assert_that((handler.type, null.type)).is_equal_to(("file", "character-device"))


def check_leak_is_found(runtime: OciRuntime, archive: Path) -> None:
    """A container that is not deleted is found as a leak, with all that it holds."""
    machine: Machine = runtime.workspace.machine
    bundle = runtime.workspace.oci_bundle(archive, command=["sleep", "600"])
    try:
        with no_leaks(machine, seconds=0):
            runtime.create(bundle).start()
    except LeakError as error:
        found = "\n".join(error.leaks)
    else:
        raise AssertionError("the leaked container was not found")
    for part in ("process ", "sleep 600", f"cgroup /sys/fs/cgroup/{bundle.name}", "namespace net:"):
        assert_that(found).contains(part)
    machine.run(runtime.command("delete", "--force", bundle.name), expected_exit_code=0)
    bundle.remove()


def remove(host: HandlerHost, handlers: Iterable[Handler]) -> None:
    """Remove handlers at once, and wait until nothing of them is left."""
    handlers = list(handlers)
    with ThreadPoolExecutor() as pool:
        list(pool.map(host.remove, [handler.name for handler in handlers]))
    for handler in handlers:
        host.wait_for_cleanup(handler)
