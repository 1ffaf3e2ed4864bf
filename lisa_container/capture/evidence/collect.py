"""Files of a container, by patterns."""

from __future__ import annotations

import contextlib
import re
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from lisa_container.capture.evidence.archive import archive_of
from lisa_container.capture.evidence.inside import ask
from lisa_container.capture.evidence.noise import glob_pattern
from lisa_container.capture.masking import Masking
from lisa_container.capture.records import FILES_FOLDER
from lisa_container.engine.client import Engine
from lisa_container.engine.paths import may_look, stat_path
from lisa_container.engine.view import Kind, View
from lisa_container.errors import ContainerError, EngineError
from lisa_container.transfer import copy_from

# A larger file (256 MiB) stays where it is.
LARGEST = 256 << 20
# Fewer than a careless `/**` finds.
MOST_FILES = 1000

# All files and links in folders, but for what the kernel makes up.
_FIND = (
    'find -H "$@" \\( -path /proc -o -path /sys -o -path /dev \\) -prune '
    "-o \\( -type f -o -type l \\) -print0"
)
_SIZES = "xargs -0 stat -L -c '%s %n' --"
_WILDCARD = re.compile(r"[*?\[]")
_BLOCK = 256 * 1024
# What may be run in the container, or as somebody else, must not be here.
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
    """Copy the files that match to `files/<their path>`.

    Only files are taken, never folders or links as such: whatever the container has, nothing is
    written outside of the folder. Secrets are masked in files of text.

    Args:
        engine: of the node.
        container: name or id; it need not run.
        patterns: absolute paths; `*` and `?` stand for anything but a slash, `**` for any number of
            folders, `[…]` for one of some letters. A folder stands for all files in it.
        folder: gets `files/`.
        masking: for what is copied.
        warn: is told of what could not be had.

    Returns:
        The copies.

    Raises:
        EngineError: the engine does not answer.
        OSError: a copy cannot be written.
    """
    with engine.errors(container):
        may_be_seen = may_look(engine, engine.api.inspect_container(container))
    paths = _expand(engine, container, patterns, may_be_seen, warn)
    sizes = _sizes(engine, container, paths, may_be_seen)
    copies = []
    for path in paths:
        target = folder / FILES_FOLDER / path.lstrip("/")
        if sizes.get(path, 0) > LARGEST:
            warn(f"'{path}' is not collected: {sizes[path]} bytes; the limit is {LARGEST}")
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_from(engine, container, path, target)
            target.chmod(_MODE)
            _mask_file(target, masking)
        except ContainerError as error:
            warn(f"'{path}' could not be collected: {error}")
        else:
            copies.append(target)
    return copies


def _expand(
    engine: Engine, container: str, patterns: Sequence[str], may_be_seen: bool, warn: Warn
) -> list[str]:
    """The files that match, each once, in order."""
    globs, plain = [], []
    view = View(engine, container)
    for pattern in patterns:
        if _WILDCARD.search(pattern):
            globs.append(pattern)
            continue
        try:
            kind = view.find(pattern).kind
        except ContainerError:
            kind = Kind.FILE  # copying it will tell
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
    """The folder above the first wildcard."""
    match = _WILDCARD.search(pattern)
    assert match is not None
    return pattern[: match.start()].rpartition("/")[0] or "/"


def _sizes(engine: Engine, container: str, paths: list[str], may_be_seen: bool) -> dict[str, int]:
    """Path to bytes, as far as anybody can tell."""
    if not paths:
        return {}
    names = "".join(f"{path}\0" for path in paths).encode("utf-8", errors="surrogateescape")
    said = ask(engine, container, ["sh", "-c", _SIZES], names)
    if said is not None:
        lines = said.decode("utf-8", errors="surrogateescape").splitlines()
        pairs = (line.partition(" ") for line in lines)
        return {path: int(size) for size, _, path in pairs if size.isdigit()}
    found = {}
    for path in paths if may_be_seen else []:
        with contextlib.suppress(EngineError):
            status = stat_path(engine, container, path)
            if status is not None:
                found[path] = status.size
    return found


def _find(engine: Engine, container: str, roots: list[str], may_be_seen: bool) -> list[str]:
    said = ask(engine, container, ["sh", "-c", _FIND, "sh", *roots])
    if said is not None:
        names = said.decode("utf-8", errors="surrogateescape").split("\0")
        return sorted({name for name in names if name})
    found: set[str] = set()
    for root in roots if may_be_seen else []:
        with contextlib.suppress(EngineError), archive_of(engine, container, root) as archive:
            # The archive's names begin with the folder's own.
            above = PurePosixPath(root).parent
            with contextlib.suppress(tarfile.TarError):
                found |= {str(above / x.name) for x in archive if x.isreg() or x.issym()}
    return sorted(found)


def _mask_file(path: Path, masking: Masking) -> None:
    """Mask a file of text, line by line; any other is left as it is."""
    with path.open("rb") as file:
        if b"\0" in file.read(_BLOCK):
            return
        file.seek(0)
        if all(masking.data(line) == line for line in file):
            return
        file.seek(0)
        masked = path.with_name(f"{path.name}.masked")
        with masked.open("wb") as copy:
            copy.writelines(map(masking.data, file))
    masked.replace(path)
