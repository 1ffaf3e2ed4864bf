"""Context of a build: the files that a Dockerfile may copy."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from lisa_container.archives.pack import END, header_of, padding
from lisa_container.config import BuildSpec
from lisa_container.errors import ConfigError
from lisa_container.images.build.ignore import IgnoreFile

DOCKERFILE = ".lisa_container.dockerfile"
"""Name of the Dockerfile in the stream, wherever it lies on this machine."""

_IGNORE = ".dockerignore"
_CHUNK = 256 * 1024

# Digests of files, by all that changes with the content. A file is left out for some seconds after
# a change: a second change may fall into the same tick of the file system's clock.
_digests: dict[tuple[str, int, int, int, int], str] = {}
_SETTLED = 2.0


class Context:
    """Context of a build, as it is now.

    Args:
        spec: names the folder.

    Raises:
        ConfigError: a file or folder cannot be read.
    """

    def __init__(self, spec: BuildSpec) -> None:
        """List the files that the ignore file leaves in."""
        self._root = Path(spec.context) if spec.context else None
        self._ignore = _ignore_file(spec)
        self._paths: list[str] = []
        if self._root is not None:
            try:
                self._paths = list(self._ignore.walk(self._root))
            except OSError as error:
                raise _unreadable(error) from error

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(status.st_size for _, status in self._entries() if stat.S_ISREG(status.st_mode))

    def digest(self) -> str:
        """Return a hash of paths, kinds, modes and contents, without times and owners.

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

    def stream(self, dockerfile: bytes) -> Iterator[bytes]:
        """Yield the context as a tar for the engine.

        Args:
            dockerfile: content of the Dockerfile, which is added.

        Raises:
            ConfigError: a file cannot be read, or became shorter meanwhile.
        """
        for path, status in self._entries():
            if path == _IGNORE:
                continue
            local = self._local(path)
            info = tarfile.TarInfo(path)  # owned by root, as with the docker command
            info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
            if stat.S_ISLNK(status.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, str(local.readlink())
            elif stat.S_ISDIR(status.st_mode):
                info.type = tarfile.DIRTYPE
            else:
                info.size = status.st_size
            yield header_of(info)
            if info.size:
                yield from _content(local, info.size)
        # Docker drops these two files from the context where `.dockerignore` names them, and Podman
        # does not copy them then. The docker command adds the names of its own files, too.
        ignore = self._ignore.content
        if self._root is None or not (self._root / _IGNORE).is_file():
            ignore += f"\n{_IGNORE}".encode()
        ignore += f"\n{DOCKERFILE}\n".encode()
        for name, content in ((_IGNORE, ignore), (DOCKERFILE, dockerfile)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            yield header_of(info) + content + padding(info.size)
        yield END

    def _entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield files, folders and links; no engine accepts sockets, devices and pipes."""
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


def _ignore_file(spec: BuildSpec) -> IgnoreFile:
    """Read the ignore file of the Dockerfile, or else that of the context, as BuildKit does."""
    candidates = [f"{spec.dockerfile}{_IGNORE}"] if spec.dockerfile else []
    candidates += [f"{spec.context}/{_IGNORE}"] if spec.context else []
    for candidate in map(Path, candidates):
        try:
            content = candidate.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(error) from error
        return IgnoreFile(content, str(candidate))
    return IgnoreFile()


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
        yield padding(size)


def _unreadable(error: Exception) -> ConfigError:
    name = getattr(error, "filename", "") or ""
    reason = getattr(error, "strerror", "") or str(error)
    return ConfigError(
        f"build: '{name}' cannot be read: {reason}. Correct that, or exclude it in .dockerignore"
    )
