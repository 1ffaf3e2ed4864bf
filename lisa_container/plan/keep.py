"""Artifacts of a plan: what is copied out of its container."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lisa_container.errors import ContainerError
from lisa_container.executor import ContainerExecutor

# With no separators, what stands unquoted is a pattern and never several words.
_EXPAND = """
IFS=
for pattern; do
    for path in $pattern; do
        if [ -e "$path" ] || [ -h "$path" ]; then printf '%s\\000' "$path"; fi
    done
    printf '\\000'
done
"""
_EXPAND_TIMEOUT = 60.0


def keep(
    executor: ContainerExecutor, patterns: Sequence[str], folder: Path
) -> tuple[list[Path], list[str]]:
    """Copy files and folders out of a container, each to its own path below a folder.

    Args:
        executor: of the container.
        patterns: absolute paths in it, with the shell's *, ? and [...].
        folder: of this machine.

    Returns:
        What was kept; and a warning for each that could not be, or that matches nothing.
    """
    kept: list[Path] = []
    warnings: list[str] = []
    if not patterns:
        return kept, warnings
    try:
        # As root: what a case leaves is kept whoever may read it.
        words = ["sh", "-c", _EXPAND, "sh", *patterns]
        said = executor.run(words, user="0", timeout=_EXPAND_TIMEOUT)
    except ContainerError as error:
        return kept, [f"no artifacts were kept: {error}"]
    if said.exit_code:
        return kept, [f"no artifacts were kept: {said.stderr or said.stdout}"]
    paths: list[str] = []
    groups = iter(said.stdout_bytes.decode("utf-8", errors="surrogateescape").split("\0"))
    for pattern in patterns:
        matches = list(iter(lambda: next(groups, ""), ""))
        if not matches:
            warnings.append(f"artifacts: nothing matches '{pattern}'")
        paths += matches
    for path in dict.fromkeys(paths):
        target = folder / path.lstrip("/")
        try:
            executor.copy_from(path, target)
            kept.append(target)
        except ContainerError as error:
            warnings.append(f"artifacts: {error}")
    return kept, warnings
