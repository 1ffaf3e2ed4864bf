"""Images, networks and volumes of a node, for `DockerAdvanced`."""

from __future__ import annotations

from typing import Any

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.installation import EngineTool
from lisa_container.engine.lease.lease import Lease
from lisa_container.errors import EngineError, EngineNotFoundError, SshLostError
from lisa_container.images import pull_image, push_image
from lisa_container.images.credentials import Credential
from lisa_container.images.pull import TIMEOUT
from lisa_container.masking import Plain


class ResourceTool(EngineTool):
    """Methods of `DockerAdvanced` that are about images, networks and volumes."""

    @property
    def labels(self) -> dict[str, str]:
        """New labels of this run's lease, for one container, network or volume made with `client`.

        The resource is removed at the end of the run (docs/lease.md). An image with them stays.
        """
        return Lease.of(self.engine).container_labels()

    # --- images ---------------------------------------------------------------------------------

    def pull_image(  # type: ignore[override]  # a superset of LISA's, see below
        self,
        image: str,
        registry: str | int | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT,
        platform: str = "",
    ) -> None:
        """Pull an image.

        Args:
            image: Name of the image.
            registry: `host[:port]`, if the name has none.
            username: User name for the registry. Without it the credentials of the runbook, the
                node or this machine are used (docs/registries.md).
            password: Password for the registry; sent to the engine in a header of the request.
            timeout: Seconds without progress.
            platform: `os/architecture[/variant]`; the node's own by default.

        Raises:
            ConfigError: The name is not legal.
            ImageNotFoundError: The image could not be pulled; the message says why.
            EngineTimeoutError: There was no progress, several times.
        """
        if isinstance(registry, int):  # LISA's Docker has the timeout in this place
            timeout, registry = registry, None
        config = ContainerTestConfig(image=image, registry=registry or "", platform=platform)
        credential = _given(username, password)
        pull_image(self.engine, config.parsed_image, credential, timeout, config.platform)

    def push_image(
        self,
        image: str,
        registry: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Push an image of the node to the registry in its name.

        Args:
            image: Name of the image, with the registry.
            registry: `host[:port]`, if the name has none.
            username: See `pull_image`.
            password: See `pull_image`.
            timeout: Seconds without progress.

        Raises:
            ConfigError: The name is not legal, or it has a digest.
            ImageNotFoundError: The node does not have the image, or the push failed; the message
                says why.
            EngineTimeoutError: There was no progress, several times.
        """
        config = ContainerTestConfig(image=image, registry=registry or "")
        push_image(self.engine, config.parsed_image, _given(username, password), timeout)

    def remove_image(self, image_name: str, force: bool | None = None) -> None:
        """Remove an image.

        Args:
            image_name: Name or id; LISA's callers may give several, with spaces between.
            force: True removes an image that a stopped container uses, too. None behaves like
                LISA's `Docker`: a refusal of the engine is logged and not raised.

        Raises:
            ImageNotFoundError: The node does not have the image.
            EngineError: A container uses the image.
        """
        for image in image_name.split():
            try:
                with self.engine.errors(image=image):
                    self.engine.api.remove_image(image, force=bool(force))
            except EngineError as error:
                if force is not None:
                    raise
                self._let_pass(error)

    def info(self) -> str:
        """Return the output of `docker info`.

        Raises:
            AssertionError: The command failed.
        """
        return self.run("info", sudo=True, expected_exit_code=0).stdout

    # --- networks and volumes -------------------------------------------------------------------

    def create_network(self, name: str, driver: str = "bridge", **options: Any) -> str:
        """Create a network; return its id.

        Args:
            name: Name of the network.
            driver: Driver of the network.
            options: Further arguments of the SDK's `create_network`.
        """
        labels = {**options.pop("labels", {}), **self.labels}
        with self.engine.errors():
            created = self.engine.api.create_network(name, driver, labels=labels, **options)
        return str(created["Id"])

    def remove_network(self, name: str) -> None:
        """Remove a network that no container uses."""
        with self.engine.errors():
            self.engine.api.remove_network(name)

    def list_networks(self) -> list[dict[str, Any]]:
        """Return the networks of the node."""
        with self.engine.errors():
            return [dict(network) for network in self.engine.api.networks()]

    def connect_network(self, network: str, container: str, **options: Any) -> None:
        """Connect a container to a network; `options` are arguments of the SDK."""
        with self.engine.errors(container):
            self.engine.api.connect_container_to_network(container, network, **options)

    def disconnect_network(self, network: str, container: str, force: bool = False) -> None:
        """Disconnect a container from a network."""
        with self.engine.errors(container):
            self.engine.api.disconnect_container_from_network(container, network, force=force)

    def create_volume(self, name: str, **options: Any) -> str:
        """Create a volume; return its name. `options` are arguments of the SDK."""
        labels = {**options.pop("labels", {}), **self.labels}
        with self.engine.errors():
            return str(self.engine.api.create_volume(name, labels=labels, **options)["Name"])

    def remove_volume(self, name: str, force: bool = False) -> None:
        """Remove a volume that no container uses."""
        with self.engine.errors():
            self.engine.api.remove_volume(name, force=force)

    def list_volumes(self) -> list[dict[str, Any]]:
        """Return the volumes of the node."""
        with self.engine.errors():
            return [dict(volume) for volume in self.engine.api.volumes()["Volumes"] or []]

    def _let_pass(self, error: EngineError) -> None:
        """Log a refusal of the engine; raise if the engine or the node does not answer."""
        if isinstance(error, (SshLostError, EngineNotFoundError)):
            raise error
        self._log.warning(Plain(str(error)))


def _given(username: str | None, password: str | None) -> Credential | None:
    return Credential("the argument", username, password or "") if username else None
