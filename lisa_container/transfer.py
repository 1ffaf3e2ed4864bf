"""Copying files into and out of a container, a chunk at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from lisa_container.command import RunningCommand
from lisa_container.engine.archive import pack, unpack
from lisa_container.engine.client import Engine
from lisa_container.errors import CopyError, EngineError

# What the engine's archive calls do not see of a running container, beside each tmpfs of its own.
_HIDDEN = ["/dev", "/proc", "/sys"]


def copy_to(
    engine: Engine, container: str, local: Path, target: str | PurePath, user: str = ""
) -> None:
    """Copy a file or folder into a container.

    Modes and symbolic links inside a folder are kept. Folders on the way are made. A target that
    ends with `/` or is a folder receives the copy under its own name.

    Args:
        engine: of the node.
        container: name or id.
        local: file or folder on this machine.
        target: absolute path in the container.
        user: who will own it; root by default.

    Raises:
        CopyError: it cannot be read, or the path in the container is not absolute.
        EngineError: the engine refused.
    """
    if not local.exists():
        raise CopyError(str(local), "it does not exist on this machine")
    path = _absolute(target)
    if str(target).endswith("/") or _run(engine, container, ["test", "-d", str(path)]) == 0:
        path = path / Path(os.path.realpath(local)).name
    uid, gid = _ids(engine, container, user)
    chunks = pack(local, path, uid, gid)
    if _is_hidden(engine, container, path):
        command = ["tar", "-x", "-f", "-", "-C", "/"]
        _checked(engine, container, path, command, stdin=_ChunkFile(chunks))
        return
    with engine.errors(container):
        engine.api.put_archive(container, "/", chunks)


def copy_from(engine: Engine, container: str, source: str | PurePath, local: Path) -> None:
    """Copy a file or folder out of a container.

    Modes and symbolic links are kept. An existing folder receives the copy under its own name.

    Args:
        engine: of the node.
        container: name or id.
        source: absolute path in the container.
        local: path on this machine.

    Raises:
        CopyError: it is not there, or cannot be written here.
        EngineError: the engine refused.
    """
    path = _absolute(source)
    if local.is_dir():
        local = local / path.name
    local.parent.mkdir(parents=True, exist_ok=True)
    if _is_hidden(engine, container, path):
        command = ["tar", "-c", "-f", "-", "-C", str(path.parent), path.name]
        unpack([_checked(engine, container, path, command)], local)
        return
    try:
        with engine.errors(container):
            stream, _ = engine.api.get_archive(container, str(path))
            unpack(stream, local)
    except EngineError as error:
        if any(words in str(error).lower() for words in ("could not find", "no such file")):
            raise CopyError(str(source), f"it is not in container '{container}'") from error
        raise


def _absolute(path: str | PurePath) -> PurePosixPath:
    result = PurePosixPath(str(path))
    if not result.is_absolute():
        raise CopyError(str(path), "a path in the container must be absolute")
    return result


def _is_hidden(engine: Engine, container: str, path: PurePosixPath) -> bool:
    with engine.errors(container):
        found = engine.api.inspect_container(container)
    tmpfs = found["HostConfig"].get("Tmpfs") or {}
    roots = [PurePosixPath(root) for root in (*_HIDDEN, *tmpfs)]
    return bool(found["State"]["Running"]) and any(
        root == path or root in path.parents for root in roots
    )


def _ids(engine: Engine, container: str, user: str) -> tuple[int, int]:
    if not user:
        return 0, 0
    ids = []
    for option in ("-u", "-g"):
        running = RunningCommand(engine, container, ["id", option], user=user)
        ids.append(running.wait(60).stdout)
    return (int(ids[0]), int(ids[1])) if all(x.isdigit() for x in ids) else (0, 0)


def _run(engine: Engine, container: str, argv: list[str]) -> int:
    with engine.errors(container):
        if not engine.api.inspect_container(container)["State"]["Running"]:
            return 1  # created or stopped: nothing can be asked of it
    exit_code = RunningCommand(engine, container, argv).wait(60).exit_code
    return 1 if exit_code is None else exit_code


def _checked(
    engine: Engine, container: str, path: PurePosixPath, argv: list[str], stdin: Any = None
) -> bytes:
    result = RunningCommand(engine, container, argv, user="0", stdin=stdin).wait(timeout=None)
    if result.exit_code != 0:
        raise CopyError(str(path), f"the tar of container '{container}' failed: {result.stderr}")
    return result.stdout_bytes


class _ChunkFile(io.RawIOBase):
    """A binary file over chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks: Iterator[bytes] = iter(chunks)

    def read(self, size: int = -1) -> bytes:
        return next(self._chunks, b"")
