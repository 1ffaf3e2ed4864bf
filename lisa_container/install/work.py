"""`ContainerExecutor.install`: what is done in the container itself, and what by a layer."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from lisa_container.config import ContainerTestConfig
from lisa_container.executor import ContainerExecutor
from lisa_container.install.errors import ToolError, ToolVerifyError
from lisa_container.install.installer import Installer
from lisa_container.install.layer import provide_layer
from lisa_container.install.managers import Package
from lisa_container.install.settings import PackageSettings
from lisa_container.install.tool import InstalledTool, Tool
from lisa_container.install.verify import NotReadyError, verify

# Where engines put what every container of ours has: its init, names and addresses, podman's mark.
_ENGINES_OWN = (
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
# So many changed files are named in an error.
_SHOWN = 5

# What executors have in their images, by what was asked for at once.
_provided: weakref.WeakKeyDictionary[
    ContainerExecutor, dict[tuple[Tool, ...], list[InstalledTool]]
] = weakref.WeakKeyDictionary()
# What the verifiers of a layer's tools have written in the container of that id.
_own_changes: weakref.WeakKeyDictionary[ContainerExecutor, tuple[str, frozenset[str]]] = (
    weakref.WeakKeyDictionary()
)


def install(
    executor: ContainerExecutor,
    given: Sequence[str | Mapping[str, Any] | Tool],
    cached: bool,
    settings: PackageSettings | None,
    timeout: float,
) -> list[InstalledTool]:
    """See `ContainerExecutor.install`."""
    tools = [Tool.of(each) for each in given]  # all are checked before anything is done
    asked, had = tuple(tools), _provided.setdefault(executor, {})
    if cached and asked in had:  # by an earlier case that has the same container
        _verify_all(executor, tools, had[asked])
        return had[asked]
    if settings is None:
        settings = PackageSettings.of_node(executor.host)
    if not cached:
        installer = Installer(executor, settings, timeout)
        return [_added(executor, installer.install(tool)) for tool in tools]
    _require_unchanged(executor, tools)
    layer, records = provide_layer(executor, tools, settings, timeout)
    executor.take_image(layer)
    _verify_all(executor, tools, records)
    if executor.is_started:
        _own_changes[executor] = executor.id, frozenset(_changes(executor))
    had[asked] = [_added(executor, record) for record in records]
    return records


def _added(executor: ContainerExecutor, record: InstalledTool) -> InstalledTool:
    # Once each: a later case may ask for what is there.
    if not any(replace(record, log=had.log) == had for had in executor.installed):
        executor.installed.append(record)
        executor.capture.tools([tool.to_dict() for tool in executor.installed])
    return record


def _verify_all(
    executor: ContainerExecutor, tools: Sequence[Tool], records: Sequence[InstalledTool]
) -> None:
    if executor.is_started:
        for tool, record in zip(tools, records):
            _verify(executor, tool, record)


def _verify(executor: ContainerExecutor, tool: Tool, record: InstalledTool) -> None:
    """In the container itself: its user, its environment and its mounts are not the builder's."""
    package = Package(record.version, (record.command,) if record.command else ())
    try:
        verify(executor, tool, package)
    except NotReadyError as error:
        raise ToolVerifyError(
            tool.name, executor.name, f"it is in the image, but not ready: {error}.", record.log
        ) from error


def _require_unchanged(executor: ContainerExecutor, tools: Sequence[Tool]) -> None:
    """A container that is about to be replaced must have nothing in it that would be missed."""
    if not executor.is_started or not tools:
        return
    container, own = _own_changes.get(executor, ("", frozenset()))
    known = own if container == executor.id else frozenset()
    changed = [path for path in _changes(executor) if path not in known]
    if changed:
        shown = ", ".join(changed[:_SHOWN]) + ("…" if len(changed) > _SHOWN else "")
        raise ToolError(
            tools[0].name,
            executor.name,
            "cached=True gives it a new container, and files were changed in this one already "
            f"({shown}). Install before anything else, or without cached=True.",
        )


def _changes(executor: ContainerExecutor) -> list[str]:
    """The files of a container that are not as in its image."""
    with executor.engine.errors(executor.name):
        found = executor.engine.api.diff(executor.name) or []
    places = [PurePosixPath(path) for path in _mount_points(executor.config)]
    paths = [str(change["Path"]) for change in found]
    return [
        path
        for path in paths
        if not any(_is_on_the_way(PurePosixPath(path), place) for place in places)
    ]


def _mount_points(config: ContainerTestConfig) -> list[str]:
    """Where something is mounted: the engine makes files or folders for that."""
    return [*(bind.split(":")[1] for bind in config.binds), *config.tmpfs, *_ENGINES_OWN]


def _is_on_the_way(path: PurePosixPath, place: PurePosixPath) -> bool:
    return path == place or path in place.parents
