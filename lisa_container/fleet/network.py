"""Network of a fleet: one on each node, on which members find each other by name."""

from __future__ import annotations

import secrets
import threading

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.engine.client import Engine
from lisa_container.engine.lease.shell import shell_of
from lisa_container.errors import ContainerError
from lisa_container.escaping import printable
from lisa_container.masking import Plain

# Podman's name servers, for its network backends netavark and CNI; containers.conf(5),
# helper_binaries_dir and cni_plugin_dirs.
_NAME_SERVERS = "/opt/cni/bin/dnsname " + " ".join(
    f"{folder}/podman/aardvark-dns {folder}/cni/dnsname"
    for folder in ("/usr/local/libexec", "/usr/libexec", "/usr/local/lib", "/usr/lib")
)


def _note_names(engine: Engine) -> None:
    """Log that members cannot find each other by name, where podman lacks the program for that."""
    if (
        engine.kind == "podman"
        and not shell_of(engine).run(f"ls -d {_NAME_SERVERS} 2>/dev/null").strip()
    ):
        engine.note_once(
            f"the members of fleets on node '{engine.name}' do not find each other by name: podman "
            "lacks its name server. Install the packages netavark and aardvark-dns there"
        )


class FleetNetwork:
    """Network of a fleet, and the names in it: a bridge network on each node that has members.

    Args:
        fleet: Name of the fleet.
    """

    def __init__(self, fleet: str) -> None:
        """Create nothing yet; `create` does."""
        self._fleet = fleet
        self._names: dict[Node, str] = {}
        self._created: list[Node] = []
        self._lock = threading.Lock()

    def member(
        self, config: ContainerTestConfig, number: int, node: Node
    ) -> tuple[ContainerTestConfig, str]:
        """Return the config and the name of a member's container.

        A config with a network of its own keeps that, and names in it are the user's affair.

        Args:
            config: Config of the fleet.
            number: Number of the member.
            node: Node of the member.
        """
        name = f"{self._fleet}-{number}"
        if not config.network_mode:
            config = config.merged(
                network_mode=self._name_on(node),
                network_aliases=[name, self._fleet],
                hostname=config.hostname or name,
            )
        # A new member starts before the old one of its name is gone, and other runs use the node.
        return config, f"{name}_{secrets.token_hex(4)}"

    def create(self, node: Node) -> None:
        """Create the network on a node unless it exists.

        Args:
            node: Node of a member.

        Raises:
            EngineError: The engine refused.
        """
        with self._lock:
            if node not in self._created:
                docker = node.tools[DockerAdvanced]
                docker.create_network(self._name_on(node))
                self._created.append(node)
                _note_names(docker.engine)

    def remove(self) -> None:
        """Remove the network from all nodes where no container uses it."""
        with self._lock:
            for node in list(self._created):
                name = self._name_on(node)
                try:
                    node.tools[DockerAdvanced].remove_network(name)
                    self._created.remove(node)
                except ContainerError as error:
                    # The engine refuses where a member still uses it, such as one that is kept.
                    node.log.debug(Plain(f"network '{name}' stays: {printable(error)}"))

    def _name_on(self, node: Node) -> str:
        # Engines allow two networks of one name, and two nodes may be one machine.
        return self._names.setdefault(node, f"{self._fleet}_{secrets.token_hex(4)}")
