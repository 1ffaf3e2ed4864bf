"""Entrypoint that keeps a long-lived container running: `sleep`, a shell, or a program of ours.

The entrypoint of the image is overridden, so that the container does nothing by itself. The choice
is made by a look into the created container. A try would be slow: with an init in front, a missing
entrypoint only shows as a container that dies a moment after its start.
"""

from __future__ import annotations

import tarfile
from typing import Any

from lisa_container.archives.pack import pack_bytes
from lisa_container.container.paths import stat_path
from lisa_container.container.programs import HELPER_FOLDER, pause_program
from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError
from lisa_container.escaping import printable

# 68 years. Not every sleep knows `sleep infinity`.
SLEEP = ["sleep", "2147483647"]
# Reads a stdin that gets no data; no other builtin of a shell waits for ever.
SHELL = ["sh", "-c", "while :; do read -r _ || exit; done"]
PAUSE = [f"{HELPER_FOLDER}/pause"]

# The engine's PATH if neither the image nor the config has one (moby, oci/defaults).
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def set_entrypoint(body: dict[str, Any], entrypoint: list[str]) -> None:
    """Set the entrypoint of a container to be created.

    Args:
        body: Body of the creation request.
        entrypoint: `SLEEP`, `SHELL` or `PAUSE`.
    """
    body["Entrypoint"], body["Cmd"] = entrypoint, []
    body["OpenStdin"] = entrypoint == SHELL
    # An anonymous volume, which goes with the container.
    body["Volumes"] = {HELPER_FOLDER: {}} if entrypoint == PAUSE else {}


def choose_entrypoint(engine: Engine, container: str) -> list[str]:
    """Return the entrypoint that a container's image can run.

    The result is `SLEEP` if the engine cannot look into the container, for example because of a
    mount that does not work: the start will report the cause.

    Args:
        engine: Engine of the node.
        container: Name or id of a container that was created and not yet started.
    """
    try:
        folders = program_folders(engine, container)
        if find_program(engine, container, folders, "sh") is None:
            return PAUSE
        return SLEEP if find_program(engine, container, folders, "sleep") else SHELL
    except EngineError as error:
        engine.node.log.debug(f"cannot look into container '{container}': {printable(error)}")
        return SLEEP


def put_pause(engine: Engine, container: str, image: str) -> None:
    """Copy the program for `PAUSE` into a container that was created with that entrypoint.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        image: Image of the container, for the message.

    Raises:
        EngineError: There is no program for this architecture, or the engine refused.
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


def program_folders(engine: Engine, container: str) -> list[str]:
    """Return the folders of the PATH of a container.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.

    Raises:
        EngineError: The engine refused.
    """
    with engine.errors(container):
        config: dict[str, Any] = engine.api.inspect_container(container)["Config"]
    variables: dict[str, str] = dict(item.partition("=")[::2] for item in config.get("Env") or [])
    return variables.get("PATH", _DEFAULT_PATH).split(":")


def find_program(engine: Engine, container: str, folders: list[str], name: str) -> str | None:
    """Return the path of a program in a container, behind links; None if it is not there.

    Args:
        engine: Engine of the node.
        container: Name or id of the container, which need not run.
        folders: Folders to search, if the name is no path.
        name: Name or absolute path of the program.

    Raises:
        EngineError: The engine refused.
    """
    for path in [name] if "/" in name else [f"{folder}/{name}" for folder in folders]:
        if not path.startswith("/"):
            continue
        file = stat_path(engine, container, path)
        if file is not None and file.is_link:
            path = file.link_target
            file = stat_path(engine, container, path)
        if file is not None and not file.is_dir and file.mode & 0o111:
            return path
    return None
