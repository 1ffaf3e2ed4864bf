"""Tests of a container runtime on the node: `runc`, `crun` or another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata

from lisa_container.runtimes import HandlerHost, OciRuntime, Workspace, machine_of, no_leaks

from . import runtime_checks as checks
from .handler_image import handler_image

_BUSYBOX = "cat $(command -v busybox)"


@TestSuiteMetadata(
    area="runtime",
    category="functional",
    description="""
    Deploys HTTP handlers with a container runtime on the node, and checks its network, files and
    what it leaves. The runbook's variable `runtime` names the program, `runc` by default.
    """,
)
class ContainerRuntime(TestSuite):
    """Suite whose cases each have a workspace of their own, and leave the node as it was."""

    @TestCaseMetadata(description="A handler is deployed from an image's tar.", priority=1)
    def verify_deployment(self, node: Node, variables: dict[str, Any], log_path: Path) -> None:
        with _host(node, variables, log_path) as (host, archive):
            checks.check_deployment(host, archive)

    @TestCaseMetadata(description="Handlers share a root file system.", priority=2)
    def verify_reuse(self, node: Node, variables: dict[str, Any], log_path: Path) -> None:
        with _host(node, variables, log_path) as (host, archive):
            checks.check_reuse(host, archive)

    @TestCaseMetadata(description="Address and socket come and go with a handler.", priority=2)
    def verify_network(self, node: Node, variables: dict[str, Any], log_path: Path) -> None:
        with _host(node, variables, log_path) as (host, archive):
            checks.check_network(host, archive)

    @TestCaseMetadata(description="Ten requests at once, a hundred in sequence.", priority=2)
    def verify_requests(self, node: Node, variables: dict[str, Any], log_path: Path) -> None:
        with _host(node, variables, log_path) as (host, archive):
            checks.check_requests(host, archive)

    @TestCaseMetadata(description="Fifteen handlers at once, and their registry.", priority=2)
    def verify_many(self, node: Node, variables: dict[str, Any], log_path: Path) -> None:
        with _host(node, variables, log_path) as (host, archive):
            checks.check_many(host, archive)

    @TestCaseMetadata(description="Descriptors are passed in both directions.", priority=2)
    def verify_descriptors(self, node: Node, variables: dict[str, Any], log_path: Path) -> None:
        with _host(node, variables, log_path) as (host, archive):
            checks.check_descriptors(host.runtime, archive)

    @TestCaseMetadata(description="A container that is not deleted is found.", priority=2)
    def verify_leak_is_found(self, node: Node, variables: dict[str, Any], log_path: Path) -> None:
        with _host(node, variables, log_path) as (host, archive):
            checks.check_leak_is_found(host.runtime, archive)


@contextmanager
def _host(
    node: Node, variables: dict[str, Any], folder: Path
) -> Iterator[tuple[HandlerHost, Path]]:
    """Yield a host of handlers, and an image's archive made of the node's busybox."""
    machine = machine_of(node)
    program = machine.run(_BUSYBOX, expected_exit_code=0).stdout_bytes
    archive = handler_image(program).save(folder / "handler.tar")
    with no_leaks(machine), Workspace(machine) as workspace:
        runtime = OciRuntime(workspace, str(variables.get("runtime") or "runc"))
        yield HandlerHost(runtime), archive
