"""View of a container's files: the kind of a path, and whether the engine sees it.

The engine looks at a container's files from outside. It sees the root and the volumes. It does not
see a tmpfs, mounts made inside, or the container's /proc, /sys and /dev.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import PurePath, PurePosixPath

from lisa_container.archives.tar import FILE, Fault, StreamSource, TarReader
from lisa_container.container.exec import Exec
from lisa_container.container.limited_output import LimitedOutput
from lisa_container.container.paths import (
    PathStat,
    archive_chunks,
    can_request_archives,
    exec_words,
    stat_path,
)
from lisa_container.container.request import CommandRequest, Sinks
from lisa_container.container.state import death_of
from lisa_container.engine.client import Engine
from lisa_container.errors import CopyError, EngineError
from lisa_container.parsing import parse_int

_VIRTUAL = [PurePosixPath("/proc"), PurePosixPath("/sys")]
_DEV = PurePosixPath("/dev")
# The engine itself mounts these files, and sees them.
_OF_ENGINE = [PurePosixPath(f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")]

# The limit of path_resolution(7).
_MOST_LINKS = 40
_CIRCLES = "its symbolic links lead in circles"
_ASK_TIMEOUT = 60.0
# Largest size, in bytes, of a container's list of users or mounts.
_LIMIT = 4 * 1024 * 1024
# Largest id of a user or group on Linux.
_LARGEST_ID = 2**32 - 1

# Prints the path without symbolic links, as far as its folders exist. The exit code is the kind.
_ASK = """
case $1 in */*) folder=${1%/*}/ ;; *) folder=. ;; esac
if [ -d "$1" ]; then
    cd "$1" && pwd -P && exit 10
elif [ -d "$folder" ]; then
    (cd "$folder" && pwd -P)
    [ -e "$1" ] && exit 11
    [ -h "$1" ] && exit 13
fi
exit 12
"""


class Kind(Enum):
    """Kind of the file at a path; the values are words for messages."""

    NOTHING = "nothing"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True)
class Place:
    """Path in a container, with what is known about it.

    Args:
        path: Absolute path, without symbolic links as far as the engine sees.
        kind: Kind of the file.
        is_hidden: Whether only a process in the container sees the path, not the engine.
        is_mount: Whether the path is a mount point, which can only be written in place.
        link: Dangling symbolic link because of which nothing is at the path, if there is one.
    """

    path: PurePosixPath
    kind: Kind
    is_hidden: bool
    is_mount: bool
    link: PurePosixPath | None = None

    @property
    def is_virtual(self) -> bool:
        """Whether the kernel makes the content when it is read; the size is unknown before."""
        return _is_below(self.path, _VIRTUAL)


class View:
    """View of a container's files.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.

    Raises:
        ContainerDiedError: The container does not exist.
        EngineError: The engine failed.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        """Ask the engine for the container's mounts and user."""
        self._engine = engine
        self._container = container
        try:
            with engine.errors(container):
                self._details = engine.api.inspect_container(container)
        except EngineError as error:
            raise death_of(engine, container) or error from error
        self._may_look = can_request_archives(engine, self._details)

    def find(self, path: str | PurePath) -> Place:
        """Return what is known about a path.

        Args:
            path: Absolute path; symbolic links in it are followed.

        Raises:
            CopyError: The path is not absolute, is no legal name, has links that lead in circles,
                or exists only while the container runs and the container does not run.
        """
        wanted = PurePosixPath(str(path))
        if not wanted.is_absolute():
            raise CopyError(str(path), "a path in the container must be absolute")
        _expect_name(wanted)
        here, left, links = PurePosixPath("/"), deque(wanted.parts[1:]), 0
        kind, link = Kind.FOLDER, None
        while left:
            part = left.popleft()
            there = here.parent if part == ".." else here / part
            if self._is_hidden(there):
                return self._ask(there.joinpath(*left))
            found = self._stat(there) if kind is Kind.FOLDER else None
            if found is None:
                link = link if kind is Kind.FOLDER else None
                return Place(there.joinpath(*left), Kind.NOTHING, False, False, link)
            if found.is_link:
                links += 1
                if links > _MOST_LINKS:
                    raise CopyError(str(path), _CIRCLES)
                link = there if link is None and not left else link
                target = PurePosixPath("/") / found.link_target
                left.extendleft(reversed(target.parts[1:]))
                here = PurePosixPath("/")
                continue
            here = there
            kind = Kind.FOLDER if found.is_dir else Kind.FILE
        return Place(here, kind, False, self._is_mount(here))

    def _stat(self, path: PurePosixPath) -> PathStat | None:
        try:
            return stat_path(self._engine, self._container, path)
        except EngineError as error:
            if "too many links" not in str(error):
                raise
            raise CopyError(str(path), _CIRCLES) from error

    def nearest_folder(self, path: PurePosixPath) -> PurePosixPath:
        """Return the nearest folder above a path that exists.

        Args:
            path: Path from `find` that is not hidden.

        Raises:
            CopyError: A file is on the way.
        """
        for parent in path.parents:
            found = stat_path(self._engine, self._container, parent)
            if found is not None:
                if not found.is_dir:
                    raise CopyError(str(path), f"'{parent}' is no folder in the container")
                return parent
        return PurePosixPath("/")

    def user_ids(self) -> tuple[int, int]:
        """Return the numeric user id and group id of the container's user."""
        user, _, group = str(self._details["Config"].get("User") or "0").partition(":")
        uid, gid = _id(user), _id(group)
        if uid is None or (gid is None and not group):
            for name, (number, primary) in self._names("/etc/passwd", 2):
                if user == name or uid == number:
                    uid = number
                    gid = primary if not group else gid
                    break
        if group and gid is None:
            for name, (number,) in self._names("/etc/group", 1):
                if name == group:
                    gid = number
                    break
        return uid or 0, gid or 0

    @property
    def _is_running(self) -> bool:
        return bool(self._details["State"]["Running"])

    @cached_property
    def _visible(self) -> list[PurePosixPath]:
        """Mount points with content that the engine sees."""
        mounts = [x for x in self._details.get("Mounts") or [] if x.get("Type") != "tmpfs"]
        return [PurePosixPath(mount["Destination"]) for mount in mounts]

    @cached_property
    def _hidden(self) -> list[PurePosixPath]:
        """Mount points with content that only the container sees."""
        host = self._details["HostConfig"]
        tmpfs = [*(host.get("Tmpfs") or {})]
        tmpfs += [x["Target"] for x in host.get("Mounts") or [] if x.get("Type") == "tmpfs"]
        known = [*_VIRTUAL, _DEV, *map(PurePosixPath, tmpfs)]
        capabilities = {name.upper().replace("CAP_", "") for name in host.get("CapAdd") or []}
        if host.get("Privileged") or capabilities & {"SYS_ADMIN", "ALL"}:
            known += self._mounted_inside()
        return known

    def _mounted_inside(self) -> list[PurePosixPath]:
        """Return the mount points that the container itself has made."""
        if not self._is_running:
            return []
        lines = self._cat("/proc/self/mounts").splitlines()
        points = [_unescape(words[1]) for words in map(bytes.split, lines) if len(words) > 1]
        known = {PurePosixPath("/"), *self._visible, *_OF_ENGINE}
        return [
            point for point in points if point not in known and not _is_below(point, self._visible)
        ]

    def _is_hidden(self, path: PurePosixPath) -> bool:
        """Return whether the nearest mount point above a path is a hidden one."""
        if not self._may_look:
            return True
        hidden = max((len(x.parts) for x in self._hidden if _is_below(path, [x])), default=0)
        visible = max((len(x.parts) for x in self._visible if _is_below(path, [x])), default=0)
        return hidden > visible

    def _ask(self, path: PurePosixPath) -> Place:
        """Ask the container itself about a path."""
        if not self._is_running:
            raise CopyError(
                str(path),
                f"it is on a file system that container '{self._container}' has only while it "
                "runs: start it first",
            )
        output = LimitedOutput(_LIMIT)
        words = exec_words(["sh", "-c", _ASK, "sh", str(path)])
        command = Exec(
            self._engine,
            self._container,
            CommandRequest(words, user="0"),
            Sinks(output.add),
        )
        self._wait(command, path)
        link = None
        kind = {10: Kind.FOLDER, 11: Kind.FILE, 12: Kind.NOTHING, 13: Kind.NOTHING}.get(
            command.exit_code or 0
        )
        if kind is None:
            raise CopyError(
                str(path),
                "the engine cannot be asked for it (it is on a tmpfs, was mounted from within, or "
                "the container has the node's own root), and the image has no shell to copy there: "
                f"{command.refusal}",
            )
        folder = PurePosixPath(os.fsdecode(output.data[:-1]) or os.path.normpath(path.parent))
        real = folder if kind is Kind.FOLDER else folder / path.name
        if command.exit_code == 13:
            link = real
        return Place(real, kind, True, self._is_mount(real), link)

    def _wait(self, command: Exec, path: PurePosixPath) -> None:
        if not command.wait(_ASK_TIMEOUT):
            command.kill_soon()
            raise CopyError(
                str(path),
                f"container '{self._container}' did not answer in {_ASK_TIMEOUT:g} seconds what "
                "is there: the container or its shell hangs",
            )

    def _is_mount(self, path: PurePosixPath) -> bool:
        return path in self._visible or path in _OF_ENGINE

    def _read(self, path: str) -> bytes:
        """Return the content of a small file; empty if the file does not exist."""
        place = self.find(path)
        if place.kind is not Kind.FILE:
            return b""
        if place.is_hidden:
            return self._cat(path)
        data = bytearray()
        chunks = archive_chunks(self._engine, self._container, place.path)
        with contextlib.closing(chunks):
            try:
                reader = TarReader(StreamSource(chunks))
                entry = next(iter(reader), None)
                if entry is None or entry.kind != FILE or entry.size > _LIMIT:
                    return b""
                for piece in reader.content():
                    data += piece
            except Fault as fault:
                raise CopyError(
                    path, f"the container sent a damaged tar archive: {fault}"
                ) from fault
        return bytes(data)

    def _cat(self, path: str) -> bytes:
        output = LimitedOutput(_LIMIT)
        command = Exec(
            self._engine,
            self._container,
            CommandRequest(["cat", path], user="0"),
            Sinks(output.add),
        )
        self._wait(command, PurePosixPath(path))
        return output.data if command.exit_code == 0 else b""

    def _names(self, path: str, count: int) -> Iterator[tuple[str, list[int]]]:
        """Yield the names in /etc/passwd or /etc/group, each with the ids from column 2 on."""
        text = self._read(path).decode("utf-8", errors="replace")
        for row in (line.split(":") for line in text.splitlines()):
            ids = [x for x in map(_id, row[2 : 2 + count]) if x is not None]
            if len(ids) == count:
                yield row[0], ids


def _expect_name(path: PurePosixPath) -> None:
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise CopyError(ascii(str(path)), "no file can have such a name")


def _is_below(path: PurePosixPath, roots: list[PurePosixPath]) -> bool:
    return any(root == path or root in path.parents for root in roots)


def _id(text: str) -> int | None:
    number = parse_int(text)
    return number if number is not None and 0 <= number <= _LARGEST_ID else None


def _unescape(word: bytes) -> PurePosixPath:
    """Decode a mount point from proc(5), which has blanks and backslashes as octal numbers."""
    plain = re.sub(rb"\\([0-3][0-7]{2})", lambda match: bytes([int(match.group(1), 8)]), word)
    return PurePosixPath(os.fsdecode(plain))
