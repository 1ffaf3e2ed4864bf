"""What the engine can tell of a path in a container without running anything there."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import Any

from lisa_container.engine.client import Engine

# Bits of Go's fs.FileMode (https://pkg.go.dev/io/fs#FileMode) and what they are in stat(2).
_KINDS = {
    1 << 31: stat.S_IFDIR,
    1 << 27: stat.S_IFLNK,
    1 << 26: stat.S_IFBLK,
    1 << 25: stat.S_IFIFO,
    1 << 24: stat.S_IFSOCK,
    1 << 21: stat.S_IFCHR,
}
_BITS = {1 << 23: stat.S_ISUID, 1 << 22: stat.S_ISGID, 1 << 20: stat.S_ISVTX}


@dataclass(frozen=True)
class PathStat:
    """What is at a path."""

    mode: int
    """As of stat(2): kind and permissions."""
    size: int
    link_target: str
    """Of a symbolic link: where it leads in the end, as an absolute path in the container."""

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)


def stat_path(engine: Engine, container: str, path: str | PurePath) -> PathStat | None:
    """What is at a path, a symbolic link itself not followed; None for nothing.

    The engine looks at the container's files from outside: it sees volumes, but no tmpfs and
    nothing that was mounted from within. The container need not run.

    Args:
        engine: of the node.
        container: name or id.
        path: absolute.

    Raises:
        EngineError: the engine refused.
    """
    api = engine.api
    url = api._url("/containers/{0}/archive", container)
    params = {"path": os.fsencode(str(path))}  # bytes, as a file's name need not be UTF-8
    with engine.errors(container):
        answer = api.head(url, params=params, timeout=api.timeout)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            # Why is said in a body, which the answer to HEAD has not.
            with contextlib.closing(api._get(url, params=params, stream=True)) as answer:
                api._raise_for_status(answer)
    found = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
    return PathStat(_mode(int(found["mode"])), int(found["size"]), found.get("linkTarget") or "")


def may_look(engine: Engine, found: dict[str, Any]) -> bool:
    """Whether the engine may be asked for a container's files at all.

    For each look Docker mounts the container's volumes once more. Where one of them is a folder of
    the node that holds Docker's own data, as "/" does, or is a slave of the node's mounts, and the
    container runs, these mounts appear in the container and stay there; those of "/" double each
    time, until the kernel takes no more. (https://github.com/moby/moby/issues/38995, mended in
    https://github.com/moby/moby/pull/44210; seen with Docker 20.10.)

    Args:
        engine: of the node.
        found: what `inspect_container` gave.
    """
    binds = [x for x in found.get("Mounts") or [] if x.get("Type") == "bind"]
    if not binds or not found["State"]["Running"]:
        return True
    with engine.errors():
        data = PurePosixPath(engine.api.info().get("DockerRootDir") or "/var/lib/docker")
    return not any(
        _is_within(data, PurePosixPath(bind["Source"]))
        or _is_within(PurePosixPath(bind["Source"]), data)
        or "private" not in (bind.get("Propagation") or "private")
        for bind in binds
    )


def _is_within(path: PurePosixPath, folder: PurePosixPath) -> bool:
    return path == folder or folder in path.parents


def _mode(mode: int) -> int:
    result = mode & 0o777
    for bit, meaning in {**_KINDS, **_BITS}.items():
        if mode & bit:
            result |= meaning
    return result if stat.S_IFMT(result) else result | stat.S_IFREG
