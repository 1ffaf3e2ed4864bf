"""`lisa_container/root`: the node's own root as an image."""

from __future__ import annotations

from lisa.node import Node

from lisa_container import ContainerExecutor, ContainerTestConfig
from lisa_container.engine.labels import LEASE_LABEL
from lisa_container.engine.lease.lease import Lease
from lisa_container.platforms.sandbox import SandboxNode

IMAGE = "lisa_container/root"
SECRETS = ("/root/.secret", "/home/someone/.key", "/etc/ssh/ssh_host_test_key", "/etc/shadow.old")


def test_root(node: Node, machine: SandboxNode) -> None:
    """Complete enough to work in, without secrets, and gone with the run."""
    for path in SECRETS:
        machine.run(f"mkdir -p $(dirname {path}) && echo hidden >{path}")
    machine.run("cp /bin/true /usr/local/bin/mine && setcap cap_net_raw+ep /usr/local/bin/mine")
    with ContainerExecutor(node, ContainerTestConfig(image=IMAGE)) as container:
        assert container.run("dpkg --status dpkg | head -1").stdout == "Package: dpkg"
        assert "cap_net_raw" in container.run("getcap /usr/local/bin/mine").stdout
        assert container.run("ls -d /proc/1 /tmp /root /home").exit_code == 0
        for path in (*SECRETS, "/etc/shadow"):
            assert container.run(["test", "-e", path]).exit_code == 1, path
        container.run("rm -rf /usr/local/bin/mine /etc/apt", expected_exit_code=0)
        image = container.engine.api.inspect_image(IMAGE)
        labels = Lease.of(container.engine).labels()
        assert image["Config"]["Labels"][LEASE_LABEL] == labels[LEASE_LABEL]
        container.engine.api.remove_image(IMAGE, force=True)
    assert machine.run("ls -d /usr/local/bin/mine /etc/apt").returncode == 0
    assert machine.run("ls /var/tmp | grep lisa_container.[0-9a-f]", check=False).stdout == ""
    machine.run(f"rm /usr/local/bin/mine {' '.join(SECRETS)}")
