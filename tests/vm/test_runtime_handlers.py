"""HTTP handlers in a VM, run by runc and crun: deployment, requests, registry, clean-up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lisa_container.errors import ConfigError, HandlerError, HandlerNotFoundError
from lisa_container.images import image_from_layers
from lisa_container.microvm.session import VmSession
from lisa_container.runtimes import HandlerHost, OciRuntime, Workspace, no_leaks
from tests.support.runtimes import SOME_RUNTIMES, busybox
from testsuites import runtime_checks as checks


@pytest.fixture(scope="module", params=SOME_RUNTIMES)
def host(request: pytest.FixtureRequest, runtime_vm: VmSession) -> Iterator[HandlerHost]:
    """Return a host of handlers, which must have none at the end of a test."""
    with no_leaks(runtime_vm), Workspace(runtime_vm) as workspace:
        yield HandlerHost(OciRuntime(workspace, request.param))


@pytest.mark.sampled(1, "checks")
@pytest.mark.parametrize(
    "check", [checks.check_deployment, checks.check_reuse, checks.check_network]
)
def test_check(check: checks.Check, host: HandlerHost, handler_archive: Path) -> None:
    check(host, handler_archive)


@pytest.mark.sampled(1, "checks")
def test_requests(host: HandlerHost, handler_archive: Path) -> None:
    checks.check_requests(host, handler_archive)


@pytest.mark.sampled(1, "checks")
def test_fifteen_at_once(host: HandlerHost, handler_archive: Path) -> None:
    checks.check_many(host, handler_archive)
    checks.remove(host, list(host.registry().values())[:2])


def test_failed_deployment_leaves_nothing(host: HandlerHost) -> None:
    shell = {"bin/sh": busybox()}
    quitter = image_from_layers([shell], cmd=["/bin/sh", "-c", "echo I cannot; exit 4"])
    with no_leaks(host.machine):
        with pytest.raises(HandlerError, match="deploy handler 'quit'.*not listen.*I cannot"):
            host.deploy("quit", quitter)
        with pytest.raises(HandlerError, match="(?s)deploy handler 'absent'.*/absent"):
            host.deploy("absent", image_from_layers([shell], cmd=["/absent"]))
        assert "quit" not in host.registry()
    with pytest.raises(HandlerNotFoundError, match="no handler 'quit' is in the registry"):
        host.invoke("quit")


def test_hosts_share_the_addresses_of_a_network(
    host: HandlerHost, runtime_vm: VmSession, handler_archive: Path
) -> None:
    """Hosts of one workspace, of another one and of another runtime take different addresses."""
    network = "10.63.0.0/30"
    with Workspace(runtime_vm) as other:
        first = HandlerHost(host.runtime, network)
        second = HandlerHost(OciRuntime(other, "crun"), network)
        third = HandlerHost(OciRuntime(other, "runc"), network)
        assert first.deploy("first", handler_archive).address == "10.63.0.1"
        handler = second.deploy("second", handler_archive)
        assert handler.address == "10.63.0.2"
        with pytest.raises(HandlerError, match="'third' .* all addresses .* larger network"):
            third.deploy("third", handler_archive)
        assert third.registry() == {} and list(second.registry()) == ["second"]
        first.remove("first")
        assert third.deploy("third", handler_archive).address == "10.63.0.1"
        assert second.invoke("second")[0].text == "hello from second\n"


def test_wrong_values(host: HandlerHost) -> None:
    with pytest.raises(ConfigError, match=r"label: given 'eth0:x'; legal: 'lo' or 'lo:' with"):
        HandlerHost(host.runtime, label="eth0:x")
    with pytest.raises(ConfigError, match="network: given '10.0.0.1/24'; legal: an IPv4 network"):
        HandlerHost(host.runtime, network="10.0.0.1/24")
    with pytest.raises(ConfigError, match="name: given 'A'; legal"):
        host.deploy("A", Path("missing.tar"))
