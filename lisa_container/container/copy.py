"""Copies of files into and out of a container, a chunk at a time.

The engine's archive requests do most of it; they need no program of the image. The container's own
tar copies what these requests do not see in a running container (tmpfs, mounts made inside, /proc),
and what they must not be used for (see `can_request_archives`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import tarfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path, PurePath, PurePosixPath

from lisa_container.archives import tar
from lisa_container.archives.destination import (
    NEW_FILE,
    Destination,
    local_error,
    mark_copied,
    open_destination,
)
from lisa_container.archives.pack import Packing
from lisa_container.archives.unpack import (
    DEFAULT_LIMITS,
    CopyLimits,
    HardLinkError,
    Parts,
    limit_time,
    too_large,
    unpack,
    write_all,
)
from lisa_container.container.exec import Exec
from lisa_container.container.limited_output import LimitedOutput
from lisa_container.container.paths import archive_chunks, exec_words, is_utf8
from lisa_container.container.request import CommandRequest, Sinks
from lisa_container.container.stall_watch import StallWatch
from lisa_container.container.view import Kind, Place, View
from lisa_container.engine.activity import Activity
from lisa_container.engine.client import Engine
from lisa_container.errors import (
    ContainerError,
    CopyDeniedError,
    CopyError,
    CopyNotFoundError,
    EngineError,
)
from lisa_container.escaping import printable
from lisa_container.masking import Plain

__all__ = ["CopyLimits", "copy_file", "copy_from", "copy_to"]

_CHUNK = 256 * 1024
# Pieces of at most 64 KiB that wait to be read while a command in the container goes on.
_AHEAD = 16
_SLICE = 0.1
# Seconds without a byte after which a command in the container is killed.
_QUIET = 300.0
# Largest size, in bytes, of a program's error output.
_LIMIT = 64 * 1024
# Seconds until the first log line about a copy that goes on.
_LONG = 10.0


class _Copied:
    """Number of bytes that a copy has moved, for its log lines."""

    def __init__(self) -> None:
        self._size = 0

    def count(self, chunks: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        """Pass on the chunks of the copy."""
        with contextlib.closing(chunks):
            for chunk in chunks:
                self._size += len(chunk)
                yield chunk

    def words(self) -> str:
        """Return the text of a log line."""
        return f"{self._size >> 20} MiB"


def copy_to(engine: Engine, container: str, local: Path, target: str | PurePath) -> None:
    """Copy a file or folder into a container.

    Modes, times and links inside a folder are kept; the owner is the container's user. Missing
    folders on the way are created. A target that ends with `/` or is a folder receives the copy
    under its own name. Sockets are left out.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        local: File or folder on this machine. A symbolic link is followed unless it dangles.
        target: Absolute path in the container.

    Raises:
        CopyNotFoundError: `local` does not exist.
        CopyError: `local` cannot be read, or `target` cannot be written.
        NoSpaceError: The node's disk is full.
        EngineError: The engine refused.
    """
    if not local.exists() and not local.is_symlink():
        raise CopyNotFoundError(str(local), "it does not exist on this machine")
    view = View(engine, container)
    place = view.find(target)
    if place.kind is Kind.FOLDER or str(target).endswith("/"):
        place = view.find(place.path / (local.name or local.resolve().name))
    ours = Kind.FOLDER if local.is_dir() else Kind.FILE
    if place.kind not in (Kind.NOTHING, ours):
        raise CopyError(
            str(place.path), f"there is a {place.kind.value} of that name in the container"
        )
    uid, gid = view.user_ids()
    copied = _Copied()
    what = f"copying '{printable(str(local))}' into '{container}'"
    with Activity(what, engine.node.log, copied.words, delay=_LONG):
        if place.is_mount and local.is_file():
            # Such as /etc/hosts, which tar and the engine would try to replace, and fail.
            words = ["sh", "-c", 'cat >"$1"', "sh", str(place.path)]
            _feed(engine, container, place, words, copied.count(_content(local)))
        elif place.is_hidden:
            packing = Packing(uid, gid, tarfile.GNU_FORMAT)
            # tar creates the folders on the way.
            chunks = copied.count(packing.pack(local, str(place.path).lstrip("/")))
            _feed(engine, container, place, ["tar", "-x", "-f", "-", "-C", "/"], chunks)
        else:
            _archive_in(engine, container, view, place, Packing(uid, gid), local, copied)


def copy_from(
    engine: Engine,
    container: str,
    source: str | PurePath,
    local: Path,
    limits: CopyLimits = DEFAULT_LIMITS,
    takes_links: bool = True,
) -> None:
    """Copy a file or folder out of a container.

    Modes, times and links inside a folder are kept. setuid and setgid are not, because the files
    belong to the user here. An existing folder receives the copy under its own name. Nothing
    outside the target is written, whatever the container sends, also by two copies to one place.
    Devices are left out, with a warning.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        source: Absolute path in the container. A symbolic link is followed unless it dangles.
        local: Path on this machine. A link there is replaced.
        limits: Limits; more than that raises an error.
        takes_links: Copy a dangling link as a link; otherwise it counts as not found. On this
            machine the link may lead to a file, which a reader would take for the copy.

    Raises:
        CopyNotFoundError: `source` does not exist.
        CopyError: `source` cannot be read, `local` cannot be written, or a limit is exceeded.
        EngineError: The engine refused.
    """
    place = View(engine, container).find(source)
    kinds = {tar.FOLDER} if place.kind is Kind.FOLDER else {tar.FILE, tar.FIFO}
    if place.kind is Kind.NOTHING:
        if place.link is None or not takes_links:
            raise CopyNotFoundError(str(source), f"it is not in container '{container}'")
        place, kinds = dataclasses.replace(place, path=place.link), {tar.SYMLINK}
    if local.is_dir():
        if local.is_symlink():
            raise CopyError(
                str(local),
                "it is a symbolic link to a folder, and may come from an earlier copy: no copy is "
                "written through it. Give the folder itself, or remove the link",
            )
        name = PurePosixPath(source).name
        local = local / (place.path.name if name == ".." else name)
    copied = _Copied()
    what = f"copying '{printable(str(place.path))}' out of '{container}'"
    activity = Activity(what, engine.node.log, copied.words, delay=_LONG)
    with open_destination(local) as there, activity:
        if kinds != {tar.FILE, tar.FIFO}:
            mark_copied(there)
        left_out = _fetch(engine, container, place, there, limits, kinds, copied)
    if left_out:
        engine.node.log.warning(
            Plain(
                f"[{container}] copy of '{place.path}': {len(left_out)} devices were left out, "
                f"such as {printable(left_out[0])}"
            )
        )


def copy_file(
    engine: Engine,
    container: str,
    source: str | PurePath,
    there: Destination,
    limits: CopyLimits = DEFAULT_LIMITS,
) -> None:
    """Copy one file out of a container; the copy is a plain file.

    Args:
        engine: Engine of the node.
        container: Name or id of the container.
        source: Absolute path in the container; a symbolic link is followed.
        there: Destination; a file there is replaced.
        limits: Limits; more than that raises an error.

    Raises:
        CopyNotFoundError: `source` does not exist.
        CopyError: `source` is no plain file or cannot be read, or the copy cannot be written.
        EngineError: The engine refused.
    """
    place = View(engine, container).find(source)
    if place.kind is Kind.NOTHING:
        raise CopyNotFoundError(str(source), f"it is not in container '{container}'")
    if place.kind is not Kind.FILE:
        raise CopyError(str(source), "it is a folder")
    _fetch(engine, container, place, there, limits, {tar.FILE}, _Copied())


def _fetch(
    engine: Engine,
    container: str,
    place: Place,
    there: Destination,
    limits: CopyLimits,
    kinds: set[bytes],
    copied: _Copied,
) -> list[str]:
    if place.is_virtual and place.kind is Kind.FILE:
        chunks = copied.count(_output(engine, container, place, ["cat", str(place.path)]))
        with contextlib.closing(chunks):
            _write(limit_time(chunks, there, limits.max_seconds), there, limits)
        return []
    if place.is_hidden or place.kind is Kind.FOLDER or is_utf8(place.path.name):
        chunks = copied.count(_tar_out(engine, container, place))
        with contextlib.closing(chunks):
            return unpack(chunks, there, limits, kinds)
    # Docker converts a file's name to JSON, and does not find a file whose name is not UTF-8. But
    # the file is in the archive of its folder.
    wanted: Parts = (os.fsencode(place.path.name),)
    while True:
        chunks = copied.count(archive_chunks(engine, container, place.path.parent))
        with contextlib.closing(chunks):
            try:
                return unpack(chunks, there, limits, kinds, wanted)
            except HardLinkError as error:
                if error.parts == wanted:
                    raise CopyError(str(place.path), "it is a hard link to itself") from error
                wanted = error.parts


def _archive_in(
    engine: Engine,
    container: str,
    view: View,
    place: Place,
    packing: Packing,
    local: Path,
    copied: _Copied,
) -> None:
    base = view.nearest_folder(place.path)
    name = place.path.relative_to(base)
    parents = [str(parent) for parent in reversed(name.parents)][1:]
    chunks = copied.count(packing.pack(local, str(name), parents))
    try:
        with engine.errors(container):
            engine.api.put_archive(container, os.fsencode(str(base)), chunks)
    except EngineError as error:
        if "read-only" not in str(error):
            raise
        raise CopyError(
            str(place.path),
            f"the root of container '{container}' is read-only: have a volume or a tmpfs in its "
            "config for what is written, or leave out 'read_only'",
        ) from error


def _tar_out(engine: Engine, container: str, place: Place) -> Generator[bytes, None, None]:
    if not place.is_hidden:
        return archive_chunks(engine, container, place.path)
    words = ["tar", "-c", "-f", "-", "-C", str(place.path), "."]
    if place.kind is not Kind.FOLDER:
        # -h follows a symbolic link. With "./" tar takes no name for an option.
        folder, name = str(place.path.parent), f"./{place.path.name}"
        follow = ["-h"] if place.kind is Kind.FILE else []
        words = ["tar", "-c", *follow, "-f", "-", "-C", folder, name]
    return _output(engine, container, place, words)


def _content(local: Path) -> Generator[bytes, None, None]:
    try:
        with local.open("rb") as file:
            yield from iter(lambda: file.read(_CHUNK), b"")
    except OSError as error:
        raise local_error(local, error) from error


def _write(chunks: Iterator[bytes], there: Destination, limits: CopyLimits) -> None:
    """Write a file of /proc or /sys, which tar would copy as an empty file."""
    size = 0
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(there.name, dir_fd=there.folder)
        file = os.open(there.name, NEW_FILE, 0o666, dir_fd=there.folder)
        try:
            for chunk in chunks:
                size += len(chunk)
                if size > limits.max_bytes:
                    raise too_large(there, limits.max_bytes, "bytes")
                write_all(file, chunk)
        finally:
            os.close(file)
    except ContainerError:
        raise  # SshLostError is an OSError too
    except OSError as error:
        raise local_error(there.path, error) from error


def _feed(
    engine: Engine, container: str, place: Place, words: list[str], chunks: Iterator[bytes]
) -> None:
    """Run a command in the container with the chunks as its stdin."""
    errors = LimitedOutput(_LIMIT)
    words = exec_words(words)
    command = Exec(
        engine,
        container,
        CommandRequest(words, user="0", interactive=True),
        Sinks(stderr=errors.add),
    )
    watch = StallWatch(command, _QUIET)
    try:
        with watch:
            for chunk in chunks:
                command.write(chunk)
                watch.progress()
            command.close_stdin()
    except OSError as error:
        if isinstance(error, ContainerError):
            command.kill_soon()
            raise
        if watch.fired:
            raise CopyError(
                str(place.path),
                f"'{words[0]}' in container '{container}' took nothing for {_QUIET:g} seconds",
            ) from error
        # The command ended early; its exit code and error output tell the cause.
    except BaseException:
        command.kill_soon()
        raise
    _check(command, container, place, errors)


def _output(
    engine: Engine, container: str, place: Place, words: list[str]
) -> Generator[bytes, None, None]:
    """Yield the output of a command in the container; only a few pieces are held at a time."""
    errors = LimitedOutput(_LIMIT)
    pieces: queue.Queue[bytes] = queue.Queue(_AHEAD)
    is_read = True

    def put(data: bytes) -> None:
        while is_read:
            with contextlib.suppress(queue.Full):
                return pieces.put(data, timeout=_SLICE)

    words = exec_words(words)
    command = Exec(engine, container, CommandRequest(words, user="0"), Sinks(put, errors.add))
    try:
        last_data = time.monotonic()
        while command.running or not pieces.empty():
            with contextlib.suppress(queue.Empty):
                piece = pieces.get(timeout=_SLICE)
                yield piece
                last_data = time.monotonic()
            if time.monotonic() - last_data > _QUIET:
                raise CopyError(
                    str(place.path),
                    f"'{words[0]}' in container '{container}' sent nothing for {_QUIET:g} seconds",
                )
        _check(command, container, place, errors)
    finally:
        is_read = False
        if command.running:
            command.kill_soon()


def _check(command: Exec, container: str, place: Place, errors: LimitedOutput) -> None:
    command.wait()
    if command.exit_code == 0:
        return
    path, reason = str(place.path), errors.data.decode("utf-8", errors="replace").strip()
    if command.refusal:
        raise CopyError(
            path,
            "the engine cannot be asked for it (it is on a tmpfs, was mounted from within, or the "
            "container has the node's own root), and the image lacks what is needed to copy there: "
            f"{command.refusal}",
        )
    reason = f"{reason} (in container '{container}')"
    if "No such file" in reason:
        raise CopyNotFoundError(path, reason)
    if "Permission denied" in reason:
        raise CopyDeniedError(path, reason)
    raise CopyError(path, reason)
