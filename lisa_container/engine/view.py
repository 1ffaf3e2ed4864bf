"""A container's files: what is where, and who sees it.

The engine looks at a container's files from outside. It sees the root and the volumes, but no
tmpfs, nothing that was mounted from within, and neither /proc nor /sys nor /dev as they are inside.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections import deque
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import PurePath, PurePosixPath

from lisa_container.engine.client import Engine
from lisa_container.engine.exec import Exec
from lisa_container.engine.paths import PathStat, may_look, stat_path
from lisa_container.engine.state import death_of
from lisa_container.errors import CopyError, EngineError

_VIRTUAL = [PurePosixPath("/proc"), PurePosixPath("/sys")]
_DEV = PurePosixPath("/dev")
# The engine mounts these itself, and sees them.
_OF_ENGINE = [PurePosixPath(f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")]

# path_resolution(7) gives up there too.
_MOST_LINKS = 40
_CIRCLES = "its symbolic links lead in circles"
_ASK_TIMEOUT = 60.0

# Says where a path leads, as far as its folders are there, and by exit code what is there.
_ASK = """
case $1 in */*) folder=${1%/*}/ ;; *) folder=. ;; esac
if [ -d "$1" ]; then
    cd "$1" && pwd -P && exit 10
elif [ -d "$folder" ]; then
    (cd "$folder" && pwd -P)
    [ -e "$1" ] && exit 11
fi
exit 12
"""


class Kind(Enum):
    """What is at a path."""

    NOTHING = "nothing"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True)
class Place:
    """A path in a container.

    Args:
        path: absolute; without symbolic links as far as the engine sees.
        kind: what is there.
        is_hidden: the engine does not see it; only a process in the container does.
        is_mount: it is a mount point, and can only be written in place.
    """

    path: PurePosixPath
    kind: Kind
    is_hidden: bool
    is_mount: bool

    @property
    def is_virtual(self) -> bool:
        """The kernel makes it up when it is read, so that its size is not known before."""
        return _is_below(self.path, _VIRTUAL)


class View:
    """A container's files.

    Args:
        engine: of the node.
        container: name or id.

    Raises:
        ContainerDiedError: the container is not there.
        EngineError: the engine failed.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine = engine
        self._container = container
        try:
            with engine.errors(container):
                self._found = engine.api.inspect_container(container)
        except EngineError as error:
            raise death_of(engine, container) or error from error
        self._may_look = may_look(engine, self._found)

    def find(self, path: str | PurePath) -> Place:
        """What is at a path.

        Args:
            path: absolute; symbolic links in it are followed.

        Raises:
            CopyError: it is not absolute, it leads in circles, or it is there only while the
                container runs and that does not.
        """
        wanted = PurePosixPath(str(path))
        if not wanted.is_absolute():
            raise CopyError(str(path), "a path in the container must be absolute")
        here, left, links = PurePosixPath("/"), deque(wanted.parts[1:]), 0
        kind = Kind.FOLDER
        while left:
            part = left.popleft()
            there = here.parent if part == ".." else here / part
            if self._is_hidden(there):
                return self._ask(there.joinpath(*left))
            found = self._stat(there) if kind is Kind.FOLDER else None
            if found is None:
                return Place(there.joinpath(*left), Kind.NOTHING, False, False)
            if found.is_link:
                links += 1
                if links > _MOST_LINKS:
                    raise CopyError(str(path), _CIRCLES)
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
        """The folder of a path, or the first one above that exists.

        Args:
            path: of `find`, not hidden.

        Raises:
            CopyError: there is a file on the way.
        """
        for parent in path.parents:
            found = stat_path(self._engine, self._container, parent)
            if found is not None:
                if not found.is_dir:
                    raise CopyError(str(path), f"'{parent}' is no folder in the container")
                return parent
        return PurePosixPath("/")

    def user_ids(self) -> tuple[int, int]:
        """Numeric user and group of the container's user."""
        user, _, group = str(self._found["Config"].get("User") or "0").partition(":")
        uid, gid = _number(user), _number(group)
        if uid is None or (gid is None and not group):
            for name, number, primary in self._lines("/etc/passwd", 4, (0, 2, 3)):
                if user in (name, number):
                    uid = int(number)
                    gid = int(primary) if not group else gid
                    break
        if group and gid is None:
            for name, number in self._lines("/etc/group", 3, (0, 2)):
                if name == group:
                    gid = int(number)
                    break
        return uid or 0, gid or 0

    @property
    def _is_running(self) -> bool:
        return bool(self._found["State"]["Running"])

    @cached_property
    def _visible(self) -> list[PurePosixPath]:
        """Mount points whose content the engine sees."""
        mounts = [x for x in self._found.get("Mounts") or [] if x.get("Type") != "tmpfs"]
        return [PurePosixPath(mount["Destination"]) for mount in mounts]

    @cached_property
    def _hidden(self) -> list[PurePosixPath]:
        """Mount points whose content only the container sees."""
        host = self._found["HostConfig"]
        tmpfs = [*(host.get("Tmpfs") or {})]
        tmpfs += [x["Target"] for x in host.get("Mounts") or [] if x.get("Type") == "tmpfs"]
        known = [*_VIRTUAL, _DEV, *map(PurePosixPath, tmpfs)]
        capabilities = {name.upper().replace("CAP_", "") for name in host.get("CapAdd") or []}
        if host.get("Privileged") or capabilities & {"SYS_ADMIN", "ALL"}:
            known += self._mounted_inside()
        return known

    def _mounted_inside(self) -> list[PurePosixPath]:
        """What a container that may mount has mounted beside what the engine did."""
        if not self._is_running:
            return []
        said = self._cat("/proc/self/mounts")
        points = [_unescaped(line.split()[1]) for line in said.splitlines() if line.strip()]
        known = {PurePosixPath("/"), *self._visible, *_OF_ENGINE}
        return [
            point for point in points if point not in known and not _is_below(point, self._visible)
        ]

    def _is_hidden(self, path: PurePosixPath) -> bool:
        """The mount point nearest above a path decides."""
        if not self._may_look:
            return True
        hidden = max((len(x.parts) for x in self._hidden if _is_below(path, [x])), default=0)
        visible = max((len(x.parts) for x in self._visible if _is_below(path, [x])), default=0)
        return hidden > visible

    def _ask(self, path: PurePosixPath) -> Place:
        """What the container itself says is at a path."""
        if not self._is_running:
            raise CopyError(
                str(path),
                f"it is on a file system that container '{self._container}' has only while it "
                "runs: start it first",
            )
        said = bytearray()
        words = ["sh", "-c", _ASK, "sh", str(path)]
        command = Exec(self._engine, self._container, words, user="0", on_stdout=said.extend)
        command.wait(_ASK_TIMEOUT)
        kind = {10: Kind.FOLDER, 11: Kind.FILE, 12: Kind.NOTHING}.get(command.exit_code or 0)
        if kind is None:
            raise CopyError(
                str(path),
                "the engine cannot be asked for it (it is on a tmpfs, was mounted from within, or "
                "the container has the node's own root), and the image has no shell to copy there: "
                f"{command.refusal}",
            )
        folder = PurePosixPath(os.fsdecode(bytes(said[:-1])) or os.path.normpath(path.parent))
        real = folder if kind is Kind.FOLDER else folder / path.name
        return Place(real, kind, True, self._is_mount(real))

    def _is_mount(self, path: PurePosixPath) -> bool:
        return path in self._visible or path in _OF_ENGINE

    def _read(self, path: str) -> bytes:
        """A small file; nothing where it is not there."""
        place = self.find(path)
        if place.kind is not Kind.FILE:
            return b""
        if place.is_hidden:
            return self._cat(path)
        with self._engine.errors(self._container):
            chunks, _ = self._engine.api.get_archive(self._container, str(place.path))
            data = b"".join(chunks)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            assert file is not None
            return file.read()

    def _cat(self, path: str) -> bytes:
        said = bytearray()
        words = ["cat", path]
        command = Exec(self._engine, self._container, words, user="0", on_stdout=said.extend)
        command.wait(_ASK_TIMEOUT)
        return bytes(said) if command.exit_code == 0 else b""

    def _lines(self, path: str, least: int, columns: tuple[int, ...]) -> list[list[str]]:
        """Columns of a file like /etc/passwd."""
        text = self._read(path).decode("utf-8", errors="replace")
        rows = [line.split(":") for line in text.splitlines()]
        return [
            [row[column] for column in columns]
            for row in rows
            if len(row) >= least and all(row[x].isdigit() for x in columns[1:])
        ]


def _is_below(path: PurePosixPath, roots: list[PurePosixPath]) -> bool:
    return any(root == path or root in path.parents for root in roots)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _unescaped(word: bytes) -> PurePosixPath:
    """A mount point as proc(5) writes it: blanks and backslashes as octal numbers."""
    plain = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match.group(1), 8)]), word)
    return PurePosixPath(os.fsdecode(plain))
