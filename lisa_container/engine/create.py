"""Creating a container, also where the engine knows or can do a little less than asked."""

from __future__ import annotations

import weakref
from typing import Any, Callable

from lisa_container.config.mounts import HOST_ROOT_BIND
from lisa_container.engine.client import Engine
from lisa_container.engine.privileges import default_limits
from lisa_container.errors import EngineError

_Change = Callable[[Engine, dict[str, Any]], bool]
# What each engine refused once is not asked of it again: a refused start costs as much as a start.
_given_up: weakref.WeakKeyDictionary[Engine, list[_Change]] = weakref.WeakKeyDictionary()


def create_container(
    engine: Engine, body: dict[str, Any], name: str | None, platform: str = ""
) -> str:
    """Create a container without starting it.

    Args:
        engine: of the node.
        body: of `options.create_body`; changed where the engine cannot do something of it.
        name: of the container; None has the engine make one up.
        platform: that the image must be for, where the engine has it for several.

    Returns:
        Its id.

    Raises:
        NameTakenError, ImageNotFoundError, NoSpaceError, EngineError: the engine refused.
    """
    for change in list(_given_up.get(engine, [])):
        change(engine, body["HostConfig"])
    while True:
        try:
            with engine.errors(name or "", body["Image"]):
                return str(engine.api.create_container_from_config(body, name, platform)["Id"])
        except EngineError as error:
            if not soften(engine, body["HostConfig"], error):
                raise


def soften(engine: Engine, host: dict[str, Any], error: EngineError) -> bool:
    """Give up what this engine cannot do, where it refused to create or start, and say so.

    Args:
        engine: of the node.
        host: the HostConfig, changed in place.
        error: what the engine said.

    Returns:
        Whether to try again.
    """
    said = str(error).lower()
    for words, change in _CHANGES.items():
        if words in said and change(engine, host):
            _given_up.setdefault(engine, []).append(change)
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
