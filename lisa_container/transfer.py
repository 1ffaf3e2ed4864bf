"""Copying files into and out of a container, a chunk at a time.

The engine's archive calls do most of it; they need nothing of the image. What they do not see in a
running container (tmpfs, mounts made from within, /proc), and what they must not be asked for (see
`may_look`), goes through the container's own tar.
"""

from __future__ import annotations

import contextlib
import os
import queue
import tarfile
from collections.abc import Generator, Iterator
from pathlib import Path, PurePath, PurePosixPath

from lisa_container.engine.archive import Packing, local_error, unpack
from lisa_container.engine.client import Engine
from lisa_container.engine.exec import Exec
from lisa_container.engine.view import Kind, Place, View
from lisa_container.errors import (
    ContainerError,
    CopyDeniedError,
    CopyError,
    CopyNotFoundError,
    EngineError,
)

_CHUNK = 256 * 1024
# How far a command in the container may be ahead of us: so many pieces of at most 64 KiB.
_AHEAD = 16
_SLICE = 0.1


def copy_to(engine: Engine, container: str, local: Path, target: str | PurePath) -> None:
    """Copy a file or folder into a container.

    Modes, times and links inside a folder are kept; the owner is the container's user. Folders on
    the way are made. A target that ends with `/` or is a folder receives the copy under its own
    name. Sockets, pipes and devices are left out.

    Args:
        engine: of the node.
        container: name or id.
        local: file or folder on this machine; a symbolic link itself is followed.
        target: absolute path in the container.

    Raises:
        CopyNotFoundError: it is not there.
        CopyError: it cannot be read, or not be written in the container.
        NoSpaceError: the node's disk is full.
        EngineError: the engine refused.
    """
    if not local.exists():
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
    if place.is_mount and ours is Kind.FILE:
        # Such as /etc/hosts: tar and the engine would put a new file in its place, and cannot.
        words = ["sh", "-c", 'cat >"$1"', "sh", str(place.path)]
        _feed(engine, container, place, words, _content(local))
    elif place.is_hidden:
        packing = Packing(uid, gid, tarfile.GNU_FORMAT)
        # tar makes the folders on the way by itself.
        chunks = packing.pack(local, str(place.path).lstrip("/"))
        _feed(engine, container, place, ["tar", "-x", "-f", "-", "-C", "/"], chunks)
    else:
        _archive_in(engine, container, view, place, Packing(uid, gid), local)


def copy_from(engine: Engine, container: str, source: str | PurePath, local: Path) -> None:
    """Copy a file or folder out of a container.

    Modes, times and links inside a folder are kept. An existing folder receives the copy under its
    own name. Nothing outside of that is written, whatever the container has in it.

    Args:
        engine: of the node.
        container: name or id.
        source: absolute path in the container; a symbolic link itself is followed.
        local: path on this machine.

    Raises:
        CopyNotFoundError: it is not there.
        CopyError: it cannot be read, or not be written here.
        EngineError: the engine refused.
    """
    view = View(engine, container)
    place = view.find(source)
    if place.kind is Kind.NOTHING:
        raise CopyNotFoundError(str(source), f"it is not in container '{container}'")
    if local.is_dir():
        local = local / PurePosixPath(source).name
    try:
        local = Path(os.path.realpath(local))  # a link of the user's own is followed
        local.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise local_error(local, error) from error
    if place.is_virtual and place.kind is Kind.FILE:
        _write(_output(engine, container, place, ["cat", str(place.path)]), local)
        return
    chunks = _tar_out(engine, container, place)
    with contextlib.closing(chunks):
        unpack(chunks, local)


def _archive_in(
    engine: Engine, container: str, view: View, place: Place, packing: Packing, local: Path
) -> None:
    base = view.nearest_folder(place.path)
    name = place.path.relative_to(base)
    parents = [str(parent) for parent in reversed(name.parents)][1:]
    chunks = packing.pack(local, str(name), parents)
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
        return _archive_out(engine, container, place)
    words = ["tar", "-c", "-f", "-", "-C", str(place.path), "."]
    if place.kind is Kind.FILE:
        # -h: a symbolic link itself is followed. With "./" no name is taken for an option.
        folder, name = str(place.path.parent), f"./{place.path.name}"
        words = ["tar", "-c", "-h", "-f", "-", "-C", folder, name]
    return _output(engine, container, place, words)


def _archive_out(engine: Engine, container: str, place: Place) -> Generator[bytes, None, None]:
    api = engine.api
    url = api._url("/containers/{0}/archive", container)
    with engine.errors(container):
        # As the SDK's get_archive, but closed for certain, and for names that are not UTF-8.
        # Uncompressed: the engine would spend far more time on that than the network saves.
        answer = api._get(
            url,
            params={"path": os.fsencode(str(place.path))},
            headers={"Accept-Encoding": "identity"},
            stream=True,
        )
        with contextlib.closing(answer):
            api._raise_for_status(answer)
            yield from answer.iter_content(_CHUNK)


def _content(local: Path) -> Iterator[bytes]:
    try:
        with local.open("rb") as file:
            yield from iter(lambda: file.read(_CHUNK), b"")
    except OSError as error:
        raise local_error(local, error) from error


def _write(chunks: Generator[bytes, None, None], local: Path) -> None:
    """A file of /proc or /sys; tar would take it for empty."""
    with contextlib.closing(chunks):
        try:
            with local.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
        except ContainerError:
            raise  # SshLostError is an OSError too
        except OSError as error:
            raise local_error(local, error) from error


def _feed(
    engine: Engine, container: str, place: Place, words: list[str], chunks: Iterator[bytes]
) -> None:
    """Give a command in the container something to read."""
    said = bytearray()
    command = Exec(engine, container, words, user="0", stdin=True, on_stderr=said.extend)
    try:
        for chunk in chunks:
            command.write(chunk)
        command.close_stdin()
    except OSError as error:
        if isinstance(error, ContainerError):
            command.kill_soon()
            raise
        # It ended early; its exit code and words say why.
    except BaseException:
        command.kill_soon()
        raise
    _check(command, container, place, said)


def _output(
    engine: Engine, container: str, place: Place, words: list[str]
) -> Generator[bytes, None, None]:
    """What a command in the container writes, while it comes; little of it is held at a time."""
    said = bytearray()
    pieces: queue.Queue[bytes] = queue.Queue(_AHEAD)
    is_read = True

    def put(data: bytes) -> None:
        while is_read:
            with contextlib.suppress(queue.Full):
                return pieces.put(data, timeout=_SLICE)

    command = Exec(engine, container, words, user="0", on_stdout=put, on_stderr=said.extend)
    try:
        while command.running or not pieces.empty():
            with contextlib.suppress(queue.Empty):
                yield pieces.get(timeout=_SLICE)
        _check(command, container, place, said)
    finally:
        is_read = False
        if command.running:
            command.kill_soon()


def _check(command: Exec, container: str, place: Place, said: bytearray) -> None:
    command.wait()
    if command.exit_code == 0:
        return
    path, reason = str(place.path), bytes(said).decode("utf-8", errors="replace").strip()
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
