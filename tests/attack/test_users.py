"""Test that the users of the attack tests have the rights that these tests assume."""

from __future__ import annotations

from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig

BUSYBOX = "lisa_container/busybox"


def test_engine_users(each_engine_user: Node) -> None:
    """Each of these users can start a container."""
    with ContainerExecutor(each_engine_user, ContainerTestConfig(image=BUSYBOX)) as container:
        assert container.run("echo hello").stdout == "hello"


def test_stranger(stranger: Node) -> None:
    """The stranger may open neither the engine's socket nor a root shell."""
    assert stranger.execute("test -w /run/docker.sock || test -w /var/run/docker.sock").exit_code
    assert stranger.execute("sudo -n true").exit_code
