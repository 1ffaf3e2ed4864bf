"""`ContainerExecutor`: one long-lived container on a node, to run commands in."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from lisa.node import Node

from lisa_container.config import ContainerTestConfig, KeepContainers
from lisa_container.config.checks import globs
from lisa_container.container.container import Container
from lisa_container.container.ends import end_for_sure
from lisa_container.container.follower import follower
from lisa_container.container.keeping import keep_containers_of, keep_environment_of
from lisa_container.container.live import live
from lisa_container.docker_advanced import DockerAdvanced
from lisa_container.errors import ConfigError
from lisa_container.evidence import collect_and_warn
from lisa_container.install import Installation, InstalledTool, PackageSettings, Tool
from lisa_container.node import ContainerNode


class ContainerExecutor(Container):
    """One long-lived container to run commands in; a context manager.

        with ContainerExecutor(node, ContainerTestConfig(image="debian:12")) as container:
            container.run("uname -r").stdout

    Args:
        node: LISA node to start the container on, local or remote.
        config: Image and settings of the container.
        name: Name of the container; `lisa_test_<8 hex digits>` by default.

    A container that starts in a case belongs to the case: its commands and, after a failure, its
    evidence are in the case's folder.
    """

    def __init__(self, node: Node, config: ContainerTestConfig, name: str = "") -> None:
        """Check the config; nothing is created before `start`."""
        super().__init__(node, config, name)
        self.is_spare = False
        """Whether no case has used the container; then no setting keeps it."""
        self.is_managed = False
        """Whether a suite or LISA made the container, and assigns it to cases by itself."""
        # Exception that the caller of `start` was handling, as in an `except` block.
        self._handled: BaseException | None = None
        self._node: ContainerNode | None = None
        self._installation = Installation(self)

    def __enter__(self) -> ContainerExecutor:
        """Start the container."""
        return self.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Remove the container, unless it is to be kept."""
        self._end(error)

    def start(self) -> ContainerExecutor:
        """Get the image, create the container and start it; see `Container.start`."""
        with self._lock:
            self._handled = sys.exc_info()[1]
            is_new = not self.is_started
            super().start()
            if is_new and not self.is_managed:
                follower().started(self)
            return self

    def stop(self) -> None:
        """Remove the container, unless it is to be kept. Calling it again does nothing.

        If a case has the container, what its config asks for is recorded before: for a failure, if
        an exception is on its way that came after `start`.
        """
        error = sys.exc_info()[1]
        self._end(None if error is self._handled else error)

    def _end(self, error: BaseException | None) -> None:
        """Remove the container.

        Args:
            error: Exception that ends the use of the container; None if there is none.
        """
        self._handled = None
        # A forked process has copies of the objects, but none of their containers.
        if self not in live or not follower().has(self):
            super().stop()
            return

        def end() -> None:
            follower().ending(self, error)
            super(ContainerExecutor, self).stop()

        end_for_sure(self.host, end)

    @property
    def docker(self) -> DockerAdvanced:
        """LISA tool for the engine of the container's node."""
        return self.host.tools[DockerAdvanced]

    @property
    def installed(self) -> list[InstalledTool]:
        """Records of the tools that `install` has put into the container."""
        return self._installation.tools

    @property
    def node(self) -> ContainerNode:
        """LISA node of the container: `execute`, tools, package installs, file copies."""
        self._require_started()
        with self._lock:
            if self._node is None:
                self._node = ContainerNode.of(self)
            return self._node

    @property
    def node_or_none(self) -> ContainerNode | None:
        """LISA node of the container; None until `node` was used."""
        return self._node

    @property
    def keep_environment(self) -> str:
        """The platform's setting `keep_environment`: `no`, `failed` or `always`."""
        return keep_environment_of(self.host)

    @property
    def keep_containers(self) -> KeepContainers:
        """Condition for keeping the container, from its config, the run's settings or the platform.

        If they differ, the one that keeps more counts.
        """
        return keep_containers_of(self.config, self.host)

    def install(
        self,
        *tools: Tool | str | Mapping[str, Any],
        cached: bool = False,
        settings: PackageSettings | None = None,
        timeout: float = 1800,
    ) -> list[InstalledTool]:
        """Install tools by package managers, and verify that they are ready.

            container.install(Tool("jq", version="1.6"), Tool("httpie", via="pip", command="http"))

        Args:
            tools: Each a `Tool`, the name of a package, or a mapping of a tool's fields.
            cached: Keep the tools as an image on the node, which makes the next installation
                unnecessary. A new container with the tools replaces this one, so no file may have
                been changed in it. This works before `start`, too.
            settings: Proxies, indexes, certificates and credentials for the package managers, which
                the container has only during the installation; the node's by default.
            timeout: Seconds that one command of a manager may take.

        Returns:
            Records of the tools, which `installed` has, too.

        Raises:
            ConfigError: The description of a tool is wrong; nothing was done.
            ToolError: A tool could not be installed; subclasses (`lisa_container.install`) name
                the cause.
            EngineError: The engine failed or does not answer.
        """
        return self._installation.install(tools, cached, settings, timeout)

    def collect(self, patterns: Sequence[str], folder: str | PurePath | None = None) -> list[Path]:
        """Copy the files that match patterns to the artifacts.

            container.collect(["/var/log/**/*.log", "/etc/os-release"])

        The log gets a warning for a pattern without a match, and for a file larger than 256 MiB.

        Args:
            patterns: Absolute paths; `*` and `?` match anything but a slash, `**` any number of
                folders, `[…]` one of some characters. A folder stands for all files in it.
            folder: Folder for the copies, which go to `files/<path>` in it; the folder of the case
                or of the container by default.

        Returns:
            Paths of the copies.

        Raises:
            ConfigError: A pattern is wrong; or no folder is given, and there is no run of LISA.
            EngineError: The engine does not answer.
            OSError: A copy cannot be written.
        """
        patterns = globs("patterns", patterns)
        target = self.capture.folder if folder is None else Path(folder)
        if target is None:
            raise ConfigError(
                "folder: not given, and no run of LISA provides one; legal: a folder for the "
                "copies, or a call of capture_to(folder) before"
            )
        self._require_started()
        return collect_and_warn(self, patterns, target)

    def _tools(self) -> list[dict[str, Any]]:
        self._installation.restart()
        return [tool.to_dict() for tool in self.installed]

    def _wants_to_stay(self) -> bool:
        is_always = self.keep_containers is KeepContainers.ALWAYS
        return self.keep or (is_always and not self.is_spare)
