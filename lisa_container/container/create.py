"""Creation of containers, without the settings that an engine does not support."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

from lisa_container.config.mounts import HOST_ROOT_BIND
from lisa_container.engine.client import Engine
from lisa_container.engine.privileges import default_limits
from lisa_container.errors import EngineError

_Change = Callable[[Engine, dict[str, Any]], bool]


@dataclass
class _KnownChanges:
    """Changes that an engine needed for an earlier container.

    The next containers get them at once, because a refused start takes as long as a start.
    """

    changes: list[_Change] = field(default_factory=list)


def create_container(
    engine: Engine, body: dict[str, Any], name: str | None, platform: str = ""
) -> str:
    """Create a container without starting it.

    Args:
        engine: Engine of the node.
        body: Result of `options.create_body`; settings that the engine does not support are
            changed.
        name: Name of the container; None means the engine's choice.
        platform: Platform of the image, if the engine has the image for several.

    Returns:
        Id of the container.

    Raises:
        NameTakenError, ImageNotFoundError, NoSpaceError, EngineError: The engine refused.
    """
    for change in list(engine.state(_KnownChanges).changes):
        change(engine, body["HostConfig"])
    while True:
        try:
            with engine.errors(name or "", body["Image"]):
                return str(engine.api.create_container_from_config(body, name, platform)["Id"])
        except EngineError as error:
            if not drop_unsupported(engine, body["HostConfig"], error):
                raise


def drop_unsupported(engine: Engine, host: dict[str, Any], error: EngineError) -> bool:
    """Drop the settings that an engine refused because it does not support them; log that once.

    Args:
        engine: Engine of the node.
        host: HostConfig of the container, changed in place.
        error: Error with which the engine refused to create or start the container.

    Returns:
        Whether anything was changed, so that another try makes sense.
    """
    message = str(error).lower()
    for words, change in _CHANGES.items():
        if words in message and change(engine, host):
            engine.state(_KnownChanges).changes.append(change)
            return True
    return False


def _mount_root_private(engine: Engine, host: dict[str, Any]) -> bool:
    if HOST_ROOT_BIND not in host["Binds"]:
        return False
    private = HOST_ROOT_BIND.replace(":rslave", "")
    host["Binds"] = [private if bind == HOST_ROOT_BIND else bind for bind in host["Binds"]]
    engine.note_once(
        f"the root of node '{engine.name}' is a private mount: what is mounted there later "
        "does not show in /host ('mount --make-rshared /' on the node changes that)"
    )
    return True


def _leave_out_init(engine: Engine, host: dict[str, Any]) -> bool:
    if not host.get("Init"):
        return False
    host["Init"] = False
    engine.note_once(
        f"the engine of node '{engine.name}' lacks its init for containers (docker-init; for "
        "podman catatonit): zombies are not reaped"
    )
    return True


def _name_limits(engine: Engine, host: dict[str, Any]) -> bool:
    if engine.kind != "podman":
        return False
    named = {limit["Name"] for limit in host["Ulimits"]}
    limits = default_limits(engine.node, engine.kind)
    added = [limit for limit in limits if limit["Name"] not in named]
    host["Ulimits"] += added
    return bool(added)


_CHANGES: dict[str, _Change] = {
    "not a shared or slave mount": _mount_root_private,
    "docker-init": _leave_out_init,
    "container-init": _leave_out_init,
    "error setting rlimit": _name_limits,
}
