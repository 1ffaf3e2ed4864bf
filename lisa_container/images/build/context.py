"""The files that a Dockerfile may copy: which those are, what they are, and as a stream.

`.dockerignore` is read as the Docker SDK reads it (docker/utils/build.py), for which the engine's
own rules were the model: `!` takes back, `**` stands for any folders.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from docker.utils.build import PatternMatcher

from lisa_container.config import BuildSpec
from lisa_container.errors import ConfigError

DOCKERFILE = ".lisa_container.dockerfile"
"""What the Dockerfile is called in the stream: it may lie anywhere, or nowhere."""

_IGNORE = ".dockerignore"
_CHUNK = 256 * 1024

# Digests of files by all that changes when they do; of none that may change again within the clock
# of its file system.
_digests: dict[tuple[str, int, int, int, int], str] = {}
_SETTLED = 2.0


class Context:
    """The context of a build, as it is now.

    Args:
        spec: says where it is.

    Raises:
        ConfigError: something in it cannot be read.
    """

    def __init__(self, spec: BuildSpec) -> None:
        self._root = Path(spec.context) if spec.context else None
        self._lines = _ignore_lines(spec)
        self._paths: list[str] = []
        if self._root is not None:
            matcher = PatternMatcher(list(self._lines))
            try:
                self._paths = sorted(matcher.walk(str(self._root)))
            except OSError as error:
                raise _unreadable(error) from error

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(status.st_size for _, status in self._entries() if stat.S_ISREG(status.st_mode))

    def digest(self) -> str:
        """Of all that counts: paths, kinds, modes, contents; not of times and owners.

        Raises:
            ConfigError: a file cannot be read.
        """
        digest = hashlib.sha256()
        for path, status in self._entries():
            local = self._local(path)
            content = ""
            if stat.S_ISLNK(status.st_mode):
                content = str(local.readlink())
            elif stat.S_ISREG(status.st_mode):
                content = _file_digest(local, status)
            digest.update(json.dumps([path, status.st_mode, content]).encode())
        return digest.hexdigest()

    def stream(self, dockerfile: str) -> Iterator[bytes]:
        """A tar for the engine, a piece at a time.

        Args:
            dockerfile: its text.

        Raises:
            ConfigError: a file cannot be read, or became shorter meanwhile.
        """
        for path, status in self._entries():
            if path == _IGNORE:
                continue
            local = self._local(path)
            info = tarfile.TarInfo(path)  # root's, as the docker command has it
            info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
            if stat.S_ISLNK(status.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, str(local.readlink())
            elif stat.S_ISDIR(status.st_mode):
                info.type = tarfile.DIRTYPE
            else:
                info.size = status.st_size
            yield _header(info)
            if info.size:
                yield from _content(local, info.size)
        # The engine takes these two out of the context where the first one says so. (podman does
        # not copy them then.)
        lines = [*self._lines, DOCKERFILE]
        if self._root is None or not (self._root / _IGNORE).is_file():
            lines.append(_IGNORE)
        for name, text in ((_IGNORE, "\n".join(lines) + "\n"), (DOCKERFILE, dockerfile)):
            content = text.encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            yield _header(info) + content + _padding(info.size)
        yield b"\0" * (2 * tarfile.BLOCKSIZE)

    def _entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """Files, folders and links; the rest has no content, and no engine takes it."""
        for path in self._paths:
            try:
                status = self._local(path).lstat()
            except OSError as error:
                raise _unreadable(error) from error
            mode = status.st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
                yield path, status

    def _local(self, path: str) -> Path:
        assert self._root is not None
        return self._root / path


def _ignore_lines(spec: BuildSpec) -> list[str]:
    """A Dockerfile's own file goes before that of the context, as with BuildKit."""
    candidates = [f"{spec.dockerfile}{_IGNORE}"] if spec.dockerfile else []
    candidates += [f"{spec.context}/{_IGNORE}"] if spec.context else []
    for candidate in map(Path, candidates):
        try:
            text = candidate.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise _unreadable(error) from error
        lines = [line.strip() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]
    return []


def _file_digest(path: Path, status: os.stat_result) -> str:
    key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if key not in _digests:
        digest = hashlib.sha256()
        for piece in _content(path, status.st_size, padded=False):
            digest.update(piece)
        if time.time() - status.st_ctime < _SETTLED:
            return digest.hexdigest()
        _digests[key] = digest.hexdigest()
    return _digests[key]


def _content(path: Path, size: int, padded: bool = True) -> Iterator[bytes]:
    left = size
    try:
        with path.open("rb") as file:
            while left:
                piece = file.read(min(_CHUNK, left))
                if not piece:
                    raise ConfigError(f"build: '{path}' became shorter while it was read")
                left -= len(piece)
                yield piece
    except OSError as error:
        raise _unreadable(error) from error
    if padded:
        yield _padding(size)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)


def _unreadable(error: Exception) -> ConfigError:
    name = getattr(error, "filename", "") or ""
    reason = getattr(error, "strerror", "") or str(error)
    return ConfigError(
        f"build: '{name}' cannot be read: {reason}. Mend that, or leave it out by .dockerignore"
    )
