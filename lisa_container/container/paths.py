"""Paths in a container, examined by the engine without a process in the container."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import stat
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import Any

from lisa_container.engine.client import Engine

# Bits of Go's fs.FileMode (https://pkg.go.dev/io/fs#FileMode) and their values in stat(2).
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
    """Status of the file, folder or link at a path."""

    mode: int
    """Kind and permissions, as in stat(2)."""
    size: int
    link_target: str
    """Final target of a symbolic link, as an absolute path in the container."""

    @property
    def is_dir(self) -> bool:
        """Whether the path is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether the path is a symbolic link."""
        return stat.S_ISLNK(self.mode)


def stat_path(engine: Engine, container: str, path: str | PurePath) -> PathStat | None:
    """Return the status of a path without following a symbolic link; None if nothing is there.

    The engine looks at the container's files from outside. It sees volumes, but no tmpfs and
    nothing that was mounted inside. The container need not run.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        path: Absolute path in the container.

    Raises:
        EngineError: The engine refused.
    """
    api = engine.api
    url = api._url("/containers/{0}/archive", container)
    params = {"path": os.fsencode(str(path))}  # bytes, as a file's name need not be UTF-8
    with engine.errors(container):
        answer = api.head(url, params=params, timeout=api.timeout)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            # The reason is in the body, which an answer to HEAD does not have.
            with contextlib.closing(api._get(url, params=params, stream=True)) as answer:
                api._raise_for_status(answer)
    # Docker encodes it with "+" and "/", podman with "-" and "_".
    encoded = answer.headers["X-Docker-Container-Path-Stat"]
    status = json.loads(base64.b64decode(encoded, altchars=b"-_"))
    return PathStat(_mode(int(status["mode"])), int(status["size"]), status.get("linkTarget") or "")


def archive_chunks(
    engine: Engine, container: str, path: str | PurePath
) -> Generator[bytes, None, None]:
    """Read the engine's archive of a file or folder, a chunk at a time.

    Args:
        engine: Engine of the node.
        container: Name or id of the container, which need not run.
        path: Absolute path in the container.

    Raises:
        EngineError: The engine refused.
    """
    chunks = engine.api.archive_chunks(container, os.fsencode(str(path)))
    with engine.errors(container), contextlib.closing(chunks):
        yield from chunks


def is_utf8(path: str | PurePath) -> bool:
    """Return whether a path is UTF-8; the engine's API takes JSON, which has no other strings.

    Args:
        path: Path from `os.fsdecode`.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def exec_words(words: Sequence[str]) -> list[str]:
    """Return a command line in UTF-8 that passes any bytes as arguments.

    Args:
        words: Program and arguments from `os.fsdecode`. The container's `sh` makes those that are
            not UTF-8.
    """
    if all(map(is_utf8, words)):
        return list(words)
    before, argv = [], []
    for number, word in enumerate(words):
        if is_utf8(word):
            argv.append(shlex.quote(word))
            continue
        octal = "".join(f"\\0{byte:03o}" for byte in os.fsencode(word))
        # The x keeps newlines at the end, which a shell's command substitution removes.
        before.append(f"w{number}=$(printf '%bx' '{octal}')")
        argv.append(f'"${{w{number}%x}}"')
    return ["sh", "-c", "\n".join([*before, "exec " + " ".join(argv)])]


def can_request_archives(engine: Engine, details: dict[str, Any]) -> bool:
    """Return whether the engine may safely be asked for a container's files.

    For each request Docker mounts the container's volumes again. In a running container these
    mounts appear and stay if a volume is a folder of the node that contains Docker's own data, such
    as "/", or is a slave of the node's mounts. The mounts of "/" double each time, until the kernel
    refuses more. (https://github.com/moby/moby/issues/38995, seen with Docker 20.10 and fixed in
    https://github.com/moby/moby/pull/44210.)

    Args:
        engine: Engine of the node.
        details: Result of `inspect_container`.
    """
    binds = [x for x in details.get("Mounts") or [] if x.get("Type") == "bind"]
    if not binds or not details["State"]["Running"]:
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
