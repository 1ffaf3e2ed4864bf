"""What keeps a long-lived container running: the image's `sleep`, its shell, or a program of ours.

The entrypoint of the image is overridden, so that the container does nothing until told. Which of
the three it is can only be seen in a container that was created: with an init in front, an
entrypoint that is not in the image shows as a container that dies a moment after its start.
"""

from __future__ import annotations

import tarfile
from typing import Any

from lisa_container.engine.archive import pack_bytes
from lisa_container.engine.client import Engine
from lisa_container.engine.paths import stat_path
from lisa_container.engine.programs import HELPER_FOLDER, pause_program
from lisa_container.errors import EngineError

# 68 years: `sleep infinity` is not known to every sleep.
SLEEP = ["sleep", "2147483647"]
# Reads a stdin that nobody writes to. No builtin of a shell waits for ever otherwise.
SHELL = ["sh", "-c", "while :; do read -r _ || exit; done"]
PAUSE = [f"{HELPER_FOLDER}/pause"]

# What the engine takes where neither image nor config says so (moby, oci/defaults).
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def set_entrypoint(body: dict[str, Any], entrypoint: list[str]) -> None:
    """Have a container to be created run one of the three.

    Args:
        body: of the creation.
        entrypoint: `SLEEP`, `SHELL` or `PAUSE`.
    """
    body["Entrypoint"], body["Cmd"] = entrypoint, []
    body["OpenStdin"] = entrypoint == SHELL
    # An anonymous volume, which goes with the container.
    body["Volumes"] = {HELPER_FOLDER: {}} if entrypoint == PAUSE else {}


def choose_entrypoint(engine: Engine, container: str) -> list[str]:
    """The one of the three that a container's image can run.

    Args:
        engine: of the node.
        container: created, not yet started.

    Where the engine cannot look into it, say for a mount that does not work, it is `SLEEP`: its
    start will tell what is wrong.
    """
    try:
        with engine.errors(container):
            config = engine.api.inspect_container(container)["Config"]
        variables = dict(item.partition("=")[::2] for item in config.get("Env") or [])
        folders = variables.get("PATH", _DEFAULT_PATH).split(":")
        if not _has_program(engine, container, folders, "sh"):
            return PAUSE
        return SLEEP if _has_program(engine, container, folders, "sleep") else SHELL
    except EngineError as error:
        engine.node.log.debug(f"cannot look into container '{container}': {error}")
        return SLEEP


def put_pause(engine: Engine, container: str, image: str) -> None:
    """Put the program for `PAUSE` into a container that was created with it.

    Args:
        engine: of the node.
        container: name or id.
        image: for the message.

    Raises:
        EngineError: there is none for this architecture, or the engine refused.
    """
    with engine.errors(container):
        architecture = str(engine.api.info()["Architecture"])
        program = pause_program(architecture)
        if program is None:
            raise EngineError(
                f"image '{image}' has no shell ('sh'), and there is no substitute for "
                f"{architecture} to keep a container of it running: use an image that has one"
            )
        info = tarfile.TarInfo("pause")
        info.mode = 0o755
        engine.api.put_archive(container, HELPER_FOLDER, pack_bytes([(info, program)]))


def _has_program(engine: Engine, container: str, folders: list[str], name: str) -> bool:
    for folder in folders:
        if not folder.startswith("/"):
            continue
        found = stat_path(engine, container, f"{folder}/{name}")
        if found is not None and found.is_link:
            found = stat_path(engine, container, found.link_target)
        if found is not None and not found.is_dir and found.mode & 0o111:
            return True
    return False
