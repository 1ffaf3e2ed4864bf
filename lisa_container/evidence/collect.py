"""Collection of files of a container by patterns."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from lisa_container.archives.destination import NEW_FILE, Destination, open_destination_below
from lisa_container.archives.tar import FILE, SYMLINK, Fault
from lisa_container.container.copy import CopyLimits, copy_file
from lisa_container.container.follower import Followed
from lisa_container.container.paths import can_request_archives, stat_path
from lisa_container.container.view import Kind, View
from lisa_container.engine.client import Engine
from lisa_container.errors import ContainerError, EngineError
from lisa_container.escaping import printable
from lisa_container.evidence.archive import archive_of
from lisa_container.evidence.inside import ask
from lisa_container.evidence.noise import glob_pattern
from lisa_container.masking import Masking, Plain
from lisa_container.parsing import parse_int
from lisa_container.recording.records import FILES_FOLDER

# Maximum size in bytes of a file (256 MiB).
LARGEST = 256 << 20
# Maximum number of files; a careless `/**` matches more.
MOST_FILES = 1000
# Maximum number of bytes (4 GiB) and of seconds of one call.
MOST_BYTES = 4 << 30
MOST_SECONDS = 600.0
_FIND_SECONDS = 30.0
_MOST_ENTRIES = 1_000_000

# All files and links in folders, without the kernel's virtual file systems.
_FIND = (
    'find -H "$@" \\( -path /proc -o -path /sys -o -path /dev \\) -prune '
    "-o \\( -type f -o -type l \\) -print0"
)
_SIZES = "xargs -0 stat -L -c '%s %n' --"
_WILDCARD = re.compile(r"[*?\[]")
_BLOCK = 256 * 1024
# A copy must be neither executable nor set-user-id.
_MODE = 0o644

Warn = Callable[[str], None]


def collect(
    engine: Engine,
    container: str,
    patterns: Sequence[str],
    folder: Path,
    masking: Masking,
    warn: Warn,
) -> list[Path]:
    """Copy the files that match to `files/<path>`.

    Only files are copied, not folders or links, so nothing is written outside of the folder.
    Secrets are masked in text files. A file that cannot be copied does not affect the others.

    Args:
        engine: engine of the node.
        container: name or id; the container need not run.
        patterns: absolute paths; `*` and `?` match any text or letter without a slash, `**` any
            number of folders, `[…]` one of some letters. A folder matches all files in it.
        folder: folder that gets `files/`.
        masking: masking of the copies.
        warn: called with a description of each file that is not copied.

    Returns:
        Paths of the copies.

    Raises:
        EngineError: the engine does not answer.
    """
    with engine.errors(container):
        may_be_seen = can_request_archives(engine, engine.api.inspect_container(container))
    paths = _expand(engine, container, patterns, may_be_seen, warn)
    sizes = _sizes(engine, container, paths, may_be_seen)
    copies: list[Path] = []
    left, deadline = MOST_BYTES, time.monotonic() + MOST_SECONDS
    for number, path in enumerate(paths):
        seconds = deadline - time.monotonic()
        if left <= 0 or seconds <= 0:
            warn(
                f"{len(paths) - number} files are not collected, from '{printable(path)}' on: "
                f"{MOST_BYTES} bytes or {MOST_SECONDS:g} seconds are used up"
            )
            break
        name = PurePosixPath(FILES_FOLDER, path.lstrip("/"))
        shown = printable(path)
        if sizes.get(path, 0) > LARGEST:
            warn(f"'{shown}' is not collected: {sizes[path]} bytes; the limit is {LARGEST}")
            continue
        try:
            with open_destination_below(folder, name) as there:
                limits = CopyLimits(min(LARGEST, left), max_seconds=seconds)
                copy_file(engine, container, path, there, limits)
                left -= os.lstat(there.name, dir_fd=there.folder).st_size
                _mask_file(there, masking)
        except (ContainerError, OSError, ValueError) as error:
            warn(f"'{shown}' could not be collected: {printable(error)}")
        else:
            copies.append(folder / name)
    return copies


def collect_and_warn(container: Followed, patterns: Sequence[str], folder: Path) -> list[Path]:
    """Copy the files that match, as `collect`; log a warning for each file that is not copied.

    Args:
        container: container, which need not run; its records tell the masking.
        patterns: as for `collect`.
        folder: folder that gets `files/`.
    """

    def warn(message: str) -> None:
        container.host.log.warning(Plain(f"[{container.name}] {printable(message)}"))

    masking = container.capture.masking
    return collect(container.engine, container.name, patterns, folder, masking, warn)


def _expand(
    engine: Engine, container: str, patterns: Sequence[str], may_be_seen: bool, warn: Warn
) -> list[str]:
    """Return the files that match, each once, in order."""
    globs, plain = [], []
    view = View(engine, container)
    for pattern in patterns:
        if _WILDCARD.search(pattern):
            globs.append(pattern)
            continue
        try:
            kind = view.find(pattern).kind
        except ContainerError:
            kind = Kind.FILE  # copying it reports the error
        if kind is Kind.FOLDER:
            globs.append(f"{pattern.rstrip('/')}/**")
        elif kind is Kind.FILE:
            plain.append(pattern)
        else:
            warn(f"nothing to collect at '{pattern}'")
    found = dict.fromkeys(plain)
    roots = {_root(pattern) for pattern in globs}
    listed = _find(engine, container, sorted(roots), may_be_seen) if roots else []
    for pattern in globs:
        matches = re.compile(glob_pattern(pattern))
        matching = [path for path in listed if matches.fullmatch(path)]
        if not matching:
            warn(f"nothing to collect matches '{pattern}'")
        found.update(dict.fromkeys(matching))
    paths = [path for path in found if ".." not in PurePosixPath(path).parts]
    if len(paths) > MOST_FILES:
        warn(f"{len(paths)} files match; the first {MOST_FILES} are collected")
    return paths[:MOST_FILES]


def _root(pattern: str) -> str:
    """Return the folder above the first wildcard."""
    match = _WILDCARD.search(pattern)
    assert match is not None
    return pattern[: match.start()].rpartition("/")[0] or "/"


def _sizes(engine: Engine, container: str, paths: list[str], may_be_seen: bool) -> dict[str, int]:
    """Return the sizes in bytes that can be read."""
    if not paths:
        return {}
    names = "".join(f"{path}\0" for path in paths).encode("utf-8", errors="surrogateescape")
    output = ask(engine, container, ["sh", "-c", _SIZES], names)
    if output is not None:
        lines = output.decode("utf-8", errors="surrogateescape").splitlines()
        pairs = (line.partition(" ") for line in lines)
        known = ((path, parse_int(size)) for size, _, path in pairs)
        return {path: size for path, size in known if size is not None}
    found = {}
    for path in paths if may_be_seen else []:
        with contextlib.suppress(EngineError):
            status = stat_path(engine, container, path)
            if status is not None:
                found[path] = status.size
    return found


def _find(engine: Engine, container: str, roots: list[str], may_be_seen: bool) -> list[str]:
    output = ask(engine, container, ["sh", "-c", _FIND, "sh", *roots])
    if output is not None:
        names = output.decode("utf-8", errors="surrogateescape").split("\0")
        return sorted({name for name in names if name})
    found: set[str] = set()
    deadline = time.monotonic() + _FIND_SECONDS
    for root in roots if may_be_seen else []:
        # The names in the archive begin with the folder's name.
        above = PurePosixPath(root).parent
        with (
            contextlib.suppress(EngineError, Fault),
            archive_of(engine, container, root, deadline) as archive,
        ):
            for number, entry in enumerate(archive):
                if number >= _MOST_ENTRIES:
                    break
                if entry.kind in (FILE, SYMLINK):
                    found.add(str(above / os.fsdecode(entry.name)))
    return sorted(found)


def _mask_file(there: Destination, masking: Masking) -> None:
    """Mask a text file line by line; leave other files as they are."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(there.name, flags, dir_fd=there.folder), "rb") as file:
        os.fchmod(file.fileno(), _MODE)
        if b"\0" in file.read(_BLOCK):
            return
        file.seek(0)
        if all(masking.data(line) == line for line in file):
            return
        file.seek(0)
        masked = there.name[:200] + b".masked"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(masked, dir_fd=there.folder)
        handle = os.open(masked, NEW_FILE, _MODE, dir_fd=there.folder)
        with os.fdopen(handle, "wb") as copy:
            copy.writelines(map(masking.data, file))
    os.replace(masked, there.name, src_dir_fd=there.folder, dst_dir_fd=there.folder)
