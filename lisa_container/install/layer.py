"""Tools as a layer on top of an image, made once on a node and kept there.

A layer is made in a container of its own, from the very image that the executor's container has: so
it holds the tools and nothing of a test, and can be made for a container that has no network. Its
name, `lisa_container/tools:<key>`, is a hash of the image's id and of all that was asked for. It is
a cache like `lisa_container/busybox`: it carries the label of the run that made it and no lease, so
it outlives the run, and goes by `remove_layers` or `docker rmi`.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lisa_container.config import LOCAL_REPOSITORY, ContainerTestConfig
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import LEASE_LABEL, RUN_LABEL, RUNNER_LABEL, SINCE_LABEL, run_id
from lisa_container.executor import ContainerExecutor
from lisa_container.images.build import built_config
from lisa_container.images.caches import caches, remove_cache
from lisa_container.images.ensure import with_image
from lisa_container.images.find import find_image
from lisa_container.images.local.adopt import adopt
from lisa_container.images.lock import image_lock
from lisa_container.install.digest import file_digest
from lisa_container.install.installer import Installer
from lisa_container.install.settings import PackageSettings
from lisa_container.install.tool import InstalledTool, Tool

REPOSITORY = f"{LOCAL_REPOSITORY}tools"
"""What the layers of a node are called; the tag is the key."""

_RECORD_LABEL = "lisa_container.tools"
# To be raised when what is done to make a layer changes.
_VERSION = 1


def provide_layer(
    executor: ContainerExecutor, tools: Sequence[Tool], settings: PackageSettings, timeout: float
) -> tuple[str, list[InstalledTool]]:
    """The image with the tools on top of the executor's; made where the node lacks it.

    Args:
        executor: says which node and image; its container is not touched.
        tools: all that shall be in the layer.
        settings: of the package managers.
        timeout: seconds that one command of a manager may take.

    Returns:
        The image's name, and what is in the layer.

    Raises:
        ToolError: a tool could not be installed; no layer was made.
        EngineError: the engine refused.
    """
    engine = executor.engine
    base = _base(executor)
    reference = f"{REPOSITORY}:{_key(base, tools)}"
    with image_lock(engine, reference):
        if find_image(engine, reference):
            executor.host.log.info(f"tools are in layer '{reference}' of node '{engine.name}'")
            records = _record(engine, reference)
        else:
            records = _make(executor, base, reference, tools, settings, timeout)
    return reference, [dataclasses.replace(record, layer=reference) for record in records]


def remove_layers(engine: Engine) -> list[str]:
    """Remove all layers of tools from a node, but those that a container uses, and those below.

    Args:
        engine: of the node (`node.tools[DockerAdvanced].engine`).

    Returns:
        The names of those that went.

    Raises:
        EngineError: the engine does not answer.
    """
    return [name for name in caches(engine, REPOSITORY) if remove_cache(engine, name)]


def _base(executor: ContainerExecutor) -> str:
    """The id of the image that the container has, or will have."""
    if executor.is_started:
        return str(executor.inspect()["Image"])
    engine = executor.engine
    config = built_config(engine, executor.config)

    def look(config: ContainerTestConfig) -> str:
        with engine.errors(image=config.image_reference):
            return str(engine.api.inspect_image(config.image_reference)["Id"])

    return with_image(engine, config, look)


def _key(base: str, tools: Sequence[Tool]) -> str:
    asked = [_asked(tool) for tool in tools]
    content = json.dumps([_VERSION, base, asked], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _asked(tool: Tool) -> dict[str, Any]:
    asked = dataclasses.asdict(tool)
    if tool.file and Path(tool.file).is_file():
        # What is in it counts, not where it is. Where it is not there, the installer says so.
        asked["file"] = file_digest(Path(tool.file))
    return asked


def _make(
    executor: ContainerExecutor,
    base: str,
    reference: str,
    tools: Sequence[Tool],
    settings: PackageSettings,
    timeout: float,
) -> list[InstalledTool]:
    engine, config = executor.engine, executor.config
    # A way out: that of the container, unless it has none.
    network = config.network_mode
    network = "" if network == "none" or network.startswith("container:") else network
    builder_config = ContainerTestConfig(image=base, network_mode=network)
    lent = settings.with_variables_of(config.environment)
    with ContainerExecutor(executor.host, builder_config) as builder:
        installer = Installer(builder, lent, timeout, executor.name)
        installed = [installer.install(tool) for tool in tools]
        installer.clean()
        with engine.errors(builder.name, base):
            found: dict[str, Any] = engine.api.inspect_image(base)
            made = engine.api.commit(
                builder.id,
                message=", ".join(f"{tool.name} {tool.version}" for tool in installed),
                **_like(engine, found.get("Config") or {}, _labels(installed)),
            )
    adopt(engine, made["Id"], reference)
    return installed


def _labels(installed: Sequence[InstalledTool]) -> dict[str, str]:
    """An image inherits the labels of the container that it is made of. They cannot be taken away,
    but be emptied; an empty lease is none."""
    record = [dataclasses.asdict(dataclasses.replace(tool, log="")) for tool in installed]
    # No quotes and no dollars in it, which would mean something to podman.
    encoded = base64.urlsafe_b64encode(json.dumps(record).encode()).decode()
    return {
        RUN_LABEL: run_id(),
        LEASE_LABEL: "",
        RUNNER_LABEL: "",
        SINCE_LABEL: "",
        _RECORD_LABEL: encoded,
    }


def _like(engine: Engine, config: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """What makes the image start as the one below it, and not as the container that was used."""
    entrypoint, command = config.get("Entrypoint") or [], config.get("Cmd") or []
    if engine.kind == "podman":  # it does not look at a config
        instructions = [
            # In this order: an entrypoint resets the command.
            f"ENTRYPOINT {json.dumps(entrypoint)}",
            f"CMD {json.dumps(command)}",
            *(f'LABEL {name}="{value}"' for name, value in labels.items()),
        ]
        return {"changes": instructions}
    # Docker takes "ENTRYPOINT []" for none named, and would name the container's.
    return {"conf": {"Entrypoint": entrypoint, "Cmd": command, "Labels": dict(labels)}}


def _record(engine: Engine, reference: str) -> list[InstalledTool]:
    with engine.errors(image=reference):
        labels = engine.api.inspect_image(reference)["Config"]["Labels"]
    record = json.loads(base64.urlsafe_b64decode(labels[_RECORD_LABEL]))
    return [InstalledTool(**{**each, "from_cache": True}) for each in record]
