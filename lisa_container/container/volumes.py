"""Volumes of a container's config: named ones, and paths of the node.

The engine would create a named volume without a label, and it would stay on the node. A path that
the node lacks may be a mistake.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from lisa.node import Node
from lisa.util.shell import SshShell

from lisa_container.config.mounts import swapped
from lisa_container.engine.client import Engine
from lisa_container.engine.labels import RUN_LABEL, run_id
from lisa_container.engine.lease.lease import Lease
from lisa_container.engine.ssh import CHANNEL_TIMEOUT, transport_of
from lisa_container.errors import EngineError
from lisa_container.masking import Plain

IMPLICIT_LABEL = "lisa_container.implicit"
"""Label of volumes that `make_volumes` created."""


@dataclass
class _SeenPaths:
    """Paths that were seen on an engine's node."""

    paths: set[str] = field(default_factory=set)


def find_missing(engine: Engine, volumes: Mapping[str, str]) -> dict[str, str]:
    """Find the paths of volumes that the node lacks; log a warning for each.

    The engine makes an empty folder there without a word, or refuses if it cannot.

    Args:
        engine: Engine of the node.
        volumes: Path of the node, or name of a volume, to path in the container.

    Returns:
        Path to a text that says what to check.
    """
    seen = engine.state(_SeenPaths).paths
    found: dict[str, str] = {}
    for path, target in volumes.items():
        if not path.startswith("/") or path in seen:
            continue
        if _is_there(engine.node, path):
            seen.add(path)
            continue
        hint = swapped(path, target.partition(":")[0])
        found[path] = f"volumes: '{path}' is not on node '{engine.name}'; {hint}"
        engine.node.log.warning(Plain(found[path]))
    return found


def _is_there(node: Node, path: str) -> bool:
    """Return whether the node has a path; True if that is unknown."""
    shell = node.shell
    try:
        if not isinstance(shell, SshShell):
            return shell.exists(PurePosixPath(path))
        # Not by the shell's own client of SFTP, which one thread at a time may use.
        with contextlib.closing(transport_of(shell).open_sftp_client()) as client:
            channel = client.get_channel()
            assert channel is not None
            channel.settimeout(CHANNEL_TIMEOUT)
            client.stat(path)
    except FileNotFoundError:
        return False
    except Exception:  # of paramiko; or the user may not look there
        pass
    return True


def make_volumes(engine: Engine, names: Iterable[str]) -> None:
    """Create the named volumes that do not exist, with the labels of this run.

    Args:
        engine: Engine of the node.
        names: Names of volumes; paths of the node among them are ignored.

    Raises:
        EngineError: The engine refused.
    """
    for name in _volumes(names):
        if _find(engine, name) is None:
            labels = {**Lease.of(engine).labels(), IMPLICIT_LABEL: "1"}
            with engine.errors():
                engine.api.create_volume(name, labels=labels)


def remove_volumes(engine: Engine, names: Iterable[str]) -> None:
    """Remove the volumes that `make_volumes` created in this run and no container uses.

    Args:
        engine: Engine of the node.
        names: Names as given to `make_volumes`.
    """
    for name in _volumes(names):
        try:
            labels = _find(engine, name) or {}
            if IMPLICIT_LABEL in labels and labels.get(RUN_LABEL) == run_id():
                with engine.errors():
                    engine.api.remove_volume(name)
        except EngineError as error:
            # Another container uses the volume; the last one removes it.
            engine.node.log.debug(str(error))


def _find(engine: Engine, name: str) -> dict[str, str] | None:
    """Return the labels of a volume, or None if it does not exist."""
    with engine.errors():
        volumes = engine.api.volumes(filters={"name": name})["Volumes"] or []
    for volume in volumes:
        if volume["Name"] == name:
            return dict(volume.get("Labels") or {})
    return None


def _volumes(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("/")]
