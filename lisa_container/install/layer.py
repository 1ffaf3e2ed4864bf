"""Image layer with tools, made once on a node and kept there.

A separate container makes the layer from the executor's image. So the layer contains the tools and
nothing of a test, and it works for a container without a network. The key in its name,
`lisa_container/tools:<key>`, is a hash of the image's id and the requested tools. Like
`lisa_container/busybox`, the image is a cache: it has the label of the run that made it but no
lease, so it outlives the run. Remove it with `remove_layers` or `docker rmi`.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lisa_container.config import LOCAL_REPOSITORY, ContainerTestConfig, ImageReference
from lisa_container.container.container import Container
from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import (
    LEASE_LABEL,
    MARK_LABEL,
    OWNER_LABEL,
    RUN_LABEL,
    RUNNER_LABEL,
    SINCE_LABEL,
    run_id,
)
from lisa_container.images.build import built_config
from lisa_container.images.caches import caches, remove_cache
from lisa_container.images.digest import file_digest
from lisa_container.images.ensure import with_image
from lisa_container.images.find import find_image
from lisa_container.images.local.adopt import adopt
from lisa_container.images.lock import image_lock
from lisa_container.install.installer import Installer
from lisa_container.install.settings import PackageSettings
from lisa_container.install.tool import InstalledTool, Tool
from lisa_container.masking import Plain

REPOSITORY = f"{LOCAL_REPOSITORY}tools"
"""Name of the layers on a node; the tag is the key."""

_RECORD_LABEL = "lisa_container.tools"
# Seconds after which the log tells that a layer is stored.
_QUIET = 1.0
# Increase this when the way to make a layer changes.
_VERSION = 2


def provide_layer(
    executor: Container, tools: Sequence[Tool], settings: PackageSettings, timeout: float
) -> tuple[str, list[InstalledTool]]:
    """Return an image with the tools on top of the executor's image; make it if it is missing.

    Args:
        executor: executor with the node and the image; its container is not changed.
        tools: tools in the layer.
        settings: settings of the package managers.
        timeout: time limit in seconds for one command of a manager.

    Returns:
        Name of the image, and the records of the tools in the layer.

    Raises:
        ToolError: a tool could not be installed. The tools before it stay as a layer, from which
            the next attempt goes on.
        EngineError: the engine refused a request.
    """
    engine = executor.engine
    base = _base(executor)
    name = _layer_name(base, tools)
    reference = str(name)
    with image_lock(engine, name):
        if find_image(engine, name):
            executor.host.log.info(
                Plain(f"tools are in layer '{reference}' of node '{engine.name}'")
            )
            records = _record(engine, reference)
        else:
            records = _make(executor, base, name, tools, settings, timeout)
    return reference, [dataclasses.replace(record, layer=reference) for record in records]


def remove_layers(engine: Engine) -> list[str]:
    """Remove all layers of tools from a node, except those in use by a container.

    Args:
        engine: the node's engine (`node.tools[DockerAdvanced].engine`).

    Returns:
        Names of the removed images.

    Raises:
        EngineError: the engine does not answer.
    """
    return [name for name in caches(engine, REPOSITORY) if remove_cache(engine, name)]


def _base(executor: Container) -> str:
    """Return the id of the image that the container has or will have."""
    if executor.is_started:
        return str(executor.inspect()["Image"])
    engine = executor.engine
    config = built_config(engine, executor.config)

    def inspect(config: ContainerTestConfig) -> str:
        with engine.errors(image=config.image_reference):
            return str(engine.api.inspect_image(config.image_reference)["Id"])

    return with_image(engine, config, inspect)


def _key(base: str, tools: Sequence[Tool]) -> str:
    requests = [_describe_request(tool) for tool in tools]
    content = json.dumps([_VERSION, base, requests], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _describe_request(tool: Tool) -> dict[str, Any]:
    request = dataclasses.asdict(tool)
    if tool.file and Path(tool.file).is_file():
        # The file's content counts, not its path. The installer reports a missing file.
        request["file"] = file_digest(Path(tool.file))
    return request


def _make(
    executor: Container,
    base: str,
    reference: ImageReference,
    tools: Sequence[Tool],
    settings: PackageSettings,
    timeout: float,
) -> list[InstalledTool]:
    engine, config = executor.engine, executor.config
    begun, installed = _find_begun(engine, base, tools)
    # The builder has the container's network, unless that cannot reach the package sources.
    network = config.network_mode
    network = "" if network == "none" or network.startswith("container:") else network
    builder_config = ContainerTestConfig(image=begun, network_mode=network)
    settings = settings.with_variables_of(config.environment)
    intermediate: list[str] = []
    with Container(executor.host, builder_config) as builder:
        installer = Installer(builder, settings, timeout, executor.name)
        for tool in tools[len(installed) :]:
            if installed:  # kept if this tool fails
                before = _layer_name(base, tools[: len(installed)])
                if not find_image(engine, before):
                    intermediate.append(_commit(builder, base, before, installed))
            installed = [*installed, installer.install(tool)]
        installer.clean()
        _commit(builder, base, reference, installed)
    for image in intermediate:
        remove_cache(engine, image)
    return installed


def _find_begun(
    engine: Engine, base: str, tools: Sequence[Tool]
) -> tuple[str, list[InstalledTool]]:
    """Return the image with the most of the first tools, and their records.

    Such an image was made when a later tool failed.
    """
    for count in range(len(tools) - 1, 0, -1):
        name = _layer_name(base, tools[:count])
        if find_image(engine, name):
            return str(name), _record(engine, str(name))
    return base, []


def _commit(
    builder: Container, base: str, name: ImageReference, installed: Sequence[InstalledTool]
) -> str:
    """Make an image of the builder's container; return the image's name."""
    engine = builder.engine
    what = f"storing tools as image '{name}' on node '{engine.name}'"
    with Activity(what, engine.node.log, delay=_QUIET), engine.errors(builder.name, base):
        image: dict[str, Any] = engine.api.inspect_image(base)
        layer = engine.api.commit(
            builder.id,
            message=", ".join(f"{tool.name} {tool.version}" for tool in installed),
            **_image_options(engine, image.get("Config") or {}, _labels(installed)),
        )
    adopt(engine, layer["Id"], name)
    return str(name)


def _layer_name(base: str, tools: Sequence[Tool]) -> ImageReference:
    return ImageReference(repository=REPOSITORY, tag=_key(base, tools))


def _labels(installed: Sequence[InstalledTool]) -> dict[str, str]:
    """Return the labels of the layer.

    The image inherits the labels of its container. They cannot be removed, but they can be empty,
    and an empty lease label means no lease.
    """
    record = [dataclasses.asdict(dataclasses.replace(tool, log="")) for tool in installed]
    # Base64, because quotes and dollar signs are special to podman.
    encoded = base64.urlsafe_b64encode(json.dumps(record).encode()).decode()
    return {
        RUN_LABEL: run_id(),
        LEASE_LABEL: "",
        OWNER_LABEL: "",
        MARK_LABEL: "",
        RUNNER_LABEL: "",
        SINCE_LABEL: "",
        _RECORD_LABEL: encoded,
    }


def _image_options(
    engine: Engine, config: Mapping[str, Any], labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return commit options that keep the base image's entrypoint and command.

    Otherwise the image would start like the container that built the layer.
    """
    entrypoint, command = config.get("Entrypoint") or [], config.get("Cmd") or []
    if engine.kind == "podman":  # podman ignores `conf`
        instructions = [
            # ENTRYPOINT first, because it resets CMD.
            f"ENTRYPOINT {json.dumps(entrypoint)}",
            f"CMD {json.dumps(command)}",
            *(f'LABEL {name}="{value}"' for name, value in labels.items()),
        ]
        return {"changes": instructions}
    # Docker reads the change "ENTRYPOINT []" as not given and would keep the container's.
    return {"conf": {"Entrypoint": entrypoint, "Cmd": command, "Labels": dict(labels)}}


def _record(engine: Engine, reference: str) -> list[InstalledTool]:
    with engine.errors(image=reference):
        labels = engine.api.inspect_image(reference)["Config"]["Labels"]
    record = json.loads(base64.urlsafe_b64decode(labels[_RECORD_LABEL]))
    return [InstalledTool.from_dict({**each, "from_cache": True}) for each in record]
