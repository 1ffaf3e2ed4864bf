"""Installation of tools into one container: directly, or by an image that is cached on the node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from lisa_container.config import ContainerTestConfig
from lisa_container.container.container import Container
from lisa_container.install.errors import ToolError, ToolVerifyError
from lisa_container.install.installer import Installer
from lisa_container.install.layer import provide_layer
from lisa_container.install.managers import Package
from lisa_container.install.settings import PackageSettings
from lisa_container.install.tool import InstalledTool, Tool
from lisa_container.install.verify import NotReadyError, verify

# Files that engines put into every container: its init, names and addresses, podman's mark.
_ENGINE_FILES = (
    "/sbin/docker-init",
    "/usr/sbin/docker-init",
    "/usr/bin/docker-init",
    "/run/podman-init",
    "/run/.containerenv",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/mtab",
)
# Number of changed files that an error names.
_MAX_SHOWN = 5


class Installation:
    """Tools that are installed in one container.

    Args:
        container: Container to install into; it need not be started.
    """

    def __init__(self, container: Container) -> None:
        """Begin without any tool."""
        self.tools: list[InstalledTool] = []
        """Records of the installed tools, in the order of their installation."""
        self._container = container
        # Records of tools in the container's image, by the tools that were asked for at once.
        self._cached: dict[tuple[Tool, ...], list[InstalledTool]] = {}
        # Files that the verifiers of cached tools wrote, and the id of their container.
        self._own_changes: tuple[str, frozenset[str]] = ("", frozenset())

    def restart(self) -> None:
        """Forget the tools that a new container lacks: those that are not in its image."""
        self.tools = [tool for tool in self.tools if tool.layer]

    def install(
        self,
        given: Sequence[str | Mapping[str, Any] | Tool],
        cached: bool,
        settings: PackageSettings | None,
        timeout: float,
    ) -> list[InstalledTool]:
        """Install tools and return their records; see `ContainerExecutor.install`."""
        tools = [Tool.of(each) for each in given]  # all are checked before anything is done
        asked = tuple(tools)
        if cached and asked in self._cached:  # by an earlier case that has the same container
            self._verify_all(tools, self._cached[asked])
            return self._cached[asked]
        if settings is None:
            settings = PackageSettings.of_node(self._container.host)
        if not cached:
            installer = Installer(self._container, settings, timeout)
            return [self._add(installer.install(tool)) for tool in tools]
        self._require_unchanged(tools)
        layer, records = provide_layer(self._container, tools, settings, timeout)
        self._container.use_image(layer)
        self._verify_all(tools, records)
        if self._container.is_started:
            self._own_changes = self._container.id, frozenset(_changes(self._container))
        self._cached[asked] = [self._add(record) for record in records]
        return records

    def _add(self, record: InstalledTool) -> InstalledTool:
        """Keep a record, once for each tool: a later case may ask for an installed tool."""
        if not any(replace(record, log=had.log) == had for had in self.tools):
            self.tools.append(record)
            self._container.capture.record_tools([tool.to_dict() for tool in self.tools])
        return record

    def _verify_all(self, tools: Sequence[Tool], records: Sequence[InstalledTool]) -> None:
        if self._container.is_started:
            for tool, record in zip(tools, records):
                self._verify(tool, record)

    def _verify(self, tool: Tool, record: InstalledTool) -> None:
        # In the container itself: its user, environment and mounts differ from the builder's.
        commands = (record.command, *record.commands) if record.command else record.commands
        try:
            verify(self._container, tool, Package(record.version, commands))
        except NotReadyError as error:
            raise ToolVerifyError(
                tool.name,
                self._container.name,
                f"the image has it, but it is not ready: {error}.",
                record.log,
            ) from error

    def _require_unchanged(self, tools: Sequence[Tool]) -> None:
        """Refuse to replace a container in which files were changed: they would be lost."""
        if not self._container.is_started or not tools:
            return
        container, own = self._own_changes
        known = own if container == self._container.id else frozenset()
        changed = [path for path in _changes(self._container) if path not in known]
        if changed:
            shown = ", ".join(changed[:_MAX_SHOWN]) + ("…" if len(changed) > _MAX_SHOWN else "")
            raise ToolError(
                tools[0].name,
                self._container.name,
                "cached=True would replace the container, but files in it were changed already "
                f"({shown}). Install before other steps, or without cached=True.",
            )


def _changes(container: Container) -> list[str]:
    """Return the files of a container that differ from its image."""
    with container.engine.errors(container.name):
        changes = container.engine.api.diff(container.name) or []
    places = [PurePosixPath(path) for path in _mount_points(container.config)]
    paths = [str(change["Path"]) for change in changes]
    return [
        path
        for path in paths
        if not any(_is_on_the_way(PurePosixPath(path), place) for place in places)
    ]


def _mount_points(config: ContainerTestConfig) -> list[str]:
    """Return the mount points in the container, which the engine creates as files or folders."""
    return [*(bind.split(":")[1] for bind in config.binds), *config.tmpfs, *_ENGINE_FILES]


def _is_on_the_way(path: PurePosixPath, place: PurePosixPath) -> bool:
    return path == place or path in place.parents
